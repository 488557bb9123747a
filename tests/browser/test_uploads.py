"""Harmful session files on the real page: each is refused in one sentence, and the session that was there stays."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch
from make import entry, random_edit, session_of

from auditor.export import session as session_file

pytestmark = pytest.mark.timeout(300)


class Trap:
    """A pickle that touches a file when it is read."""

    def __init__(self, sprung):
        self.sprung = sprung

    def __reduce__(self):
        return self.sprung.touch, ()


def upload(visitor, path) -> None:
    visitor.page.locator("input[type=file][accept*=safetensors]").first.set_input_files(path)


def test_after_each_refusal_the_old_session_is_still_there(tiny, tiny_site, visit, tmp_path):
    held, edit = random_edit(tiny), random_edit(tiny, seed=5)
    good = session_file.save(session_of(tiny, held), tmp_path / "good.safetensors")
    nan = dataclasses.replace(edit, patches=tuple(
        dataclasses.replace(patch, left=patch.left * float("nan")) for patch in edit.patches))
    foreign = dataclasses.replace(edit, fingerprint="0" * 16)
    bad = {name: tmp_path / f"{name}.safetensors" for name in ("pickle", "torch", "cut", "nan", "foreign")}
    bad["pickle"].write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    torch.save({"x": Trap(tmp_path / "sprung")}, bad["torch"])
    bad["cut"].write_bytes(good.read_bytes()[:-100])
    session_file.save(dataclasses.replace(session_of(tiny, edit), entries=(entry(nan),)), bad["nan"])
    session_file.save(dataclasses.replace(session_of(tiny, foreign), fingerprint="0" * 16), bad["foreign"])
    said = {"nan": "is not made of ordinary numbers", "foreign": "were made for other weights"}

    visitor = visit(tiny_site)
    visitor.tab("· Changes")
    upload(visitor, good)
    visitor.see("Loaded 1 change, in place of the 0 before.")
    table = visitor.page.locator("table:visible:has-text('Accepted changes')").first
    before = table.inner_text()
    assert "Eiffel" in before
    for name in ("pickle", "nan", "torch", "foreign", "cut"):  # two that are alike never follow one another
        upload(visitor, bad[name])
        visitor.see(said.get(name, "is not a session file, or it was cut short"))
        assert table.inner_text() == before and "Traceback" not in visitor.text()
    assert not (tmp_path / "sprung").exists()
    with visitor.page.expect_download() as waiting:
        visitor.button("Save session to a file").click()
    waiting.value.save_as(tmp_path / "again.safetensors")
    assert [each.id for each in session_file.load(tmp_path / "again.safetensors", tiny).edits] == [held.id]
