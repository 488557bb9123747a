"""How keys are spread: the second moment C = E[k k^T] of the inputs of W_out, per layer.

1. Take text: the file `sample_text.txt` in the model's folder, or text that the model writes itself, sampled at
   temperature 1 from random first tokens.
2. Run it on the *base* weights and sum k k^T over all tokens, for every layer that is likely to be edited, in one pass
   (in several where the sums would not fit in memory).
3. Keep the result on disk under the fingerprint of the weights; a file that ships in the model's folder goes first.
4. `solve` gives (C + ridge)^-1 k by Cholesky. The ridge is a share of C's mean diagonal.

Meng et al. (2022), section 3.1; a few thousand tokens per dimension are not needed: 2 to 10 keys per dimension give the
edits of the full 100,000-article recipe (arXiv 2506.04226). Keys of earlier edits can be added to C, so that a new edit
leaves them where they are: `earlier_keys`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from auditor.editor.layers import cache_folder, likely
from auditor.model import SharedModel
from auditor.types import Edit

TOKENS = 50_000
"""Least number of keys in C."""
WIDTH = 128
"""Tokens per row of text."""
BATCH = 4_096
"""Tokens per pass: one hold of the model."""
MEMORY = 4 * 2**30
"""Bytes of sums held at once."""
SAMPLE = "sample_text.txt"


def sample_text(model: SharedModel, *, tokens: int = TOKENS, seed: int = 0) -> Tensor:
    """[row, WIDTH] token ids of representative text, at least `tokens` of them where there is as much.

    Takes the model itself, so it must not be called inside `applied`.
    """
    path = model.folder / SAMPLE
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        ids = [i for line in lines for i in model.tokens(line)][: tokens + WIDTH]
        rows = [ids[i : i + WIDTH] for i in range(0, max(1, len(ids) - WIDTH + 1), WIDTH)]
        return torch.tensor(rows)
    generator = torch.Generator().manual_seed(seed)
    rows, each = [], max(1, BATCH // WIDTH)
    for _ in range(0, tokens, each * WIDTH):
        first = torch.randint(model.n_vocab, (each, 1), generator=generator)
        with model.applied():
            rest = model.decode(first.to(model.device), WIDTH - 1, generator)
        rows.append(torch.cat([first, rest.cpu()], dim=1))
    return torch.cat(rows)


def second_moment(model: SharedModel, layer: int) -> Tensor:
    """C of one layer, [d_mlp, d_mlp] fp32 on the CPU, symmetric; measured once per model and kept on disk.

    Takes the model itself, so it must not be called inside `applied`.
    """
    path = _stored(model, layer)
    if path is None:
        wanted = sorted({layer, *likely(model)})
        for layers in _groups(model, [i for i in wanted if _stored(model, i) is None]):
            for each, C in measure(model, layers, sample_text(model)).items():
                _write(cache_folder(model) / _name(each), C)
        path = cache_folder(model) / _name(layer)
    return load_file(path)["second_moment"].float()


@torch.no_grad()
def measure(model: SharedModel, layers: Sequence[int], text: Tensor) -> dict[int, Tensor]:
    """C of some layers over rows of token ids, in one pass; on the CPU."""
    sums = {layer: torch.zeros(model.d_mlp, model.d_mlp, device=model.device) for layer in layers}
    for rows in text.split(max(1, BATCH // text.shape[1])):
        with model.applied(), model.tapped(layers) as keys:
            model.run(model.embed(rows.to(model.device)), 0, max(layers) + 1)
        for layer in layers:
            k = keys[layer].flatten(0, 1).float()  # (token, d_mlp)
            sums[layer].addmm_(k.T, k)
    return {layer: ((total + total.T) / (2 * text.numel())).cpu() for layer, total in sums.items()}


def solve(C: Tensor, k: Tensor, *, ridge: float = 1e-3, protect: Tensor | None = None) -> Tensor:
    """(C + ridge * mean(diag C) + sum over protected keys of p p^T)^-1 k, for k [d_mlp] or [d_mlp, n]; fp32.

    `protect` is [n, d_mlp]. Solved in fp64: neighbouring keys share most of their length, so C is badly conditioned.
    """
    total = C.double().clone()
    total.diagonal().add_(ridge * float(total.diagonal().mean()))
    if protect is not None and len(protect):
        total += protect.double().T @ protect.double()
    columns = k.double().reshape(len(C), -1)
    return torch.cholesky_solve(columns, torch.linalg.cholesky(total)).reshape(k.shape).float()


def earlier_keys(edits: Sequence[Edit], layer: int, C: Tensor | None) -> Tensor:
    """[n, d_mlp] keys of earlier edits at a layer, in their order; fp32, CPU. Without C: see `recovered`."""
    keys = [k for _, k in recovered(edits, layer, C)]
    return torch.stack(keys) if keys else torch.empty(0, 0)


def recovered(edits: Sequence[Edit], layer: int, C: Tensor | None) -> tuple[tuple[Edit, Tensor], ...]:
    """Each edit at a layer with its key [d_mlp], read off its factors; fp32, CPU.

    u = A^-1 k / (k^T A^-1 k) was solved with A = C + ridge + P^T P, where P holds the keys that were spared then; so
    k = A u / (u^T A u), scale included. Where an edit that was live then is gone, its row of P is gone too, and the
    keys after it come out up to a multiple of that row. Without C only edits that were fitted without it can be read.
    """
    columns = [(edit, u) for edit in edits for patch in edit.patches if patch.layer == layer for u in patch.left.T
               if C is not None or _plain(edit)]
    if not columns:
        return ()
    U = torch.stack([u for _, u in columns]).double().to("cpu" if C is None else C.device)  # (n, d_mlp)
    C_U = U if C is None else U @ C.double()
    mean = 0.0 if C is None else float(C.diagonal().mean())
    ids, K = [edit.id for edit, _ in columns], torch.zeros_like(U)
    for i, (edit, _) in enumerate(columns):
        u = A_u = U[i]
        if not _plain(edit):
            A_u = C_U[i] + edit.config.get("ridge", 1e-3) * mean * u
            if edit.config.get("protect_earlier", True):
                A_u = A_u + _spared(K[:i], u, [each in edit.fitted_on for each in ids[:i]])
        K[i] = A_u / (u @ A_u)
    return tuple((edit, k) for (edit, _), k in zip(columns, K.float().cpu(), strict=True))


def _spared(K: Tensor, u: Tensor, live: list[bool]) -> Tensor:
    """P^T P u, where P holds those of the earlier keys K [n, d_mlp] that were live and spared when u was solved.

    A key was spared when u leaves its output as it was: |u.p| is near 0 then, and near 1 where the key was passed over
    because it is the edit's own.
    """
    leak = K @ u
    return (leak * (leak.abs() < 0.5) * torch.tensor(live, device=u.device)) @ K


def _plain(edit: Edit) -> bool:
    return not edit.config.get("covariance", True)


def _name(layer: int) -> str:
    return f"second_moment_{layer}.safetensors"


def _stored(model: SharedModel, layer: int) -> Path | None:
    return next((folder / _name(layer) for folder in (model.folder / "second_moments", cache_folder(model))
                 if (folder / _name(layer)).is_file()), None)


def _groups(model: SharedModel, layers: list[int]) -> Iterator[list[int]]:
    """Layers whose sums fit in memory together."""
    size = max(1, MEMORY // (4 * model.d_mlp**2))
    yield from (layers[i : i + size] for i in range(0, len(layers), size))


def _write(path: Path, C: Tensor) -> None:
    """Write under another name, then rename: a reader never sees half a file, and the last of two writers wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        save_file({"second_moment": C.contiguous()}, name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
