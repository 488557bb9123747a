"""Many changes on the page, without a browser: plots and words of hand-made steps; tasks and files on a tiny model."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from make import random_edit

from auditor.benchmarks import sequence
from auditor.benchmarks.sequence import SequenceStep, summary
from auditor.editor import find_method, find_preset
from auditor.editor.overlap import Overlap, OverlapRow
from auditor.errors import SessionRejected, UserError
from auditor.types import EditRequest
from auditor.ui import sequence_plots as plots
from auditor.ui import sequence_runs, tables
from auditor.ui import sequence_words as said
from auditor.ui.sequence_panel import Clock
from auditor.ui.sequence_runs import COUNTS, WAYS, Runs, opened, running, save, told, trying, work

ROME = find_method("rome")
SUBJECTS = ("The Eiffel Tower", "The Colosseum", "A bell", "The market")
REQUESTS = [EditRequest(subject, "is located in", "Rome", "the evening") for subject in SUBJECTS]
FACTS = [("The market was", "busy"), ("In fact, the weather was", "mild")]


@pytest.fixture(scope="module")
def steps(tiny) -> tuple[SequenceStep, ...]:
    """Four steps; the second looked at nothing, the fourth change did not take, the first was lost."""
    def step(number, retention=(), **more):
        request = dataclasses.replace(REQUESTS[number - 1], target_new="<b>x</b>")
        return SequenceStep(number, random_edit(tiny, request=request, seed=number), 0.3, more.pop("own", 0.9),
                            1 - number / 20, 2.0, retention, **more)
    return (step(1, (1.0,), held=1.0, facts_kept=1.0, facts=7, entropy=3.0, entropy_ratio=1.0), step(2),
            step(3, (0.25, 0.95, 1.0), held=0.5),
            step(4, (0.2, 0.9, 1.0, 1.0), own=0.1, held=0.25, facts_kept=0.5, facts=7, entropy=1.5, entropy_ratio=0.5))


# Plots: values land where they should


def test_curves_hold_each_figure_at_its_step_and_none_where_nothing_was_measured(steps):
    found = {"default": steps, "seed": steps[:1]}
    expected = {"retention": [1.0, None, pytest.approx(2.2 / 3), pytest.approx(2.1 / 3)],
                "perplexity": pytest.approx([0.95, 0.9, 0.85, 0.8]), "facts": [1.0, None, None, 0.5],
                "entropy": [1.0, None, None, 0.5]}
    for name, values in expected.items():
        first, second = plots.curves(found, said.MEASURES[name]).data
        assert list(first.x) == [1, 2, 3, 4] and list(first.y) == values
        assert 0 not in first.y and (len(second.x), second.name) == (1, "original recipe")
    assert plots.curves(found, said.MEASURES["retention"]).data[0].y[3] == pytest.approx(summary(steps)["retention"])


def test_the_limit_is_drawn_where_there_is_one_and_is_in_sight(steps):
    for name, measure in said.MEASURES.items():
        figure = plots.curves({"default": steps}, measure)
        lines = [shape.y0 for shape in figure.layout.shapes]
        assert lines == ([0.85] if name in ("retention", "perplexity") else [])
        low, high = figure.layout.yaxis.range
        assert all(low <= y <= high for y in [*lines, *(y for y in figure.data[0].y if y is not None)])


def test_ways_differ_in_dash_and_marker_and_keep_theirs_whichever_are_shown(steps):
    lines = plots.curves(dict.fromkeys(WAYS, steps), said.MEASURES["facts"]).data
    assert len({(line.line.dash, line.marker.symbol) for line in lines}) == len({line.line.dash for line in lines}) == 3
    (alone,) = plots.curves({"seed": steps}, said.MEASURES["facts"]).data
    assert (alone.line.dash, alone.marker.symbol) == (lines[2].line.dash, lines[2].marker.symbol)


def test_a_figure_that_no_step_has_draws_no_line(steps):
    assert plots.curves({"default": steps[1:2]}, said.MEASURES["facts"]).data == ()
    wrecked = dataclasses.replace(steps[0], entropy_ratio=float("nan"))
    assert plots.curves({"default": [wrecked]}, said.MEASURES["entropy"]).data == ()


def test_the_matrix_has_a_row_for_each_look_and_a_cross_on_what_was_lost(steps):
    heat, cross = plots.retention(steps).data
    assert list(heat.y) == ["after 1", "after 3", "after 4"] and list(heat.x) == [1, 2, 3, 4]
    assert [list(row) for row in heat.z] == [[1.0, None, None, None], [0.25, 0.95, 1.0, None], [0.2, 0.9, 1.0, 1.0]]
    assert list(zip(cross.x, cross.y)) == [(1, "after 3"), (1, "after 4")]
    assert "<b>" not in str(heat.customdata)


# Words


def test_one_sentence_with_the_figures_of_the_summary(steps):
    text = said.sentences({"default": steps})
    assert "After 4 changes with the recommended settings, 70.0 % of each earlier change is left on average" in text
    assert "0.8 times as likely as before; 50.0 % of the 7 facts" in text and "1 change that did not take" in text
    assert "✖" in text and "✔" in said.sentences({"seed": steps[:1]})
    assert said.sentences({}) == "" and "not looked at" in said.sentences({"open": steps[1:2]})
    assert "(after change" not in text and "answered (after change 1)." in said.sentences({"open": steps[:3]})
    assert "facts it knew" not in said.sentences({"seed": [dataclasses.replace(steps[0], facts_kept=None)]})
    assert "none of 1 change took" in said.sentences({"seed": [dataclasses.replace(steps[0], own=0.0)]})


def test_tables_say_what_was_not_measured_and_escape_what_was_asked(steps):
    rows = said.by_step("x", steps)
    assert rows.count("<tr>") == 1 + 3 and "—" in rows and "20.0 % (change 1)" in rows and "<b>x" not in rows
    overview = said.overview({"default": steps, "open": steps[1:2]})
    assert overview.count("<tr>") == 1 + 1 and "✖ failed" in overview
    worst = said.lost("x", steps)
    assert worst.index("The Eiffel Tower") < worst.index("The market") and "did not take" in worst
    assert "Colosseum" not in worst and said.lost("x", steps[:1]) == said.lost("x", ()) == ""


def test_an_overlap_is_told_row_by_row():
    row = OverlapRow(0, "a", "The <i>Colosseum</i> is in", 0.99, 0.99)
    table = tables.overlap(Overlap((row, dataclasses.replace(row, share=0.3, left=0.2),
                                    dataclasses.replace(row, share=0.3, left=0.01), dataclasses.replace(row, share=0.01,
                                                                                                       left=0.01))))
    for text in ("written on top", "◐ disturbed", "✔ spared", "✔ out of the way", "99.0 %", "&lt;i&gt;"):
        assert text in table


def test_remaining_time_follows_the_pace_since_the_run_began(steps):
    clock, runs = Clock(), Runs(tuple(REQUESTS), steps={"default": steps[:2]})
    assert "as it was loaded" in clock.status(None, ["default"])
    clock.began, clock.steps = clock.began - 20, 1
    assert "2 of 4 changes" in clock.status(runs, ["default"]) and "about 40 s left" in clock.status(runs, ["default"])
    assert (runs.done(["default", "seed"]), runs.left(["default", "seed"])) == (2, 6)


# Tasks and files, on the tiny model


@pytest.fixture(scope="module")
def brief():
    """Both presets with few steps at layer 1, and fixed work, so that a random model can be taken through a run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("default", "seed"):
            few = dataclasses.replace(find_preset(ROME, name), steps=3, contexts_for_key=4, contexts_for_value=2)
            patch.setitem(ROME.presets, name, few)
        patch.setattr(sequence, "best_layer", lambda *args, **named: 1)
        patch.setattr(sequence_runs, "work", lambda model, edits, seed=0: (REQUESTS[:edits], FACTS))
        yield


