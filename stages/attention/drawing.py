"""The figures of attention: maps of one utterance, and shares on padding."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stages.attention.axes import Axis, condense
from stages.attention.found import Map, Shown
from stages.common import figures, variants

COLOURS = "Blues"
"""One hue from white to dark: read alike by all kinds of colour vision, and in print."""
CELL, SMALLEST, LARGEST = 0.19, 1.5, 4.2
"""Inches: of a position, and the least and the most that a panel has on one side."""
SCALE = "weights of each row sum to 1; line on a scale: uniform attention"
SMALLER = 0.75
"""Of the panels of single heads, against those of the mean."""
BEFORE_PADDING = 0.9
"""Share of an utterance's own positions up to which numbers are written, so that those of padding have room."""
MOST_NAMES = 40
"""Words that are written on an axis of the largest panel; of more, every second or third and so on."""


def maps(shown: list[Shown], title: str) -> Figure:
    """The mean over heads: a row a target, its sources beside each other, one variant after the other.

    `shown`: of one utterance.
    """
    columns, targets = _layout(shown)
    wide = [max(_size(each.axes[own.source]) for own in panels.values()) for each, panels in columns]
    high = [max(_size(each.axes[name]) for each, panels in columns if name in panels) for name in targets]
    figure = Figure(figsize=(sum(wide) + 1.5 * len(wide), sum(high) + 1.35 * len(high) + 0.6), layout="constrained")
    grid = figure.subplots(
        len(targets), len(columns), squeeze=False, gridspec_kw={"width_ratios": wide, "height_ratios": high}
    )
    for row, target in zip(grid, targets, strict=True):
        for panel, (each, panels) in zip(row, columns, strict=True):
            if target not in panels:
                panel.remove()
                continue
            own = panels[target]
            source = each.axes[own.source]
            image = _draw(panel, own.weights.mean(axis=0), each.axes[target], source)
            panel.set_title(f"{variants.label(each.variant)}\n{_heading(own, source)}", fontsize=9)
            panel.set_ylabel(each.axes[target].label, fontsize=8)
            panel.set_xlabel(source.label, fontsize=8)
            _scale(figure, [panel], image, source)
    figure.suptitle(title, size="medium")
    figure.supxlabel(SCALE, size="small")
    return figure


def _layout(shown: list[Shown]) -> tuple[list[tuple[Shown, dict[str, Map]]], list[str]]:
    """The columns, each with its variant and target → map, and the targets: a target's first source comes first."""
    columns, targets = [], {}
    for each in shown:
        own: dict[str, list[Map]] = {}
        for one in each.maps:
            own.setdefault(one.target, []).append(one)
        targets |= dict.fromkeys(name for name in each.axes if name in own)
        for number in range(max(map(len, own.values()))):
            columns.append((each, {name: found[number] for name, found in own.items() if number < len(found)}))
    return columns, list(targets)


def heads(shown: list[Shown], title: str) -> Figure:
    """Single heads: a row a variant, target and source, a column a head; one scale a row. `shown`: of one utterance."""
    rows = [(each, own) for each in shown for own in each.maps]
    count = max(len(own.weights) for _, own in rows)
    wide = SMALLER * max(_size(each.axes[own.source]) for each, own in rows)
    high = [SMALLER * _size(each.axes[own.target]) for each, own in rows]
    figure = Figure(figsize=(count * (wide + 0.25) + 2.2, sum(high) + 1.1 * len(rows) + 1.1), layout="constrained")
    grid = figure.subplots(len(rows), count, squeeze=False, gridspec_kw={"height_ratios": high})
    for panels, (each, own) in zip(grid, rows, strict=True):
        for panel in panels[len(own.weights) :]:
            panel.remove()
        _draw_heads(figure, list(panels[: len(own.weights)]), each, own)
    figure.suptitle(title, size="medium")
    labels = dict.fromkeys(" ".join(axis.label.split()) for each in shown for axis in each.axes.values())
    figure.supxlabel("\n".join([*labels, SCALE]), size="small")
    return figure


def _draw_heads(figure: Figure, panels: list[Axes], each: Shown, own: Map) -> None:
    target, source = each.axes[own.target], each.axes[own.source]
    highest = condense(own.weights, target, source).max()
    for number, (panel, weights) in enumerate(zip(panels, own.weights, strict=True), start=1):
        image = _draw(panel, weights, target, source, highest)
        panel.set_title(f"head {number}", fontsize=8)
        if number > 1:
            panel.set_yticks([])
    panels[0].set_ylabel(f"{variants.label(each.variant)}\n{target.modality}", fontsize=8)
    panels[0].set_xlabel(source.modality, fontsize=8)
    _scale(figure, panels, image, source)


