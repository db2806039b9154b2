"""What a train stage leaves in `runs/<variant>/seed<seed>/`: predictions, curves and, where asked for, weights."""

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from stages.common import files, predictions
from stages.common.features import Features, fold_rows
from stages.common.records import PROBABILITIES, WEIGHTS, Record


def write(folder: Path, features: Features, folds: pd.DataFrame, results: dict[int, Record]) -> int:
    """Write the outputs of one variant and seed from the results of its folds; the number of epochs.

    `results`: fold → the record of its run. `features` may lack the modalities. Use it inside `files.replacing`.
    """
    folder.mkdir()
    curves: list[dict] = []
    tables: dict[str, list[pd.DataFrame]] = {part: [] for part in predictions.FILES}
    for fold, result in results.items():
        rows = fold_rows(features, folds, fold)
        for part, own in tables.items():
            own.append(predictions.table(features, fold, rows[part], result.arrays[f"{PROBABILITIES}{part}"]))
        curves.extend({"fold": fold} | epoch for epoch in result.values["epochs"])
        weights = _weights(result)
        if weights:
            save_file(weights, folder / f"fold{fold}.safetensors")
    for part, own in tables.items():
        predictions.write(folder, pd.concat(own, ignore_index=True), part)
    files.write_csv(folder / "curves.csv", pd.DataFrame(curves))
    return len(curves)


def _weights(result: Record) -> dict[str, np.ndarray]:
    """The weights of a run's best epoch, by parameter; none where they were not kept."""
    return {name.removeprefix(WEIGHTS): array for name, array in result.arrays.items() if name.startswith(WEIGHTS)}
