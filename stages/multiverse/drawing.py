"""The specification curve: all differences in order, and below them the choices that each was made with.

Simonsohn, Simmons and Nelson, "Specification curve analysis", Nature Human Behaviour 2020, Fig. 2.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stages.common import figures
from stages.common.metrics import METRICS
from stages.common.variants import label
from stages.multiverse.declaration import Multiverse
from stages.multiverse.summary import OUTCOMES, corpora, counts, outcome
from stages.ttest.report import pair
from stages.ttest.verdict import amount

LOOKS = {
    "a": {"color": "#0173b2", "marker": "o"},
    "b": {"color": "#de8f05", "marker": "s"},
    "equivalent": {"color": "black", "marker": "D", "markerfacecolor": "white"},
    "undecided": {"color": "0.5", "marker": "o", "markerfacecolor": "white"},
}
"""Outcome → colour and marker."""

ROW, NARROWEST, WIDEST = 0.2, 5.0, 40.0
"""Inches: the height of a row of dots, and the widths of the panels."""


def curve(table: pd.DataFrame, multiverse: Multiverse) -> Figure:
    """Draw `summary.specifications`, which are in the order of their differences, from the left."""
    rows = labels(multiverse.choices)
    width = min(max(NARROWEST, 0.8 + 0.2 * len(table)), WIDEST)
    heights = [2.8, ROW * len(rows)]
    figure = Figure(figsize=(width + figures.text_width([text for text, _ in rows], 9), sum(heights) + 1.6))
    figure.set_layout_engine("constrained", h_pad=0.02)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    margins = {own.params.compare.margin for own in multiverse.specifications}
    if len(margins) == 1:
        above.axhspan(-100 * min(margins), 100 * min(margins), color="0.88", linewidth=0, zorder=0)
    _differences(above, table, multiverse.metric)
    _dots(below, table, rows)
    above.set_title(f"{pair(*multiverse.pair)}: {METRICS[multiverse.metric].label}", fontsize=11)
    margin = amount(min(margins), multiverse.metric) if len(margins) == 1 else ""
    figure.legend(
        handles=_keys(table, multiverse.pair, margin), loc="outside upper center", ncols=3, frameon=False, fontsize=9
    )
    levels = " or ".join(sorted({f"{100 * (1 - own.params.compare.alpha):g} %" for own in multiverse.specifications}))
    figure.supxlabel(
        f"{len(table)} specifications by their difference; lines: {levels} intervals\n(corpus: {corpora(table)})",
        fontsize=9,
    )
    return figure


def labels(choices: dict[str, list[str]]) -> list[tuple[str, tuple[str, str] | None]]:
    """The rows of the dots from the top, with the choice and value of their dots; None for a choice's heading."""
    rows = []
    for key, values in choices.items():
        rows += [(key, None), *((value if len(value) <= 40 else f"{value[:39]}…", (key, value)) for value in values)]
    return rows


def _differences(axis: Axes, table: pd.DataFrame, metric: str) -> None:
    axis.axhline(0, color="0.4", linewidth=0.9, zorder=1)
    median = 100 * table["difference"].median()
    axis.axhline(median, color="0.4", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    size = 6 if len(table) <= 60 else 3
    for x, row in enumerate(table.itertuples()):
        look = LOOKS[outcome(row.verdict)]
        axis.plot([x, x], [100 * row.low, 100 * row.high], color=look["color"], linewidth=size / 4, zorder=2)
        axis.plot(x, 100 * row.difference, markersize=size, linestyle="", zorder=3, **look)
        if row.own:
            _mark(axis, x)
    axis.set_ylabel(f"difference ({METRICS[metric].unit}),\nfirst model minus second")
    axis.grid(axis="y", color="0.9")
    axis.set_axisbelow(True)
    axis.tick_params(bottom=False)


def _dots(axis: Axes, table: pd.DataFrame, rows: list[tuple[str, tuple[str, str] | None]]) -> None:
    shade = 0
    for y, (_, meant) in enumerate(rows):
        if meant is None:
            shade = 0
            continue
        key, value = meant
        axis.axhspan(y - 0.5, y + 0.5, color="0.94" if shade % 2 == 0 else "0.985", linewidth=0, zorder=0)
        shade += 1
        chosen = np.flatnonzero(table[key] == value)
        colours = [LOOKS[outcome(own)]["color"] for own in table["verdict"].iloc[chosen]]
        axis.scatter(chosen, np.full(len(chosen), y), c=colours, s=26 if len(table) <= 60 else 9, linewidths=0)
    for x in np.flatnonzero(table["own"]):
        _mark(axis, x)
    axis.set(ylim=(len(rows) - 0.5, -0.5), xlim=(-0.7, len(table) - 0.3), xticks=[])
    axis.set_yticks(range(len(rows)), [text for text, _ in rows], fontsize=9)
    for tick, (_, meant) in zip(axis.yaxis.get_major_ticks(), rows, strict=True):
        tick.tick1line.set_visible(meant is not None)
        if meant is None:
            tick.label1.set_fontweight("bold")
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def _mark(axis: Axes, x: int) -> None:
    """Point out the specification whose choices are those of params.yaml."""
    axis.axvspan(x - 0.45, x + 0.45, facecolor="none", edgecolor="0.35", linewidth=0.9, linestyle=":", zorder=1)


def _keys(table: pd.DataFrame, models: tuple[str, str], margin: str) -> list[Line2D | Patch]:
    found = counts(table)
    words = dict(zip(OUTCOMES, [f"{label(name)} better" for name in models] + list(OUTCOMES[2:]), strict=True))
    keys = [Line2D([], [], label=f"{words[name]}: {found[name]}", **LOOKS[name]) for name in OUTCOMES]
    keys.append(Line2D([], [], color="0.4", linewidth=0.9, linestyle=(0, (4, 3)), label="median"))
    if margin:
        keys.append(Patch(color="0.88", label=f"margin: ± {margin}"))
    if table["own"].any():
        keys.append(Patch(facecolor="none", edgecolor="0.35", linestyle=":", label="as params.yaml"))
    return keys
