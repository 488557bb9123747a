"""Is this bundle what it says it is? `python -m auditor.verify FOLDER_OR_REPO [--base MODEL]`

1. Files against the manifest, the signature, the log and its head (no model needed).
2. The base: the pocket model, a Hub id at its commit, or `--base`; its fingerprint must be the one in `edits.json`.
3. The changes: each has the id that its content hashes to, and fits the base.
4. The weights: the base's, but for the stated tensors, which are the base plus the stated factors, bit for bit.
5. Configuration, tokenizer, report, card and page: the base's own, or what follows from the record.
6. The folder is loaded as it stands, and every line of the regression suite is asked again.

Each finding is one sentence. The exit status is 0 for verified, 1 where something differs, 2 where something could not
be checked. A bundle that was made up as a whole, log and all, is told from a true one only by the head of its log or by
its signature: compare them with what you know from elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils.logging import disable_progress_bar

from auditor.errors import AuditorError, ModelUnavailable, SessionRejected, UserError
from auditor.export import bundle as bundles
from auditor.export import phrases
from auditor.export.factors import RECORD, apply_factors, read_json, read_record, small
from auditor.export.inspection import Finding, Verdict, files, findings, logged, read_manifest, signed, strays
from auditor.export.plain import public_name
from auditor.export.report import report
from auditor.export.session import reading
from auditor.export.suite import questions, rerun
from auditor.export.weights import shards, weighed
from auditor.log import plain
from auditor.model import SharedModel, boot, load
from auditor.types import Session

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
SHOWN = 5
"""Lines of the suite that are named one by one."""
MARKS = {True: "✔", False: "✖", None: "◐"}


def verify(folder: str | Path, base: SharedModel | None = None, *, key: str | Path | None = None) -> Verdict:
    """Check a bundle; the base is found by its id where it is not given. `key`: public key file of its signer."""
    return Verdict(tuple(checking(folder, base, key=key)))


def checking(folder: str | Path, base: SharedModel | None = None, *,
             key: str | Path | None = None) -> Iterator[Finding]:
    """Yield each finding as it is made."""
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        yield Finding("manifest", False, str(error))
        return
    yield from files(folder, manifest)                                                                      # 1
    yield from signed(folder, key)
    yield from logged(folder, manifest)
    try:
        record = read_record_of(folder)
        base = base or find_base(record)                                                                    # 2
    except ModelUnavailable as error:
        yield Finding("base", None, f"The base could not be had, so the weights were not checked: {error}")
        return
    except UserError as error:
        yield Finding("changes", False, str(error))
        return
    if base.fingerprint != record["fingerprint"]:
        yield Finding("base", False, f"“{public_name(base.id)}” (weights {base.fingerprint}) is not the base of this "
                                     f"bundle: that is “{record['model']}” (weights {record['fingerprint']}) in "
                                     f"{record['precision']}.")
        return
    yield Finding("base", True, f"The base is “{base.id}”, weights {base.fingerprint}.")
    try:
        session = apply_factors(base, folder)                                                               # 3
    except SessionRejected as error:
        yield Finding("changes", False, str(error))
        return
    yield Finding("changes", True, f"The {len(session.edits)} changes have the ids that their content hashes to.")
    yield from weighed(folder, base, session, made_on=record["device"])                                     # 4
    foreign = list(_unlike(folder, base, manifest))                                                         # 5
    yield from findings("configuration", foreign, "Configuration and tokenizer are the base's own.")
    yield from worded(folder, base, session, manifest)
    yield from asked(folder, base, session, record, manifest, safe=not foreign)                             # 6


def read_record_of(folder: Path) -> dict[str, Any]:
    """`edits.json`, with the fields that are read before anything else; raises SessionRejected."""
    with reading(RECORD):
        record = read_record(folder)
        texts = [record["fingerprint"], record["precision"], record["model"], record["device"], record["base"]["id"],
                 record["base"]["kind"], record["base"].get("revision", "")]
        if not all(isinstance(text, str) for text in texts) or record["precision"] not in bundles.PRECISIONS:
            raise SessionRejected(f"“{RECORD}” does not say for which weights it was made.")
        return record


def find_base(record: Mapping[str, Any], given: str | None = None) -> SharedModel:
    """Load the base that a record names, or the given one, in the record's precision; raises ModelUnavailable."""
    named = record["base"]
    device = record["device"] if record["device"] == "cuda" and torch.cuda.is_available() else "cpu"
    options = {"device": device, "dtype": record["precision"]}
    if given:
        return load(given, **options)
    if named["kind"] == "pocket":
        return load("pocket", **options)
    if named["kind"] == "hub" and HUB_ID.fullmatch(named["id"]) and not Path(named["id"]).exists():
        return load(named["id"], revision=named.get("revision"), **options)
    raise ModelUnavailable(f"it was loaded from a folder called “{named['id'][:120]}”. Give it with --base.")


