"""How good are the edits? Random single edits of the pocket model's facts: `python tests/performance/quality.py`.

1. Draw unplanted facts, each with another answer of its relation, and unrelated facts beside them.
2. For every fact and preset: fit one edit at the best candidate layer, on the unedited model.
3. Ask the unrelated facts again, run the three checks, and run the thirteen benchmarks on cases made before the edit.
4. Write one JSON line per edit and preset, at once: a stopped run goes on where it was. Then the table, with the
   sequences of `python -m auditor.benchmarks.sequence` below it where their files are named.

Three benchmarks fit further edits, which is most of the time: they can be kept to the first facts (`--whole 40`).
Every mean carries n and a bootstrap 90 % interval over edits. Not measured is never counted as 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import auditor  # noqa: E402
from auditor.benchmarks import BENCHMARKS, generate_cases, profile, scores  # noqa: E402
from auditor.benchmarks.sequence import SequenceStep, best_layer, pocket_work, summary  # noqa: E402
from auditor.benchmarks.sequence_file import MEASURED  # noqa: E402
from auditor.calibrate import finish  # noqa: E402
from auditor.editor import find_method, find_preset  # noqa: E402
from auditor.editor.validate import baseline, validate  # noqa: E402
from auditor.types import BenchmarkScore, EditRequest, Entry, Session  # noqa: E402

BARS = {"EditBench": 0.95, "EditGeneralization": 0.85, "RippleBench": 0.85, "PM Score": 0.75, "zsRE": 0.85,
        "Portability": 0.60, "LocalitySens": 0.85}
"""Least mean over random single edits, where one is set."""
PASSED, PRESERVED, RETENTION, PERPLEXITY = 11, 0.995, 0.85, 0.85
SCALE = 100
FITTING = ("SeqCollapse", "BatchConsistency", "SeqRetention")
"""Benchmarks that fit further edits."""


def answered(model, facts, edits) -> list[bool]:
    """Whether each fact's answer is the model's first choice."""
    with model.applied(edits):
        return model.target_scores([prompt for prompt, _ in facts], [answer for _, answer in facts]).on_top.tolist()


def measure(model, request: EditRequest, cases, facts, preset: str, names: Sequence[str]) -> dict:
    """One edit: three checks, unrelated facts, benchmarks."""
    method, began = find_method("rome"), time.perf_counter()
    layer = best_layer(model, request)
    edit = finish(method.run(model, request, layer, find_preset(method, preset)))
    report = validate(model, request, edit, baseline(model, request))
    session = Session(model.id, model.fingerprint, (Entry(edit, report),))
    figures = {score.name: {"value": score.value, "passed": score.passed, "n": score.n, "reason": score.reason}
               for score in profile(model, session, edit.id, cases, names=names) if isinstance(score, BenchmarkScore)}
    [took] = answered(model, [(request.prompt, request.target_new)], (edit,))
    kept = answered(model, facts, (edit,))
    return {"preset": preset, "prompt": request.prompt, "old": request.target_old, "new": request.target_new,
            "id": edit.id, "layer": layer, "took": took, "checks": {c.name: c.value for c in report.checks},
            "accepted": report.passed, "preserved": sum(kept) / len(kept), "facts": len(kept), "scores": figures,
            "seconds": round(time.perf_counter() - began, 2)}


def run(model, path: Path, *, count: int, whole: int, presets: Sequence[str], names: Sequence[str],
        seed: int) -> Iterator[dict]:
    """Measure what the file does not hold yet; yields every line, old and new."""
    requests, facts = pocket_work(count, seed=seed)
    head = {"fingerprint": model.fingerprint, "seed": seed, "count": count, "whole": whole, "benchmarks": list(names)}
    lines = read(path)
    if lines and lines[0] != head:
        raise SystemExit(f"{path} holds another run ({lines[0]}). Choose another file.")
    if not lines:
        add(path, head)
    done = {(row["preset"], row["prompt"]) for row in lines[1:]}
    yield from lines[1:]
    facts = [fact for fact, hit in zip(facts, answered(model, facts, ()), strict=True) if hit]
    for place, request in enumerate(requests):
        asked = [name for name in names if place < whole or name not in FITTING]
        missing = [preset for preset in presets if (preset, request.prompt) not in done]
        cases = generate_cases(model, request) if missing else None
        for preset in missing:
            row = measure(model, request, cases, facts, preset, asked)
            add(path, row)
            yield row


def read(path: Path) -> list[dict]:
    """The whole lines of a file; half a last line is cut off."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def add(path: Path, row: dict) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


# The table


