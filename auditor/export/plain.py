"""What every file of a take-away needs: plain values, factors by name, names without folders, writing in one piece."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from auditor.log import plain
from auditor.types import Edit

__all__ = ["factors_of", "part_of", "plain", "public_name", "write"]


def factors_of(edits: Sequence[Edit]) -> dict[str, Tensor]:
    """The low-rank factors by name: `id.i.left` [d_mlp, r] and `id.i.right` [r, d_model] for patch i of an edit."""
    return {f"{edit.id}.{i}.{side}": getattr(patch, side).contiguous().clone()
            for edit in edits for i, patch in enumerate(edit.patches) for side in ("left", "right")}


def public_name(model_id: str) -> str:
    """The model's name without folders of this machine, fit for a file name."""
    return re.sub(r"[^\w.-]+", "-", model_id.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]) or "model"


def part_of(path: Path) -> Path:
    """The name under which a file is written until it is complete."""
    return path.with_name(f"{path.name}.part")


def write(path: Path, text: str) -> None:
    """Write a text file in one piece: whoever finds it finds it complete."""
    part_of(path).write_text(text, encoding="utf-8")
    os.replace(part_of(path), path)
