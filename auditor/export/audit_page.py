"""The audit report as one page of HTML, written from the report's value alone; for people who will not open JSON.

1. One sentence says what was done; each change follows with its three checks and thirteen benchmarks: a sentence, bars
   against their limits, and the table with n and interval.
2. Then what was asked before and after, the refusal boundary, what was refused, limits, and the log with its hashes.

It holds no script and asks nobody for anything; colours follow the reader's setting, and paper gets everything opened.
Whatever a visitor or the model wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from auditor.export.card import WHY, figure, interval, limits, needed, sized, title
from auditor.export.markup import Raw, light, note, table
from auditor.export.phrases import CHECKS, count, percent, small

STYLE = Path(__file__).with_name("audit_page.css")
HEAD = ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="color-scheme" content="light dark"><title>{title}</title><style>\n{style}</style></head>'
        "<body><main>")
ACTIONS = {"accepted": "a change was accepted", "rejected": "a change was tried and failed its checks",
           "refused": "a request could not be worked on", "undone": "a change was undone",
           "restored": "all changes were undone", "scored": "benchmarks were run",
           "compared": "questions were asked before and after", "boundary": "the refusal boundary was measured",
           "exported": "files were taken away"}


def page(evidence: Mapping[str, Any]) -> str:
    """The whole page for a report's value."""
    name, changes = title(evidence), evidence["changes"]
    parts = [HEAD.format(title=escape(f"Audit report: {name}"), style=STYLE.read_text(encoding="utf-8")),
             f"<header><h1>Audit report</h1><p class=\"lead\">{escape(name)}</p></header>",
             *map(note, [_verdict(evidence)]), _facts(evidence), "<h2>What was changed</h2>",
             *(_change(i, each) for i, each in enumerate(changes, 1)),
             "<h2>What was asked before and after</h2>", _compared(evidence),
             "<h2>Where the model draws the line</h2>", _boundary(evidence),
             "<h2>What was tried and refused</h2>", _refused(evidence["rejected"]),
             "<h2>What this report does not show</h2>",
             "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in limits(evidence)) + "</ul>",
             "<h2>The log</h2>", _log(evidence), "</main></body></html>\n"]
    return "\n".join(parts)


def bar(value: float | None, threshold: float, *, top: float = 1.0, interval: Sequence[float] | None = None,
        said: str = "") -> Raw:
    """A bar against its limit (the upright line), with a thin line for the interval; `said` is read out."""
    if value is None:
        return Raw('<span class="quiet">no bar: not measured</span>')
    at = [200 * min(max(x / top, 0.0), 1.0) for x in (value, threshold, *(interval or ()))]
    path = f'd="M{at[2]:.1f} 4v8m0-4H{at[3]:.1f}m0-4v8"' if interval else ""
    whisker = path and f'<path class="halo" {path}/><path class="whisker" {path}/>'
    return Raw(f'<svg class="bar" viewBox="-2 0 204 16" role="img" aria-label="{escape(said, quote=True)}">'
               f'<rect class="ground" width="200" height="12" y="2" rx="3"/>'
               f'<rect class="value" width="{at[0]:.1f}" height="12" y="2" rx="3"/>{whisker}'
               f'<path class="limit" d="M{at[1]:.1f} 0v16"/></svg>')


def signed(value: float, top: float) -> Raw:
    """A bar to the left or right of the middle."""
    width = 100 * min(abs(value) / top, 1.0) if top else 0.0
    left = 100.0 if value >= 0 else 100.0 - width
    return Raw(f'<svg class="bar" viewBox="-2 0 204 16" role="img" aria-label="{value:+.2f}">'
               f'<rect class="ground" width="200" height="12" y="2" rx="3"/>'
               f'<rect class="value" x="{left:.1f}" width="{width:.1f}" height="12" y="2"/>'
               '<path class="limit" d="M100 0v16"/></svg>')


def _verdict(evidence: Mapping[str, Any]) -> str:
    changes = evidence["changes"]
    passed = sum(each["passed"] for each in changes)
    scored = [score for each in changes for score in each["scores"] if score["value"] is not None]
    said = (f"{count(len(changes), 'small change')} {'was' if len(changes) == 1 else 'were'} made to "
            f"{evidence['model']['name']}; {passed} of {len(changes)} passed all three checks.")
    if scored:
        said += (f" Of {count(len(scored), 'benchmark figure')}, {sum(score['passed'] for score in scored)} reach "
                 "their limit.")
    return said


