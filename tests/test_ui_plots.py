"""Plots, tables and words: pure functions of hand-made values."""

from __future__ import annotations

import json

import pytest
import torch

from auditor.editor.boundary import BoundaryRow
from auditor.editor.look import Comparison, Look, LookRow
from auditor.types import (
    Accepted,
    Attempted,
    Check,
    Edit,
    EditRequest,
    Entry,
    Fitting,
    Rejected,
    Session,
    Traced,
    TraceResult,
    ValidationReport,
    WeightDelta,
)
from auditor.ui import plots, tables, words
from auditor.ui.story import Story

REQUEST = EditRequest("The <b>Tower</b>", "is in", "Paris", "Rome & co")
EFFECT = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.8, 0.2], [0.1, 0.3, 0.7], [0.1, 0.1, 0.9]])
TRACE = TraceResult((" The", " <b>", "\n"), (0, 2), EFFECT, clean=0.95, corrupted=0.05, noise=1.0, runs=10)
LOOK = Look("p", ((" Paris", 0.9), ("\n", 0.05), (" <i>", 0.01)), 0.9, 0.0, "Paris",
            (LookRow("q <script>", 0.8, 0.1, "<u>x</u>"),))


def an_entry(name: str = "A", layer: int = 2, fitted_on: tuple[str, ...] = ()) -> Entry:
    delta = WeightDelta(layer, torch.full((4, 1), 0.5), torch.ones(1, 2))
    edit = Edit(EditRequest(name, "is in", "Paris", "Rome"), "rome", (delta,), "f", fitted_on=fitted_on)
    return Entry(edit, a_report(layer))


def a_report(layer: int = 2, value: float = 0.5) -> ValidationReport:
    rows = ({"before": 0.02, "after": value, "new_beats_old": True},)
    return ValidationReport(layer, (Check("paraphrase", value, 0.1, "at least", "it <holds>", rows),
                                    Check("behaviour", 0.01, 0.05, "at most", "quiet")))


def test_layer_bars_ring_exactly_the_layers_above_forty_percent_of_the_peak():
    for site, ringed in (("subject", [1]), ("final", [2, 3])):
        bars, rings = plots.layer_bars(TRACE, site).data
        assert bars.y == pytest.approx(TRACE.at(site).tolist())
        assert list(rings.x) == ringed == list(TRACE.marked(site))
        assert rings.marker.symbol == "circle-open"


def test_the_grid_has_a_row_per_word_and_a_column_per_layer():
    heat = plots.grid(TRACE).data[0]
    assert (len(heat.z), len(heat.z[0])) == (3, 4)
    assert [name.startswith("▸") for name in heat.y] == [True, True, False]


def test_answer_bars_mark_by_hatching_what_begins_an_answer():
    bars = plots.answers(LOOK.top, ("Paris", "Rome")).data[0]
    assert list(bars.marker.pattern.shape) == ["/", "", ""]
    assert list(bars.x) == [0.9, 0.05, 0.01]


def test_loss_has_one_line_per_attempt_with_its_own_dash_and_symbol():
    steps = [Fitting(layer, attempt, step, 3, 5.0 - step, 0.1)
             for attempt, layer in ((1, 4), (2, 6)) for step in (1, 2, 3)]
    lines = plots.loss(steps).data
    assert [line.name for line in lines] == ["layer 4 (attempt 1)", "layer 6 (attempt 2)"]
    assert len({line.line.dash for line in lines}) == len({line.marker.symbol for line in lines}) == 2


def test_lean_shift_says_direction_by_hatching_and_by_sign():
    bars = plots.lean_shift(["a", "b"], [0.5, -0.2]).data[0]
    assert list(bars.marker.pattern.shape) == ["/", ""]
    assert list(bars.text) == ["+0.50", "-0.20"]


@pytest.mark.parametrize("figure", [
    plots.grid(TRACE), plots.answers(LOOK.top), plots.moved([], []), plots.lean_shift([], []), plots.loss([]),
    plots.layer_bars(TRACE, "final")])
def test_figures_carry_readable_numbers_and_no_markup_of_strangers(figure):
    text = figure.to_json()
    assert "bdata" not in text and "<b>" not in text and "<i>" not in text
    assert json.loads(text)["layout"]["height"] >= 90


def test_tables_escape_what_visitors_and_the_model_wrote():
    html = tables.phrasings(LOOK, REQUEST) + tables.answers(LOOK) + tables.checks([Attempted(None, a_report())])
    html += tables.compared([Comparison("<a>", "<b>", "<c>", LOOK.top, (), 0.1)])
    html += tables.boundary([BoundaryRow("<a>", "probe", 0.1, -1.0, 0.5, 1.5)])
    for tag in ("<script", "<u>", "<a>", "<b>", "<holds>", "<i>"):
        assert tag not in html
    assert "+1.50" in html and "&lt;u&gt;" in html


def test_a_look_is_said_in_plain_words():
    said = words.looked(LOOK, REQUEST)
    assert "“Paris” (90.0 %)" in said and "in 0." in said and "'" not in said


def test_checks_say_number_limit_before_and_verdict_in_shape_and_word():
    html = tables.checks([Attempted(None, a_report(value=0.05))])
    for text in ("✖ failed", "✔ passed", "at least 0.1", "below 0.05", "0.02"):
        assert text in html


def test_the_session_table_names_stale_changes_and_norms_name_target_layers_only():
    first = an_entry("A")
    second = an_entry("B", layer=1, fitted_on=(first.edit.id,))
    session = Session("m", entries=(first, second))
    assert "check again" not in tables.session(session)
    assert "check again" in tables.session(session.without(first.edit.id))
    html = tables.norms(session, 4)
    assert html.count("✔ yes") == 2 and html.count("<td>0</td>") == 2


@pytest.mark.parametrize(("passed", "said"), [(True, "✔ passed"), (False, "✖ failed"), (None, "◐ not measured")])
def test_verdicts(passed, said):
    assert words.verdict(passed) == said and said in words.light(passed)


def test_percent_never_claims_zero_or_all_by_rounding():
    assert [words.percent(x) for x in (0.0, 0.0004, 0.5, 0.9996, 1.0)] == [
        "0.0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100.0 %"]


def test_a_story_tells_an_accepted_edit():
    entry, story = an_entry(), Story(Session("m"))
    assert "Stage 1" in story.status()
    story.tell(Traced(TRACE, (2, 1), "Early."))
    story.tell(None)
    story.tell(Fitting(2, 1, 1, 4, 3.0, 0.1))
    assert story.fitting and "step 1 of 4" in story.status() and "attempt 1 of 2" in story.status()
    story.tell(Attempted(entry.edit, entry.report))
    assert not story.fitting
    story.tell(Accepted(entry, Session("m").with_entry(entry)))
    assert len(story.session.entries) == 1 and "✔ Accepted" in story.verdict()


def test_a_story_of_a_rejected_edit_gives_reasons_and_keeps_the_session():
    story = Story(before := Session("m"))
    story.tell(Rejected(REQUEST, ("Layer 2: too <weak>.",)))
    assert story.session is before and "&lt;weak&gt;" in story.verdict() and "Nothing was changed" in story.verdict()
