"""The figures of the tests, drawn from their table; nothing is computed here but means."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stages.common import figures
from stages.common.metrics import DEFAULTS, METRICS
from stages.common.params import Compare
from stages.common.tables import p_value
from stages.common.variants import label
from stages.ttest.report import TESTS, pair, signed, units
from stages.ttest.verdict import Verdict, amount

LOOKS = {
    "better": {"color": "black", "marker": "o"},
    "equivalent": {"color": "black", "marker": "s", "markerfacecolor": "white"},
    "undecided": {"color": "0.55", "marker": "D", "markerfacecolor": "white"},
}
"""Verdict → colour and marker, no model's; a difference that is both better and equivalent looks better."""

MARKERS = "osD^vPX<>*"
"""Those of folds, taken in turn: with their place in the row and their colour, folds are told apart in three ways."""


def differences(table: pd.DataFrame, settings: Compare, corpus: str) -> Figure:
    """Pairs' differences with their intervals, against the band of the margin; a panel a metric."""
    names = list(dict.fromkeys(map(pair, table["a"], table["b"])))
    figure, axes = figures.wrapped(names, len(settings.metrics), (3.9, 1.1 + 0.36 * len(names)))
    for axis, metric in zip(axes, settings.metrics, strict=True):
        axis.axvspan(-100 * settings.margin, 100 * settings.margin, color="0.85", zorder=1)
        axis.axvline(0, color="0.5", linewidth=0.8, zorder=1)
        for i, row in enumerate(table[table["score"] == metric].itertuples()):
            look = LOOKS[_look(row.verdict)]
            axis.plot([100 * row.low, 100 * row.high], [i, i], color=look["color"], linewidth=1.8)
            axis.plot(100 * row.difference, i, markersize=6, **look)
        axis.set(title=METRICS[metric].label, xlabel=f"difference ({units(metric)}), first model minus second")
    usual = DEFAULTS[METRICS[settings.metrics[0]].task][0]
    keys = [Line2D([], [], label=name, **look) for name, look in LOOKS.items()]
    keys.append(Patch(color="0.85", label=f"margin: ± {amount(settings.margin, usual)}"))
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False)
    level = f"{100 * (1 - settings.alpha):g} %"
    tests = " / ".join(TESTS[name].lower() for name in dict.fromkeys(table.loc[table["score"].isin(METRICS), "test"]))
    figure.supxlabel(f"lines: {level} intervals ({tests or 'no test'}), before Holm (corpus: {corpus})", size="small")
    return figure


def runs(scores: pd.DataFrame, names: list[str], metrics: list[str], corpus: str) -> Figure:
    """Every run's score, a row a variant and a place, colour and marker a fold, with the variant's mean.

    `scores`: columns variant, fold and each of `metrics`.
    """
    folds = scores["fold"].nunique()
    size = (4.5, 0.7 + len(names) * (0.4 + 0.013 * folds))
    alike = not any(METRICS[metric].needs_probabilities for metric in metrics)
    figure, axes = figures.wrapped(list(map(label, names)), len(metrics), size, sharex=alike)
    rows = scores["variant"].map(names.index)
    for axis, metric in zip(axes, metrics, strict=True):
        _folds(axis, scores[metric], rows, scores["fold"])
        means = scores.groupby(rows)[metric].mean()
        axis.vlines(means, means.index - 0.46, means.index + 0.46, color="black", linewidth=1.6, zorder=1.5)
        axis.set(title=METRICS[metric].label, xlabel="test score of a run")
    handles = axes[0].get_legend_handles_labels()[0]
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


def matrix(table: pd.DataFrame, names: list[str], metric: str, corpus: str) -> Figure:
    """All pairs on one metric: how much better the row's model is than the column's, its P after Holm, its verdict."""
    rows = table[table["score"] == metric]
    titles, count = list(map(label, names)), len(names)
    edge = figures.text_width(titles)
    sign = -1 if METRICS[metric].lower_is_better else 1
    size = 0.52 * count
    figure = Figure(figsize=(size + edge + 1.6, size + edge + 1.5), layout="constrained")
    axis, largest = figure.subplots(), max(0.01, rows["difference"].abs().max())
    values, texts = np.full((count, count), np.nan), {}
    for row in rows.itertuples():
        a, b = names.index(row.a), names.index(row.b)
        for i, j, own, verdict in ((a, b, 1, row.verdict), (b, a, -1, row.verdict.mirrored)):
            values[i, j] = 100 * sign * own * row.difference
            texts[i, j] = _text(own * row.difference, row.p_holm, verdict)
    image = axis.imshow(values, cmap="PuOr", vmin=-100 * largest, vmax=100 * largest)
    for (i, j), text in texts.items():
        colour = figures.text_colour(image.to_rgba(values[i, j]))
        axis.text(j, i, text, ha="center", va="center", size=7, color=colour)
    axis.set(xticks=range(count), yticks=range(count), yticklabels=titles)
    axis.set_xticks(range(count), titles, rotation=90)
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axis.spines[:].set_visible(False)
    figure.colorbar(image, shrink=min(1, 3 / size), label=f"row better by ({units(metric)})")
    lines = "row minus column, P after Holm over all pairs\n▲ row better, ▼ column better, = equivalent"
    figure.suptitle(f"{METRICS[metric].label} (corpus: {corpus})\n{lines}", size="medium")
    return figure


def _text(difference: float, p: float, verdict: Verdict) -> str:
    """A cell's text: the difference, its P and the verdict's signs."""
    signs = {"a": "▲", "b": "▼", None: ""}[verdict.better] + "=" * verdict.equivalent
    return "\n".join(filter(None, (signed(difference), p_value(p), signs)))


def _look(verdict: Verdict) -> str:
    if verdict.better:
        return "better"
    return "equivalent" if verdict.equivalent else "undecided"
