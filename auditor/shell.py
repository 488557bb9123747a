"""The commands of the shell, one function each: options and a voice in, an exit status out.

Every command loads the model, opens the session file, runs the engine's own generator, and says what it yields. What
was accepted is on disk before the next step begins, so that Ctrl-C loses nothing of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from auditor import table
from auditor.benchmarks import Cases, Scoring, generate_cases, profile
from auditor.benchmarks.cases import parse
from auditor.editor import loop
from auditor.editor import trace as tracing
from auditor.errors import UnknownName, UserError
from auditor.export import session as session_file
from auditor.export.bundle import bundle
from auditor.export.noting import exported
from auditor.export.plain import plain
from auditor.model import SharedModel, load
from auditor.types import (
    Accepted,
    Attempted,
    BenchmarkScore,
    EditRequest,
    Entry,
    Event,
    Fitting,
    Rejected,
    Session,
    Traced,
)

DONE, NOT_FIXED = 0, 1
VERDICT = {True: "✔", False: "✖", None: "○"}


class Voice:
    """Says results on stdout, as words or as JSON, and progress on stderr where that is a terminal."""

    def __init__(self, as_json: bool = False):
        self.as_json, self.kept = as_json, "Nothing was changed."

    def say(self, words: str) -> None:
        """A line of words; nothing when JSON is wanted."""
        if not self.as_json:
            self._write(words)

    def tell(self, value: Any) -> None:
        """One result as JSON, where that is wanted."""
        if self.as_json:
            self._write(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))

    def progress(self, words: str) -> None:
        """Replace the line of progress; empty words take it away."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{words}")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        self.progress("")
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)  # nothing that steers a terminal
        sys.stdout.write(f"{shown}\n")
        sys.stdout.flush()


# The session file


def opened(path: Path | None, model: SharedModel, *, must: bool = False) -> Session:
    """The session of a file, or a new one where there is none yet; raises UserError and SessionRejected."""
    if path is None or not (path.exists() or must):
        if path is not None and not path.parent.is_dir():
            raise UserError(f"There is no folder “{path.parent}” for the session file.")
        return Session(model.id)
    session = session_file.load(path, model)
    if must and not session.entries:
        raise UserError("This session holds no accepted change yet. Make one first: python -m auditor edit …")
    return session


def keep(session: Session, path: Path | None, voice: Voice) -> None:
    """Rewrite the session file, if one was named, and remember the sentence about it."""
    changes = f"{len(session.entries)} change{'' if len(session.entries) == 1 else 's'}"
    if path is not None:
        session_file.save(session, path)
    voice.kept = (f"Kept in “{path}”: {changes}." if path is not None else
                  "Nothing was kept, because no session file was named (--session FILE).")


# Commands


def trace(options: argparse.Namespace, voice: Voice) -> int:
    """Show where an answer comes from, layer by layer."""
    wanted, model = EditRequest(options.subject, options.relation, target_new=options.answer), load(options.model)
    found = tracing.trace(model, wanted.prompt, wanted.subject, wanted.target_new, part=options.part,
                          edits=opened(options.session, model).edits)
    voice.tell({**plain(found), "sentence": tracing.sentence(found)})
    voice.say(tracing.sentence(found))
    voice.say("Share of the answer brought back, by layer: at the subject's last word, at the sentence's last word.")
    for layer, shares in enumerate(zip(found.recovery("subject").tolist(), found.recovery("final").tolist())):
        voice.say(f"{layer:5d}" + "".join(f"{share:8.0%}" for share in shares))
    return DONE


def edit(options: argparse.Namespace, voice: Voice) -> int:
    """Try one fix; the session file holds it afterwards if it passed."""
    wanted = EditRequest(options.subject, options.relation, options.old, options.new, options.category, options.seed)
    model = load(options.model)
    session = opened(options.session, model)
    attempts: list[Attempted] = []
    for event in loop.edit(model, wanted, session, method=options.method, preset=options.preset):
        _narrate(event, voice, attempts)
        if isinstance(event, Accepted | Rejected):
            return _concluded(event, attempts, session, options.session, voice)
    return NOT_FIXED


def bulk(options: argparse.Namespace, voice: Voice) -> int:
    """Work through a list; status 0 only if every row was accepted."""
    wanted = table.requests(table.read(options.list), options.category)
    model = load(options.model)
    session = opened(options.session, model)
    attempts, statuses = [], []
    for row, event in loop.bulk(model, wanted, session, method=options.method, preset=options.preset):
        _narrate(event, voice, attempts, f"Row {row + 1} of {len(wanted)}: ")
        if isinstance(event, Accepted | Rejected):
            statuses.append(_concluded(event, attempts, session, options.session, voice, row=row + 1))
            session, attempts = event.session or session, []
    voice.say(f"{statuses.count(DONE)} of {len(wanted)} rows accepted.")
    return max(statuses, default=DONE)


