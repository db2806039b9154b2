"""`python -m stages.references`: write `references/<model>/seed<seed>/` for each of `references` in params.yaml."""

from itertools import product
from pathlib import Path

import pandas as pd

from stages.common import cli, corpus, costs, features, files, params, predictions, task, variants
from stages.common.features import Features
from stages.common.plan import TaskKind
from stages.references import models

README = "Models that are not trained: `references` in params.yaml names them, and stages/references makes them.\n"
"""The text of a file that is always there: DVC warns of outputs that are empty folders."""


def main() -> None:
    """Write the predictions and the number of parameters of all references, with all seeds."""
    config, known, folds = params.load(), features.read([]), corpus.read_folds()
    with files.replacing(predictions.REFERENCES) as root:
        root.mkdir()
        files.write_text(root / "README.md", README)
        for name, seed in product(config.references, config.seeds):
            folder = root / predictions.folder(name, seed).relative_to(predictions.REFERENCES)
            write(folder, name, seed, known, folds, config.task)


def write(folder: Path, name: str, seed: int, known: Features, folds: pd.DataFrame, kind: TaskKind) -> None:
    """Write the predictions of one reference and seed, and how many parameters its parts have."""
    folder.mkdir(parents=True)
    for part in predictions.FILES:
        predictions.write(folder, predict(name, seed, known, folds, part, kind), part)
    parameters = sum(costs.read(part, seed).parameters for part in variants.parse(name).parts)
    costs.write(folder, costs.Cost(parameters, epochs={}))


def predict(name: str, seed: int, known: Features, folds: pd.DataFrame, part: str, kind: TaskKind) -> pd.DataFrame:
    """The predictions of the reference `name` of a part of the folds, test or dev."""
    reference = variants.parse(name)
    made = {
        "late": lambda: models.late(reference.parts, seed, task.of(kind, known.meta), part),
        "majority": lambda: models.majority(known, folds, part),
        "prior": lambda: (
            models.prior(known, folds, part, seed) if kind == "classes" else models.mean(known, folds, part)
        ),
    }
    return made[reference.fusion]()


if __name__ == "__main__":
    cli.run(main)
