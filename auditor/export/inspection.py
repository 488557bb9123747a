"""What can be checked of a bundle without any model: its files, its signature, and its log. One Finding per question.

1. `files`: every file is the one that the manifest names, by size and SHA-256; none is missing, none is there besides.
   Names are plain, so that nothing outside the folder is ever opened.
2. `signed`: the signature is of this manifest, by the key that was asked for where one was.
3. `logged`: each line of the log is canonical and names the hash of the line before; its head is the one that the
   manifest, the record, the report, the card and the page name; and it accounts for the changes and their figures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.errors import SessionRejected, UserError
from auditor.export.bundle import CARD, CONFIG, FORMAT, MANIFEST, PAGE, REPORT, SIGNATURE, SUITE, TORCH
from auditor.export.factors import FACTORS, LOG, RECORD, read_json, read_record, small
from auditor.export.session import reading
from auditor.log import canonical

NEEDED = (TORCH, CONFIG, CARD, PAGE, REPORT, SUITE, FACTORS, RECORD, LOG)
BESIDE = (MANIFEST, SIGNATURE, ".gitattributes", ".git", ".cache", ".huggingface")
"""What may lie in the folder without being in the manifest."""


@dataclass(frozen=True)
class Finding:
    """One question with its answer: True as stated, False it differs, None it could not be checked."""

    name: str
    ok: bool | None
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """All findings on one bundle."""

    findings: tuple[Finding, ...]

    @property
    def verified(self) -> bool:
        return bool(self.findings) and all(finding.ok for finding in self.findings)

    @property
    def status(self) -> int:
        """0 verified, 1 something differs, 2 something could not be checked."""
        return 0 if self.verified else 1 if any(finding.ok is False for finding in self.findings) else 2


def plain_name(name: Any) -> bool:
    """Whether this names a file of the folder itself and nothing else."""
    return isinstance(name, str) and name == Path(name).name and not set(name) & set("/\\:\0") and name[:1] not in ".~"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest; raises SessionRejected where there is none of this program."""
    with reading("manifest.json"):
        found = read_json(folder / MANIFEST)
        whole = isinstance(found, dict) and found.get("format") == FORMAT and isinstance(found.get("files"), dict)
        if not whole or not all(isinstance(found.get(key), str) for key in ("log_head", "fingerprint", "writer")):
            raise SessionRejected("manifest.json is not the manifest of a bundle of this program.")
        return found


def files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Every file against the manifest."""
    wrong, listed = [], manifest["files"]
    for name, stated in listed.items():
        if not plain_name(name):
            wrong.append(f"The manifest names “{str(name)[:80]}”, which is not a plain file name; it was not opened.")
        elif said := _differs(folder / name, stated):
            wrong.append(said)
    wrong += [f"“{name}” is not in the manifest, so nothing vouches for it." for name in NEEDED if name not in listed]
    wrong += [f"“{path.name}” lies in the folder and is not in the manifest; nothing vouches for it."
              for path in sorted(folder.iterdir()) if path.name not in listed and path.name not in BESIDE]
    yield from findings("files", wrong, f"All {len(listed)} files are those that the manifest names, by size and hash.")


def strays(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether loading the folder might read what nothing vouches for, or miss a file."""
    listed = manifest["files"]
    return (not all(plain_name(name) and (folder / name).is_file() for name in listed)
            or any(path.name not in listed and path.name not in BESIDE for path in folder.iterdir()))


def findings(name: str, wrong: Iterable[str], right: str) -> Iterator[Finding]:
    """One finding for each sentence of what is wrong; or one that all is well."""
    wrong = list(wrong)
    yield from (Finding(name, False, said) for said in wrong) if wrong else [Finding(name, True, right)]


