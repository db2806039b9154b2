"""`python -m stages.ttest`: which of two models is better, or whether they are equivalent.

Without arguments it is a stage: it compares the study's models and writes `metrics/ttest.csv` and `.md`, `pairs.csv`,
`ranks.csv`, `plots/differences.png`, `runs.png` and `pairs/`. With `--predictions` it compares any models from files of
their predictions: docs/your-own-predictions.md.
"""

import sys

import pandas as pd

from stages.common import cli, corpus, params, predictions
from stages.common.errors import UserError
from stages.ttest import analysis, answers, design, external


def main() -> None:
    """Compare the study's models, or those of files."""
    if sys.argv[1:]:
        external.main(sys.argv[1:])
    else:
        study().write(analysis.METRICS_FOLDER, analysis.PLOTS)


def study() -> analysis.Analysis:
    """The comparisons of `compare.pairs`, from the predictions in runs/."""
    config, meta = params.load(), corpus.read_meta()
    found, folds, utterances = read_answers(config, meta), corpus.read_folds(), corpus.read_utterances()
    check_tested(found, folds, set(utterances["utterance_id"]))
    return analysis.analyse(found, config.pairs, config.compare, design.of_study(folds, utterances), meta.corpus)


def read_answers(config: params.Params, meta: corpus.Meta) -> answers.Answers:
    """What all runs of the study answered."""
    study = config.variants, config.seeds, meta.classes
    needs_dev = "calibration_error" in config.compare.metrics
    dev = predictions.read_study(*study, part="dev") if needs_dev else None
    return answers.arrange(predictions.read_study(*study), meta.classes, dev)


def check_tested(found: answers.Answers, folds: pd.DataFrame, utterances: set[str]) -> None:
    """Compare what was predicted with the folds' test parts and the corpus's `utterances`.

    Raises
    ------
    UserError
        If they differ.
    """
    own = {(found.folds[k], name) for k, name in zip(found.fold, found.utterance_id, strict=True)}
    tests = folds[folds["part"] == "test"]
    expected = set(zip(tests["fold"], tests["utterance_id"], strict=True))
    for fold, name in sorted(own ^ expected):
        what = "no prediction" if (fold, name) in expected else "a prediction"
        raise UserError(
            f"runs/ must hold predictions of the test parts of {corpus.FOLDS}, but fold {fold} has {what} of {name}: "
            "run dvc repro"
        )
    for name in sorted({name for _, name in own} - utterances):
        raise UserError(
            f"runs/ must hold predictions of the utterances in {corpus.FOLDER}, but has one of {name}: run dvc repro"
        )


if __name__ == "__main__":
    cli.run(main)
