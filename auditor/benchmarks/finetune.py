"""The control of FineTuneDiff: the same W_out, trained on the claim in the ordinary way (FT-L).

1. One pass with the earlier edits live records, for the claim, the direct questions and the 25 probes, the state after
   the edited layer and the keys k entering W_out. In a GPT-NeoX block neither depends on W_out.
2. A change D of W_out is a plain tensor: the state after the layer becomes h + k D. Adam trains D on the claim, each
   entry cut to a share of W_out's root mean square, for at most 25 steps.
3. It stops when the new answer is as likely on the direct questions as after the edit.

No weight is touched, not even on a copy: D never leaves this function. Meng et al. (2022), section 3.4, "FT+L".
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.benchmarks import Step
from auditor.benchmarks.cases import Item
from auditor.benchmarks.trial import Row, Trial
from auditor.editor.look import divergence
from auditor.model import SharedModel
from probes.probe_set import PROBES

STEPS = 25
CAP = 0.25
"""Largest change of one weight, in root mean squares of W_out."""
RATE = 0.02
"""Adam's step in the same unit."""


@dataclass(frozen=True, eq=False)
class Control:
    """What fine-tuning reached: log-odds per direct question, and nats moved per probe."""

    odds: tuple[float, ...]
    moved: Tensor
    steps: int
    matched: bool
    """Whether it made the new answer as likely as the edit did."""


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows that are run together: their states after the layer, the keys entering W_out, and their tokens."""

    hidden: Tensor
    keys: Tensor
    rows: Sequence[Row]


def fine_tuned(trial: Trial, items: Sequence[Item]) -> Generator[Step, None, Control]:
    """Train the control; yields one Step per training step, outside the hold of the model."""
    model, request, layer = trial.model, trial.request, trial.layer
    asked = [trial.row(item.prompt, answer) for item in items for answer in (item.new, item.old)]
    probes = [(tuple(ids), len(ids)) for ids in (model.tokens(probe.prompt) for probe in PROBES)]
    with model.applied(trial.before), torch.no_grad():                                                       # 1
        train, direct, other = (_prepare(model, rows, layer)
                                for rows in ([trial.row(request.prompt, request.target_new)], asked, probes))
        size = float(model.w_out(layer).float().square().mean().sqrt())
        D = torch.zeros(model.d_mlp, model.d_model, device=model.device)
        before = _next(model, other, D, layer)
    wanted = sum(trial.reading(item.prompt, item.new).mean for item in items) / len(items)
    D.requires_grad_(True)
    adam, steps, reached = torch.optim.Adam([D], lr=RATE * size), 0, torch.empty(0)
    while steps < STEPS:                                                                                     # 2
        with model.applied(trial.before), torch.enable_grad():
            adam.zero_grad()
            (-_mean(model, train, D, layer)).sum().backward()
            adam.step()
        with model.applied(trial.before), torch.no_grad():
            D.clamp_(-CAP * size, CAP * size)
            reached = _mean(model, direct, D, layer)
        steps += 1
        yield Step(steps, STEPS)
        if float(reached[::2].mean()) >= wanted:                                                             # 3
            break
    with model.applied(trial.before), torch.no_grad():
        moved = divergence(before, _next(model, other, D, layer)).cpu()
    return Control(tuple((reached[::2] - reached[1::2]).tolist()), moved, steps, float(reached[::2].mean()) >= wanted)


def _prepare(model: SharedModel, rows: Sequence[Row], layer: int) -> _Part:
    with model.tapped([layer]) as keys:
        hidden = model.run(model.embed(model.pad([ids for ids, _ in rows])), 0, layer + 1)
    return _Part(hidden, keys[layer].float(), rows)


def _final(model: SharedModel, part: _Part, D: Tensor, layer: int) -> Tensor:
    """Residual stream at the end with D added to W_out."""
    return model.run((part.hidden.float() + part.keys @ D).to(model.dtype), layer + 1)


def _mean(model: SharedModel, part: _Part, D: Tensor, layer: int) -> Tensor:
    """[row] log-probability per token of what is scored in each row."""
    final = _final(model, part, D, layer)
    where = [(i, pos - 1, ids[pos]) for i, (ids, first) in enumerate(part.rows) for pos in range(first, len(ids))]
    row, place, token = (torch.tensor(column, device=model.device) for column in zip(*where))
    picked = model.logits(final[row, place]).log_softmax(-1).gather(1, token[:, None])[:, 0]
    return torch.stack([x.mean() for x in picked.split([len(ids) - first for ids, first in part.rows])])


def _next(model: SharedModel, part: _Part, D: Tensor, layer: int) -> Tensor:
    """[row, d_vocab] log-probabilities of the next word."""
    last = torch.tensor([len(ids) - 1 for ids, _ in part.rows], device=model.device)
    return model.logits(_final(model, part, D, layer)[torch.arange(len(last)), last]).log_softmax(-1)