def collected(events, runs=None) -> Runs:
    for event in events:
        runs = event if isinstance(event, Runs) else runs.with_step(*event)
    return runs


def figures(runs: Runs) -> dict:
    return {way: [{**dataclasses.asdict(dataclasses.replace(step, edit=None, seconds=0.0)), "id": step.edit.id}
                  for step in steps] for way, steps in runs.steps.items()}


@pytest.fixture(scope="module")
def whole(tiny, brief) -> Runs:
    return collected(running(tiny, 3, ("default", "seed")))


def test_ways_take_turns_so_that_they_can_be_compared_at_any_time(tiny, brief, whole):
    order = [event[0] for event in list(running(tiny, 2, ("default", "open")))[1:]]
    assert order == ["default", "open"] * 2
    assert {way: [step.step for step in steps] for way, steps in whole.steps.items()} == {"default": [1, 2, 3],
                                                                                         "seed": [1, 2, 3]}
    assert figures(whole)["default"] != figures(whole)["seed"]
    assert all(len(step.retention) == step.step for step in whole.steps["default"])


def test_a_stopped_run_goes_on_to_the_same_figures(tiny, brief, whole):
    going, runs = running(tiny, 3, ("default", "seed")), None
    for event, _ in zip(going, range(4)):
        runs = event if isinstance(event, Runs) else runs.with_step(*event)
    going.close()
    assert runs.done(("default", "seed")) == 3
    assert figures(collected(running(tiny, 3, ("default", "seed"), kept=runs))) == figures(whole)
    assert collected(running(tiny, 3, ("default", "seed"), kept=whole)).left(("default", "seed")) == 0
    with tiny.applied():
        assert not torch.equal(tiny.merged(1, whole.steps["default"][0].edit.patches[0]), tiny.w_out(1))


