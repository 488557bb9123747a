"""Whether a bundle's weights are the base's, but for the stated tensors, which are the base plus the stated factors.

1. What must be there is worked out anew from base and factors by the same function that wrote it.
2. The tensors of the safetensors shards and of the `.pt` are compared with that, bit for bit, mapped from the disk.
3. Where the bundle was made on another kind of processor, sums of several factors may round differently: then the last
   binary digit is allowed to differ in the stated tensors, and the finding says so.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from auditor.errors import SessionRejected, UserError
from auditor.export.bundle import TORCH
from auditor.export.checkpoint import W_OUT, state_dict
from auditor.export.factors import read_json
from auditor.export.inspection import Finding, findings, plain_name
from auditor.export.session import reading
from auditor.export.tensor_file import INDEX, SINGLE
from auditor.model import SharedModel
from auditor.types import Session

SHOWN = 6
"""Differing tensors that are named one by one."""
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def weighed(folder: Path, base: SharedModel, session: Session, *, made_on: str) -> Iterator[Finding]:
    """Findings on both forms of the weights; `made_on` is the kind of device that the bundle names."""
    expected = state_dict(base, session.edits)
    stated = {W_OUT.format(layer=layer) for layer in session.norms()}
    slack = 0 if made_on == base.device.type else 1
    for name, read in (("safetensors", shards), (TORCH, torch_file)):
        try:
            found = read(folder)
        except UserError as error:
            yield Finding(name, False, str(error))
            continue
        wrong, loose = _compare(found, expected, stated, slack)
        said = (f"{name}: all {len(expected)} tensors are the base's, bit for bit, but for the {len(stated)} stated; "
                f"{'that is' if len(stated) == 1 else 'those are'} the base plus the stated factors, ")
        said += "bit for bit." if not loose else (
            f"to within the last binary digit. The bundle was made on another kind of processor ({made_on[:20]}), "
            "where sums round differently; there the bits can be compared.")
        yield from findings(name, (f"{name}: {sentence}" for sentence in wrong), said)


def shards(folder: Path) -> dict[str, Tensor]:
    """All tensors of the folder's safetensors files, mapped; raises UserError in one sentence."""
    if not (folder / INDEX).exists():
        return _mapped(folder, SINGLE)
    if (folder / SINGLE).exists():
        raise SessionRejected(f"There is both “{SINGLE}” and an index of several files: one of them does not belong.")
    with reading(INDEX):
        where = dict(read_json(folder / INDEX)["weight_map"])
        for name in where.values():
            if not plain_name(name):
                raise SessionRejected(f"“{INDEX}” points to “{str(name)[:80]}”, which is not a plain file name; it was "
                                      "not opened.")
    found: dict[str, Tensor] = {}
    for name in sorted(set(where.values())):
        part = _mapped(folder, name)
        if set(part) != {tensor for tensor, file in where.items() if file == name}:
            raise SessionRejected(f"“{INDEX}” and “{name}” do not name the same tensors.")
        found |= part
    return found


def _mapped(folder: Path, name: str) -> dict[str, Tensor]:
    try:
        with safe_open(folder / name, framework="pt") as file:
            return {each: file.get_tensor(each) for each in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError):
        raise SessionRejected(f"“{name}” cannot be read: it is missing, cut short or damaged.") from None


def torch_file(folder: Path) -> dict[str, Tensor]:
    """All tensors of the `.pt`, mapped; anything in it that is not a tensor is refused and never run."""
    try:
        found = torch.load(folder / TORCH, mmap=True, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        raise SessionRejected(f"“{TORCH}” holds something other than tensors, so it was not opened.") from None
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError):
        raise SessionRejected(f"“{TORCH}” cannot be read: it is missing, cut short or damaged.") from None
    if type(found) is not dict or not all(type(each) is Tensor for each in found.values()):
        raise SessionRejected(f"“{TORCH}” is not a plain table of tensors.")
    return found


def _compare(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], stated: set[str],
             slack: int) -> tuple[list[str], bool]:
    """What differs, in sentences; and whether the slack was needed."""
    wrong = [f"“{name}” is missing." for name in expected if name not in found]
    wrong += [f"“{str(name)[:120]}” is no tensor of the base." for name in found if name not in expected]
    loose = False
    for name in expected.keys() & found.keys():
        apart = _apart(found[name], expected[name])
        if apart and apart <= slack and name in stated:
            loose = True
        elif apart and name in stated:
            wrong.append(f"“{name}” is not the base plus the stated factors.")
        elif apart:
            wrong.append(f"“{name}” is not the base's, and no change of it is stated.")
    more = len(wrong) - SHOWN
    return (sorted(wrong)[:SHOWN] + ([f"{more} more tensors differ."] if more > 0 else [])), loose


def _apart(a: Tensor, b: Tensor) -> float:
    """By how many steps of the precision two tensors differ at most; infinity for another shape or precision."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    bits: Callable[[Tensor], Tensor] = lambda x: x.contiguous().view(BITS[x.element_size()])
    if torch.equal(bits(a), bits(b)):
        return 0.0
    return float((bits(a).long() - bits(b).long()).abs().max())
