"""Write the edited model as one `.pt` file, under the base checkpoint's own key names, and its factors beside it.

1. The key names come from the checkpoint's file headers (`embed_out.weight` stays what it is called there).
2. Tensors are of one precision, the live one. Where the file has that precision too, they are memory-mapped from it;
   else they are the live model's own base tensors, by reference. Either way no second model is held in memory (on a GPU
   whose precision was overridden, a copy in main memory is made).
3. Each touched W_out is `model.merged(...)`, the same function as in live use: what was validated is what is written.
4. Room on the disk is checked first. The file is written under the name `….part` and renamed when it is complete.

The file holds tensors and nothing else: `torch.load(path, weights_only=True)` reads it, and
`GPTNeoXForCausalLM.from_pretrained(None, config=…, state_dict=…)` takes what was read.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from auditor.editor.loop import belongs
from auditor.errors import NotEnoughRoom, Stopped, UserError
from auditor.export.plain import factors_of, part_of, plain, public_name, write
from auditor.model import POCKET, SharedModel, weight_files
from auditor.types import Edit, Session, combined

W_OUT = "gpt_neox.layers.{layer}.mlp.dense_4h_to_h.weight"
HEADS = ("embed_out.weight", "lm_head.weight")
"""Two names of one tensor: transformers before and since 5.14."""
SPARE = 16 * 2**20
"""Bytes left free on the disk beyond the file itself."""
PULSE = 0.2
"""Seconds between two reports of progress."""


@dataclass(frozen=True)
class Exported:
    """Where an export lies: checkpoint, low-rank factors, record; and the checkpoint's size in bytes."""

    checkpoint: Path
    factors: Path
    record: Path
    size: int


class _Watched:
    """A binary file that counts what is written into it, hashes it beside the writing, and can be told to stop."""

    def __init__(self, file: Any, pool: Executor):
        self.file, self.done, self.stopped, self.sha256 = file, 0, threading.Event(), hashlib.sha256()
        self._pool = pool

    def write(self, data: Any) -> int:
        if self.stopped.is_set():
            raise Stopped("The export was stopped; nothing was left behind.")
        hashed = self._pool.submit(self.sha256.update, data)
        try:
            return self.file.write(data)
        finally:
            hashed.result()  # before the writer takes its memory back
            self.done += memoryview(data).nbytes

    def flush(self) -> None:
        self.file.flush()


def export(model: SharedModel, session: Session, folder: str | Path) -> Exported:
    """Write checkpoint, factors and record into `folder`; raises NotEnoughRoom, SessionRejected, UserError."""
    *_, exported = exporting(model, session, folder)
    return exported


