"""The benchmark engine: registry, formulas, bootstrap, trial, progress and Stop. Identities hold for any weights."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from make import random_edit, session_of

from auditor.benchmarks import BENCHMARKS, ORDER, Outcome, Scoring, benchmark, find_benchmark, packed, profile, scores
from auditor.benchmarks.cases import Cases, generate_cases
from auditor.benchmarks.decoding import continued
from auditor.benchmarks.durability import _joint
from auditor.benchmarks.finetune import fine_tuned
from auditor.benchmarks.trial import Trial
from auditor.editor import find_method
from auditor.editor.keys import contexts, key
from auditor.errors import SessionRejected, UnknownName
from auditor.types import BenchmarkScore, Case, Edit, EditRequest

REQUEST = EditRequest("The Eiffel Tower", "is located in", "Paris", "Rome")
THRESHOLDS = (.50, .40, .70, .60, .70, .60, .70, .60, .50, .35, .40, .50, .40)
DIMENSIONS = ("retention", "generalization", "locality", "signal-to-noise", "stability", "concurrency", "durability",
              "cross-domain", "long-form", "chained inference", "surface transfer", "memorization",
              "relation extraction")


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def fitted(model, request=REQUEST, layer=1, **changes) -> Edit:
    method = find_method("rome")
    config = dataclasses.replace(method.presets["default"], contexts_for_key=4, contexts_for_value=2, **changes)
    return finished(method.run(model, request, layer, config))


def cases_for(*scores_of: float) -> list[Case]:
    return [Case(f"p{i}", "x", 0.0, score, score) for i, score in enumerate(scores_of)]


@pytest.fixture(scope="module")
def edit(tiny):
    return fitted(tiny, steps=10)


@pytest.fixture(scope="module")
def small(tiny):
    """Few cases, so that a whole profile of a random model is quick."""
    cases = generate_cases(tiny, REQUEST, pocket=True)
    kept, counts = [], {}
    for item in cases.items:
        counts[item.kind, item.group] = counts.get((item.kind, item.group), 0) + 1
        if counts[item.kind, item.group] <= {"neutral": 12, "filler": 1}.get(item.kind, 4 if item.group == "" else 2):
            kept.append(item)
    return Cases(cases.request, tuple(kept), cases.sure)


# The registry


def test_thirteen_in_order_with_their_limits():
    assert tuple(BENCHMARKS) == ORDER and len(ORDER) == 13
    assert tuple(each.threshold for each in BENCHMARKS.values()) == THRESHOLDS
    assert tuple(each.dimension for each in BENCHMARKS.values()) == DIMENSIONS


@pytest.mark.parametrize("name", ORDER)
def test_every_benchmark_describes_itself(name):
    found = find_benchmark(name)
    assert found.name == name and found.minimum >= 3 and found.run.__doc__
    assert found.describe[-1] in ".?" and len(found.describe.split()) >= 8
    assert not set(found.describe.casefold().split()) & {"kl", "logits", "perplexity", "token", "tokens"}


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match="EditBench"):
        find_benchmark("EditBanch")


def test_a_new_benchmark_comes_after_the_thirteen(monkeypatch):
    monkeypatch.setattr("auditor.benchmarks.BENCHMARKS", dict(BENCHMARKS))
    import auditor.benchmarks as engine
    benchmark("Own", dimension="x", threshold=0.5, minimum=1, describe="One.")(lambda trial: None)
    assert list(engine.BENCHMARKS)[-1] == "Own" and tuple(engine.BENCHMARKS)[:13] == ORDER


# Figures, intervals, reasons


def test_the_figure_is_the_mean_and_the_interval_holds_it():
    score = packed(BENCHMARKS["EditBench"], Outcome(cases_for(.2, .4, .6, .8)))
    assert score.value == pytest.approx(.5) and score.n == 4 and score.passed
    assert score.interval[0] <= score.value <= score.interval[1]
    assert packed(BENCHMARKS["EditBench"], Outcome(cases_for(.2, .4, .6, .8))) == score  # seeded


def test_the_interval_shrinks_with_more_cases():
    rng = np.random.default_rng(0)
    widths = [np.diff(scores.bootstrap([rng.random(n)]))[0] for n in (8, 32, 128, 512)]
    assert sorted(widths, reverse=True) == widths and widths[0] / widths[-1] == pytest.approx(8, rel=0.5)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = [low <= 0.5 <= high for low, high in (scores.bootstrap([rng.random(40)]) for _ in range(200))]
    assert np.mean(hits) == pytest.approx(scores.LEVEL, abs=0.06)


@pytest.mark.parametrize("n", range(4))
def test_too_few_cases_are_no_measurement_and_never_zero(n):
    score = packed(BENCHMARKS["EditBench"], Outcome(cases_for(*[0.0] * n)))
    assert score.value is None and score.passed is None and score.interval is None
    assert str(n) in score.reason and "4" in score.reason and len(score.cases) == n


def test_a_stated_reason_takes_the_figures_place():
    score = packed(BENCHMARKS["EditBench"], Outcome(cases_for(1, 1, 1, 1), reason="It cannot be said."))
    assert score.value is None and score.reason == "It cannot be said."


def test_strata_count_alike_whatever_their_size():
    strata = [np.ones(1), np.zeros(99)]
    assert scores.value(strata) == 0.5
    low, high = scores.bootstrap([np.array([1.0, 0.0]), np.zeros(50)])
    assert low == 0 and high == 0.5


# Formulas on numbers made by hand


def test_share_of_the_new_answer():
    assert scores.share(-1.0, -1.0) == 0.5 and scores.share(0.0, -1e6) == 1.0
    assert scores.share(np.log(0.3), np.log(0.1)) == pytest.approx(0.75)


def test_signal_to_noise():
    assert scores.snr(2.0, 0.0999) == pytest.approx(20) and scores.snr(-1.0, 0.5) == 0


def test_harmonic_mean():
    assert scores.harmonic([1.0, 0.5]) == pytest.approx(2 / 3) and scores.harmonic([1.0, 0.0]) == 0


def test_entropy_of_word_groups():
    assert scores.ngram_entropy("a b a b a", 2) == pytest.approx(1.0)  # ab, ba, ab, ba
    assert scores.ngram_entropy("a a a a", 2) == 0 and scores.ngram_entropy("a", 2) == 0
    assert scores.fluency("a b c d") == pytest.approx((2 / 3 * np.log2(3) + 4 / 3) / 2)
    assert scores.distinct(["a a a a"]) == 0.5 and scores.distinct(["a b c d"]) == 1


def test_likeness_of_texts():
    same, apart, half = scores.tfidf_cosine([("a b", "B a"), ("c d", "e f"), ("g h", "g i")])
    assert same == pytest.approx(1) and apart == 0 and 0 < half < 1
    assert scores.tfidf_cosine([("", ""), ("", "x")]) == [1, 0]


def test_names_are_found_as_whole_words():
    assert scores.says("It is in Rome.", ["rome"]) and not scores.says("Romeo", ["Rome"])
    assert not scores.says("anything", ["", " "]) and scores.says("in New York, today", ["New York"])


def test_common_beginning():
    assert scores.prefix_share([1, 2, 3, 4], [1, 2, 9, 4], 4) == 0.5
    assert scores.prefix_share([1], [1], 10) == 1 and scores.prefix_share([1], [1, 2], 10) == 0.1


# The trial


def test_pooled_readings_equal_the_models_own_scores(tiny, edit, small):
    trial = Trial(tiny, edit, small)
    finished(trial.ask({"direct", "paraphrase"}))
    for item in small.of("direct", "paraphrase"):
        for after, edits in ((False, ()), (True, (edit,))):
            with tiny.applied(edits):
                alone = tiny.target_scores([item.prompt], [item.new])
            reading = trial.reading(item.prompt, item.new, after=after)
            assert reading.mean == pytest.approx(float(alone.mean), abs=1e-4)
            assert (reading.right == 1) == bool(alone.on_top)


def test_nothing_is_scored_twice(tiny, edit, small):
    trial = Trial(tiny, edit, small)
    finished(trial.ask({"paraphrase"}))
    rows = len(trial._read)
    for run in (BENCHMARKS["PM Score"].run, BENCHMARKS["PM Score"].run):
        run(trial)
    assert len(trial._read) == rows


@pytest.mark.parametrize("seeded", [False, True])
def test_prompts_of_unequal_length_continue_as_alone(tiny, seeded):
    prompts = ["The Eiffel Tower", "In fact, the weather was", "Q:", "A bell rang; the lights were still"]
    seeds = [3, None, 5, 7] if seeded else None
    with tiny.applied():
        together = continued(tiny, prompts, 9, seeds=seeds)
        alone = [continued(tiny, [p], 9, seeds=[s])[0] for p, s in zip(prompts, seeds or [None] * 4)]
        plain = tiny.generate(prompts, 9)
    assert together == alone
    if not seeded:
        assert [tiny.text(ids) for ids in together] == plain


def test_an_edit_that_changes_nothing_reads_the_same_before_and_after(tiny, small):
    nothing = random_edit(tiny, scale=0.0, request=REQUEST)
    trial = Trial(tiny, nothing, small)
    finished(trial.ask(set(BENCHMARKS["EditBench"].reads) | {"unrelated"}))
    assert all(trial.share(i, after=False) == trial.share(i) for i in small.of("direct"))
    assert packed(BENCHMARKS["LocalitySens"], BENCHMARKS["LocalitySens"].run(trial)).value == 1
    assert float(trial.moved().max()) < 1e-9


def test_two_benchmarks_share_one_scratch_run(tiny, edit, small):
    trial = Trial(tiny, edit, small)
    first = finished(trial.fillers())
    count = len(trial.further)
    assert [mark.after for mark in first] == [-1, 0, 1, 2, 5, 10] and count == 10
    assert finished(trial.fillers()) is first and len(trial.further) == count
    assert trial.further[1].fitted_on == (edit.id, trial.further[0].id)


def test_the_control_leaves_every_weight_alone(tiny, edit, small):
    trial = Trial(tiny, edit, small)
    finished(trial.ask({"direct"}))
    before = {name: value.clone() for name, value in tiny.hf.state_dict().items()}
    control = finished(fine_tuned(trial, small.of("direct")))
    assert 1 <= control.steps <= 25 and len(control.moved) == 25 and len(control.odds) == len(small.of("direct"))
    assert all(torch.equal(before[name], value) for name, value in tiny.hf.state_dict().items())
    assert float(control.moved.max()) > 0


def test_the_joint_edit_gives_every_key_its_value(tiny, small):
    others = [REQUEST, EditRequest("The market", "is located in", "Rome", "Paris")]
    edits = [fitted(tiny, request, steps=5) for request in others]
    joint = _joint(Trial(tiny, edits[0], small), edits)
    (patch,) = joint.patches
    for request, each in zip(others, edits, strict=True):
        with tiny.applied():
            k = key(tiny, contexts(tiny, request.prompt, request.subject, 4), 1)
        wanted = each.patches[0].right[0]
        assert torch.allclose((k @ patch.left) @ patch.right, wanted, atol=2e-2 * float(wanted.norm()))
        assert torch.allclose((k @ each.patches[0].left) @ each.patches[0].right, wanted, atol=1e-4)


# The run


def test_a_whole_profile_is_thirteen_scores_and_leaves_no_trace(tiny, edit, small):
    before = {name: value.clone() for name, value in tiny.hf.state_dict().items()}
    found, progress = [], []
    for event in profile(tiny, session_of(tiny, edit), edit.id, small):
        assert _free(tiny), "the model is held while an event is handed over"
        (found if isinstance(event, BenchmarkScore) else progress).append(event)
    assert tuple(score.name for score in found) == ORDER
    for score in found:
        assert score.value is None or 0 <= score.value <= 1 and score.interval[0] <= score.value <= score.interval[1]
        assert (score.value is None) == bool(score.reason) and (score.value is None or "free" in score.detail)
    assert {event.name for event in progress} >= {"Questions", "SeqCollapse", "LEME", "FineTuneDiff"}
    assert all(isinstance(event, Scoring) and 0 <= event.done <= event.of for event in progress)
    assert all(torch.equal(before[name], value) for name, value in tiny.hf.state_dict().items())


def test_stop_keeps_what_is_done(tiny, edit, small):
    running, done = profile(tiny, session_of(tiny, edit), edit.id, small, names=["EditBench", "SeqCollapse"]), []
    for event in running:
        if isinstance(event, BenchmarkScore):
            done.append(event)
        elif event.name == "SeqCollapse":
            running.close()
            break
    assert [score.name for score in done] == ["EditBench"] and _free(tiny)


def test_strange_edits_and_sessions_are_refused(tiny, edit, small):
    with pytest.raises(UnknownName):
        next(profile(tiny, session_of(tiny, edit), "none", small))
    with pytest.raises(SessionRejected):
        foreign = dataclasses.replace(session_of(tiny, edit), fingerprint="other")
        next(profile(tiny, foreign, edit.id, small))


def _free(model) -> bool:
    """Whether somebody else could hold the model now."""
    taken = []
    other = threading.Thread(target=lambda: taken.append(model._lock.acquire(timeout=1)))
    other.start(), other.join()
    if taken[0]:
        model._lock.release()
    return taken[0]
