"""The figures of the evaluations, drawn from their tables."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stages.common import figures, variants
from stages.common.metrics import METRICS
from stages.evaluate.found import LEFT_OUT, NOISE, WHOLE


def emap(table: pd.DataFrame, metrics: list[str], corpus: str) -> Figure:
    """A panel a metric, a row a variant: its score, that of its EMAP, and a line between them.

    `table`: `emap.COLUMNS`.
    """
    names = list(dict.fromkeys(table["a"]))
    labels = [variants.label(name) for name in names]
    figure, axes = figures.wrapped(labels, len(metrics), (3.9, 0.9 + 0.28 * len(names)), sharex=False)
    for axis, metric in zip(axes, metrics, strict=True):
        for row in table[table["score"] == metric].itertuples():
            y, (colour, marker) = names.index(row.a), variants.look(variants.parse(row.a).fusion)
            axis.plot([row.mean_b, row.mean_a], [y, y], color=colour, linewidth=1.6, zorder=2)
            axis.plot(row.mean_b, y, marker, color=colour, markerfacecolor="white", markersize=10, zorder=3)
            axis.plot(row.mean_a, y, marker, color=colour, markersize=5, zorder=4)
        axis.set(title=METRICS[metric].label, xlabel="mean test score of the runs")
        axis.xaxis.set_major_locator(MaxNLocator(5))
    look = {"color": "black", "ls": ""}
    keys = [
        Line2D([], [], marker="o", markersize=5, label="model", **look),
        Line2D([], [], marker="o", markersize=10, markerfacecolor="white", label="its EMAP: no interactions", **look),
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel(f"corpus: {corpus}", size="small")
    return figure


def missing(table: pd.DataFrame, modalities: dict[str, str], metric: str, corpus: str) -> Figure:
    """A row of panels a combination of modalities, a column a modality, a curve a variant over the size of the noise.

    The score without the modality stands at the right end. `table`: `missing.COLUMNS`; `modalities`: letter → name.
    """
    table = table[table["score"] == metric]
    names = list(dict.fromkeys(table["variant"]))
    combinations = variants.combinations(names, "".join(modalities))
    sizes = sorted(table.loc[table["change"] == NOISE, "size"].unique())
    figure = Figure(figsize=(0.8 + 2.9 * len(modalities), 1.2 + 2.0 * len(combinations)), layout="constrained")
    axes = figure.subplots(len(combinations), len(modalities), sharex=True, sharey=True, squeeze=False)
    for row, letters in zip(axes, combinations, strict=True):
        for axis, (letter, modality) in zip(row, modalities.items(), strict=True):
            if letter not in letters:
                axis.remove()
                continue
            for name in (name for name in names if variants.parse(name).modalities == letters):
                _curve(axis, table[table["variant"] == name], modality, sizes)
            axis.set_title(f"{variants.combination_label(letters)}: {modality}", fontsize=10)
            axis.set_xticks(range(len(sizes) + 2), ["0", *(f"{size:g}" for size in sizes), "left\nout"])
            axis.tick_params(labelbottom=True, labelleft=True)
            axis.grid(color="0.88")
            axis.set_axisbelow(True)
    there = {variants.parse(name).fusion for name in names}
    keys = figures.fusion_keys(name for name in variants.FUSIONS if name in there)
    figure.legend(handles=keys, loc="outside upper center", ncols=6, frameon=False)
    figure.supylabel(METRICS[metric].label, size="medium")
    figure.supxlabel(
        f"noise on the modality, in standard deviations of its features in training (corpus: {corpus})", size="small"
    )
    return figure


def _curve(axis: Axes, own: pd.DataFrame, modality: str, sizes: list[float]) -> None:
    """One variant's mean scores: whole, with noise of each size, and without the modality."""
    colour, marker = variants.look(variants.parse(own["variant"].iloc[0]).fusion)
    means = own[own["modality"] == modality].set_index(["change", "size"])["mean"]
    (whole,), (without,) = own.loc[own["change"] == WHOLE, "mean"], means.loc[LEFT_OUT]
    noisy = [means.loc[(NOISE, size)] for size in sizes]
    axis.plot(range(len(sizes) + 1), [whole, *noisy], color=colour, marker=marker, markersize=5)
    last = len(sizes)
    axis.plot([last, last + 1], [noisy[-1] if noisy else whole, without], color=colour, linestyle=":", linewidth=1)
    axis.plot(last + 1, without, color=colour, marker=marker, markersize=5, markerfacecolor="white")
