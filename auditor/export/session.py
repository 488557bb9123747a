"""A session as one file: safetensors with the words as JSON in its header. No pickle, so reading it runs no code.

1. `save` writes every accepted edit's factors as tensors `id.i.left`, `id.i.right`, and all else, the log included, as
   JSON.
2. `load` checks size, form, model, layer numbers, shapes, precision and finiteness, that each edit still has the id
   that its content hashes to, and that the log's chain is whole. Anything wrong raises SessionRejected with one plain
   sentence.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from auditor.benchmarks import Cases
from auditor.editor.loop import belongs
from auditor.errors import InvalidRequest, SessionRejected
from auditor.export.plain import factors_of, part_of, plain, public_name
from auditor.log import Log, Record, broken
from auditor.model import SharedModel
from auditor.types import BenchmarkScore, Case, Check, Edit, EditRequest, Entry, Session, ValidationReport, WeightDelta

FORMAT = "model-auditor session 1"
MAX_BYTES = 256 * 2**20
"""Largest accepted file. An edit of a 2.8B model is 51 KB; its evidence some hundred KB."""
MAX_EDITS = 5000
MAX_RECORDS = 50_000
MAX_RANK = 4096
"""Most columns of all factors of one edit together."""


def save(session: Session, path: str | Path) -> Path:
    """Write a session; the file appears only when it is complete."""
    path = Path(path)
    tensors = factors_of(session.edits)
    words = {"model": public_name(session.model_id), "fingerprint": session.fingerprint,
             "entries": [_entry_words(entry) for entry in session.entries],
             "log": [dataclasses.asdict(record) for record in session.log]}
    save_file(tensors or {"empty": torch.zeros(1)}, part_of(path),
              metadata={"format": FORMAT, "session": json.dumps(words, default=str)})
    os.replace(part_of(path), path)
    return path


def load(path: str | Path, model: SharedModel) -> Session:
    """Read a session for this model; raises SessionRejected in plain words when it must not be used."""
    path = Path(path)
    if not path.is_file():
        raise SessionRejected("There is no such file. Choose a session file that this program has saved.")
    if path.stat().st_size > MAX_BYTES:
        raise SessionRejected(f"This file has {path.stat().st_size / 2**20:.0f} MB; a session file has at most "
                              f"{MAX_BYTES // 2**20} MB, so this is something else.")
    with reading("session file"):
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        if header.get("format") != FORMAT:
            raise SessionRejected("This is not a session file of this program. Choose one that it has saved.")
        return session_from(json.loads(header["session"]), tensors_of(path), model)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Scope in which whatever is wrong with a file becomes SessionRejected with one plain sentence."""
    try:
        yield
    except (SafetensorError, OSError):
        raise SessionRejected(f"This file is not a {what}, or it was cut short. Save it again.") from None
    except InvalidRequest as error:
        raise SessionRejected(f"The {what} holds a request that is not valid: {error}") from None
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise SessionRejected(f"The {what} is damaged ({type(error).__name__}). Save it again.") from None


