"""Three checks of one edit, against baselines taken once per request with the session's edits live.

1. Paraphrase: mean probability of the whole new answer over seven rephrasings, at least 0.10. Beside it the value
   before, the count of phrasings where the new answer beats the old one (mean log-probability per token, as in
   CounterFact's efficacy score: Meng et al. 2022, arXiv:2202.05262), and the figure for its first token alone.
2. Behaviour: KL(before ‖ after) of the next word, mean over the 25 fixed probes, below 0.05 nats; below 0.25 for the
   two audits whose purpose is to move behaviour.
3. Fingerprint: cosine of residuals before and after, mean over eight evenly spaced layers × five probes, at least
   0.92. Layers below the edit cannot change, so the mean over layers at or above it stands beside.

Probes and rephrasings make one batch of always 32 rows; whole answers make a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.editor.look import divergence, rephrasings, resolve
from auditor.model import SharedModel
from auditor.types import Check, Edit, EditRequest, ValidationReport
from probes.probe_set import PROBES

LIMITS = {"paraphrase": 0.10, "behaviour": 0.05, "behaviour, censoring": 0.25, "fingerprint": 0.92}
"""The least probability, the largest KL in nats (ordinary and censoring audits), and the least cosine."""
CENSORING = ("overcensoring", "undercensoring")
FINGERPRINTED = ("instruction-01", "instruction-03", "refusal-01", "structured-01", "structured-02")
"""The five probes whose residuals are compared: two of instruction, one of refusal, two of structured output."""
SAMPLED_LAYERS = 8
GROUPS = {"instruction": "following instructions", "refusal": "where it declines", "structured": "structured answers"}


@dataclass(frozen=True, eq=False)
class Standing:
    """Everything the checks read from the model in one state."""

    logprobs: Tensor
    """[25, d_vocab] next-word log-probabilities of the probes."""
    residuals: Tensor
    """[5, layer, d_model] residual stream after each sampled layer, at the last token of five probes."""
    new: Tensor
    """[7] probability of the whole new answer after each rephrasing."""
    first: Tensor
    """[7] probability of its first token alone."""
    margin: Tensor
    """[7] log-probability per token, new answer minus old."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """The model before the edit, with the session's earlier edits live. Serves every attempt at one request."""

    request: EditRequest
    layers: tuple[int, ...]
    before: Standing

    @property
    def paraphrase(self) -> float:
        """Mean probability of the whole new answer over the rephrasings, before the edit."""
        return float(self.before.new.mean())


def sampled(n_layers: int) -> tuple[int, ...]:
    """Eight evenly spaced layers, first and last among them; all layers where there are no more than eight."""
    if n_layers <= SAMPLED_LAYERS:
        return tuple(range(n_layers))
    return tuple(round(i * (n_layers - 1) / (SAMPLED_LAYERS - 1)) for i in range(SAMPLED_LAYERS))


def baseline(model: SharedModel, request: EditRequest, *, edits: Sequence[Edit] = ()) -> Baseline:
    """Measure the model before an edit; an empty old answer is filled in first."""
    request, layers = resolve(model, request, edits=edits), sampled(model.n_layers)
    with model.applied(edits):
        return Baseline(request, layers, _measure(model, request, layers))


def validate(model: SharedModel, request: EditRequest, edit: Edit, baseline: Baseline, *,
             edits: Sequence[Edit] = ()) -> ValidationReport:
    """Run the three checks with `edit` live on top of `edits`."""
    with model.applied((*edits, edit)):
        after = _measure(model, baseline.request, baseline.layers)
    checks = (_paraphrase(baseline, after), _behaviour(baseline, after, request.category),
              _fingerprint(baseline, after, min(edit.layers)))
    return ValidationReport(edit.layers[-1], checks)


