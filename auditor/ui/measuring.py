"""A quality profile as it is told: events go in, and what the page shows can be read off at any time. No gradio.

1. `questions`, `measured` and `rivalled` are the tasks for the model.
2. `Measuring` takes in their events, learns how long each stage usually takes, and tells what is left.
3. `kept` puts what is done into the session; scores of the same questions stay beside the new ones.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.benchmarks import Cases, Scoring, generate_cases, profile
from auditor.benchmarks.leaks import allowed
from auditor.editor import METHODS, find_method, find_preset
from auditor.editor.loop import belongs
from auditor.errors import InvalidRequest, UserError
from auditor.model import SharedModel
from auditor.types import BenchmarkScore, Edit, Entry, Fitting, Session
from auditor.ui import words

STAGES = {"Fit": "Fitting the same claim by another recipe at the same layer",
          "Questions": "Putting the short questions to the model, before and after the change"}


@dataclass(frozen=True)
class Rival:
    """The same claim written by another preset, for comparison only: measured, never accepted."""

    of: str
    """Id of the accepted change that it stands beside."""
    preset: str
    method: str
    layers: tuple[int, ...]
    scores: tuple[BenchmarkScore, ...]
    cases: Mapping[str, Any]


# What the page asks of a session


def entry_of(session: Session, edit_id: str | None) -> Entry:
    """The accepted change with that id; raises UserError in plain words when there is none."""
    if not session.entries:
        raise UserError("There is nothing to measure yet: accept a change under “3 · Fix” first.")
    found = next((entry for entry in session.entries if entry.edit.id == edit_id), None)
    if found is None:
        raise UserError(f"There is no change {edit_id!r} in this session.")
    return found


def preset_of(edit: Edit) -> str:
    """Name of the preset that an edit was fitted with; empty when its settings are none of them."""
    presets = METHODS[edit.method].presets if edit.method in METHODS else {}
    return next((name for name, config in presets.items() if dataclasses.asdict(config) == dict(edit.config)), "")


def outdated(session: Session, edit_id: str) -> bool:
    """Whether other changes came or went since this one was scored; the session's log tells."""
    marks = [(record.action, record.facts.get("id")) for record in session.log]
    scored = max((i for i, mark in enumerate(marks) if mark == ("scored", edit_id)), default=len(marks))
    return any(action in ("accepted", "undone", "restored") for action, _ in marks[scored:])


def kept(session: Session, edit_id: str, scores: Mapping[str, BenchmarkScore], cases: Cases) -> Session:
    """The session with these scores; earlier scores stay where the questions are the same."""
    entry, frozen = entry_of(session, edit_id), cases.to_dict()
    earlier = {score.name: score for score in entry.scores} if same_questions(entry.cases, frozen) else {}
    return session.with_scores(edit_id, tuple({**earlier, **scores}.values()), frozen)


