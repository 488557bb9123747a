"""Find flaws in a language model, change them by small weight edits, and show what changed.

Names are fetched on first use, so that `import auditor` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Accepted": "auditor.types",
    "Attempted": "auditor.types",
    "AuditorError": "auditor.errors",
    "Edit": "auditor.types",
    "EditRequest": "auditor.types",
    "Fitting": "auditor.types",
    "Rejected": "auditor.types",
    "Session": "auditor.types",
    "SharedModel": "auditor.model",
    "Traced": "auditor.types",
    "UserError": "auditor.errors",
    "apply_factors": "auditor.export.factors",
    "boundary": "auditor.editor.boundary",
    "bulk": "auditor.editor.loop",
    "bundle": "auditor.export.bundle",
    "compare": "auditor.editor.look",
    "edit": "auditor.editor.loop",
    "load": "auditor.model",
    "look": "auditor.editor.look",
    "report": "auditor.export.report",
    "trace": "auditor.editor.trace",
    "validate": "auditor.editor.validate",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'auditor' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
