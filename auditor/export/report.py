"""The report: what was asked for, tried, measured and changed, as plain values for JSON. Nothing about the machine.

All of it comes from the session: accepted changes with their evidence, and the log, which has what was tried in vain,
the questions asked before and after, and the refusal boundary. Card and report page are written from this value alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from auditor.editor.validate import LIMITS
from auditor.export.checkpoint import base_of, versions
from auditor.export.licence import licence
from auditor.export.plain import plain, public_name
from auditor.log import Log
from auditor.model import SharedModel
from auditor.types import Entry, Session

UNITS = {
    "moved": "how much the next-word choices moved: KL(before ‖ after), nats",
    "lean": "leaning to decline: log mass on declining openings minus that on engaging ones, nats",
    "norm": "size of the change to one layer's W_out: Frobenius norm",
}


def report(session: Session, model: SharedModel) -> dict[str, Any]:
    """Gather a session's evidence in one JSON-able value."""
    return plain({
        "format": "model-auditor report 2",
        "model": {"name": public_name(model.id), "base": base_of(model), "licence": licence(model),
                  "fingerprint": model.fingerprint, "layers": model.n_layers, "width": model.d_model,
                  "precision": str(model.dtype).removeprefix("torch."), "device": model.device.type},
        "versions": versions(),
        "limits": LIMITS,
        "units": UNITS,
        "changes": [_change(entry, stale=entry.edit.id in session.stale) for entry in session.entries],
        "norms": session.norms(),
        "rejected": [*_facts(session.log, "rejected"), *_facts(session.log, "refused")],
        "before_after": _facts(session.log, "compared"),
        "refusal_boundary": _facts(session.log, "boundary"),
        "log": [{**dataclasses.asdict(record), "hash": record.hash} for record in session.log],
        "log_head": session.head,
    })


def _change(entry: Entry, *, stale: bool) -> dict[str, Any]:
    edit = entry.edit
    return {"id": edit.id, "request": edit.request, "sentence": edit.request.sentence, "method": edit.method,
            "config": edit.config, "layers": edit.layers, "fitted_on": edit.fitted_on,
            "norms": [patch.norm for patch in edit.patches], "notes": edit.notes, "losses": edit.losses,
            "stale": stale, "passed": entry.report.passed,
            "checks": [{**plain(check), "passed": check.passed} for check in entry.report.checks],
            "scores": [{**plain(score), "passed": score.passed} for score in entry.scores], "cases": entry.cases}


def _facts(log: Log, action: str) -> list[Any]:
    """What the log says of one kind of action, oldest first."""
    return [record.facts for record in log if record.action == action]
