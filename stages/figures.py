"""How figures are drawn and written, for all stages that draw."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from stages import files

DPI = 110


def save(figure: plt.Figure, path: Path) -> None:
    """Write a PNG, whole or not at all, without the library's version in it, and close the figure."""
    with files.replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)
