"""The one door to the shared model: in place on a machine of one's own, through a borrowed GPU on ZeroGPU.

1. `host(model)` is called once, at the start. The model is the program's only global.
2. A task is a plain module-level function `task(model, *args)`, or a generator of the same form; `call` and `stream`
   run it.
3. On ZeroGPU (environment variable SPACES_ZERO_GPU) a task runs in a forked worker that is reused between visitors.
   Arguments, values and events cross the border pickled; so they hold CPU tensors and plain types only. Nothing that a
   task does to the model outlives the call, because edits are applied by `model.applied(...)` alone.
4. Errors cross as values, in an `Outcome`: our own unchanged, any other as an AuditorError with a number. The place
   where it happened goes to the log under that number, without its message, which might quote what a visitor wrote.
5. What the lender itself says (no quota left, a worker that died) becomes an AuditorError too. A session lives with the
   page and never in a worker, so nothing of it is lost.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from auditor.errors import AuditorError
from auditor.model import SharedModel

SECONDS = int(os.environ.get("MODEL_AUDITOR_GPU_SECONDS", 120))
"""GPU time asked for per call on ZeroGPU. A visitor whose quota is shorter is refused, so it should not be long."""

log = logging.getLogger(__name__)
_model: SharedModel | None = None


def on_zero() -> bool:
    """Whether this program runs on ZeroGPU hardware, by the environment variable that Spaces sets there."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))


def _borrowed(function: Callable) -> Callable:
    """Decorate with `spaces.GPU` on ZeroGPU; elsewhere return the function as it is."""
    if not on_zero():
        return function
    import spaces

    return spaces.GPU(duration=SECONDS)(function)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What crosses the process border: a value or one of our errors."""

    value: Any = None
    error: AuditorError | None = None

    def open(self) -> Any:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value


class _Border:
    """Scope that turns what is raised inside into an Outcome; Stop (GeneratorExit) and exits of the program pass."""

    failure: Outcome | None = None

    def __enter__(self) -> _Border:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, AuditorError):
            self.failure = Outcome(error=error)
        elif isinstance(error, Exception):
            self.failure = Outcome(error=_numbered(error))
        return self.failure is not None


def _numbered(error: Exception) -> AuditorError:
    """Log where an unforeseen error happened, and say it in plain words with the number of the log line."""
    number = secrets.token_hex(4)
    frames = "; ".join(f"{os.path.basename(f.filename)}:{f.lineno} in {f.name}"
                       for f in traceback.extract_tb(error.__traceback__))
    log.error("error %s: %s at %s", number, type(error).__name__, frames)
    return AuditorError(f"Something went wrong inside the program; nothing was changed. See its log under {number}.")


def _answer(task: Callable, args: tuple, options: dict) -> Outcome:
    with _Border() as border:
        return Outcome(task(hosted(), *args, **options))
    return border.failure


def _narrate(task: Callable, args: tuple, options: dict) -> Iterator[Outcome]:
    with _Border() as border:
        for event in task(hosted(), *args, **options):
            yield Outcome(event)
    if border.failure is not None:
        yield border.failure


_remote_answer, _remote_narrate = _borrowed(_answer), _borrowed(_narrate)


def host(model: SharedModel) -> None:
    """Make this the model that every task gets. To be called once, before the first visitor."""
    global _model
    _model = model
    log.info("hosting %s, weights %s", model.id, model.fingerprint)  # hashed here, so that forked workers inherit it


def hosted() -> SharedModel:
    """The shared model; raises AuditorError before `host` was called."""
    if _model is None:
        raise AuditorError("No model has been loaded yet.")
    return _model


class _Loan:
    """Scope around a borrowed worker: whatever is raised there that is not ours becomes a sentence of ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            said = re.sub(r"<[^>]*>", "", str(getattr(error, "message", ""))).strip(" .")
            raise AuditorError(f"The borrowed graphics card gave no answer ({said}). Nothing was changed, and what was "
                               "accepted before is kept.") if said else _numbered(error) from None


def call(task: Callable, *args: Any, **options: Any) -> Any:
    """Run `task(model, *args, **options)` and return its value; raises AuditorError and its kin."""
    with _Loan():
        outcome = _remote_answer(task, args, options)
    return outcome.open()


def stream(task: Callable, *args: Any, **options: Any) -> Iterator[Any]:
    """Run a generator task and yield its events; closing the stream closes the task between two events."""
    outcomes = _remote_narrate(task, args, options)
    try:
        while True:
            with _Loan():
                outcome = next(outcomes, None)
            if outcome is None:
                return
            yield outcome.open()
    finally:
        outcomes.close()
