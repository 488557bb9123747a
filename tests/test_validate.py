"""The three checks: what each measures, its limit, and that a bad edit fails the right one."""

import dataclasses

import pytest
import torch
from make import REQUEST, logits, random_edit

from auditor.editor.look import divergence, rephrasings
from auditor.editor.validate import FINGERPRINTED, LIMITS, baseline, sampled, validate
from auditor.types import Edit, WeightDelta
from probes.probe_set import PROBES


@pytest.fixture(scope="module")
def standing(tiny):
    return baseline(tiny, REQUEST)


def checks_of(tiny, edit, standing, edits=()):
    report = validate(tiny, REQUEST, edit, standing, edits=edits)
    return report, {check.name: check for check in report.checks}


def zero_edit(tiny, layer=1) -> Edit:
    return Edit(REQUEST, "none", (WeightDelta(layer, torch.zeros(tiny.d_mlp, 1), torch.zeros(1, tiny.d_model)),),
                tiny.fingerprint)


def test_layers_are_evenly_spaced():
    assert sampled(4) == (0, 1, 2, 3) and sampled(8) == tuple(range(8))
    for n in (9, 16, 24, 32, 36):
        layers = sampled(n)
        gaps = {b - a for a, b in zip(layers, layers[1:], strict=False)}
        assert len(layers) == 8 and layers[0] == 0 and layers[-1] == n - 1 and max(gaps) - min(gaps) <= 1


def test_the_fingerprinted_probes_exist():
    groups = [probe.category for probe in PROBES if probe.id in FINGERPRINTED]
    assert sorted(groups) == ["instruction", "instruction", "refusal", "structured", "structured"]


def test_an_edit_of_nothing_moves_nothing(tiny, standing):
    report, checks = checks_of(tiny, zero_edit(tiny), standing)
    assert [check.name for check in report.checks] == ["paraphrase", "behaviour", "fingerprint"]
    assert checks["behaviour"].value == 0 and checks["behaviour"].passed
    assert checks["fingerprint"].value == pytest.approx(1, abs=1e-9) and checks["fingerprint"].passed
    assert checks["paraphrase"].value == standing.paraphrase
    assert not report.passed and len(report.reasons) == 1 and "Rome" in report.reasons[0]


def test_paraphrase_reads_the_whole_answer(tiny, standing):
    edit = random_edit(tiny)
    check = checks_of(tiny, edit, standing)[1]["paraphrase"]
    expected = []
    for phrasing in rephrasings(REQUEST):
        logprobs, start = logits(tiny, f"{phrasing} Rome", (edit,)).log_softmax(-1), len(tiny.tokens(phrasing))
        steps = [float(logprobs[start - 1 + j, token]) for j, token in enumerate(tiny.target_tokens("Rome"))]
        expected.append((sum(steps), steps[0]))
    assert [row["after"] for row in check.detail] == pytest.approx([torch.tensor(s).exp().item() for s, _ in expected],
                                                                   rel=1e-2)
    assert [row["first_word"] for row in check.detail] == pytest.approx(
        [torch.tensor(f).exp().item() for _, f in expected], rel=1e-2)
    assert all(row["first_word"] >= row["after"] for row in check.detail) and len(check.detail) == 7


def test_behaviour_is_the_mean_over_25_probes(tiny, standing):
    edit = random_edit(tiny)
    check = checks_of(tiny, edit, standing)[1]["behaviour"]
    kl = [float(divergence(logits(tiny, p.prompt)[-1], logits(tiny, p.prompt, (edit,))[-1])) for p in PROBES]
    assert [row["moved"] for row in check.detail] == pytest.approx(kl, rel=0.02, abs=1e-5)
    assert check.value == pytest.approx(sum(kl) / 25, rel=0.02) and check.value > 0
    assert f"{max(kl):.2f}" in check.summary


@pytest.mark.parametrize(("category", "limit"), [("factuality", 0.05), ("bias", 0.05), ("overcensoring", 0.25),
                                                 ("undercensoring", 0.25)])
def test_limits_by_category(tiny, standing, category, limit):
    request = dataclasses.replace(REQUEST, category=category)
    check = validate(tiny, request, zero_edit(tiny), standing).checks[1]
    assert check.threshold == limit and check.direction == "at most"


def test_fingerprint_below_the_edit_cannot_change(tiny, standing):
    check = checks_of(tiny, random_edit(tiny, layers=(2,), scale=0.3), standing)[1]["fingerprint"]
    assert [row["at_or_above_edit"] for row in check.detail] == [False, False, True, True]
    assert [row["alike"] for row in check.detail[:2]] == pytest.approx([1, 1], abs=1e-6)
    assert all(row["alike"] < 1 for row in check.detail[2:])
    above = sum(row["alike"] for row in check.detail[2:]) / 2
    assert f"{above:.3f}" in check.summary and above < check.value
    assert check.value == pytest.approx(sum(row["alike"] for row in check.detail) / 4, abs=1e-9)


def test_a_violent_edit_fails_behaviour_and_fingerprint(tiny, standing):
    report, checks = checks_of(tiny, random_edit(tiny, scale=3.0), standing)
    assert not checks["behaviour"].passed and not checks["fingerprint"].passed and not report.passed
    assert len(report.reasons) >= 2


def test_all_three_must_pass(tiny, standing, monkeypatch):
    monkeypatch.setitem(LIMITS, "paraphrase", 0.0)
    assert checks_of(tiny, zero_edit(tiny), standing)[0].passed


def test_earlier_edits_are_part_of_the_baseline(tiny):
    earlier = random_edit(tiny, scale=0.3, seed=3)
    under = baseline(tiny, REQUEST, edits=(earlier,))
    check = checks_of(tiny, zero_edit(tiny, 2), under, edits=(earlier,))[1]["behaviour"]
    assert check.value == 0
    alone = checks_of(tiny, zero_edit(tiny, 2), under)[1]["behaviour"]
    assert alone.value > 0, "leaving the earlier edit out must show"


def test_an_empty_old_answer_is_filled_in(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "generate", lambda prompts, n: [" Paris. It"])
    assert baseline(tiny, dataclasses.replace(REQUEST, target_old="")).request.target_old == "Paris"
