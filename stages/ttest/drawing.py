"""The figures of the tests, drawn from their table; nothing is computed here."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from stages import figures
from stages.params import Compare
from stages.scores import METRICS
from stages.ttest.report import label, pair, points

COLOURS = sns.color_palette("colorblind")
LOOKS = {"better": (COLOURS[2], "o"), "equivalent": (COLOURS[0], "s"), "undecided": (COLOURS[7], "D")}
"""Verdict → colour and marker; a difference that is both better and equivalent looks better."""


def differences(table: pd.DataFrame, settings: Compare, path: Path) -> None:
    """Every pair's difference with its corrected interval, against the band of the margin; a panel a metric."""
    names = list(dict.fromkeys(map(pair, table["a"], table["b"])))
    figure, axes = plt.subplots(
        1, len(METRICS), figsize=(11, 1.9 + 0.36 * len(names)), layout="constrained", sharex=True, sharey=True
    )
    for axis, (metric, title) in zip(axes, METRICS.items(), strict=True):
        axis.axvspan(-100 * settings.margin, 100 * settings.margin, color="0.88", zorder=0)
        axis.axvline(0, color="0.6", linewidth=0.8, zorder=1)
        for i, row in enumerate(table[table["score"] == metric].itertuples()):
            colour, marker = LOOKS[_look(row.verdict)]
            axis.plot([100 * row.low, 100 * row.high], [i, i], color=colour, linewidth=1.8)
            axis.plot(100 * row.difference, i, marker, color=colour, markersize=6)
        axis.set(title=title, xlabel="difference (points), first model minus second")
        axis.grid(axis="x", color="0.93")
        axis.set_axisbelow(True)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    keys = [Line2D([], [], color=c, marker=m, label=name) for name, (c, m) in LOOKS.items()]
    keys.append(plt.Rectangle((0, 0), 1, 1, color="0.88", label=f"margin: ± {points(settings.margin)}"))
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False)
    level = f"{100 * (1 - settings.alpha):g} %"
    figure.supxlabel(f"lines: {level} intervals of the corrected resampled t-test, before Holm", size="small")
    figures.save(figure, path)


def runs(scores: pd.DataFrame, names: list[str], path: Path) -> None:
    """Every run's score, a row a variant and a colour a fold, with the variant's mean; a panel a metric."""
    figure, axes = plt.subplots(
        1, len(METRICS), figsize=(11, 1.5 + 0.5 * len(names)), layout="constrained", sharey=True
    )
    long = scores.assign(variant=scores["variant"].map(label), fold=scores["fold"].astype(str))
    order = [label(name) for name in names]
    for axis, (metric, title) in zip(axes, METRICS.items(), strict=True):
        sns.stripplot(
            long,
            x=metric,
            y="variant",
            hue="fold",
            order=order,
            dodge=True,
            jitter=False,
            size=4,
            alpha=0.8,
            palette="colorblind",
            ax=axis,
            legend=axis is axes[0],
        )
        means = long.groupby("variant")[metric].mean()
        axis.scatter(means[order], range(len(order)), marker="|", s=420, linewidths=1.6, color="black", zorder=5)
        axis.set(title=title, xlabel="test score of a run", ylabel="")
        axis.grid(axis="x", color="0.93")
        axis.set_axisbelow(True)
    handles, folds = axes[0].get_legend_handles_labels()
    axes[0].get_legend().remove()
    handles.append(Line2D([], [], color="black", marker="|", linestyle="", markersize=12))
    figure.legend(
        handles, [*(f"fold {fold}" for fold in folds), "mean"], loc="outside upper center", ncols=8, frameon=False
    )
    figures.save(figure, path)


def _look(verdict: str) -> str:
    return "better" if "better" in verdict else verdict
