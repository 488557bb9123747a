"""Every picture on the page: a value in, a plotly Figure out. Pure functions.

Paper and plot background are transparent and text colours come from the page's style sheet, so that one figure serves
light and dark. Colours are a blue and an orange that stay apart for colour-blind readers; a second sign (ring, dash,
hatching) says the same as each colour. Numbers travel as lists, so that they can be read from the figure's JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go

from auditor.types import Fitting, TraceResult

BLUE, ORANGE, RING, GRID = "#3B8BC9", "#D9771E", "#E0393E", "rgba(128,128,128,0.25)"
DASHES, SYMBOLS = ("solid", "dash", "dot"), ("circle", "square", "diamond")
SITES = {"subject": "last word of the subject", "final": "last word of the sentence"}


def figure(*traces, height: int = 300, x: str = "", y: str = "", **layout) -> go.Figure:
    """A Figure in the page's style; `x` and `y` are axis titles."""
    axis = {"gridcolor": GRID, "zerolinecolor": "rgba(128,128,128,0.6)", "automargin": True}
    base = {"height": height, "margin": {"l": 8, "r": 12, "t": 36, "b": 8}, "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"size": 13, "family": "Source Sans Pro, ui-sans-serif, sans-serif"},
            "legend": {"orientation": "h", "y": 1.14, "x": 0},
            "xaxis": {**axis, "title": {"text": x, "font": {"size": 13}}},
            "yaxis": {**axis, "title": {"text": y, "font": {"size": 13}}}, "bargap": 0.25}
    for key, value in layout.items():
        base[key] = {**base[key], **value} if isinstance(base.get(key), dict) else value
    return go.Figure(data=list(traces), layout=base)


def answers(top: Sequence[tuple[str, float]], marked: Sequence[str] = ()) -> go.Figure:
    """Most likely next words as bars, likeliest on top; words that begin a marked answer are hatched."""
    words = [visible(word) for word, _ in top]
    hatched = ["/" if word.strip() and any(m.startswith(word.strip()) for m in marked if m) else "" for word, _ in top]
    chances = [float(p) for _, p in top]
    bars = go.Bar(x=chances, y=[f"{i + 1}. {w}" for i, w in enumerate(words)], orientation="h",
                  marker={"color": [ORANGE if h else BLUE for h in hatched], "pattern": {"shape": hatched}},
                  text=[f"{p:.1%}" for p in chances], textposition="outside", cliponaxis=False,
                  hovertemplate="%{y}: %{x:.2%}<extra></extra>")
    return figure(bars, height=60 + 28 * len(words), x="how likely as the next word",
                  xaxis={"tickformat": ".1~%", "range": [0, min(1.12, 1.25 * max([*chances, 0.01]))]},
                  yaxis={"autorange": "reversed", "title": None})


def layer_bars(trace: TraceResult, site: Literal["subject", "final"]) -> go.Figure:
    """How much of the answer each layer brings back at one place; layers above 40 % of the peak wear a red ring."""
    values, marked = trace.at(site).tolist(), trace.marked(site)
    bars = go.Bar(x=list(range(len(values))), y=values, marker={"color": BLUE}, name="brought back",
                  hovertemplate="layer %{x}: %{y:.3f}<extra></extra>", showlegend=False)
    rings = go.Scatter(x=list(marked), y=[values[i] for i in marked], mode="markers",
                       name="above 40 % of the strongest",
                       marker={"symbol": "circle-open", "size": 15, "color": RING, "line": {"width": 3}},
                       hoverinfo="skip", showlegend=True)
    return figure(bars, rings, x="layer", y="probability brought back",
                  title={"text": SITES[site].capitalize(), "font": {"size": 14}, "y": 0.98},
                  margin={"t": 64}, legend={"y": 1.16}, xaxis={"dtick": max(1, len(values) // 16)})


def grid(trace: TraceResult) -> go.Figure:
    """Token × layer heat map of the probability that restoring one state brings back; the subject is bracketed."""
    start, stop = trace.subject
    names = [f"{'▸ ' if start <= i < stop else ''}{visible(t)} ({i + 1})" for i, t in enumerate(trace.tokens)]
    z = trace.indirect.T.tolist()  # (pos, layer)
    heat = go.Heatmap(z=z, x=list(range(len(z[0]))), y=names, colorscale="Viridis", zmin=min(0.0, *map(min, z)),
                      colorbar={"title": {"text": "brought<br>back"}, "thickness": 12},
                      hovertemplate="%{y}, layer %{x}: %{z:.3f}<extra></extra>")
    return figure(heat, height=110 + 26 * len(names), x="layer", yaxis={"autorange": "reversed", "showgrid": False},
                  xaxis={"dtick": max(1, len(z[0]) // 16), "showgrid": False})


def loss(steps: Sequence[Fitting]) -> go.Figure:
    """Loss of the fit step by step, one line per layer tried."""
    lines = []
    for i, attempt in enumerate(sorted({s.attempt for s in steps})):
        own = [s for s in steps if s.attempt == attempt]
        lines.append(go.Scatter(x=[s.step for s in own], y=[s.loss for s in own], mode="lines+markers",
                                name=f"layer {own[0].layer} (attempt {attempt})",
                                line={"dash": DASHES[i % 3], "color": (BLUE, ORANGE, RING)[i % 3]},
                                marker={"symbol": SYMBOLS[i % 3], "size": 6},
                                hovertemplate="step %{x}: %{y:.3f}<extra></extra>"))
    return figure(*lines, height=300, x="step", y="distance from the goal (loss)", showlegend=True,
                  margin={"t": 76}, yaxis={"rangemode": "tozero"})


def moved(names: Sequence[str], values: Sequence[float]) -> go.Figure:
    """How much the next-word choices moved on each question."""
    labels = [f"{i + 1}. {short(name)}" for i, name in enumerate(names)]
    bars = go.Bar(x=list(map(float, values)), y=labels, orientation="h", marker={"color": BLUE},
                  text=[f"{v:.3f}" for v in values], textposition="outside", cliponaxis=False,
                  hovertemplate="%{y}: %{x:.4f}<extra></extra>")
    return figure(bars, height=90 + 28 * len(labels), x="moved (KL, nats)",
                  yaxis={"autorange": "reversed"}, xaxis={"range": [0, 1.25 * max([*values, 0.01])]})


def lean_shift(names: Sequence[str], shifts: Sequence[float]) -> go.Figure:
    """Signed change of the lean to decline on each question: right is more declining, left is less."""
    labels = [f"{i + 1}. {short(name)}" for i, name in enumerate(names)]
    reach = 1.3 * max([abs(v) for v in shifts] + [0.05])
    bars = go.Bar(x=list(map(float, shifts)), y=labels, orientation="h",
                  marker={"color": [ORANGE if v > 0 else BLUE for v in shifts],
                          "pattern": {"shape": ["/" if v > 0 else "" for v in shifts]}},
                  text=[f"{v:+.2f}" for v in shifts], textposition="outside", cliponaxis=False,
                  hovertemplate="%{y}: %{x:+.3f}<extra></extra>")
    return figure(bars, height=90 + 28 * len(labels), x="← answers more · declines more →",
                  yaxis={"autorange": "reversed"}, xaxis={"range": [-reach, reach]})


def visible(token: str) -> str:
    """A token as it can be seen: white space shown by a sign, angle brackets kept from being read as markup."""
    shown = token.replace("\n", "⏎").replace("\t", "⇥")
    shown = shown.strip() or "␠" * max(1, len(shown))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def short(text: str, limit: int = 34) -> str:
    """A question cut to fit beside a bar."""
    return visible(text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…")
