"""The quality profile as two pictures: bars against their limits, and a radar. Scores in, HTML out. Pure functions.

1. Every bar runs from 0 to 100 %; a marker stands at the limit and whiskers span the 90 % interval.
2. The radar repeats the same figures as a shape, with the limits as a dashed outline. An axis that was not measured
   leaves a gap: it is no zero. The shape's area means nothing, since it depends on the order of the axes.

Whether a score passed is told by a sign and by hatching, never by colour alone; names are escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from auditor.types import BenchmarkScore
from auditor.ui.words import percent

RADIUS, RINGS = 120, (0.25, 0.5, 0.75, 1.0)
SIGNS = {True: "✔", False: "✖", None: "○"}
KINDS = {True: "good", False: "bad", None: "open"}
STANDINGS = {True: "passed", False: "not passed", None: "not measured"}


def figure(score: BenchmarkScore) -> str:
    """The score in percent, rounded so that it never seems to reach a limit that it missed; a dash without one."""
    if score.value is None:
        return "—"
    if not score.passed and round(100 * score.value, 1) >= 100 * score.threshold:
        return f"{math.floor(1000 * score.value) / 10:.1f} %"
    return percent(score.value)


def limit(score: BenchmarkScore) -> str:
    """The limit in percent."""
    return f"{100 * score.threshold:g} %"


def between(score: BenchmarkScore) -> str:
    """The 90 % interval in percent, rounded outwards; empty without one."""
    if not score.interval:
        return ""
    low, high = math.floor(1000 * score.interval[0]) / 10, math.ceil(1000 * score.interval[1]) / 10
    return f"90 % interval {low:.1f} to {high:.1f} %"


def spoken(score: BenchmarkScore) -> str:
    """A bar in words, for whoever does not see it."""
    if score.value is None:
        return f"{score.name}: not measured, limit {limit(score)}"
    parts = (figure(score), between(score), f"limit {limit(score)}", STANDINGS[score.passed])
    return f"{score.name}: {', '.join(filter(None, parts))}"


def track(score: BenchmarkScore) -> str:
    """One bar from 0 to 100 % with whiskers and the limit's marker."""
    parts = [f'<i class="limit" style="left:{_at(score.threshold)}"></i>']
    if score.value is not None:
        parts.insert(0, f'<i class="fill" style="width:{_at(score.value)}"></i>')
        if score.interval:
            low, high = score.interval
            parts.append(f'<i class="whisker" style="left:{_at(low)};width:{_at(high - low)}"></i>')
    return (f'<span class="track {KINDS[score.passed]}" role="img" aria-label="{escape(spoken(score), quote=True)}">'
            + "".join(parts) + "</span>")


def _at(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def bars(scores: Sequence[BenchmarkScore]) -> str:
    """All bars under each other, with the key to their signs."""
    rows = "".join(f'<li><span class="name">{escape(s.name)}</span>{track(s)}<span class="value">{figure(s)}</span>'
                   f'<span class="sign {KINDS[s.passed]}" title="{STANDINGS[s.passed]}">{SIGNS[s.passed]}</span></li>'
                   for s in scores)
    key = ('<p class="key"><span><i class="mark limit"></i> limit</span><span><i class="mark whisker"></i> 90 % '
           'interval</span><span>✔ passed</span><span>✖ not passed (hatched)</span><span>○ not measured</span></p>')
    return f'<figure class="bars"><figcaption>Scores against their limits</figcaption><ol>{rows}</ol>{key}</figure>'


# The radar


def point(index: int, of: int, share: float) -> tuple[float, float]:
    """Where a share lies on one of the axes, the first of which points up."""
    angle = 2 * math.pi * index / of
    return round(RADIUS * share * math.sin(angle), 2), round(-RADIUS * share * math.cos(angle), 2)


def radar(scores: Sequence[BenchmarkScore]) -> str:
    """The same scores as a shape inside a circle, limits dashed; the summary in words is its label."""
    n = len(scores)
    rings = "".join(f'<circle r="{RADIUS * ring:g}" class="ring"/>' for ring in RINGS)
    axes = "".join(_axis(score, i, n) for i, score in enumerate(scores))
    limits = _path([point(i, n, score.threshold) for i, score in enumerate(scores)], closed=True)
    text = "Radar of the profile. " + "; ".join(map(spoken, scores))
    return (f'<figure class="radar"><figcaption>The same as a shape (dashed: the limits)</figcaption>'
            f'<svg viewBox="-225 -165 450 330" role="img" aria-label="{escape(text, quote=True)}">{rings}{axes}'
            f'<path class="limits" d="{limits}"/>{_shape(scores)}</svg></figure>')


def _axis(score: BenchmarkScore, index: int, of: int) -> str:
    (x, y), (tx, ty) = point(index, of, 1), point(index, of, 1.1)
    anchor = "middle" if abs(tx) < RADIUS / 5 else "start" if tx > 0 else "end"
    lines = _two_lines(f"{SIGNS[score.passed]} {score.name}")
    first = ty - 13 * (len(lines) - 1) if ty < -RADIUS / 2 else ty + 4 if ty < RADIUS / 2 else ty + 10
    spans = "".join(f'<tspan x="{tx}" dy="{13 if i else 0}">{escape(line)}</tspan>' for i, line in enumerate(lines))
    return (f'<line class="axis {KINDS[score.passed]}" x2="{x}" y2="{y}"/>'
            f'<text x="{tx}" y="{first:.1f}" text-anchor="{anchor}">{spans}</text>')


def _two_lines(name: str) -> list[str]:
    """A long name broken in two where a capital begins a word."""
    parts = re.split(r"(?<=[a-z])(?=[A-Z])", name, maxsplit=1)
    return parts if len(name) > 14 and len(parts) == 2 else [name]


def _shape(scores: Sequence[BenchmarkScore]) -> str:
    """The outline through what was measured, broken at gaps, and a sign at each corner."""
    n, points = len(scores), [None if s.value is None else point(i, len(scores), s.value)
                              for i, s in enumerate(scores)]
    if None not in points:
        outline = f'<path class="area" d="{_path(points, closed=True)}"/>'
    else:
        sides = [(points[i], points[(i + 1) % n]) for i in range(n)]
        outline = "".join(f'<path class="side" d="{_path(side)}"/>' for side in sides if None not in side)
    return outline + "".join(_corner(score, *found) for score, found in zip(scores, points) if found)


def _corner(score: BenchmarkScore, x: float, y: float) -> str:
    title = f"<title>{escape(spoken(score))}</title>"
    if score.passed:
        return f'<circle class="corner good" cx="{x}" cy="{y}" r="4">{title}</circle>'
    return f'<path class="corner bad" d="M{x},{y - 6}l6,6l-6,6l-6,-6z">{title}</path>'


def _path(points: Sequence[tuple[float, float]], *, closed: bool = False) -> str:
    return "M" + "L".join(f"{x},{y}" for x, y in points) + ("z" if closed else "")
