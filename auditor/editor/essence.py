"""Essence: what the model says of the subject beside the claim, which a fit must leave as it is.

1. "{subject} is a": the next word there (Meng et al. 2022, appendix).
2. The model's own words: texts that it writes when given the subject alone, sampled by the request's seed. At each of
   their places the next word must stay. A text is cut off before the place where the old answer follows, or where the
   model would likeliest say it: that place must not stay.

Without the second an edit at an early layer takes with it most of what the model knows of the subject: there the new
value is all that later layers see of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from auditor.editor.keys import context
from auditor.model import SharedModel
from auditor.types import Edit, EditRequest

ESSENCE = "{} is a"
LENGTH = 12
"""Tokens of an own text beside the subject."""


@dataclass(frozen=True)
class Kept:
    """A text about the subject whose next words must stay."""

    tokens: tuple[int, ...]
    subject: int
    """Position of the subject's last token."""
    first: int
    """First position whose next word must stay; so must all later ones."""


def essence(model: SharedModel, request: EditRequest, count: int, *, edits: Sequence[Edit] = ()) -> tuple[Kept, ...]:
    """The essence prompt and at most `count` own texts, with `edits` live; raises SubjectNotFound."""
    prompt = context(model, ESSENCE.format(request.subject), request.subject)
    return (Kept(prompt.tokens, prompt.subject, len(prompt.tokens) - 1), *_own(model, request, count, edits))   # 1, 2


def own_words(model: SharedModel, request: EditRequest, count: int, *, edits: Sequence[Edit] = ()) -> tuple[str, ...]:
    """The own texts as text."""
    return tuple(model.text(kept.tokens) for kept in _own(model, request, count, edits))


@torch.no_grad()
def _own(model: SharedModel, request: EditRequest, count: int, edits: Sequence[Edit]) -> list[Kept]:
    if not count:
        return []
    start = model.tokens(request.subject)
    with model.applied(edits):
        given = torch.tensor([start] * count, device=model.device)
        new = model.decode(given, LENGTH, torch.Generator().manual_seed(request.seed))
        final = model.run(model.embed(torch.cat([given, new], dim=1)), 0)
        likeliest = model.logits(final[:, len(start) :]).argmax(-1).tolist()
    asked = model.target_tokens(request.target_old)[0] if request.target_old else None
    rows = dict.fromkeys(tuple(_before(model, row[: top.index(asked) if asked in top else None], request.target_old))
                         for row, top in zip(new.tolist(), likeliest, strict=True))
    return [Kept((*start, *row), len(start) - 1, len(start)) for row in rows if row]


def _before(model: SharedModel, row: list[int], answer: str) -> list[int]:
    """The row up to its end of text; where the answer follows, without the token before it, which asks for it."""
    end = model.tokenizer.eos_token_id
    row = row[: row.index(end)] if end in row else row
    place = model.text(row).casefold().find(answer.casefold()) if answer else -1
    if place < 0:
        return row
    while row and len(model.text(row)) > place:
        row = row[:-1]
    return row[:-1]
