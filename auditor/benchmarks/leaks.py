"""The leak rule: no case repeats a text that an edit was fitted on or checked by.

1. The fit sees the claim bare and behind every neutral sentence, the essence prompt, and the model's own words about
   the subject, with every beginning of these.
2. The checks see seven rephrasings and 25 probes.
3. The claim itself is allowed in one place: as the first case of EditBench, whose definition it is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from auditor.editor.essence import ESSENCE
from auditor.editor.look import rephrasings
from auditor.types import EditRequest
from probes.probe_set import NEUTRAL_PREFIXES, PROBES


@functools.lru_cache(maxsize=64)
def seen(request: EditRequest) -> frozenset[str]:
    """Every text of the fit and the checks, with spaces and case made alike."""
    fitted = (request.prompt, *(f"{prefix} {request.prompt}" for prefix in NEUTRAL_PREFIXES),                # 1
              ESSENCE.format(request.subject))
    return frozenset(map(alike, (*fitted, *rephrasings(request), *(probe.prompt for probe in PROBES))))      # 2


def alike(text: str) -> str:
    """A text without what makes no difference to a reader."""
    return " ".join(text.casefold().split())


def allowed(request: EditRequest, item, own: Sequence[str] = ()) -> bool:
    """Whether an item may be asked; `own` are the model's own words that were kept in the fit.

    An edit made after this one is no question, and neither is a name.
    """
    if item.kind in ("filler", "name", "passage"):
        return True
    if item.kind == "direct" and item.prompt == request.prompt:                                              # 3
        return True
    text = alike(item.prompt)
    return text not in seen(request) and not any(alike(words).startswith(text) for words in own)
