"""ROME: rewrite one association by a rank-one change to W_out of one layer.

1. k: the subject's key, averaged over contexts.
2. v = v0 + delta: the value that makes the model say the new answer.
3. D = u Lambda^T with u = C^-1 k / (k^T C^-1 k) and Lambda = v - b_out - W_out^T k = delta: of all D with
   D^T k = Lambda it has the least trace(D^T C D), that is, it disturbs the outputs of other keys least on average.

Meng et al. (2022), equation 2. All arithmetic is fp32 or better whatever the model's precision; D stays factored.

Preset `published` keeps of the subject only the published code's one prompt, and spares no earlier edits.
Preset `seed` is the literal variant of the first design: first target token only, C = I, bare prompt. Its pseudo-code
took the residual `v - W_out^T k_norm` with k_norm = k / (k.k), which leaves (1 - 1/|k|^2) W_out^T k in the new output
unless |k| = 1, and forgets b_out; here the residual is taken at k itself, so the new output is v.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.editor import method
from auditor.editor.covariance import earlier_keys, second_moment, solve
from auditor.editor.essence import essence
from auditor.editor.keys import contexts, key
from auditor.editor.values import Fit, base_value, fit
from auditor.model import SharedModel
from auditor.types import Edit, EditRequest, Fitting, WeightDelta, option

SAME_KEY = 0.95
"""Earlier keys with a larger overlap are not protected: the new edit is about the same thing and must replace it."""
CODE = "the published code"


@dataclass(frozen=True)
class RomeConfig:
    """How ROME fits an edit."""

    contexts_for_key: int = option(20, "Texts over which the key is averaged, the bare prompt included", source=CODE)
    contexts_for_value: int = option(5, "Texts in which the new answer is fitted, the bare prompt included",
                                     source="20 in the published code; fewer here for speed")
    steps: int = option(20, "Most steps of the search for the value, in one round", source=CODE)
    rounds: int = option(2, "Most rounds, where the new answer stays less likely than not", source="ours")
    lr: float = option(0.5, "Step size of the search (Adam)", source=CODE)
    lr_last: float = option(0.1, "Step size at the last step", unit="share of the first", source="ours")
    weight_decay: float = option(0.5, "Weight of |delta| / |v0|^2 in the loss", source=CODE)
    clamp: float = option(4.0, "Largest |delta|, in lengths of the old value; 0 for no limit", unit="|v0|", source=CODE)
    kl_factor: float = option(0.2, "Weight of keeping what the model says of the subject beside the claim",
                              source="ours; 0.0625, on one short prompt alone, in the published code")
    own_words: int = option(6, "Texts that the model itself writes of the subject, to be kept", source="ours")
    stop_loss: float = option(0.05, "Loss at which the search ends", unit="nats", source=CODE)
    first_token_only: bool = option(False, "Fit only the first token of the new answer", source="the first design")
    covariance: bool = option(True, "Spare the keys that occur in ordinary text", source="Meng et al. 2022, eq. 2")
    ridge: float = option(1e-3, "Added to the diagonal of C", unit="mean of the diagonal", source="ours")
    protect_earlier: bool = option(True, "Spare the keys of earlier edits", source="AlphaEdit's idea, for ROME")


PRESETS = {
    "default": RomeConfig(),
    "published": RomeConfig(contexts_for_value=20, steps=25, rounds=1, lr_last=1.0, kl_factor=0.0625, own_words=0,
                            protect_earlier=False),
    "seed": RomeConfig(contexts_for_key=1, contexts_for_value=1, steps=20, rounds=1, lr_last=1.0, weight_decay=0.0,
                       clamp=0.0, kl_factor=0.0, own_words=0, stop_loss=0.01, first_token_only=True, covariance=False,
                       protect_earlier=False),
}


@method("rome", config=RomeConfig, presets=PRESETS, paper="Meng, Bau, Andonian, Belinkov (2022), arXiv 2202.05262")
def rome(model: SharedModel, request: EditRequest, layer: int, config: RomeConfig, *, edits: Sequence[Edit] = (),
         attempt: int = 1) -> Generator[Fitting, None, Edit]:
    """Rewrite one association by a rank-one change to one layer, chosen to disturb other text least.

    Yields one Fitting per step and returns the Edit; the weights are the base weights whenever it is not in a step.
    Raises SubjectNotFound.
    """
    options = {"seed": request.seed}
    for_key = contexts(model, request.prompt, request.subject, config.contexts_for_key, **options)
    for_value = contexts(model, request.prompt, request.subject, config.contexts_for_value, **options)
    kept = essence(model, request, config.own_words, edits=edits)
    target = model.target_tokens(request.target_new)[: 1 if config.first_token_only else None]
    with model.applied(edits):
        k = key(model, for_key, layer)                                                                       # 1
        v0 = base_value(model, k, layer)
        weight = float(model.w_out(layer).float().norm())
    how = Fit(**{field.name: getattr(config, field.name) for field in dataclasses.fields(Fit)})
    value = yield from fit(model, for_value, target, kept, v0, layer, how, edits=edits, attempt=attempt)  # 2
    u, overlap = spread(model, k, layer, config, edits)                                                      # 3
    patch = WeightDelta(layer, left=u[:, None].cpu(), right=value.delta[None].cpu())
    notes = {"key_norm": float(k.norm()), "value_norm": float(v0.norm()), "delta_norm": float(value.delta.norm()),
             "relative_change": patch.norm / weight, "key_overlap": overlap, "probability": value.probability}
    return Edit(request=request, method="rome", patches=(patch,), fingerprint=model.fingerprint,
                config=dataclasses.asdict(config), fitted_on=tuple(edit.id for edit in edits), losses=value.losses,
                notes=notes)


@torch.no_grad()
def spread(model: SharedModel, k: Tensor, layer: int, config: RomeConfig,
           edits: Sequence[Edit]) -> tuple[Tensor, float]:
    """u [d_mlp] = C^-1 k / (k^T C^-1 k), and the largest overlap of k with keys of earlier edits at this layer.

    The overlap is the share of an earlier key's value that would be overwritten, |u.p|, before protection.
    """
    C = second_moment(model, layer).to(k.device) if config.covariance else None
    x = k if C is None else solve(C, k, ridge=config.ridge)
    u = x / (x @ k)
    earlier = earlier_keys(edits, layer, C).to(k.device)
    if not len(earlier):
        return u, 0.0
    overlaps = (earlier @ u).abs()
    if config.protect_earlier and C is not None:
        x = solve(C, k, ridge=config.ridge, protect=earlier[overlaps < SAME_KEY])
        u = x / (x @ k)
    return u, float(overlaps.max())