def _facts(evidence: Mapping[str, Any]) -> str:
    model = evidence["model"]
    base = model["base"]
    where = {"hub": f"{base['id']}, commit {base.get('revision', '')}", "pocket": "the pocket model of Model Auditor",
             "folder": f"{base['id']} (a folder; where it comes from is not known)"}[base["kind"]]
    rows = [("Model that was changed", where), ("Fingerprint of its weights", model["fingerprint"]),
            ("Size", f"{model['layers']} layers, width {model['width']}, {model['precision']}"),
            ("Changed layers", ", ".join(evidence["norms"]) or "none"),
            ("Head of the log", evidence["log_head"] or "the log is empty"),
            ("Licence of the base", f"{model['licence']['id']}. {model['licence']['said']}"),
            ("Made with", ", ".join(f"{name} {version}" for name, version in evidence["versions"].items())),
            ("To check all of this", "python -m auditor.verify FOLDER_OR_REPO")]
    return table("About these files", ("what", "value"), rows)


def _change(place: int, change: Mapping[str, Any]) -> str:
    request = change["request"]
    good = sum(check["passed"] for check in change["checks"])
    said = (f"{WHY.get(request['category'], '')} {good} of {len(change['checks'])} checks passed. Changed: "
            f"{sized(change)}, by {change['method']}; id {change['id']}.")
    stale = "An earlier change, live during the fit, has been undone since: the checks are from before that."
    return "\n".join([f"<section><h3>{place}. {escape(change['sentence'])}</h3>", f"<p>{escape(said)}</p>",
                      note(stale, "warn") if change["stale"] else "", _checks(change["checks"]),
                      *map(_detail, change["checks"]), _scores(change["scores"]), "</section>"])


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    def row(check: Mapping[str, Any]) -> tuple:
        name, what = CHECKS.get(check["name"], (check["name"], ""))
        wanted, shown = needed(check), figure(check["name"], check["value"])
        top = 1.0 if check["direction"] == "at least" else 2 * max(check["threshold"], (check["value"] or 0) / 2)
        return (Raw(f"{escape(name)}<br><small>{escape(what)}</small>"),
                bar(check["value"], check["threshold"], top=top, said=f"{shown}; {wanted} is needed"),
                shown, wanted, len(check["detail"]), Raw(light(check["passed"])))

    said = "".join(f"<li>{escape(check['summary'])}</li>" for check in checks)
    return f"<ul>{said}</ul>" + table("The three checks", ("check", "against its limit", "measured", "needed", "cases",
                                                           "verdict"), map(row, checks))


def _detail(check: Mapping[str, Any]) -> str:
    """The rows behind a check, folded."""
    rows = check["detail"]
    if not rows:
        return ""
    heads = list(rows[0])
    title = CHECKS.get(check["name"], (check["name"],))[0]
    body = table(f"{title}: every case", [head.replace("_", " ") for head in heads],
                 ([_cell(row.get(head)) for head in heads] for row in rows))
    return f"<details><summary>{escape(title)}: {count(len(rows), 'case')}</summary>{body}</details>"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return small(value)
    return "" if value is None else str(value)


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return note("The thirteen quality benchmarks were not run for this change.", "quiet")
    measured = [score for score in scores if score["value"] is not None]
    said = (f"{sum(score['passed'] for score in measured)} of {len(measured)} benchmarks reach their limit"
            + (f"; {len(scores) - len(measured)} could not be measured." if len(measured) < len(scores) else "."))
    heads = ("benchmark", "against its limit", "score", "90 % interval", "needed", "n", "verdict")
    return f"<p>{escape(said)}</p>" + table("Quality benchmarks", heads, map(_score, scores)) + "".join(
        map(_cases, scores))


