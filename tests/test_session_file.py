"""A session file: what goes in comes out; whatever is wrong with it is said in one sentence, and nothing is run."""

import dataclasses
import json
import pickle
import struct

import pytest
import torch
from make import REQUEST, entry, make_tiny, random_edit, session_of
from safetensors import safe_open
from safetensors.torch import save_file

import auditor.export.session as files
from auditor.errors import SessionRejected
from auditor.model import boot
from auditor.types import BenchmarkScore, Case, Session


@pytest.fixture
def session(tiny):
    first = random_edit(tiny, seed=1)
    second = random_edit(tiny, layers=(1, 2), seed=2, fitted_on=(first.id,))
    scored = BenchmarkScore("EditBench", "retention", 0.75, 0.5, 8, (0.5, 1.0), (Case("p", "Rome", 0.1, 0.9, 1.0),))
    unmeasured = BenchmarkScore("LEME", "form", None, 0.5, 0, reason="too few cases")
    entries = (entry(first), dataclasses.replace(entry(second), scores=(scored, unmeasured)))
    return Session(tiny.id, tiny.fingerprint, entries)


@pytest.fixture
def saved(session, tmp_path):
    return files.save(session, tmp_path / "session.safetensors")


def altered(path, out, change_words=None, change_tensors=None, form=None):
    """A copy of a session file with something different in it."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = file.metadata()
    words = json.loads(header["session"])
    if change_words:
        change_words(words)
    if change_tensors:
        change_tensors(tensors)
    save_file(tensors, out, metadata={"format": form or header["format"], "session": json.dumps(words)})
    return out


def test_round_trip(tiny, session, saved):
    again = files.load(saved, tiny)
    assert [edit.id for edit in again.edits] == [edit.id for edit in session.edits]
    assert again.fingerprint == session.fingerprint and again.model_id == tiny.id
    for a, b in zip(again.entries, session.entries, strict=True):
        assert a.report == b.report and a.scores == b.scores and a.edit.request == b.edit.request
        assert a.edit.losses == b.edit.losses and a.edit.notes == b.edit.notes and a.edit.fitted_on == b.edit.fitted_on
        for p, q in zip(a.edit.patches, b.edit.patches, strict=True):
            assert p.layer == q.layer and torch.equal(p.left, q.left) and torch.equal(p.right, q.right)
    assert again.norms() == session.norms() and not list(saved.parent.glob("*.part"))


def test_an_empty_session(tiny, tmp_path):
    again = files.load(files.save(Session(tiny.id), tmp_path / "empty"), tiny)
    assert again.entries == ()


def test_a_loaded_session_is_an_ordinary_one(tiny, saved):
    again = files.load(saved, tiny)
    assert len(again.without(again.edits[0].id).entries) == 1 and pickle.loads(pickle.dumps(again)).edits


def test_what_is_no_session_file(tiny, tmp_path):
    missing, text, pickled, foreign = (tmp_path / name for name in ("missing", "text", "pickle", "foreign"))
    text.write_text("hello")

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    pickled.write_bytes(pickle.dumps(Trap()))
    save_file({"x": torch.zeros(3)}, foreign)
    empty = tmp_path / "nothing"
    empty.touch()
    for path in (missing, text, pickled, foreign, empty, tmp_path):
        with pytest.raises(SessionRejected):
            files.load(path, tiny)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_truncated_at_any_place(tiny, saved, tmp_path, share):
    data = saved.read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SessionRejected, match="cut short|not a session file"):
        files.load(cut, tiny)


def test_a_header_that_claims_too_much(tiny, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(SessionRejected):
        files.load(path, tiny)


def test_too_large(tiny, saved, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    with pytest.raises(SessionRejected, match="MB"):
        files.load(saved, tiny)


def test_other_weights_say_so(tiny, saved, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    other = boot(make_tiny(folder, seed=7), id="other", dtype="float32")
    with pytest.raises(SessionRejected, match="other weights"):
        files.load(saved, other)


def set_row(**fields):
    return lambda words: words["entries"][0].update(fields)


WRONG_WORDS = {
    "no entries": lambda words: words.pop("entries"),
    "entries of another kind": lambda words: words.update(entries={"a": 1}),
    "no list at all": lambda words: words.update(entries=None),
    "a row that is text": lambda words: words.update(entries=["x"]),
    "layer beyond the model": set_row(layers=[99]),
    "negative layer": set_row(layers=[-1]),
    "layer that is true": set_row(layers=[True]),
    "layer that is text": set_row(layers=["1"]),
    "another layer": set_row(layers=[0]),
    "no layer": set_row(layers=[]),
    "two layers, one factor": set_row(layers=[1, 1]),
    "request with an unknown field": lambda words: words["entries"][0]["request"].update(code="x"),
    "request without subject": lambda words: words["entries"][0]["request"].update(subject=""),
    "request altered": lambda words: words["entries"][0]["request"].update(target_new="Berlin"),
    "id altered": set_row(id="0" * 12),
    "id with a path": set_row(id="../../x"),
    "method that is a number": set_row(method=3),
    "losses that are text": set_row(losses=["x"]),
    "notes that are a list": set_row(notes=[1]),
    "report without checks": lambda words: words["entries"][0]["report"].pop("checks"),
    "check of no direction": lambda words: words["entries"][0]["report"]["checks"][0].update(direction="sideways"),
    "check value that is text": lambda words: words["entries"][0]["report"]["checks"][0].update(value="<b>"),
    "report on no layer": lambda words: words["entries"][0]["report"].update(layer="x"),
    "score with an unknown field": lambda words: words["entries"][1]["scores"][0].update(code="x"),
    "no fingerprint": lambda words: words.update(fingerprint=""),
    "fingerprint of other weights": lambda words: words.update(fingerprint="0" * 16),
    "the same change twice": lambda words: words["entries"].append(words["entries"][0]),
}


@pytest.mark.parametrize("what", WRONG_WORDS)
def test_wrong_words(tiny, saved, tmp_path, what):
    path = altered(saved, tmp_path / "altered", change_words=WRONG_WORDS[what])
    with pytest.raises(SessionRejected):
        files.load(path, tiny)


def first_factor(change):
    def apply(tensors):
        name = sorted(tensors)[0]
        tensors[name] = change(tensors[name]).contiguous()
    return apply


WRONG_TENSORS = {
    "missing": lambda tensors: tensors.pop(sorted(tensors)[0]),
    "wrong shape": first_factor(lambda t: t[:-1]),
    "wrong dimension": first_factor(lambda t: t.flatten()),
    "transposed": first_factor(lambda t: t.T),
    "half precision": first_factor(lambda t: t.half()),
    "whole numbers": first_factor(lambda t: t.long()),
    "not a number": first_factor(lambda t: t * float("nan")),
    "infinite": first_factor(lambda t: t * float("inf")),
    "altered": first_factor(lambda t: t * 1.001),
}


@pytest.mark.parametrize("what", WRONG_TENSORS)
def test_wrong_tensors(tiny, saved, tmp_path, what):
    path = altered(saved, tmp_path / "altered", change_tensors=WRONG_TENSORS[what])
    with pytest.raises(SessionRejected):
        files.load(path, tiny)


def test_an_unaltered_copy_loads(tiny, saved, tmp_path):
    assert files.load(altered(saved, tmp_path / "copy"), tiny).entries, "the control for the cases above"


def test_deeply_nested_words(tiny, saved, tmp_path):
    with safe_open(saved, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path = tmp_path / "deep"
    save_file(tensors, path, metadata={"format": files.FORMAT, "session": "[" * 200_000})
    with pytest.raises(SessionRejected):
        files.load(path, tiny)


def test_messages_are_plain(tiny, tmp_path):
    path = tmp_path / "text"
    path.write_text("hello")
    with pytest.raises(SessionRejected) as caught:
        files.load(path, tiny)
    said = str(caught.value)
    assert said.endswith(".") and "Error" not in said and str(tmp_path) not in said


def test_session_of_helper(tiny):
    assert session_of(tiny, random_edit(tiny)).edits[0].request == REQUEST
