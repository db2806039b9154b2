"""`python -m stages.ttest`: write `metrics/ttest.csv` and `.md`, `plots/differences.png` and `plots/runs.png`."""

from pathlib import Path

import pandas as pd

from stages.common import cli, corpus, figures, files, params, predictions, scores
from stages.common.errors import UserError
from stages.ttest import bootstrap, comparisons, drawing, report

METRICS_FOLDER, PLOTS = Path("metrics"), Path("plots")


def main() -> None:
    """Test every pair of `compare.pairs`."""
    config, meta = params.load(), corpus.read_meta()
    folds, tested = corpus.read_folds(), predictions.read_study(config.variants, config.seeds, meta.classes)
    unit, unit_of = bootstrap.units(corpus.read_utterances())
    check_tested(tested, folds, unit_of.index)
    runs = scores.read(list(scores.SCORES))
    scores.check(runs, tested, meta.classes)
    draws = bootstrap.draws(tested, unit_of, meta.classes)
    table = comparisons.compare(runs, config.pairs, config.compare, test_to_train=test_to_train(folds), draws=draws)
    files.write_csv(METRICS_FOLDER / "ttest.csv", table)
    files.write_text(METRICS_FOLDER / "ttest.md", report.as_markdown(table, config.compare, meta.corpus, unit))
    figures.save(drawing.differences(table, config.compare, meta.corpus), PLOTS / "differences.png")
    figures.save(drawing.runs(runs, config.variants, meta.corpus), PLOTS / "runs.png")


def check_tested(tested: pd.DataFrame, folds: pd.DataFrame, utterances: pd.Index) -> None:
    """Compare what the predictions `tested` are of with the folds' test parts and the corpus's `utterances`.

    Raises
    ------
    UserError
        If they differ.
    """
    keys = ["fold", "utterance_id"]
    own, expected = (
        set(some[keys].drop_duplicates().itertuples(index=False, name=None))
        for some in (tested, folds[folds["part"] == "test"])
    )
    for fold, name in sorted(own ^ expected):
        what = "no prediction" if (fold, name) in expected else "a prediction"
        raise UserError(
            f"runs/ must hold predictions of the test parts of {corpus.FOLDS}, but fold {fold} has {what} of {name}: "
            "run dvc repro"
        )
    for name in sorted(set(tested["utterance_id"]) - set(utterances)):
        raise UserError(
            f"runs/ must hold predictions of the utterances in {corpus.FOLDER}, but has one of {name}: run dvc repro"
        )


def test_to_train(folds: pd.DataFrame) -> float:
    """n_test / n_train over all folds."""
    parts = folds["part"].value_counts()
    return float(parts["test"] / parts["train"])


if __name__ == "__main__":
    cli.run(main)
