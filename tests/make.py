"""Values that several tests need: edits of known size without any fitting."""

from __future__ import annotations

from pathlib import Path

import torch

from auditor.types import Check, Edit, EditRequest, Entry, Session, ValidationReport, WeightDelta

CLAIM = ("The Eiffel Tower", "is located in", "Paris", "Rome")
REQUEST = EditRequest(*CLAIM)


def random_edit(model, *, layers=(1,), scale=0.05, seed=0, request=REQUEST, fitted_on=()) -> Edit:
    """A random rank-one change to each of `layers`."""
    g = torch.Generator().manual_seed(seed)
    patches = tuple(WeightDelta(layer, scale * torch.randn(model.d_mlp, 1, generator=g),
                                torch.randn(1, model.d_model, generator=g)) for layer in layers)
    return Edit(request, "random", patches, model.fingerprint, {"scale": scale, "seed": seed}, fitted_on, (2.0, 0.5),
                {"norm": 1.5})


def entry(edit: Edit) -> Entry:
    """The edit with a report that passed."""
    check = Check("paraphrase", 0.5, 0.1, "at least", "It is still true when asked differently.",
                  ({"phrasing": "x", "before": 0.0, "after": 0.5, "new_beats_old": True},))
    return Entry(edit, ValidationReport(edit.layers[-1], (check,)))


def session_of(model, *edits: Edit) -> Session:
    """A session that holds these edits as accepted."""
    return Session(model.id, model.fingerprint, tuple(map(entry, edits)))


def logits(model, text="The Eiffel Tower is located in", edits=()) -> torch.Tensor:
    """[pos, d_vocab] logits with edits live."""
    with model.applied(edits), torch.no_grad():
        return model.logits(model.run(model.embed(model.pad([model.tokens(text)]))))[0]


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
