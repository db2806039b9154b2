"""`runs/<variant>/seed<seed>/cost.json`: what each run of a seed cost, but for its time: parameters and epochs.

A run that was tuned cost all of its draws: its epochs are theirs, where draws of the same settings are trained, and
count, once; parameters are those of the largest of the models that the folds chose (each fold's own: `tuning.csv`).
"""

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.common import files, predictions
from stages.common.errors import restorable

FILE = "cost.json"


class Cost(NamedTuple):
    """What the runs of one model and seed cost."""

    parameters: int
    """That training fits; word vectors are none."""
    epochs: dict[int, int]
    """Fold → epochs to the one that ended its run; empty where nothing is trained."""


def write(run_folder: Path, cost: Cost) -> None:
    """Write what the runs of one model and seed cost into their folder."""
    files.write_text(run_folder / FILE, json.dumps(cost._asdict()) + "\n")


def read(model: str, seed: int) -> Cost:
    """What the runs of one model and seed cost.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    path = predictions.folder(model, seed) / FILE
    with restorable(path):
        found = dict(json.loads(path.read_bytes()))
        return Cost(int(found.get("parameters")), {int(k): int(n) for k, n in dict(found.get("epochs")).items()})


def with_costs(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs' scores with the columns parameters and epochs (none where nothing is trained) after variant, fold and seed.

    Raises
    ------
    UserError
        As `read`.
    """
    keys = ["variant", "fold", "seed"]
    costs = {key: read(*key) for key in runs[["variant", "seed"]].drop_duplicates().itertuples(index=False, name=None)}
    rows = [(costs[variant, seed], fold) for variant, fold, seed in runs[keys].itertuples(index=False, name=None)]
    found = runs[keys].assign(
        parameters=[cost.parameters for cost, _ in rows],
        epochs=pd.array([cost.epochs.get(fold) for cost, fold in rows], "Int64"),
    )
    return pd.concat([found, runs.drop(columns=keys)], axis=1)
