"""What a run of many changes found: figures by step, sentences and tables. Pure functions, everything escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from auditor.benchmarks.sequence import TOOK, SequenceStep, summary
from auditor.ui import words
from auditor.ui.words import Raw, light, number, percent, table

BAR = 0.85
"""What is to be left of earlier changes, and of the likelihood of text."""
NAMES = {"default": "recommended settings", "open": "recommended, earlier changes not spared",
         "seed": "original recipe"}
"""Ways of changing the model, in words."""
MOST_LOST = 5
NOT = "—"

Found = Mapping[str, Sequence[SequenceStep]]
"""Way to its steps."""


@dataclass(frozen=True)
class Measure:
    """A figure of a step that is drawn over the steps; `at` gives None where the step did not measure it."""

    title: str
    at: Callable[[Sequence[SequenceStep], int], float | None]
    """Steps and the place of one of them, from 0."""
    bar: float | None = None


def retained(steps: Sequence[SequenceStep], i: int) -> float | None:
    """Mean over the changes that took of what is left of them after step i; None where that was not measured."""
    kept = [value for value, step in zip(steps[i].retention, steps) if step.own >= TOOK]
    return sum(kept) / len(kept) if kept else None


MEASURES = {
    "retention": Measure("What is left of earlier changes", retained, BAR),
    "perplexity": Measure("How likely ordinary text is, against before", lambda steps, i: steps[i].perplexity_ratio,
                          BAR),
    "facts": Measure("Share of known facts still answered", lambda steps, i: steps[i].facts_kept),
    "entropy": Measure("How varied its own text is, against before", lambda steps, i: steps[i].entropy_ratio),
}


def sentences(found: Found) -> str:
    """One sentence for each way, with a sign for whether both limits were met."""
    return "".join(_sentence(NAMES[way], steps) for way, steps in found.items() if steps)


def _sentence(name: str, steps: Sequence[SequenceStep]) -> str:
    figures = summary(steps)
    retention, ratio = figures.get("retention"), figures.get("perplexity_ratio")
    if retention is None:
        return words.note(f"With the {name}, {words.count(len(steps), 'change')} made; earlier ones were not looked at "
                          "yet.", "quiet")
    if retention != retention:
        return words.note(f"With the {name}, none of {words.count(figures['edits'], 'change')} took in the first "
                          "place, so there is nothing to be left of them.", "bad")
    text = (f"After {words.count(figures['edits'], 'change')} with the {name}, {percent(retention)} of each earlier "
            f"change is left on average, and each word of ordinary text is {number(ratio)} times as likely as before")
    if figures["facts_kept"] is not None:
        when = max(step.step for step in steps if step.facts_kept is not None)
        text += (f"; {percent(figures['facts_kept'])} of the {figures['facts']} facts it knew are still answered"
                 f"{f' (after change {when})' if when != figures['edits'] else ''}")
    missed = round((1 - figures["took"]) * figures["edits"])
    tail = f" Left out: {words.count(missed, 'change')} that did not take in the first place." if missed else ""
    return words.note(f"{text}.{tail}", "good" if min(retention, ratio) >= BAR else "bad")


def overview(found: Found) -> str:
    """The ways side by side, at the last step where everything was looked at."""
    rows = []
    for way, steps in found.items():
        figures = summary(steps)
        if "retention" in figures:
            rows.append((NAMES[way], str(figures["edits"]), _limited(figures["retention"]),
                         _limited(figures["perplexity_ratio"], number), _share(figures["facts_kept"]),
                         _share(figures["entropy_ratio"]), _share(figures["held"]),
                         f"{figures['seconds_per_edit']:.1f}"))
    return table(f"The settings side by side (limit of the first two figures: {BAR:g})",
                 ("Settings", "Changes made", MEASURES["retention"].title, MEASURES["perplexity"].title,
                  MEASURES["facts"].title, MEASURES["entropy"].title, "Changes it still says by itself",
                  "Seconds per change"), rows)


def _limited(value: float, shown: Callable[[float], str] = percent) -> Raw:
    if value != value:
        return Raw(light(None))
    return Raw(f"{shown(value).replace('<', '&lt;').replace('>', '&gt;')} {light(value >= BAR)}")


def _share(value: float | None) -> str:
    return NOT if value is None or value != value else percent(value)


def by_step(name: str, steps: Sequence[SequenceStep]) -> str:
    """Every step that looked at earlier changes, with the worst of them."""
    rows = []
    for i, step in enumerate(steps):
        if step.retention:
            worst = min(range(len(step.retention)), key=step.retention.__getitem__)
            rows.append((str(step.step), words.change(step.edit.request), words.layers(step.edit),
                         _share(retained(steps, i)), f"{percent(step.retention[worst])} (change {worst + 1})",
                         _share(step.held), number(step.perplexity_ratio), _share(step.facts_kept),
                         _share(step.entropy_ratio), percent(step.overlap)))
    return table(f"Step by step: {name} ({NOT} = not measured at this step)",
                 ("After change", "Which was", "Layer", "Left of earlier changes, mean", "… of the worst one",
                  "Changes it still says by itself", "Text against before", "Facts kept", "Variety against before",
                  "Would disturb an earlier one by"), rows)


def lost(name: str, steps: Sequence[SequenceStep]) -> str:
    """The changes of which least is left at the last look, where that is below the limit."""
    last = next((step for step in reversed(steps) if step.retention), None)
    order = sorted(range(len(last.retention)), key=last.retention.__getitem__)[:MOST_LOST] if last else []
    rows = [(str(i + 1), words.change(steps[i].edit.request), words.layers(steps[i].edit),
             "did not take in the first place" if steps[i].own < TOOK else percent(last.retention[i]))
            for i in order if last.retention[i] < BAR or steps[i].own < TOOK]
    return table(f"Changes that were lost most: {name}", ("Change", "Which was", "Layer", "Left of it"), rows)
