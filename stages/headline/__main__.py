"""`python -m stages.headline`: write the scores of `headline.attention` × `headline.modalities` and its DVC plots."""

import json
from pathlib import Path

import pandas as pd

from stages.common import cli, corpus, files, params, predictions, scores
from stages.common.errors import UserError

FILE, PLOTS = Path("metrics/headline.json"), Path("plots/headline")
SHOWN, CURVES = ["accuracy", "balanced_accuracy", "macro_f1"], ["train_loss", "dev_loss", "dev_accuracy"]


def main() -> None:
    """Score the headline variant; mean and deviation over its fold × seed runs."""
    config, classes = params.load(), corpus.read_meta().classes
    variant = config.headline.variant
    table = predictions.read_study([variant], config.seeds, classes)
    curves = mean_curves(variant, config.seeds, set(table["fold"]))
    runs = scores.run_scores(table, classes)
    summary = {name: {"mean": runs[name].mean(), "std": runs[name].std() if len(runs) > 1 else None} for name in SHOWN}
    summary["recall"] = {name: runs[f"recall_{name}"].mean() for name in classes}
    # JSON has no NaN: a class that no test part holds has no recall.
    summary["recall"] = {name: None if pd.isna(value) else value for name, value in summary["recall"].items()}
    files.write_text(FILE, json.dumps(summary, indent=1) + "\n")
    files.write_csv(PLOTS / "predictions.csv", table[["actual", "predicted"]])
    files.write_csv(PLOTS / "curves.csv", curves)


def mean_curves(variant: str, seeds: list[int], folds: set[int]) -> pd.DataFrame:
    """epoch and the mean training loss, development loss and development accuracy of the runs still training then."""
    curves = pd.concat([read_curves(predictions.folder(variant, seed) / "curves.csv", folds) for seed in seeds])
    return curves.groupby("epoch")[CURVES].mean().reset_index()


def read_curves(path: Path, folds: set[int]) -> pd.DataFrame:
    """The training curves of one variant and seed.

    Raises
    ------
    UserError
        If the file is missing or broken, or not of the epochs 1, 2, … of each of `folds`.
    """
    curves = scores.read_csv(path, numbers=["fold", "epoch", *CURVES])
    epochs = curves.groupby("fold").cumcount() + 1
    if set(curves["fold"]) != folds or (curves["epoch"] != epochs).any():
        raise UserError(
            f"{path} must have the epochs 1, 2, … of each of the folds {', '.join(map(str, sorted(folds)))}, but has "
            f"not: remove {path.parent}, then run dvc repro"
        )
    return curves


if __name__ == "__main__":
    cli.run(main)
