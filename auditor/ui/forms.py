"""What the visitor typed, turned into values: one request from a form, many from pasted rows. Pure functions.

Every problem is reported at once and by field, so that nothing has to be typed twice.
"""

from __future__ import annotations

import csv
import io

from auditor.audits import FIELDS, Audit
from auditor.errors import InvalidRequest, UserError
from auditor.types import EditRequest

MAX_ROWS = 200
"""Longest accepted list: past one or two hundred edits in a row a model is known to degrade."""
MAX_BYTES = 400_000
"""Largest accepted list file: 200 rows of four full fields fit with room to spare."""
MAX_QUESTIONS = 12
"""Own questions compared in one go."""


class RowsRejected(UserError):
    """One or more pasted rows cannot be read; one sentence per row."""


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
    """Requests from pasted rows `subject, relation, old, new`, separated by tabs or commas; a heading row is skipped.

    Raises RowsRejected with one sentence per bad row.
    """
    if not (text or "").strip():
        raise RowsRejected("Paste at least one row: what it is about, which claim, the answer now, the new answer.")
    found, bad = [], []
    for number, cells in enumerate(_cells(text), 1):
        if number == 1 and [c.casefold() for c in cells[:2]] == ["subject", "relation"]:
            continue
        if len(cells) != 4:
            bad.append(f"Row {number} has {len(cells)} columns; it needs 4.")
            continue
        try:
            found.append(parse(audit, *cells))
        except InvalidRequest as error:
            bad.append(f"Row {number}: {error}")
    if len(found) > MAX_ROWS:
        bad.append(f"These are {len(found)} rows; at most {MAX_ROWS} are accepted at once.")
    if bad:
        raise RowsRejected(" ".join(bad[:8]) + (f" … and {len(bad) - 8} more." if len(bad) > 8 else ""))
    return tuple(found)


def _cells(text: str) -> list[list[str]]:
    """Non-empty rows, split at tabs where there are any, else at commas."""
    delimiter = "\t" if "\t" in text else ","
    try:
        parsed = list(csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise RowsRejected(f"The rows could not be read as a table ({error}).") from None
    return [[cell.strip() for cell in row] for row in parsed if any(cell.strip() for cell in row)]


def read_rows(path: str) -> str:
    """The text of an uploaded list; raises RowsRejected when it is too large or not plain text."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise RowsRejected(f"The file is larger than {MAX_BYTES // 1000} kB, more than {MAX_ROWS} rows can need.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RowsRejected("The file is not plain text in UTF-8. Save the table as CSV or TSV and try again.") from None
