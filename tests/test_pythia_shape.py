"""The code for real Pythia, on random weights of its exact shape and with its own tokenizer.

The tokenizer and the fact lists are read from a folder outside the repository (MODEL_AUDITOR_DATA, by default
`../shared/data`); tests that need them skip with a reason where it is missing.
"""

import json
import os
from pathlib import Path

import pytest
import torch

import auditor
from auditor.editor.layers import band
from auditor.export.checkpoint import export
from auditor.model import PINNED, PYTHIA, boot, load
from auditor.types import Entry

DATA = Path(os.environ.get("MODEL_AUDITOR_DATA", Path(__file__).parents[2] / "shared" / "data"))
SHAPES = {"pythia-70m": (6, 512, 8)}
"""Layers, width and heads, as published."""
VOCABULARY = 50304


def make(folder: Path, name: str, dtype: torch.dtype) -> Path:
    """A checkpoint of random weights in the published shape of `name`, with Pythia's tokenizer."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    source = DATA / "tokenizer_20b" / "20B_tokenizer.json"
    if not source.is_file():
        pytest.skip(f"Pythia's tokenizer is not at {source.name}; set MODEL_AUDITOR_DATA to the folder that has it")
    PreTrainedTokenizerFast(tokenizer_file=str(source), eos_token="<|endoftext|>",
                            bos_token="<|endoftext|>").save_pretrained(folder)
    layers, width, heads = SHAPES[name]
    torch.manual_seed(0)
    with torch.device("cpu"):
        GPTNeoXForCausalLM(GPTNeoXConfig(
            vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * width, max_position_embeddings=2048, rotary_pct=0.25, use_parallel_residual=True,
            tie_word_embeddings=False, dtype=dtype)).to(dtype).save_pretrained(folder)
    (folder / "sample_text.txt").write_text("The quick brown fox jumps over the lazy dog near the river bank.\n" * 200)
    return folder


@pytest.fixture(scope="module")
def pythia(tmp_path_factory):
    return boot(make(tmp_path_factory.mktemp("pythia-70m"), "pythia-70m", torch.float16), id="pythia-70m")


def test_nothing_is_prepended_and_targets_begin_with_a_space(pythia):
    ids = pythia.tokens("The Eiffel Tower is located in")
    assert pythia.text(ids) == "The Eiffel Tower is located in"
    assert ids[0] != pythia.tokenizer.bos_token_id
    assert pythia.text(pythia.target_tokens("Paris")[:1]).startswith(" ")


def test_long_targets_are_many_tokens_and_the_first_is_not_the_fact(pythia):
    """Why a check on the first token alone can pass an edit that did nothing."""
    for target, first in (("a person of any gender", " a"), ("low Earth orbit only under ideal conditions", " low")):
        pieces = pythia.pieces(f" {target}")
        assert len(pieces) > 4 and pieces[0] == first


def test_every_subject_of_a_thousand_facts_is_found_in_its_prompt(pythia):
    path = DATA / "known_1000" / "known_1000.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not there; set MODEL_AUDITOR_DATA to the folder that has it")
    for fact in json.loads(path.read_text()):
        start, stop = pythia.span(fact["prompt"], fact["subject"])
        found = "".join(pythia.pieces(fact["prompt"])[start:stop])
        assert fact["subject"].lower() in found.lower() and len(found) <= len(fact["subject"]) + 3


def test_whole_job_runs_on_the_published_shape(pythia, tmp_path):
    """Random weights hold no belief, so the edit may be refused; every stage must run, and weights stay."""
    before = pythia.w_out(2).clone()
    request = auditor.EditRequest("The Eiffel Tower", "is located in", "Paris", "Rome")
    events = list(auditor.edit(pythia, request, auditor.Session(pythia.id)))
    assert isinstance(events[0], auditor.Traced) and set(events[0].candidates) <= set(band(pythia))
    attempted = next(event for event in events if isinstance(event, auditor.Attempted))
    assert torch.equal(pythia.w_out(2), before)
    session = auditor.Session(pythia.id, pythia.fingerprint).with_entry(
        Entry(attempted.edit, attempted.report))
    exported = export(pythia, session, tmp_path)
    state = torch.load(exported.checkpoint, weights_only=True)
    assert "embed_out.weight" in state and state["embed_out.weight"].dtype == torch.float32


def test_the_revision_of_the_target_model_is_a_commit():
    assert len(PINNED[PYTHIA]) == 40 and set(PINNED[PYTHIA]) <= set("0123456789abcdef")


def test_a_model_of_another_family_is_refused_in_plain_words(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(auditor.UserError, match="only the GPT-NeoX family"):
        load(str(tmp_path))
