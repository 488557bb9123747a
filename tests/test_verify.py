"""`python -m auditor.verify`: a true bundle is verified; whatever is altered in it is named in a plain sentence."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import yaml
from bundles import made, scored_session, sealed_again
from make import REQUEST, make_tiny, random_edit
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from auditor import verify
from auditor.editor import loop
from auditor.export import bundle as bundles
from auditor.export import signature
from auditor.export.factors import apply_factors
from auditor.export.weights import weighed
from auditor.log import canonical
from auditor.model import boot
from auditor.types import Session

UNTOUCHED, STATED = "gpt_neox.layers.0.mlp.dense_4h_to_h.weight", "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"


@pytest.fixture(scope="module")
def true(tiny, tmp_path_factory) -> Path:
    return made(tiny, scored_session(tiny), tmp_path_factory.mktemp("true") / "edited", shard=200_000).folder


@pytest.fixture
def copy(true, tmp_path) -> Path:
    return Path(shutil.copytree(true, tmp_path / "copy"))


def differences(folder, base, **options) -> list[str]:
    verdict = verify.verify(folder, base, **options)
    assert verdict.status == 1 and not verdict.verified
    sentences = [finding.sentence for finding in verdict.findings if finding.ok is False]
    assert all(said.endswith(".") and "Traceback" not in said and str(folder) not in said for said in sentences)
    return sentences


def test_a_true_bundle_is_verified(tiny, true):
    verdict = verify.verify(true, tiny)
    assert verdict.verified and verdict.status == 0, [f.sentence for f in verdict.findings if not f.ok]
    assert {finding.name for finding in verdict.findings} == {
        "files", "signature", "log", "head", "account", "base", "changes", "safetensors", bundles.TORCH,
        "configuration", "words", "suite"}


# What was altered, without covering the tracks: named by the manifest and by what it is


def holding(folder: Path, tensor: str) -> Path:
    """The shard that holds a tensor."""
    return folder / json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][tensor]


def flip(path: Path, place: int = -1, bit: int = 1) -> None:
    """Turn one bit of a file over."""
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(data)


def flip_tensor(folder: Path, tensor: str, bit: int = 1) -> None:
    """Turn the lowest bit, or some low bits, of a tensor's first number over."""
    path = holding(folder, tensor)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    header = json.loads(path.read_bytes()[8 : 8 + length])
    flip(path, 8 + length + header[tensor]["data_offsets"][0], bit)


def flip_torch(folder: Path) -> None:
    state = torch.load(folder / bundles.TORCH, weights_only=True)
    state[UNTOUCHED].view(torch.int32)[3, 5] ^= 1
    torch.save(state, folder / bundles.TORCH)


def alter_line(folder: Path) -> None:
    path = folder / "audit_log.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("Rome", "Bonn")
    path.write_text("\n".join(lines) + "\n")


def drop_line(folder: Path) -> None:
    path = folder / "audit_log.jsonl"
    path.write_text("".join(line for i, line in enumerate(path.read_text().splitlines(keepends=True)) if i != 1))


def replace(name: str, old: str, new: str):
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
    return change


