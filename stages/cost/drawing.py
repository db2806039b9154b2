"""The figure of scores against what they cost."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from stages.common import figures, variants
from stages.common.metrics import METRICS

COSTS = {"parameters": "parameters, without word vectors", "seconds": "seconds a run"}
"""Column of the table → what its axis says."""


def cost(table: pd.DataFrame, metric: str, letters: str, corpus: str) -> Figure:
    """A row of panels a combination of modalities with several models, a column a kind of cost, a mark a model.

    `table` has the columns modalities, fusion, parameters, seconds (NaN: not known), the metric and its standard
    deviation.
    """
    several = table[table.groupby("modalities")["variant"].transform("size") > 1]
    table = table if several.empty else several
    combinations = variants.combinations(table["variant"], letters)
    figure = Figure(figsize=(9.4, 0.9 + 2.1 * len(combinations)), layout="constrained")
    axes = figure.subplots(len(combinations), len(COSTS), sharex="col", sharey=True, squeeze=False)
    for row, modalities in zip(axes, combinations, strict=True):
        for axis, column in zip(row, COSTS, strict=True):
            _points(axis, table[table["modalities"] == modalities], column, metric)
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.grid(color="0.88")
            axis.set_axisbelow(True)
            axis.tick_params(labelbottom=True)
        row[0].set_ylabel(variants.combination_label(modalities))
    for axis, text in zip(axes[-1], COSTS.values(), strict=True):
        axis.set_xlabel(text)
    fusions = [name for name in variants.FUSIONS if name in set(table["fusion"])]
    figure.legend(handles=figures.fusion_keys(fusions, ls=""), loc="outside upper center", ncols=6, frameon=False)
    figure.supylabel(METRICS[metric].label, size="medium")
    note = f"mean ± standard deviation over folds × seeds; no mark: nothing was trained, or not here (corpus: {corpus})"
    figure.supxlabel(note, size="small")
    return figure


def _points(axis: Axes, table: pd.DataFrame, column: str, metric: str) -> None:
    for row in table[table[column] > 0].to_dict("records"):
        colour, marker = variants.look(row["fusion"])
        axis.errorbar(
            row[column], row[metric], yerr=row[f"{metric}_std"], color=colour, fmt=marker, markersize=6, elinewidth=0.8
        )
