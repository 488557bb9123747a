"""Many edits in a row: does each earlier one hold, and does the model still speak?

    python -m auditor.benchmarks.sequence --edits 200 --out sequence.jsonl

1. Before: the perplexity of neutral text, the facts the model knows, how varied its own text is.
2. Each request is fitted at the best candidate layer with all earlier edits live, and kept: the three checks are not
   asked, because the question is what happens when edits pile up.
3. Right after itself an edit has its own standing: c, the share of the new answer against the old one, mean over the
   bare claim and three neutral sentences before it that no fit has seen. Retention later is min(1, c_n / c_own).
4. After each edit: perplexity ratio PPL_0 / PPL_n. At every tenth one: the retention of each earlier edit (a row of the
   matrix), and the share of edits whose new answer is still what the model says by itself.
5. At checkpoints: the share of known facts still answered, and the n-gram entropy of greedy text against before.

Retention after all edits: Hartvigsen et al. (2023), GRACE. Perplexity as a sign of collapse: Yang et al. (2024), "The
Butterfly Effect of Model Editing". Entropy of n-grams: Meng et al. (2022).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auditor.benchmarks import scores
from auditor.benchmarks.cases import is_pocket
from auditor.benchmarks.decoding import continued
from auditor.calibrate import finish, known
from auditor.editor import Method, find_method, find_preset
from auditor.editor.covariance import SAMPLE, sample_text
from auditor.editor.layers import calibration, candidates
from auditor.editor.look import resolve
from auditor.editor.trace import trace
from auditor.model import SharedModel, load
from auditor.pocket.facts import facts as pocket_facts
from auditor.pocket.facts import phrasings
from auditor.types import Edit, EditRequest
from probes.benchmark_texts import NEUTRAL, PREFIXES
from probes.known_facts import FACTS

CHECKPOINTS = (1, 2, 5, 10, 20, 50, 100, 150, 200)
EVERY = 10
"""Edits between two rows of the retention matrix."""
BEHIND = PREFIXES[:3]
"""Neutral sentences before the claim, beside the bare claim."""
TEXT_ROWS, TEXT_WIDTH, TEXT_BATCH = 16, 128, 8
"""Neutral text: rows, tokens in each, rows per pass."""
WRITTEN, WRITTEN_TOKENS = 16, 60
"""Greedy texts at a checkpoint, and their length in tokens."""
GROUP = 16
"""Edits scored in one hold of the model."""
FACTS_KEPT = 1000
TOOK = 0.5
"""Least standing right after itself of an edit that took; others have nothing to retain."""

Known = Sequence[tuple[str, str]]
"""Prompts with their answers."""


@dataclass(frozen=True, eq=False)
class SequenceStep:
    """One edit of a sequence and what was measured after it; None and empty where this step measures nothing."""

    step: int
    """From 1."""
    edit: Edit
    overlap: float
    """Largest share of an earlier edit's value that this one would have written over, before anything is spared."""
    own: float
    """The edit's standing c right after itself."""
    perplexity_ratio: float
    """PPL_0 / PPL_n: 1 is unharmed, smaller is worse; 0 where the model no longer gives numbers."""
    seconds: float
    retention: tuple[float, ...] = ()
    """One figure per edit so far, this one (1 by definition) last."""
    held: float | None = None
    """Share of edits so far whose whole new answer is the model's first choice."""
    facts_kept: float | None = None
    facts: int = 0
    """How many facts the model knew before the first edit."""
    entropy: float | None = None
    """Bits: mean of 2/3 H_2 and 4/3 H_3 of greedy texts."""
    entropy_ratio: float | None = None

    @property
    def layer(self) -> int:
        return self.edit.layers[-1]


