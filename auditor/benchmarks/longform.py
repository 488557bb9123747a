"""Does the change hold in longer texts? LEME, after Rosati et al. 2024 (arXiv 2402.09394), without a judge."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from auditor.benchmarks import Outcome, Step, benchmark, scores
from auditor.benchmarks.cases import Item
from auditor.benchmarks.decoding import continued
from auditor.benchmarks.trial import Trial
from auditor.types import Case

LENGTH = 120
ITEMS = {"EC": "the new answer is kept after the text", "FC": "other facts are kept after the text",
         "IC": "the text does not say both answers", "TOP": "the text is about the same things as before",
         "NAT": "the text is as varied as before"}


@benchmark("LEME", dimension="long-form", threshold=0.50, minimum=3, reads=("same",),
           describe="Does it write longer texts on the subject that keep the new answer, other facts and good style?")
def leme(trial: Trial) -> Generator[Step, None, Outcome]:
    """Mean of five items over passages of 120 tokens on the subject and on something related."""
    items = trial.cases.of("passage")
    prompts, texts = [item.prompt for item in items], []
    for done, edits in enumerate((trial.before, trial.after)):
        yield Step(done, 3)
        with trial.model.applied(edits):
            seeds = [None, *range(1, len(prompts))]
            texts.append([trial.model.text(ids) for ids in continued(trial.model, prompts, LENGTH, seeds=seeds)])
    yield Step(2, 3)
    before, after = ([p + text for p, text in zip(prompts, each, strict=True)] for each in texts)
    strata = _items(trial, items, before, after)
    each = np.mean([strata[name] for name in ("EC", "IC", "TOP", "NAT")], axis=0)
    cases = [Case(prompt, trial.request.target_new, 0.0, float(strata["EC"][i]), float(each[i]),
                  text[len(prompt) :].strip())
             for i, (prompt, text) in enumerate(zip(prompts, after))]
    means = {name: scores.mean(x) for name, x in strata.items() if len(x)}
    free = scores.mean([scores.says(text, trial.cases.names) and not scores.says(text, (trial.request.target_old,))
                        for item, text in zip(items, after) if item.group == "subject"])
    return Outcome(cases, [x for x in strata.values() if len(x)],
                   detail={"free": free, **means, "before": before, "after": after, "meaning": ITEMS})


def _items(trial: Trial, items: Sequence[Item], before: Sequence[str], after: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores per passage (FC: per fact)."""
    request = trial.request
    claims = [f"{text.rstrip()} {request.prompt}" for text in after]
    follow = [Item("direct", claim, request.target_old, request.target_new) for claim in claims]
    facts = [item for item in trial.cases.of("same") if _margin(trial, item) > 0]
    own = [text for item, text in zip(items, after) if item.group == "subject"] or list(after)
    kept = [Item("same", f"{own[i % len(own)].rstrip()} {fact.prompt}", request.target_new, fact.old)
            for i, fact in enumerate(facts[:8])]
    shares = trial.shares([*follow, *kept], trial.after)
    return {"EC": np.array(shares[: len(follow)]),
            "FC": np.array([float(c > 0.5) for c in shares[len(follow) :]]),
            "IC": np.array([1.0 - (scores.says(t, trial.cases.names) and scores.says(t, (request.target_old,)))
                            for t in after]),
            "TOP": np.array(scores.tfidf_cosine(list(zip(before, after, strict=True)))),
            "NAT": np.array([min(1.0, scores.fluency(new) / old) if (old := scores.fluency(was)) else 1.0
                             for was, new in zip(before, after, strict=True)])}


def _margin(trial: Trial, item: Item) -> float:
    """How firmly the model held this fact before the edit, nats per token."""
    old, new = (trial.reading(item.prompt, answer, after=False).mean for answer in (item.old, item.new))
    return old - new
