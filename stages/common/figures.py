"""How figures are drawn and written, for all stages that draw."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from stages.common import files, variants

matplotlib.rcdefaults()  # not a user's own settings: the same study gives the same bytes
matplotlib.rcParams["text.parse_math"] = False  # a class or a model may have a $ in its name

DPI = 110
WIDEST = 4
"""Panels beside each other."""


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all, without the library's version in it; nothing touches its edge."""
    figure.draw_without_rendering()  # the layout settles in the second pass, which saving makes
    with files.replacing(path) as partial:
        figure.savefig(
            partial, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None}
        )


def panels(
    labels: list[str], shape: tuple[int, int], size: tuple[float, float], *, sharex: bool = True
) -> tuple[Figure, np.ndarray]:
    """A figure of panels whose rows 0, 1, … from the top have `labels`, every other row shaded.

    `shape` is how many panels stand below and beside each other, `size` the width and the height of one in inches,
    which long labels don't lessen. The panels share their rows, and x unless not `sharex`, and come as an array of that
    shape.
    """
    (below, beside), (width, height) = shape, size
    figure = Figure(figsize=(beside * width + text_width(labels), below * height + 0.8), layout="constrained")
    axes = figure.subplots(below, beside, sharex=sharex, sharey=True, squeeze=False)
    for axis in axes.flat:
        for row in range(0, len(labels), 2):
            axis.axhspan(row - 0.5, row + 0.5, color="0.96", linewidth=0, zorder=0)
        axis.grid(axis="x", color="0.88")
        axis.set_axisbelow(True)
        axis.set(yticks=range(len(labels)), yticklabels=labels, ylim=(max(len(labels), 1) - 0.5, -0.5))
    return figure, axes


def wrapped(
    labels: list[str], count: int, size: tuple[float, float], *, sharex: bool = True
) -> tuple[Figure, list[Axes]]:
    """`panels`, `count` of them, `WIDEST` beside each other at most; each has the numbers of its x."""
    beside = min(count, WIDEST)
    figure, axes = panels(labels, (-(-count // beside), beside), size, sharex=sharex)
    for axis in axes.flat:
        axis.tick_params(labelbottom=True)
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def fusion_keys(fusions: Iterable[str], **look) -> list[Line2D]:
    """A legend's entry for each of some fusions, in their order; `look`: of all, as Line2D takes it."""
    looks = {fusion: variants.look(fusion) for fusion in fusions}
    return [
        Line2D([], [], color=colour, marker=marker, label=variants.FUSIONS[fusion].label, **look)
        for fusion, (colour, marker) in looks.items()
    ]


def places(count: int) -> np.ndarray:
    """Where in its row each of `count` marks stands, from the top: the same distance between all."""
    return 0.84 * ((np.arange(count) + 0.5) / count - 0.5)


def text_width(texts: list[str], size: float = 10) -> float:
    """Inches that the longest of some texts takes, written with `size` points."""
    paths = [TextPath((0, 0), text, size=size) for text in texts]
    # a curve lies within the points that draw it
    at_most = [np.ptp(path.vertices[:, 0]) if len(path.vertices) else 0.0 for path in paths]
    widest = 0.0
    for i in np.argsort(at_most)[::-1]:
        if at_most[i] > widest:  # else the extent, which takes long, need not be known
            widest = max(widest, paths[i].get_extents().width)
    return widest / 72


def text_colour(background: str | tuple) -> str:
    """Black or white, whichever has the higher contrast with `background` (WCAG 2.1): at least 4.5 to 1."""
    channels = np.array(to_rgb(background))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"