def worded(folder: Path, base: SharedModel, session: Session, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether report, card and page follow from the record."""
    if manifest["writer"] != bundles.writer():
        yield Finding("words", True, "Report and card were written by another version of this program: they are those "
                                     "of the manifest, and were not written anew to compare them.")
        return
    try:
        with reading(bundles.REPORT):
            wrong = list(_otherwise(folder, base, session))
    except SessionRejected as error:
        wrong = [str(error)]
    yield from findings("words", wrong, "Report, card and page say what follows from the record, word for word.")


def _unlike(folder: Path, base: SharedModel, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Files that are not the base's; the base may have been fetched without some that the bundle has."""
    ours = bundles.copies(base)
    for name in (name for name in ours if name in manifest["files"] or name == bundles.CONFIG):
        path = folder / name
        if not path.is_file() or path.stat().st_size != len(ours[name]) or path.read_bytes() != ours[name]:
            yield f"“{name}” is not what follows from the base's own file."
    yield from (f"“{name}” comes from elsewhere: the base has no such file." for name in bundles.COPIED
                if name in manifest["files"] and name not in ours and name.endswith((".json", ".txt")))


def _otherwise(folder: Path, base: SharedModel, session: Session) -> Iterator[str]:
    """What report, card and page say that does not follow from the record; where the base is from is not compared."""
    given, ours = read_json(folder / bundles.REPORT), plain(report(session, base))
    kept = {name: given["model"][name] for name in ("name", "base", "licence", "device")}
    ours |= {"versions": given["versions"], "model": {**ours["model"], **kept}}
    yield from (f"“{bundles.REPORT}” says something else under “{name}” than follows from the record."
                for name in ours if ours[name] != given.get(name))
    for name, text in bundles.written(ours).items():
        path = small(folder / name)
        if name != bundles.REPORT and path.read_text(encoding="utf-8") != text:
            yield f"“{name}” is not what this program writes from the record: somebody changed it."


def asked(folder: Path, base: SharedModel, session: Session, record: Mapping[str, Any], manifest: Mapping[str, Any], *,
          safe: bool) -> Iterator[Finding]:
    """The folder loaded as it stands, and the suite asked again; `safe`: its configuration is the base's own."""
    try:
        if not safe or strays(folder, manifest) or not shards(folder):
            raise SessionRejected("files are missing or foreign, or nothing vouches for them.")
    except UserError as error:
        yield Finding("suite", None, f"The folder was not loaded and the suite not asked again: {error}")
        return
    try:
        with reading(bundles.SUITE):
            lines = [json.loads(line) for line in small(folder / bundles.SUITE).read_text("utf-8").splitlines()]
        loaded = boot(folder, id="the bundle", device=base.device.type, dtype=record["precision"])
        wrong = rerun(loaded, lines)
    except (AuditorError, AttributeError, ImportError, LookupError, OSError, RuntimeError, SafetensorError, TypeError,
            ValueError) as error:
        said = str(error) if isinstance(error, AuditorError) else f"{type(error).__name__}."
        yield Finding("suite", False, f"The folder cannot be loaded and asked as it stands: {said}")
        return
    if manifest["writer"] == bundles.writer() and _bare(lines) != _bare(questions(session)):
        wrong.append("The suite does not ask what follows from the record: lines were added, dropped or changed.")
    more = [f"{len(wrong) - SHOWN} more lines of the suite do not hold."] if len(wrong) > SHOWN else []
    yield from findings("suite", wrong[:SHOWN] + more,
                        f"The folder was loaded as it stands; all {len(lines)} lines of the regression suite hold.")


def _bare(lines: Iterable[Mapping[str, Any]]) -> list[tuple]:
    """Lines without their figures; the words of a probe are part of its figure."""
    return [(line["kind"], line["prompt"], *(() if line["kind"] in ("probe", "refusal lean")
                                             else (line.get("expected"), line.get("forbidden")))) for line in lines]


# The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder or a Hub repository and say what was found; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m auditor.verify", description=__doc__.splitlines()[0])
    parser.add_argument("target", help="folder of a bundle, or a Hub repository (owner/name)")
    parser.add_argument("--base", help="the model that was changed: pocket, a folder or a Hub id; else as recorded")
    parser.add_argument("--key", help="public key file (OpenSSH, Ed25519) that the bundle must be signed with")
    parser.add_argument("--revision", help="commit or branch of the repository")
    options = parser.parse_args(arguments)
    disable_progress_bar()  # one sentence per finding is enough
    found: list[Finding] = []
    try:
        folder, messages = fetched(options.target, options.revision)
        base = find_base(read_record_of(folder), options.base) if options.base else None
        for finding in chain(checking(folder, base, key=options.key), committed(folder, messages)):
            found.append(finding)
            sys.stdout.write(f"{MARKS[finding.ok]} {finding.sentence}\n")
            sys.stdout.flush()
    except AuditorError as error:
        found.append(Finding("start", None, str(error)))
        sys.stdout.write(f"{MARKS[None]} {error}\n")
    status = Verdict(tuple(found)).status
    wrong, unsure = (sum(finding.ok is kind for finding in found) for kind in (False, None))
    sys.stdout.write({0: "verified", 1: f"Not verified: {phrases.count(wrong, 'difference')}.",
                      2: f"Could not be checked: {phrases.count(unsure, 'open question')}."}[status] + "\n")
    return status


def fetched(target: str, revision: str | None = None) -> tuple[Path, tuple[str, ...]]:
    """The folder of a bundle, downloaded where it is a repository, and the messages of its commits.

    Raises UserError in one sentence. The address of the Hub is the environment variable HF_ENDPOINT, where it is set.
    """
    if Path(target).is_dir():
        return Path(target), ()
    if not HUB_ID.fullmatch(target):
        raise UserError(f"“{target}” is neither a folder nor a repository (owner/name).")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        folder = Path(api.snapshot_download(target, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise UserError(f"“{target}” could not be downloaded ({type(error).__name__}). Check the name, the network and "
                        "your access.") from None
    try:
        commits = api.list_repo_commits(target, revision=revision)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError, LookupError):
        return folder, ()
    return folder, tuple(f"{commit.title}\n{commit.message}" for commit in commits)


def committed(folder: Path, messages: Sequence[str]) -> Iterator[Finding]:
    """Whether a commit of the repository names the head of the log."""
    if not messages:
        return
    head = read_manifest(folder)["log_head"]
    if any(head and head in message for message in messages):
        yield Finding("commit", True, "A commit message of the repository names the same head of the log.")
    elif any("Log head:" in message for message in messages):
        yield Finding("commit", False, "The commit messages of the repository name another head of the log.")
    else:
        yield Finding("commit", True, "No commit message of the repository names a head of the log.")


if __name__ == "__main__":
    sys.exit(main())
