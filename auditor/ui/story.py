"""An edit as it is told: events go in one by one, and what the page shows can be read off at any time. No gradio."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from auditor.types import Accepted, Attempted, Event, Fitting, Rejected, Session, Traced
from auditor.ui import words

LOOK = 0.3
"""Seconds between two redraws of the loss curve: a browser cannot follow every step, nor could a reader."""


@dataclass
class Story:
    """What has happened so far in one edit. `session` is the latest one: with the edit once it is accepted,
    with a line in its log once it failed."""

    session: Session
    traced: Traced | None = None
    steps: list[Fitting] = field(default_factory=list)
    attempts: list[Attempted] = field(default_factory=list)
    outcome: Accepted | Rejected | None = None
    began: float = field(default_factory=time.monotonic)
    _drawn: float = 0.0
    _layer_began: float = 0.0

    def tell(self, event: Event | None) -> None:
        """Take in one event; None is a sign of life only."""
        match event:
            case Traced():
                self.traced = event
            case Fitting():
                if not self.steps or self.steps[-1].attempt != event.attempt:
                    self._layer_began = time.monotonic()
                self.steps.append(event)
            case Attempted():
                self.attempts.append(event)
            case Accepted():
                self.outcome, self.session = event, event.session
            case Rejected():
                self.outcome, self.session = event, event.session or self.session

    @property
    def due(self) -> bool:
        """Whether the curve should be drawn again now; true at every event that is not a mere step."""
        now = time.monotonic()
        if self.fitting and now - self._drawn < LOOK:
            return False
        self._drawn = now
        return True

    @property
    def fitting(self) -> bool:
        """Whether a fit is under way: the last attempt begun has not been checked yet."""
        return bool(self.steps) and not self.outcome and len(self.attempts) < self.steps[-1].attempt

    @property
    def left(self) -> float | None:
        """Seconds until this layer's fit is done, by the pace of its steps so far."""
        if not self.fitting or self.steps[-1].step < 2:
            return None
        last = self.steps[-1]
        return (time.monotonic() - self._layer_began) / last.step * max(last.steps - last.step, 0)

    def status(self) -> str:
        """The line that says what is going on, with a bar."""
        spent = f"{time.monotonic() - self.began:.0f} s so far"
        if self.outcome:
            return words.status(f"Done after {time.monotonic() - self.began:.1f} s.", share=1)
        if not self.traced:
            return words.status(f"Stage 1 of 3: finding where the claim comes from … {spent}")
        if self.fitting:
            last = self.steps[-1]
            if last.step >= last.steps:
                return words.status(f"Stage 3 of 3: three checks at layer {last.layer} … {spent}", share=1)
            return words.status(f"Stage 2 of 3: fitting at layer {last.layer} (attempt {last.attempt} of "
                                f"{self._tries}), step {last.step} of {last.steps}, then three checks",
                                share=last.step / max(last.steps, 1), left=self.left)
        return words.status(f"Stage 2 of 3: preparing attempt {len(self.attempts) + 1} of {self._tries} … {spent}")

    @property
    def doing(self) -> str:
        """The present stage in a few words."""
        if self.fitting:
            return f"fitting at layer {self.steps[-1].layer}, step {self.steps[-1].step} of {self.steps[-1].steps}"
        return "checking" if self.steps else "finding where the claim comes from"

    def next(self) -> Story:
        """The story of the next request in a list: a new page, the same session and clock."""
        return Story(self.session, began=self.began)

    def per_row(self, done: int, rows: int) -> float | None:
        """Seconds until a list is done, by the pace of the rows done."""
        return (time.monotonic() - self.began) / done * (rows - done) if done else None

    @property
    def _tries(self) -> int:
        return len(self.traced.candidates) if self.traced else 3

    def stages(self) -> str:
        """Everything that happened so far, as a list."""
        items = []
        if self.traced:
            chosen = ", ".join(map(str, self.traced.candidates))
            items.append(f"Found: {self.traced.sentence} Layers to try, in this order: {chosen}.")
        for attempt in self.attempts:
            layer = attempt.report.layer
            if attempt.report.passed:
                items.append(f"✔ Layer {layer}: all three checks passed.")
            else:
                failed = words.count(sum(not c.passed for c in attempt.report.checks), "check")
                items.append(f"✖ Layer {layer}: {failed} failed, so the weights are as before.")
        return words.listed(items, "What happened")

    def verdict(self) -> str:
        """The outcome in one sentence, with reasons where it failed."""
        match self.outcome:
            case Accepted(entry=entry):
                return words.note(f"Accepted: layer {words.layers(entry.edit)} was changed, and all three checks "
                                  f"passed. From now on “{entry.edit.request.prompt}” is to be continued by "
                                  f"“{entry.edit.request.target_new}”.", "good")
            case Rejected(reasons=reasons):
                return words.note("Not fixed: declared failed after "
                                  f"{words.count(len(self.attempts), 'attempt')}. Nothing was changed; the weights are "
                                  "exactly as before. Reasons:", "bad") + words.listed(reasons)
        return ""
