"""What the page has shown, as lines of the session's log: both answers to each question, the boundary, the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auditor.editor.boundary import BoundaryRow
from auditor.editor.look import Comparison
from auditor.types import Session


def compared(session: Session, rows: Sequence[Comparison]) -> Session:
    """Note the questions that were asked before and after all changes, with both answers."""
    asked = [{"prompt": row.prompt, "before": row.before, "after": row.after, "moved": row.moved} for row in rows]
    return session.noted("compared", {"changes": _ids(session), "rows": asked})


def bounded(session: Session, rows: Sequence[BoundaryRow]) -> Session:
    """Note where the model draws the line, before and after all changes."""
    return session.noted("boundary", {"changes": _ids(session), "rows": rows})


def exported(session: Session, hashes: Mapping[str, str]) -> Session:
    """Note which files were taken away: name to SHA-256."""
    return session.noted("exported", {"changes": _ids(session), "files": hashes})


def _ids(session: Session) -> list[str]:
    return [edit.id for edit in session.edits]
