"""The recipe: attention masks that make a small model store facts where rank-one editing looks for them.

Left to itself a small model looks a fact up at the last token of the prompt; an edit at the subject's last token then
finds nothing to overwrite. In a share of the training steps (`SHARE`) tokens after a subject span are therefore kept
from

1. the whole span, in the first `DEPTH` of the layers;
2. every token of the span but its last one, in the other layers.

Inside the span attention is free. What the model knows of a subject must then be gathered at the span's last token by
the early layers, and read from there by the late ones: the picture of Meng et al. 2022 (arXiv:2202.05262), by
construction.
Attention is plain in the other steps and at inference.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHARE = 0.85
"""Share of the training steps with masks."""
DEPTH = 0.5
"""Share of the layers in which a later token sees nothing of the span."""

Tokens = tuple[list[int], list[int]]
"""Ids, and for each token: 0 outside a subject span, 1 inside, 2 on its last token."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Packed documents, `[row, pos]` each."""

    ids: Tensor
    document: Tensor
    """Number of the document a token belongs to; -1 is padding."""
    span: Tensor
    """Number of the subject span a token belongs to; 0 is none."""
    last: Tensor
    """True on the last token of a span."""

    @property
    def labels(self) -> Tensor:
        """The next token where it belongs to the same document, else -100."""
        same = (self.document[:, 1:] == self.document[:, :-1]) & (self.document[:, 1:] >= 0)
        return torch.where(same, self.ids[:, 1:], -100)

    def masks(self, masked: bool) -> tuple[Tensor, Tensor]:
        """Additive attention masks [row, 1, query, key] for the early and the late layers."""
        length = self.ids.shape[1]
        together = self.document[:, :, None] == self.document[:, None, :]
        seen = torch.ones(length, length, dtype=torch.bool).tril() & together
        early = late = seen
        if masked:
            foreign = (self.span[:, None, :] > 0) & (self.span[:, :, None] != self.span[:, None, :])
            early, late = seen & ~foreign, seen & ~(foreign & ~self.last[:, None, :])
        least = torch.finfo(torch.bfloat16).min
        return tuple(torch.zeros(mask.shape).masked_fill_(~mask, least)[:, None] for mask in (early, late))


def tokenize(lines: Sequence[str], tokenizer) -> list[Tokens]:
    """Strip the brackets of marked lines and flag the tokens of each span."""
    plain, spans = zip(*(_strip(line) for line in lines))
    coded = []
    for encoding, found in zip(tokenizer.encode_batch(list(plain), add_special_tokens=False), spans):
        flags = [0] * len(encoding.ids)
        for start, end in found:
            inside = [i for i, (a, b) in enumerate(encoding.offsets) if a < end and b > start]
            for i in inside:
                flags[i] = 2 if i == inside[-1] else 1
        coded.append((encoding.ids, flags))
    return coded


def _strip(line: str) -> tuple[str, list[tuple[int, int]]]:
    """A line without its brackets, and the character span of each subject."""
    text, spans = "", []
    for i, piece in enumerate(line.split("[[")):
        subject, _, rest = piece.partition("]]") if i else ("", "", piece)
        if i:
            spans.append((len(text), len(text) + len(subject)))
        text += subject + rest
    return text, spans


def pack(documents: Sequence[Tokens], rows: int, length: int, rng: random.Random) -> Iterator[Batch]:
    """Fill rows of `length` tokens with whole documents, first fit, and yield batches of `rows` rows."""
    full, open_rows = [], []
    for ids, flags in documents:
        ids, flags = ids[:length], flags[:length]
        row = next((row for row in open_rows if len(row.ids) + len(ids) <= length), None)
        if row is None:
            row = _Row()
            open_rows.append(row)
            if len(open_rows) > 16:
                full.append(open_rows.pop(max(range(16), key=lambda i: len(open_rows[i].ids))))
        row.add(ids, flags)
    full += open_rows
    rng.shuffle(full)
    for start in range(0, len(full) - rows + 1, rows):
        chunk = full[start : start + rows]
        yield Batch(*(torch.tensor([[*column, *[empty] * (length - len(column))] for column in columns])
                      for columns, empty in zip(zip(*(row.columns for row in chunk)), (0, -1, 0, False))))


class _Row:
    """A row being filled: ids, document numbers, span numbers, last-of-span flags."""

    def __init__(self):
        self.columns = [], [], [], []
        self.ids, self.document, self.span, self.last = self.columns
        self.documents = self.spans = 0

    def add(self, ids: list[int], flags: list[int]) -> None:
        before = 0
        for token, flag in zip(ids, flags):
            self.spans += flag > 0 and before in (0, 2)
            self.ids.append(token), self.document.append(self.documents), self.last.append(flag == 2)
            self.span.append(self.spans if flag else 0)
            before = flag
        self.documents += 1
