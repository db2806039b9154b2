"""The figures of the tests, drawn from their table; nothing is computed here but means."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stages.common import figures
from stages.common.params import Compare
from stages.common.scores import SCORES
from stages.ttest.report import label, pair, points

LOOKS = {
    "better": {"color": "black", "marker": "o"},
    "equivalent": {"color": "black", "marker": "s", "markerfacecolor": "white"},
    "undecided": {"color": "0.55", "marker": "D", "markerfacecolor": "white"},
}
"""Verdict → colour and marker, no model's; a difference that is both better and equivalent looks better."""

MARKERS = "osD^vPX<>*"
"""Those of folds, taken in turn: with their place in the row and their colour, folds are told apart in three ways."""


def differences(table: pd.DataFrame, settings: Compare, corpus: str) -> Figure:
    """Every pair's difference with its corrected interval, against the band of the margin; a panel a metric."""
    names = list(dict.fromkeys(map(pair, table["a"], table["b"])))
    figure, axes = figures.panels(names, (1, len(SCORES)), (3.9, 1.1 + 0.36 * len(names)))
    for axis, (metric, title) in zip(axes.flat, SCORES.items(), strict=True):
        axis.axvspan(-100 * settings.margin, 100 * settings.margin, color="0.85", zorder=1)
        axis.axvline(0, color="0.5", linewidth=0.8, zorder=1)
        for i, row in enumerate(table[table["score"] == metric].itertuples()):
            look = LOOKS[_look(row.verdict)]
            axis.plot([100 * row.low, 100 * row.high], [i, i], color=look["color"], linewidth=1.8)
            axis.plot(100 * row.difference, i, markersize=6, **look)
        axis.set(title=title, xlabel="difference (points), first model minus second")
    keys = [Line2D([], [], label=name, **look) for name, look in LOOKS.items()]
    keys.append(Patch(color="0.85", label=f"margin: ± {points(settings.margin)}"))
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False)
    level = f"{100 * (1 - settings.alpha):g} %"
    figure.supxlabel(
        f"lines: {level} intervals of the corrected resampled t-test, before Holm (corpus: {corpus})", size="small"
    )
    return figure


def runs(scores: pd.DataFrame, names: list[str], corpus: str) -> Figure:
    """Every run's score, a row a variant and a place, colour and marker a fold, with the variant's mean."""
    folds = scores["fold"].nunique()
    size = (4.5, 0.7 + len(names) * (0.4 + 0.013 * folds))
    figure, axes = figures.panels(list(map(label, names)), (1, len(SCORES)), size)
    rows = scores["variant"].map(names.index)
    for axis, (metric, title) in zip(axes.flat, SCORES.items(), strict=True):
        _folds(axis, scores[metric], rows, scores["fold"])
        means = scores.groupby(rows)[metric].mean()
        axis.vlines(means, means.index - 0.46, means.index + 0.46, color="black", linewidth=1.6, zorder=1.5)
        axis.set(title=title, xlabel="test score of a run")
    handles = axes.flat[0].get_legend_handles_labels()[0]
    handles.append(Line2D([], [], color="black", marker="|", linestyle="", markersize=12, label="mean"))
    figure.legend(handles=handles, loc="outside upper center", ncols=9, frameon=False)
    figure.supxlabel(f"corpus: {corpus}", size="small")
    return figure


def _folds(axis: Axes, values: pd.Series, rows: pd.Series, fold: pd.Series) -> None:
    """One panel's points: each run's value, in the row of its variant and the place of its fold."""
    names = sorted(fold.unique())
    colours = colormaps["viridis"](np.linspace(0, 0.7, len(names)))
    for i, (name, place) in enumerate(zip(names, figures.places(len(names)), strict=True)):
        own, marker = fold == name, MARKERS[i % len(MARKERS)]
        y = rows[own] + place
        axis.scatter(
            values[own], y, s=26, marker=marker, color=colours[i], alpha=0.8, linewidths=0, label=f"fold {name}"
        )


def _look(verdict: str) -> str:
    return "better" if "better" in verdict else verdict
