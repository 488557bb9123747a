"""What happens when more edits follow? SeqCollapse, SeqRetention and BatchConsistency."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence

import numpy as np
import torch

from auditor.benchmarks import Outcome, Step, benchmark, scores
from auditor.benchmarks.cases import Item
from auditor.benchmarks.trial import CHECKPOINTS, Mark, Trial
from auditor.editor.covariance import second_moment, solve
from auditor.types import Case, Edit, EditRequest, WeightDelta

COMPANIONS = 3


@benchmark("SeqCollapse", dimension="stability", threshold=0.70, minimum=10,
           describe="Does the model still write ordinary sentences as well after this edit and ten more?")
def seq_collapse(trial: Trial) -> Generator[Step, None, Outcome]:
    """min over n of min(1, PPL_before / PPL_n) on neutral sentences, n = 1, 2, 5 and 10 further edits."""
    marks = yield from trial.fillers()
    if missing := _missing(marks):
        return Outcome((), reason=missing)
    counts = np.array([len(trial.model.tokens(item.prompt)) - 1 for item in trial.cases.of("neutral")])
    start, later = marks[0], marks[2:]
    units = np.stack([counts, *(np.array(mark.totals) for mark in (start, *later))], axis=1)  # (sentence, 1 + marks)

    def worst(means: np.ndarray) -> np.ndarray:
        per_token = means[:, 1:] / means[:, :1]  # log-probability per token at the start and at each mark
        return np.exp(np.minimum(0, per_token[:, 1:] - per_token[:, :1])).min(1)

    kept = [float(np.exp(min(0, (sum(mark.totals) - sum(start.totals)) / counts.sum()))) for mark in later]
    cases = [Case(f"{len(counts)} ordinary sentences after {mark.after} further edits", "as likely as before",
                  _perplexity(start, counts), _perplexity(mark, counts), value, "perplexity")
             for mark, value in zip(later, kept, strict=True)]
    first, last = ([scores.fluency(text) for text in mark.texts] for mark in (start, later[-1]))
    return Outcome(cases, (units,), worst, n=len(counts), detail={
        "free": None, "perplexity": {mark.after: _perplexity(mark, counts) for mark in marks},
        "fluency_drop": scores.mean(first) - scores.mean(last), "distinct_3": scores.distinct(later[-1].texts),
        "distinct_3_before": scores.distinct(start.texts)})


def _missing(marks: Sequence[Mark]) -> str:
    done = [mark.after for mark in marks if mark.after > 0]
    few = f"Fewer than {max(CHECKPOINTS)} further edits could be made for this claim."
    return "" if done == list(CHECKPOINTS) else few


def _perplexity(mark: Mark, counts: np.ndarray) -> float:
    return float(np.exp(-sum(mark.totals) / counts.sum()))


@benchmark("SeqRetention", dimension="durability", threshold=0.70, minimum=4,
           describe="Is this edit still there after ten more edits of other things?")
def seq_retention(trial: Trial) -> Generator[Step, None, Outcome]:
    """Mean over n of min(1, mean c_n / mean c_0) on the direct questions (GRACE's edit retention for one edit)."""
    marks = yield from trial.fillers()
    if missing := _missing(marks):
        return Outcome((), reason=missing)
    units = np.array([mark.shares for mark in marks]).T  # (question, mark)
    if units[:, 1].mean() < 0.5:
        return Outcome((), reason="The edit does not hold to begin with, so there is nothing to lose.",
                       detail={"share_at_first": float(units[:, 1].mean())})

    def kept(means: np.ndarray) -> np.ndarray:
        return np.minimum(1, means[:, 2:] / means[:, 1:2]).mean(1)

    cases = [Case(item.prompt, item.new, row[1], row[-1], min(1.0, float(np.mean(np.minimum(1, row[2:] / row[1])))),
                  "after this edit; after ten more") for item, row in zip(trial.cases.of("direct"), units, strict=True)]
    curve = {mark.after: float(np.mean(mark.shares)) for mark in marks}
    return Outcome(cases, (units,), kept, {"free": marks[-1].free, "curve": curve})


@benchmark("BatchConsistency", dimension="concurrency", threshold=0.60, minimum=4,
           describe="Do this edit and three others hold together, in any order and written at once?")
def batch_consistency(trial: Trial) -> Generator[Step, None, Outcome]:
    """Mean over the four edits of min(1, min(c forward, c reversed, c joint) / c alone)."""
    requests = trial.requests()[:COMPANIONS]
    if len(requests) < COMPANIONS:
        return Outcome((), reason=f"Only {len(requests)} companion edits could be made; {COMPANIONS} are needed.")
    yield from trial.fillers()
    forward = [trial.edit, *trial.further[:COMPANIONS]]
    alone, reverse, total = [trial.edit], [], 2 * COMPANIONS
    for request in requests:
        alone.append((yield from _counted(trial.fit(request, trial.before), len(alone) - 1, total)))
    reverse.append(alone[-1])
    for i, request in enumerate((*requests[-2::-1], _own(trial))):
        fit = trial.fit(request, (*trial.before, *reverse), light=i < COMPANIONS - 1)
        reverse.append((yield from _counted(fit, COMPANIONS + i, total)))
    joint = _joint(trial, alone)
    items = [Item("direct", r.prompt, r.target_old, r.target_new) for r in (_own(trial), *requests)]
    together = [trial.shares(items, (*trial.before, *group)) for group in (forward, reverse, (joint,))]
    single = [trial.shares([item], (*trial.before, edit))[0] for item, edit in zip(items, alone, strict=True)]
    before = trial.shares(items, trial.before)
    cases = [Case(item.prompt, item.new, before[i], min(t[i] for t in together),
                  min(1.0, min(t[i] for t in together) / max(single[i], 1e-9)),
                  "this edit" if not i else "companion") for i, item in enumerate(items)]
    if single[0] < 0.5:
        return Outcome(cases, reason="The edit does not hold by itself, so holding together cannot be measured.")
    names = ("forward", "reversed", "joint")
    free = trial.free_under(items, (*trial.before, *forward))
    return Outcome(cases, detail={"free": free, "alone": single, **dict(zip(names, map(list, together)))})


def _own(trial: Trial) -> EditRequest:
    return dataclasses.replace(trial.edit.request, target_old=trial.request.target_old)


def _counted(fit: Generator[Step, None, Edit], done: int, of: int) -> Generator[Step, None, Edit]:
    """The steps of one fit as one step of many."""
    while True:
        try:
            next(fit)
        except StopIteration as end:
            return end.value
        yield Step(done, of)


def _joint(trial: Trial, edits: Sequence[Edit]) -> Edit:
    """One edit that gives every edit's key its value: D = sum over i of u_i v_i^T with u_i . k_j = 1 if i = j, else 0.

    Of all D with K^T D = V it disturbs other keys least: U = C^-1 K (K^T C^-1 K)^-1, where each C^-1 k_i is known up
    to its length, as the left factor of edit i. Edits with one key contradict each other: it gets the mean
    of their values.
    """
    config = edits[-1].config
    patches = []
    for layer in trial.edit.layers:
        C = second_moment(trial.model, layer).double() if config.get("covariance", True) else None
        parts = [patch for edit in edits for patch in edit.patches if patch.layer == layer and patch.norm > 0]
        if not parts:
            continue
        U, V = torch.cat([p.left for p in parts], 1).double(), torch.cat([p.right for p in parts], 0).double()
        ridge = config.get("ridge", 1e-3)
        Cu = U if C is None else C @ U + ridge * C.diagonal().mean() * U  # (d_mlp, edits)
        K = Cu / (U * Cu).sum(0)  # keys, scale included: u . k = 1
        X = K if C is None else solve(C, K, ridge=ridge).double()
        patches.append(WeightDelta(layer, (X @ torch.linalg.pinv(K.T @ X, rtol=1e-6)).float(), V.float()))
    return dataclasses.replace(trial.edit, patches=tuple(patches), method="joint", notes={})
