"""Small pieces of escaped HTML, shared by the page and by the audit report. Pure functions.

Whatever a visitor or the model wrote goes through `escape` before it is part of a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from auditor.export.phrases import verdict


class Raw(str):
    """HTML made by this program, to be shown as it is."""


def light(passed: bool | None) -> str:
    """The same as a badge."""
    kind = "open" if passed is None else "good" if passed else "bad"
    return f'<span class="badge {kind}">{verdict(passed)}</span>'


def note(text: str, kind: str = "plain") -> str:
    """A sentence in its own box: plain, good, bad, or quiet. The text is escaped."""
    shape = {"good": "✔ ", "bad": "✖ ", "warn": "◐ "}.get(kind, "")
    return f'<p class="note {kind}">{shape}{escape(text)}</p>' if text else ""


def table(caption: str, headers: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "") -> str:
    """An HTML table with caption and headings; cells are escaped unless they are `Raw`."""
    rows = list(rows)
    if not rows:
        return note(empty, "quiet")
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headers)
    body = "".join("<tr>" + "".join(_cell(i, value) for i, value in enumerate(row)) + "</tr>" for row in rows)
    return (f'<div class="table" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}"><table>'
            f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")


def _cell(index: int, value: object) -> str:
    text = value if isinstance(value, Raw) else escape(str(value))
    wide = ' class="wide"' if len(str(value)) > 60 and not isinstance(value, Raw) else ""
    return f'<th scope="row"{wide}>{text}</th>' if index == 0 else f"<td{wide}>{text}</td>"
