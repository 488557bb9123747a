"""The thirteen quality benchmarks of a committed edit.

A benchmark is a function `(trial) -> Outcome`, or a generator that yields `Step`s on the way and returns one.
`@benchmark(...)` puts it into BENCHMARKS; names, limits and descriptions are read from there. `profile` runs them:

1. Every short question of the chosen benchmarks is scored before and after the edit, pooled (`trial.py`).
2. Each benchmark turns readings into cases; its figure is a function of means over cases, with a bootstrap interval.
3. Fewer usable cases than its minimum: not measured, with the reason. Never 0.

Events: `Scoring` while it works, `BenchmarkScore` as each is done. The model is never held while it yields, so closing
the generator is a clean Stop, and what was yielded is done.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from auditor.benchmarks import scores
from auditor.benchmarks.cases import Cases, generate_cases
from auditor.errors import UnknownName
from auditor.types import BenchmarkScore, Case

__all__ = ["BENCHMARKS", "Benchmark", "Cases", "Outcome", "Scoring", "Step", "benchmark", "find_benchmark",
           "generate_cases", "profile"]

ORDER = ("EditBench", "EditGeneralization", "RippleBench", "FineTuneDiff", "SeqCollapse", "BatchConsistency",
         "SeqRetention", "LocalitySens", "LEME", "IndirectRecovery", "Portability", "PM Score", "zsRE")


@dataclass(frozen=True)
class Benchmark:
    """One measure: what it reads, what it is called, where it passes."""

    name: str
    dimension: str
    threshold: float
    minimum: int
    """Fewest usable cases."""
    reads: tuple[str, ...]
    """Kinds of cases that are scored before it runs."""
    describe: str
    run: Callable


@dataclass(frozen=True)
class Step:
    """One step of a benchmark's own work."""

    done: int
    of: int


@dataclass(frozen=True)
class Scoring:
    """Progress: which benchmark (or the pooled questions) is at work, and how far."""

    name: str
    done: int
    of: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """Cases of a benchmark; the figure is `reduce` of the means of `strata`, by default the mean over all cases."""

    cases: Sequence[Case]
    strata: Sequence[np.ndarray] = ()
    reduce: Callable[..., np.ndarray] = scores.macro
    detail: Mapping[str, Any] = field(default_factory=dict)
    n: int | None = None
    """Usable cases where that is not the number of cases shown."""
    reason: str = ""
    """Why there is no figure, for the reader."""


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(name: str, *, dimension: str, threshold: float, minimum: int, describe: str,
              reads: Sequence[str] = ()) -> Callable[[Callable], Callable]:
    """Register a function as a benchmark; BENCHMARKS stays in the order of the cards."""
    def register(run: Callable) -> Callable:
        BENCHMARKS[name] = Benchmark(name, dimension, threshold, minimum, tuple(reads), describe, run)
        known = {each: BENCHMARKS[each] for each in ORDER if each in BENCHMARKS}
        others = {each: found for each, found in BENCHMARKS.items() if each not in known}
        BENCHMARKS.clear()
        BENCHMARKS.update(known | others)
        return run
    return register


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name; raises UnknownName."""
    if name not in BENCHMARKS:
        raise UnknownName("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]


def packed(chosen: Benchmark, outcome: Outcome, *, seed: int = 0) -> BenchmarkScore:
    """A benchmark's outcome as a score: figure, interval, or the reason why there is none."""
    cases = tuple(outcome.cases)
    strata = [np.asarray(x, dtype=float) for x in outcome.strata] or [np.array([case.score for case in cases])]
    strata = [x for x in strata if len(x)]
    n = len(cases) if outcome.n is None else outcome.n
    head = (chosen.name, chosen.dimension)
    detail = {key: None if isinstance(x, float) and math.isnan(x) else x for key, x in outcome.detail.items()}
    if outcome.reason or n < chosen.minimum or not strata:
        reason = outcome.reason or (f"Only {n} usable {'case' if n == 1 else 'cases'} could be made; at least "
                                    f"{chosen.minimum} are needed.")
        return BenchmarkScore(*head, None, chosen.threshold, n, None, cases, reason, detail)
    figure = scores.value(strata, outcome.reduce)
    return BenchmarkScore(*head, figure, chosen.threshold, n, scores.bootstrap(strata, outcome.reduce, seed=seed),
                          cases, "", detail)


def profile(model, session, edit_id: str, cases: Cases, *, names: Sequence[str] | None = None,
            seed: int = 0) -> Iterator[Scoring | BenchmarkScore]:
    """Measure one edit of a session; yields `Scoring` and each `BenchmarkScore` as it is done.

    Raises UnknownName for an unknown benchmark or edit, SessionRejected for a session of other weights.
    """
    chosen = [find_benchmark(name) for name in (BENCHMARKS if names is None else names)]
    trial = Trial.of(model, session, edit_id, cases)
    yield from _named("Questions", trial.ask({kind for each in chosen for kind in each.reads}))               # 1
    for each in chosen:
        outcome = each.run(trial)                                                                            # 2
        if inspect.isgenerator(outcome):
            outcome = yield from _named(each.name, outcome)
        yield packed(each, outcome, seed=seed)                                                               # 3


def _named(name: str, steps: Generator[Step, None, Any]) -> Generator[Scoring, None, Any]:
    """Steps as progress of a named piece of work; returns what the work returns."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        yield Scoring(name, step.done, step.of)


# These need what is above; the first five register themselves.
from auditor.benchmarks import durability, generalization, locality, longform, retention  # noqa: E402, F401
from auditor.benchmarks.trial import Trial  # noqa: E402
