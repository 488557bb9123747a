"""Changes by themselves: apply somebody else's `edits.safetensors` and `edits.json` to the base and get the same bits.

1. `edits.json` says what was asked for, how it was made and on which weights; `edits.safetensors` holds the factors.
2. Sizes, shapes, precision and finiteness are checked, and each change must have the id that its content hashes to.
3. Changes made for other weights than the model's are refused. No pickle is involved, so nothing is run.

    session = apply_factors(auditor.load("EleutherAI/pythia-2.8b"), "folder")
    with model.applied(session.edits): ...
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from auditor.errors import SessionRejected
from auditor.export.session import MAX_BYTES, reading, session_from, tensors_of
from auditor.log import Log, Record, canonical
from auditor.model import SharedModel
from auditor.types import Session

FORMAT = "model-auditor edits 1"
FACTORS, RECORD, LOG = "edits.safetensors", "edits.json", "audit_log.jsonl"


def apply_factors(model: SharedModel, folder: str | Path) -> Session:
    """The session of a bundle, or of a folder with the two files; raises SessionRejected in one plain sentence."""
    folder = Path(folder)
    with reading("edits.json or edits.safetensors"):
        record = read_record(folder)
        log = read_log(folder / LOG) if (folder / LOG).is_file() else []
        rows = [{**row, "fingerprint": record["fingerprint"],
                 "losses": [_figure(loss) for loss in row["losses"]],
                 "notes": {name: _figure(value) for name, value in row["notes"].items()},
                 "report": {"layer": row["layers"][-1], "checks": row["checks"]}} for row in record["edits"]]
        words = {"model": record["model"], "fingerprint": record["fingerprint"], "entries": rows, "log": log}
        return session_from(words, tensors_of(small(folder / FACTORS)), model)


def read_record(folder: Path) -> dict[str, Any]:
    """What `edits.json` says; raises SessionRejected where it is none of this program."""
    record = read_json(small(folder / RECORD))
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise SessionRejected("edits.json is not a record of changes that this program has written.")
    return record


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of `audit_log.jsonl` as plain values."""
    return [json.loads(line) for line in small(path).read_text(encoding="utf-8").splitlines()]


def write_log(log: Log) -> str:
    """The log as text: each line is the bytes that its hash is taken of, and names the hash of the line before."""
    return "".join(f"{_line(record)}\n" for record in log)


def _line(record: Record) -> str:
    return canonical({"action": record.action, "facts": record.facts, "time": record.time,
                      "previous": record.previous}).decode()


def read_json(path: Path) -> Any:
    """A JSON file of moderate size; raises what `reading` turns into a sentence."""
    return json.loads(small(path).read_text(encoding="utf-8"))


def small(path: Path) -> Path:
    """The path, if it is a file of at most MAX_BYTES; else SessionRejected."""
    if not path.is_file():
        raise SessionRejected(f"{path.name} is missing.")
    if path.stat().st_size > MAX_BYTES:
        raise SessionRejected(f"{path.name} has more than {MAX_BYTES // 2**20} MB, so it is something else.")
    return path


def _figure(value: float | None) -> float:
    """A figure as it was before JSON, which has no NaN."""
    return math.nan if value is None else value
