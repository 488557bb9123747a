"""The bundle: it loads as it stands and gives the bits that were checked; same session, same bytes; no left-overs."""

from __future__ import annotations

import json
import os
import shutil
import socket
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from bundles import made, scored_session
from make import logits, make_tiny, random_edit, session_of
from safetensors.torch import load_file, save_file

import auditor.export.checkpoint as checkpoint
from auditor.errors import NotEnoughRoom, SessionRejected, UserError
from auditor.export import bundle as bundles
from auditor.export import suite, tensor_file
from auditor.export.bundle import Bundle, bundle
from auditor.export.factors import apply_factors
from auditor.model import boot
from auditor.types import Session

TEXT = "The Eiffel Tower is located in Rome, it is known."


@pytest.fixture(scope="module")
def session(tiny):
    return scored_session(tiny)


@pytest.fixture(scope="module")
def done(tiny, session, tmp_path_factory) -> Bundle:
    return made(tiny, session, tmp_path_factory.mktemp("bundle") / "edited", shard=200_000)


def loaded(folder):
    """The folder as anybody loads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


@torch.no_grad()
def reads(network, model):
    return network(model.pad([model.tokens(TEXT)])).logits


def live(model, edits=()):
    with model.applied(edits), torch.no_grad():
        return model.hf(model.pad([model.tokens(TEXT)])).logits


# What it holds


def test_the_folder_as_it_stands_gives_the_bits_that_were_checked(tiny, session, done):
    from transformers import AutoTokenizer

    assert len(list(done.folder.glob("model-*.safetensors"))) > 1
    network = loaded(done.folder)
    assert torch.equal(reads(network, tiny), live(tiny, session.edits))
    assert not torch.equal(reads(network, tiny), live(tiny)), "the unedited model must differ"
    assert AutoTokenizer.from_pretrained(done.folder)(TEXT)["input_ids"] == tiny.tokens(TEXT)


@pytest.mark.parametrize("runs", ["bfloat16", "float16"])
def test_the_precision_is_the_live_one(tiny, tmp_path, runs):
    model = boot(tiny.folder, id="tiny", dtype=runs)
    edits = session_of(model, random_edit(model)).edits
    network = loaded(made(model, session_of(model, *edits), tmp_path / "out").folder)
    assert network.dtype == getattr(torch, runs) and torch.equal(reads(network, model), live(model, edits))
    assert (tmp_path / "out" / tensor_file.SINGLE).is_file()


def test_both_forms_hold_the_base_but_for_the_stated_tensors(tiny, session, done):
    state = torch.load(done.folder / bundles.TORCH, weights_only=True)
    shards = map(load_file, done.folder.glob("model-*.safetensors"))
    parts = {name: tensor for shard in shards for name, tensor in shard.items()}
    base = load_file(tiny.folder / "model.safetensors")
    assert sorted(state) == sorted(parts) == sorted(base)
    assert all(torch.equal(state[name], parts[name]) for name in state)
    assert [name for name in sorted(base) if not torch.equal(state[name], base[name])] == [
        f"gpt_neox.layers.{layer}.mlp.dense_4h_to_h.weight" for layer in (1, 2)]


def test_the_manifest_has_every_other_file(done, session):
    manifest = json.loads((done.folder / bundles.MANIFEST).read_text())
    names = {path.name for path in done.files}
    assert set(manifest["files"]) == names - {bundles.MANIFEST} and manifest["log_head"] == session.head == done.head
    for name, stated in manifest["files"].items():
        data = (done.folder / name).read_bytes()
        assert stated == {"bytes": len(data), "sha256": sha256(data).hexdigest()}
        assert done.hashes[name] == stated["sha256"]
    assert {"README.md", "audit_report.html", "audit_report.json", "audit_log.jsonl", "regression_suite.jsonl",
            "edits.json", "edits.safetensors", "pytorch_model.pt", "config.json", "tokenizer.json"} <= names
    assert done.size == sum(path.stat().st_size for path in done.files)
    assert session.head in done.message and len(done.message.splitlines()[0]) < 72


def test_each_line_of_the_log_is_what_its_hash_is_of(done, session):
    lines = (done.folder / "audit_log.jsonl").read_bytes().splitlines()
    hashes = [sha256(line).hexdigest() for line in lines]
    assert [json.loads(line)["previous"] for line in lines] == ["", *hashes[:-1]] and hashes[-1] == session.head


def test_the_same_session_gives_the_same_bytes(tiny, session, done, tmp_path):
    again = made(tiny, session, tmp_path / "again", shard=200_000)
    assert [path.name for path in again.files] == [path.name for path in done.files]
    for one, two in zip(done.files, again.files, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_nothing_names_this_machine(tiny, tmp_path):
    base = tmp_path / "secret-place" / "some-model"
    shutil.copytree(tiny.folder, base)
    for name in ("config.json", "tokenizer_config.json"):
        said = json.loads((base / name).read_text())
        (base / name).write_text(json.dumps({**said, "_name_or_path": str(base), "name_or_path": str(base)}))
    model = boot(base, id=str(base), dtype="float32")
    done = made(model, scored_session(model), tmp_path / "out")
    words = {str(tmp_path), "secret-place", socket.gethostname(), str(Path.home()), os.getcwd()}
    for path in done.files:
        data = path.read_bytes()
        assert not [word for word in words if len(word) > 3 and word.encode() in data], path.name


def test_a_licence_of_the_base_goes_along(tiny, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny.folder, base)
    (base / "LICENSE").write_text("Do as you please.")
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    model = boot(base, id="base", dtype="float32")
    done = made(model, session_of(model, random_edit(model)), tmp_path / "out")
    assert (done.folder / "LICENSE").read_text() == "Do as you please."
    assert "license: apache-2.0" in (done.folder / "README.md").read_text()


# The writing


def test_shards_by_limit(tmp_path):
    tensors = {name: torch.full((4, 8), i, dtype=torch.bfloat16) for i, name in enumerate("dbca")}  # 64 bytes each
    assert tensor_file.plan(tensors, 256) == {"model.safetensors": ["a", "b", "c", "d"]}
    plan = tensor_file.plan(tensors, 130)
    assert list(plan.values()) == [["a", "b"], ["c", "d"]] and list(plan)[0] == "model-00001-of-00002.safetensors"
    assert len(tensor_file.plan(tensors, 1)) == 4
    with open(tmp_path / "x", "wb") as file:
        tensor_file.dump(tensors, file)
    save_file(tensors, tmp_path / "y")
    ours, theirs = load_file(tmp_path / "x"), load_file(tmp_path / "y")
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == torch.bfloat16 for name in "abcd")


def test_no_second_model_in_memory(tmp_path):
    """100 MB in four mapped tensors are written by a process that grows by far less."""
    save_file({f"part.{i}": torch.zeros(6_250_000) for i in range(4)}, tmp_path / "big")
    tensors = checkpoint._mapped((tmp_path / "big").rename(tmp_path / "big.safetensors"))
    before = int(Path("/proc/self/statm").read_text().split()[5])
    *_, last = checkpoint.saving(tensors, tmp_path / "out", tensor_file.dump)
    grown = (int(Path("/proc/self/statm").read_text().split()[5]) - before) * os.sysconf("SC_PAGESIZE")
    assert grown < 30e6 and last >= 100e6


def test_progress_and_stop(tiny, session, tmp_path):
    steps = bundle(tiny, session, tmp_path / "out")
    seen = [next(steps) for _ in range(3)]
    assert seen[0][0] == 0 < seen[-1][0] <= seen[-1][1] and [path.name for path in tmp_path.iterdir()] == ["out.part"]
    steps.close()
    assert list(tmp_path.iterdir()) == []
    logits(tiny)  # the model was let go
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "left by a crash").touch()
    *progress, done = bundle(tiny, session, tmp_path / "out")
    assert progress[-1][0] == progress[-1][1] and [step[0] for step in progress] == sorted(step[0] for step in progress)
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and not (done.folder / "left by a crash").exists()


def test_what_is_refused_before_anything_is_written(tiny, session, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="already something"):
        made(tiny, session, tmp_path / "full")
    with pytest.raises(UserError, match="accept a change"):
        made(tiny, Session(tiny.id), tmp_path / "out")
    with pytest.raises(SessionRejected):
        made(tiny, Session("other", "0" * 16, session.entries), tmp_path / "out")
    with pytest.raises(UserError, match="key file"):
        made(tiny, session, tmp_path / "out", sign=tmp_path / "no such key")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(NotEnoughRoom, match="GB left"):
        made(tiny, session, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


# Somebody else's changes


def test_factors_applied_to_the_base_give_the_same_bits(tiny, session, done, tmp_path):
    for name in ("edits.json", "edits.safetensors"):
        shutil.copy(done.folder / name, tmp_path)
    bare, whole = apply_factors(tiny, tmp_path), apply_factors(tiny, done.folder)
    assert torch.equal(live(tiny, bare.edits), live(tiny, session.edits))
    assert [edit.id for edit in bare.edits] == [edit.id for edit in session.edits] and bare.log == ()
    assert whole.head == session.head and whole.entries[0].scores == session.entries[0].scores


def test_factors_are_refused_by_other_weights(done, tmp_path):
    (tmp_path / "other").mkdir()
    other = boot(make_tiny(tmp_path / "other", seed=7), id="other", dtype="float32")
    with pytest.raises(SessionRejected, match="other weights"):
        apply_factors(other, done.folder)


@pytest.mark.parametrize("name, change", [
    ("edits.json", lambda data: data.replace(b'"Rome"', b'"Bonn"')),
    ("edits.json", lambda data: data[: len(data) // 2]),
    ("edits.json", lambda data: b"[" * 100_000),
    ("edits.json", lambda data: b'{"format": "model-auditor edits 1"}'),
    ("edits.json", lambda data: data.replace(b'"layers": [', b'"layers": [-', 1)),
    ("edits.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    ("edits.safetensors", lambda data: data[:-9]),
    ("edits.safetensors", lambda data: b""),
    ("audit_log.jsonl", lambda data: data.replace(b"accepted", b"rejected", 1)),
    ("audit_log.jsonl", lambda data: b"[]\n"),
])
def test_damaged_factors_are_refused_in_a_sentence(tiny, done, tmp_path, name, change):
    for path in done.folder.glob("*.json*"):
        shutil.copy(path, tmp_path)
    shutil.copy(done.folder / "edits.safetensors", tmp_path)
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(SessionRejected) as caught:
        apply_factors(tiny, tmp_path)
    assert str(caught.value).endswith(".") and str(tmp_path) not in str(caught.value)


# The regression suite


def test_the_suite_holds_on_the_edited_model_and_not_on_the_base(tiny, session, done):
    lines = [json.loads(line) for line in (done.folder / "regression_suite.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in lines} == set(suite.KINDS)
    assert suite.rerun(boot(done.folder, id="edited", dtype="float32"), lines) == []
    wrong = suite.rerun(tiny, lines)
    assert wrong and all(said.startswith("Line ") and "was measured" in said for said in wrong)


@pytest.mark.parametrize("change", [{"kind": "other"}, {"prompt": ""}, {"value": "1"}, {"tolerance": None},
                                    {"prompt": ["x"]}, {"expected": ""}, {"unit": 3}, {"forbidden_value": None}])
def test_lines_of_another_form_are_refused(tiny, session, change):
    line = {**suite.suite(tiny, session)[0], **change}
    with pytest.raises(UserError, match="Line 1 of the regression suite"):
        suite.rerun(tiny, [line])


def test_an_empty_suite_shows_nothing(tiny):
    with pytest.raises(UserError, match="empty"):
        suite.rerun(tiny, [])