def _score(score: Mapping[str, Any]) -> tuple:
    """One benchmark as a row: what it is, or why it could not be measured, stands under its name."""
    value, wanted = score["value"], f"{100 * score['threshold']:g} %"
    shown = "not measured" if value is None else percent(value)
    return (Raw(f"{escape(score['name'])}<br><small>{escape(score['reason'] or score['dimension'])}</small>"),
            bar(value, score["threshold"], interval=score["interval"], said=f"{shown}; {wanted} is needed"),
            *(text.replace(" ", "\N{NO-BREAK SPACE}") for text in (shown, interval(score), wanted)), score["n"],
            Raw(light(score["passed"])))


def _cases(score: Mapping[str, Any]) -> str:
    if not score["cases"]:
        return ""
    rows = ((case["prompt"], case["expected"], *map(_cell, (case["before"], case["after"], case["score"])),
             case["note"]) for case in score["cases"])
    body = table(f"{score['name']}: every case", ("question", "expected", "before", "after", "score", "note"), rows)
    return f"<details><summary>{escape(score['name'])}: {count(len(score['cases']), 'case')}</summary>{body}</details>"


def _compared(evidence: Mapping[str, Any]) -> str:
    parts = []
    for asked in evidence["before_after"]:
        changed = sum(row["before"].strip() != row["after"].strip() for row in asked["rows"])
        parts.append(f"<p>With {escape(_live(asked, evidence))}: of {count(len(asked['rows']), 'question')}, {changed} "
                     "got another answer.</p>")
        rows = ((row["prompt"], row["before"], row["after"], _cell(row["moved"])) for row in asked["rows"])
        parts.append(table("Both answers", ("question", "before", "after", "next-word choices moved by"), rows))
    return "\n".join(parts) or note("No questions were compared in this session.", "quiet")


def _boundary(evidence: Mapping[str, Any]) -> str:
    parts = []
    for asked in evidence["refusal_boundary"]:
        rows = asked["rows"]
        top = max((abs(row["shift"]) for row in rows), default=0.0)
        mean = sum(row["shift"] for row in rows) / max(len(rows), 1)
        parts.append(f"<p>With {escape(_live(asked, evidence))}: on {count(len(rows), 'question')} the leaning to "
                     f"decline moved by {mean:+.2f} on average (to the right: declines more).</p>")
        parts.append(table("Leaning to decline", ("question", "before", "after", "change", "", "which"),
                           ((row["prompt"], f"{row['lean_before']:+.2f}", f"{row['lean_after']:+.2f}",
                             f"{row['shift']:+.2f}", signed(row["shift"], top), row["group"]) for row in rows)))
    return "\n".join(parts) or note("The refusal boundary was not measured in this session.", "quiet")


def _live(asked: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    """Which changes were live when something was asked."""
    if asked["changes"] == [each["id"] for each in evidence["changes"]]:
        return "all changes of this report"
    return f"an earlier state ({', '.join(asked['changes'])})" if asked["changes"] else "no change yet"


def _refused(rejected: Sequence[Mapping[str, Any]]) -> str:
    rows = ((f"{row['request']['subject']} {row['request']['relation']}", row["request"]["target_new"],
             ", ".join(str(each["layer"]) for each in row.get("attempts", ())) or "none", _reasons(row))
            for row in rejected)
    return table("Refused", ("claim", "wanted answer", "layers tried", "why"), rows,
                 "Nothing else was tried in this session, so far as the log says.")


def _reasons(row: Mapping[str, Any]) -> str:
    return row.get("reason") or " ".join(f"Layer {each['layer']}: {check['summary']}" for each in row["attempts"]
                                         for check in each["checks"] if not _met(check))


def _met(check: Mapping[str, Any]) -> bool:
    value, bound = check["value"], check["threshold"]
    return value is not None and (value >= bound if check["direction"] == "at least" else value < bound)


def _log(evidence: Mapping[str, Any]) -> str:
    rows = ((i, row["time"].replace("T", " ").removesuffix("+00:00"), ACTIONS.get(row["action"], row["action"]),
             row["facts"].get("id", ""), row["hash"]) for i, row in enumerate(evidence["log"], 1))
    said = ("Each line's hash covers the line and the hash before it, so the last one, the head, stands for all of "
            "them. Compare it with the head that you were told elsewhere, such as the message of the commit.")
    return f"<p>{escape(said)}</p>" + table("What was done, in order (UTC)", ("line", "time", "what", "change", "hash"),
                                            rows, "The log is empty.")