def cell(values: Sequence[float], bar: float | None = None, passed: Sequence[bool] = ()) -> str:
    """Mean with interval and n, the share passed, and whether the bar is met."""
    values = [float(value) for value in values]
    if not values:
        return "not measured"
    low, high = scores.bootstrap([values])
    mean = scores.mean(values)
    text = f"{SCALE * mean:.1f} [{SCALE * low:.1f}, {SCALE * high:.1f}], n {len(values)}"
    text += f", {SCALE * sum(passed) / len(passed):.0f} % pass" if passed else ""
    return text if bar is None else f"{'**' if mean >= bar else ''}{text}{'**' if mean >= bar else ''}"


def table(rows: Sequence[dict], presets: Sequence[str], names: Sequence[str]) -> str:
    """Markdown: one line per figure, one column per preset; bold where the bar is met."""
    of = {preset: [row for row in rows if row["preset"] == preset] for preset in presets}
    lines = [f"| percent | bar | {' | '.join(presets)} |", "|---" * (2 + len(presets)) + "|"]

    def line(name: str, bar: float | None, cells: Sequence[str]) -> None:
        lines.append(f"| {name} | {'' if bar is None else f'≥ {SCALE * bar:g}'} | {' | '.join(cells)} |")

    for name in names:
        asked = {preset: [row["scores"][name] for row in of[preset] if name in row["scores"]] for preset in presets}
        found = {preset: [score for score in asked[preset] if score["value"] is not None] for preset in presets}
        line(name, BARS.get(name), [cell([f["value"] for f in found[p]], BARS.get(name),
                                         [f["passed"] for f in found[p]]) for p in presets])
    line("Unrelated facts kept", PRESERVED, [cell([row["preserved"] for row in of[p]], PRESERVED) for p in presets])
    line("New answer is the first choice", None, [cell([row["took"] for row in of[p]]) for p in presets])
    line("All three checks passed", None, [cell([row["accepted"] for row in of[p]]) for p in presets])
    passed = {p: [sum(bool(f["passed"]) for f in row["scores"].values()) for row in of[p]
                  if len(row["scores"]) == len(names)] for p in presets}
    medians = [f"{statistics.median(passed[p]):g}, n {len(passed[p])}" if passed[p] else "not measured"
               for p in presets]
    lines.append(f"| Passed of {len(names)}, median | ≥ {PASSED} | {' | '.join(medians)} |")
    return "\n".join(lines) + "\n"


def sequences(paths: Sequence[Path]) -> str:
    """Markdown: one line per sequence file, at its last step."""
    lines = ["| sequence | edits | took | retention (≥ 0.85) | still said | perplexity ratio (≥ 0.85) | facts kept | "
             "entropy ratio | s per edit |", "|---" * 9 + "|"]
    for path in paths:
        head, *rows = read(path)
        found = summary([SequenceStep(step=row["step"], edit=None, **{name: row[name] for name in MEASURED})
                         for row in rows])
        label = f"{head['preset']}{'' if head['config'].get('protect_earlier') else ', earlier edits not spared'}"
        kept = "" if found["facts_kept"] is None else f"{found['facts_kept']:.3f} of {found['facts']}"
        lines.append(f"| {label} | {found['edits']} | {found['took']:.3f} | {found['retention']:.3f} | "
                     f"{found['held']:.3f} | {found['perplexity_ratio']:.3f} | {kept} | {found['entropy_ratio']:.3f} | "
                     f"{found['seconds_per_edit']:.2f} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="pocket", help="pocket, or a folder with another checkpoint of it")
    parser.add_argument("--count", type=int, default=100, help="facts to edit (default: %(default)s)")
    parser.add_argument("--whole", type=int, help="first facts that get the slow benchmarks too (default: all)")
    parser.add_argument("--presets", nargs="+", default=["default", "seed"])
    parser.add_argument("--names", nargs="+", default=list(BENCHMARKS), help="benchmarks (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("quality.jsonl"), help="one line per edit; the table beside")
    parser.add_argument("--sequences", nargs="*", type=Path, default=[], help="files of sequences to summarise")
    chosen = parser.parse_args(arguments)
    rows: list[dict] = []
    if chosen.count:
        model = auditor.load(chosen.model)
        whole = chosen.count if chosen.whole is None else chosen.whole
        for row in run(model, chosen.out, count=chosen.count, whole=whole, presets=chosen.presets, names=chosen.names,
                       seed=chosen.seed):
            rows.append(row)
            print(row["preset"], row["prompt"], "→", row["new"], row["seconds"], flush=True)
    text = table(rows, chosen.presets, chosen.names) if rows else ""
    if found := [path for path in chosen.sequences if path.is_file()]:
        text += "\n" + sequences(found)
    chosen.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
