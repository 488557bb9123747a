"""The table under every plot, and the lists of the session: a value in, HTML out. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auditor.editor.overlap import WARN
from auditor.types import Attempted, Check, Fitting, Session, TraceResult
from auditor.ui.words import CHECKS, Raw, change, layers, light, limit, number, percent, table


def answers(look) -> str:
    """The ten likeliest next words of a Look."""
    return table("The ten likeliest next words", ("Rank", "Next word", "How likely"),
                 [(str(i), repr(word)[1:-1], percent(p)) for i, (word, p) in enumerate(look.top, 1)])


def phrasings(look, request) -> str:
    """Every phrasing of a Look with the chance of the whole old and the whole new answer."""
    return table("The same claim, asked in different ways",
                 ("Phrasing", "What the model answers", f"Chance of “{request.target_old}”",
                  f"Chance of “{request.target_new}”"),
                 [(row.prompt, row.answer.strip() or "(nothing)", percent(row.old), percent(row.new))
                  for row in look.rows])


def trace_layers(trace: TraceResult) -> str:
    """Layer by layer: probability brought back at the two places, with the share of what was lost."""
    subject, final = trace.at("subject").tolist(), trace.at("final").tolist()
    shares = trace.recovery("subject").tolist(), trace.recovery("final").tolist()
    marks = set(trace.marked("subject")), set(trace.marked("final"))
    rows = [(str(i), number(subject[i]) + " ◯" * (i in marks[0]), percent(max(shares[0][i], 0.0)),
             number(final[i]) + " ◯" * (i in marks[1]), percent(max(shares[1][i], 0.0)))
            for i in range(len(subject))]
    return table("Probability of the answer brought back, layer by layer (◯ = above 40 % of the strongest)",
                 ("Layer", "Subject's last word", "share", "Sentence's last word", "share"), rows)


def fits(steps: Sequence[Fitting]) -> str:
    """One row per layer tried: how the fit went."""
    attempts = sorted({s.attempt for s in steps})
    own = [[s for s in steps if s.attempt == a] for a in attempts]
    return table("The fit at each layer tried", ("Attempt", "Layer", "Steps", "Loss at first", "Loss at last",
                                                 "Chance of the new answer while fitting"),
                 [(str(s[0].attempt), str(s[0].layer), str(len(s)), number(s[0].loss), number(s[-1].loss),
                   percent(s[-1].probability)) for s in own])


def checks(attempts: Sequence[Attempted]) -> str:
    """The three checks of every attempt as traffic lights in shapes and words, with number, limit and before."""
    rows = [(f"Layer {attempt.report.layer}", Raw(_title(check)), Raw(light(check.passed)), number(check.value),
             limit(check), _before(check), check.summary)
            for attempt in attempts for check in attempt.report.checks]
    return table("The three checks", ("Tried at", "Check", "Verdict", "Measured", "Limit", "Before the change",
                                      "In words"), rows)


def _title(check: Check) -> str:
    title, what = CHECKS.get(check.name, (check.name, ""))
    return f"<strong>{title}</strong><br><small>{what}</small>"


def _before(check: Check) -> str:
    """Mean of the `before` column where the check's rows have one."""
    values = [row["before"] for row in check.detail if isinstance(row.get("before"), float | int)]
    return number(sum(values) / len(values)) if values else "—"


def evidence(attempts: Sequence[Attempted]) -> str:
    """The rows each check of the last attempt was made of."""
    if not attempts:
        return ""
    return "".join(_rows(CHECKS.get(check.name, (check.name,))[0], check.detail)
                   for check in attempts[-1].report.checks)


def _rows(caption: str, detail: Sequence[Mapping]) -> str:
    headers = list(dict.fromkeys(key for row in detail for key in row))
    return table(caption, [h.replace("_", " ") for h in headers],
                 [tuple(_plain(row.get(h, "")) for h in headers) for row in detail])


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def compared(rows) -> str:
    """The same questions side by side: answers before and after, and how much the next-word choices moved."""
    return table("The same questions, before and after",
                 ("Question", "Before", "After", "Likeliest next word before", "… and after", "Moved (KL, nats)"),
                 [(row.prompt, row.before.strip() or "(nothing)", row.after.strip() or "(nothing)",
                   _first(row.top_before), _first(row.top_after), f"{row.moved:.3f}") for row in rows])


def _first(top) -> str:
    return f"{top[0][0].strip() or repr(top[0][0])} ({percent(top[0][1])})" if top else "—"


def boundary(rows) -> str:
    """Each refusal question: lean before, lean after, signed change, movement."""
    return table("Where the model draws the line (lean above 0: rather declines; below 0: rather answers)",
                 ("Question", "Kind", "Lean before", "Lean after", "Change", "Moved (KL, nats)"),
                 [(row.prompt, row.group, f"{row.lean_before:+.2f}", f"{row.lean_after:+.2f}", f"{row.shift:+.2f}",
                   f"{row.kl:.3f}") for row in rows])


def session(value: Session) -> str:
    """Accepted changes in order, with the figures that got them accepted."""
    return table("Accepted changes, oldest first",
                 ("No.", "Change", "Kind", "Layer", "Checks", "Standing"),
                 [(str(i), change(e.edit.request), e.edit.request.category, layers(e.edit),
                   " · ".join(f"{number(c.value)} ({limit(c)})" for c in e.report.checks),
                   "◐ check again" if e.edit.id in value.stale else "✔ live")
                  for i, e in enumerate(value.entries, 1)],
                 empty="No change has been accepted yet. The model is exactly as it was loaded.")


def norms(value: Session, n_layers: int, sizes: Sequence[float] = ()) -> str:
    """Every layer's change to its output matrix: only target layers are not zero."""
    found = value.norms()
    targets = {layer for edit in value.edits for layer in edit.layers}
    return table("Size of the change in each layer (0 = untouched, bit for bit)",
                 ("Layer", "Change", "Target of an edit"),
                 [(str(i), number(found.get(i, 0.0)), "✔ yes" if i in targets else "no") for i in range(n_layers)])


def overlap(found) -> str:
    """Each earlier change that shares a layer with what may be changed: how much of the new value would reach it."""
    return table("How much of the new change would reach your earlier ones, most disturbed first",
                 ("Earlier change", "If made at layer", "If nothing were spared", "As it will be made",
                  "In words"),
                 [(f"{row.claim} …", str(row.layer), percent(row.share), percent(row.left), _disturbed(row))
                  for row in found.rows])


def _disturbed(row) -> str:
    if row.same:
        return "◐ same place: written on top"
    return "◐ disturbed" if row.left >= WARN else "✔ spared" if row.share >= WARN else "✔ out of the way"


def bulk(rows: Sequence[tuple[str, str, str]]) -> str:
    """Progress of a list: change, outcome, detail."""
    return table("The list", ("Change", "Outcome", "Detail"), rows)
