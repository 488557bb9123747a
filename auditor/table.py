"""Many requests from one table: pasted rows or a file, four columns, tabs or commas. Pure functions.

1. `read` takes a file's text, if it is small and plain.
2. `requests` reads all rows and names every bad one at once, so that nothing has to be tried twice.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from auditor.errors import InvalidRequest, UserError
from auditor.types import EditRequest

MAX_ROWS = 200
"""Longest accepted list: past one or two hundred edits in a row a model is known to degrade."""
MAX_BYTES = 400_000
"""Largest accepted list file: 200 rows of four full fields fit with room to spare."""


class RowsRejected(UserError):
    """One or more rows cannot be read; one sentence per row."""


def requests(text: str, category: str = "factuality") -> tuple[EditRequest, ...]:
    """Requests from rows `subject, relation, old, new`, separated by tabs or commas; a heading row is skipped.

    Raises RowsRejected with one sentence per bad row.
    """
    if not (text or "").strip():
        raise RowsRejected("Give at least one row: what it is about, which claim, the answer now, the new answer.")
    found, bad = [], []
    for number, cells in enumerate(_cells(text), 1):
        if number == 1 and [c.casefold() for c in cells[:2]] == ["subject", "relation"]:
            continue
        if len(cells) != 4:
            bad.append(f"Row {number} has {len(cells)} columns; it needs 4.")
            continue
        try:
            found.append(EditRequest(*cells, category=category))
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


def read(path: str | Path) -> str:
    """The text of a list file; raises RowsRejected when it is not there, too large or not plain text."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RowsRejected(f"The list “{Path(path).name}” cannot be read ({error.strerror}).") from None
    if len(data) > MAX_BYTES:
        raise RowsRejected(f"The file is larger than {MAX_BYTES // 1000} kB, more than {MAX_ROWS} rows can need.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RowsRejected("The file is not plain text in UTF-8. Save the table as CSV or TSV and try again.") from None
