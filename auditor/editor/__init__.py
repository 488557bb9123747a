"""The editing engine: locate, write, check, decide.

A method is a generator function `run(model, request, layer, config, *, edits=(), attempt=1)` that yields one `Fitting`
per step and returns an `Edit`. `@method(...)` puts it into METHODS; everything else (options, presets, what it says of
itself) is read from there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from auditor.errors import UnknownName
from auditor.types import Edit, Fitting


@dataclass(frozen=True)
class Method:
    """One way to fit an edit."""

    name: str
    run: Callable[..., Generator[Fitting, None, Edit]]
    config: type
    """Frozen dataclass whose fields carry help, unit and source in their metadata."""
    presets: Mapping[str, Any]
    paper: str
    describe: str
    """First line of the method's docstring."""


METHODS: dict[str, Method] = {}


def method(name: str, *, config: type, presets: Mapping[str, Any], paper: str) -> Callable[[Callable], Callable]:
    """Register a generator function as an editing method; `presets` must hold "default"."""
    def register(run: Callable) -> Callable:
        METHODS[name] = Method(name, run, config, presets, paper, (run.__doc__ or "").strip().split("\n")[0])
        return run
    return register


def find_method(name: str) -> Method:
    """The method of that name; raises UnknownName."""
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    return METHODS[name]


def find_preset(method: Method, preset: str) -> Any:
    """The method's configuration of that name; raises UnknownName."""
    if preset not in method.presets:
        raise UnknownName("preset", preset, method.presets)
    return method.presets[preset]


from auditor.editor import rome as _rome  # noqa: E402, F401 - registers itself
