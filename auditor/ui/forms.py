"""What the visitor typed, turned into values: one request from a form, many from pasted rows. Pure functions.

Every problem is reported at once and by field, so that nothing has to be typed twice.
"""

from __future__ import annotations

from auditor import table
from auditor.audits import FIELDS, Audit
from auditor.errors import InvalidRequest
from auditor.table import MAX_BYTES, MAX_ROWS, RowsRejected
from auditor.table import read as read_rows
from auditor.types import EditRequest

__all__ = ["MAX_BYTES", "MAX_ROWS", "RowsRejected", "parse", "problems", "questions", "read_back", "read_rows",
           "rows"]

MAX_QUESTIONS = 12
"""Own questions compared in one go."""


def parse(audit: Audit, subject: str, relation: str, target_old: str, target_new: str) -> EditRequest:
    """Make a request of the four fields; raises InvalidRequest with one sentence per wrong field."""
    return EditRequest(subject or "", relation or "", target_old or "", target_new or "", category=audit.key)


def problems(audit: Audit, *values: str) -> dict[str, str]:
    """Field name to plain sentence for whatever is wrong with the four fields; empty when all is well."""
    try:
        parse(audit, *values)
    except InvalidRequest as error:
        return error.problems
    return {}


def read_back(audit: Audit, *values: str) -> str:
    """The hypothesis as one sentence, or what is still missing."""
    found = problems(audit, *values)
    missing = [field.label for name, field, value in zip(FIELDS, audit.fields, values)
               if name in found and not (value or "").strip()]
    if missing:
        return f"Still to fill in: {' · '.join(missing)}"
    return " ".join(found.values()) or parse(audit, *values).sentence


def questions(text: str) -> tuple[str, ...]:
    """Own questions, one per line, without blanks or repeats; raises InvalidRequest past the limit."""
    lines = tuple(dict.fromkeys(" ".join(line.split()) for line in (text or "").splitlines() if line.strip()))
    if len(lines) > MAX_QUESTIONS:
        raise InvalidRequest({"questions": f"These are {len(lines)} questions; at most {MAX_QUESTIONS} fit at once."})
    if any(len(line) > 500 for line in lines):
        raise InvalidRequest({"questions": "A question is longer than 500 characters; please shorten it."})
    return lines


def rows(audit: Audit, text: str) -> tuple[EditRequest, ...]:
    """Requests of this audit from pasted rows; raises RowsRejected with one sentence per bad row."""
    return table.requests(text, audit.key)
