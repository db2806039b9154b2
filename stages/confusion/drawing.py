"""The figures, drawn from tables of counts and recalls."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from stages.common import figures, variants
from stages.common.tables import fraction
from stages.common.task import Task

COLOURS = colormaps["YlGnBu"].with_extremes(bad="0.85")
"""From light to dark for all kinds of colour vision, and in print; grey where there is nothing to take a share of."""

DOT = "#0b4f79"
LABELS = 8.5
"""Points of the names of classes beside confusion matrices."""

CELLS = "cells: share of the actual class, number of predictions (each utterance once a seed); –: no test utterance"
POINTS = {
    "classes": "points: mean recall of runs that test the class; lines: ± one standard deviation, even beyond 0 and 1",
    "dimensions": "points: mean CCC of the runs; lines: ± one standard deviation",
}
DOTS = "a dot: an utterance in the test part of a fold, once a seed; line: what would be right; CCC: mean of the runs"


def confusion(matrices: dict[str, np.ndarray], classes: list[str], title: str) -> Figure:
    """Confusion matrices side by side: title → counts [actual, predicted]; colour is the share of each row."""
    cell = np.clip(0.6 * len(classes), 3, 8) / len(classes)  # inches
    side, names = cell * len(classes), figures.text_width(classes, LABELS)
    rotation = 0 if names < cell else 90
    width, height = len(matrices) * side + names + 1.75, side + (names if rotation else 0) + 1.5
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0]
    for axis, (name, counts) in zip(axes, matrices.items(), strict=True):
        _matrix(axis, counts, font=min(9, 72 * cell / 4.5))
        axis.set(title=name, xlabel="predicted")
        axis.set_xticklabels(classes, rotation=rotation, size=LABELS)
        axis.set_yticklabels(classes, rotation=0, size=LABELS)
    axes[0].set_ylabel("actual")
    shares = PercentFormatter(1, decimals=0, symbol=" %")
    figure.colorbar(axes[0].collections[0], ax=axes, shrink=0.8, label="share of the actual class", format=shares)
    figure.suptitle(title)
    figure.supxlabel(CELLS, size="small")
    return figure


def _matrix(axis: Axes, counts: np.ndarray, font: float) -> None:
    """One matrix of counts [actual, predicted], with text of `font` points in its cells."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    sns.heatmap(shares, vmin=0, vmax=1, cmap=COLOURS, cbar=False, square=True, ax=axis, linewidths=0.5, linecolor="0.8")
    axis.set(xticks=np.arange(len(counts)) + 0.5, yticks=np.arange(len(counts)) + 0.5)
    for (i, j), share in np.ndenumerate(shares):
        text = "–" if np.isnan(share) else f"{100 * share:.0f} %\n{counts[i, j]}"
        axis.text(
            j + 0.5, i + 0.5, text, color=figures.text_colour(COLOURS(share)), size=font, ha="center", va="center"
        )


def scatter(tables: dict[str, pd.DataFrame], found: pd.DataFrame, task: Task, title: str) -> Figure:
    """Predicted against actual values: a row a dimension, a column a model.

    `tables`: a model's label → its predictions; `found`: the mean CCC, a row a label and a column a dimension.
    """
    names = task.names
    figure = Figure(figsize=(2.7 * len(tables) + 0.7, 2.6 * len(names) + 1.0), layout="constrained")
    axes = figure.subplots(len(names), len(tables), sharex="row", sharey="row", squeeze=False)
    for row, name, actual, predicted in zip(axes, names, task.actual, task.predicted, strict=True):
        for axis, (label, own) in zip(row, tables.items(), strict=True):
            strength = np.clip(150 / max(len(own), 1), 0.02, 0.5)
            axis.scatter(own[actual], own[predicted], s=12, color=DOT, alpha=strength, linewidths=0, rasterized=True)
            axis.axline((own[actual].mean(), own[actual].mean()), slope=1, color="0.35", linewidth=0.9)
            axis.set_title(f"{label}: CCC {fraction(found.loc[label, name])}", size="medium")
            axis.grid(color="0.9")
            axis.set_axisbelow(True)
            axis.tick_params(labelbottom=True)
        row[0].set_ylabel(f"predicted {name}")
        for axis in row:
            axis.set_xlabel(f"actual {name}", size="small")
    figure.suptitle(title)
    figure.supxlabel(DOTS, size="small")
    return figure


def details(table: pd.DataFrame, task: Task, combinations: list[str], title: str) -> Figure:
    """Recall by class, or CCC by dimension: a panel one of the `combinations` of modalities, a row a class or a
    dimension, a place in each row a fusion.

    `table` has the columns modalities, fusion, name, mean, std (NaN for one run) and runs (that have the score).
    """
    classes = task.names
    fusions = [name for name in variants.FUSIONS if name in set(table["fusion"])]
    beside = min(len(combinations), 4)
    below = -(-len(combinations) // beside)
    size = (9.4 / max(beside, 2), 0.4 + min(len(classes) * max(0.2, 0.1 + 0.08 * len(fusions)), 8))
    figure, axes = figures.panels(classes, (below, beside), size)
    for axis, modalities in zip(axes.flat, combinations, strict=False):
        axis.axvspan(0, 1, fill=False, color="0.6", linewidth=0.8)
        _points(axis, table[table["modalities"] == modalities], classes, fusions)
        axis.set(title=variants.combination_label(modalities), xticks=[0, 0.25, 0.5, 0.75, 1])
        axis.tick_params(labelbottom=True)
    for axis in axes.flat[len(combinations) :]:
        axis.set_visible(False)
    figure.legend(
        handles=figures.fusion_keys(fusions, markersize=5), loc="outside upper center", ncols=5, frameon=False
    )
    figure.supxlabel(f"{POINTS[task.kind]}\n{title}", size="small")
    return figure


def _points(axis: Axes, table: pd.DataFrame, classes: list[str], fusions: list[str]) -> None:
    """One panel's means and deviations, in rows of classes."""
    place = dict(zip(fusions, figures.places(len(fusions)), strict=True))
    for fusion, rows in table.groupby("fusion", sort=False):
        colour, marker = variants.look(fusion)
        y = rows["name"].map(classes.index) + place[fusion]
        axis.errorbar(
            rows["mean"], y, xerr=rows["std"], color=colour, fmt=marker, markersize=5, elinewidth=1.3, zorder=3
        )
    tested = table.groupby("name")["runs"].sum()
    for name in tested.index[tested == 0]:
        axis.text(0.5, classes.index(name), "no test utterance", size="small", style="italic", ha="center", va="center")
