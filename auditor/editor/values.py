"""Value: what W_out should return for the subject, so that the model says the new answer.

1. Everything that no step changes is computed once: the residual stream after the layer, the keys and values of the
   positions before the subject's last token, and the next-word distributions of the essence.
2. A vector delta is added to the MLP's output at the subject's last token in every context. (Pythia's blocks are
   parallel, so this is the same as adding it to the block's output; only the layers above are run.)
3. Adam lowers L(delta) = NLL of all target tokens, mean over contexts
                        + kl_factor * KL(before || now) of the essence's texts, mean over texts
                        + weight_decay * |delta| / |v0|^2.
   A text's KL is the sum over its next words: a mean would hide the one word that carries the fact among the many
   that any subject would do for.
4. The step size falls evenly to lr_last of it. After each step |delta| is cut to clamp * |v0|. The search ends early
   when the loss is small. Of all steps but the first, where delta is 0, the one with the smallest loss is kept.
5. While the new answer is less likely than not at the end of a round of steps, another round goes on from there.

v0 = W_out^T k + b_out is the value *at the averaged key*; so v - v0 is delta exactly, and W_out'^T k + b_out = v
is what the rank-one update promises. Meng et al. (2022), equation 4; the weight decay's form is that of their code.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.editor.essence import Kept
from auditor.editor.keys import Context
from auditor.model import Past, SharedModel
from auditor.types import Edit, Fitting

LIKELY = 0.5
"""Probability of the new answer, mean over contexts, with which a round may be the last."""

@dataclass(frozen=True, eq=False)
class Value:
    """What the search found."""

    delta: Tensor
    """[d_model], fp32: v - v0."""
    probability: float
    """Mean probability of the whole target over contexts, with delta added."""
    losses: tuple[float, ...]
    """Of every step."""


@dataclass(frozen=True, eq=False)
class Fit:
    """How to search; the fields of RomeConfig that concern the value."""

    steps: int
    lr: float
    weight_decay: float
    clamp: float
    kl_factor: float
    stop_loss: float
    lr_last: float = 1.0
    rounds: int = 1


@dataclass(frozen=True, eq=False)
class _Batch:
    """The constants of the search: one row per context, then the essence rows; column 0 is the subject's last token."""

    hidden: Tensor
    """[row, pos, d_model] after the edited layer."""
    past: Past
    where: tuple[Tensor, Tensor, Tensor]
    """Row, column and token of every target token to be predicted."""
    rows: int
    """Contexts: the first rows."""
    essence: tuple[Tensor, Tensor]
    """Row and column of every next word that must stay."""
    texts: int
    """Of the essence: the other rows."""
    before: Tensor
    """[place, d_vocab] log-probabilities there, before the edit."""


@torch.no_grad()
def base_value(model: SharedModel, k: Tensor, layer: int) -> Tensor:
    """v0 = W_out^T k + b_out in fp32, [d_model]. Call inside `applied`."""
    linear = model.linear_out(layer)
    return linear.weight.float() @ k + linear.bias.float()


def fit(model: SharedModel, contexts: Sequence[Context], target: Sequence[int], essence: Sequence[Kept],
        v0: Tensor, layer: int, how: Fit, *, edits: Sequence[Edit] = (),
        attempt: int = 1) -> Generator[Fitting, None, Value]:
    """Search delta; yields one Fitting per step, outside the hold of the model, and returns a Value."""
    with model.applied(edits):
        batch = _prepare(model, contexts, target, essence, layer)                                            # 1
    delta = torch.zeros_like(v0, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=how.lr)
    losses: list[float] = []
    best, most = None, how.rounds * how.steps
    for step in range(1, most + 1):
        share = (step - 1) % how.steps / max(how.steps - 1, 1)
        adam.param_groups[0]["lr"] = how.lr * (1 - (1 - how.lr_last) * share)
        with model.applied(edits), torch.enable_grad():
            loss, probability = _loss(model, batch, delta, v0, layer, how)                                   # 2, 3
            losses.append(float(loss.detach()))
            enough = float(probability) >= LIKELY or step == most                                            # 5
            ended = losses[-1] < how.stop_loss or (step % how.steps == 0 and enough)
            if losses[-1] <= min(losses[1:] or losses):  # of the steps after delta = 0, which changes nothing
                best = delta.detach().clone(), float(probability)
            if not ended:
                adam.zero_grad()
                loss.backward()
                adam.step()
        with torch.no_grad():
            largest = how.clamp * v0.norm()                                                                  # 4
            if how.clamp and delta.norm() > largest:
                delta.mul_(largest / delta.norm())
        yield Fitting(layer=layer, attempt=attempt, step=step, steps=-(-step // how.steps) * how.steps, loss=losses[-1],
                      probability=float(probability))
        if ended:
            break
    return Value(*best, losses=tuple(losses))


@torch.no_grad()
def _prepare(model: SharedModel, contexts: Sequence[Context], target: Sequence[int], essence: Sequence[Kept],
             layer: int) -> _Batch:
    """Run all rows once and keep what the steps will need."""
    rows = [(*c.tokens, *target[:-1]) for c in contexts] + [kept.tokens for kept in essence]
    starts = [each.subject for each in (*contexts, *essence)]
    past = Past(keep=True)
    entering = model.run(model.embed(model.pad(rows)), 0, layer + 1, past=past)
    final = model.run(entering, layer + 1, past=past)
    read = [(i, place) for i, each in enumerate(essence, len(contexts))
            for place in range(each.first, len(each.tokens))]
    row, place = (torch.tensor(column, device=model.device) for column in zip(*read))
    before = model.logits(final[row, place]).log_softmax(-1)
    width = max(len(row) - start for row, start in zip(rows, starts))
    start = torch.tensor(starts, device=model.device)
    columns = (start[:, None] + torch.arange(width, device=model.device)).clamp_max(entering.shape[1] - 1)
    every = torch.arange(len(rows), device=model.device)[:, None]
    where = [(i, len(c.tokens) - 1 - c.subject + j, token)
             for i, c in enumerate(contexts) for j, token in enumerate(target)]
    return _Batch(hidden=entering[every, columns].float(), past=past.before(start), before=before,
                  where=tuple(torch.tensor(column, device=model.device) for column in zip(*where)),
                  rows=len(contexts), essence=(row, place - start[row]), texts=len(essence))


def _loss(model: SharedModel, batch: _Batch, delta: Tensor, v0: Tensor, layer: int, how: Fit) -> tuple[Tensor, Tensor]:
    """L(delta), and the mean probability of the whole target over contexts."""
    width = batch.hidden.shape[1]
    shift = torch.nn.functional.pad(delta[None], (0, 0, 0, width - 1))  # (pos, d_model): column 0 is the subject's last
    hidden = model.run((batch.hidden + shift).to(model.dtype), layer + 1, past=batch.past)
    row, column, token = batch.where
    logprobs = model.logits(hidden[row, column]).log_softmax(-1)  # (target tokens, d_vocab)
    picked = logprobs.gather(1, token[:, None]).view(batch.rows, -1)  # (context, target token)
    loss = -picked.mean()
    if how.weight_decay:  # the norm has no gradient at delta = 0, so it enters with its first step
        loss = loss + how.weight_decay * delta.norm() / v0.norm() ** 2
    if how.kl_factor:
        now = model.logits(hidden[batch.essence]).log_softmax(-1)  # (place, d_vocab)
        loss = loss + how.kl_factor * (batch.before.exp() * (batch.before - now)).sum() / batch.texts
    return loss, picked.detach().sum(1).exp().mean()
