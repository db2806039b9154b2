"""What the sections of the report are written from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from stages.common import corpus, features, variants
from stages.common.corpus import Meta
from stages.common.params import Params
from stages.common.task import Task
from stages.report import findings
from stages.report.findings import Finding
from stages.ttest import study
from stages.ttest.answers import Answers
from stages.ttest.design import Design
from stages.ttest.verdict import amount

MADE_UP = "synthetic"
"""The name of the corpus that is computed, not recorded."""
NOT_REAL = "not real"
"""In the name of a corpus whose features come of random weights."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """A study that has been run."""

    config: Params
    meta: Meta
    answers: Answers
    """What its runs answered."""
    design: Design
    utterances: pd.DataFrame
    """`corpus.read_utterances`, by utterance_id."""
    folds: pd.DataFrame
    """`corpus.read_folds`."""
    tests: pd.DataFrame
    """`findings.read`."""

    @cached_property
    def findings(self) -> list[Finding]:
        """What the tests say of the metrics, pair by pair."""
        return findings.of_metrics(self.tests)

    @cached_property
    def lengths(self) -> dict[str, pd.Series]:
        """Letter → utterance_id → positions of its sequence, of the modalities whose features are here."""
        names = {name: own.letter for name, own in self.config.modalities.items() if (features.FOLDER / name).is_dir()}
        read = features.read(list(names))
        return {
            letter: pd.Series(read.sequences[name].valid_only().lengths, index=read.utterance_id)
            for name, letter in names.items()
        }

    @property
    def task(self) -> Task:
        """What its models predict."""
        return self.answers.task

    @cached_property
    def errors(self) -> np.ndarray:
        """[V, N]: the mean distance of a variant's values from an utterance's, over seeds and dimensions."""
        return np.abs(self.answers.predicted - self.answers.actual).mean(axis=(1, 3))

    @cached_property
    def right(self) -> np.ndarray:
        """[V, N]: the share of a variant's seeds that are right about an utterance in the test part of a fold."""
        return (self.answers.predicted == self.answers.actual).mean(axis=1)

    def known(self, column: str) -> bool:
        """Whether the corpus names a column of all its utterances."""
        return column in self.utterances and bool((self.utterances[column] != "").all())

    def place(self, variant: str) -> int:
        """A variant's place among the answers."""
        return self.answers.variants.index(variant)

    @property
    def margin(self) -> str:
        """The margin of equivalence of the first metric, such as `1 point`."""
        settings = self.config.compare
        return amount(settings.margin, settings.metrics[0])

    @property
    def letters(self) -> str:
        """What the letters of modalities stand for."""
        return ", ".join(f"{own.letter.upper()} {name}" for name, own in self.config.modalities.items())

    @property
    def shape(self) -> str:
        """How many runs a model has."""
        folds, seeds = len(self.answers.folds), len(self.answers.seeds)
        return f"{folds} fold{'s' * (folds > 1)} × {seeds} seed{'s' * (seeds > 1)}"

    @property
    def warning(self) -> str | None:
        """What of the study is not real; None of a study of recordings and of weights that were trained."""
        if NOT_REAL in self.meta.corpus:
            return f"Not real: corpus {self.meta.corpus}. No number on this page says anything about people or models."
        if self.meta.corpus == MADE_UP:
            return (
                "Not real: the corpus is synthetic, made up by a computer. The numbers say how the models do on it, "
                "and nothing about people."
            )
        return None


def read() -> Material:
    """Read the study in this folder.

    Raises
    ------
    UserError
        If something is missing or damaged, or was not predicted for the folds' test parts.
    """
    own, utterances = study.read(), corpus.read_utterances()
    return Material(
        config=own.config,
        meta=corpus.read_meta(),
        answers=own.answers,
        design=own.design,
        utterances=utterances.set_index("utterance_id"),
        folds=corpus.read_folds(),
        tests=findings.read(),
    )


def labels(names: list[str]) -> list[str]:
    """Variants as people read them."""
    return [variants.label(name) for name in names]
