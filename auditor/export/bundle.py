"""The bundle: one folder with the edited model and the evidence for it, which anybody can verify.

1. Checked first: there is something to take away, it fits these weights, the key can sign, the disk has room.
2. The regression suite is measured with all changes live.
3. Weights are written tensor by tensor, as `.pt` and as safetensors shards, from the mapped base file: never a second
   model in memory. `config.json` names the live precision and plain attention, so that `from_pretrained` on the folder
   gives the same bits as the model that was checked.
4. Factors, record, log, report, card and suite follow; `manifest.json` has the SHA-256 of every other file, and the
   signature, where there is one, is of the manifest.
5. All of it goes into `FOLDER.part`, which is renamed when it is complete. Closing the generator removes it.

Nothing in it names this machine or the time of writing: the same session gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from auditor.editor import boundary, look, validate
from auditor.editor.loop import belongs
from auditor.errors import UserError
from auditor.export import audit_page, card, licence, markup, phrases, tensor_file
from auditor.export import report as reporting
from auditor.export import suite as suites
from auditor.export.checkpoint import check_room, describe, save_factors, saving, state_dict
from auditor.export.factors import FACTORS, LOG, RECORD, write_log
from auditor.export.licence import notices
from auditor.export.plain import part_of, public_name
from auditor.log import canonical
from auditor.model import SharedModel
from auditor.types import Session
from probes import probe_set

FORMAT = "model-auditor bundle 1"
TORCH, MANIFEST, SIGNATURE, CONFIG = "pytorch_model.pt", "manifest.json", "manifest.json.sig", "config.json"
CARD, PAGE, REPORT, SUITE = "README.md", "audit_report.html", "audit_report.json", "regression_suite.jsonl"
COPIED = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
          "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja")
"""Files of the base that go along as they are, where it has them; names of folders are taken out of JSON."""
PRIVATE = ("_name_or_path", "name_or_path", "auto_map")
"""Keys that may hold a path of this machine, or ask to run code."""
PRECISIONS = ("float32", "float16", "bfloat16", "float64")
SMALL = 64 * 2**20
"""Bytes set aside for everything but weights and factors."""


@dataclass(frozen=True)
class Bundle:
    """A finished bundle: its files, size in bytes, head of the log, and a message for a commit."""

    folder: Path
    files: tuple[Path, ...]
    size: int
    head: str
    message: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Name of each file to its SHA-256; what `noting.exported` writes into the log."""


def bundle(model: SharedModel, session: Session, folder: str | Path, *, sign: Any = None,
           shard: int = tensor_file.LIMIT) -> Iterator[tuple[int, int] | Bundle]:
    """Yield (bytes written, bytes in all), at last the Bundle; `sign` is an OpenSSH Ed25519 private key or its file.

    Raises UserError (nothing to take away, a folder that is not empty, a key that cannot sign), SessionRejected and
    NotEnoughRoom before anything is written.
    """
    if not session.edits:                                                                                   # 1
        raise UserError("There is nothing to take away yet: accept a change first.")
    belongs(session, model)
    signing = _signer(sign)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"There is already something at “{folder.name}”. Choose a folder that is empty or new.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    tensors = state_dict(model, session.edits)
    size = 2 * sum(tensor.nbytes for tensor in tensors.values())
    check_room(folder.parent, size + SMALL)
    part = part_of(folder)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield 0, size
        words = _words(model, session)                                                                     # 2, 4
        hashes = yield from _weights(tensors, part, size, shard)                                            # 3
        hashes |= _evidence(model, session, part, words)                                                    # 4
        hashes |= _seal(part, session, model, hashes, signing)
        os.replace(part, folder)                                                                            # 5
    finally:
        shutil.rmtree(part, ignore_errors=True)
    files = tuple(sorted(folder.iterdir()))
    yield Bundle(folder, files, sum(path.stat().st_size for path in files), session.head, message(model, session),
                 hashes)


def message(model: SharedModel, session: Session) -> str:
    """What a commit says: how many changes, each of them, and the head of the log."""
    lines = [f"{phrases.count(len(session.edits), 'change')} to {public_name(model.id)}, with evidence", ""]
    lines += [f"- {edit.request.sentence}" for edit in session.edits[:20]]
    lines += ["- and more: see README.md"] if len(session.edits) > 20 else []
    return "\n".join([*lines, "", f"Log head: {session.head}", f"Base weights: {model.fingerprint}"])


def writer() -> str:
    """Hash of the code that writes card, report and suite from the record: the same code writes the same words."""
    digest = hashlib.sha256()
    for each in (audit_page, card, markup, phrases, reporting, suites, look, boundary, validate, probe_set, licence):
        digest.update(Path(each.__file__).read_bytes())
    digest.update(audit_page.STYLE.read_bytes())
    return digest.hexdigest()


