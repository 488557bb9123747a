"""The nouns: what they accept, what they compute, that they travel."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from make import random_edit, session_of

from auditor.errors import InvalidRequest, UnknownName
from auditor.types import Check, EditRequest, Session, TraceResult, ValidationReport, WeightDelta, combined


def test_request_trims_and_reads_back():
    request = EditRequest("  The  Eiffel Tower ", "is located\nin", "Paris", "Rome")
    assert request.prompt == "The Eiffel Tower is located in"
    assert "“Rome”" in request.sentence and "“Paris”" in request.sentence


@pytest.mark.parametrize(("fields", "wrong"), [
    ({"subject": " "}, "subject"), ({"relation": ""}, "relation"), ({"target_new": ""}, "target_new"),
    ({"target_new": "PARIS"}, "target_new"), ({"subject": "x" * 301}, "subject"), ({"category": "taste"}, "category"),
    ({"seed": -1}, "seed"), ({"seed": 2**31}, "seed"), ({"seed": "1"}, "seed")])
def test_each_wrong_field_is_named(fields, wrong):
    good = {"subject": "The Eiffel Tower", "relation": "is located in", "target_old": "Paris", "target_new": "Rome"}
    with pytest.raises(InvalidRequest) as caught:
        EditRequest(**{**good, **fields})
    assert set(caught.value.problems) == {wrong}


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(InvalidRequest) as caught:
        EditRequest("", "", "", "")
    assert set(caught.value.problems) == {"subject", "relation", "target_new"}


def test_errors_survive_pickling():
    for error in (InvalidRequest({"subject": "Please write it."}), UnknownName("method", "romme", ["rome", "memit"])):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and str(copy) == str(error)
    assert "rome" in str(UnknownName("method", "romme", ["rome", "memit"]))


def test_norm_from_factors_equals_norm_of_the_product():
    left, right = torch.randn(40, 3), torch.randn(3, 20)
    assert WeightDelta(0, left, right).norm == pytest.approx(float((left @ right).norm()), rel=1e-5)


def test_combined_sums_edits_layer_by_layer(tiny):
    a, b = random_edit(tiny, layers=(1,), seed=1), random_edit(tiny, layers=(1, 2), seed=2)
    both = combined((a, b))
    assert sorted(both) == [1, 2]
    expected = a.patches[0].left @ a.patches[0].right + b.patches[0].left @ b.patches[0].right
    torch.testing.assert_close(both[1].left @ both[1].right, expected)


def test_id_is_the_content(tiny):
    assert random_edit(tiny, seed=1).id == random_edit(tiny, seed=1).id
    assert len({random_edit(tiny, seed=1).id, random_edit(tiny, seed=2).id, random_edit(tiny, layers=(2,), seed=1).id,
                random_edit(tiny, seed=1, fitted_on=("x",)).id}) == 4


def test_undo_any_one_and_name_what_has_become_stale(tiny):
    first = random_edit(tiny, seed=1)
    second = random_edit(tiny, layers=(2,), seed=2, fitted_on=(first.id,))
    session = session_of(tiny, first, second)
    assert session.stale == () and sorted(session.norms()) == [1, 2]
    shorter = session.without(first.id)
    assert [e.id for e in shorter.edits] == [second.id] and shorter.stale == (second.id,)
    assert len(session.entries) == 2, "a session never changes"
    assert session.without("no such id").edits == session.edits


def test_session_travels_by_pickle(tiny):
    session = session_of(tiny, random_edit(tiny))
    copy = pickle.loads(pickle.dumps(session))
    assert copy.edits[0].id == session.edits[0].id


def test_check_directions_and_nan():
    assert Check("a", 0.1, 0.1, "at least").passed and not Check("a", 0.05, 0.05, "at most").passed
    assert not Check("a", float("nan"), 0.1, "at least").passed
    assert not Check("a", float("nan"), 0.1, "at most").passed
    assert not ValidationReport(0, ()).passed, "no checks is no proof"


def test_trace_arithmetic():
    effect = torch.tensor([[0.1, 0.5, 0.1], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9]])
    found = TraceResult(("A", "B", "C"), (0, 2), effect, clean=0.9, corrupted=0.1, noise=1.0, runs=1)
    torch.testing.assert_close(found.recovery("subject"), torch.tensor([0.5, 0.875, 0.125]))
    assert float(found.recovery("final")[-1]) == pytest.approx(1.0)
    assert found.ranked(range(3)) == (1, 0, 2) and found.marked("subject") == (0, 1)


def test_the_package_is_light_and_its_names_are_there():
    import auditor

    assert auditor.__all__ == sorted(auditor.__all__)
    assert all(callable(getattr(auditor, name)) for name in auditor.__all__)
    with pytest.raises(AttributeError):
        auditor.no_such_name  # noqa: B018
    heavy = "import sys, auditor; sys.exit(bool({'torch', 'transformers', 'gradio'} & set(sys.modules)))"
    root = Path(auditor.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", heavy], cwd=root, check=False).returncode == 0


def test_empty_session_has_nothing():
    session = Session("tiny")
    assert session.edits == () and session.norms() == {} and session.stale == ()
