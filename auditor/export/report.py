"""The report: what was asked for, tried, measured and changed, as plain values for JSON. Nothing about the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from auditor.editor.boundary import BoundaryRow
from auditor.editor.look import Comparison
from auditor.editor.validate import LIMITS
from auditor.export.plain import plain, public_name
from auditor.model import SharedModel
from auditor.types import Attempted, Rejected, Session, ValidationReport

UNITS = {
    "moved": "how much the next-word choices moved: KL(before ‖ after), nats",
    "lean": "leaning to decline: log mass on declining openings minus that on engaging ones, nats",
    "norm": "size of the change to one layer's W_out: Frobenius norm",
}


def report(session: Session, model: SharedModel, *, attempts: Sequence[Attempted] = (),
           rejected: Sequence[Rejected] = (), comparisons: Sequence[Comparison] = (),
           boundary: Sequence[BoundaryRow] = ()) -> dict[str, Any]:
    """Gather a session's evidence in one JSON-able value; attempts and measurements are those the page has shown."""
    return plain({
        "format": "model-auditor report 1",
        "model": {"name": public_name(model.id), "fingerprint": model.fingerprint, "layers": model.n_layers,
                  "width": model.d_model, "precision": str(model.dtype).removeprefix("torch.")},
        "limits": LIMITS,
        "units": UNITS,
        "changes": [{
            "id": entry.edit.id, "request": entry.edit.request, "sentence": entry.edit.request.sentence,
            "method": entry.edit.method, "config": entry.edit.config, "layers": entry.edit.layers,
            "fitted_on": entry.edit.fitted_on, "norms": [patch.norm for patch in entry.edit.patches],
            "notes": entry.edit.notes, "losses": entry.edit.losses, "stale": entry.edit.id in session.stale,
            **_checks(entry.report), "scores": [{**plain(score), "passed": score.passed} for score in entry.scores],
            "cases": entry.cases,
        } for entry in session.entries],
        "norms": session.norms(),
        "attempts": [{"request": a.edit.request, "layers": a.edit.layers, **_checks(a.report)} for a in attempts],
        "rejected": rejected,
        "before_after": comparisons,
        "refusal_boundary": boundary,
        "log": session.log, "log_head": session.head,
    })


def _checks(report: ValidationReport) -> dict[str, Any]:
    return {"passed": report.passed,
            "checks": [{**plain(check), "passed": check.passed} for check in report.checks]}
