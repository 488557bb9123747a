"""The take-away: what was validated is what is written, bit for bit, and nothing is left behind by a failure."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from make import logits, random_edit, session_of
from safetensors import safe_open
from safetensors.torch import load_file

import auditor.export.checkpoint as checkpoint
from auditor.editor.boundary import boundary
from auditor.editor.look import compare
from auditor.errors import NotEnoughRoom, SessionRejected, UserError
from auditor.export import noting
from auditor.export.report import report
from auditor.model import boot
from auditor.types import Session


def reread(path, model):
    """The exported file as plain transformers read it."""
    from transformers import AutoConfig, GPTNeoXForCausalLM

    state = torch.load(path, weights_only=True)
    config = AutoConfig.from_pretrained(model.folder)
    return GPTNeoXForCausalLM.from_pretrained(None, config=config, state_dict=state, dtype=model.dtype,
                                              attn_implementation="eager").eval()


def live(model, edits=()):
    with model.applied(edits), torch.no_grad():
        return model.hf(model.pad([model.tokens("The Eiffel Tower is located in Rome, it is known.")])).logits


@torch.no_grad()
def reads(network, model):
    return network(model.pad([model.tokens("The Eiffel Tower is located in Rome, it is known.")])).logits


def test_the_file_equals_the_live_edited_model_bit_for_bit(tiny, tmp_path):
    session = session_of(tiny, random_edit(tiny, layers=(1,), seed=1), random_edit(tiny, layers=(1, 2), seed=2))
    out = checkpoint.export(tiny, session, tmp_path)
    logits_read = reads(reread(out.checkpoint, tiny), tiny)
    assert torch.equal(logits_read, live(tiny, session.edits))
    assert not torch.equal(logits_read, live(tiny)), "the unedited model must differ"


def test_the_pocket_model_too(pocket, tmp_path):
    session = session_of(pocket, random_edit(pocket, layers=(2,)))
    out = checkpoint.export(pocket, session, tmp_path)
    assert torch.equal(reads(reread(out.checkpoint, pocket), pocket), live(pocket, session.edits))


def test_key_names_and_tensors_are_the_base_checkpoints(tiny, tmp_path):
    session = session_of(tiny, random_edit(tiny, layers=(2,)))
    state = torch.load(checkpoint.export(tiny, session, tmp_path).checkpoint, weights_only=True)
    base = load_file(tiny.folder / "model.safetensors")
    assert sorted(state) == sorted(base) and "embed_out.weight" in state
    different = [name for name in base if not torch.equal(state[name], base[name])]
    assert different == ["gpt_neox.layers.2.mlp.dense_4h_to_h.weight"]
    assert all(type(value) is torch.Tensor for value in state.values())


@pytest.mark.parametrize(("stored", "runs"), [("float16", "float32"), ("float16", "float16"), ("float32", "bfloat16")])
def test_one_precision_the_live_one(tiny, tmp_path, stored, runs):
    from transformers import GPTNeoXForCausalLM

    folder = tmp_path / "base"
    shutil.copytree(tiny.folder, folder)
    GPTNeoXForCausalLM.from_pretrained(tiny.folder, dtype=getattr(torch, stored)).save_pretrained(folder)
    model = boot(folder, id="stored in another precision", dtype=runs)
    session = session_of(model, random_edit(model))
    out = checkpoint.export(model, session, tmp_path)
    state = torch.load(out.checkpoint, weights_only=True)
    assert {tensor.dtype for tensor in state.values()} == {getattr(torch, runs)}
    assert torch.equal(reads(reread(out.checkpoint, model), model), live(model, session.edits))


def test_shards_and_bin_files(tiny, tmp_path):
    expected = checkpoint.state_dict(tiny, (random_edit(tiny),))
    sharded, binary = tmp_path / "sharded", tmp_path / "bin"
    for folder in (sharded, binary):
        shutil.copytree(tiny.folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    from transformers import GPTNeoXForCausalLM
    GPTNeoXForCausalLM.from_pretrained(tiny.folder).save_pretrained(sharded, max_shard_size="200KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    extra = {"gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool)}
    torch.save(load_file(tiny.folder / "model.safetensors") | extra, binary / "pytorch_model.bin")
    for folder in (sharded, binary):
        model = boot(folder, id="another form", dtype="float32")
        state = checkpoint.state_dict(model, (random_edit(model),))
        assert sorted(state) == sorted(expected)
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_the_file_is_no_larger_than_its_tensors(tiny, tmp_path):
    out = checkpoint.export(tiny, session_of(tiny, random_edit(tiny)), tmp_path)
    numbers = sum(t.nbytes for t in load_file(tiny.folder / "model.safetensors").values())
    assert out.size == out.checkpoint.stat().st_size < numbers + 64 * 1024
    assert zipfile.ZipFile(out.checkpoint).testzip() is None


def test_no_second_model_in_memory(tmp_path):
    """A file of 100 MB is written by a process that grows by far less, once what is mapped is not counted."""
    from safetensors.torch import save_file

    big = tmp_path / "model.safetensors"
    save_file({f"part.{i}": torch.zeros(6_250_000) for i in range(4)}, big)
    tensors = checkpoint._mapped(big)
    assert all(t.untyped_storage().nbytes() == t.nbytes for t in tensors.values())
    anonymous = int(Path("/proc/self/statm").read_text().split()[5])  # data pages, without what is mapped from files
    list(checkpoint.saving(tensors, tmp_path / "out.pt"))
    grown = (int(Path("/proc/self/statm").read_text().split()[5]) - anonymous) * os.sysconf("SC_PAGESIZE")
    assert grown < 30e6
    big.unlink(), (tmp_path / "out.pt").unlink()


def test_progress_ends_with_the_export(tiny, tmp_path):
    *progress, out = checkpoint.exporting(tiny, session_of(tiny, random_edit(tiny)), tmp_path)
    assert isinstance(out, checkpoint.Exported) and progress[-1][0] == progress[-1][1] > 0


def test_stop_half_way_leaves_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PULSE", 0.0)
    slow = checkpoint._Watched.write
    monkeypatch.setattr(checkpoint._Watched, "write", lambda self, data: (self.stopped.wait(0.02), slow(self, data))[1])
    steps = checkpoint.exporting(tiny, session_of(tiny, random_edit(tiny)), tmp_path)
    done, total = next(steps)
    assert done < total
    steps.close()
    assert list(tmp_path.iterdir()) == []
    logits(tiny)


def test_too_little_room(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(NotEnoughRoom, match="GB left"):
        checkpoint.export(tiny, session_of(tiny, random_edit(tiny)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_take_away_and_foreign_sessions(tiny, tmp_path):
    with pytest.raises(UserError, match="accept a change"):
        checkpoint.export(tiny, Session(tiny.id), tmp_path)
    with pytest.raises(SessionRejected):
        checkpoint.export(tiny, Session("other", "0" * 16, session_of(tiny, random_edit(tiny)).entries), tmp_path)


def test_another_visitors_edit_is_not_in_the_file(tiny):
    """The live tensors are fetched under the lock, with no edits applied."""
    with tiny.applied((random_edit(tiny),)):
        during = tiny.w_out(1).clone()
    state = checkpoint.state_dict(tiny, (random_edit(tiny, layers=(2,)),))
    assert torch.equal(state["gpt_neox.layers.1.mlp.dense_4h_to_h.weight"], tiny.w_out(1))
    assert not torch.equal(during, tiny.w_out(1))


def test_factors_and_record(tiny, tmp_path):
    edit = random_edit(tiny, layers=(1, 2))
    out = checkpoint.export(tiny, session_of(tiny, edit), tmp_path)
    with safe_open(out.factors, framework="pt") as file:
        assert sorted(file.keys()) == [f"{edit.id}.{i}.{side}" for i in (0, 1) for side in ("left", "right")]
        assert torch.equal(file.get_tensor(f"{edit.id}.1.left"), edit.patches[1].left)
    record = json.loads(out.record.read_text())
    assert record["fingerprint"] == tiny.fingerprint and record["edits"][0]["id"] == edit.id
    assert record["edits"][0]["layers"] == [1, 2] and record["edits"][0]["checks"][0]["passed"] is True
    assert set(record["versions"]) == {"torch", "transformers", "safetensors"}
    assert not list(tmp_path.glob("*.part"))


def test_names_of_this_machine_stay_here(tiny, tmp_path):
    model = boot(tiny.folder, id=str(tiny.folder), dtype="float32")
    session = session_of(model, random_edit(model))
    out = checkpoint.export(model, session, tmp_path)
    said = json.dumps(report(session, model)) + out.record.read_text()
    assert str(tiny.folder.parent) not in said and out.checkpoint.name == f"{tiny.folder.name}-edited.pt"


def test_report_is_json_with_all_the_evidence(tiny):
    edit = random_edit(tiny)
    session = session_of(tiny, edit)
    session = session.noted("rejected", {"request": edit.request, "attempts": [session.entries[0].report]})
    session = noting.compared(session, compare(tiny, ["A bell rang"], after=session.edits))
    session = noting.bounded(session, boundary(tiny, after=session.edits, request=edit.request))
    value = report(session, tiny)
    again = json.loads(json.dumps(value, allow_nan=False))
    assert again == value
    assert value["changes"][0]["checks"][0]["value"] == 0.5 and value["changes"][0]["passed"] is True
    asked, = value["before_after"]
    assert asked["changes"] == [edit.id] and asked["rows"][0]["prompt"] == "A bell rang" and asked["rows"][0]["moved"]
    assert len(value["refusal_boundary"][0]["rows"]) == 8
    assert value["norms"] == {"1": pytest.approx(edit.patches[0].norm)} and value["limits"]["paraphrase"] == 0.10
    assert value["rejected"][0]["attempts"][0]["checks"][0]["value"] == 0.5
    assert [row["action"] for row in value["log"]] == ["rejected", "compared", "boundary"]
    assert value["log"][-1]["hash"] == value["log_head"] == session.head
