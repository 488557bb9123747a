"""Values that several tests need: edits of known size without any fitting."""

from __future__ import annotations

import torch

from auditor.types import Check, Edit, EditRequest, Entry, Session, ValidationReport, WeightDelta

REQUEST = EditRequest("The Eiffel Tower", "is located in", target_old="Paris", target_new="Rome")


def random_edit(model, *, layers=(1,), scale=0.05, seed=0, request=REQUEST, fitted_on=()) -> Edit:
    """A random rank-one change to each of `layers`."""
    g = torch.Generator().manual_seed(seed)
    patches = tuple(WeightDelta(layer, scale * torch.randn(model.d_mlp, 1, generator=g),
                                torch.randn(1, model.d_model, generator=g)) for layer in layers)
    return Edit(request, "random", patches, model.fingerprint, {"scale": scale, "seed": seed}, fitted_on, (2.0, 0.5),
                {"norm": 1.5})


def entry(edit: Edit) -> Entry:
    """The edit with a report that passed."""
    check = Check("paraphrase", 0.5, 0.1, "at least", "It is still true when asked differently.",
                  ({"phrasing": "x", "before": 0.0, "after": 0.5, "new_beats_old": True},))
    return Entry(edit, ValidationReport(edit.layers[-1], (check,)))


def session_of(model, *edits: Edit) -> Session:
    """A session that holds these edits as accepted."""
    return Session(model.id, model.fingerprint, tuple(map(entry, edits)))


def logits(model, text="The Eiffel Tower is located in", edits=()) -> torch.Tensor:
    """[pos, d_vocab] logits with edits live."""
    with model.applied(edits), torch.no_grad():
        return model.logits(model.run(model.embed(model.pad([model.tokens(text)]))))[0]