def same_questions(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two frozen sets of questions ask the same; what is said of them does not count."""
    return bool(one and other) and (dict(one["request"]), _rows(one)) == (dict(other["request"]), _rows(other))


def _rows(frozen: Mapping[str, Any]) -> list[list[str]]:
    return [list(row) for row in frozen["rows"]]


def repeats(cases: Cases) -> int:
    """How many questions repeat a text of the fit or of the checks; `fair` leaves them out."""
    return len(cases.items) - len(fair(cases).items)


def fair(cases: Cases) -> Cases:
    """The cases without what the change was fitted on or checked by; raises InvalidRequest when none are left."""
    items = tuple(item for item in cases.items if allowed(cases.request, item))
    if not items:
        raise InvalidRequest({"cases": "There are no questions in the table. Make them first."})
    return dataclasses.replace(cases, items=items)


# Tasks for the model


def questions(model: SharedModel, session: Session, edit_id: str, rows: Iterable[Sequence[str]] = ()) -> Cases:
    """Make the questions for one accepted change as the model stood without it; own `rows` come first."""
    belongs(session, model)
    others = [edit for edit in session.edits if edit.id != edit_id]
    return generate_cases(model, entry_of(session, edit_id).edit.request, edits=others, rows=rows)


def measured(model: SharedModel, session: Session, edit_id: str, cases: Cases,
             names: Sequence[str]) -> Iterator[Scoring | BenchmarkScore]:
    """Measure the chosen benchmarks of one accepted change."""
    yield from profile(model, session, edit_id, cases, names=names)


def rivalled(model: SharedModel, session: Session, edit_id: str, cases: Cases, preset: str,
             names: Sequence[str]) -> Iterator[Fitting | Edit | Scoring | BenchmarkScore]:
    """Fit the same claim at the same layer with another preset, in the change's place, and measure that.

    The session given is not changed: the rival lives in a copy, for the length of this task.
    """
    belongs(session, model)
    entry = entry_of(session, edit_id)
    method = find_method(entry.edit.method)
    live = [edit for edit in session.edits if edit.id in entry.edit.fitted_on]
    fitted = yield from method.run(model, entry.edit.request, entry.edit.layers[-1], find_preset(method, preset),
                                   edits=live)
    yield fitted
    entries = tuple(dataclasses.replace(each, edit=fitted) if each is entry else each for each in session.entries)
    yield from profile(model, dataclasses.replace(session, entries=entries), fitted.id, cases, names=names)


# The tale


class Measuring:
    """What has happened so far in one profile; `pace` holds usual seconds per stage and is shared by all visitors."""

    def __init__(self, names: Sequence[str], pace: dict[str, float], *, fit: bool = False):
        self.names, self.pace, self.scores = tuple(names), pace, {}
        self.stages = (*(["Fit"] if fit else []), "Questions", *names)
        self.fitted: Edit | None = None
        self._began = self._mark = time.monotonic()
        self._now, self._part = self.stages[0], (0, 1)

    def tell(self, event: Fitting | Edit | Scoring | BenchmarkScore | None) -> None:
        """Take in one event; None is a sign of life only."""
        match event:
            case Fitting():
                self._part = (event.step, event.steps)
            case Edit():
                self.fitted = event
                self._enter("Questions")
            case Scoring():
                self._enter(event.name)
                self._part = (event.done, max(event.of, 1))
            case BenchmarkScore():
                self._enter(event.name)
                self.scores[event.name] = event
                if later := [stage for stage in self.stages[self.stages.index(event.name) + 1 :]]:
                    self._enter(later[0])

    def _enter(self, stage: str) -> None:
        """Begin a stage, and learn how long the one before took."""
        if stage == self._now:
            return
        now = time.monotonic()
        self.pace[f"quality {self._now}"], self._mark = now - self._mark, now
        self._now, self._part = stage, (0, 1)

    @property
    def done(self) -> bool:
        return len(self.scores) == len(self.names)

    @property
    def share(self) -> float:
        """Part of the work that is done: by time where it is known, else by stages."""
        if (left := self.left) is not None:
            return min((spent := time.monotonic() - self._began) / max(spent + left, 1e-9), 1.0)
        return (self.stages.index(self._now) + self._part[0] / self._part[1]) / len(self.stages)

    @property
    def left(self) -> float | None:
        """Seconds until the end, once every stage still to come has been seen before."""
        later = self.stages[self.stages.index(self._now) :]
        usual = [self.pace.get(f"quality {stage}") for stage in later]
        if None in usual:
            return None
        return max(usual[0] - (time.monotonic() - self._mark), 0.0) + sum(usual[1:])

    def status(self) -> str:
        """The line that says what is going on, with a bar."""
        spent = time.monotonic() - self._began
        if self.done:
            return words.status(f"Done after {spent:.0f} s.", share=1)
        what = STAGES.get(self._now) or f"{self._now}, {self.names.index(self._now) + 1} of {len(self.names)}"
        step = f" (step {self._part[0] + 1} of {self._part[1]})" if self._part[1] > 1 else ""
        left = self.left
        return words.status(f"{what}{step} …" + (f" {spent:.0f} s so far" if left is None else ""), share=self.share,
                            left=left)
