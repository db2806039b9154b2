"""Confusion matrices as tables: self, cross and their difference."""

import numpy as np

from stages.common.variants import label
from stages.confusion.__main__ import groups
from stages.report.blocks import Beside, Cell, Fold, Grid
from stages.report.material import Material

CORNER = "actual"


def folds(material: Material) -> list[Fold]:
    """One a group of models that `plots/confusion/` draws together; the paper's pairs are open."""
    classes = material.meta.classes
    found = []
    for names in groups(material.config.models).values():
        matrices = {name: counts(material, name) for name in names}
        grids = [_shares(label(name), own, classes) for name, own in matrices.items()]
        if len(names) == 2:
            grids.append(_difference(*names, *matrices.values(), classes))
        found.append(Fold(" and ".join(map(label, names)), [Beside(grids)], is_open=len(names) == 2))
    return found


def counts(material: Material, variant: str) -> np.ndarray:
    """Predictions [actual, predicted] of all folds and seeds."""
    answers, size = material.answers, len(material.meta.classes)
    cells = answers.actual.astype(np.int64) * size + answers.predicted[material.place(variant)]
    return np.bincount(cells.ravel(), minlength=size * size).reshape(size, size)


def shares(matrix: np.ndarray) -> np.ndarray:
    """Each row's shares of its sum; NaN for a class without a test utterance."""
    totals = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, totals, out=np.full(matrix.shape, np.nan), where=totals > 0)


def _shares(title: str, matrix: np.ndarray, classes: list[str]) -> Grid:
    own, totals = shares(matrix), matrix.sum(axis=1)
    rows = []
    for i, name in enumerate(classes):
        cells = [
            Cell(f"{100 * share:.0f}", tone="share", amount=float(share), title=f"{number} of {totals[i]}")
            if totals[i]
            else Cell("–")
            for share, number in zip(own[i], matrix[i], strict=True)
        ]
        rows.append([Cell(name), *cells])
    return Grid([CORNER, *classes], rows, title, upright=True)


def _difference(a: str, b: str, first: np.ndarray, second: np.ndarray, classes: list[str]) -> Grid:
    """The second model's shares minus the first's."""
    gaps = shares(second) - shares(first)
    rows = []
    for name, own in zip(classes, gaps, strict=True):
        cells = [
            Cell("–")
            if np.isnan(gap)
            else Cell(
                f"{100 * gap:+z.0f}" if round(100 * gap) else "0",
                tone="up" if gap > 0 else "down",
                amount=min(1.0, 2.5 * abs(float(gap))),
            )
            for gap in own
        ]
        rows.append([Cell(name), *cells])
    return Grid([CORNER, *classes], rows, f"{label(b)} − {label(a)}", upright=True)
