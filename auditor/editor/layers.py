"""Which layers may take an edit, and in which order they are tried.

1. A model has a band. Without measurement: Pythia 2.8B's layers 4 to 22 of 32 (from the published edits at layer 5
   to the end of the middle third), and the same fractions of another depth.
2. A stored calibration (`python -m auditor.calibrate`: success of real edits per layer) replaces band and order,
   because tracing does not predict where edits succeed (Hase, Bansal, Kim, Ghandeharioun 2023).
3. Otherwise the trace's recovery at the subject's last token orders the band.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from auditor.model import SharedModel
from auditor.types import TraceResult

FRACTIONS = (4 / 32, 22 / 32)
"""First and last layer of the band as shares of the depth."""
LEAST = 3
TRIED = 3
"""Layers tried at most before a hypothesis is declared failed."""
CALIBRATION = "calibration.json"
SCORES = ("efficacy", "paraphrase", "preserved")


def cache_folder(model: SharedModel) -> Path:
    """Where measurements on this model's weights are kept: MODEL_AUDITOR_CACHE or ~/.cache/model-auditor."""
    root = os.environ.get("MODEL_AUDITOR_CACHE") or "~/.cache/model-auditor"
    return Path(root).expanduser() / model.fingerprint


def calibration(model: SharedModel) -> Mapping[str, Any] | None:
    """Stored success per layer, `{"fingerprint", "layers": {"0": {"efficacy", "paraphrase", "preserved", "n"}}}`.

    None where there is none. One's own measurement in the cache folder goes before the one that ships in the model's
    folder; one of other weights is passed over.
    """
    for folder in (cache_folder(model), model.folder):
        if (folder / CALIBRATION).is_file():
            found = json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))
            if found.get("fingerprint") == model.fingerprint:
                return found
    return None


def score(row: Mapping[str, float]) -> float:
    """Harmonic mean of efficacy, paraphrase preference and share of preserved facts."""
    values = [row[name] for name in SCORES]
    return len(values) / sum(1 / value for value in values) if all(value > 0 for value in values) else 0.0


def band(model: SharedModel) -> range:
    """Layers that may take an edit."""
    measured = calibration(model)
    if measured:
        layers = [int(layer) for layer in measured["layers"]]
        return range(min(layers), max(layers) + 1)
    first, last = (round(share * model.n_layers) for share in FRACTIONS)
    last = min(max(last, first + LEAST - 1), model.n_layers - 1)
    return range(max(0, min(first, last - LEAST + 1)), last + 1)


def likely(model: SharedModel) -> tuple[int, ...]:
    """Layers that an edit is going to need: the best measured ones, or the whole band while nothing was measured."""
    measured = calibration(model)
    return _by_score(measured)[:TRIED] if measured else tuple(band(model))


def _by_score(measured: Mapping[str, Any]) -> tuple[int, ...]:
    rows = {int(layer): row for layer, row in measured["layers"].items()}
    return tuple(sorted(rows, key=lambda layer: -score(rows[layer])))


def candidates(model: SharedModel, trace: TraceResult, *, tried: Collection[int] = (),
               count: int = TRIED) -> tuple[int, ...]:
    """Layers to try, best first, at most `count`, without those already tried."""
    measured = calibration(model)
    order = _by_score(measured) if measured else trace.ranked(band(model))
    return tuple(layer for layer in order if layer not in tried)[:count]
