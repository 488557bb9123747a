"""The front desk: runs a visitor's errand beside the page, keeps time, hears Stop, and keeps tracebacks off the page.

1. `watch` runs an event stream in a thread of its own, so that the page goes on hearing Stop and counting seconds while
   one long step is under way. It yields the events, and None twice a second while there are none.
2. `stop` sets the visitor's flag; `watch` then raises Stopped at once, and the thread closes the engine's generator at
   its next event. A closed browser tab ends an errand in the same way.
3. `serve` ties a button to a handler: errands share one queue (`model`), Stop is live while they run, and whatever is
   raised turns into a sentence beside the button. What takes minutes waits in a queue of its own (`LONG`), so that it
   holds up nobody; the model's lock lets the two take turns.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import logging
import queue
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr

from auditor import gpu
from auditor.errors import AuditorError, InvalidRequest, Stopped
from auditor.ui import words
from auditor.ui.files import Shelf

TICK = 0.5
"""Seconds between two signs of life while the engine is silent."""
QUEUE = {"concurrency_id": "model", "concurrency_limit": 1}
"""All events that need the model wait in one line."""
LONG = {"concurrency_id": "long", "concurrency_limit": 1}
"""Those that take minutes wait in another."""
FILES = {"concurrency_id": "files", "concurrency_limit": 2}
"""Writing and sending files takes minutes too, but hardly needs the model."""
STOPPED = "Stopped; nothing was changed."
log = logging.getLogger(__name__)
_END = object()


class Desk:
    """One per page; holds each visitor's stop flag and how long each kind of errand usually takes."""

    def __init__(self) -> None:
        self._flags: dict[str, threading.Event] = {}
        self.pace: dict[str, float] = {}
        """Usual seconds of each kind of work, by its name; learnt from whoever did it first."""
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="errand")
        self.shelf = Shelf()

    # Errands

    def watch(self, visitor: str | None, events: Iterator[Any]) -> Iterator[Any]:
        """Yield what `events` yields, and None while it is silent; raises Stopped after `stop(visitor)`."""
        flag = self._flags[visitor or ""] = threading.Event()
        box: queue.SimpleQueue = queue.SimpleQueue()
        future = self._pool.submit(contextvars.copy_context().run, _feed, events, box, flag)
        try:
            while (event := _next(box)) is not _END:
                if flag.is_set():
                    raise Stopped(STOPPED)
                yield event
            future.result()
        finally:
            flag.set()
            if self._flags.get(visitor or "") is flag:
                del self._flags[visitor or ""]

    def answer(self, request: gr.Request, status: gr.HTML, doing: str, task: Callable, /, *args: Any, **options: Any):
        """Run one model task to its end, telling the time in `status`; the generator's value is the task's."""
        start, name, found = time.monotonic(), task.__name__, []
        for event in self.watch(request.session_hash, _once(task, args, options)):
            found += [event] if event is not None else []
            yield {status: self._tell(doing, name, time.monotonic() - start)}
        self.pace[name] = time.monotonic() - start
        return found[0][0]

    def _tell(self, doing: str, name: str, spent: float) -> str:
        usual = self.pace.get(name)
        if usual is None or spent > usual:
            return words.status(f"{doing} … {spent:.0f} s so far")
        return words.status(f"{doing} …", share=spent / usual, left=usual - spent)

    def stop(self, request: gr.Request) -> None:
        """Ask the errand of this visitor to end."""
        self._halt(request.session_hash)

    def stop_long(self, request: gr.Request) -> None:
        """The same for an errand of the long queue."""
        self._halt(long(request))

    def stop_files(self, request: gr.Request) -> None:
        """The same for an errand of the files' queue."""
        self._halt(beside(request, FILES))

    def stop_all(self, request: gr.Request) -> None:
        """The same for all of them."""
        for stop in (self.stop, self.stop_long, self.stop_files):
            stop(request)

    def _halt(self, visitor: str | None) -> None:
        if flag := self._flags.get(visitor or ""):
            flag.set()

    # Buttons

    def serve(self, trigger: Callable, handler: Callable, inputs: list, outputs: list, *, status: gr.HTML,
              go: gr.Button | tuple[gr.Button, ...], stop: gr.Button | None = None, validator: Callable | None = None,
              line: dict = QUEUE) -> None:
        """Let `trigger` (such as `button.click`) run the generator `handler`: while it runs, Stop is live, `go` not."""
        go = go if isinstance(go, tuple) else (go,)
        keys = [*outputs, status, *go, *([stop] if stop else [])]
        trigger(polite(handler, status, go, stop), inputs, keys, validator=validator, show_progress="minimal",
                show_progress_on=status, api_visibility="private", **line)
        if stop:
            stops = {"long": self.stop_long, "files": self.stop_files}.get(line["concurrency_id"], self.stop)
            stop.click(stops, None, None, queue=False, show_progress="hidden", api_visibility="private")


def long(request: gr.Request) -> str:
    """The name under which a visitor's errand of the long queue is watched, beside a short one."""
    return beside(request, LONG)


def beside(request: gr.Request, line: dict) -> str:
    """The name under which a visitor's errand of another queue is watched."""
    return f"{request.session_hash or ''} {line['concurrency_id']}"


def polite(handler: Callable, status: gr.HTML, go: tuple[gr.Button, ...], stop: gr.Button | None) -> Callable:
    """Wrap a generator handler: buttons show that it runs, and errors become sentences in `status`."""
    @functools.wraps(handler)
    def guarded(*args: Any) -> Iterator[dict]:
        yield {status: words.status("Starting …"), **_buttons(go, stop, running=True)}
        with Calm() as calm:
            yield from handler(*args)
        yield {**({status: calm.said} if calm.said else {}), **_buttons(go, stop, running=False)}

    guarded.__signature__ = inspect.signature(handler)
    return guarded


class Calm:
    """Scope that turns what is raised inside into a sentence for the page, in `said`; a closed page passes through."""

    said = ""

    def __enter__(self) -> Calm:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Stopped):
            self.said = words.note(str(error), "warn")
        elif isinstance(error, AuditorError):
            self.said = words.problem(explain(error))
        elif isinstance(error, Exception):
            self.said = words.problem(_numbered(error))
        return bool(self.said)


def explain(error: AuditorError) -> str:
    """An error as sentences for the visitor."""
    return " ".join(error.problems.values()) if isinstance(error, InvalidRequest) else str(error)


def _numbered(error: Exception) -> str:
    """Log the place of an unforeseen error under a number, without its message, and say so calmly."""
    number, frame = secrets.token_hex(4), traceback.extract_tb(error.__traceback__)[-1]
    log.error("error %s: %s at %s:%s", number, type(error).__name__, frame.filename, frame.lineno)
    return f"Something went wrong on this page; nothing was changed. The program's log has the details under {number}."


def _buttons(go: tuple[gr.Button, ...], stop: gr.Button | None, *, running: bool) -> dict:
    return {**{button: gr.update(interactive=not running) for button in go},
            **({stop: gr.update(interactive=running)} if stop else {})}


def _once(task: Callable, args: tuple, options: dict) -> Iterator[tuple]:
    yield (gpu.call(task, *args, **options),)


def _feed(events: Iterator[Any], box: queue.SimpleQueue, flag: threading.Event) -> None:
    """Move events into the box until there are no more or the flag is up."""
    try:
        for event in events:
            box.put(event)
            if flag.is_set():
                break
    finally:
        events.close()
        box.put(_END)


def _next(box: queue.SimpleQueue) -> Any:
    try:
        return box.get(timeout=TICK)
    except queue.Empty:
        return None
