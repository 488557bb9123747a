"""Key: the vector under which W_out of one layer looks up a subject.

1. Contexts: the prompt alone and behind neutral sentences, so that the key is the subject's and not that of one place
   in a text. A subject at position 0 alone gives an outlier and a broken edit.
2. k is the mean, over contexts, of the input of W_out at the subject's last token. The same averaged k is used wherever
   a key is needed (R-ROME: Gupta, Baskaran, Anumanchipalli 2024, "Rebuilding ROME").

Meng et al. (2022), equation 3.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.model import SharedModel
from probes.probe_set import NEUTRAL_PREFIXES


@dataclass(frozen=True)
class Context:
    """One text with the subject in it."""

    tokens: tuple[int, ...]
    subject: int
    """Position of the subject's last token."""


def context(model: SharedModel, text: str, subject: str) -> Context:
    """Tokens of a text and the place of the subject's last token; raises SubjectNotFound."""
    return Context(tuple(model.tokens(text)), model.span(text, subject)[1] - 1)


def contexts(model: SharedModel, prompt: str, subject: str, count: int, *, seed: int = 0) -> tuple[Context, ...]:
    """The bare prompt and `count - 1` prefixed ones; the seed chooses which neutral sentences stand before it."""
    prefixes = random.Random(seed).sample(NEUTRAL_PREFIXES, min(count - 1, len(NEUTRAL_PREFIXES)))
    texts = [prompt, *(f"{prefix} {prompt}" for prefix in prefixes)]
    return tuple(context(model, text, subject) for text in texts)


@torch.no_grad()
def key(model: SharedModel, contexts: Sequence[Context], layer: int) -> Tensor:
    """k [d_mlp], fp32, on the model's device: the mean key over contexts. Call inside `applied`."""
    rows = model.pad([c.tokens[: c.subject + 1] for c in contexts])
    with model.tapped([layer]) as keys:
        model.run(model.embed(rows), 0, layer + 1)
    last = torch.tensor([c.subject for c in contexts], device=model.device)
    each = torch.arange(len(contexts), device=model.device)
    return keys[layer][each, last].float().mean(0)
