"""Files for visitors: written where the page serves them without copying, and taken away again.

1. A folder of random name under the page's own upload folder; the name is what keeps it private.
2. A visitor has one take-away at a time. A new one takes the place of the old, and none is kept past KEEP seconds.
3. What a program that was killed has left is removed when the next one starts.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from auditor import gpu
from auditor.errors import SessionRejected
from auditor.export import session as session_file
from auditor.export.bundle import Bundle
from auditor.export.factors import FACTORS, LOG, RECORD, apply_factors
from auditor.export.plain import write
from auditor.export.report import report
from auditor.types import Session

KEEP = 6 * 3600
"""Seconds that a visitor's session and files are kept after their last change."""
LINGER = 900
"""Seconds that the files are kept after the page was closed: a download may still be waiting."""
PLACES = {".safetensors": FACTORS, ".json": RECORD, ".jsonl": LOG}
"""What the files of a bundle have to be called, by how their names end."""


def folder() -> Path:
    """A new folder under the page's own upload folder; its random name is what keeps it private."""
    path = Path(get_upload_folder()) / secrets.token_urlsafe(16)
    path.mkdir(parents=True)
    return path


@dataclass
class Kept:
    """One visitor's take-away: the folder, and once it is complete the bundle, for which changes, and since when."""

    folder: Path
    since: float
    bundle: Bundle | None = None
    changes: tuple[str, ...] = ()


@dataclass
class Shelf:
    """The take-aways of one page, by visitor, and the newest commit that each has seen of a repository."""

    kept: dict[str, Kept] = field(default_factory=dict)
    parents: dict[tuple[str, str], str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for old in Path(get_upload_folder()).glob("takeaway-*"):
            if not _alive(old.name.removeprefix("takeaway-")):
                shutil.rmtree(old, ignore_errors=True)

    def place(self, visitor: str | None) -> Path:
        """A new folder for a visitor's take-away, instead of the one before; folders that are past their time go."""
        with self._lock:
            now, name = time.time(), visitor or ""
            for other in [key for key, kept in self.kept.items() if key == name or now - kept.since > KEEP]:
                shutil.rmtree(self.kept.pop(other).folder, ignore_errors=True)
            parent = Path(get_upload_folder()) / f"takeaway-{os.getpid()}" / secrets.token_urlsafe(16)
            parent.mkdir(parents=True)
            self.kept[name] = Kept(parent, now)
            return parent

    def keep(self, visitor: str | None, bundle: Bundle, session: Session) -> None:
        """Remember what was built, and for which changes."""
        with self._lock:
            if (kept := self.kept.get(visitor or "")) and bundle.folder.parent == kept.folder:
                kept.bundle, kept.changes = bundle, changes(session)

    def of(self, visitor: str | None, session: Session) -> Bundle | None:
        """The visitor's bundle, if it is there and holds just the changes of this session."""
        kept = self.kept.get(visitor or "")
        fits = kept and kept.bundle and kept.changes == changes(session) and kept.bundle.folder.is_dir()
        return kept.bundle if fits else None

    def left(self, request: gr.Request) -> None:
        """A visitor has closed the page: the files make room soon, and what was seen of repositories is forgotten."""
        with self._lock:
            if kept := self.kept.get(request.session_hash or ""):
                kept.since = min(kept.since, time.time() - KEEP + LINGER)
            for key in [key for key in self.parents if key[0] == (request.session_hash or "")]:
                del self.parents[key]


def changes(session: Session) -> tuple[str, ...]:
    """The ids of a session's changes, in order."""
    return tuple(edit.id for edit in session.edits)


def _alive(pid: str) -> bool:
    """Whether a process of this number runs; a folder of another name is left alone."""
    if not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def save_session(session: Session) -> str:
    """Write the session as a file and return its path."""
    path = folder() / "session.safetensors"
    session_file.save(session, path)
    return str(path)


def load_session(paths: str | Sequence[str]) -> Session:
    """Read a session file, or the files of a bundle; raises SessionRejected when damaged, foreign or of other weights.

    A bundle's files are `edits.safetensors` with `edits.json`, and `audit_log.jsonl` where the log shall go on.
    """
    paths = [paths] if isinstance(paths, str) else list(paths)
    if len(paths) == 1 and not paths[0].endswith((".json", ".jsonl")):
        return session_file.load(paths[0], gpu.hosted())
    with tempfile.TemporaryDirectory() as place:
        for path in map(Path, paths):
            target = Path(place) / PLACES.get(path.suffix, path.name)
            if target.exists() or path.suffix not in PLACES:
                raise SessionRejected("Choose one session file, or edits.safetensors and edits.json of one bundle.")
            target.symlink_to(path.resolve())
        if not all((Path(place) / name).exists() for name in (FACTORS, RECORD)):
            raise SessionRejected("A bundle is loaded from two files: choose edits.safetensors with its edits.json.")
        return apply_factors(gpu.hosted(), place)


def write_report(session: Session, path: Path) -> Path:
    """Write the evidence of a session as JSON."""
    write(path, json.dumps(report(session, gpu.hosted()), indent=2, ensure_ascii=False))
    return path