def written(evidence: Mapping[str, Any]) -> dict[str, str]:
    """The files that follow from the report's value alone: report, card and page."""
    return {REPORT: json.dumps(evidence, indent=1, ensure_ascii=False) + "\n", CARD: card.card(evidence),
            PAGE: audit_page.page(evidence)}


def _signer(key: Any) -> Any:
    """A function from manifest to signature, or None; raises UserError for a key that cannot be used."""
    if key is None:
        return None
    from auditor.export import signature

    return partial(signature.sign, key=signature.private_key(key))


def _words(model: SharedModel, session: Session) -> dict[str, str]:
    """All text files but the copied ones and the manifest."""
    lines = suites.suite(model, session)
    return {RECORD: json.dumps(describe(model, session), indent=1, ensure_ascii=False) + "\n",
            LOG: write_log(session.log), SUITE: "".join(f"{canonical(line).decode()}\n" for line in lines),
            **written(reporting.report(session, model))}


def copies(model: SharedModel) -> dict[str, bytes]:
    """Configuration, tokenizer and licence as they go into a bundle, by name."""
    there = [path for path in (model.folder / name for name in COPIED) if path.is_file()]
    return {CONFIG: _config(model).encode(), **{path.name: _cleaned(path) for path in there},
            **{path.name: path.read_bytes() for path in notices(model)}}


def _config(model: SharedModel) -> str:
    """The base's configuration with the precision of the tensors, and the attention that the checks were run with."""
    kept = _public(json.loads((model.folder / CONFIG).read_text(encoding="utf-8")))
    kept.pop("torch_dtype", None)
    kept |= {"dtype": str(model.dtype).removeprefix("torch."), "attn_implementation": "eager"}
    return json.dumps(kept, indent=2, sort_keys=True) + "\n"


def _public(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in PRIVATE}


def _weights(tensors: Mapping, part: Path, size: int, limit: int) -> Generator[tuple[int, int], None, dict[str, str]]:
    """Write the state dict twice; returns name to SHA-256."""
    shards = tensor_file.plan(tensors, limit)
    jobs = [(TORCH, tensors, None)]
    jobs += [(name, {each: tensors[each] for each in names}, tensor_file.dump) for name, names in shards.items()]
    hashes, before = {}, 0
    for name, some, dump in jobs:
        writing = saving(some, part / name, **({"dump": dump} if dump else {}))
        hashes[name] = yield from _counted(writing, before, size)
        before += sum(tensor.nbytes for tensor in some.values())
    if len(shards) > 1:
        hashes |= _write(part, {tensor_file.INDEX: tensor_file.index(shards, size // 2)})
    return hashes


def _counted(writing: Generator[int, None, str], before: int, size: int) -> Generator[tuple[int, int], None, str]:
    """Bytes of one file as bytes of all; returns what the writing returns."""
    try:
        while True:
            try:
                yield min(before + next(writing), size), size
            except StopIteration as end:
                return end.value
    finally:
        writing.close()


def _evidence(model: SharedModel, session: Session, part: Path, words: Mapping[str, str]) -> dict[str, str]:
    """Write factors, texts and what is copied from the base; returns name to SHA-256."""
    save_factors(session.edits, part / FACTORS)
    hashes = {FACTORS: hashlib.sha256((part / FACTORS).read_bytes()).hexdigest()}
    return hashes | _write(part, words) | _write(part, copies(model))


def _cleaned(path: Path) -> bytes:
    """A file of the base, without keys that may hold a path of this machine."""
    data = path.read_bytes()
    if path.name != "tokenizer_config.json":
        return data
    value = json.loads(data)
    kept = _public(value)
    return data if kept == value else json.dumps(kept, indent=2, sort_keys=True).encode()


def _seal(part: Path, session: Session, model: SharedModel, hashes: Mapping[str, str], signing: Any) -> dict[str, str]:
    """Write the manifest, and the signature of its bytes."""
    files = {name: {"bytes": (part / name).stat().st_size, "sha256": hashes[name]} for name in sorted(hashes)}
    manifest = json.dumps({"files": files, "fingerprint": model.fingerprint, "format": FORMAT,
                           "log_head": session.head, "writer": writer()}, indent=1, sort_keys=True) + "\n"
    sealed = {MANIFEST: manifest, **({SIGNATURE: signing(manifest.encode())} if signing else {})}
    return _write(part, sealed)


def _write(part: Path, files: Mapping[str, str | bytes]) -> dict[str, str]:
    """Write small files; returns name to SHA-256."""
    hashes = {}
    for name, data in files.items():
        data = data if isinstance(data, bytes) else data.encode()
        (part / name).write_bytes(data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    return hashes
