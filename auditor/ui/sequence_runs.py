"""Runs of many changes in a row: which ways are compared, the steps kept so far, and the tasks for the model.

1. `Runs` is one visitor's trial: the changes to make, and the steps done with each way of making them.
2. `running` does one step of the way that is furthest behind, so that ways can be compared at any time; it goes on from
   what a `Runs` holds.
3. `save` and `opened` write and read the same files as `python -m auditor.benchmarks.sequence`.

No gradio here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditor.benchmarks.sequence import (
    CHECKPOINTS,
    EVERY,
    Known,
    SequenceStep,
    configured,
    neutral_text,
    run_sequence,
    summary,
    work,
)
from auditor.benchmarks.sequence_file import MEASURED, SequenceFile
from auditor.editor import find_method, find_preset
from auditor.errors import SessionRejected, UserError
from auditor.log import plain
from auditor.model import SharedModel
from auditor.types import EditRequest

WAYS: dict[str, dict[str, Any]] = {
    "default": {"method": "rome", "preset": "default", "protect": True},
    "open": {"method": "rome", "preset": "default", "protect": False},
    "seed": {"method": "rome", "preset": "seed", "protect": True},
}
"""Name of a way of changing the model to the engine's options."""
COUNTS = (5, 10, 25, 50, 100, 200)
MOST = 1000
"""Changes in the longest accepted file."""
OPTIONAL = ("held", "facts_kept", "entropy", "entropy_ratio")
"""Figures that not every step measures."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Changes to be made in a row, and the steps done so far by way of making them."""

    requests: tuple[EditRequest, ...] = ()
    facts: Known = ()
    """Prompts and answers that are asked before and after."""
    every: int = EVERY
    checkpoints: tuple[int, ...] = CHECKPOINTS
    steps: Mapping[str, tuple[SequenceStep, ...]] = field(default_factory=dict)

    def with_step(self, way: str, step: SequenceStep) -> Runs:
        return dataclasses.replace(self, steps={**self.steps, way: (*self.steps.get(way, ()), step)})

    def done(self, ways: Sequence[str]) -> int:
        """Steps done, all these ways together."""
        return sum(len(self.steps.get(way, ())) for way in ways)

    def left(self, ways: Sequence[str]) -> int:
        """Steps still to do."""
        return len(ways) * len(self.requests) - self.done(ways)

    @property
    def measures(self) -> dict[str, Any]:
        return {"every": self.every, "checkpoints": self.checkpoints}


def every_for(edits: int) -> int:
    """Steps between two looks at all earlier changes: each one in a short run."""
    return 1 if edits <= 10 else 5 if edits <= 50 else EVERY


# Tasks for the model


def running(model: SharedModel, edits: int, ways: Sequence[str],
            kept: Runs | None = None) -> Iterator[Runs | tuple[str, SequenceStep]]:
    """Yield the trial as it stands, then each further step as (way, step).

    Without `kept` a new trial of `edits` changes is drawn; raises UserError where nothing can be changed.
    """
    runs = kept or _drawn(model, edits)
    yield runs
    text = neutral_text(model, runs.requests)
    counts = {way: len(runs.steps.get(way, ())) for way in ways}
    going = {way: run_sequence(model, runs.requests, facts=runs.facts, text=text, state=runs.steps.get(way, ()),
                               **runs.measures, **WAYS[way])
             for way, count in counts.items() if count < len(runs.requests)}
    while going:
        way = min(going, key=counts.__getitem__)
        yield way, next(going[way])
        counts[way] += 1
        if counts[way] == len(runs.requests):
            del going[way]


def trying(model: SharedModel, edits: int, preset: str, protect: bool) -> Iterator[Runs | tuple[str, SequenceStep]]:
    """One way of `WAYS`, by the engine's words for it; raises UserError for what the page does not offer."""
    if not isinstance(edits, int | float) or edits != int(edits) or not 1 <= edits <= COUNTS[-1]:
        raise UserError(f"The number of changes must be a whole number from 1 to {COUNTS[-1]}.")
    find_preset(find_method("rome"), preset)
    way = next((way for way, how in WAYS.items() if (how["preset"], how["protect"]) == (preset, bool(protect))), preset)
    yield from running(model, int(edits), (way,))


def told(events: Sequence[Runs | tuple[str, SequenceStep]]) -> dict[str, Any]:
    """What `trying` yielded as plain values: figures after each change, and how it stands at the end."""
    runs, *steps = events
    rows = [{"step": step.step, "request": dataclasses.asdict(step.edit.request), "layer": step.layer,
             **{name: getattr(step, name) for name in MEASURED}} for _, step in steps]
    return plain({"edits": len(runs.requests), "facts_asked": len(runs.facts), "steps": rows,
                  "summary": summary([step for _, step in steps])})


def _drawn(model: SharedModel, edits: int) -> Runs:
    requests, facts = work(model, edits)
    if not requests:
        raise UserError("This model answers too few of the general facts that could be changed one after another, so "
                        "there is nothing to try here.")
    return Runs(tuple(requests), tuple(facts), every_for(len(requests)))


