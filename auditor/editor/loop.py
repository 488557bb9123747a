"""From a hypothesis to an accepted edit, or to a declared failure; the engine narrates by yielding events.

1. Fill in the old answer, if it was left empty, from what the model says now.
2. Take the baselines, once, with the session's edits live.
3. Trace the old answer and choose up to three candidate layers.
4. At each layer: fit, then run the three checks. The first edit that passes all three is accepted.
5. When none passes: rejected, with the reasons layer by layer. Nothing was changed at any time.

No step holds the model while it yields, so closing the generator is a clean Stop between any two events.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from auditor.editor import find_method, find_preset
from auditor.editor.layers import candidates
from auditor.editor.look import resolve
from auditor.editor.trace import sentence, trace
from auditor.editor.validate import baseline, validate
from auditor.errors import SessionRejected, UserError
from auditor.model import SharedModel
from auditor.types import (
    Accepted,
    Attempted,
    EditRequest,
    Entry,
    Event,
    Rejected,
    Session,
    Traced,
    ValidationReport,
)


def belongs(session: Session, model: SharedModel) -> None:
    """Raise SessionRejected when the session's edits were fitted on other weights than this model's."""
    fitted = {session.fingerprint, *(edit.fingerprint for edit in session.edits)} - {""}
    if fitted - {model.fingerprint}:
        raise SessionRejected(
            f"These changes were made for other weights (“{session.model_id}”) than the ones in use here "
            f"(“{model.id}”). Load the model they were made for, or start anew.")


def edit(model: SharedModel, request: EditRequest, session: Session, *, method: str = "rome",
         preset: str = "default") -> Iterator[Event]:
    """Yield Traced, then Fitting and Attempted per layer, then one Accepted or Rejected.

    Raises SessionRejected for a session of other weights, UnknownName for an unknown method or preset, and whatever
    UserError the request itself deserves (an old answer equal to the new one, a subject that is not in the prompt).
    """
    belongs(session, model)
    chosen, live = find_method(method), session.edits
    config = find_preset(chosen, preset)
    request = resolve(model, request, edits=live)                                                          # 1
    standing = baseline(model, request, edits=live)                                                        # 2
    traced = trace(model, request.prompt, request.subject, request.target_old, edits=live)                 # 3
    layers = candidates(model, traced)
    yield Traced(traced, layers, sentence(traced))
    failed: list[ValidationReport] = []
    for attempt, layer in enumerate(layers, start=1):                                                      # 4
        fitted = yield from chosen.run(model, request, layer, config, edits=live, attempt=attempt)
        report = validate(model, request, fitted, standing, edits=live)
        yield Attempted(fitted, report)
        if report.passed:
            entry = Entry(fitted, report)
            session = dataclasses.replace(session, fingerprint=model.fingerprint).with_entry(entry)
            yield Accepted(entry, session)
            return
        failed.append(report)
    reasons = tuple(f"Layer {report.layer}: {reason}" for report in failed for reason in report.reasons)
    facts = {"request": request, "method": method, "preset": preset, "attempts": failed}
    yield Rejected(request, reasons, session.noted("rejected", facts))                                     # 5


def bulk(model: SharedModel, requests: Sequence[EditRequest], session: Session, *, method: str = "rome",
         preset: str = "default") -> Iterator[tuple[int, Event]]:
    """Work through requests in order, earlier accepted edits live; yield (index, event).

    A request that cannot be worked on at all is Rejected with its reason, and the next one is taken up.
    """
    belongs(session, model)
    find_preset(find_method(method), preset)
    for index, request in enumerate(requests):
        try:
            for event in edit(model, request, session, method=method, preset=preset):
                session = event.session if isinstance(event, Accepted | Rejected) else session
                yield index, event
        except UserError as error:
            session = session.noted("refused", {"request": request, "reason": str(error)})
            yield index, Rejected(request, (str(error),), session)
