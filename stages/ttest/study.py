"""The study in this folder: what its runs answered, and what its folds are like."""

from typing import NamedTuple

import pandas as pd

from stages.common import corpus, params, predictions, task
from stages.common.errors import UserError
from stages.ttest import answers, design
from stages.ttest.answers import Answers
from stages.ttest.design import Design


class Study(NamedTuple):
    """What the tests need of it."""

    config: params.Params
    answers: Answers
    design: Design
    corpus: str
    """The corpus's name."""


def read() -> Study:
    """Read params.yaml, data/, runs/ and references/.

    Raises
    ------
    UserError
        If something is missing or damaged, or predictions are not of the folds' test parts.
    """
    config, meta = params.load(), corpus.read_meta()
    folds, utterances = corpus.read_folds(), corpus.read_utterances()
    aim = task.of(config.task, meta)
    study = config.models, config.seeds, aim
    dev = predictions.read_study(*study, part="dev") if "calibration_error" in config.compare.metrics else None
    found = answers.arrange(predictions.read_study(*study), aim, dev)
    check_tested(found, folds, set(utterances["utterance_id"]))
    return Study(config, found, design.of_study(folds, utterances), meta.corpus)


def check_tested(found: Answers, folds: pd.DataFrame, utterances: set[str]) -> None:
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
