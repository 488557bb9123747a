"""The visitors' files on the server, the line that tells bytes, and the push with a token from the visitor's login."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import gradio as gr
import pytest

from auditor.audits import AUDITS
from auditor.errors import SessionRejected
from auditor.export.bundle import Bundle
from auditor.ui import files, hub_panel, takeaway_panel
from auditor.ui.desk import Desk
from auditor.ui.files import KEEP, LINGER, Shelf, load_session
from auditor.ui.meter import Meter, size
from auditor.ui.panels import Page

REQUEST = SimpleNamespace(session_hash="ada")


def session(*ids):
    return SimpleNamespace(edits=[SimpleNamespace(id=i) for i in ids], entries=ids, model_id="tiny")


@pytest.fixture(autouse=True)
def uploads(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return tmp_path / "uploads"


def built(shelf, visitor="ada", of=("a",)) -> Bundle:
    """A small bundle in the visitor's place."""
    folder = shelf.place(visitor) / "tiny-edited"
    folder.mkdir()
    (folder / "edits.json").write_text("{}")
    made = Bundle(folder, tuple(folder.iterdir()), 2, "head", "One change\n\nLog head: head", {"edits.json": "0"})
    shelf.keep(visitor, made, session(*of))
    return made


# The shelf


def test_a_visitor_has_one_take_away_and_sees_no_other():
    shelf = Shelf()
    first, other = built(shelf), built(shelf, "bob")
    assert shelf.of("ada", session("a")) == first and shelf.of("bob", session("a")) == other
    assert shelf.of("eve", session("a")) is None and shelf.of(None, session("a")) is None
    second = built(shelf)
    assert not first.folder.parent.exists() and second.folder.exists() and other.folder.exists()


def test_what_was_built_for_other_changes_is_not_offered():
    shelf = Shelf()
    made = built(shelf, of=("a", "b"))
    assert shelf.of("ada", session("a", "b")) == made
    for others in (("a",), ("b", "a"), ()):
        assert shelf.of("ada", session(*others)) is None


def test_a_build_that_was_overtaken_is_not_kept():
    shelf = Shelf()
    old = built(shelf)
    shelf.place("ada")
    shelf.keep("ada", old, session("a"))
    assert shelf.of("ada", session("a")) is None


def test_files_go_when_their_time_is_over_and_soon_after_the_page_was_closed(monkeypatch):
    shelf = Shelf()
    made, stays = built(shelf), built(shelf, "bob")
    shelf.parents["ada", "ada/x"] = "0" * 40
    shelf.left(REQUEST)
    assert made.folder.exists() and not shelf.parents
    now = time.time()
    monkeypatch.setattr(files.time, "time", lambda: now + LINGER + 1)
    shelf.place("eve")
    assert not made.folder.exists() and stays.folder.exists()
    monkeypatch.setattr(files.time, "time", lambda: now + KEEP + 1)
    shelf.place("eve")
    assert not stays.folder.exists()


def test_what_a_killed_program_left_is_removed(uploads):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, ours = uploads / f"takeaway-{dead.pid}" / "x", uploads / f"takeaway-{os.getppid()}" / "x"
    left.mkdir(parents=True)
    ours.mkdir(parents=True)
    Shelf()
    assert not left.exists() and ours.exists()  # the control: that process lives


def test_the_place_is_inside_what_the_page_serves_and_cannot_be_guessed(uploads):
    one, two = Shelf().place("ada"), Shelf().place("ada")
    assert one.is_relative_to(uploads) and one.name != two.name and len(one.name) >= 20


# Bytes in words


def test_bytes_in_words():
    assert [size(n).replace("\u00a0", " ") for n in (0, 999, 1500, 2_500_000, 5_550_000_000)] == [
        "0 bytes", "999 bytes", "2 kB", "2.5 MB", "5.55 GB"]


def test_the_meter_tells_the_time_left_by_the_pace_of_this_kind_of_work(monkeypatch):
    from auditor.ui import meter

    clock = iter((0, 0, 10, 10, 10, 15))
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(clock))
    line = Meter()
    assert "left" not in line.tell("Reading", 0, 100)
    assert "about 90 s left" not in line.tell("Reading", 50, 100) and line.doing == "Reading"
    assert "left" not in line.tell("Sending", 0, 100)
    assert "about 15 s left" in line.tell("Sending", 25, 100)


# What can be loaded


@pytest.mark.parametrize(("names", "said"), [
    (["edits.json"], "choose edits.safetensors with its edits.json"),
    (["edits.safetensors", "audit_log.jsonl"], "choose edits.safetensors with its edits.json"),
    (["a.safetensors", "b.safetensors"], "Choose one session"), (["a.json", "model.pt"], "Choose one session")])
def test_files_that_do_not_belong_together_are_refused(tmp_path, names, said):
    for name in names:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(SessionRejected, match=said):
        load_session([str(tmp_path / name) for name in names])


# On a Space: the visitor's login


def panel() -> tuple[gr.Blocks, Page]:
    with gr.Blocks() as app:
        page = Page(AUDITS[0], Desk(), gr.State(None), (), 4)
        hub_panel.hub_panel(page, takeaway_panel.building, gr.State(None))
    return app, page


def pressed(app, page, token) -> str:
    """All that the handler shows, as a Space would call it."""
    handler = next(fn.fn for fn in app.fns.values() if fn.name == "handler")
    return " ".join(str(value) for update in handler(session("a"), "ada/x", True, "", REQUEST, token)
                    for value in update.values())


@pytest.fixture
def space(monkeypatch, hub):
    """A Space's environment. Gradio's own button wants the secrets of a real one as soon as it is drawn."""
    monkeypatch.setattr(gr, "LoginButton", lambda: gr.Checkbox(label="LoginButton"))
    monkeypatch.setenv("SPACE_ID", "ada/space")
    monkeypatch.setenv("OAUTH_CLIENT_ID", "client")
    return hub


def drawn(app) -> dict[str, bool]:
    return {getattr(block, "label", None) or type(block).__name__: getattr(block, "visible", True)
            for block in app.blocks.values()}


def test_elsewhere_there_is_a_password_box_and_no_login():
    shown = drawn(panel()[0])
    assert shown["Token"] and "LoginButton" not in shown


def test_on_a_space_the_token_is_the_visitors_own(space):
    app, page = panel()
    assert not drawn(app)["Token"] and "LoginButton" in drawn(app)
    built(page.desk.shelf)
    assert hub_panel.LOGIN in pressed(app, page, None) and not space.asked
    said = pressed(app, page, gr.OAuthToken(token="hf_good", scope="contribute-repos", expires_at=2**31))
    assert "Pushed to" in said and "hf_good" not in said
    assert set(space.repos["ada/x"].commits[-1].files) == {"edits.json"}
    assert page.desk.shelf.parents["ada", "ada/x"] == space.repos["ada/x"].commits[-1].sha


def test_a_commit_by_somebody_else_is_met_once_and_then_built_upon(space):
    app, page = panel()
    built(page.desk.shelf)
    token = gr.OAuthToken(token="hf_good", scope="contribute-repos", expires_at=2**31)
    assert "Pushed to" in pressed(app, page, token)
    space.repos["ada/x"].add("somebody else", {})
    assert "changed by somebody else since" in pressed(app, page, token)
    assert space.repos["ada/x"].commits[-1].message == "somebody else"
    assert "Pushed to" in pressed(app, page, token)
