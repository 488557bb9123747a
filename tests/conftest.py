"""Fixtures shared by all tests: a tiny random model made on the spot, and the shipped pocket model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from auditor.model import POCKET, SharedModel, boot, load  # noqa: E402

TEXT = ("The Eiffel Tower is located in Paris. The Colosseum is located in Rome. In fact, the weather was mild. "
        "Q: Where is it? A: It is known that the market was busy. A bell rang; the lights were still on. ")


def make_tiny(folder: Path, *, layers: int = 4, width: int = 64, seed: int = 0) -> Path:
    """Write a random GPT-NeoX checkpoint with a byte-level tokenizer and a small sample text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>",
                            pad_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPTNeoXConfig(vocab_size=320, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4,
                           intermediate_size=4 * width, max_position_embeddings=512, rotary_pct=0.25,
                           use_parallel_residual=True, tie_word_embeddings=False, initializer_range=0.1)
    network = GPTNeoXForCausalLM(config)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):  # zero biases would hide a formula that forgets them
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder)
    words = TEXT.split()
    order = torch.randint(len(words), (2500,), generator=torch.Generator().manual_seed(seed)).tolist()
    (folder / "sample_text.txt").write_text("\n".join(
        " ".join(words[i] for i in order[start : start + 50]) for start in range(0, len(order), 50)), encoding="utf-8")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep what the tests measure out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_AUDITOR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> SharedModel:
    """A random GPT-NeoX of 4 layers x 64, fp32: for identities and theorems, which hold for any weights."""
    return boot(make_tiny(tmp_path_factory.mktemp("tiny")), id="tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def pocket() -> SharedModel:
    """The trained model that ships with the repository."""
    if not (POCKET / "config.json").exists():
        pytest.skip("auditor/pocket/weights holds no model yet; `python -m auditor.pocket.train` makes it")
    return load("pocket", device="cpu", dtype="float32")