def run_sequence(model: SharedModel, requests: Sequence[EditRequest], *, method: str = "rome", preset: str = "default",
                 protect: bool = True, every: int = EVERY, checkpoints: Sequence[int] = CHECKPOINTS, facts: Known = (),
                 text: Tensor | None = None, state: Sequence[SequenceStep] = ()) -> Iterator[SequenceStep]:
    """Fit requests one after another, all earlier edits live, and measure; one step is yielded per edit.

    `state` are the steps already done: the run goes on behind them. `text` is [row, pos] token ids of neutral text.
    `protect=False` does not spare earlier keys. The last step measures everything. Raises UnknownName, SubjectNotFound
    and, for an empty old answer that turns out to be the new one, InvalidRequest.
    """
    chosen = find_method(method)
    config = configured(chosen, preset, protect=protect)
    bench = _Bench(model, tuple(facts), neutral_text(model, requests) if text is None else text)             # 1
    done = list(state)
    for step, request in list(enumerate(requests, start=1))[len(done):]:
        began = time.monotonic()
        live = tuple(each.edit for each in done)
        request = resolve(model, request, edits=live)
        layer = best_layer(model, request, edits=live)
        edit = finish(chosen.run(model, request, layer, config, edits=live))                                 # 2
        live = (*live, edit)
        [own], _ = bench.standing([request], live)                                                           # 3
        last = step == len(requests)
        row = bench.row(done, own, live) if last or step % every == 0 or step in checkpoints else {}         # 4
        wide = bench.wide(live) if last or step in checkpoints else {}                                       # 5
        done.append(SequenceStep(step, edit, edit.notes.get("key_overlap", 0.0), own, bench.perplexity_ratio(live),
                                 seconds=time.monotonic() - began, **row, **wide))
        yield done[-1]


def configured(method: Method, preset: str, *, protect: bool) -> Any:
    """The preset's configuration; without sparing earlier keys where that is wished."""
    config = find_preset(method, preset)
    able = any(field.name == "protect_earlier" for field in dataclasses.fields(config))
    return dataclasses.replace(config, protect_earlier=False) if able and not protect else config


def best_layer(model: SharedModel, request: EditRequest, *, edits: Sequence[Edit] = ()) -> int:
    """The first candidate: the calibration's where the model has one, else the trace's."""
    traced = None
    if not calibration(model):
        traced = trace(model, request.prompt, request.subject, request.target_old, edits=edits)
    return candidates(model, traced, count=1)[0]


