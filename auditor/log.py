"""The audit log: what was done in a session, line by line, each line chained to the one before by its hash.

1. A record is what happened, with its facts and its time; its hash covers all of that and the hash before it.
2. Hashes are SHA-256 over canonical JSON: sorted keys, no spaces, UTF-8, no NaN.
3. The hash of the last record, the head, stands for the whole log: change, drop or reorder any line and the chain
   breaks there, or its head is another one.

A chain shows that a log was altered only to someone who knows its head from elsewhere; hence the head is printed
wherever the log is not.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


def plain(value: Any) -> Any:
    """A value as JSON types: dataclasses become objects, tuples lists, tensors nested lists, NaN and infinity null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def canonical(value: Any) -> bytes:
    """The one way to write a plain value as bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Record:
    """One line of the log; `facts` holds JSON types only."""

    action: str
    facts: Mapping[str, Any]
    time: str
    """UTC, to the second, ISO 8601."""
    previous: str = ""
    """Hash of the line before; empty in the first."""

    @property
    def hash(self) -> str:
        return hashlib.sha256(canonical(dataclasses.asdict(self))).hexdigest()


Log = tuple[Record, ...]


def noted(log: Log, action: str, facts: Any) -> Log:
    """The log with one more record, made now."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return (*log, Record(action, plain(facts), now, head(log)))


def head(log: Sequence[Record]) -> str:
    """Hash of the last record; empty for an empty log."""
    return log[-1].hash if log else ""


def broken(log: Sequence[Record]) -> int | None:
    """Place, from 1, of the first record that does not continue the one before; None for a whole chain."""
    expected = ""
    for place, record in enumerate(log, 1):
        if record.previous != expected:
            return place
        expected = record.hash
    return None
