"""The quality profile in words, cards and pictures; its questions as text; and how it is told. No browser."""

from __future__ import annotations

import dataclasses
import re

import pytest
from make import random_edit, session_of

from auditor import gpu
from auditor.benchmarks import BENCHMARKS, Cases, Scoring
from auditor.benchmarks.cases import COLUMNS, Item
from auditor.editor import find_method
from auditor.errors import InvalidRequest, UserError
from auditor.types import BenchmarkScore, Case, Edit, EditRequest
from auditor.ui import cards, measuring, quality_panel, quality_plots
from auditor.ui.cards import READ, READINGS
from auditor.ui.measuring import Measuring, Rival

REQUEST = EditRequest("The Eiffel Tower", "is located in", "Paris", "Rome")
EVIL = "<img src=x onerror=alert(1)>"


def score(name: str, value: float | None, interval=None, **more) -> BenchmarkScore:
    known = BENCHMARKS[name]
    return BenchmarkScore(name, known.dimension, value, known.threshold, 8, interval, **more)


def profile(**values) -> tuple[BenchmarkScore, ...]:
    """All benchmarks at 0.9, but for the named ones (spaces as underscores)."""
    return tuple(score(name, values.get(name.replace(" ", "_"), 0.9)) for name in BENCHMARKS)


# Pictures


def at(html: str, part: str) -> float:
    return float(re.search(rf'class="{part}" style="(?:left|width):([\d.]+)%', html)[1])


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_marker_stands_at_the_limit_and_the_bar_ends_at_the_score(name):
    html = quality_plots.track(score(name, 0.637, (0.52, 0.71)))
    assert at(html, "limit") == pytest.approx(100 * BENCHMARKS[name].threshold, abs=0.01)
    assert at(html, "fill") == pytest.approx(63.7) and at(html, "whisker") == pytest.approx(52)
    assert "width:19.00%" in html


def test_what_was_not_measured_has_a_limit_but_no_bar():
    html = quality_plots.track(score("LEME", None))
    assert 'class="limit"' in html and 'class="fill"' not in html and "not measured" in html


@pytest.mark.parametrize(("value", "shown"), [(0.69999, "69.9 %"), (0.7, "70.0 %"), (0.9999, "> 99.9 %"), (None, "—"),
                                              (0.0, "0.0 %")])
def test_a_figure_never_seems_to_reach_a_limit_that_it_missed(value, shown):
    assert quality_plots.figure(score("RippleBench", value)) == shown


def test_the_interval_is_rounded_outwards():
    assert quality_plots.between(score("LEME", 0.5, (0.40009, 0.60001))) == "90 % interval 40.0 to 60.1 %"


def test_the_radar_has_an_axis_per_score_and_a_gap_where_nothing_was_measured():
    whole, torn = quality_plots.radar(profile()), quality_plots.radar(profile(LEME=None))
    assert whole.count("<line") == torn.count("<line") == len(BENCHMARKS)
    assert 'class="area"' in whole and 'class="area"' not in torn
    assert torn.count('class="side"') == len(BENCHMARKS) - 2 and torn.count('class="corner') == len(BENCHMARKS) - 1
    assert quality_plots.point(0, 13, 1.0) == (0, -quality_plots.RADIUS)


# In words


@pytest.mark.parametrize("row", READINGS, ids=lambda row: row.title)
def test_each_row_is_reached_by_a_profile_and_is_the_only_one_marked(row):
    values = {name: 0.95 if high else 0.05 for name, high in zip(READ, row.high, strict=True)}
    scores = profile(**values)
    assert cards.reading(scores) is row
    assert f"Read together: {row.title}." in cards.summary(scores)
    html = cards.reading_table(scores)
    marked = re.findall(r'<tr class="here" aria-current="true">.*?</tr>', html)
    assert len(marked) == 1 and "▶" in marked[0] and row.title in marked[0] and html.count("▶") == 1


@pytest.mark.parametrize("high", [(True, False, False), (False, True, True), (False, False, False)])
def test_a_profile_that_fits_no_row_gets_an_honest_sentence(high):
    scores = profile(**{name: 0.95 if ok else 0.05 for name, ok in zip(READ, high, strict=True)})
    assert cards.reading(scores) is None
    assert "none of the four usual patterns fits" in cards.summary(scores)
    assert "none of the four usual patterns fits" in cards.reading_table(scores)
    assert not any(f"{row.title}. {row.meaning}" in cards.summary(scores) for row in READINGS)


def test_without_one_of_the_three_nothing_is_read_together():
    assert "RippleBench was not measured" in cards.read(profile(RippleBench=None))
    assert cards.reading(profile(RippleBench=None)) is None