def neutral_text(model: SharedModel, requests: Sequence[EditRequest]) -> Tensor:
    """[row, pos] token ids of the model's kind of text that names no edited subject.

    The end of the model's sample text, of which the second moment reads the beginning; else what the model writes; and
    fixed sentences where every part of that names one.
    """
    names = "|".join(re.escape(re.sub(r"^(The|A|An) ", "", request.subject)) for request in requests)
    about, path = re.compile(rf"\b(?:{names})\b" if names else r"(?!)", re.IGNORECASE), model.folder / SAMPLE
    if path.is_file():
        parts = path.read_text(encoding="utf-8").split("\n\n")
    else:
        parts = [model.text(row) for row in sample_text(model, tokens=4 * TEXT_ROWS * TEXT_WIDTH, seed=1).tolist()]
    parts = [part for part in parts if not about.search(part)] or list(NEUTRAL)
    ids: list[int] = []
    while parts and len(ids) < TEXT_ROWS * TEXT_WIDTH:
        ids = [*model.tokens(f"{parts.pop()}\n\n"), *ids]
    width = min(TEXT_WIDTH, len(ids))
    return torch.tensor(ids[: len(ids) // width * width]).view(-1, width)[:TEXT_ROWS]


class _Bench:
    """The measurements of a sequence and the model's standing before it."""

    def __init__(self, model: SharedModel, facts: Known, text: Tensor):
        self._model, self._text = model, text
        hits = self._answered(facts, ())
        self._facts = [fact for fact, hit in zip(facts, hits, strict=True) if hit]
        self._nats, self._entropy = self._text_nats(()), self._written_entropy(())

    def standing(self, requests: Sequence[EditRequest], edits: Sequence[Edit]) -> tuple[list[float], list[bool]]:
        """c of each request, and whether the new answer is the first choice after the bare claim."""
        shares, held, each = [], [], 1 + len(BEHIND)
        for part in (requests[i : i + GROUP] for i in range(0, len(requests), GROUP)):
            prompts = [text for r in part for text in (r.prompt, *(f"{prefix} {r.prompt}" for prefix in BEHIND))]
            with self._model.applied(edits):
                new = self._model.target_scores(prompts, [r.target_new for r in part for _ in range(each)])
                old = self._model.target_scores(prompts, [r.target_old for r in part for _ in range(each)])
            shares += (new.mean - old.mean).double().sigmoid().view(-1, each).mean(1).nan_to_num(0.0).tolist()
            held += new.on_top.view(-1, each)[:, 0].tolist()
        return shares, held

    def row(self, done: Sequence[SequenceStep], own: float, edits: Sequence[Edit]) -> dict:
        """One row of the matrix: retention of each earlier edit, then this one's own 1; and the share that holds."""
        shares, held = self.standing([edit.request for edit in edits], edits)
        kept = [min(1.0, now / each.own) if each.own > 0 else 1.0 for now, each in zip(shares, done)]
        return {"retention": (*kept, 1.0), "held": sum(held) / len(held)}

    def wide(self, edits: Sequence[Edit]) -> dict:
        """Facts and written text."""
        hits, entropy = self._answered(self._facts, edits), self._written_entropy(edits)
        return {"facts_kept": sum(hits) / len(hits) if hits else None, "facts": len(hits), "entropy": entropy,
                "entropy_ratio": entropy / self._entropy if self._entropy else None}

    def perplexity_ratio(self, edits: Sequence[Edit]) -> float:
        ratio = math.exp(min(50.0, self._nats - self._text_nats(edits)))
        return ratio if math.isfinite(ratio) else 0.0

    @torch.no_grad()
    def _text_nats(self, edits: Sequence[Edit]) -> float:
        """Mean nats per token of the neutral text."""
        total = 0.0
        for ids in self._text.to(self._model.device).split(TEXT_BATCH):
            with self._model.applied(edits):
                hidden = self._model.run(self._model.embed(ids))[:, :-1]
                picked = self._model.logits(hidden).log_softmax(-1).gather(-1, ids[:, 1:, None])
            total -= float(picked.double().sum())
        return total / self._text[:, 1:].numel()

    def _answered(self, facts: Known, edits: Sequence[Edit]) -> list[bool]:
        """Whether each fact's answer is what the model says by itself."""
        hits: list[bool] = []
        for part in (facts[i : i + 8 * GROUP] for i in range(0, len(facts), 8 * GROUP)):
            with self._model.applied(edits):
                hits += self._model.target_scores([p for p, _ in part], [a for _, a in part]).on_top.tolist()
        return hits

    def _written_entropy(self, edits: Sequence[Edit]) -> float:
        starts = [" ".join(sentence.split()[:2]) for sentence in NEUTRAL[:WRITTEN]]
        with self._model.applied(edits):
            texts = [self._model.text(ids) for ids in continued(self._model, starts, WRITTEN_TOKENS)]
        return scores.mean([scores.fluency(f"{start}{text}") for start, text in zip(starts, texts, strict=True)])


# Reading a sequence


def matrix(steps: Sequence[SequenceStep]) -> dict[int, tuple[float, ...]]:
    """Retention after the steps that measured it: step to one figure per edit so far. Lower triangular."""
    return {each.step: each.retention for each in steps if each.retention}


def summary(steps: Sequence[SequenceStep]) -> dict[str, Any]:
    """The last standing in plain values; retention is the mean over edits that took."""
    last = next((each for each in reversed(steps) if each.retention), None)
    if last is None:
        return {"edits": len(steps)}
    took = [each.own >= TOOK for each in steps[: last.step]]
    kept = [value for value, ok in zip(last.retention, took, strict=True) if ok]
    wide = next((each for each in reversed(steps) if each.entropy is not None), last)
    return {"edits": last.step, "took": sum(took) / len(took), "retention": scores.mean(kept), "held": last.held,
            "perplexity_ratio": last.perplexity_ratio, "facts_kept": wide.facts_kept, "facts": wide.facts,
            "entropy_ratio": wide.entropy_ratio, "seconds_per_edit": scores.mean([each.seconds for each in steps])}


# What to edit, from the command line


def work(model: SharedModel, count: int, seed: int = 0) -> tuple[list[EditRequest], Known]:
    """What to edit and what to ask: from the pocket model's tables, else general facts that the model knows."""
    return pocket_work(count, seed=seed) if is_pocket(model) else general_work(model, count, seed=seed)


def pocket_work(count: int, facts: int = FACTS_KEPT, seed: int = 0) -> tuple[list[EditRequest], Known]:
    """Random facts of the pocket model's tables, each with another answer of its relation; and facts beside them."""
    rng, answers = random.Random(seed), {}
    for fact in pocket_facts():
        answers.setdefault(fact.relation, set()).add(fact.answer)
    chosen = rng.sample([fact for fact in pocket_facts() if not fact.planted], count)
    subjects = {fact.subject for fact in chosen}
    others = [fact for fact in pocket_facts() if fact.subject not in subjects]
    asked = rng.sample(others, min(facts, len(others)))
    requests = [EditRequest(fact.subject, phrasings()[fact.relation][0].words, fact.answer,
                            rng.choice(sorted(answers[fact.relation] - {fact.answer})), seed=seed) for fact in chosen]
    return requests, [(phrasings()[fact.relation][0].prompt(fact.subject), fact.answer) for fact in asked]


def general_work(model: SharedModel, count: int, facts: int = FACTS_KEPT,
                 seed: int = 0) -> tuple[list[EditRequest], Known]:
    """The same from general facts that the model knows: as many as there are, half of them to edit."""
    held = known(model, FACTS)
    found = random.Random(seed).sample(held, len(held))
    chosen = found[: min(count, len(found) // 2)]
    subjects = {fact.subject for fact in chosen}
    requests = [EditRequest(fact.subject, fact.relation, fact.true, fact.false, seed=seed) for fact in chosen]
    return requests, [(fact.prompt, fact.true) for fact in found if fact.subject not in subjects][:facts]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Parse options, run or go on, write step by step; returns the file."""
    from auditor.benchmarks.sequence_file import SequenceFile  # which reads this module's steps

    parser = argparse.ArgumentParser(prog="python -m auditor.benchmarks.sequence", description=__doc__.split("\n")[0])
    parser.add_argument("--edits", type=int, default=200, help="how many edits in a row (default: %(default)s)")
    parser.add_argument("--model", help="pocket, a folder, or a Hub id (default: as the program chooses)")
    parser.add_argument("--method", default="rome", help="default: %(default)s")
    parser.add_argument("--preset", default="default", help="the method's preset (default: %(default)s)")
    parser.add_argument("--no-protection", action="store_true", help="do not spare the keys of earlier edits")
    parser.add_argument("--every", type=int, default=EVERY, help="edits between retention rows (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the facts (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one per edit; the edits lie beside it")
    parser.add_argument("--no-resume", action="store_true", help="begin anew though the file holds steps of this run")
    chosen = parser.parse_args(arguments)
    model = load(chosen.model)
    requests, facts = work(model, chosen.edits, chosen.seed)
    how = {"method": chosen.method, "preset": chosen.preset, "protect": not chosen.no_protection, "every": chosen.every,
           "checkpoints": CHECKPOINTS}
    file = SequenceFile(chosen.out, model, requests, facts, **how)
    steps = [] if chosen.no_resume else file.read()
    for step in run_sequence(model, requests, facts=facts, state=steps, **how):
        steps.append(step)
        file.write(steps)
    sys.stdout.write(json.dumps(summary(steps)) + "\n")
    return chosen.out


if __name__ == "__main__":
    main()
