"""Did everything else stay? RippleBench near the claim, LocalitySens far from it."""

from __future__ import annotations

import numpy as np

from auditor.benchmarks import Outcome, benchmark, scores
from auditor.benchmarks.cases import Item
from auditor.benchmarks.trial import Trial
from auditor.types import Case

LENGTH = 10
"""Free tokens compared by LocalitySens."""
LEAST = 4
"""Fewer known facts than this: what the model said before the edit takes the place of what is true."""


@benchmark("RippleBench", dimension="locality", threshold=0.70, minimum=4, reads=("same", "neighbour"),
           describe="Do other things about the subject, and the same thing about its neighbours, stay as they were?")
def ripple_bench(trial: Trial) -> Outcome:
    """(RS + NS) / 2: facts of the subject that still beat four wrong answers; neighbours that keep theirs."""
    same, unsure = _usable(trial, trial.cases.of("same"))
    near, unsure_near = _usable(trial, trial.cases.of("neighbour"))
    cases = [_case(trial, item, "same subject") for item in same] + [_case(trial, item, "neighbour") for item in near]
    rs, ns = (np.array([case.score for case in cases if case.note == group]) for group in ("same subject", "neighbour"))
    detail = {"RS": scores.mean(rs), "NS": scores.mean(ns), "reference_unsure": unsure or unsure_near,
              "free": trial.free([*same, *near], kept=True),
              "dropped": len(trial.cases.of("same", "neighbour")) - len(cases)}
    return Outcome(cases, [x for x in (rs, ns) if len(x)], detail=detail)


def _usable(trial: Trial, items: tuple[Item, ...]) -> tuple[list[Item], bool]:
    """Items the model had right before the edit; all of them, flagged, where fewer than four remain."""
    right = [item for item in items if _margin(trial, item, after=False) > 0]
    return (right, False) if len(right) >= min(LEAST, len(items)) else (list(items), True)


def _margin(trial: Trial, item: Item, *, after: bool) -> float:
    """l(answer to keep) minus that of the best wrong answer, nats per token."""
    wrong = [trial.reading(item.prompt, answer, after=after).mean for answer in (item.new, *item.others)]
    return trial.reading(item.prompt, item.old, after=after).mean - max(wrong)


def _case(trial: Trial, item: Item, group: str) -> Case:
    before, after = (_margin(trial, item, after=after) for after in (False, True))
    return Case(item.prompt, item.old, before, after, float(after > 0), group)


@benchmark("LocalitySens", dimension="cross-domain", threshold=0.60, minimum=8, reads=("unrelated",),
           describe="Does the model go on word for word as before where the subject is something else altogether?")
def locality_sens(trial: Trial) -> Outcome:
    """Mean over domains of the share of ten free tokens up to the first that differs."""
    items, cases, agreement = trial.cases.of("unrelated"), [], []
    for item in items:
        before, after = (trial.said(item.prompt, after=after)[:LENGTH] for after in (False, True))
        kept = scores.prefix_share(before, after, LENGTH)
        agreement.append(scores.mean([a == b for a, b in zip(before, after)]) if before and after else kept)
        text = trial.model.text(before).strip()
        cases.append(Case(item.prompt, text, 1.0, kept, kept, item.group))
    domains = list(dict.fromkeys(item.group for item in items))
    strata = [np.array([case.score for case in cases if case.note == domain]) for domain in domains]
    return Outcome(cases, strata, detail={
        "by_domain": {domain: float(x.mean()) for domain, x in zip(domains, strata, strict=True)},
        "token_agreement": scores.mean(agreement), "moved": float(trial.moved().mean()), "free": scores.mean(
            [case.score == 1 for case in cases])})
