"""What can go wrong, drawn as a tree.

    AuditorError
    ├── UserError                 the visitor can mend it; the page shows the message where it was typed
    │   ├── InvalidRequest        a field of an edit request is empty, too long or contradicts another
    │   ├── SubjectNotFound       the subject's tokens do not occur in the prompt
    │   ├── UnknownName           a method, preset, model or tab that does not exist; near names are listed
    │   ├── ModelUnavailable      a checkpoint that is not there, or not of the GPT-NeoX family
    │   ├── SessionRejected       a session file that is damaged, foreign, or fitted on other weights
    │   └── NotEnoughRoom         too little disk for an export
    ├── Stopped                   somebody pressed Stop; nothing was changed
    └── ModelNotHeld              our bug: the model was read outside `with model.applied(...)`

Messages are complete sentences: what was got, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AuditorError(Exception):
    """Any error this package raises on purpose."""


class UserError(AuditorError):
    """A condition the person in front of the page can put right."""


class InvalidRequest(UserError):
    """One or more fields of a form are wrong; `problems` maps field name to a plain sentence."""

    def __init__(self, problems: dict[str, str]):
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)

    def __reduce__(self):
        return type(self), (self.problems,)


class SubjectNotFound(UserError):
    """The subject does not occur in the prompt as a run of tokens."""


class UnknownName(UserError):
    """A name that no registry holds; says which names exist and which are near."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"There is no {kind} called {name!r}.{hint} There are: {', '.join(known)}.")
        self.args = (kind, name, tuple(known), super().__str__())

    def __str__(self) -> str:
        return self.args[3]

    def __reduce__(self):
        return type(self), self.args[:3]


class ModelUnavailable(UserError):
    """A checkpoint that cannot be had here or is not of a supported architecture."""


class SessionRejected(UserError):
    """A session file that must not be loaded into this model."""


class NotEnoughRoom(UserError):
    """The disk cannot hold what was about to be written."""


class Stopped(AuditorError):
    """The visitor asked to stop; raised between two steps, never inside one."""


class ModelNotHeld(AuditorError):
    """A forward pass outside `SharedModel.applied(...)`, where another visitor's edits might be live."""
