"""What a train stage leaves in `runs/<variant>/seed<seed>/`: predictions, curves, parameters and epochs.

And, where the fusion has a gate, what it lets through of each test utterance; where asked for, weights.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from stages.common import costs, files, gates, predictions
from stages.common.features import Features, fold_rows
from stages.common.plan import TaskKind
from stages.common.records import OUTPUTS, SHARES, WEIGHTS, Record


def write(folder: Path, features: Features, folds: pd.DataFrame, results: dict[int, Record], kind: TaskKind) -> int:
    """Write the outputs of one variant and seed from the results of its folds; the number of epochs.

    `results`: fold → the record of its run. `features` may lack the modalities. Use it inside `files.replacing`.
    """
    folder.mkdir()
    curves: list[dict] = []
    tables: dict[str, list[pd.DataFrame]] = {part: [] for part in predictions.FILES}
    shares: list[pd.DataFrame] = []
    for fold, result in results.items():
        rows = fold_rows(features, folds, fold)
        for part, own in tables.items():
            own.append(predictions.table(features, fold, rows[part], result.arrays[f"{OUTPUTS}{part}"], kind))
        shares.append(gates.table(features, fold, rows["test"], _named(result, SHARES)))
        curves.extend({"fold": fold} | epoch for epoch in result.values["epochs"])
        weights = _named(result, WEIGHTS)
        if weights:
            save_file(weights, folder / f"fold{fold}.safetensors")
    for part, own in tables.items():
        predictions.write(folder, pd.concat(own, ignore_index=True), part)
    gates.write(folder, pd.concat(shares, ignore_index=True))
    epochs = {fold: len(result.values["epochs"]) for fold, result in results.items()}
    costs.write(folder, costs.Cost(next(iter(results.values())).values["parameters"], epochs))
    files.write_csv(folder / "curves.csv", pd.DataFrame(curves))
    return sum(epochs.values())


def _named(result: Record, prefix: str) -> dict[str, np.ndarray]:
    """Those of a run's arrays whose names begin so, by the rest of their names, in alphabetical order.

    A record that was read has its arrays in an order that differs from one reading to the next.
    """
    return {name.removeprefix(prefix): result.arrays[name] for name in sorted(result.arrays) if name.startswith(prefix)}
