"""The quality profile in words and cards: scores in, HTML out. Pure functions.

1. `complete` puts a profile in the order of the registry; what was not run is *not measured*, never 0.
2. `summary` says it in sentences: how many passed, what stands out, which reading applies.
3. `cards` draws one card per benchmark; each opens to its questions, before and after.
4. `reading_table` is "Reading the scores together", with the row that applies marked by a shape.
5. `comparison` puts profiles side by side, one column each.

Whatever a visitor or the model wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from auditor.benchmarks import BENCHMARKS
from auditor.types import BenchmarkScore
from auditor.ui.quality_plots import KINDS, SIGNS, STANDINGS, bars, between, figure, limit, radar, track
from auditor.ui.words import Raw, number, percent, table

READ = ("EditBench", "EditGeneralization", "RippleBench")
ASKED = ("Asked directly", "In other words", "Neighbours untouched")
FIGURES = {
    "ES": "direct questions where the new answer wins", "EM": "lead of the new answer, direct questions",
    "PS": "rewordings where the new answer wins", "PM": "lead of the new answer, rewordings",
    "NS": "neighbours that keep theirs", "RS": "facts of the subject that stay",
    "S": "harmonic mean of the three shares", "snr_edit": "signal to noise, this change",
    "snr_control": "signal to noise, fine-tuning", "EC": "says the new answer behind its text",
    "FC": "other facts kept behind its text", "IC": "texts that do not name both answers",
    "TOP": "likeness to the text before", "NAT": "fluency against before"}
"""Further figures in words; others are named as the benchmark names them."""
FREE_GAP = 0.3
"""Free answers that lag this far behind a score are pointed out."""
LINES = 400
"""Longest text of a case that is shown in full, in characters."""


@dataclass(frozen=True)
class Reading:
    """One row of the table: which of the three are high, and what that means."""

    high: tuple[bool, bool, bool]
    title: str
    meaning: str


READINGS = (
    Reading((True, True, True), "Sound",
            "The new answer holds, also in other words, and what lies next to it was left alone. This is the aim."),
    Reading((True, False, True), "Learnt by heart",
            "The new answer comes when the claim is asked as it was written, and gets lost in other words."),
    Reading((True, True, False), "Spilled over",
            "The new answer holds, also in other words, but other facts near the subject moved as well."),
    Reading((False, False, True), "Did not take",
            "Asked directly, the model does not prefer the new answer; its surroundings are untouched because little "
            "happened."),
)


@dataclass(frozen=True)
class Unit:
    """What `before` and `after` of a benchmark's cases are."""

    text: str
    form: str = "share"
    """How it is written: a share in percent, a signed number, or a plain one."""
    before: bool = True
    score: str = "share"
    """How the score of a case is written."""


UNITS = {
    "RippleBench": Unit("lead of the answer that should stay over the best wrong one, nats per token; above 0 it is "
                        "kept", "signed"),
    "FineTuneDiff": Unit("log-odds of the new answer, nats per token; what counts is the gain", "signed",
                         score="signed"),
    "SeqCollapse": Unit("perplexity of ordinary sentences; lower is better", "plain"),
    "BatchConsistency": Unit("chance of the new answer against the old: before anything was written; at worst when all "
                             "four are"),
    "SeqRetention": Unit("chance of the new answer against the old: after this change; after ten more"),
    "LocalitySens": Unit("share of ten words written exactly as before; the expected text is what it wrote before"),
    "LEME": Unit("chance of the new answer behind the text that the model wrote, which stands in the last column",
                 before=False),
    "IndirectRecovery": Unit("chance of the conclusion from the new answer against that from the old"),
    "PM Score": Unit("difference of the two answers' chances, put on a scale where 50 % is a tie"),
    "zsRE": Unit("share of the new answer's tokens that are the model's first choice"),
}
SHARE = Unit("chance of the new answer against the old one")
SHOWN = ("free", "before", "after", "meaning")
"""Details that a card shows elsewhere, or that explain themselves to programs only."""


def complete(scores: Iterable[BenchmarkScore]) -> tuple[BenchmarkScore, ...]:
    """A profile in the order of the registry, with an empty score for whatever was not run."""
    found = {score.name: score for score in scores}
    return tuple(found.get(b.name) or BenchmarkScore(b.name, b.dimension, None, b.threshold, 0,
                                                     reason="It has not been run yet.")
                 for b in BENCHMARKS.values())


# In words


def reading(scores: Iterable[BenchmarkScore]) -> Reading | None:
    """The row of READINGS that applies; None where one of the three is not measured, or no row fits."""
    found = {score.name: score.passed for score in scores}
    high = tuple(found.get(name) for name in READ)
    return next((row for row in READINGS if row.high == high), None)


