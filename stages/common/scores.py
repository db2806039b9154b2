"""Every score, computed from predictions in one place.

The names are the field's: the paper calls balanced accuracy WA and accuracy UWA (its footnote 1), as only tables do
here.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.common.errors import UserError

FILE = Path("metrics/scores.csv")

SCORES = {"balanced_accuracy": "WA (balanced accuracy)", "accuracy": "UWA (accuracy)"}
"""The paper's two metrics, in its order, as tables name them."""


def scores(predictions: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    """accuracy, balanced_accuracy (mean of the class recalls), macro_f1 and each class's recall.

    A class without an utterance among `predictions` has no recall (NaN) and does not enter the balanced accuracy; one
    that is neither there nor predicted does not enter macro F1.
    """
    actual, predicted = (pd.Index(classes).get_indexer(predictions[name]) for name in ("actual", "predicted"))
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (actual, predicted), 1)
    right, tested, guessed = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        recall, f1 = right / tested, 2 * right / (tested + guessed)
    f1 = f1[np.argsort(classes)]  # so that the mean rounds as scikit-learn's
    return {
        "accuracy": float(right.sum() / len(predictions)),
        "balanced_accuracy": float(np.nanmean(recall)),
        "macro_f1": float(f1[np.isfinite(f1)].mean()),
        **{f"recall_{name}": value for name, value in zip(classes, recall.tolist(), strict=True)},
    }


def run_scores(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """One row a run (variant, fold, seed) with its `scores`, in the order of the predictions."""
    groups = predictions.groupby(["variant", "fold", "seed"], sort=False)
    return pd.DataFrame(
        [dict(zip(("variant", "fold", "seed"), key, strict=True)) | scores(rows, classes) for key, rows in groups]
    )


def read(columns: list[str]) -> pd.DataFrame:
    """`FILE`, which holds `run_scores`; of its scores, `columns` are there and numbers.

    Raises
    ------
    UserError
        If the file is missing or broken, or some of its variants lack runs that others have.
    """
    runs = read_csv(FILE, numbers=["fold", "seed", *columns], text=("variant",))
    keys = ["variant", "fold", "seed"]
    every = pd.MultiIndex.from_product([runs[key].unique() for key in keys])
    rows = runs.groupby(keys).size().reindex(every, fill_value=0)
    if rows.empty or (rows != 1).any():
        found = (
            "none" if rows.empty else "{1} of {0[0]}, fold {0[1]}, seed {0[2]}".format(*next(rows[rows != 1].items()))
        )
        raise UserError(f"{FILE} must hold one row a variant, fold and seed, but holds {found}: run dvc repro")
    return runs


def check(runs: pd.DataFrame, predictions: pd.DataFrame, classes: list[str]) -> None:
    """Compare the rows of `FILE` with the predictions that they should be computed from.

    Raises
    ------
    UserError
        If they differ.
    """
    try:
        pd.testing.assert_frame_equal(runs, run_scores(predictions, classes), check_dtype=False, rtol=0, atol=1e-9)
    except AssertionError:
        raise UserError(
            f"{FILE} must hold the scores of the predictions in runs/, but holds others: run dvc repro"
        ) from None


def read_csv(path: Path, *, numbers: list[str], text: tuple[str, ...] = ()) -> pd.DataFrame:
    """A CSV that a stage wrote, with columns `text` and with finite numbers in the columns `numbers`.

    Raises
    ------
    UserError
        If the file is missing, is no CSV, or a column lacks or holds something else.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: dvc repro writes what is missing") from None
    except ValueError as error:  # what pandas has for damaged files
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} must be a CSV file, but is damaged ({reason}): run dvc repro") from None
    for name in (*text, *numbers):
        if name not in table:
            raise UserError(f"{path} must have a column {name}, but has {', '.join(table)}: run dvc repro")
    for name in numbers:
        wrong = ~np.isfinite(pd.to_numeric(table[name], errors="coerce"))
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise UserError(
                f"{path}: {name} must be a number, but is {table[name].iloc[row]} in line {row + 2}: run dvc repro"
            )
    return table