def test_files_carry_a_run_over_and_are_the_command_lines(tiny, brief, whole, tmp_path):
    paths = save(tiny, whole, tmp_path)
    assert [path.rsplit("-", 1)[1] for path in paths] == ["default.jsonl", "default.safetensors", "seed.jsonl",
                                                         "seed.safetensors"]
    back = opened(tiny, paths)
    assert figures(back) == figures(whole) and (back.requests, back.measures) == (whole.requests, whole.measures)
    other = shutil.copy(paths[1], tmp_path / "another name.safetensors")
    assert figures(opened(tiny, [paths[0], str(other)]))["default"] == figures(whole)["default"]


def spoiled(paths, tmp_path, **changes):
    """The first pair with some fields of its second line, or of its head by `head_`, replaced."""
    head, row, *rest = open(paths[0], encoding="utf-8").read().splitlines()
    head, row = json.loads(head), json.loads(row)
    for name, value in changes.items():
        (head if name.startswith("head_") else row)[name.removeprefix("head_")] = value
    path = tmp_path / "spoiled.jsonl"
    path.write_text("\n".join([json.dumps(head), json.dumps(row), *rest]) + "\n", encoding="utf-8")
    shutil.copy(paths[1], path.with_suffix(".safetensors"))
    return [str(path), str(path.with_suffix(".safetensors"))]


@pytest.mark.parametrize(("changes", "match"), [
    ({"own": "much"}, "Step 1"), ({"own": None}, "Step 1"), ({"perplexity_ratio": float("nan")}, "Step 1"),
    ({"retention": [1.0, 1.0]}, "Step 1"), ({"held": True}, "Step 1"), ({"layers": [99]}, "Edit 1"),
    ({"id": "x"}, "damaged"), ({"head_edits": 10**9}, "1000000000 changes"), ({"head_edits": "3"}, "it holds 3"),
    ({"head_preset": "own"}, "settings"), ({"head_config": {}}, "settings"), ({"head_every": 0}, "at which steps"),
    ({"head_requests": "0"}, "another run"), ({"head_fingerprint": "0"}, "another run"),
    ({"request": []}, "not a saved"),
    ({}, "")])
def test_files_of_strangers_are_checked(tiny, brief, whole, tmp_path, changes, match):
    paths = spoiled(save(tiny, whole, tmp_path), tmp_path, **changes)
    if not changes:  # the control: the same way of writing, nothing spoiled
        assert figures(opened(tiny, paths))["default"] == figures(whole)["default"]
        return
    with pytest.raises(SessionRejected, match=match):
        opened(tiny, paths)


def test_half_of_a_pair_and_two_runs_that_do_not_belong_together_are_refused(tiny, brief, whole, tmp_path):
    paths = save(tiny, whole, tmp_path)
    for some in ([], paths[:1], paths[1:2], paths[:3]):
        with pytest.raises(SessionRejected, match="two files"):
            opened(tiny, some)
    (tmp_path / "x").mkdir()
    twice = [shutil.copy(path, tmp_path / "x" / f"again{path[path.rindex('.'):]}") for path in paths[:2]]
    with pytest.raises(SessionRejected, match="same settings"):
        opened(tiny, [*paths[:2], *map(str, twice)])
    shorter = collected(running(tiny, 2, ("seed",)))
    with pytest.raises(SessionRejected, match="different changes"):
        opened(tiny, [*paths[:2], *save(tiny, shorter, tmp_path / "x")])


def test_the_endpoints_words_are_checked_and_its_answer_is_plain(tiny, brief, whole):
    answer = told(list(trying(tiny, 2, "default", False)))
    assert json.loads(json.dumps(answer)) == answer and answer["edits"] == answer["summary"]["edits"] == 2
    assert [row["step"] for row in answer["steps"]] == [1, 2] and len(answer["steps"][1]["retention"]) == 2
    for edits in (0, COUNTS[-1] + 1, 2.5, None, "3"):
        with pytest.raises(UserError, match="whole number"):
            next(trying(tiny, edits, "default", True))
    with pytest.raises(UserError, match="default"):
        next(trying(tiny, 2, "defalt", True))


def test_a_model_that_knows_nothing_is_told_so(tiny, monkeypatch):
    monkeypatch.setattr(sequence_runs, "work", work)
    assert work(tiny, 5)[0] == []
    with pytest.raises(UserError, match="too few"):
        next(running(tiny, 5, ("default",)))