def _differs(path: Path, stated: Any) -> str:
    if not path.is_file():
        return f"“{path.name}” is missing."
    size = path.stat().st_size
    stated = stated if isinstance(stated, Mapping) else {}
    if size != stated.get("bytes"):
        how = "cut short" if isinstance(stated.get("bytes"), int) and size < stated["bytes"] else "changed"
        return f"“{path.name}” has {size} bytes and the manifest says {stated.get('bytes')}: it was {how}."
    with open(path, "rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == stated.get("sha256")
    return "" if same else f"“{path.name}” is not the file that the manifest names: its content was changed."


def signed(folder: Path, key: str | Path | None = None) -> Iterator[Finding]:
    """The signature, if there is one; `key` is the public key file that it must be by."""
    from auditor.export import signature

    path, wanted = folder / SIGNATURE, signature.public_key(key) if key else None
    if not path.is_file():
        yield Finding("signature", wanted is None, "The bundle carries no signature"
                      + (", and one by the given key was asked for." if wanted else "; none was asked for."))
        return
    try:
        with reading(SIGNATURE):
            found = signature.check((folder / MANIFEST).read_bytes(), small(path).read_text(encoding="utf-8"))
    except UserError as error:
        yield Finding("signature", False, str(error))
        return
    name = signature.fingerprint(found)
    if wanted and signature.fingerprint(wanted) != name:
        yield Finding("signature", False, f"The manifest is signed by another key ({name}) than the one given.")
        return
    yield Finding("signature", True, f"The manifest is signed by the key {name}"
                  + (", the one given." if wanted else "; whose key that is, its owner must tell you."))


def logged(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """The log's chain, its head wherever it is named, and what it says of the changes."""
    try:
        with reading(LOG):
            lines = _lines(folder)
            broken, head = _chain(lines)
    except SessionRejected as error:
        yield Finding("log", False, str(error))
        return
    if broken:
        yield Finding("log", False, broken)
        return
    yield Finding("log", True, f"The log has {len(lines)} lines and its chain is whole; its head is {head or 'empty'}.")
    yield from findings("head", _heads(folder, manifest, head), "The card, the report, its page, the record of changes "
                                                                "and the manifest all name this head.")
    try:
        with reading("log or record"):
            wrong = list(_unaccounted([json.loads(line) for line in lines], read_record(folder)))
    except SessionRejected as error:
        wrong = [str(error)]
    yield from findings("account", wrong, "The log accounts for every change, its checks and its benchmark figures.")


def _lines(folder: Path) -> list[bytes]:
    data = small(folder / LOG).read_bytes()
    if data and not data.endswith(b"\n"):
        raise SessionRejected("The last line of the log was cut short.")
    return data.split(b"\n")[:-1]


def _chain(lines: list[bytes]) -> tuple[str, str]:
    """What is wrong with the chain, if anything, and its head."""
    head = ""
    for place, line in enumerate(lines, 1):
        value = json.loads(line)
        if set(value) != {"action", "facts", "time", "previous"} or canonical(value) != line:
            return f"Line {place} of the log is not written as the program writes it: it was altered.", ""
        if value["previous"] != head:
            return (f"Line {place} of the log does not continue the line before: line {max(place - 1, 1)} was altered, "
                    "or lines were dropped or moved."), ""
        head = hashlib.sha256(line).hexdigest()
    return "", head


def _heads(folder: Path, manifest: Mapping[str, Any], head: str) -> Iterator[str]:
    if manifest["log_head"] != head:
        yield f"The manifest names another head of the log: {manifest['log_head']}."
    for name, key in ((RECORD, "log_head"), (REPORT, "log_head")):
        try:
            with reading(name):
                if read_json(folder / name)[key] != head:
                    yield f"“{name}” names another head of the log."
        except SessionRejected as error:
            yield str(error)
    for name in (CARD, PAGE):
        path = folder / name
        if not path.is_file() or head.encode() not in path.read_bytes():
            yield f"“{name}” does not name the head of the log."


def _unaccounted(log: list[dict[str, Any]], record: Mapping[str, Any]) -> Iterator[str]:
    """Changes, checks and scores on which log and record disagree."""
    live: dict[str, dict[str, Any]] = {}
    scores: dict[str, dict[str, Any]] = {}
    for line in log:
        action, facts = line["action"], line["facts"]
        if action == "accepted":
            live[facts["id"]] = facts
        elif action == "scored":
            scores[facts["id"]] = facts["scores"]
        elif action in ("undone", "restored"):
            for each in facts.get("ids", [facts.get("id")]):
                live.pop(each, None)
    stated = {row["id"]: row for row in record["edits"]}
    yield from (f"The log does not say that change {each} was accepted." for each in stated if each not in live)
    yield from (f"The log says that change {each} was accepted, and it is not there." for each in live
                if each not in stated)
    for each in stated.keys() & live.keys():
        row = stated[each]
        same = {check["name"]: check["value"] for check in row["checks"]} == live[each]["checks"]
        if not same or row["request"] != live[each]["request"]:
            yield f"The log gives another request or other check figures for change {each} than “{RECORD}”."
        if {score["name"]: score["value"] for score in row["scores"]} != scores.get(each, {}):
            yield f"The log gives other benchmark figures for change {each} than “{RECORD}”."
