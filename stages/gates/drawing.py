"""The figure of what a variant's gates let through."""

import pandas as pd
from matplotlib.figure import Figure

from stages.common import figures, variants


def shares(table: pd.DataFrame, rows: list[str], title: str) -> Figure:
    """A panel a gate, a row a class: mean share and one standard deviation over the runs.

    `table` has the columns variant, gate, class (of `rows`), mean and std, of one variant.
    """
    gates = list(dict.fromkeys(table["gate"]))
    figure, axes = figures.wrapped(rows, len(gates), (2.6, 0.4 + 0.24 * len(rows)))
    colour, marker = variants.look(variants.parse(table["variant"].iloc[0]).fusion)
    for axis, gate in zip(axes, gates, strict=True):
        own = table[table["gate"] == gate]
        axis.errorbar(
            own["mean"], own["class"].map(rows.index), xerr=own["std"], color=colour, fmt=marker, markersize=5, zorder=3
        )
        axis.set(title=gate, xlim=(-0.03, 1.03), xticks=[0, 0.25, 0.5, 0.75, 1])
    figure.suptitle(title, size="medium")
    figure.supxlabel(
        "share that the gate lets through; points: mean of the runs, lines: ± one standard deviation", size="small"
    )
    return figure