def opened(model: SharedModel, paths: Sequence[str]) -> Runs:
    """The trial in saved files, one pair for each way; raises SessionRejected in plain words."""
    runs: Runs | None = None
    for lines, factors in _pairs(paths):
        head, first = _beginning(lines)
        way, measures = _way(head, lines), _measures(head, lines)
        requests, facts = work(model, head["edits"], first["request"]["seed"])
        if factors != lines.with_suffix(".safetensors"):
            shutil.copyfile(factors, lines.with_suffix(".safetensors"))
        steps = SequenceFile(lines, model, requests, facts, **measures, **WAYS[way]).read()
        _check(steps, model, lines)
        found = Runs(tuple(requests), tuple(facts), measures["every"], measures["checkpoints"], {way: tuple(steps)})
        runs = _joined(runs, found, way)
    return runs


def save(model: SharedModel, runs: Runs, folder: Path) -> list[str]:
    """Write the pair of files of each way; returns their paths. The model is asked for its fingerprint only."""
    paths = []
    for way, steps in runs.steps.items():
        path = folder / f"sequence-{len(runs.requests)}-{way}.jsonl"
        SequenceFile(path, model, runs.requests, runs.facts, **runs.measures, **WAYS[way]).write(steps)
        paths += [str(path), str(path.with_suffix(".safetensors"))]
    return paths


# Reading files of strangers


def _pairs(paths: Sequence[str]) -> list[tuple[Path, Path]]:
    """Lines and factors that belong together, by their names; a single pair may be named as it likes."""
    lines, factors = ([Path(path) for path in paths if path.endswith(end)] for end in (".jsonl", ".safetensors"))
    by_name = {path.stem: path for path in factors}
    pairs = [(path, by_name.get(path.stem) or (factors[0] if len(factors) == len(lines) == 1 else None))
             for path in lines]
    if not pairs or len(factors) != len(lines) or any(path is None for _, path in pairs):
        raise SessionRejected("A saved run is two files, NAME.jsonl and NAME.safetensors: choose both together.")
    return pairs


def _beginning(path: Path) -> tuple[dict, dict]:
    """The line that says which run this is, and the first step's."""
    try:
        with open(path, encoding="utf-8") as file:
            head, first = json.loads(file.readline()), json.loads(file.readline())
        edits, seed = head["edits"], first["request"]["seed"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SessionRejected(f"“{path.name}” is not a saved run, or it holds no step yet.") from None
    if type(edits) is not int or not 1 <= edits <= MOST or type(seed) is not int or not 0 <= seed < 2**31:
        raise SessionRejected(f"“{path.name}” says that it holds {str(edits)[:20]} changes; from 1 to {MOST} can be "
                              "read.")
    return head, first


def _way(head: dict, path: Path) -> str:
    for way, options in WAYS.items():
        config = configured(find_method(options["method"]), options["preset"], protect=options["protect"])
        if (head.get("method"), head.get("preset")) == (options["method"], options["preset"]) and (
                head.get("config") == json.loads(json.dumps(dataclasses.asdict(config)))):
            return way
    raise SessionRejected(f"“{path.name}” was made with settings that this page does not offer.")


def _measures(head: dict, path: Path) -> dict[str, Any]:
    every, checkpoints = head.get("every"), head.get("checkpoints")
    if type(every) is not int or every < 1 or not isinstance(checkpoints, list) or len(checkpoints) > MOST or any(
            type(step) is not int for step in checkpoints):
        raise SessionRejected(f"“{path.name}” does not say at which steps it was measured.")
    return {"every": every, "checkpoints": tuple(checkpoints)}


def _check(steps: Sequence[SequenceStep], model: SharedModel, path: Path) -> None:
    """Figures that can be drawn, and factors that fit the model; raises SessionRejected."""
    for number, step in enumerate(steps, start=1):
        fits = all(type(p.layer) is int and 0 <= p.layer < model.n_layers and p.left.shape == (model.d_mlp, 1)
                   and p.right.shape == (1, model.d_model) and bool(p.left.isfinite().all())
                   and bool(p.right.isfinite().all()) for p in step.edit.patches)
        figures = [getattr(step, name) for name in MEASURED if name != "retention"
                   and not (name in OPTIONAL and getattr(step, name) is None)]
        sound = all(map(_ordinary, (*figures, *step.retention))) and len(step.retention) in (0, number)
        if not fits or not step.edit.patches or not sound:
            raise SessionRejected(f"Step {number} of “{path.name}” holds figures or weights that do not fit this "
                                  "model.")


def _ordinary(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _joined(runs: Runs | None, found: Runs, way: str) -> Runs:
    if runs is None:
        return found
    if way in runs.steps:
        raise SessionRejected("Two of these files were made with the same settings: load them one after the other.")
    if (runs.requests, runs.measures) != (found.requests, found.measures):
        raise SessionRejected("These files hold runs of different changes: load them one after the other.")
    return dataclasses.replace(runs, steps={**runs.steps, **found.steps})
