"""The figure of what each number of draws yields."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from stages.common import figures, variants
from stages.common.figures import WIDEST

STYLES = {"development": ":", "test": "-"}


def curves(table: pd.DataFrame, label: str, letters: str, corpus: str) -> Figure:
    """A panel a combination of modalities, two curves a fusion: of the development part dotted, of the test part solid.

    `table` has the columns variant, draws, development and test; `label`: the score in words.
    """
    combinations = variants.combinations(table["variant"].unique(), letters)
    beside = min(len(combinations), WIDEST)
    below = -(-len(combinations) // beside)
    figure = Figure(figsize=(3.1 * beside + 1.8, 2.7 * below + 0.9), layout="constrained")
    axes = list(figure.subplots(below, beside, sharey=True, squeeze=False).flat)
    fusions = {}
    for axis, modalities in zip(axes, combinations, strict=False):
        for name, own in table.groupby("variant", sort=False):
            variant = variants.parse(name)
            if variant.modalities == modalities:
                colour, marker = fusions[variant.fusion] = variants.look(variant.fusion)
                for part, style in STYLES.items():
                    axis.plot(own["draws"], own[part], style, color=colour, marker=marker, markersize=4)
        axis.set(title=variants.combination_label(modalities), xlabel="draws")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(color="0.88")
    for axis in axes[len(combinations) :]:
        axis.remove()
    handles = figures.fusion_keys(fusions)
    handles += [Line2D([], [], color="0.4", linestyle=style, label=part) for part, style in STYLES.items()]
    figure.legend(handles=handles, loc="outside right upper", fontsize="small", frameon=False)
    figure.suptitle(f"Expected score of the best of so many draws (corpus: {corpus})", size="medium")
    figure.supylabel(label, size="small")
    return figure