def test_the_sentence_counts_names_the_worst_first_and_warns_of_what_is_close():
    scores = list(profile(RippleBench=0.6, LocalitySens=0.1, LEME=None))
    assert cards.summary(scores).startswith("10 of 12 measured benchmarks passed; 1 was not measured. Below the limit: "
                                            "LocalitySens (10.0 %, limit 60 %) and RippleBench (60.0 %, limit 70 %).")
    scores[0] = score("EditBench", 0.55, (0.45, 0.65))
    assert "EditBench is too close to the limit to be sure" in cards.summary(scores)
    assert "too close" not in cards.summary(profile())
    assert cards.summary(cards.complete(())) == "Nothing has been measured yet."


def test_free_answers_that_lag_are_pointed_out():
    scores = list(profile())
    assert "Writing freely" not in cards.summary(scores)
    scores[0] = score("EditBench", 0.98, detail={"free": 0.4})
    assert "does less well than EditBench suggests (EditBench: 40.0 % against 98.0 %)" in cards.summary(scores)


# Cards


def test_a_profile_is_completed_in_the_order_of_the_registry_and_never_by_zeros():
    scores = cards.complete([score("zsRE", 0.5)])
    assert [s.name for s in scores] == list(BENCHMARKS)
    assert [s.value for s in scores] == [None] * (len(BENCHMARKS) - 1) + [0.5]
    assert "0.0 %" not in cards.cards(scores[:-1]) and cards.cards(scores).count("It has not been run yet.") == 12


def test_a_card_says_everything_and_opens_to_its_cases():
    case = Case("Where is it?", "Rome", 0.021, 0.987, 0.987, "a note")
    html = cards.card(score("EditBench", 0.987, (0.9, 0.995), cases=(case,), detail={"free": 0.75, "ES": 1.0}))
    for text in ("EditBench", BENCHMARKS["EditBench"].describe, "98.7 %", "✔ passed", "limit 50 %", "8 cases",
                 "90 % interval 90.0 to 99.5 %", "right when writing freely: 75.0 %", "Where is it?", "2.1 %",
                 "a note"):
        assert text in html, text
    assert html.startswith("<details") and html.index("</summary>") < html.index("Where is it?")
    assert "✖ not passed" in cards.card(score("EditBench", 0.4))
    bare = cards.card(score("EditBench", None, reason="Only 2 usable cases."))
    assert "○ not measured" in bare and "Only 2 usable cases." in bare and "0.0 %" not in bare


def test_what_strangers_wrote_is_escaped_everywhere():
    case = Case(EVIL, EVIL, 0.1, 0.2, 0.2, EVIL)
    wild = BenchmarkScore(EVIL, EVIL, 0.5, 0.4, 1, (0.4, 0.6), (case,), EVIL, {EVIL: 1.0, "by": {EVIL: 2.0}})
    missing = dataclasses.replace(wild, value=None)
    column = cards.Column(EVIL, EVIL, EVIL, EVIL, (wild,))
    html = "".join((cards.card(wild), cards.card(missing), quality_plots.bars([wild]), quality_plots.radar([wild]),
                    cards.comparison([column]), cards.reading_table([wild])))
    assert "<img" not in html and "&lt;img" in html


def test_figures_without_a_value_are_a_dash():
    html = cards.cases(score("EditBench", 0.5, cases=(Case("p", "x", None, float("nan"), 0.5),)))
    assert html.count("<td>—</td>") == 2
    assert cards.more(score("EditBench", 0.5, detail={"free": None, "S": None, "list": [1]})) == ""
    assert cards.free(score("EditBench", 0.5, detail={"free": float("nan")})) is None


# Questions as text


def test_own_rows_are_split_at_tabs_or_commas_without_a_heading():
    assert quality_panel.own_rows("kind,prompt\nparaphrase,\"A, b\",Paris,Rome\n\n") == (
        ("paraphrase", "A, b", "Paris", "Rome"),)
    assert quality_panel.own_rows("question\tWhere, then?\tParis\tRome") == (
        ("question", "Where, then?", "Paris", "Rome"),)
    assert quality_panel.table_rows([["a", None], ["", None], [None]]) == (("a", ""),)


@pytest.fixture(scope="module")
def session(tiny):
    gpu.host(tiny)
    return session_of(tiny, random_edit(tiny, seed=1), random_edit(tiny, seed=2))


def test_wrong_rows_are_named_and_rows_of_the_fit_are_left_out(session):
    entry = session.entries[0]
    assert "Row 1 of the cases" in quality_panel.trouble(entry, [("nonsense", "x")])
    leak = ("paraphrase", REQUEST.prompt, "Paris", "Rome")
    fine = ("paraphrase", "The Eiffel Tower stands in", "Paris", "Rome")
    assert "1 row will be left out" in quality_panel.trouble(entry, [leak, fine])
    assert quality_panel.trouble(entry, [fine]) == ""
    assert [item.prompt for item in quality_panel.asked(entry, [leak, fine]).items] == [fine[1]]
    for rows in ([], [leak], [fine] * 1001):
        with pytest.raises(InvalidRequest):
            quality_panel.asked(entry, rows)


