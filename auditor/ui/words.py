"""Plain words for what the engine measured, and small pieces of escaped HTML. Pure functions.

Whatever a visitor or the model wrote goes through `escape` before it reaches the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from auditor.export import phrases
from auditor.export.markup import Raw, light, note, table
from auditor.export.phrases import CHECKS, count, number, percent, verdict
from auditor.types import Check, Edit, EditRequest

__all__ = ["CHECKS", "Raw", "bounded", "change", "compared", "count", "layers", "light", "limit", "listed", "looked",
           "modelcard", "note", "number", "percent", "problem", "seconds", "status", "table", "verdict"]


def limit(check: Check) -> str:
    """The limit of a check as words."""
    return phrases.limit(check.direction, check.threshold)


def seconds(left: float | None) -> str:
    """Remaining time as words; empty when it is not known."""
    if left is None:
        return ""
    return "almost done" if left < 1 else f"about {left:.0f} s left" if left < 90 else f"about {left / 60:.0f} min left"


def change(request: EditRequest) -> str:
    """One accepted change as a short line of text."""
    return f"{request.prompt}: “{request.target_old or '…'}” → “{request.target_new}”"


def layers(edit: Edit) -> str:
    """The layers an edit touches."""
    return ", ".join(str(layer) for layer in edit.layers)


def status(text: str = "", share: float | None = None, left: float | None = None) -> str:
    """What is going on just now, with a bar where its length is known; read out by screen readers."""
    tail = f" · {seconds(left)}" if left is not None else ""
    bar = ""
    if share is not None:
        bar = f'<progress max="1" value="{min(max(share, 0.0), 1.0):.3f}" aria-label="progress"></progress>'
    return f'<div class="status" role="status" aria-live="polite">{bar}<span>{escape(text + tail)}</span></div>'


def problem(text: str) -> str:
    """A message about something the visitor can mend; read out at once."""
    return f'<p class="note bad" role="alert">✖ {escape(text)}</p>'


def listed(items: Sequence[str], title: str = "") -> str:
    """Sentences as a list, under a title; escaped."""
    if not items:
        return ""
    head = f'<p class="listhead">{escape(title)}</p>' if title else ""
    return f'{head}<ul class="stages">' + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def looked(look, request: EditRequest) -> str:
    """What a Look found, in two or three sentences."""
    word, chance = look.top[0]
    text = (f"After “{look.prompt}” the likeliest next word is “{word.strip() or repr(word)}” ({percent(chance)}). "
            f"As a whole, the answer “{request.target_old or look.old_answer}” has a chance of "
            f"{percent(look.old)}, and “{request.target_new}” of {percent(look.new)}.")
    if look.rows:
        wins = sum(row.new > row.old for row in look.rows)
        text += f" Asked in {len(look.rows)} other ways, it prefers the new answer in {wins}."
    return text


def compared(rows: Sequence) -> str:
    """What a before/after comparison found, in one sentence."""
    changed = sum(row.before.strip() != row.after.strip() for row in rows)
    return f"Of {count(len(rows), 'question')}, {changed} got a different answer after the changes."


def bounded(rows: Sequence) -> str:
    """What the refusal boundary measurement found, in plain sentences."""
    probes, own = ([r for r in rows if (r.group == "probe") is wanted] for wanted in (True, False))
    text = _shifted("On the fixed refusal questions", probes)
    return f"{text} {_shifted('On this topic', own)}" if own else text


def _shifted(where: str, rows: Sequence) -> str:
    if not rows:
        return ""
    mean = sum(r.shift for r in rows) / len(rows)
    way = f"leans {'more' if mean > 0 else 'less'} to decline ({mean:+.2f} on average)"
    kl = sum(r.kl for r in rows) / len(rows)
    way = way if abs(mean) >= 0.005 else "did not move"
    return f"{where} the model {way}; its next-word choices moved by {kl:.3f} on average."


def modelcard(name: str, text: str) -> str:
    """The line that says which model is in use; escaped."""
    return f'<p class="modelcard"><strong>Model in use: {escape(name)}.</strong> {escape(text)}</p>'
