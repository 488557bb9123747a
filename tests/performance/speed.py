"""How fast is it? Median of five runs of each, in one run on this machine: `python tests/performance/speed.py`.

1. Page: seconds from starting `python app.py` until the page answers (the disk is warmed by a first, uncounted start).
2. Trace: the whole token x layer grid of one prompt, against a loop with one forward pass per cell written here.
3. Edit: trace, fit and the three checks until the verdict.
4. Profile: the questions of an accepted edit and all thirteen benchmarks.

Every figure is printed with its spread; the ratio of 2 is taken pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import auditor  # noqa: E402
from auditor.benchmarks import generate_cases, profile  # noqa: E402
from auditor.editor.trace import subject_deviation, trace  # noqa: E402

PROMPT, SUBJECT, ANSWER = "Visitors say that the Eiffel Tower is located in", "the Eiffel Tower", "Paris"


def seconds(work, runs: int) -> list[float]:
    """Wall seconds of each of `runs` calls."""
    spent = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return spent


def page_ready(port: int = 7999) -> None:
    """Start the app, wait until its page answers, stop it."""
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    app = subprocess.Popen([sys.executable, "app.py", "--model", "pocket", "--port", str(port)], cwd=ROOT,
                           env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            try:
                if b"Model Auditor" in urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read():
                    return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError("The page did not answer within a minute.")
    finally:
        app.terminate()
        app.wait()


@torch.no_grad()
def naive_trace(model, runs: int = 10, seed: int = 0) -> torch.Tensor:
    """One forward pass of all noisy rows per (layer, token) cell: [layer, pos] mean probability of the answer."""
    ids = torch.tensor([model.tokens(PROMPT) + model.target_tokens(ANSWER)])
    prompt, (first, stop) = len(model.tokens(PROMPT)), model.span(PROMPT, SUBJECT)
    target = ids[0, prompt:]
    noise = torch.randn(runs, stop - first, model.d_model, generator=torch.Generator().manual_seed(seed))
    sigma = 3.0 * subject_deviation(model)
    effect = torch.zeros(model.n_layers, prompt)
    with model.applied():
        clean = [model.embed(ids)]
        for layer in range(model.n_layers):
            clean.append(model.run(clean[-1], layer, layer + 1))
        for layer in range(model.n_layers):
            for pos in range(prompt):
                hidden = clean[0].repeat(runs, 1, 1)
                hidden[:, first:stop] += sigma * noise
                hidden = model.run(hidden, 0, layer + 1)
                hidden[:, pos] = clean[layer + 1][0, pos]
                hidden = model.run(hidden, layer + 1)
                logprobs = model.logits(hidden[:, prompt - 1 : -1]).log_softmax(-1)
                picked = logprobs.gather(-1, target.expand(runs, -1)[..., None])[..., 0]
                effect[layer, pos] = picked.sum(1).exp().mean()
    return effect


def report(name: str, spent: list[float]) -> dict:
    row = {"what": name, "median": round(statistics.median(spent), 3), "least": round(min(spent), 3),
           "most": round(max(spent), 3), "runs": len(spent), "unit": "s"}
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each")
    options = parser.parse_args()
    page_ready()
    report("page ready", seconds(page_ready, options.runs))
    model = auditor.load("pocket")
    request = auditor.EditRequest("The Eiffel Tower", "is located in", "Paris", "Rome")

    def edit_once():
        *_, outcome = auditor.edit(model, request, auditor.Session(model.id))
        return outcome

    grid = lambda: trace(model, PROMPT, SUBJECT, ANSWER)  # noqa: E731
    subject_deviation(model), grid(), edit_once()
    fast, naive = [], []
    for _ in range(options.runs):
        fast += seconds(grid, 1)
        naive += seconds(lambda: naive_trace(model), 1)
    report("trace, whole grid", fast)
    report("trace, one forward pass per cell", naive)
    ratio = statistics.median(slow / quick for slow, quick in zip(naive, fast))
    print(json.dumps({"what": "naive / ours", "median": round(ratio, 2)}))
    report("trace + edit + three checks", seconds(edit_once, options.runs))
    session = edit_once().session

    def profile_once():
        cases = generate_cases(model, request)
        return list(profile(model, session, session.edits[0].id, cases))

    report("questions + thirteen benchmarks", seconds(profile_once, min(options.runs, 3)))


if __name__ == "__main__":
    main()
