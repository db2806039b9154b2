"""`python -m stages.ttest`: write `metrics/ttest.csv` and `.md`, `plots/differences.png` and `plots/runs.png`."""

from pathlib import Path

import pandas as pd

from stages import cli, features, figures, files, params, predictions
from stages.ttest import bootstrap, comparisons, drawing, report

METRICS, PLOTS = Path("metrics"), Path("plots")


def main() -> None:
    """Test every pair of `compare.pairs`."""
    config, meta = params.load(), features.read_meta()
    runs = pd.read_csv(METRICS / "scores.csv")
    unit, unit_of = bootstrap.units(features.read_utterances())
    draws = bootstrap.draws(predictions.read_study(config), unit_of, meta.classes)
    table = comparisons.compare(
        runs, config.pairs, config.compare, test_to_train=test_to_train(features.read_folds()), draws=draws
    )
    files.write_csv(METRICS / "ttest.csv", table)
    files.write_text(METRICS / "ttest.md", report.as_markdown(table, config.compare, meta.corpus, unit))
    figures.save(drawing.differences(table, config.compare, meta.corpus), PLOTS / "differences.png")
    figures.save(drawing.runs(runs, config.variants, meta.corpus), PLOTS / "runs.png")


def test_to_train(folds: pd.DataFrame) -> float:
    """n_test / n_train over all folds."""
    parts = folds["part"].value_counts()
    return float(parts["test"] / parts["train"])


if __name__ == "__main__":
    cli.run(main)