def tensors_of(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in memory of their own."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict


def session_from(words: dict, tensors: dict[str, Tensor], model: SharedModel) -> Session:
    """A session from its words and factors, all of it checked; to be called inside `reading`."""
    session = _session(words, tensors, model)
    belongs(session, model)
    return dataclasses.replace(session, model_id=model.id)


def _entry_words(entry: Entry) -> dict[str, Any]:
    edit = entry.edit
    return {"id": edit.id, "request": dataclasses.asdict(edit.request), "method": edit.method,
            "config": dict(edit.config), "fingerprint": edit.fingerprint, "fitted_on": edit.fitted_on,
            "losses": edit.losses, "notes": dict(edit.notes), "layers": edit.layers,
            "report": dataclasses.asdict(entry.report), "scores": [dataclasses.asdict(score) for score in entry.scores],
            "cases": plain(entry.cases)}


def _session(words: dict, tensors: dict[str, Tensor], model: SharedModel) -> Session:
    entries = [_entry(row, tensors, model) for row in _list(words["entries"], MAX_EDITS)]
    if len({entry.edit.id for entry in entries}) < len(entries):
        raise SessionRejected("The session file holds the same change twice. Save the session again.")
    fingerprint = _text(words["fingerprint"])
    if entries and not fingerprint:
        raise SessionRejected("The session file does not say which weights its changes were made for.")
    return Session(_text(words["model"]), fingerprint, tuple(entries), _log(words["log"]))


def _entry(row: dict, tensors: dict[str, Tensor], model: SharedModel) -> Entry:
    layers = _list(row["layers"], model.n_layers)
    if not layers:
        raise SessionRejected("The session file holds a change without any layer.")
    fingerprint = _text(row["fingerprint"])
    if fingerprint != model.fingerprint:  # before any shape, which would be a less helpful complaint
        belongs(Session("another model", fingerprint), model)
    patches = tuple(_patch(layer, tensors[f"{row['id']}.{i}.left"], tensors[f"{row['id']}.{i}.right"], model)
                    for i, layer in enumerate(layers))
    edit = Edit(EditRequest(**row["request"]), _text(row["method"]), patches, fingerprint, dict(row["config"]),
                tuple(map(_text, row["fitted_on"])), tuple(map(_number, row["losses"])),
                {_text(name): _number(value) for name, value in row["notes"].items()})
    if edit.id != row["id"]:
        raise SessionRejected("A change in the session file is not the one that was saved: its content was altered.")
    return Entry(edit, _report(row["report"], model), tuple(map(_score, row["scores"])), _cases(row["cases"]))


def _patch(layer: Any, left: Tensor, right: Tensor, model: SharedModel) -> WeightDelta:
    if type(layer) is not int or not 0 <= layer < model.n_layers:
        raise SessionRejected(f"The session file changes layer {str(layer)[:20]}, and this model has layers 0 to "
                              f"{model.n_layers - 1}.")
    if left.dtype != torch.float32 or right.dtype != torch.float32:
        raise SessionRejected("The session file holds numbers of another precision than this program writes.")
    rank = left.shape[-1] if left.dim() == 2 else 0
    if not 1 <= rank <= MAX_RANK or left.shape != (model.d_mlp, rank) or right.shape != (rank, model.d_model):
        raise SessionRejected(f"The session file holds a change of the wrong shape for this model at layer {layer}.")
    if not (bool(left.isfinite().all()) and bool(right.isfinite().all())):
        raise SessionRejected(f"The session file holds a change at layer {layer} that is not made of ordinary numbers.")
    return WeightDelta(layer, left, right)


def _report(row: dict, model: SharedModel) -> ValidationReport:
    layer = row["layer"]
    if type(layer) is not int or not 0 <= layer < model.n_layers:
        raise ValueError("layer")
    return ValidationReport(layer, tuple(map(_check, _list(row["checks"], 100))))


def _check(row: dict) -> Check:
    return Check(_text(row["name"]), _number(row["value"]), _number(row["threshold"]), _direction(row["direction"]),
                 _text(row["summary"]), tuple(dict(line) for line in row["detail"]))


def _score(row: dict) -> BenchmarkScore:
    low, high = (None, None) if row["interval"] is None else map(_number, row["interval"])
    fields = {**row, "name": _text(row["name"]), "dimension": _text(row["dimension"]), "reason": _text(row["reason"]),
              "n": int(_number(row["n"])), "cases": tuple(map(_case, row["cases"])), "detail": dict(row["detail"]),
              "interval": None if low is None else (low, high), "threshold": _number(row["threshold"]),
              "value": None if row["value"] is None else _number(row["value"])}
    return BenchmarkScore(**fields)


def _case(row: dict) -> Case:
    case = Case(**row)
    texts, figures = (case.prompt, case.expected, case.note), (case.before, case.after, case.score)
    return Case(*map(_text, texts[:2]), *map(_number, figures), _text(texts[2]))


def _cases(row: dict | None) -> dict | None:
    return None if row is None else Cases.from_dict(row).to_dict()


def _log(rows: list) -> Log:
    log = tuple(Record(_text(row["action"]), dict(row["facts"]), _text(row["time"]), _text(row["previous"]))
                for row in _list(rows, MAX_RECORDS))
    if place := broken(log):
        raise SessionRejected(f"Line {place} of the log in this session file does not continue the line before: the "
                              "log was altered.")
    return log


def _direction(value: Any) -> Any:
    if value not in ("at least", "at most"):
        raise ValueError("direction")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("number")
    return value


def _list(value: Any, most: int) -> list:
    if not isinstance(value, list) or len(value) > most:
        raise TypeError("list")
    return value
