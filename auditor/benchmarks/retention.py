"""Does the claim itself hold, and how clean is the change that makes it hold? EditBench, FineTuneDiff."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence

import numpy as np

from auditor.benchmarks import Outcome, Step, benchmark, scores
from auditor.benchmarks.cases import Item
from auditor.benchmarks.finetune import fine_tuned
from auditor.benchmarks.trial import Trial
from auditor.types import Case


def share_cases(trial: Trial, items: Iterable[Item]) -> list[Case]:
    """One case per item: c before and after; the score is c after."""
    found = []
    for item in items:
        before, after = trial.share(item, after=False), trial.share(item)
        found.append(Case(item.prompt, item.new, before, after, after, item.group))
    return found


def preferred(cases: Sequence[Case]) -> float:
    """Share of cases in which the new answer beats the old one after the edit."""
    return scores.mean([case.after > 0.5 for case in cases])


def magnitude(trial: Trial, item: Item, *, after: bool = True) -> float:
    """e^l(new) - e^l(old): CounterFact's difference of probabilities per token."""
    new, old = (math.exp(trial.reading(item.prompt, answer, after=after).mean) for answer in (item.new, item.old))
    return new - old


@benchmark("EditBench", dimension="retention", threshold=0.50, minimum=4, reads=("direct",),
           describe="Does the model now say the new answer when it is asked directly, also in the middle of a text?")
def edit_bench(trial: Trial) -> Outcome:
    """Mean c over the claim, bare and behind seven neutral sentences no fit has seen."""
    items = trial.cases.of("direct")
    cases = share_cases(trial, items)
    return Outcome(cases, detail={
        "free": trial.free(items), "before": scores.mean([case.before for case in cases]),
        "ES": preferred(cases), "EM": scores.mean([magnitude(trial, item) for item in items])})


@benchmark("FineTuneDiff", dimension="signal-to-noise", threshold=0.60, minimum=4, reads=("direct",),
           describe="Is the change cleaner than ordinary fine-tuning to the same strength? 50 % means no better.")
def fine_tune_diff(trial: Trial) -> Generator[Step, None, Outcome]:
    """SNR_edit / (SNR_edit + SNR_control), SNR = log-odds gained on the claim / nats moved on 25 other tasks."""
    items = trial.cases.of("direct")
    if not items:
        return Outcome((), reason="There is no direct question to compare on.")
    control = yield from fine_tuned(trial, items)
    odds = np.array([[_odds(trial, item, after) for after in (False, True)] for item in items])  # (item, before/after)
    gained = np.stack([odds[:, 1] - odds[:, 0], np.array(control.odds) - odds[:, 0]], axis=1)  # (item, edit/control)
    moved = np.stack([trial.moved().numpy(), control.moved.numpy()], axis=1)  # (probe, edit/control)
    if gained[:, 0].mean() <= 0 and gained[:, 1].mean() <= 0:
        return Outcome((), reason="Neither the edit nor fine-tuning moved the answer, so there is nothing to compare.")

    def ratio(gain: np.ndarray, noise: np.ndarray) -> np.ndarray:
        ours, theirs = (np.maximum(gain, 0) / (noise + 1e-4)).T
        return np.where(ours + theirs > 0, ours / np.maximum(ours + theirs, 1e-12), 0.0)

    cases = [Case(item.prompt, item.new, old, old + edit, edit,
                  f"log-odds of the new answer; fine-tuning gained {control_gain:.2f}")
             for item, (old, _), (edit, control_gain) in zip(items, odds, gained, strict=True)]
    ours, theirs = (scores.snr(float(g), float(m)) for g, m in zip(gained.mean(0), moved.mean(0), strict=True))
    detail = {"free": trial.free(items), "snr_edit": ours, "snr_control": theirs, "control_steps": control.steps,
              "moved_edit": float(moved[:, 0].mean()), "moved_control": float(moved[:, 1].mean()),
              "gain_edit": float(gained[:, 0].mean()), "gain_control": float(gained[:, 1].mean()),
              "matched": control.matched}
    return Outcome(cases, (gained, moved), ratio, detail)


def _odds(trial: Trial, item: Item, after: bool) -> float:
    """l(new) - l(old), nats per token."""
    new, old = (trial.reading(item.prompt, answer, after=after).mean for answer in (item.new, item.old))
    return new - old
