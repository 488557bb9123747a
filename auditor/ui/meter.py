"""Bytes done of bytes in all, as a bar with the time that is left. The clock starts anew with each kind of work."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from auditor.ui import words

SURE = 1.0
"""Seconds of work after which its pace is worth telling."""


@dataclass
class Meter:
    """Remembers when a kind of work began, and how far it was then."""

    doing: str = ""
    _began: float = field(default_factory=time.monotonic)
    _first: int = 0

    def tell(self, doing: str, done: int, total: int) -> str:
        """The line for the page."""
        if doing != self.doing:
            self.doing, self._began, self._first = doing, time.monotonic(), done
        spent, moved = time.monotonic() - self._began, done - self._first
        left = spent / moved * (total - done) if moved > 0 and spent > SURE and done < total else None
        share = done / total if total else None
        text = f"{doing}: {size(done)} of {size(total)}" if total else f"{doing} …"
        return words.status(text, share=share, left=left)


def size(n: int) -> str:
    """A number of bytes as words."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= factor:
            return f"{n / factor:.{2 if unit == 'GB' else 1 if unit == 'MB' else 0}f}\u00a0{unit}"
    return f"{n}\u00a0bytes"
