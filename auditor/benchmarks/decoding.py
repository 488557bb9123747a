"""Continue many prompts of unequal length together.

1. One pass over the prompts, padded on the right, records keys and values.
2. Each further pass feeds one new token per row, at the row's own position; the padding of a row is masked out.

With a seed, tokens are drawn by adding seeded Gumbel noise to the logits, the same noise for every state of the model:
a model that did not change writes the same text, and one that changed a little writes nearly the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from auditor.model import ROWS, Past, SharedModel

TEMPERATURE = 0.7


class Ragged(Past):
    """Recorded keys and values of right-padded rows, grown by one column per pass."""

    def __init__(self, first: Past, lengths: Tensor):
        super().__init__(first.kept, lengths)
        self._lengths, self._width, self._steps = lengths, int(lengths.max()), 0

    def update(self, keys: Tensor, values: Tensor, layer: int, *_) -> tuple[Tensor, Tensor]:
        old = self._pairs[layer]
        self._pairs[layer] = torch.cat([old[0], keys], dim=2), torch.cat([old[1], values], dim=2)
        return self._pairs[layer]

    def positions(self, width: int, device: torch.device) -> Tensor:
        return self._lengths[:, None] + self._steps

    def mask(self, width: int, device: torch.device) -> Tensor:
        """[row, 1, 1, old + new]: a row's own tokens and everything that was added since."""
        place = torch.arange(self._width + self._steps + 1, device=device)
        return ((place < self._lengths[:, None]) | (place >= self._width))[:, None, None]

    def step(self) -> None:
        """One column more."""
        self._steps += 1


@torch.no_grad()
def continued(model: SharedModel, prompts: Sequence[str], steps: int, *,
              seeds: Sequence[int | None] | None = None) -> list[list[int]]:
    """New token ids per prompt, ended before the end-of-text token; greedy where a row's seed is None.

    Call it inside `model.applied(...)`.
    """
    out: list[list[int]] = []
    for start in range(0, len(prompts), ROWS):
        rows = [model.tokens(prompt) for prompt in prompts[start : start + ROWS]]
        chosen = seeds[start : start + ROWS] if seeds else [None] * len(rows)
        out += _batch(model, rows, steps, chosen)
    return out


def _batch(model: SharedModel, rows: Sequence[Sequence[int]], steps: int,
           seeds: Sequence[int | None]) -> list[list[int]]:
    lengths = torch.tensor([len(row) for row in rows], device=model.device)
    each, first = torch.arange(len(rows), device=model.device), Past(keep=True)
    noise = [None if seed is None else torch.Generator().manual_seed(seed) for seed in seeds]
    last = model.run(model.embed(model.pad(rows)), past=first)[each, lengths - 1]                            # 1
    past, new, end = Ragged(first, lengths), [], model.tokenizer.eos_token_id
    for step in range(steps):                                                                               # 2
        logits = model.logits(last)  # (row, d_vocab)
        for i, generator in enumerate(noise):
            if generator is not None:
                logits[i] = logits[i] / TEMPERATURE + _gumbel(logits.shape[-1], generator).to(logits.device)
        new.append(logits.argmax(-1))
        if step + 1 == steps or bool((torch.stack(new) == end).any(0).all()):
            break
        last = model.run(model.embed(new[-1][:, None]), past=past)[:, 0]
        past.step()
    ids = torch.stack(new, 1).tolist()
    return [row[: row.index(end)] if end in row else row for row in ids]


def _gumbel(size: int, generator: torch.Generator) -> Tensor:
    return -(-torch.rand(size, generator=generator).clamp_min(1e-20).log()).log()
