"""`runs/<variant>/seed<seed>/predictions.parquet`: the primary record, from which every score is computed."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.features import Features
from stages.params import Params

RUNS = Path("runs")


def folder(variant: str, seed: int) -> Path:
    """Where a variant's and seed's outputs lie."""
    return RUNS / variant / f"seed{seed}"


def table(corpus: Features, fold: int, rows: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """One fold's predictions for the utterances `rows`, from probabilities [rows, classes].

    Columns: fold, utterance_id, actual, predicted and a probability for each class.
    """
    classes = corpus.meta.classes
    names = np.array(classes)
    columns = {
        "fold": fold,
        "utterance_id": corpus.utterance_id[rows],
        "actual": names[corpus.label[rows]],
        "predicted": names[probabilities.argmax(axis=1)],
    }
    columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(classes)}
    return pd.DataFrame(columns)


def write(run_folder: Path, predictions: pd.DataFrame) -> None:
    """Write one run's predictions into its folder."""
    predictions.to_parquet(run_folder / "predictions.parquet", index=False)


def read(variant: str, seed: int) -> pd.DataFrame:
    """All folds' predictions of one variant and seed, with columns variant and seed before the others."""
    predictions = pd.read_parquet(folder(variant, seed) / "predictions.parquet")
    predictions.insert(0, "variant", variant)
    predictions.insert(1, "seed", seed)
    return predictions


def read_study(params: Params) -> pd.DataFrame:
    """The predictions of the variants and seeds in params, whatever else lies in `runs/`."""
    return pd.concat([read(v, s) for v in params.variants for s in params.seeds], ignore_index=True)
