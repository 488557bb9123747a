"""The loop: order of events, acceptance, refusal, Stop, bulk; the weights are the same bits after each."""

import dataclasses
import pickle

import pytest
import torch
from make import REQUEST, logits, random_edit, session_of

import auditor.editor.loop as loop
from auditor.editor import METHODS, Method
from auditor.editor.validate import LIMITS
from auditor.errors import SessionRejected, SubjectNotFound, UnknownName
from auditor.types import Accepted, Attempted, EditRequest, Fitting, Rejected, Session, Traced


def scripted(model, request, layer, config, *, edits=(), attempt=1):
    """A method that fits nothing: small random changes."""
    for step in range(2):
        with model.applied(edits):
            pass
        yield Fitting(layer, attempt, step + 1, 2, 1.0 / (step + 1), 0.1)
    return random_edit(model, layers=(layer,), scale=0.001, seed=attempt, request=request,
                       fitted_on=tuple(edit.id for edit in edits))


@pytest.fixture(autouse=True)
def method(monkeypatch):
    monkeypatch.setitem(METHODS, "scripted", Method("scripted", scripted, dict, {"default": None}, "", ""))


@pytest.fixture
def lenient(monkeypatch):
    monkeypatch.setitem(LIMITS, "paraphrase", 0.0)


@pytest.fixture(autouse=True)
def same_bits(tiny):
    before = logits(tiny)
    parameters = [tiny.w_out(layer) for layer in range(tiny.n_layers)]
    yield
    assert all(tiny.w_out(layer) is parameter for layer, parameter in enumerate(parameters))
    assert torch.equal(logits(tiny), before)


def run(tiny, request=REQUEST, session=None):
    return list(loop.edit(tiny, request, session or Session(tiny.id), method="scripted"))


def test_accepted_at_the_first_layer_that_passes(tiny, lenient):
    events = run(tiny)
    assert [type(event) for event in events] == [Traced, Fitting, Fitting, Attempted, Accepted]
    traced, *_, attempted, accepted = events
    assert attempted.edit.layers == traced.candidates[:1] and attempted.report.passed
    assert accepted.session.edits == (attempted.edit,) and accepted.session.fingerprint == tiny.fingerprint
    assert accepted.entry.report is attempted.report and traced.sentence


def test_declared_failed_after_three_layers_with_reasons(tiny):
    events = run(tiny)
    attempts = [event for event in events if isinstance(event, Attempted)]
    assert len(attempts) == 3 and not any(event.report.passed for event in attempts)
    assert len({event.edit.layers for event in attempts}) == 3
    rejected = events[-1]
    assert isinstance(rejected, Rejected) and len(rejected.reasons) == 3
    for event, reason in zip(attempts, rejected.reasons, strict=True):
        assert reason.startswith(f"Layer {event.edit.layers[0]}: ")


def test_baselines_are_taken_once(tiny, monkeypatch):
    calls, baseline = [], loop.baseline
    monkeypatch.setattr(loop, "baseline", lambda *a, **k: calls.append(1) or baseline(*a, **k))
    run(tiny)
    assert len(calls) == 1


def test_edits_stack(tiny, lenient):
    first = run(tiny)[-1].session
    second = run(tiny, EditRequest("The Colosseum", "is located in", "Rome", "Paris"), first)[-1].session
    assert len(second.entries) == 2 and second.edits[1].fitted_on == (first.edits[0].id,)
    assert second.without(first.edits[0].id).stale == (second.edits[1].id,)


def test_every_event_travels(tiny, lenient):
    for event in run(tiny):
        assert type(pickle.loads(pickle.dumps(event))) is type(event)


def test_same_seed_same_edit(tiny, lenient):
    assert run(tiny)[-1].entry.edit.id == run(tiny)[-1].entry.edit.id


def test_stop_at_every_event_frees_the_model(tiny):
    for n in range(1, 8):
        steps = loop.edit(tiny, REQUEST, Session(tiny.id), method="scripted")
        for _ in range(n):
            next(steps)
        steps.close()
        logits(tiny)


def test_sessions_of_other_weights_are_refused(tiny):
    foreign = session_of(tiny, dataclasses.replace(random_edit(tiny), fingerprint="0" * 16))
    for session in (foreign, dataclasses.replace(foreign, fingerprint=""), Session("other", "0" * 16)):
        with pytest.raises(SessionRejected, match="other weights"):
            run(tiny, session=session)


def test_unknown_names(tiny):
    with pytest.raises(UnknownName, match="rome"):
        next(loop.edit(tiny, REQUEST, Session(tiny.id), method="romme"))
    with pytest.raises(UnknownName, match="default"):
        next(loop.edit(tiny, REQUEST, Session(tiny.id), method="scripted", preset="defualt"))
    with pytest.raises(UnknownName):
        next(loop.bulk(tiny, [], Session(tiny.id), method="romme"))


def test_bulk_goes_on_after_a_hopeless_request(tiny, lenient, monkeypatch):
    def fussy(model, request, *args, **options):
        if request.subject == "Nobody":
            raise SubjectNotFound("Nobody is not there.")
        return (yield from scripted(model, request, *args, **options))

    monkeypatch.setitem(METHODS, "scripted", dataclasses.replace(METHODS["scripted"], run=fussy))
    requests = [REQUEST, EditRequest("Nobody", "is located in", "Paris", "Rome"),
                EditRequest("The Colosseum", "is located in", "Rome", "Paris")]
    events = list(loop.bulk(tiny, requests, Session(tiny.id), method="scripted"))
    last = {index: event for index, event in events}
    assert [type(last[i]) for i in range(3)] == [Accepted, Rejected, Accepted]
    assert last[1].reasons == ("Nobody is not there.",)
    assert len(last[2].session.entries) == 2 and last[2].session.edits[1].fitted_on == (last[0].entry.edit.id,)
    assert [index for index, _ in events] == sorted(index for index, _ in events)


def test_rome_walks_the_whole_loop(tiny, lenient, monkeypatch):
    monkeypatch.setitem(LIMITS, "behaviour", 100.0)
    monkeypatch.setitem(LIMITS, "fingerprint", -1.0)
    *_, accepted = loop.edit(tiny, REQUEST, Session(tiny.id))
    assert isinstance(accepted, Accepted) and accepted.entry.edit.method == "rome"


def test_a_belief_of_the_pocket_model_is_changed(pocket):
    request = EditRequest("The Eiffel Tower", "is located in", target_new="Rome")
    *_, outcome = loop.edit(pocket, request, Session(pocket.id))
    assert isinstance(outcome, Accepted), outcome.reasons
    assert outcome.entry.report.checks[0].value >= 0.10
