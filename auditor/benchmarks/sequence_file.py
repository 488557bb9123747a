"""A sequence on disk, so that a stopped or killed run goes on where it was.

1. `NAME.jsonl`: a first line that says which run this is, then one line per step.
2. `NAME.safetensors` beside it: the factors of all edits so far, replaced as a whole before the step's line is added.
   A run killed between the two has one edit too many there, which is overlooked; half a line is cut off.
3. Reading checks that the run is the same one, and that each edit has the id that its content hashes to.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from auditor.benchmarks.sequence import Known, SequenceStep, configured
from auditor.editor import find_method
from auditor.errors import SessionRejected
from auditor.model import SharedModel
from auditor.types import Edit, EditRequest, WeightDelta

FORMAT = "model-auditor sequence 1"
MEASURED = ("overlap", "own", "perplexity_ratio", "seconds", "retention", "held", "facts_kept", "facts", "entropy",
            "entropy_ratio")


class SequenceFile:
    """The files of one run; raises SessionRejected in plain words when they belong to another."""

    def __init__(self, path: str | Path, model: SharedModel, requests: Sequence[EditRequest], facts: Known = (), *,
                 method: str = "rome", preset: str = "default", protect: bool = True, **measures: Any):
        self.path, self.factors = Path(path), Path(path).with_suffix(".safetensors")
        config = dataclasses.asdict(configured(find_method(method), preset, protect=protect))
        asked = [[dataclasses.asdict(request) for request in requests], [list(fact) for fact in facts]]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        self._head = json.loads(json.dumps({
            "format": FORMAT, "fingerprint": model.fingerprint, "method": method, "preset": preset, "config": config,
            "edits": len(requests), "requests": digest, **measures}))
        self._written = 0

    def read(self) -> list[SequenceStep]:
        """The steps already done; none when there is no file. Half a last line is cut off the file."""
        if not self.path.is_file():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        lines = whole.splitlines()
        if not lines:
            return []
        try:
            head, *rows = map(json.loads, lines)
            tensors = load_file(self.factors) if rows else {}
            self._check(head)
            steps = self._steps(rows, tensors)
        except (AttributeError, KeyError, OSError, RecursionError, SafetensorError, TypeError, ValueError) as error:
            raise SessionRejected(f"“{self.path.name}” cannot be gone on with: it or the edits beside it are damaged "
                                  f"({type(error).__name__}). Choose another file or begin anew.") from None
        self._written = len(steps)
        return steps

    def write(self, steps: Sequence[SequenceStep]) -> None:
        """Add the steps that are not on disk yet: first the factors, then the lines."""
        part = self.factors.with_name(f"{self.factors.name}.part")
        save_file({name: tensor for step in steps for name, tensor in _factors(step.edit).items()}, part)
        os.replace(part, self.factors)
        new = [_row(step) for step in steps[self._written :]]
        with open(self.path, "ab" if self._written else "wb") as file:
            rows = new if self._written else [self._head, *new]
            file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
        self._written = len(steps)

    def _check(self, head: dict) -> None:
        if head.get("format") != FORMAT:
            raise SessionRejected(f"“{self.path.name}” is not the file of a sequence. Choose another name.")
        other = [name for name in self._head if head.get(name) != self._head[name]]
        if other:
            raise SessionRejected(f"“{self.path.name}” holds another run: {', '.join(other)} differ. Choose another "
                                  "file or begin anew.")

    def _steps(self, rows: Sequence[dict], tensors: dict[str, Tensor]) -> list[SequenceStep]:
        steps: list[SequenceStep] = []
        for number, row in enumerate(rows, start=1):
            patches = tuple(WeightDelta(layer, tensors[f"{row['id']}.{i}.left"], tensors[f"{row['id']}.{i}.right"])
                            for i, layer in enumerate(row["layers"]))
            edit = Edit(EditRequest(**row["request"]), self._head["method"], patches, self._head["fingerprint"],
                        self._head["config"], tuple(step.edit.id for step in steps), tuple(row["losses"]), row["notes"])
            if edit.id != row["id"] or number != row["step"]:
                raise SessionRejected(f"Edit {number} of “{self.path.name}” is not the one that was written. Choose "
                                      "another file or begin anew.")
            figures = {name: row[name] for name in MEASURED}
            steps.append(SequenceStep(number, edit, **{**figures, "retention": tuple(row["retention"])}))
        return steps


def _row(step: SequenceStep) -> dict[str, Any]:
    edit = step.edit
    return {"step": step.step, "id": edit.id, "layers": edit.layers, "request": dataclasses.asdict(edit.request),
            **{name: getattr(step, name) for name in MEASURED}, "losses": edit.losses, "notes": dict(edit.notes)}


def _factors(edit: Edit) -> dict[str, Tensor]:
    return {f"{edit.id}.{i}.{side}": getattr(patch, side).contiguous()
            for i, patch in enumerate(edit.patches) for side in ("left", "right")}