def _size(axis: Axis) -> float:
    """Inches that an axis is long."""
    return float(np.clip(CELL * (axis.own + bool(axis.padding)), SMALLEST, LARGEST))


def _heading(own: Map, source: Axis) -> str:
    """Which modality attends to which, and what of it falls on padding."""
    text = f"{own.target} attends to {own.source}"
    if not source.padding:
        return text
    return f"{text}\n{own.weights[..., source.own :].sum(axis=-1).mean():.0%} of it on padding"


def _draw(panel: Axes, weights: np.ndarray, target: Axis, source: Axis, highest: float | None = None) -> AxesImage:
    """One map [T, S]: target downwards, source to the right."""
    values = condense(weights, target, source)
    image = panel.imshow(values, cmap=COLOURS, vmin=0, vmax=highest or values.max(), aspect="auto")
    for axis, line in ((target, panel.axhline), (source, panel.axvline)):
        if axis.padding and axis.own:
            line(axis.own - 0.5, color="black", linewidth=0.8)
    panel.set_yticks(*_ticks(target), fontsize=7)
    places, names = _ticks(source)
    panel.set_xticks(places, names, fontsize=7, rotation=90 if max(map(len, names), default=0) > 3 else 0)
    return image


def _ticks(axis: Axis) -> tuple[list[float], list[str]]:
    """Where ticks stand on an axis, and what they say: words, seconds or numbers from 1, and how much padding."""
    if axis.names:
        step = -(-axis.own // MOST_NAMES)
        places = list(range(0, axis.own, step))
        names = [axis.names[place] for place in places]
    elif axis.period is not None:
        last = axis.own * axis.period * (BEFORE_PADDING if axis.padding else 1)
        seconds = [t for t in MaxNLocator(4).tick_values(0, axis.own * axis.period) if 0 <= t <= last]
        places, names = [t / axis.period - 0.5 for t in seconds], [f"{t:g}" for t in seconds]
    else:
        last = max(1, axis.own * (BEFORE_PADDING if axis.padding else 1))
        numbers = [n for n in MaxNLocator(5, integer=True).tick_values(1, max(2, axis.own)) if 1 <= n <= last]
        numbers = numbers if axis.own else []
        places, names = [n - 1 for n in numbers], [f"{n:g}" for n in numbers]
    if axis.padding:
        places, names = [*places, axis.own], [*names, f"{axis.padding} × padding"]
    return places, names


def _scale(figure: Figure, panels: list[Axes], image: AxesImage, source: Axis) -> None:
    """The scale of weights, with a line where uniform attention would be."""
    bar = figure.colorbar(image, ax=panels, fraction=0.05, pad=0.02, aspect=30)
    bar.locator = MaxNLocator(3)
    bar.update_ticks()
    bar.ax.tick_params(labelsize=7)
    bar.ax.axhline(1 / (source.own + source.padding), color="black", linewidth=1.2)


def padding(table: pd.DataFrame, corpus: str) -> Figure:
    """A row a variant, target and source: the mean share on padding, and that of uniform attention.

    `table`: `found.COLUMNS`. A small mark is a run, a large one the mean of the runs.
    """
    groups = list(table.groupby(["variant", "target", "source"], sort=False))
    labels = [f"{variants.label(variant)}: {target} attends to {source}" for (variant, target, source), _ in groups]
    figure, ((axis,),) = figures.panels(labels, (1, 1), (3.8, 0.5 + 0.25 * len(labels)))
    for row, ((variant, _, _), own) in enumerate(groups):
        colour, marker = variants.look(variants.parse(variant).fusion)
        axis.plot(
            own["share"], np.full(len(own), row), marker, color=colour, markersize=3, alpha=0.35, markeredgewidth=0
        )
        axis.plot([own["uniform"].mean(), own["share"].mean()], [row, row], color=colour, linewidth=1.4)
        axis.plot(own["uniform"].mean(), row, "|", color="black", markersize=13, markeredgewidth=1.8, zorder=4)
        axis.plot(own["share"].mean(), row, marker, color=colour, markersize=7, zorder=5)
    axis.set(xlim=(-0.03, 1.03), xticks=[0, 0.25, 0.5, 0.75, 1])
    look = {"ls": "", "color": "0.35"}
    keys = [
        Line2D([], [], marker="o", markersize=7, label="mean of the runs", **look),
        Line2D([], [], marker="o", markersize=3, label="a run", **look),
        Line2D([], [], marker="|", markersize=13, markeredgewidth=1.8, label="uniform attention", ls="", color="black"),
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False)
    figure.supxlabel(f"share of attention on padding, in the test parts (corpus: {corpus})", size="small")
    return figure
