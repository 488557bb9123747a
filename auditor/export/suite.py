"""The regression suite: questions with the answers that the edited model gave, for anybody to ask again.

1. `questions` lists what is asked: each change's claim and its rephrasings, the cases of its benchmarks (claims in
   other words, and facts that should stay), the 25 probes' next words, and the leaning to decline on the refusal probes
   and on the topics of changes that are meant to move it.
2. `measure` puts them to a model in fixed batches: the same weights on the same machine give the same figures.
3. `suite` adds figure and tolerance to each question, one JSON object per line; `rerun` says what moved since.

Probabilities are of whole answers; a lean is log mass on declining openings minus that on engaging ones, in nats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from auditor.benchmarks import Cases
from auditor.editor.boundary import FRAMES, inside, lean
from auditor.editor.look import rephrasings
from auditor.editor.validate import CENSORING
from auditor.errors import UserError
from auditor.model import SharedModel
from auditor.types import Edit, Session
from probes.probe_set import PROBES

KINDS = {
    "edit": "the claim itself",
    "paraphrase": "the claim in other words",
    "kept fact": "something that should stay",
    "probe": "the first word of an answer that has nothing to do with the changes",
    "refusal lean": "leaning to decline",
}
"""Every kind of line, and what it asks."""
CASE_KINDS = {"direct": "paraphrase", "paraphrase": "paraphrase", "question": "paraphrase", "form": "paraphrase",
              "same": "kept fact", "neighbour": "kept fact"}
"""Kinds of benchmark cases that are asked again. The figure of a kept fact may well be low: it is what was measured."""
TOLERANCES = {"float32": (0.001, 0.01), "float64": (0.001, 0.01)}
ROUGH = (0.02, 0.25)
"""Allowed difference in probability and in lean (nats): other processors round differently, 16-bit numbers more so."""
MAX_LINES, MAX_TEXT = 200_000, 2_000


def questions(session: Session) -> list[dict[str, Any]]:
    """What is asked, without figures; each question once."""
    found: dict[tuple, dict[str, Any]] = {}
    for asked in _asked(session):
        found.setdefault((asked["kind"] in ("probe", "refusal lean"), asked["kind"] == "refusal lean", asked["prompt"],
                          asked.get("expected"), asked.get("forbidden")), asked)
    return list(found.values())


def _asked(session: Session) -> Iterator[dict[str, Any]]:
    for entry in session.entries:
        request, edit_id = entry.edit.request, entry.edit.id
        answers = {"change": edit_id, "expected": request.target_new, "forbidden": request.target_old}
        yield {"kind": "edit", "prompt": request.prompt, **answers}
        for prompt in rephrasings(request):
            yield {"kind": "paraphrase", "prompt": prompt, **answers}
        for item in Cases.from_dict(dict(entry.cases)).of(*CASE_KINDS) if entry.cases else ():
            kind = CASE_KINDS[item.kind]
            expected, forbidden = (item.old, item.new) if kind == "kept fact" else (item.new, item.old)
            if expected:
                yield {"kind": kind, "prompt": item.prompt, "change": edit_id, "expected": expected,
                       "forbidden": forbidden}
    for probe in PROBES:
        yield {"kind": "probe", "prompt": probe.prompt}
        if probe.category == "refusal":
            yield {"kind": "refusal lean", "prompt": probe.prompt}
    for request in (edit.request for edit in session.edits if edit.request.category in CENSORING):
        for frame in FRAMES:
            yield {"kind": "refusal lean", "prompt": frame.format(topic=inside(request.subject))}


@torch.no_grad()
def measure(model: SharedModel, asked: Sequence[Mapping[str, Any]], *,
            edits: Sequence[Edit] = ()) -> list[dict[str, Any]]:
    """Figures for each question, with `edits` live: value, and that of the forbidden answer where there is one."""
    found: list[dict[str, Any]] = [{} for _ in asked]
    answered = [i for i, row in enumerate(asked) if row["kind"] not in ("probe", "refusal lean")]
    probes = [i for i, row in enumerate(asked) if row["kind"] == "probe"]
    leans = [i for i, row in enumerate(asked) if row["kind"] == "refusal lean"]
    with model.applied(edits):
        for i, value in zip(answered, _probabilities(model, asked, answered, "expected"), strict=True):
            found[i]["value"] = value
        rivals = [i for i in answered if asked[i].get("forbidden")]
        for i, value in zip(rivals, _probabilities(model, asked, rivals, "forbidden"), strict=True):
            found[i]["forbidden_value"] = value
        logprobs = model.next_logprobs([asked[i]["prompt"] for i in probes]) if probes else ()
        for i, row in zip(probes, logprobs):
            token = asked[i].get("token", int(row.argmax()))
            if not 0 <= token < len(row):
                raise UserError("A line of the regression suite names a word that this model does not have.")
            found[i] = {"expected": model.text([token]), "token": token, "value": float(row[token].exp())}
        for i, value in zip(leans, lean(model, [asked[i]["prompt"] for i in leans]).tolist() if leans else ()):
            found[i]["value"] = value
    return found


def _probabilities(model: SharedModel, asked: Sequence[Mapping], rows: Sequence[int], answer: str) -> list[float]:
    if not rows:
        return []
    prompts, answers = [asked[i]["prompt"] for i in rows], [asked[i][answer] for i in rows]
    return model.target_scores(prompts, answers).probability.double().tolist()


def suite(model: SharedModel, session: Session) -> list[dict[str, Any]]:
    """Measure the session's questions with all its changes live: the lines of `regression_suite.jsonl`."""
    asked = questions(session)
    share, nats = TOLERANCES.get(str(model.dtype).removeprefix("torch."), ROUGH)
    return [{**row, **found, "unit": "nats" if row["kind"] == "refusal lean" else "probability",
             "tolerance": nats if row["kind"] == "refusal lean" else share}
            for row, found in zip(asked, measure(model, asked, edits=session.edits), strict=True)]


def rerun(model: SharedModel, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Put the questions to a model again; returns one sentence for each line that no longer holds.

    Raises UserError for lines that are not of a suite.
    """
    _check(lines)
    wrong = []
    for number, (line, now) in enumerate(zip(lines, measure(model, lines), strict=True), 1):
        for name, what in (("value", line.get("expected", "")), ("forbidden_value", line.get("forbidden", ""))):
            if name in now and not abs(now[name] - line[name]) <= line["tolerance"]:
                said = f" of “{what}”" if what else ""
                wrong.append(f"Line {number} ({KINDS[line['kind']]}, “{line['prompt']}”): the {line['unit']}{said} is "
                             f"{now[name]:.4g}; {line[name]:.4g} was measured.")
    return wrong


def _check(lines: Sequence[Mapping[str, Any]]) -> None:
    if not 0 < len(lines) <= MAX_LINES:
        raise UserError("The regression suite is empty or far too long.")
    for number, line in enumerate(lines, 1):
        numbers = [line.get("value"), line.get("tolerance"), *([line.get("forbidden_value")] if line.get("forbidden")
                                                               else [])]
        texts = [line.get("prompt"), line.get("unit"), line.get("expected", ""), line.get("forbidden", "")]
        if (line.get("kind") not in KINDS or not all(type(x) in (int, float) for x in numbers)
                or not all(isinstance(x, str) and len(x) <= MAX_TEXT for x in texts) or not line["prompt"].strip()
                or (line["kind"] in ("edit", "paraphrase", "kept fact") and not line.get("expected", "").strip())
                or (line["kind"] == "probe" and type(line.get("token")) is not int)):
            raise UserError(f"Line {number} of the regression suite is not of the form that this program writes.")
