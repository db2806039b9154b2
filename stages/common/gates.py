"""`runs/<variant>/seed<seed>/gates.parquet`: what a fusion's gate lets through of each test utterance.

A fusion has a gate where its module has a method `shares`: encodings → name → share [R, B].
"""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import predictions
from stages.common.features import Features

FILE = "gates.parquet"
COLUMNS = ["fold", "utterance_id", "gate", "share"]


def table(features: Features, fold: int, rows: np.ndarray, shares: dict[str, np.ndarray]) -> pd.DataFrame:
    """The shares of one fold's test utterances `rows`, name → [rows]; columns `COLUMNS`."""
    found = [
        pd.DataFrame({"fold": fold, "utterance_id": features.utterance_id[rows], "gate": gate, "share": share})
        for gate, share in shares.items()
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)


def write(run_folder: Path, shares: pd.DataFrame) -> None:
    """Write one run's shares into its folder; no file where there are none."""
    if len(shares):
        predictions.write_table(run_folder / FILE, shares)


def read(variant: str, seed: int) -> pd.DataFrame:
    """One run's shares, with columns variant and seed before `COLUMNS`; empty where its fusion has no gate.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = predictions.folder(variant, seed) / FILE
    found = predictions.read_table(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
    found.insert(0, "variant", variant)
    found.insert(1, "seed", seed)
    return found
