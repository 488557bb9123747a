"""The page as it is built: four tabs of equal parts, every endpoint named, and what the desk promises. No browser."""

from __future__ import annotations

import threading
import time

import pytest

from auditor import gpu
from auditor.audits import AUDITS
from auditor.errors import InvalidRequest, Stopped
from auditor.ui import build_app, words
from auditor.ui.desk import STOPPED, Calm, Desk

ENDPOINTS = {"look", "trace", "edit", "before_after", "boundary", "undo", "restore", "bulk", "session", "load_session",
             "report", "export", "stop", "overlap", "sequence", "cases", "benchmark", "scores", "bundle",
             "push"}


@pytest.fixture(scope="module")
def page(tiny):
    gpu.host(tiny)
    return build_app(tiny)


def tree(block) -> tuple:
    """A component and all it holds, by kind only."""
    return type(block).__name__, tuple(tree(child) for child in getattr(block, "children", ()))


def tabs(page) -> list:
    wanted = {audit.title for audit in AUDITS}
    return [block for block in page.blocks.values() if getattr(block, "label", None) in wanted]


def test_the_four_tabs_have_equal_parts(page):
    trees = [tree(tab) for tab in tabs(page)]
    assert len(trees) == len(AUDITS) == 4
    assert len(set(trees)) == 1 and len(str(trees[0])) > 500


def test_every_public_endpoint_is_one_of_the_named_steps(page):
    events = page.fns.values()
    assert {event.api_name for event in events if event.api_visibility == "public"} == ENDPOINTS
    assert len([event for event in events if event.api_visibility == "public"]) == len(ENDPOINTS)


LINES = {"sequence": ("long", 1), "export": ("files", 2), "bundle": ("files", 2), "push": ("files", 2)}
"""What takes minutes must not hold up the others."""


def test_events_that_need_the_model_wait_in_one_line(page):
    for event in page.fns.values():
        if event.api_visibility == "public" and event.api_name != "stop":
            line = LINES.get(event.api_name, ("model", 1))
            assert (event.concurrency_id, event.concurrency_limit) == line


def test_every_input_has_a_label(page):
    for block in page.blocks.values():
        if type(block).__name__ in ("Textbox", "Radio", "UploadButton", "DownloadButton", "Plot", "File"):
            assert block.label, block


def events_until(flag: threading.Event):
    try:
        for i in range(10_000):
            time.sleep(0.01)
            yield i
    finally:
        flag.set()


def test_stop_ends_an_errand_and_closes_the_engine():
    desk, closed = Desk(), threading.Event()
    errand = desk.watch("me", events_until(closed))
    assert next(errand) == 0
    desk._flags["me"].set()
    with pytest.raises(Stopped):
        list(errand)
    assert closed.wait(5) and not desk._flags


def test_a_closed_page_ends_an_errand_too():
    desk, closed = Desk(), threading.Event()
    errand = desk.watch("me", events_until(closed))
    next(errand)
    errand.close()
    assert closed.wait(5)


def test_the_desk_gives_signs_of_life_and_passes_errors_on():
    def slow():
        time.sleep(0.8)
        yield "done"
        raise InvalidRequest({"subject": "No."})

    errand, seen = Desk().watch("me", slow()), []
    with pytest.raises(InvalidRequest):
        for event in errand:
            seen.append(event)
    assert seen[0] is None and seen[-1] == "done"


@pytest.mark.parametrize(("error", "said", "hidden"), [
    (InvalidRequest({"subject": "Write <it>."}), "Write &lt;it&gt;.", "<it>"),
    (Stopped(STOPPED), "nothing was changed", "✖"),
    (ValueError("a secret of the visitor"), "Something went wrong", "secret")])
def test_whatever_is_raised_becomes_a_calm_sentence(error, said, hidden):
    with Calm() as calm:
        raise error
    assert said in calm.said and hidden not in calm.said


def test_text_of_strangers_is_escaped():
    assert "<img" not in words.note("<img onerror=x>") + words.status("<img>") + words.problem("<img>")
