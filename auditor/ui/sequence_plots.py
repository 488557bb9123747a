"""Pictures of a run of many changes: curves over the steps, and what is left of each change. Pure functions.

Each way of changing the model has its own colour, dash and marker, whichever ways are shown. A step that measured
nothing is a gap in the figure's numbers; markers stand where something was measured, and lines only join them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from auditor.benchmarks.sequence import SequenceStep, matrix
from auditor.ui.plots import BLUE, DASHES, GRID, ORANGE, RING, SYMBOLS, figure, short
from auditor.ui.sequence_words import BAR, NAMES, Found, Measure
from auditor.ui.words import change

COLOURS = (BLUE, ORANGE, RING)
ROW = 22
"""Pixels of a row of the matrix."""


def curves(found: Found, measure: Measure) -> go.Figure:
    """One line for each way: the figure after every step, None where it was not measured."""
    lines, values = [], [1.0, *([measure.bar] if measure.bar else [])]
    for i, way in enumerate(NAMES):
        steps = found.get(way, ())
        y = [_finite(measure.at(steps, place)) for place in range(len(steps))]
        values += [value for value in y if value is not None]
        if any(value is not None for value in y):
            lines.append(go.Scatter(
                x=[step.step for step in steps], y=y, mode="lines+markers", connectgaps=True, name=NAMES[way],
                line={"dash": DASHES[i], "color": COLOURS[i]}, marker={"symbol": SYMBOLS[i], "size": 7},
                hovertemplate=f"{NAMES[way]}<br>after change %{{x}}: %{{y:.3f}}<extra></extra>"))
    low, most = max(0.0, min(values) - 0.05), max((line.x[-1] for line in lines), default=1)
    return figure(*lines, height=330, x="changes made", showlegend=True, **_bar(measure.bar, low),
                  title={"text": measure.title, "font": {"size": 14}, "y": 0.98}, margin={"t": 96},
                  legend={"y": 1.02, "yanchor": "bottom"}, yaxis={"range": [low, max(values) + 0.03]},
                  xaxis={"range": [0.5, most + 0.5], "tickformat": "d", **({"dtick": 1} if most <= 12 else {})})


def _bar(bar: float | None, low: float) -> dict:
    """The limit as a line with its name."""
    if bar is None:
        return {}
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": bar, "y1": bar,
            "line": {"color": "rgba(128,128,128,0.9)", "width": 2, "dash": "dashdot"}}
    return {"shapes": [line], "annotations": [{"xref": "paper", "x": 1, "y": bar, "text": f"limit {bar:g}",
                                               "showarrow": False, "xanchor": "right", "yanchor": "bottom"}]}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def retention(steps: Sequence[SequenceStep]) -> go.Figure:
    """What is left of change i (across) after step n (down): 1 is all of it; crosses mark what is below the limit."""
    rows = matrix(steps)
    width = max(rows, default=0)
    z = [[*row, *[None] * (width - len(row))] for row in rows.values()]
    names = [f"after {step}" for step in rows]
    claims = [short(change(step.edit.request), 60) for step in steps[:width]]
    heat = go.Heatmap(z=z, x=list(range(1, width + 1)), y=names, customdata=[claims] * len(rows), colorscale="Viridis",
                      zmin=0.0, zmax=1.0, hoverongaps=False, xgap=1 if width <= 25 else 0, ygap=1,
                      colorbar={"title": {"text": "left"}, "thickness": 12},
                      hovertemplate="change %{x}, %{y}: %{z:.3f} left<br>%{customdata}<extra></extra>")
    low = [(i + 1, y) for y, row in zip(names, z, strict=True) for i, value in enumerate(row)
           if value is not None and value < BAR]
    cross = go.Scatter(x=[x for x, _ in low], y=[y for _, y in low], mode="markers", hoverinfo="skip", showlegend=False,
                       marker={"symbol": "x", "size": 9 if width <= 25 else 5, "color": "#ffffff",
                               "line": {"color": "#18181b", "width": 1}})
    return figure(heat, cross, height=100 + ROW * max(len(rows), 3), x="change",
                  yaxis={"autorange": "reversed", "showgrid": False, "gridcolor": GRID, "type": "category"},
                  xaxis={"range": [0.5, max(width, 1) + 0.5], "showgrid": False, "tickformat": "d",
                         **({"dtick": 1} if width <= 25 else {})})
