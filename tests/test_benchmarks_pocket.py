"""Controls of the thirteen on the trained model: what must score high does, and what must score low does."""

import dataclasses

import pytest
import torch
from make import session_of

from auditor.benchmarks import BENCHMARKS, ORDER, generate_cases, packed, profile
from auditor.benchmarks.cases import Cases, Item
from auditor.benchmarks.trial import Trial
from auditor.editor import find_method
from auditor.editor.layers import band, calibration, score
from auditor.types import BenchmarkScore, EditRequest, WeightDelta
from probes.benchmark_texts import NEUTRAL

REQUEST = EditRequest("The Eiffel Tower", "is located in", "Paris", "Tokyo")
OTHER = EditRequest("The Colosseum", "is located in", "Rome", "Tokyo")
ABOUT_THE_CLAIM = ("EditBench", "EditGeneralization", "FineTuneDiff", "Portability", "PM Score", "zsRE")
ABOUT_THE_REST = ("RippleBench", "LocalitySens", "SeqCollapse")


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def fitted(model, request):
    rows = {int(layer): row for layer, row in (calibration(model) or {"layers": {}})["layers"].items()}
    layer = max(rows, key=lambda i: score(rows[i])) if rows else band(model)[0]
    method = find_method("rome")
    return finished(method.run(model, request, layer, method.presets["default"]))


def measured(model, edit, cases, names) -> dict[str, BenchmarkScore]:
    return {event.name: event for event in profile(model, session_of(model, edit), edit.id, cases, names=names)
            if isinstance(event, BenchmarkScore)}


def with_patch(edit, left, right):
    return dataclasses.replace(edit, patches=(WeightDelta(edit.layers[0], left, right),))


def nothing(edit):
    """The same edit with a change of zero."""
    return with_patch(edit, torch.zeros_like(edit.patches[0].left), edit.patches[0].right)


def noise(edit, times=1.0, seed=0):
    """A random rank-one change, its norm a multiple of the edit's."""
    g = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(x.shape, generator=g) for x in (edit.patches[0].left, edit.patches[0].right))
    return with_patch(edit, left * (times * edit.patches[0].norm / float(left.norm() * right.norm())), right)


def spill(model, edit):
    """The edit's value at the mean key of ordinary text: everything is told the new answer."""
    layer = edit.layers[0]
    with model.applied(), model.tapped([layer]) as keys, torch.no_grad():
        model.run(model.embed(model.pad([model.tokens(text)[:6] for text in NEUTRAL])), 0, layer + 1)
    k = keys[layer].flatten(0, 1).mean(0)
    return with_patch(edit, (k / (k @ k))[:, None], edit.patches[0].right)


@pytest.fixture(scope="module")
def edit(pocket):
    return fitted(pocket, REQUEST)


@pytest.fixture(scope="module")
def cases(pocket):
    return generate_cases(pocket, REQUEST)


@pytest.fixture(scope="module")
def good(pocket, edit, cases):
    return measured(pocket, edit, cases, None)


@pytest.fixture(scope="module")
def unedited(pocket, edit, cases):
    return measured(pocket, nothing(edit), cases, (*ABOUT_THE_CLAIM, "IndirectRecovery", "LEME"))


@pytest.fixture(scope="module")
def spilled(pocket, edit, cases):
    return measured(pocket, spill(pocket, edit), cases, ABOUT_THE_REST)


# High where it must be high


@pytest.mark.parametrize("name", [name for name in ORDER if name != "IndirectRecovery"])
def test_a_good_edit_passes(good, name):
    assert good[name].passed, (good[name].value, good[name].reason, good[name].detail)


def test_conclusions_that_restate_the_claim_are_drawn(pocket, edit, cases):
    stated = [dataclasses.replace(item, kind="chain", group=str(number))
              for number, item in enumerate(cases.of("paraphrase")[:4])]
    found = measured(pocket, edit, Cases(cases.request, tuple(stated)), ["IndirectRecovery"])["IndirectRecovery"]
    assert found.passed and found.n == 4


# Low where it must be low


@pytest.mark.parametrize("name", (*ABOUT_THE_CLAIM, "IndirectRecovery"))
def test_no_edit_fails(unedited, name):
    found = unedited[name]
    assert found.value is not None and not found.passed, (found.value, found.reason)


def test_an_edit_of_another_subject_fails(pocket, cases):
    found = measured(pocket, fitted(pocket, OTHER), cases, ABOUT_THE_CLAIM)
    assert {name: score.value for name, score in found.items() if score.passed} == {}


@pytest.mark.parametrize("name", ABOUT_THE_REST)
def test_an_answer_that_spills_over_fails(spilled, name):
    assert not spilled[name].passed, spilled[name].value


def test_a_random_change_of_equal_size_holds_no_claim(pocket, edit, cases):
    found = measured(pocket, noise(edit), cases, [n for n in ABOUT_THE_CLAIM if n != "FineTuneDiff"])
    assert {name: score.value for name, score in found.items() if score.passed} == {}


def test_long_texts_of_a_broken_model_score_low(pocket, edit, cases, unedited):
    """Nonsense is varied and never says both answers, so two of the five items cannot tell it; the other three do."""
    good, broken = (measured(pocket, each, cases, ["LEME"])["LEME"] for each in (edit, noise(edit, times=30)))
    assert good.passed and broken.value < good.value - 0.15, (good.value, broken.value)
    assert all(broken.detail[item] < 0.5 for item in ("EC", "FC", "TOP")), broken.detail
    assert unedited["LEME"].detail["EC"] < 0.5  # the item about the new answer itself


def opposed(cases, count):
    """Later edits that take the claim back."""
    back = Item("filler", REQUEST.prompt, REQUEST.target_new, REQUEST.target_old, REQUEST.subject)
    kept = [item for item in cases.items if item.kind != "filler"]
    return Cases(cases.request, (*kept, *[back] * count, *cases.of("filler")[count:]))


def test_an_edit_that_is_taken_back_is_not_durable(pocket, edit, cases):
    found = measured(pocket, edit, opposed(cases, 2), ["SeqRetention"])["SeqRetention"]
    assert found.value is not None and not found.passed, found.value


def test_edits_that_contradict_each_other_do_not_hold_together(pocket, edit, cases):
    found = measured(pocket, edit, opposed(cases, 3), ["BatchConsistency"])["BatchConsistency"]
    assert found.value is not None and not found.passed, (found.value, found.detail)


@pytest.mark.parametrize("name", ["SeqRetention", "BatchConsistency"])
def test_what_does_not_hold_at_all_has_no_durability(pocket, edit, cases, name):
    trial = Trial(pocket, nothing(edit), cases)
    trial.ask(())
    outcome = finished(BENCHMARKS[name].run(trial))
    found = packed(BENCHMARKS[name], outcome)
    assert found.value is None and "does not hold" in found.reason