ALTERED = {
    "one bit of an untouched weight": (lambda f: flip_tensor(f, UNTOUCHED), "content was changed",
                                       f"“{UNTOUCHED}” is not the base's, and no change of it is stated"),
    "one bit of a changed weight": (lambda f: flip_tensor(f, STATED), "content was changed",
                                    f"“{STATED}” is not the base plus the stated factors"),
    "one bit of the .pt": (flip_torch, "pytorch_model.pt", f"pytorch_model.pt: “{UNTOUCHED}” is not the base's"),
    "one factor": (lambda f: flip(f / "edits.safetensors"), "“edits.safetensors” is not the file",
                   "its content was altered"),
    "one line of the log": (alter_line, "“audit_log.jsonl” is not the file", "does not continue the line before"),
    "a line of the log dropped": (drop_line, "“audit_log.jsonl” has", "Line 2 of the log does not continue"),
    "the log cut at its end": (lambda f: (f / "audit_log.jsonl").write_bytes(
        b"".join((f / "audit_log.jsonl").read_bytes().splitlines(keepends=True)[:-1])), "cut short",
        "names another head of the log"),
    "the card": (replace("README.md", "✔ passed", "✔ passed well"), "“README.md” has", "“README.md” is not what"),
    "a missing file": (lambda f: (f / "regression_suite.jsonl").unlink(), "“regression_suite.jsonl” is missing", ""),
    "a missing shard": (lambda f: holding(f, STATED).unlink(), "is missing", "cannot be read"),
    "a truncated shard": (lambda f: os.truncate(holding(f, STATED), 150_000), "cut short", "cannot be read"),
    "a truncated .pt": (lambda f: os.truncate(f / bundles.TORCH, 10_000), "cut short",
                        "“pytorch_model.pt” cannot be read"),
    "a file that was added": (lambda f: (f / "modeling.py").write_text("x"), "“modeling.py” lies in the folder", ""),
    "a folder that was added": (lambda f: (f / "more").mkdir(), "“more” lies in the folder", ""),
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_was_altered_is_named(tiny, copy, what):
    change, *expected = ALTERED[what]
    change(copy)
    said = differences(copy, tiny)
    for part in expected:
        assert any(part in sentence for sentence in said), (part, said)


# The same by a forger who makes the manifest fit


def rewrite_log(folder: Path) -> None:
    """A whole new log with a chain of its own."""
    lines, head = [], ""
    for line in (folder / "audit_log.jsonl").read_text().splitlines():
        lines.append(canonical({**json.loads(line), "previous": head, "time": "2001-01-01T00:00:00+00:00"}))
        head = sha256(lines[-1]).hexdigest()
    (folder / "audit_log.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def better_score(folder: Path) -> None:
    for name in ("edits.json", "audit_report.json"):
        replace(name, '"value": 0.75', '"value": 0.95')(folder)


def drop_question(folder: Path) -> None:
    path = folder / "regression_suite.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def other_figure(folder: Path) -> None:
    path = folder / "regression_suite.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[3]["value"] += 0.5
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def stray_index(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][STATED] = "../../stolen.safetensors"
    path.write_text(json.dumps(index))


def more_tensors(folder: Path) -> None:
    path = holding(folder, STATED)
    save_file({**load_file(path), "extra": torch.zeros(2)}, path, metadata={"format": "pt"})


FORGED = {
    "an untouched weight": (lambda f: flip_tensor(f, UNTOUCHED), "is not the base's, and no change of it is stated"),
    "a changed weight": (lambda f: flip_tensor(f, STATED), "is not the base plus the stated factors"),
    "the .pt": (flip_torch, "pytorch_model.pt: “gpt_neox"),
    "a factor": (lambda f: flip(f / "edits.safetensors"), "its content was altered"),
    "the card": (replace("README.md", "✔ passed", "✔ praised"), "“README.md” is not what this program writes"),
    "the page": (replace("audit_report.html", "✔ passed", "✔ praised"), "“audit_report.html” is not what"),
    "the report": (replace("audit_report.json", '"passed": true', '"passed": false'), "under “changes”"),
    "the whole log": (rewrite_log, "The manifest names another head of the log"),
    "a score": (better_score, "other benchmark figures for change"),
    "a check": (replace("edits.json", '"value": 0.5,', '"value": 0.9,'), "other check figures for change"),
    "a question fewer": (drop_question, "does not ask what follows from the record"),
    "a figure of the suite": (other_figure, "Line 4 (the claim in other words"),
    "the configuration": (replace("config.json", '"rope_theta": 10000.0', '"rope_theta": 9999.0'), "“config.json”"),
    "the tokenizer": (lambda f: flip(f / "tokenizer.json", 40), "“tokenizer.json”"),
    "an index that leaves the folder": (stray_index, "“../../stolen.safetensors”, which is not a plain file name"),
    "a tensor more": (more_tensors, "do not name the same tensors"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_manifest_made_to_fit_does_not_help(tiny, copy, what):
    change, expected = FORGED[what]
    change(copy)
    sealed_again(copy)
    said = differences(copy, tiny)
    assert any(expected in sentence for sentence in said), said


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ".", "", "x\\y", "~", ".hidden", "a\0b"])
def test_names_that_leave_the_folder_are_not_opened(tiny, copy, name):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": 0, "sha256": sha256(b"").hexdigest()}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy.parent / "outside").touch()
    assert any("not a plain file name" in sentence for sentence in differences(copy, tiny))


class Trap:
    """A pickle that touches a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["torch", "pickle", "not tensors", "no table"])
def test_a_pickle_with_code_is_refused_and_not_run(tiny, copy, tmp_path, how):
    sprung, path = tmp_path / "sprung", copy / bundles.TORCH
    match how:
        case "torch":
            torch.save({"x": Trap(sprung)}, path)
        case "pickle":
            path.write_bytes(pickle.dumps(Trap(sprung)))
        case "not tensors":
            torch.save({**torch.load(path), "x": 3}, path)
        case "no table":
            torch.save(torch.zeros(3), path)
    sealed_again(copy)
    said = differences(copy, tiny)
    assert not sprung.exists() and any("“pytorch_model.pt”" in sentence for sentence in said)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"[" * 100_000,
                                  b'{"format": "model-auditor bundle 1", "files": []}'])
def test_no_manifest_at_all(tiny, copy, data):
    (copy / "manifest.json").write_bytes(data)
    assert len(differences(copy, tiny)) == 1
    (copy / "manifest.json").unlink()
    assert "manifest.json is missing" in differences(copy, tiny)[0]


# The base, signatures, the command


def test_another_base_is_named(true, tmp_path):
    (tmp_path / "other").mkdir()
    other = boot(make_tiny(tmp_path / "other", seed=3), id="other", dtype="float32")
    said = differences(true, other)
    assert len(said) == 1 and "“other” (weights " in said[0] and "is not the base of this bundle" in said[0]


def test_without_the_base_the_question_stays_open(true):
    verdict = verify.verify(true)
    assert verdict.status == 2 and not verdict.verified
    assert [f.name for f in verdict.findings if f.ok is None] == ["base"] and "--base" in verdict.findings[-1].sentence


def test_a_base_on_the_hub_is_found_by_its_id_and_commit(tiny, tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "a" * 40
    place = tmp_path / "hub" / "models--org--tiny" / "snapshots" / commit
    shutil.copytree(tiny.folder, place)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = boot(place, id="org/tiny", dtype="float32")
    folder = made(model, scored_session(model), tmp_path / "out").folder
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["base_model"], front["base_model_relation"]) == ("org/tiny", "finetune") and commit in card
    assert verify.verify(folder).verified


def test_signatures(tiny, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    for i, key in enumerate(keys):
        (tmp_path / f"{i}.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.OpenSSH,
                                                                          serialization.PublicFormat.OpenSSH))
    folder = made(tiny, scored_session(tiny), tmp_path / "out", sign=keys[0]).folder
    verdict = verify.verify(folder, tiny, key=tmp_path / "0.pub")
    assert verdict.verified
    assert any(signature.fingerprint(keys[0].public_key()) in finding.sentence for finding in verdict.findings)
    secret = keys[0].private_bytes_raw()
    assert not any(secret in path.read_bytes() for path in folder.iterdir())
    assert "another key" in differences(folder, tiny, key=tmp_path / "1.pub")[0]
    flip(folder / "README.md", 500)
    sealed_again(folder)
    assert any("not one of this manifest" in said for said in differences(folder, tiny))
    (folder / "manifest.json.sig").write_text("nonsense")
    assert any("does not hold an SSH signature" in said for said in differences(folder, tiny))
    (folder / "manifest.json.sig").unlink()
    assert any("carries no signature" in said for said in differences(folder, tiny, key=tmp_path / "0.pub"))


def test_the_command(tiny, copy, capsys):
    assert verify.main([str(copy), "--base", str(tiny.folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "verified"
    assert verify.main([str(copy)]) == 2
    flip_tensor(copy, STATED)
    assert verify.main([str(copy), "--base", str(tiny.folder)]) == 1
    said = capsys.readouterr().out
    assert "✖" in said and said.splitlines()[-1].startswith("Not verified: ")
    assert verify.main([str(copy.parent / "nowhere")]) == 2 and "neither a folder" in capsys.readouterr().out
    assert verify.main(["owner/nothing-of-the-kind"]) == 2 and "could not be downloaded" in capsys.readouterr().out


def test_a_real_change_of_the_pocket_model_from_the_request_to_the_command(pocket, tmp_path):
    *_, last = loop.edit(pocket, REQUEST, Session(pocket.id))
    folder = made(pocket, last.session, tmp_path / "out").folder
    command = [sys.executable, "-m", "auditor.verify", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=Path(verify.__file__).parents[1])
    assert run.returncode == 0 and run.stdout.splitlines()[-1] == "verified", run.stdout + run.stderr
    assert "license: mit" in (folder / "README.md").read_text() and (folder / "LICENSE").is_file()


def test_one_step_is_allowed_where_another_processor_made_the_sums_and_two_are_not(tiny, copy):
    session = apply_factors(tiny, copy)
    for allowed in (True, False):
        flip_tensor(copy, STATED, bit=1 if allowed else 4)
        here, there = (next(iter(weighed(copy, tiny, session, made_on=device))) for device in ("cpu", "cuda"))
        assert here.ok is False and there.ok is allowed
        assert not allowed or "to within the last binary digit" in there.sentence
    flip_tensor(copy, STATED, bit=5)
    flip_tensor(copy, UNTOUCHED)
    assert next(iter(weighed(copy, tiny, session, made_on="cuda"))).ok is False


def test_many_changes_in_one_layer_are_still_exact(tiny, tmp_path):
    more = [random_edit(tiny, layers=(1,), seed=seed, scale=0.01) for seed in range(10, 24)]
    folder = made(tiny, scored_session(tiny, more=more), tmp_path / "out").folder
    assert verify.verify(folder, tiny).verified
    with safe_open(folder / "edits.safetensors", framework="pt") as file:
        assert len(list(file.keys())) == 2 * (1 + 2 + 14)
