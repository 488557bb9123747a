"""Many changes on the page, and the word before a change that would disturb an earlier one; on the pocket model."""

from __future__ import annotations

import dataclasses

import pytest

from auditor import gpu
from auditor.benchmarks.sequence import pocket_work
from auditor.ui import sequence_runs
from auditor.ui.sequence_runs import Runs, opened, running

pytestmark = pytest.mark.timeout(300)
EIFFEL = ("The Eiffel Tower", "is located in", "Paris", "Rome")


@pytest.fixture
def fewer_facts(monkeypatch):
    """Ask a hundred facts at a checkpoint, not a thousand."""
    monkeypatch.setattr(sequence_runs, "work", lambda model, edits, seed=0: pocket_work(edits, 100, seed))


def figures(runs: Runs) -> list[dict]:
    (steps,) = runs.steps.values()
    return [{**dataclasses.asdict(dataclasses.replace(step, edit=None, seconds=0.0)), "id": step.edit.id}
            for step in steps]


def test_a_run_stopped_and_gone_on_with_has_the_figures_of_one_in_one_go(pocket_site, visit, tmp_path, fewer_facts):
    visitor, other = visit(pocket_site), visit(pocket_site)
    visitor.tab("Many changes")
    visitor.press("Go on", until="There is nothing to go on with yet")
    visitor.page.get_by_label("5 (a quick look)").locator("visible=true").first.check()
    visitor.press("Run", until="1 of 5 changes made and measured")
    other.fill(*EIFFEL)
    other.press("Look", until="the likeliest next word is")  # a run of minutes holds up nobody
    assert visitor.button("Stop").is_enabled()
    visitor.press("Stop", until="What was measured is kept: “Go on” continues from there.")
    assert "Stopped after 5" not in visitor.text()
    visitor.see("of each earlier change is left on average")
    visitor.press("Go on", until="5 changes made and measured; the model is as it was loaded.")
    visitor.see("After 5 changes with the recommended settings")
    visitor.press("Save run to files", until="Saved.")
    paths = []
    for end in ("jsonl", "safetensors"):
        with visitor.page.expect_download() as waiting:
            visitor.page.locator(f"a[download='sequence-5-default.{end}']:visible").first.click()
        waiting.value.save_as(path := tmp_path / f"run.{end}")
        paths.append(str(path))
    plan, *steps = running(gpu.hosted(), 5, ("default",))
    for event in steps:
        plan = plan.with_step(*event)
    assert figures(opened(gpu.hosted(), paths)) == figures(plan)
    visitor.tab("Changes so far")
    visitor.see("No change has been accepted yet.")  # the visitor's own session was not touched
    other.tab("Many changes")
    other.page.locator("input[type=file][accept*=jsonl]").first.set_input_files(paths)
    other.see("Loaded: 5 changes with the recommended settings, of 5")
    other.see("After 5 changes with the recommended settings")
    other.press("Go on", until="Every change of this run is made.")


def test_what_would_disturb_an_earlier_change_is_said_before_it_is_made(pocket_site, visit):
    visitor = visit(pocket_site)
    visitor.fill(*EIFFEL)
    visitor.tab("3 · Fix")
    visitor.page.get_by_text("Will it disturb my earlier changes?").locator("visible=true").first.click()
    visitor.press("Ask before trying", until="No change has been accepted yet, so there is nothing to disturb.")
    visitor.press("Try the fix", until="Accepted: layer")
    assert "on top of it" not in visitor.text()
    visitor.fill("Mount Kosciuszko", "is a kind of", "mountain", "island")
    visitor.press("Ask before trying", until="No: it would leave your earlier changes as they are")  # the control
    visitor.fill("The Eiffel Tower", "is located in", "Rome", "Berlin")
    visitor.press("Ask before trying", until="so the new one will be written on top of it")
    visitor.see("◐ same place: written on top")
    visitor.page.get_by_text("Will it disturb my earlier changes?").locator("visible=true").first.click()
    visitor.press("Try the fix", until="so the new one will be written on top of it")
    visitor.see("What happened")
    text = visitor.text()
    assert 0 <= text.index("“The Eiffel Tower is located in …”") < text.index("What happened")


def test_a_model_that_knows_too_little_is_told_so(tiny_site, visit):
    visitor = visit(tiny_site)
    visitor.tab("Many changes")
    visitor.press("Run", until="This model answers too few of the general facts")
    visitor.page.get_by_label("recommended settings").locator("visible=true").first.uncheck()
    visitor.press("Run", until="Please tick at least one of the settings.")