def read(scores: Sequence[BenchmarkScore]) -> str:
    """What the three main scores mean together, in one or two sentences; honest where no row fits."""
    found = {score.name: score for score in scores}
    missing = [name for name in READ if name not in found or found[name].value is None]
    if missing:
        return f"Read together: not possible, because {listed(missing)} {_was(missing)} not measured."
    row = reading(scores)
    words = [f"{name} is {'high' if found[name].passed else 'low'}" for name in READ]
    text = (f"Read together: {row.title}. {row.meaning}" if row else
            f"Read together: none of the four usual patterns fits, since {listed(words)}; go through the cards one by "
            "one.")
    close = [name for name in READ if near(found[name])]
    return text + (f" {listed(close)} {'is' if len(close) == 1 else 'are'} too close to the limit to be sure of it."
                   if close else "")


def near(score: BenchmarkScore) -> bool:
    """Whether the limit lies inside the interval: with other questions the verdict might be another one."""
    return bool(score.interval) and score.interval[0] < score.threshold < score.interval[1]


def summary(scores: Sequence[BenchmarkScore]) -> str:
    """How many passed of how many measured, what stands out, and how to read it. Plain text."""
    done = [score for score in scores if score.value is not None]
    if not done:
        return "Nothing has been measured yet."
    passed, open_ = sum(bool(score.passed) for score in done), len(scores) - len(done)
    text = f"{passed} of {len(done)} measured benchmarks passed" + (f"; {open_} {_was([0] * open_)} not measured."
                                                                   if open_ else ".")
    return " ".join((text, standing_out(done), read(scores)))


def standing_out(done: Sequence[BenchmarkScore]) -> str:
    """What failed, furthest below its limit first; else what is weakest; and free answers that lag behind."""
    failed = sorted((s for s in done if not s.passed), key=lambda s: s.value - s.threshold)
    if failed:
        text = "Below the limit: " + listed([f"{s.name} ({figure(s)}, limit {limit(s)})" for s in failed]) + "."
    else:
        weakest = min(done, key=lambda s: s.value - s.threshold)
        text = f"Nothing fell below its limit; nearest to it is {weakest.name} ({figure(weakest)}, limit "\
               f"{limit(weakest)})."
    lag = [s for s in done if (f := free(s)) is not None and s.value - f >= FREE_GAP and s.passed]
    if lag:
        worst = max(lag, key=lambda s: s.value - free(s))
        text += (f" Writing freely, the model does less well than {listed([s.name for s in lag])} "
                 f"{'suggests' if len(lag) == 1 else 'suggest'} ({worst.name}: {percent(free(worst))} against "
                 f"{figure(worst)}).")
    return text


def free(score: BenchmarkScore) -> float | None:
    """Share of freely written answers that are right, where any were written."""
    value = score.detail.get("free")
    return float(value) if isinstance(value, int | float) and value == value else None