def benchmark(options: argparse.Namespace, voice: Voice) -> int:
    """Measure one accepted change; the scores and their questions are kept in the session file."""
    rows = parse(table.read(options.rows)) if options.rows else ()
    model = load(options.model)
    session = opened(options.session, model, must=True)
    entry = _entry(session, options.change)
    voice.progress("Making the cases")
    cases = _cases(model, session, entry, rows)
    voice.say(cases.sure)
    old = entry.scores if entry.cases == cases.to_dict() else ()
    done: list[BenchmarkScore] = []
    try:
        for event in profile(model, session, entry.edit.id, cases, names=options.names):
            if isinstance(event, Scoring):
                voice.progress(f"{event.name}: {event.done} of {event.of}")
            else:
                done.append(event)
                voice.tell({**plain(event), "passed": event.passed})
                voice.say(_scored(event))
    finally:  # what is measured is kept, also after Ctrl-C
        if done:
            fresh = {score.name for score in done}
            scores = (*(score for score in old if score.name not in fresh), *done)
            keep(session.with_scores(entry.edit.id, scores, cases.to_dict()), options.session, voice)
    voice.say(f"{sum(bool(score.passed) for score in done)} of {len(done)} passed. {voice.kept}")
    return DONE


def export(options: argparse.Namespace, voice: Voice) -> int:
    """Write the bundle: the edited model with its evidence, signed where a key is given; the log says that it was."""
    model = load(options.model)
    session = opened(options.session, model, must=True)
    made = _last(bundle(model, session, options.folder, sign=options.sign), voice)
    keep(exported(session, made.hashes), options.session, voice)
    voice.tell({"folder": str(made.folder), "files": [path.name for path in made.files], "size": made.size,
                "head": made.head, "message": made.message})
    voice.say(f"Written to “{made.folder}”: {len(made.files)} files, {made.size / 1e6:,.1f} MB. To check them: "
              f"python -m auditor verify {made.folder}\nHead of the log, to be kept elsewhere: {made.head}")
    return DONE


# Words


def _last(events: Iterator[Any], voice: Voice) -> Any:
    """Run an export to its end with progress in bytes; returns its last event."""
    last = None
    with contextlib.closing(events):
        for last in events:
            if isinstance(last, tuple):
                voice.progress(f"Writing: {last[0] / max(last[1], 1):.0%} of {last[1] / 1e6:,.0f} MB")
    return last


def _narrate(event: Event, voice: Voice, attempts: list[Attempted], head: str = "") -> None:
    """Say what happens on the way to a verdict."""
    match event:
        case Traced():
            voice.say(f"{head}{event.sentence}")
        case Fitting():
            voice.progress(f"{head}layer {event.layer}, attempt {event.attempt}, step {event.step} of {event.steps}")
        case Attempted():
            attempts.append(event)
            voice.say(f"{VERDICT[event.report.passed]} Layer {event.report.layer}:")
            for check in event.report.checks:
                voice.say(f"  {VERDICT[check.passed]} {check.name} {check.value:.3g} ({check.direction} "
                          f"{check.threshold:g}). {check.summary}")


def _concluded(event: Accepted | Rejected, attempts: Sequence[Attempted], session: Session, path: Path | None,
               voice: Voice, **more: Any) -> int:
    """Keep the outcome, then say it; returns the exit status that it deserves."""
    accepted = isinstance(event, Accepted)
    keep(event.session or session, path, voice)
    request = event.entry.edit.request if accepted else event.request
    found = {"accepted": accepted, "id": event.entry.edit.id if accepted else None, "request": request,
             "reasons": () if accepted else event.reasons}
    tried = [{"layer": each.report.layer, "passed": each.report.passed, "checks": each.report.checks}
             for each in attempts]
    voice.tell({**more, **found, "attempts": tried})
    if accepted:
        voice.say(f"Accepted as change {event.entry.edit.id}: “{request.prompt}” is now continued by "
                  f"“{request.target_new}”. {voice.kept}")
    else:
        voice.say(f"Not fixed; the weights are as before. {' '.join(event.reasons)}")
    return DONE if accepted else NOT_FIXED


def _entry(session: Session, beginning: str) -> Entry:
    """The accepted change whose id begins so."""
    found = [entry for entry in session.entries if beginning and entry.edit.id.startswith(beginning)]
    if len(found) != 1:
        raise UnknownName("change", beginning, [edit.id for edit in session.edits])
    return found[0]


def _cases(model: SharedModel, session: Session, entry: Entry, rows: Sequence[Sequence[str]]) -> Cases:
    """The frozen questions of an earlier run; new ones where there are none or own rows are given."""
    if entry.cases and not rows:
        return Cases.from_dict(entry.cases)
    others = tuple(edit for edit in session.edits if edit.id != entry.edit.id)
    return generate_cases(model, entry.edit.request, edits=others, rows=rows)


def _scored(score: BenchmarkScore) -> str:
    if score.value is None:
        return f"{VERDICT[None]} {score.name}: not measured. {score.reason}"
    between = f", 90 % interval {score.interval[0]:.2f} to {score.interval[1]:.2f}" if score.interval else ""
    return (f"{VERDICT[score.passed]} {score.name}: {score.value:.2f} (limit {score.threshold:g}{between}, "
            f"{score.n} cases).")
