"""`python -m stages.headline`: write the scores of `headline.attention` × `headline.modalities` and its DVC plots."""

import json
from pathlib import Path

import pandas as pd

from stages.common import cli, corpus, files, params, predictions, scores, task
from stages.common.errors import UserError
from stages.common.plan import TaskKind
from stages.common.task import Task

FILE, PLOTS = Path("metrics/headline.json"), Path("plots/headline")
SHOWN: dict[TaskKind, list[str]] = {"classes": ["accuracy", "balanced_accuracy", "macro_f1"], "dimensions": ["ccc"]}
DETAILS: dict[TaskKind, str] = {"classes": "recall", "dimensions": "ccc_by_dimension"}
SCORE: dict[TaskKind, str] = {"classes": "dev_accuracy", "dimensions": "dev_ccc"}
"""Of the training curves."""
SIDES = ("actual", "predicted")
LOSSES = ["train_loss", "dev_loss"]


def main() -> None:
    """Score the headline variant; mean and deviation over its fold × seed runs."""
    config, meta = params.load(), corpus.read_meta()
    variant, aim = config.headline.variant, task.of(config.task, meta)
    table = predictions.read_study([variant], config.seeds, aim)
    curves = mean_curves(variant, config.seeds, set(table["fold"]), SCORE[aim.kind])
    runs = scores.run_scores(table, aim)
    shown = SHOWN[aim.kind]
    summary = {name: {"mean": runs[name].mean(), "std": runs[name].std() if len(runs) > 1 else None} for name in shown}
    details = {name: runs[score].mean() for name, score in zip(aim.names, aim.details, strict=True)}
    # JSON has no NaN: a class that no test part holds has no recall.
    summary[DETAILS[aim.kind]] = {name: None if pd.isna(value) else value for name, value in details.items()}
    files.write_text(FILE, json.dumps(summary, indent=1) + "\n")
    files.write_csv(PLOTS / "predictions.csv", answers(table, aim))
    files.write_csv(PLOTS / "curves.csv", curves)


def answers(table: pd.DataFrame, aim: Task) -> pd.DataFrame:
    """actual and predicted of each test utterance and seed, for a confusion matrix.

    Of dimensions: each dimension's values, to the nearest whole number of the scale, with its name.
    """
    if aim.kind == "classes":
        return table[["actual", "predicted"]]
    parts = [
        pd.DataFrame({side: f"{name} " + table[f"{side}_{name}"].round().astype(int).astype(str) for side in SIDES})
        for name in aim.names
    ]
    return pd.concat(parts, ignore_index=True)


def mean_curves(variant: str, seeds: list[int], folds: set[int], score: str) -> pd.DataFrame:
    """epoch and the mean losses and development score (`dev_score`) of the runs still training then."""
    paths = [predictions.folder(variant, seed) / "curves.csv" for seed in seeds]
    curves = pd.concat([read_curves(path, folds, [*LOSSES, score]) for path in paths])
    return curves.groupby("epoch")[[*LOSSES, score]].mean().rename(columns={score: "dev_score"}).reset_index()


def read_curves(path: Path, folds: set[int], columns: list[str]) -> pd.DataFrame:
    """The training curves of one variant and seed.

    Raises
    ------
    UserError
        If the file is missing or broken, or not of the epochs 1, 2, … of each of `folds`.
    """
    curves = scores.read_csv(path, numbers=["fold", "epoch", *columns])
    epochs = curves.groupby("fold").cumcount() + 1
    if set(curves["fold"]) != folds or (curves["epoch"] != epochs).any():
        raise UserError(
            f"{path} must have the epochs 1, 2, … of each of the folds {', '.join(map(str, sorted(folds)))}, but has "
            f"not: remove {path.parent}, then run dvc repro"
        )
    return curves


if __name__ == "__main__":
    cli.run(main)
