"""What answers to all kinds of tasks have in common: whose they are, and what the tests ask of them.

V variants, S seeds, K folds. N counts the utterances of all test parts, fold after fold: an utterance that two folds
test counts twice.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd

from stages.common.task import Task


@dataclass(frozen=True, kw_only=True)
class Answers(ABC):
    """Predictions of V × S models a fold for the same utterances."""

    counts_excess: ClassVar[bool] = False
    """Whether the test counts the folds' excess in all studies, not only where folds leave out speakers or sessions."""
    task: Task
    variants: list[str]
    seeds: list
    folds: list
    fold: np.ndarray
    """[N] places in `folds`, ascending."""
    utterance_id: np.ndarray
    """[N]"""

    @classmethod
    @abstractmethod
    def of(
        cls, predictions: pd.DataFrame, rows: np.ndarray, dev: pd.DataFrame | None = None, **whose: object
    ) -> "Answers":
        """The answers in a table, whose `rows` [V, S, N] are in this order; `whose`: the fields above.

        `dev`: the same of development parts.
        """

    @cached_property
    def bounds(self) -> list[slice]:
        """Where each fold's utterances lie."""
        ends = np.searchsorted(self.fold, np.arange(len(self.folds) + 1))
        return [slice(*pair) for pair in pairwise(ends)]

    @abstractmethod
    def run_scores(self, names: list[str]) -> dict[str, np.ndarray]:
        """Scores [V, S, K] by their names: the metrics `names` and `task.details`. NaN where a fold has no such
        score."""

    @abstractmethod
    def has_values(self, score: str) -> bool:
        """Whether the score is a weighted sum of `values`, which say how it would vary with other utterances."""

    @abstractmethod
    def rows_of(self, score: str) -> np.ndarray | slice:
        """The utterances that a sum runs over."""

    @abstractmethod
    def weights(self, score: str) -> np.ndarray:
        """w_u of the utterances that a sum runs over."""

    @abstractmethod
    def strata(self, score: str) -> np.ndarray:
        """Numbers of what those utterances' values are centred in (`components.components`)."""

    @abstractmethod
    def values(self, score: str, variant: str, unit: np.ndarray) -> np.ndarray:
        """[S, n]: what one variant's runs get for each of the utterances that a sum runs over.

        `unit` [N]: numbers of what varies independently, which only scores that are no exact sums depend on.
        """

    @abstractmethod
    def drawn_scores(self, k: int, unit: np.ndarray, times: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """One fold's scores [draws, V, S] where units count several times, by the names of `run_scores`.

        Parameters
        ----------
        k: the fold's place.
        unit: of each of its utterances, a column of `times`.
        times: [draws, units], how often each unit counts. A draw that holds no utterance of a score has NaN.
        """