def listed(names: Sequence[str]) -> str:
    """One, two and three."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _was(items: Sequence) -> str:
    return "was" if len(items) == 1 else "were"


# In cards


def profile(scores: Iterable[BenchmarkScore]) -> str:
    """The whole picture: sentence, bars, radar, cards, and the table that reads them together."""
    scores = complete(scores)
    return ('<section class="quality">' + f'<p class="note" role="status">{escape(summary(scores))}</p>'
            + f'<div class="pictures">{bars(scores)}{radar(scores)}</div>' + cards(scores) + reading_table(scores)
            + "</section>")


def cards(scores: Sequence[BenchmarkScore]) -> str:
    """One card per benchmark; each opens to its cases."""
    return ('<h3>The benchmarks one by one <small>(open a card to see its questions)</small></h3>'
            f'<div class="cards">{"".join(map(card, scores))}</div>')


def card(score: BenchmarkScore) -> str:
    """Name, meaning, score, bar with its limit, interval, count, verdict and free answers; opens to the cases."""
    kind, known = KINDS[score.passed], BENCHMARKS.get(score.name)
    badge = f'<span class="badge {kind}">{SIGNS[score.passed]} {STANDINGS[score.passed]}</span>'
    facts = (f"limit {limit(score)}", f"{score.n} {'case' if score.n == 1 else 'cases'}", between(score), _free(score))
    lines = "".join(f'<span class="facts">{fact}</span>' for fact in (" · ".join(facts[:2]), *facts[2:]) if fact)
    reason = f'<span class="reason">{escape(score.reason)}</span>' if score.value is None else ""
    head = (f'<span class="top"><span class="name">{escape(score.name)}</span>{badge}</span>'
            f'<span class="what">{escape(known.describe if known else "")}</span>{reason}'
            f'<span class="score"><b>{figure(score)}</b> <small>{escape(score.dimension)}</small></span>{track(score)}'
            + lines)
    return f'<details class="card {kind}"><summary>{head}</summary>{cases(score)}{more(score)}</details>'


def _free(score: BenchmarkScore) -> str:
    """The free-decoding rate beside the score."""
    if score.value is None:
        return ""
    rate = free(score)
    return "no free answers are written here" if rate is None else f"right when writing freely: {percent(rate)}"


def cases(score: BenchmarkScore) -> str:
    """The questions behind a card."""
    unit = UNITS.get(score.name, SHARE)
    rows = [(case.prompt, case.expected, *([_value(case.before, unit.form)] if unit.before else []),
             _value(case.after, unit.form), _value(case.score, unit.score), _cut(case.note)) for case in score.cases]
    before = ["Before"] if unit.before else []
    return table(f"Questions: {unit.text}", ("Question", "Expected", *before, "After", "Counts as", "Note"), rows,
                 empty="There are no questions to show.")


def _value(value: float | None, form: str) -> str:
    if value is None or value != value:
        return "—"
    return percent(value) if form == "share" else f"{value:+.2f}" if form == "signed" else number(value)


def _cut(text: str) -> str:
    return text if len(text) <= LINES else f"{text[:LINES].rstrip()} …"


def more(score: BenchmarkScore) -> str:
    """Further figures of a benchmark, as it reports them."""
    rows = [(FIGURES.get(key, key.replace("_", " ")), _plain(value)) for key, value in score.detail.items()
            if key not in SHOWN]
    return table("Further figures", ("Figure", "Value"), [row for row in rows if row[1]])


def _plain(value: object) -> str:
    """A figure or a small table of figures as text; empty for anything longer."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value) if value == value else "—"
    if isinstance(value, Mapping):
        return " · ".join(f"{key}: {_plain(item)}" for key, item in value.items() if _plain(item))
    return ""


# Together, and side by side


def reading_table(scores: Sequence[BenchmarkScore]) -> str:
    """"Reading the scores together": the row that applies is marked by ▶ and by its frame."""
    found, here = {score.name: score for score in scores}, reading(scores)
    limits = [f"{words} ({name}, {limit(found[name])})" if name in found else words
              for words, name in zip(ASKED, READ, strict=True)]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("", *limits, "Reading"))
    body = "".join(_reading_row(row, row is here) for row in READINGS)
    if here is None:
        body += f'<tr class="here" aria-current="true"><th scope="row">▶ <span class="sr">applies here</span></th>'\
                f'<td colspan="{len(READ) + 1}">{escape(read(scores))}</td></tr>'
    return ('<div class="table" tabindex="0" role="region" aria-label="Reading the scores together"><table '
            f'class="readings"><caption>Reading the scores together</caption><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def _reading_row(row: Reading, here: bool) -> str:
    mark = '▶ <span class="sr">applies here</span>' if here else ""
    cells = "".join(f"<td data-label=\"{text}\">{'▲ high' if high else '▽ low'}</td>"
                    for text, high in zip(ASKED, row.high, strict=True))
    attributes = ' class="here" aria-current="true"' if here else ""
    return (f'<tr{attributes}><th scope="row">{mark}</th>{cells}<td><strong>{escape(row.title)}.</strong> '
            f"{escape(row.meaning)}</td></tr>")


@dataclass(frozen=True)
class Column:
    """One measured profile of the comparison."""

    change: str
    recipe: str
    layer: str
    standing: str
    """Accepted, or only for comparison, and anything to bear in mind."""
    scores: tuple[BenchmarkScore, ...]


def comparison(columns: Sequence[Column]) -> str:
    """Profiles side by side; empty while there is nothing measured."""
    if not columns:
        return ""
    profiles = [{score.name: score for score in complete(column.scores)} for column in columns]
    heads = [f"{i}. {column.change}" for i, column in enumerate(columns, 1)]
    rows: list[tuple] = [("Recipe", *(c.recipe for c in columns)), ("Layer", *(c.layer for c in columns)),
                         ("Standing", *(c.standing for c in columns)),
                         ("Passed of measured", *(Raw(f"<strong>{_count(p.values())}</strong>") for p in profiles))]
    rows += [(f"{name} (limit {100 * known.threshold:g} %)",
              *(_standing(p[name]) for p in profiles))
             for name, known in BENCHMARKS.items()]
    return table("Side by side", ("", *heads), rows)


def _standing(score: BenchmarkScore) -> str:
    return "○ not measured" if score.value is None else f"{figure(score)} {SIGNS[score.passed]}"


def _count(scores: Iterable[BenchmarkScore]) -> str:
    passed = [score.passed for score in scores if score.value is not None]
    return f"{sum(passed)} of {len(passed)}"
