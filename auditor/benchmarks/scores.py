"""Formulas of the benchmarks: pure functions of numbers and texts, and the bootstrap."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

DRAWS = 2_000
LEVEL = 0.90
"""Share of bootstrap draws inside the interval."""

Strata = Sequence[np.ndarray]
"""Groups of cases that are drawn separately: [n] or [n, column] figures, one row per case."""


def share(new: float, old: float) -> float:
    """c = e^l(new) / (e^l(new) + e^l(old)) of log-probabilities per token: the new answer's share against the old."""
    return 1 / (1 + math.exp(min(700.0, max(-700.0, old - new))))


def macro(*means: np.ndarray) -> np.ndarray:
    """Mean over strata of their mean: [draw, column] each, to [draw]."""
    return np.mean([mean[:, 0] for mean in means], axis=0)


def value(strata: Strata, reduce: Callable[..., np.ndarray] = macro) -> float:
    """The figure itself: `reduce` of the strata's means."""
    return float(reduce(*(_columns(x).mean(0, keepdims=True) for x in strata))[0])


def bootstrap(strata: Strata, reduce: Callable[..., np.ndarray] = macro, *, draws: int = DRAWS, level: float = LEVEL,
              seed: int = 0) -> tuple[float, float]:
    """Percentile interval over cases, each stratum drawn with replacement; widened where it would miss the figure."""
    rng = np.random.default_rng(seed)
    means = []
    for x in map(_columns, strata):
        counts = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=draws)  # (draw, n)
        means.append(counts @ x / len(x))
    drawn, figure = np.asarray(reduce(*means), dtype=float), value(strata, reduce)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(min(low, figure)), float(max(high, figure))


def _columns(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    return x.reshape(len(x), -1)


def mean(numbers: Sequence[float]) -> float:
    """Arithmetic mean; nan for nothing."""
    return float(np.mean(numbers)) if len(numbers) else math.nan


def harmonic(numbers: Sequence[float]) -> float:
    """Harmonic mean; 0 where any number is not positive."""
    return len(numbers) / sum(1 / x for x in numbers) if numbers and min(numbers) > 0 else 0.0


def snr(gain: float, moved: float) -> float:
    """Signal to noise of a change: log-odds gained on the claim per nat moved elsewhere; never negative."""
    return max(0.0, gain) / (moved + 1e-4)


# Texts


def words(text: str) -> list[str]:
    """Words in lower case."""
    return re.findall(r"\w+", text.lower())


def ngram_entropy(text: str, n: int) -> float:
    """Entropy of a text's n-grams of words in bits."""
    found = words(text)
    counts = np.array(list(Counter(tuple(found[i : i + n]) for i in range(len(found) - n + 1)).values()), dtype=float)
    if not len(counts):
        return 0.0
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())


def fluency(text: str) -> float:
    """GE: mean of 2/3 H_2 and 4/3 H_3 in bits, as in CounterFact (there shown times 100)."""
    return (2 / 3 * ngram_entropy(text, 2) + 4 / 3 * ngram_entropy(text, 3)) / 2


def distinct(texts: Sequence[str], n: int = 3) -> float:
    """Share of n-grams of words that are not repeats."""
    grams = [tuple(w[i : i + n]) for w in map(words, texts) for i in range(len(w) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def tfidf_cosine(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Cosine of TF-IDF vectors within each pair; document frequencies are taken over all texts of all pairs."""
    texts = [Counter(words(text)) for pair in pairs for text in pair]
    frequency = Counter(word for text in texts for word in text)
    vectors = [{w: count * (math.log((1 + len(texts)) / (1 + frequency[w])) + 1) for w, count in text.items()}
               for text in texts]
    norms = [math.sqrt(sum(x * x for x in vector.values())) for vector in vectors]
    dots = [sum(x * b.get(w, 0.0) for w, x in a.items()) for a, b in zip(vectors[::2], vectors[1::2])]
    return [min(1.0, dot / (m * n)) if m and n else float(m == n)
            for dot, m, n in zip(dots, norms[::2], norms[1::2], strict=True)]


def says(text: str, names: Sequence[str]) -> bool:
    """Whether a text contains any of some names as whole words."""
    return any(re.search(rf"(?<!\w){re.escape(name.strip().casefold())}(?!\w)", text.casefold())
               for name in names if name.strip())


def prefix_share(a: Sequence[int], b: Sequence[int], length: int) -> float:
    """Length of the common beginning of two token lists, as a share of `length`; two ended texts agree to the end."""
    for i in range(length):
        left, right = (x[i] if i < len(x) else None for x in (a, b))
        if left != right:
            return i / length
    return 1.0
