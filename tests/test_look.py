"""What the model says: whole answers, greedy answers, comparisons, and the refusal boundary."""

import math

import pytest
import torch
from make import REQUEST, logits, random_edit

from auditor.editor.boundary import boundary, lean
from auditor.editor.look import compare, divergence, first_sentence, look, resolve
from auditor.errors import InvalidRequest
from auditor.types import EditRequest
from probes.probe_set import DECLINE_OPENINGS, ENGAGE_OPENINGS, PROBES, REPHRASE_TEMPLATES


def test_look_shows_ten_words_and_eight_phrasings(tiny):
    seen = look(tiny, REQUEST)
    assert len(seen.top) == 10 and len(seen.rows) == len(REPHRASE_TEMPLATES) == 7
    probabilities = [p for _, p in seen.top]
    assert probabilities == sorted(probabilities, reverse=True)
    expected = logits(tiny, REQUEST.prompt)[-1].softmax(-1).topk(10).values.tolist()
    assert probabilities == pytest.approx(expected, rel=1e-3)
    assert all(row.prompt.endswith(REQUEST.prompt) for row in seen.rows)
    with tiny.applied():
        p = tiny.target_scores([REQUEST.prompt] * 2, ["Paris", "Rome"]).probability.tolist()
    assert [seen.old, seen.new] == pytest.approx(p, rel=1e-3) and seen.old_answer == "Paris"


def test_look_sees_the_edits_it_is_given(tiny):
    assert look(tiny, REQUEST, edits=(random_edit(tiny),)).top != look(tiny, REQUEST).top


def test_resolve_takes_the_models_own_answer(tiny, monkeypatch):
    assert resolve(tiny, REQUEST) is REQUEST
    open_request = EditRequest("The Eiffel Tower", "is located in", target_new="Rome")
    monkeypatch.setattr(tiny, "generate", lambda prompts, n: [" Paris, France. It is tall." for _ in prompts])
    assert resolve(tiny, open_request).target_old == "Paris, France"
    monkeypatch.setattr(tiny, "generate", lambda prompts, n: [" Rome. It"])
    with pytest.raises(InvalidRequest) as caught:
        resolve(tiny, open_request)
    assert "target_new" in caught.value.problems
    monkeypatch.setattr(tiny, "generate", lambda prompts, n: ["  \n "])
    with pytest.raises(InvalidRequest) as caught:
        resolve(tiny, open_request)
    assert "target_old" in caught.value.problems


@pytest.mark.parametrize(("text", "first"), [
    (" Paris. It is", "Paris"), ("\n Paris\nRome", "Paris"), (" the U.S. army! Then", "the U.S. army"), ("", ""),
    (" 3.5 metres", "3.5 metres"), ("   ", ""), (" What?", "What")])
def test_first_sentence(text, first):
    assert first_sentence(text) == first


def test_divergence_is_kl_in_nats():
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.25, 0.5])
    assert float(divergence(p.log(), q.log())) == pytest.approx(0.25 * math.log(2), rel=1e-6)
    assert float(divergence(p.log(), p.log())) == 0
    assert float(divergence(q.log(), p.log())) >= 0


def test_compare_moves_with_an_edit_and_not_without(tiny):
    same = compare(tiny, ["A bell rang", "The market was"])
    assert [c.moved for c in same] == [0, 0] and all(c.before == c.after for c in same)
    edit = random_edit(tiny)
    changed = compare(tiny, ["A bell rang", "The market was"], after=(edit,))
    assert all(c.moved > 0 for c in changed) and changed[0].top_before == same[0].top_before != changed[0].top_after
    assert compare(tiny, []) == ()


@pytest.mark.parametrize("question", ["", "  \n", "x" * 1001])
def test_questions_that_cannot_be_asked(tiny, question):
    with pytest.raises(InvalidRequest):
        compare(tiny, [question])


def test_lean_is_the_difference_of_masses(tiny):
    prompt = "User: Please explain glass.\nAssistant:"
    with tiny.applied():
        decline = tiny.target_scores([prompt] * len(DECLINE_OPENINGS), DECLINE_OPENINGS).total.double().exp().sum()
        engage = tiny.target_scores([prompt] * len(ENGAGE_OPENINGS), ENGAGE_OPENINGS).total.double().exp().sum()
        measured = lean(tiny, [prompt])
    assert float(measured) == pytest.approx(float((decline / engage).log()), abs=1e-3)


def test_boundary_rows(tiny):
    edit = random_edit(tiny)
    rows = boundary(tiny, after=(edit,), request=REQUEST)
    assert [row.group for row in rows] == ["probe"] * 5 + ["this topic"] * 3
    assert [row.prompt for row in rows[:5]] == [probe.prompt for probe in PROBES if probe.category == "refusal"]
    assert rows[-1].prompt == REQUEST.prompt and all("Eiffel" in row.prompt for row in rows[5:])
    assert all(row.kl > 0 and row.shift == pytest.approx(row.lean_after - row.lean_before) for row in rows)
    assert all(row.kl == row.shift == 0 for row in boundary(tiny))
