"""Files made to harm: no code in them is run, nothing they declare is believed, and the reason is one sentence.

`test_session_file.py` has what is merely wrong in a session file; here are the bytes of an attacker.
"""

import dataclasses
import json
import pickle
import resource
import struct
from pathlib import Path

import pytest
import torch
from make import entry, make_tiny, random_edit, session_of
from safetensors import safe_open
from safetensors.torch import save, save_file

import auditor.export.session as files
from auditor.errors import SessionRejected
from auditor.model import boot
from auditor.types import BenchmarkScore, Case
from auditor.ui import files as doors


class Trap:
    """A pickle that touches a file when it is read."""

    def __init__(self, sprung: Path):
        self.sprung = sprung

    def __reduce__(self):
        return self.sprung.touch, ()


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of any header, with any length declared."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def declared(saved: bytes, **fields) -> bytes:
    """A session file whose first tensor is declared otherwise than it is."""
    (length,) = struct.unpack_from("<Q", saved)
    header = json.loads(saved[8 : 8 + length])
    header[min(set(header) - {"__metadata__"})].update(fields)
    return raw(header, saved[8 + length :])


HUGE = 2**62
MADE = {
    "pickle called safetensors": lambda saved, trap: pickle.dumps(trap),
    "pickle of protocol 0": lambda saved, trap: pickle.dumps(trap, protocol=0),
    "torch file with code": lambda saved, trap: torched({"x": trap}),
    "torch file with tensors and code": lambda saved, trap: torched({"x": torch.zeros(2), "y": trap}),
    "torch file of tensors alone": lambda saved, trap: torched({"x": torch.zeros(2)}),
    "pickle behind a session": lambda saved, trap: saved + pickle.dumps(trap),
    "header longer than the file": lambda saved, trap: raw({}, length=HUGE),
    "header of 99 MB that is not there": lambda saved, trap: raw({}, length=99 * 2**20),
    "header of negative length": lambda saved, trap: raw({}, length=2**64 - 1),
    "header that is no object": lambda saved, trap: raw([1, 2]),
    "header in other bytes than UTF-8": lambda saved, trap: raw(b'{"\xff\xfe": 1}'),
    "huge declared shape": lambda saved, trap: declared(saved, shape=[HUGE, 1]),
    "huge declared shape with nothing in it": lambda saved, trap: declared(saved, shape=[HUGE, 0],
                                                                           data_offsets=[0, 0]),
    "product that wraps around to the true size": lambda saved, trap: declared(saved, shape=[2**32, 2**32, 256]),
    "data beyond the end": lambda saved, trap: declared(saved, data_offsets=[0, HUGE]),
    "data from before the beginning": lambda saved, trap: declared(saved, data_offsets=[-1024, 0]),
    "tensors that lie over one another": lambda saved, trap: declared(saved, data_offsets=[16, 1040]),
    "another declared precision": lambda saved, trap: declared(saved, dtype="I32"),
    "a precision that does not exist": lambda saved, trap: declared(saved, dtype="F33"),
}


def torched(value) -> bytes:
    import io

    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory) -> Path:
    """A session file with one change and one score."""
    score = BenchmarkScore("EditBench", "retention", 0.75, 0.5, 8, (0.5, 1.0), (Case("p", "Rome", 0.1, 0.9, 1.0),))
    session = session_of(tiny, random_edit(tiny))
    session = dataclasses.replace(session, entries=(dataclasses.replace(session.entries[0], scores=(score,)),))
    return files.save(session, tmp_path_factory.mktemp("saved") / "session.safetensors")


