"""Where files for visitors are written: a folder with an unguessable name, served without copying."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from gradio.utils import get_upload_folder

from auditor import gpu
from auditor.export import session as session_file
from auditor.export.plain import write
from auditor.export.report import report
from auditor.types import Session


def folder() -> Path:
    """A new folder under the page's own upload folder; its random name is what keeps it private."""
    path = Path(get_upload_folder()) / secrets.token_urlsafe(16)
    path.mkdir(parents=True)
    return path


def save_session(session: Session) -> str:
    """Write the session as a file and return its path."""
    path = folder() / "session.safetensors"
    session_file.save(session, path)
    return str(path)


def load_session(path: str) -> Session:
    """Read a session file; raises SessionRejected when it is damaged, foreign or made for other weights."""
    return session_file.load(path, gpu.hosted())


def write_report(session: Session, path: Path) -> Path:
    """Write the evidence of a session as JSON."""
    write(path, json.dumps(report(session, gpu.hosted()), indent=2, ensure_ascii=False))
    return path
