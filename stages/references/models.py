"""The references: what each answers to the utterances of a part of the folds, dev or test.

Each returns a table as `predictions.table` has it, in the order of the trained variants' tables.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stages.common import corpus, predictions
from stages.common.features import Features, fold_rows
from stages.common.task import Task


def late(parts: list[str], seed: int, task: Task, part: str) -> pd.DataFrame:
    """Late fusion: the mean of the probabilities of some variants' runs of the same fold and seed,

        p(c) = (1 / M) sum_m p_m(c),

    the sum rule of Kittler et al., "On combining classifiers", TPAMI 1998, Section 2.2, which answers the first of the
    most probable classes; of dimensions the mean of their values.

    Raises
    ------
    UserError
        If the predictions of a variant are missing or damaged, or not of the same utterances.
    """
    every = predictions.read_study(parts, [seed], task, part)
    own = [every[every["variant"] == name].reset_index(drop=True) for name in parts]
    return averaged(own, task)


def averaged(parts: list[pd.DataFrame], task: Task) -> pd.DataFrame:
    """The mean of some models' probabilities or values, as a table; theirs are of the same utterances in the same
    order.
    """
    names = [name for name in task.columns if name not in (*task.actual, "predicted")]
    mean = np.mean([own[names].to_numpy() for own in parts], axis=0, dtype=np.float64).astype(np.float32)
    table = parts[0][[*predictions.COLUMNS, *task.actual]].copy()
    if task.kind == "classes":
        table["predicted"] = np.array(task.names)[mean.argmax(axis=1)]
    return table.join(pd.DataFrame(mean, columns=names))


def majority(features: Features, folds: pd.DataFrame, part: str) -> pd.DataFrame:
    """The most frequent class of each fold's training part, the first of equals.

    Its probabilities are the classes' shares of the training part, as those of `strategy="prior"` in scikit-learn's
    `DummyClassifier`: the best that are the same for all utterances. A probability of 1 for that class
    (`strategy="most_frequent"`) would make the negative log-likelihood one of `scores.SMALLEST` alone.
    """
    tables = [
        predictions.of_classes(features, fold, rows[part], _same(shares, len(rows[part])))
        for fold, rows, shares in _folds(features, folds)
    ]
    return pd.concat(tables, ignore_index=True)


def prior(features: Features, folds: pd.DataFrame, part: str, seed: int) -> pd.DataFrame:
    """A class that is drawn for each utterance by the classes' shares of its fold's training part: chance.

    As `strategy="stratified"` in scikit-learn's `DummyClassifier`, but its probabilities are the shares that it draws
    by, not 1 for what was drawn. So it has the negative log-likelihood and the Brier score of `majority`, and its
    answers are often not the most probable class.
    """
    tables = []
    for fold, rows, shares in _folds(features, folds):
        rng = np.random.default_rng(np.random.SeedSequence([seed, fold, corpus.PARTS.index(part)]))
        drawn = rng.choice(len(shares), size=len(rows[part]), p=shares)
        tables.append(predictions.of_classes(features, fold, rows[part], _same(shares, len(drawn)), drawn))
    return pd.concat(tables, ignore_index=True)


def mean(features: Features, folds: pd.DataFrame, part: str) -> pd.DataFrame:
    """Each dimension's mean in the fold's training part, as scikit-learn's `DummyRegressor`; its CCC is 0."""
    tables = []
    for fold in corpus.numbers(folds):
        rows = fold_rows(features, folds, fold)
        own = features.values[rows["train"]].mean(axis=0, dtype=np.float64).astype(np.float32)
        tables.append(predictions.values(features, fold, rows[part], np.tile(own, (len(rows[part]), 1))))
    return pd.concat(tables, ignore_index=True)


def _folds(features: Features, folds: pd.DataFrame) -> Iterator[tuple[int, dict[str, np.ndarray], np.ndarray]]:
    """Each fold's number, rows by part, and the classes' shares [C] of its training part."""
    for fold in corpus.numbers(folds):
        rows = fold_rows(features, folds, fold)
        counts = np.bincount(features.label[rows["train"]], minlength=len(features.meta.classes))
        yield fold, rows, counts / counts.sum()


def _same(shares: np.ndarray, count: int) -> np.ndarray:
    """Probabilities [count, C], the same for each utterance."""
    return np.tile(shares.astype(np.float32), (count, 1))
