"""`python -m stages.headline`: write the scores of `headline.attention` × `headline.modalities` and its DVC plots."""

import json
from pathlib import Path

import pandas as pd

from stages import cli, features, files, params, predictions, scores

METRICS, PLOTS = Path("metrics/headline.json"), Path("plots/headline")
SCORES = ["accuracy", "balanced_accuracy", "macro_f1"]


def main() -> None:
    """Score the headline variant; mean and deviation over its fold × seed runs."""
    config, classes = params.load(), features.read_meta().classes
    variant = config.headline.variant
    table = pd.concat([predictions.read(variant, seed) for seed in config.seeds], ignore_index=True)
    runs = scores.run_scores(table, classes)
    summary = {name: {"mean": runs[name].mean(), "std": runs[name].std() if len(runs) > 1 else None} for name in SCORES}
    summary["recall"] = {name: runs[f"recall_{name}"].mean() for name in classes}
    # JSON has no NaN: a class that no test part holds has no recall.
    summary["recall"] = {name: None if pd.isna(value) else value for name, value in summary["recall"].items()}
    files.write_text(METRICS, json.dumps(summary, indent=1) + "\n")
    files.write_csv(PLOTS / "predictions.csv", table[["actual", "predicted"]])
    files.write_csv(PLOTS / "curves.csv", mean_curves(variant, config.seeds))


def mean_curves(variant: str, seeds: list[int]) -> pd.DataFrame:
    """epoch and the mean training loss, development loss and development accuracy of the runs still training then."""
    curves = pd.concat([pd.read_csv(predictions.folder(variant, seed) / "curves.csv") for seed in seeds])
    return curves.groupby("epoch")[["train_loss", "dev_loss", "dev_accuracy"]].mean().reset_index()


if __name__ == "__main__":
    cli.run(main)