def test_scores_of_the_same_questions_stay_and_of_others_go(session):
    one, cases = session.edits[0].id, Cases(REQUEST, (Item("name", "Roma"),), "sure")
    first = measuring.kept(session, one, {"zsRE": score("zsRE", 0.5)}, cases)
    second = measuring.kept(first, one, {"LEME": score("LEME", 0.6)}, cases)
    assert {s.name for s in second.entries[0].scores} == {"zsRE", "LEME"} and not second.entries[1].scores
    third = measuring.kept(second, one, {"LEME": score("LEME", 0.7)}, Cases(REQUEST, (Item("name", "Rome"),)))
    assert [(s.name, s.value) for s in third.entries[0].scores] == [("LEME", 0.7)]


def test_a_page_says_when_scores_are_of_earlier_questions_or_times(session):
    one, cases = session.edits[0].id, Cases(REQUEST, (Item("name", "Roma"),), "sure")
    scored = measuring.kept(session, one, {"zsRE": score("zsRE", 0.5)}, cases)
    entry, same = scored.entries[0], quality_panel.Draft(cases.to_rows())
    assert quality_panel.notices(scored, entry, same) == ""
    other = quality_panel.Draft((("name", "Lutetia"),))
    assert "belong to the earlier questions" in quality_panel.notices(scored, entry, other)
    later = scored.without(session.edits[1].id)
    assert "accepted or undone since" in quality_panel.notices(later, later.entries[0], same)
    again = measuring.kept(later, one, {"zsRE": score("zsRE", 0.5)}, cases)
    assert quality_panel.notices(again, again.entries[0], same) == ""


def test_the_comparison_names_recipes_and_what_is_not_accepted(session):
    one, cases = session.edits[0].id, Cases(REQUEST, (Item("name", "Roma"),))
    scored = measuring.kept(session, one, {"zsRE": score("zsRE", 0.5)}, cases)
    rival = Rival(one, "seed", "rome", (1,), (score("zsRE", 0.2),), cases.to_dict())
    stray = dataclasses.replace(rival, of="an edit that was undone")
    found = quality_panel.columns(scored, (rival, stray))
    assert [column.standing for column in found] == ["✔ accepted", "○ not accepted, for comparison"]
    html = cards.comparison(found)
    assert "the original recipe" in html and "50.0 % ✔" in html and "20.0 % ✖" in html and "1 of 1" in html
    old = dataclasses.replace(rival, cases=Cases(REQUEST, (Item("name", "X"),)).to_dict())
    assert quality_panel.columns(scored, (old,))[1].standing.endswith("(other questions)")
    assert cards.comparison(()) == ""


def test_a_preset_is_known_by_its_settings(session):
    rome = find_method("rome")
    for name, config in rome.presets.items():
        edit = Edit(REQUEST, "rome", (), "f", dataclasses.asdict(config))
        assert measuring.preset_of(edit) == name
    assert measuring.preset_of(session.edits[0]) == ""
    with pytest.raises(UserError, match="no change"):
        measuring.entry_of(session, "none")


# The tale


def test_time_is_learnt_from_the_first_run(monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(measuring.time, "monotonic", lambda: next(clock))
    pace: dict[str, float] = {}
    first = Measuring(["EditBench", "LEME"], pace)
    assert first.left is None and "so far" in first.status()
    for event in (Scoring("Questions", 0, 2), score("EditBench", 0.5), Scoring("LEME", 1, 3), None):
        first.tell(event)
    assert "LEME, 2 of 2 (step 2 of 3)" in first.status()
    first.tell(score("LEME", 0.5))
    assert first.done and "Done after" in first.status() and pace
    pace["quality LEME"] = 8.0
    second = Measuring(["EditBench", "LEME"], pace)
    assert second.left is not None and "left" in second.status() and 0 <= second.share <= 1


def test_questions_and_a_rival_on_a_random_model_leave_the_session_as_it_was(tiny, session):
    one = session.edits[0].id
    made = gpu.call(measuring.questions, session, one, (("paraphrase", "The Eiffel Tower stands in", "Paris", "Rome"),))
    assert made.of("paraphrase")[0].prompt == "The Eiffel Tower stands in" and len(made.to_rows()[0]) == len(COLUMNS)
    fitted = dataclasses.replace(session.edits[0], method="rome")
    mine = session_of(tiny, fitted, session.edits[1])
    tale = Measuring(["EditBench"], {}, fit=True)
    for event in gpu.stream(measuring.rivalled, mine, fitted.id, made, "seed", ["EditBench"]):
        tale.tell(event)
    assert tale.done and tale.fitted.layers == fitted.layers and measuring.preset_of(tale.fitted) == "seed"
    assert [edit.id for edit in mine.edits] == [fitted.id, session.edits[1].id]
