"""The same steps for programs: named endpoints that take plain values and answer in JSON, over the same session.

    client = gradio_client.Client(url)
    client.predict("The Eiffel Tower", "is located in", "Paris", "Rome", api_name="/edit")
    client.predict(api_name="/export")

A client has a session of its own, as a visitor has. What is wrong with an input comes back as an error in one sentence.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import gradio as gr

from auditor import gpu
from auditor.audits import AUDITS
from auditor.benchmarks import BENCHMARKS, Cases
from auditor.benchmarks.cases import COLUMNS
from auditor.editor import look as looking
from auditor.editor import loop
from auditor.editor.boundary import boundary
from auditor.editor.overlap import overlap
from auditor.editor.trace import sentence
from auditor.errors import AuditorError, Stopped, UserError
from auditor.export import noting
from auditor.export.plain import plain
from auditor.export.report import report
from auditor.types import Accepted, EditRequest, Entry, Session
from auditor.ui import cards, files, forms, measuring, sequence_runs
from auditor.ui.desk import FILES, LONG, QUEUE, Desk, explain
from auditor.ui.hub_panel import pushing
from auditor.ui.panels import locate
from auditor.ui.story import Story
from auditor.ui.takeaway_panel import build, finished, taking


def spoken(function: Callable) -> Callable:
    """Hand our own errors to the caller as sentences."""
    @functools.wraps(function)
    def told(*args: Any) -> Any:
        try:
            return function(*args)
        except AuditorError as error:
            raise gr.Error(explain(error), print_exception=False) from None

    told.__signature__ = inspect.signature(function)
    return told


class Endpoints:
    """One method per endpoint; the method's name is the endpoint's."""

    def __init__(self, desk: Desk):
        self._desk = desk

    def _last(self, request: gr.Request, events) -> list:
        """Run an errand to its end; Stop reaches it as on the page."""
        return [event for event in self._desk.watch(request.session_hash, events) if event is not None]

    def look(self, session: Session, subject: str, relation: str, target_old: str, target_new: str, category: str):
        """What the model says now: likeliest next words, both answers, phrasing by phrasing."""
        wanted = EditRequest(subject, relation, target_old, target_new, category=category)
        return plain(gpu.call(looking.look, wanted, edits=session.edits))

    def trace(self, session: Session, subject: str, relation: str, target_old: str, target_new: str, category: str,
              part: str):
        """Where the answer comes from; `effect` is [layer][word], `part` is residual, mlp or attention."""
        wanted = EditRequest(subject, relation, target_old, target_new, category=category)
        found = gpu.call(locate, wanted, edits=session.edits, part=part)
        return {**plain(found), "sentence": sentence(found)}

    def edit(self, session: Session, subject: str, relation: str, target_old: str, target_new: str, category: str,
             method: str, preset: str, request: gr.Request):
        """Try a fix; the session holds it afterwards if all three checks passed."""
        wanted, story = EditRequest(subject, relation, target_old, target_new, category=category), Story(session)
        for event in self._last(request, gpu.stream(loop.edit, wanted, session, method=method, preset=preset)):
            story.tell(event)
        return story.session, _told(story)

    def before_after(self, session: Session, questions: str):
        """The same questions, one per line, before and after all accepted changes."""
        rows = gpu.call(looking.compare, forms.questions(questions), after=session.edits)
        return noting.compared(session, rows), plain(rows)

    def boundary(self, session: Session, subject: str, relation: str, target_old: str, target_new: str, category: str):
        """Lean to decline on every refusal question and on this topic, before and after."""
        wanted = EditRequest(subject, relation, target_old, target_new, category=category)
        rows = gpu.call(boundary, after=session.edits, request=wanted)
        return noting.bounded(session, rows), plain(rows)

    def overlap(self, session: Session, subject: str, relation: str, target_old: str, target_new: str, category: str,
                method: str, preset: str):
        """Whether a change would disturb the accepted ones, before it is made: a sentence, and a row for each."""
        wanted = EditRequest(subject, relation, target_old, target_new, category=category)
        found = gpu.call(overlap, wanted, session, method=method, preset=preset)
        return {"sentence": found.sentence, "rows": plain(found.rows)}

    def sequence(self, session: Session, edits: int, preset: str, protect: bool, request: gr.Request):
        """Trial of many changes in a row on the model as it was loaded: figures after each, and a summary."""
        return sequence_runs.told(self._last(request, gpu.stream(sequence_runs.trying, edits, preset, protect)))

    def undo(self, session: Session, edit_id: str):
        """Drop one accepted change by its id."""
        if edit_id not in {edit.id for edit in session.edits}:
            raise UserError(f"There is no change {edit_id!r} in this session.")
        return (kept := session.without(edit_id)), _listed(kept)

    def restore(self, session: Session):
        """Drop all changes."""
        return (kept := session.emptied()), _listed(kept)

    def bulk(self, session: Session, rows: str, category: str, method: str, preset: str, request: gr.Request):
        """Work through rows `subject, relation, old, new` in order, each with the earlier ones live."""
        audit = next((a for a in AUDITS if a.key == category), AUDITS[0])
        wanted, story, done = forms.rows(audit, rows), Story(session), []
        for _, event in self._last(request, gpu.stream(loop.bulk, wanted, session, method=method, preset=preset)):
            story.tell(event)
            if story.outcome:
                done.append(_told(story))
                story = story.next()
        return story.session, done

    def session(self, session: Session):
        """The accepted changes with their checks, and the session as a file that can be loaded again."""
        return _listed(session), files.save_session(session) if session.entries else None

    def load_session(self, session: Session, file: str):
        """Replace the session by one from a file."""
        return (new := files.load_session(file)), _listed(new)

    def report(self, session: Session):
        """All evidence of the session."""
        return plain(report(session, gpu.hosted()))

    def export(self, session: Session, request: gr.Request):
        """Checkpoint (.pt), factors, record and report as four files."""
        made = self._last(request, gpu.stream(taking, session, files.folder()))[-1]
        evidence = files.write_report(session, made.checkpoint.parent / "report.json")
        return [str(path) for path in (made.checkpoint, made.factors, made.record, evidence)]

    def bundle(self, session: Session, request: gr.Request):
        """All files to take away: the edited model twice, the changes by themselves, card, report, suite, log."""
        return [str(path) for path in finished(build(self._desk, request, session)).files]

    def push(self, session: Session, repo: str, token: str, private: bool, request: gr.Request):
        """Push these files to the Hub as one commit; says repository, address and commit. The token is not kept."""
        *_, done = pushing(self._desk, request, finished(build(self._desk, request, session)), repo, token, private)
        return plain(done)

    def cases(self, session: Session, edit_id: str):
        """Questions for one accepted change, as rows to look through, edit and hand to /benchmark."""
        made = gpu.call(measuring.questions, session, edit_id)
        return {"columns": list(COLUMNS), "rows": plain(made.to_rows()), "sure": made.sure}

    def benchmark(self, session: Session, edit_id: str, table: list, benchmarks: list, request: gr.Request):
        """Measure one accepted change on a table of questions (empty: made now) by some benchmarks (empty: all).

        The session keeps the scores; after Stop, those that were done.
        """
        entry = measuring.entry_of(session, edit_id)
        if not table:
            table = gpu.call(measuring.questions, session, edit_id).to_rows()
        asked = measuring.fair(Cases.from_rows(entry.edit.request, table))
        tale, stopped = measuring.Measuring(benchmarks or list(BENCHMARKS), self._desk.pace), False
        try:
            for event in self._desk.watch(request.session_hash, gpu.stream(measuring.measured, session, edit_id, asked,
                                                                           tale.names)):
                tale.tell(event)
        except Stopped:
            stopped = True
        kept = measuring.kept(session, edit_id, tale.scores, asked) if tale.scores else session
        return kept, {**_scored(measuring.entry_of(kept, edit_id)), "stopped": stopped}

    def scores(self, session: Session):
        """The quality of every accepted change, with the questions that were asked."""
        return [_scored(entry) for entry in session.entries]


def _scored(entry: Entry) -> dict:
    return {"id": entry.edit.id, "request": plain(entry.edit.request), "questions": plain(entry.cases),
            "sentence": cards.summary(cards.complete(entry.scores)), "scores": [
                {**plain(score), "passed": score.passed} for score in entry.scores]}


def _told(story: Story) -> dict:
    return {"accepted": isinstance(story.outcome, Accepted), "outcome": plain(story.outcome.request if not isinstance(
                story.outcome, Accepted) else story.outcome.entry.edit.request),
            "reasons": list(getattr(story.outcome, "reasons", ())),
            "id": story.outcome.entry.edit.id if isinstance(story.outcome, Accepted) else None,
            "attempts": [{**plain(a.report), "passed": a.report.passed} for a in story.attempts]}


def _listed(session: Session) -> dict:
    return {"model": session.model_id, "stale": list(session.stale), "norms": plain(session.norms()),
            "changes": [{"id": e.edit.id, "request": plain(e.edit.request), "layers": list(e.edit.layers),
                         "checks": [{"name": c.name, "value": c.value, "passed": c.passed} for c in e.report.checks]}
                        for e in session.entries]}


def register(desk: Desk, session: gr.State) -> None:
    """Offer the endpoints; to be called inside the Blocks context. Their components are never drawn."""
    ends = Endpoints(desk)
    with gr.Row(visible=False):
        box = {name: gr.Textbox(label=name, value=value) for name, value in {
            "subject": "", "relation": "", "target_old": "", "target_new": "", "category": "factuality",
            "part": "residual", "method": "rome", "preset": "default", "questions": "", "rows": "",
            "edit_id": ""}.items()}
        box["edits"], box["protect"] = gr.Number(10, label="edits"), gr.Checkbox(True, label="protect")
        box["repo"], box["private"] = gr.Textbox(label="repo"), gr.Checkbox(True, label="private")
        box["token"] = gr.Textbox(label="token", type="password")
        box["table"], box["benchmarks"] = gr.JSON([], label="table"), gr.JSON([], label="benchmarks")
        box["file"], result = gr.File(label="file"), gr.JSON(label="result")
        one, several = gr.File(label="session file"), gr.File(label="files", file_count="multiple")
        trigger = gr.Button("call")
    own = ("edit", "before_after", "boundary", "undo", "restore", "bulk", "load_session", "benchmark")
    outputs = {**dict.fromkeys(own, [session, result]), "session": [result, one], "export": [several],
               "bundle": [several]}
    lines = {"sequence": LONG, "export": FILES, "bundle": FILES, "push": FILES}
    for name, function in inspect.getmembers(ends, inspect.ismethod):
        if not name.startswith("_"):
            wanted = [p for p in inspect.signature(function).parameters if p not in ("session", "request")]
            trigger.click(spoken(function), [session, *(box[p] for p in wanted)], outputs.get(name, [result]),
                          api_name=name, api_description=inspect.getdoc(function),
                          **lines.get(name, QUEUE))
    trigger.click(desk.stop_all, None, None, api_name="stop", api_description="Stop this session's errands.",
                  queue=False)
