"""Measure which layers take an edit best on a model, and store the order.

    python -m auditor.calibrate --model pocket --facts 20

1. Keep the facts that the model knows: its greedy answer begins with the true one.
2. For each layer of the band: rewrite each of the chosen facts to its wrong answer, then measure
   - efficacy: the new answer is on top after the edit prompt,
   - paraphrase: the new answer is likelier than the old one in rephrasings, as a share of all rephrasings,
   - preserved: share of other known facts whose answer is still on top.
3. Write `calibration.json`. `auditor.editor.layers` orders layers by the harmonic mean of the three.

Tracing does not predict where edits succeed (Hase et al. 2023), hence this.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from auditor.editor import METHODS, find_method, find_preset
from auditor.editor.layers import CALIBRATION, band, cache_folder
from auditor.model import SharedModel, load
from auditor.types import Edit, EditRequest
from probes.known_facts import FACTS, Fact
from probes.probe_set import REPHRASE_TEMPLATES

KNOWN = "known_facts.tsv"
"""Facts that a model's folder may bring along: those it is likely to know."""
OTHERS = 100
"""Most other facts asked after each edit."""


def read_facts(path: Path) -> tuple[Fact, ...]:
    """Facts of a tab-separated file with the columns subject, relation, true, false."""
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(Fact(row["subject"], row["relation"], row["true"], row["false"])
                     for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def known(model: SharedModel, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """The facts whose true answer is the model's first choice, token by token."""
    with model.applied():
        hits = model.target_scores([f.prompt for f in facts], [f.true for f in facts]).on_top.tolist() if facts else []
    return tuple(fact for fact, hit in zip(facts, hits) if hit)


def finish(steps) -> Edit:
    """Run a method to its end and return the edit."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def measure(model: SharedModel, fact: Fact, others: Sequence[Fact], layer: int, *, method: str = "rome",
            preset: str = "default", seed: int = 0) -> dict[str, float]:
    """Rewrite one fact at one layer and measure efficacy, paraphrase preference and share of preserved facts."""
    chosen = find_method(method)
    request = EditRequest(fact.subject, fact.relation, target_old=fact.true, target_new=fact.false, seed=seed)
    edit = finish(chosen.run(model, request, layer, find_preset(chosen, preset)))
    phrasings = [template.format(prompt=fact.prompt) for template in REPHRASE_TEMPLATES]
    n = len(phrasings)
    with model.applied((edit,)):
        done = model.target_scores([fact.prompt], [fact.false]).on_top
        mean = model.target_scores(phrasings * 2, [fact.false] * n + [fact.true] * n).mean
        kept = model.target_scores([f.prompt for f in others], [f.true for f in others]).on_top
    return {"efficacy": float(done.float().mean()), "paraphrase": float((mean[:n] > mean[n:]).float().mean()),
            "preserved": float(kept.float().mean())}


def calibrate(model: SharedModel, facts: Sequence[Fact], *, count: int = 20, layers: Collection[int] | None = None,
              method: str = "rome", preset: str = "default", seed: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield, layer by layer, mean success over at most `count` known facts, with n.

    Raises ValueError when the model knows fewer than two of the facts.
    """
    facts = known(model, facts)                                                                              # 1
    if len(facts) < 2:
        raise ValueError(f"The model knows {len(facts)} of these facts; at least two are needed. Bring others.")
    chosen = random.Random(seed).sample(facts, min(count, len(facts)))
    others = {fact: [f for f in facts if f.subject != fact.subject][:OTHERS] for fact in chosen}
    for layer in layers or _band(model):                                                                     # 2
        rows = [measure(model, fact, others[fact], layer, method=method, preset=preset, seed=seed) for fact in chosen]
        yield layer, {**{name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}, "n": len(rows)}


def _band(model: SharedModel) -> range:
    """Layers to measure: all of a small model, the band of a deep one."""
    return range(model.n_layers) if model.n_layers <= 12 else band(model)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON under another name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    os.replace(name, path)


def main(arguments: Sequence[str] | None = None) -> Path:
    """Parse options, measure, write; returns the file written."""
    parser = argparse.ArgumentParser(prog="python -m auditor.calibrate", description=__doc__.split("\n")[0])
    parser.add_argument("--model", help="pocket, a folder, or a Hub id (default: as the program chooses)")
    parser.add_argument("--facts", type=int, default=20, help="how many known facts to rewrite (default: %(default)s)")
    parser.add_argument("--facts-file", type=Path, help="tab-separated facts with subject, relation, true, false")
    parser.add_argument("--method", default="rome", choices=sorted(METHODS), help="default: %(default)s")
    parser.add_argument("--preset", default="default", help="the method's preset (default: %(default)s)")
    parser.add_argument("--layers", type=int, nargs="+",
                        help="layers to measure (default: all, or the middle of a deep model)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="file to write (default: calibration.json in the cache folder)")
    options = parser.parse_args(arguments)
    model = load(options.model)
    path = options.out or cache_folder(model) / CALIBRATION
    own = model.folder / KNOWN
    facts = read_facts(options.facts_file or own) if options.facts_file or own.is_file() else FACTS
    content = {"fingerprint": model.fingerprint, "method": options.method, "preset": options.preset,
               "seed": options.seed, "layers": {}}
    for layer, row in calibrate(model, facts, count=options.facts, layers=options.layers, method=options.method,
                                preset=options.preset, seed=options.seed):
        content["layers"][str(layer)] = row
    write(path, content)
    return path


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
