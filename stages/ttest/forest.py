"""The forest plot of several corpora: each one's difference, the combined one and what a new corpus would show."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patches import Polygon

from stages.common import figures
from stages.common.metrics import METRICS
from stages.ttest.report import pair, units
from stages.ttest.verdict import POINTS, unit

COMBINED, NEW = "combined", "a new corpus"
COLOUR = "#0173b2"
HIGHEST = 150.0
"""Inches; where a column of panels would be higher, they go on beside it."""


def draw(table: pd.DataFrame, members: pd.DataFrame, level: float) -> Figure:
    """A panel a pair (from the top) and score (beside each other), a row a study and one for what they say together.

    All panels in one unit show the same part of the axis (`limits`); an interval that goes beyond ends in an arrow.
    `table` and `members` are what `corpora.combine` returns, `level` what their intervals hold.
    """
    studies = list(members["study"].unique())
    rows = [*studies, COMBINED, *([NEW] if table["prediction_low"].notna().any() else [])]
    scores, pairs = list(table["score"].unique()), list(dict.fromkeys(zip(table["a"], table["b"], strict=True)))
    titles = {(p, s): f"{pair(*p)}\n{heading(s)}" for p in pairs for s in scores}
    height = 0.85 + 0.3 * len(rows)
    below = min(len(pairs), max(1, int(HIGHEST / height)))
    beside = -(-len(pairs) // below)
    widest = figures.text_width([line for title in titles.values() for line in title.split("\n")])
    shape, size = (below, beside * len(scores)), (max(4.0, widest + 0.4), height)
    figure, axes = figures.panels(rows, shape, size, sharex=False)
    for axis in axes.flat:
        axis.set_visible(False)
    for j, score in enumerate(scores):
        edges = limits(*(some[some["score"].map(unit) == unit(score)] for some in (table, members)))
        for i, own in enumerate(pairs):
            axis = axes[i % below, i // below * len(scores) + j]
            axis.set(visible=True, xlim=edges)
            axis.set_title(titles[own, score], fontsize=10)
            _panel(axis, _of(table, own, score), _of(members, own, score), studies)
    in_units = "points or as named" if len(set(map(unit, scores))) > 1 else units(scores[0])
    figure.supxlabel(
        f"difference ({in_units}), first model minus second; an arrow: the interval goes on", size="medium"
    )
    figure.legend(handles=_keys(f"{100 * level:g} %", NEW in rows), loc="outside upper center", ncols=3, frameon=False)
    return figure


def limits(table: pd.DataFrame, members: pd.DataFrame) -> tuple[float, float]:
    """What the axis shows, in hundredths: 0, and every difference with 3.5 standard errors on both sides."""
    both = pd.concat([table, members])
    ends = 100 * pd.concat([both["difference"] - 3.5 * both["se"], both["difference"] + 3.5 * both["se"]])
    low, high = min(0.0, ends.min()), max(0.0, ends.max())
    return low - 0.03 * (high - low), high + 0.03 * (high - low)


def heading(score: str) -> str:
    """A score's name, with its unit unless that is points, and its direction where that is down."""
    metric = METRICS.get(score)
    in_units = f", in {units(score)}" if unit(score) != POINTS else ""
    lower = "; the lower the better" if metric and metric.lower_is_better else ""
    return (metric.label if metric else score) + in_units + lower


def _panel(axis: Axes, combined: pd.DataFrame, members: pd.DataFrame, studies: list[str]) -> None:
    """One pair and score: `combined` is its row, or none where fewer than two studies have it."""
    axis.axvline(0, color="0.5", linewidth=0.8, zorder=1)
    axis.axhline(len(studies) - 0.5, color="0.5", linewidth=0.8, zorder=1)
    if combined.empty:
        axis.text(0.5, 0.5, "in fewer than two studies", transform=axis.transAxes, ha="center", va="center")
        return
    for row in members.itertuples():
        y = studies.index(row.study)
        _line(axis, row.low, row.high, y, color="black", linewidth=1.4)
        axis.scatter(
            100 * row.difference, y, s=12 + 150 * row.weight, marker="s", color="black", linewidths=0, zorder=3
        )
    row, y = next(combined.itertuples()), len(studies)
    low, middle, high = 100 * row.low, 100 * row.difference, 100 * row.high
    axis.add_patch(Polygon([(low, y), (middle, y - 0.3), (high, y), (middle, y + 0.3)], color=COLOUR, zorder=3))
    _line(axis, row.low, row.high, y, color=COLOUR, linewidth=0)
    if pd.notna(row.prediction_low):
        _line(axis, row.prediction_low, row.prediction_high, y + 1, color=COLOUR, linewidth=1.0)


def _line(axis: Axes, low: float, high: float, y: int, *, color: str, linewidth: float) -> None:
    """An interval in row `y`, with an arrow at the edge of the panel where it goes beyond."""
    ends, edges = np.array([100 * low, 100 * high]), axis.get_xlim()
    axis.plot(np.clip(ends, *edges), [y, y], color=color, linewidth=linewidth, zorder=2)
    for end, edge, sign, marker in zip(ends, edges, (-1, 1), (CARETLEFT, CARETRIGHT), strict=True):
        if sign * end > sign * edge:
            axis.plot(edge, y, color=color, marker=marker, markersize=8, markerfacecolor="white", zorder=4)


def _of(rows: pd.DataFrame, pair: tuple[str, str], score: str) -> pd.DataFrame:
    return rows[(rows["a"] == pair[0]) & (rows["b"] == pair[1]) & (rows["score"] == score)]


def _keys(level: str, predicted: bool) -> list[Line2D]:
    square = {"color": "black", "marker": "s", "markersize": 7}
    diamond = {"color": COLOUR, "marker": "d", "markersize": 9, "linestyle": ""}
    keys = [
        Line2D([], [], label=f"a study, {level} (area: weight)", **square),
        Line2D([], [], label=f"{COMBINED}, {level}", **diamond),
    ]
    return keys + ([Line2D([], [], label=f"{NEW}, {level}", color=COLOUR, linewidth=1.0)] if predicted else [])
