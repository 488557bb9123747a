"""Plain words for figures and verdicts, shared by the page and by what is taken away."""

from __future__ import annotations

CHECKS = {
    "paraphrase": ("Still true when asked differently",
                   "average chance of the new answer over seven rephrasings"),
    "behaviour": ("Other behaviour left alone",
                  "how much its next-word choices moved on 25 fixed, unrelated questions"),
    "fingerprint": ("Working memory left alone",
                    "likeness of the model's working memory before and after, 1 = the same"),
}
"""Name of a check to its title and to what the number is."""


def verdict(passed: bool | None) -> str:
    """A verdict in a shape and a word, never in colour alone."""
    return "◐ not measured" if passed is None else "✔ passed" if passed else "✖ failed"


def limit(direction: str, threshold: float) -> str:
    """The limit of a check as words."""
    return f"{'at least' if direction == 'at least' else 'below'} {threshold:g}"


def percent(share: float) -> str:
    """A probability as a percentage that never claims 0 or 100 by rounding."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


def number(value: float) -> str:
    """A figure with three significant digits."""
    return "0" if value == 0 else f"{value:.3g}"


def small(value: float) -> str:
    """A figure near 0 or below 1 with three decimals, which never claims 0 or 1 by rounding."""
    if 0 < abs(value) < 0.001:
        return "< 0.001" if value > 0 else "> -0.001"
    return "> 0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def count(n: int, noun: str) -> str:
    """A number with its noun: 1 change, 2 changes."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
