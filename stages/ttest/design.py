"""What a study's folds are like: which test suits them, and what test and training parts share."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from stages.common import splits
from stages.ttest import student


@dataclass(frozen=True, kw_only=True)
class Design:
    """How a study divides its corpus."""

    test_to_train: float
    """n_test / n_train; 0 if unknown."""
    unit: str = "utterance"
    """What varies independently: dialogue, speaker or utterance."""
    units: pd.Series
    """utterance_id → number of its unit."""
    repeats: int = 1
    """Partitions of the corpus, each with folds of its own."""
    left_out: str | None = None
    """speaker or session, if folds keep each of them on one side."""
    shared: dict[str, float] = field(default_factory=dict)
    """speaker, session, dialogue → share of test utterances of one that is in the training part too."""

    def correction(self, folds: int) -> float:
        """q of `student`, for so many folds in all."""
        return student.correction(max(1, folds // self.repeats), self.test_to_train)

    def numbers(self, utterance_id: np.ndarray) -> np.ndarray:
        """The number of each utterance's unit."""
        return self.units.loc[utterance_id].to_numpy()


def units(utterances: pd.DataFrame) -> tuple[str, pd.Series]:
    """What varies independently, the first of dialogue, speaker and utterance that is known of all, and each
    utterance_id's number of it.

    `utterances`: utterance_id and, perhaps, speaker, session and dialogue, text that is empty where unknown.
    """
    names = utterances["utterance_id"].to_numpy()
    for unit in ("dialogue", "speaker"):
        numbers = splits.group_numbers(utterances, unit)
        if numbers is not None:
            return unit, pd.Series(numbers, index=names)
    return "utterance", pd.Series(np.arange(len(names)), index=names)


def of_study(folds: pd.DataFrame, utterances: pd.DataFrame) -> Design:
    """The design of a study, from `data/folds.csv` and the corpus's `utterances.csv`."""
    unit, numbers = units(utterances)
    parts, shared = folds["part"].value_counts(), splits.shared(folds, utterances)
    return Design(
        test_to_train=float(parts["test"] / parts["train"]),
        unit=unit,
        units=numbers,
        repeats=folds["repeat"].nunique() if "repeat" in folds else 1,
        left_out=_left_out(utterances, lambda name: shared[name] == 0),
        shared=shared,
    )


def of_predictions(tested: pd.DataFrame, test_to_train: float) -> Design:
    """The design behind predictions, whose training parts nobody knows; a row an utterance that a fold tests: fold,
    utterance_id and, perhaps, speaker, session and dialogue.

    Speakers that are each tested in one fold alone were left out by folds. A fold trains on at most all utterances that
    it does not test. Utterances that several folds test are of repeated partitions.
    """
    utterances = tested.drop_duplicates("utterance_id")
    size = len(tested) / tested["fold"].nunique()
    if size < len(utterances):
        test_to_train = max(test_to_train, size / (len(utterances) - size))
    unit, numbers = units(utterances)

    def in_one_fold(name: str) -> bool:
        return bool((tested.groupby(name)["fold"].nunique() == 1).all())

    return Design(
        test_to_train=test_to_train,
        unit=unit,
        units=numbers,
        repeats=math.ceil(len(tested) / len(utterances)),
        left_out=_left_out(utterances, in_one_fold),
    )


def _left_out(utterances: pd.DataFrame, apart: Callable[[str], bool]) -> str | None:
    """speaker or session, if the corpus names several, fewer than its utterances, and they are kept `apart`."""
    for name in ("speaker", "session"):
        numbers = splits.group_numbers(utterances, name)
        if numbers is not None and 1 < numbers.max() + 1 < len(utterances) and apart(name):
            return name
    return None
