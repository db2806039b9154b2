"""The figure of the training curves."""

import tempfile
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.common import figures, variants
from stages.common.figures import WIDEST

STYLES = {"train_loss": ":", "dev_loss": "-"}
MARKED = 5
"""Epochs from one marker to the next."""


def draw(curves: dict[str, pd.DataFrame], score: str, letters: str, corpus: str) -> Figure:
    """Two rows of panels: loss and development score over epochs; a column a combination of modalities.

    `curves`: variant → epoch, train_loss, dev_loss and dev_score, means of the runs that still train; `score`: what
    that is.
    """
    combinations = variants.combinations(curves, letters)
    beside = min(len(combinations), WIDEST)
    below = -(-len(combinations) // beside)
    figure = Figure(figsize=(0.6 + 2.9 * beside, 1.1 + 3.8 * below), layout="constrained")
    axes = figure.subplots(2 * below, beside, sharex=True, sharey="row", squeeze=False)
    for axis in axes.flat:
        axis.set_visible(False)
    for i, modalities in enumerate(combinations):
        row, column = divmod(i, beside)
        loss, scored = axes[2 * row, column], axes[2 * row + 1, column]
        for variant, own in curves.items():
            parsed = variants.parse(variant)
            if parsed.modalities == modalities:
                colour, marker = variants.look(parsed.fusion)
                look = {"color": colour, "marker": marker, "markevery": MARKED, "markersize": 4, "linewidth": 1.3}
                for name, style in STYLES.items():
                    loss.plot(own["epoch"], own[name], style, **look)
                scored.plot(own["epoch"], own["dev_score"], **look)
        loss.set_title(variants.combination_label(modalities), fontsize=10)
        scored.set_xlabel("epoch")
        for axis in (loss, scored):
            axis.set_visible(True)
            axis.grid(color="0.88")
            axis.tick_params(labelbottom=True)
    for row in range(below):
        axes[2 * row, 0].set_ylabel("loss")
        axes[2 * row + 1, 0].set_ylabel(f"{score} (development)")
    there = {variants.parse(name).fusion for name in curves}
    keys = figures.fusion_keys([name for name in variants.FUSIONS if name in there], markersize=4)
    keys += [
        Line2D([], [], color="0.4", linestyle=style, label=f"loss, {part}")
        for part, style in zip(("training", "development"), STYLES.values(), strict=True)
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=6, frameon=False)
    figure.supxlabel(f"mean of the runs that still train at an epoch (corpus: {corpus})", size="small")
    return figure


def as_png(figure: Figure) -> bytes:
    """The bytes that `figures.save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        figures.save(figure, path)
        return path.read_bytes()
