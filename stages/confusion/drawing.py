"""The figures, drawn from tables of counts; nothing is computed here."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt

from stages import figures

COLOURS = "cividis"  # made for all kinds of colour vision


def confusion(matrices: dict[str, np.ndarray], classes: list[str], title: str, path: Path) -> None:
    """Confusion matrices side by side: title → counts [actual, predicted]; colour is the share of each row."""
    distinct = len({name[:3] for name in classes}) == len(classes)
    abbreviations = [name[:3].title() if distinct else name for name in classes]
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(1.5 + 5.6 * len(matrices), 5.8), layout="constrained", squeeze=False
    )
    for axis, (name, counts) in zip(axes[0], matrices.items(), strict=True):
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        cells = np.array(
            [
                [f"{100 * share:.0f} %\n{count}" for share, count in zip(*rows, strict=True)]
                for rows in zip(shares, counts, strict=True)
            ]
        )
        sns.heatmap(
            shares,
            annot=cells,
            fmt="",
            vmin=0,
            vmax=1,
            cmap=COLOURS,
            square=True,
            ax=axis,
            linewidths=0.5,
            xticklabels=abbreviations,
            yticklabels=classes,
            annot_kws={"size": 8.5},
            cbar=axis is axes[0, -1],
            cbar_kws={"label": "share of the actual class", "shrink": 0.8},
        )
        axis.set(title=name, xlabel="predicted", ylabel="actual" if axis is axes[0, 0] else "")
        axis.tick_params(rotation=0)
    figure.suptitle(title)
    figures.save(figure, path)


def recalls(table: pd.DataFrame, classes: list[str], path: Path) -> None:
    """Recall by class, a bar a model with the deviation of its runs: columns combination, model, class, recall."""
    combinations = list(table["combination"].unique())
    figure, axes = plt.subplots(
        len(combinations),
        1,
        figsize=(9, 0.8 + 2.1 * len(combinations)),
        layout="constrained",
        sharex=True,
        squeeze=False,
    )
    models = list(table["model"].unique())
    for axis, combination in zip(axes[:, 0], combinations, strict=True):
        sns.barplot(
            table[table["combination"] == combination],
            x="class",
            y="recall",
            hue="model",
            order=classes,
            hue_order=models,
            errorbar="sd",
            palette="colorblind",
            ax=axis,
            err_kws={"linewidth": 1},
            legend=axis is axes[0, 0],
        )
        axis.set(title=combination, ylim=(0, 1), xlabel="", ylabel="recall")
    sns.move_legend(axes[0, 0], "lower left", bbox_to_anchor=(0, 1.12), ncols=len(models), title=None, frameon=False)
    figure.supxlabel("class (bars: mean over runs, lines: ± one standard deviation)", size="medium")
    figures.save(figure, path)