def _measure(model: SharedModel, request: EditRequest, layers: tuple[int, ...]) -> Standing:
    probes, phrasings = [probe.prompt for probe in PROBES], list(rephrasings(request))
    logprobs, residuals = model.states(probes + phrasings, layers)  # (32, d_vocab), (32, layer, d_model)
    answers = [request.target_new] * len(phrasings) + [request.target_old] * len(phrasings)
    scores = model.target_scores(phrasings * 2, answers)
    new, old = scores.mean.split(len(phrasings))
    first = logprobs[len(probes) :, model.target_tokens(request.target_new)[0]].exp()
    five = [i for i, probe in enumerate(PROBES) if probe.id in FINGERPRINTED]
    return Standing(logprobs[: len(probes)], residuals[five], scores.probability[: len(phrasings)], first, new - old)


def _paraphrase(baseline: Baseline, after: Standing) -> Check:
    """Check 1: still true when asked differently."""
    request, before = baseline.request, baseline.before
    value, wins = float(after.new.mean()), int((after.margin > 0).sum())
    columns = (x.tolist() for x in (before.new, after.new, before.first, after.first, after.margin > 0))
    names = ("phrasing", "before", "after", "first_word_before", "first_word", "new_beats_old")
    rows = tuple(dict(zip(names, row, strict=True)) for row in zip(rephrasings(request), *columns, strict=True))
    summary = (f"Asked in {len(rows)} other ways, the model says “{request.target_new}” with a probability of "
               f"{value:.1%} on average ({baseline.paraphrase:.1%} before; at least {LIMITS['paraphrase']:.0%} is "
               f"needed), and prefers it to “{request.target_old}” in {wins} of {len(rows)}.")
    return Check("paraphrase", value, LIMITS["paraphrase"], "at least", summary, rows)


def _behaviour(baseline: Baseline, after: Standing, category: str) -> Check:
    """Check 2: how much its next-word choices moved."""
    kl = divergence(baseline.before.logprobs, after.logprobs)  # (25,)
    value, worst = float(kl.mean()), int(kl.argmax())
    limit = LIMITS["behaviour, censoring" if category in CENSORING else "behaviour"]
    groups = {name: kl[[i for i, probe in enumerate(PROBES) if probe.category == name]].mean() for name in GROUPS}
    shares = ", ".join(f"{words} {float(groups[name]):.3f}" for name, words in GROUPS.items())
    changed = baseline.before.logprobs.argmax(-1) != after.logprobs.argmax(-1)
    rows = tuple({"probe": probe.id, "group": GROUPS[probe.category], "prompt": probe.prompt, "moved": moved,
                  "top_word_changed": flag}
                 for probe, moved, flag in zip(PROBES, kl.tolist(), changed.tolist(), strict=True))
    summary = (f"On {len(PROBES)} unrelated tasks its next-word choices moved by {value:.3f} on average (less than "
               f"{limit:.2f} is needed): {shares}. The most moved is “{PROBES[worst].prompt}” with "
               f"{float(kl[worst]):.3f}; the first choice changed in {int(changed.sum())} of {len(PROBES)}.")
    return Check("behaviour", value, limit, "at most", summary, rows)


def _fingerprint(baseline: Baseline, after: Standing, edited: int) -> Check:
    """Check 3: how alike the model's working memory stayed."""
    cosine = torch.cosine_similarity(baseline.before.residuals.double(), after.residuals.double(), dim=-1)  # (5, layer)
    above = torch.tensor([layer >= edited for layer in baseline.layers])
    value = float(cosine.mean())
    rows = tuple({"layer": layer, "alike": float(column.mean()), "least_alike": float(column.min()),
                  "at_or_above_edit": layer >= edited}
                 for layer, column in zip(baseline.layers, cosine.T, strict=True))
    summary = (f"Its working memory stayed {value:.3f} alike on average, where 1 is identical (at least "
               f"{LIMITS['fingerprint']:.2f} is needed); from the changed layer upwards "
               f"{float(cosine[:, above].mean()):.3f}, and {float(cosine.min()):.3f} where it changed most.")
    return Check("fingerprint", value, LIMITS["fingerprint"], "at least", summary, rows)