@pytest.mark.parametrize("what", MADE)
def test_bytes_of_an_attacker(tiny, saved, tmp_path, what):
    path, sprung = tmp_path / "session.safetensors", tmp_path / "sprung"
    path.write_bytes(MADE[what](saved.read_bytes(), Trap(sprung)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SessionRejected) as caught:
        files.load(path, tiny)
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and str(tmp_path) not in said and "Traceback" not in said
    assert not sprung.exists(), "code in the file was run"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000, "a declared size was believed (KB)"


def test_the_trap_does_spring_where_a_pickle_is_trusted(tmp_path):
    """Negative control."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


def test_the_unaltered_bytes_load(tiny, saved, tmp_path):
    path = tmp_path / "copy"
    path.write_bytes(declared(saved.read_bytes()))
    assert files.load(path, tiny).entries[0].scores, "the control: writing a header anew harms nothing"


@pytest.mark.parametrize("cut", range(1, 400, 37))
def test_cut_or_flipped_at_any_byte_it_is_refused_or_the_same(tiny, saved, tmp_path, cut):
    data, path = saved.read_bytes(), tmp_path / "session"
    path.write_bytes(data[:-cut])
    with pytest.raises(SessionRejected):
        files.load(path, tiny)
    (length,) = struct.unpack_from("<Q", data)
    place = 8 + length + cut
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(SessionRejected, match="altered|ordinary numbers"):
        files.load(path, tiny)


def reworded(saved: Path, path: Path, change) -> Path:
    """A copy of a session file with other words."""
    with safe_open(saved, framework="pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    words = json.loads(header["session"])
    change(words)
    save_file(tensors, path, metadata={"format": header["format"], "session": json.dumps(words)})
    return path


def in_score(**fields):
    return lambda words: words["entries"][0]["scores"][0].update(fields)


def in_case(**fields):
    return lambda words: words["entries"][0]["scores"][0]["cases"][0].update(fields)


@pytest.mark.parametrize("change", [
    in_score(name=3), in_score(dimension=["x"]), in_score(n="many"), in_score(n=True), in_score(reason={}),
    in_score(interval=[0.1]), in_score(interval=[0.1, "b"]), in_score(cases=["x"]), in_score(detail=[1]),
    in_case(prompt=1), in_case(expected=None), in_case(before="low"), in_case(score=[1]), in_case(note=7),
    in_case(code="x")])
def test_scores_of_another_kind_are_refused(tiny, saved, tmp_path, change):
    """What the page would stumble over later must not come in."""
    with pytest.raises(SessionRejected):
        files.load(reworded(saved, tmp_path / "altered", change), tiny)


def test_names_that_leave_the_folder_name_nothing(tiny, saved, tmp_path):
    def astray(words):
        words["model"] = "../../etc/passwd"
    session = files.load(reworded(saved, tmp_path / "astray", astray), tiny)
    assert session.model_id == tiny.id, "a session is called after the model in use"
    tensors = {f"../../{name}": torch.ones(2) for name in ("a", "b")}
    (tmp_path / "names").write_bytes(save(tensors, metadata={"format": files.FORMAT, "session": "{}"}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SessionRejected):
        files.load(tmp_path / "names", tiny)
    assert sorted(tmp_path.rglob("*")) == before


def test_figures_that_are_none_and_other_weights(tiny, saved, tmp_path):
    edit = random_edit(tiny)
    spoiled = dataclasses.replace(edit, patches=tuple(
        dataclasses.replace(patch, left=patch.left * float("nan")) for patch in edit.patches))
    session = dataclasses.replace(session_of(tiny, edit), entries=(entry(spoiled),))
    with pytest.raises(SessionRejected, match="ordinary numbers"):  # its id is right: an honest hash of NaN
        files.load(files.save(session, tmp_path / "nan"), tiny)
    half = {name: tensor.half() for name, tensor in files.factors_of(session_of(tiny, edit).edits).items()}
    with safe_open(saved, framework="pt") as file:
        save_file(half, tmp_path / "half", metadata=file.metadata())
    with pytest.raises(SessionRejected, match="precision"):
        files.load(tmp_path / "half", tiny)
    (tmp_path / "other").mkdir()
    other = boot(make_tiny(tmp_path / "other", seed=9), id="other", dtype="float32")
    with pytest.raises(SessionRejected, match="other weights"):
        files.load(saved, other)


def test_the_page_takes_one_session_or_the_two_files_of_a_bundle(saved, tmp_path):
    for name in ("model.pt", "code.json", "edits.json"):
        (tmp_path / name).write_text("{}")
    for paths in ([], [tmp_path / "code.json"], [saved, saved], [saved, tmp_path / "model.pt"],
                  [tmp_path / "code.json", tmp_path / "edits.json"]):
        with pytest.raises(SessionRejected):
            doors.load_session([str(path) for path in paths])