def exporting(model: SharedModel, session: Session, folder: str | Path) -> Iterator[tuple[int, int] | Exported]:
    """The same with progress: yield (bytes written, bytes in all), at last Exported. Closing it leaves no part file."""
    if not session.edits:
        raise UserError("There is nothing to take away yet: accept a change first.")
    belongs(session, model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = state_dict(model, session.edits)
    size = sum(tensor.nbytes for tensor in tensors.values())
    check_room(folder, size)                                                                               # 4
    checkpoint = folder / f"{public_name(model.id)}-edited.pt"
    for done in saving(tensors, checkpoint):
        yield min(done, size), size
    factors, record = folder / "edits.safetensors", folder / "edits.json"
    save_factors(session.edits, factors)
    write(record, json.dumps(describe(model, session), indent=2, ensure_ascii=False))
    yield Exported(checkpoint, factors, record, checkpoint.stat().st_size)


def state_dict(model: SharedModel, edits: Sequence[Edit]) -> dict[str, Tensor]:
    """The edited weights under the base checkpoint's key names, in the live precision, on the CPU."""
    live, names = _live(model), []
    tensors: dict[str, Tensor] = {}
    for path in weight_files(model.folder):
        found = _mapped(path)
        names += [name for name in found if _alias(name, live) in live]                                    # 1
        tensors.update(found)
    same = all(tensors[name].dtype == model.dtype for name in names)
    state = {name: tensors[name] if same else live[_alias(name, live)] for name in sorted(names)}          # 2
    for layer, delta in combined(tuple(edits)).items():                                                    # 3
        base = live[W_OUT.format(layer=layer)]
        state[W_OUT.format(layer=layer)] = model.merged(layer, delta, base=base)
    return {name: tensor.detach().to("cpu", model.dtype) for name, tensor in state.items()}


def _live(model: SharedModel) -> dict[str, Tensor]:
    """The live base tensors by plain name; taken while no edits are applied, and never written by anybody."""
    with model.applied():
        return {name.replace("._original_component", ""): tensor for name, tensor in model.hf.state_dict().items()}


def _alias(name: str, live: dict[str, Tensor]) -> str:
    """The live model's name of a tensor: only the head has two."""
    return next((head for head in HEADS if head in live), name) if name in HEADS else name


def _mapped(path: Path) -> dict[str, Tensor]:
    """All tensors of a weight file, memory-mapped; each has a storage of its own extent."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return torch.load(path, mmap=True, weights_only=True)


def check_room(folder: Path, size: int) -> None:
    """Raise NotEnoughRoom where the disk cannot hold `size` bytes more."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise NotEnoughRoom(f"The files need {size / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB left. "
                            "Delete older exports or choose another folder.")


def saving(tensors: Mapping[str, Tensor], path: Path, dump: Callable = torch.save) -> Generator[int, None, str]:
    """Write beside the final name in a thread, yield bytes written so far, then rename; returns the file's SHA-256."""
    part = part_of(path)
    try:
        with open(part, "wb") as file, ThreadPoolExecutor(2) as pool:
            watched = _Watched(file, pool)
            try:
                writing = pool.submit(dump, tensors, watched)
                while not wait([writing], PULSE).done:
                    yield watched.done
                writing.result()
            finally:
                watched.stopped.set()
        os.replace(part, path)
        yield watched.done
        return watched.sha256.hexdigest()
    finally:
        part.unlink(missing_ok=True)


def save_factors(edits: Sequence[Edit], path: Path) -> None:
    """Write the low-rank factors: keys `id.i.left` [d_mlp, r] and `id.i.right` [r, d_model], fp32."""
    save_file(factors_of(edits), part_of(path), metadata={"format": "pt"})
    os.replace(part_of(path), path)


def describe(model: SharedModel, session: Session) -> dict:
    """What `edits.json` says: base, versions, every edit with its request, method, layers, checks and scores."""
    return plain({
        "format": "model-auditor edits 1", "model": public_name(model.id), "base": base_of(model),
        "fingerprint": model.fingerprint, "precision": str(model.dtype).removeprefix("torch."),
        "device": model.device.type, "log_head": session.head,
        "versions": versions(),
        "norms": session.norms(),
        "edits": [{
            "id": e.edit.id, "request": e.edit.request, "method": e.edit.method, "config": e.edit.config,
            "layers": e.edit.layers, "fitted_on": e.edit.fitted_on, "norms": [patch.norm for patch in e.edit.patches],
            "losses": e.edit.losses, "notes": e.edit.notes, "scores": e.scores, "cases": e.cases,
            "checks": [{**plain(check), "passed": check.passed} for check in e.report.checks],
        } for e in session.entries],
        "how_to_load": [
            "config = AutoConfig.from_pretrained(BASE)  # the model that was edited",
            "state = torch.load(FILE, weights_only=True)",
            f"GPTNeoXForCausalLM.from_pretrained(None, config=config, state_dict=state, dtype={model.dtype})"],
    })


def versions() -> dict[str, str]:
    """Versions of the libraries that the figures come from."""
    return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "safetensors")}


def base_of(model: SharedModel) -> dict[str, str]:
    """Where others find the base: `pocket`, or a Hub id with its commit; a folder of this machine has a name only."""
    cached = f"models--{model.id.replace('/', '--')}"
    if model.folder.parent.name == "snapshots" and model.folder.parent.parent.name == cached:
        return {"kind": "hub", "id": model.id, "revision": model.folder.name}
    if model.folder.resolve() == POCKET.resolve():
        return {"kind": "pocket", "id": "pocket"}
    return {"kind": "folder", "id": public_name(model.id)}
