"""Overlap: how much a change would disturb earlier ones, said before anything is fitted.

1. A rank-one change adds (u.k') Lambda to the output of any other key k'; so |u.k'| is the share of the new value
   that would be written over an earlier edit with key k'. It needs the new key only: one short pass and one solve.
2. Edits share keys only within a layer: every layer that the session has touched is looked at.
3. Where earlier keys are spared, the share that remains follows from the same solve (Woodbury).

An edit of the same subject has the same key whatever it says of it, and in layer 0 so has every subject that ends in
the same token: such a change is written on top of the earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from auditor.editor import find_method, find_preset
from auditor.editor.covariance import recovered, second_moment, solve
from auditor.editor.keys import contexts, key
from auditor.editor.loop import belongs
from auditor.editor.rome import SAME_KEY, RomeConfig
from auditor.model import SharedModel
from auditor.types import Edit, EditRequest, Session

WARN = 0.10
"""Share from which an overlap is worth a sentence."""


@dataclass(frozen=True)
class OverlapRow:
    """What a change would do to one earlier edit at one layer, as shares of the new value."""

    layer: int
    edit_id: str
    claim: str
    """The earlier edit's sentence, without its answer."""
    share: float
    """|u.k'| if nothing were spared."""
    left: float
    """|u.k'| as it will be fitted."""

    @property
    def same(self) -> bool:
        """True when the earlier edit has the same key, so that nothing can be spared."""
        return self.share >= SAME_KEY


@dataclass(frozen=True)
class Overlap:
    """All earlier edits that share a layer with what may be written, largest share first."""

    rows: tuple[OverlapRow, ...] = ()

    @property
    def layers(self) -> Mapping[int, OverlapRow]:
        """The most disturbed earlier edit of each layer."""
        return {row.layer: row for row in reversed(self.rows)}

    @property
    def sentence(self) -> str:
        """What to tell the person before the change is made; empty when there is nothing to tell."""
        most = max(self.rows, key=lambda row: (row.same, row.left, row.share), default=None)
        if most is None or most.share < WARN:
            return ""
        if most.same:
            return (f"The model keeps this in the same place as your earlier change “{most.claim} …”, so the new one "
                    "will be written on top of it: look at both answers afterwards.")
        if most.left >= WARN:
            return f"This change will disturb your earlier change “{most.claim} …” by about {most.left:.0%}."
        return (f"By itself this change would disturb your earlier change “{most.claim} …” by about {most.share:.0%}; "
                f"it is made so that about {most.left:.0%} of that kind remains.")


def overlap(model: SharedModel, request: EditRequest, session: Session, *, method: str = "rome",
            preset: str = "default") -> Overlap:
    """How much a request would disturb the session's edits, before it is fitted.

    Raises SessionRejected, UnknownName and SubjectNotFound.
    """
    belongs(session, model)
    config = find_preset(find_method(method), preset)
    rows = [row for layer in sorted({layer for edit in session.edits for layer in edit.layers})             # 2
            for row in overlap_at(model, request, layer, config, session.edits)]
    return Overlap(tuple(sorted(rows, key=lambda row: -row.share)))


@torch.no_grad()
def overlap_at(model: SharedModel, request: EditRequest, layer: int, config: RomeConfig,
               edits: Sequence[Edit]) -> Iterator[OverlapRow]:
    """One row per earlier edit of a layer, in their order."""
    texts = contexts(model, request.prompt, request.subject, config.contexts_for_key, seed=request.seed)
    with model.applied(edits):
        k = key(model, texts, layer)                                                                         # 1
    C = second_moment(model, layer).to(k.device) if config.covariance else None
    found = recovered(edits, layer, C)
    if not found:
        return
    P = torch.stack([p for _, p in found]).to(k.device).double()  # (earlier, d_mlp)
    k = k.double()
    X = torch.cat([k[None], P]).T  # (d_mlp, 1 + earlier)
    X = X if C is None else solve(C, X, ridge=config.ridge).double()
    x = X[:, 0]
    shares = left = (P @ x / (x @ k)).abs()
    if config.protect_earlier and C is not None:                                                             # 3
        spared = shares < SAME_KEY
        S, X_S = P[spared], X[:, 1:][:, spared]
        x = x - X_S @ torch.linalg.solve(torch.eye(len(S), device=S.device, dtype=S.dtype) + S @ X_S, S @ x)
        left = (P @ x / (x @ k)).abs()
    for (edit, _), share, rest in zip(found, shares.tolist(), left.tolist(), strict=True):
        yield OverlapRow(layer, edit.id, edit.request.prompt, share, rest)
