"""Sessions and bundles for the tests of what is taken away."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from make import entry, random_edit

from auditor.benchmarks.cases import Cases, Item
from auditor.editor.boundary import boundary
from auditor.editor.look import compare
from auditor.export import bundle as bundles
from auditor.export import noting
from auditor.export.bundle import Bundle, bundle
from auditor.types import BenchmarkScore, Case, EditRequest, Session

TRICKY = EditRequest("<b>A nurse</b> | [x](http://evil.example)", "is `typically` **a** ---", "</td><script>alert(1)",
                     "&amp; {{7*7}} www.evil.example", category="bias")
"""A request made to break Markdown, HTML and YAML."""


def scored_session(model, *, more=()) -> Session:
    """Two accepted changes with log, scores, cases, comparisons and boundary, made without any fitting."""
    first, second = random_edit(model, seed=1), random_edit(model, layers=(1, 2), seed=2)
    session = Session(model.id, model.fingerprint)
    for edit in (first, second, *more):
        session = session.with_entry(entry(edit))
    scores = (BenchmarkScore("EditBench", "retention", 0.75, 0.5, 8, (0.5, 1.0), (Case("p", "Rome", 0.1, 0.9, 1.0),)),
              BenchmarkScore("LEME", "long-form", None, 0.5, 0, reason="Only 1 usable case could be made."))
    cases = Cases(first.request, (Item("same", "The Eiffel Tower was built by", "Eiffel", "Rome"),
                                  Item("form", "Rome: the Eiffel Tower is located in", "Paris", "Rome", "form")))
    session = session.with_scores(first.id, scores, cases.to_dict())
    session = noting.compared(session, compare(model, ["A bell rang; the"], after=session.edits))
    session = noting.bounded(session, boundary(model, after=session.edits))
    return session.noted("refused", {"request": TRICKY, "reason": "<i>no</i> such | subject"})


def made(model, session: Session, folder: Path, **options) -> Bundle:
    """The whole bundle."""
    *_, done = bundle(model, session, folder, **options)
    return done


def sealed_again(folder: Path) -> None:
    """Bring the manifest in line with the files, as a forger would."""
    manifest = json.loads((folder / bundles.MANIFEST).read_text())
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    (folder / bundles.MANIFEST).write_text(json.dumps(manifest))
