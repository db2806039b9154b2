"""Every score, computed from predictions in one place.

The names are the field's: the paper calls balanced accuracy WA and accuracy UWA (its footnote 1), as only tables do
here.
"""

import numpy as np
import pandas as pd
from sklearn import metrics

METRICS = {"balanced_accuracy": "WA (balanced accuracy)", "accuracy": "UWA (accuracy)"}
"""The paper's two metrics, in its order, as tables name them."""


def scores(predictions: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    """accuracy, balanced_accuracy (mean of the class recalls), macro_f1 and each class's recall.

    A class without an utterance among `predictions` has no recall (NaN) and does not enter the balanced accuracy.
    """
    actual, predicted = predictions["actual"], predictions["predicted"]
    counts = metrics.confusion_matrix(actual, predicted, labels=classes)
    present = counts.sum(axis=1) > 0
    recall = np.full(len(classes), np.nan)
    recall[present] = counts.diagonal()[present] / counts.sum(axis=1)[present]
    return {
        "accuracy": metrics.accuracy_score(actual, predicted),
        "balanced_accuracy": float(np.nanmean(recall)),
        "macro_f1": metrics.f1_score(actual, predicted, average="macro", zero_division=0),
        **{f"recall_{name}": value for name, value in zip(classes, recall.tolist(), strict=True)},
    }


def run_scores(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """One row a run (variant, fold, seed) with its `scores`, in the order of the predictions."""
    groups = predictions.groupby(["variant", "fold", "seed"], sort=False)
    return pd.DataFrame(
        [dict(zip(("variant", "fold", "seed"), key, strict=True)) | scores(rows, classes) for key, rows in groups]
    )
