"""What every run of a study answered, as arrays: the input of all tests.

V variants, S seeds, K folds, C classes. N counts the utterances of all test parts, fold after fold: an utterance that
two folds test counts twice.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd

from stages.common import metrics, scores
from stages.common.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Predictions of V × S models a fold for the same utterances."""

    variants: list[str]
    seeds: list
    classes: list[str]
    folds: list
    fold: np.ndarray
    """[N] places in `folds`, ascending."""
    utterance_id: np.ndarray
    """[N]"""
    actual: np.ndarray
    """[N] numbers of classes."""
    predicted: np.ndarray
    """[V, S, N] numbers of classes."""
    probabilities: np.ndarray | None = None
    """[V, S, N, C]"""
    temperatures: np.ndarray | None = None
    """[V, S, K], fitted on the development part; None: 1 everywhere."""

    @cached_property
    def bounds(self) -> list[slice]:
        """Where each fold's utterances lie."""
        ends = np.searchsorted(self.fold, np.arange(len(self.folds) + 1))
        return [slice(*pair) for pair in pairwise(ends)]

    def rows_of(self, score: str) -> np.ndarray | slice:
        """The utterances that a sum runs over: all, or a recall's."""
        if score in metrics.METRICS:
            return slice(None)
        return np.flatnonzero(self.actual == self.classes.index(score.removeprefix("recall_")))

    def weights(self, score: str) -> np.ndarray:
        """w_u of the utterances that a sum runs over."""
        rows = self.rows_of(score)
        fold, actual = self.fold[rows], self.actual[rows]
        parts = [scores.weights(score, actual[fold == number]) for number in np.unique(fold)]
        return np.concatenate(parts) if parts else np.empty(0)

    def values(self, score: str, variant: str) -> np.ndarray:
        """[S, n]: what one variant's runs get for each of the utterances that a sum runs over."""
        v, rows = self.variants.index(variant), self.rows_of(score)
        probabilities = None if self.probabilities is None else self.probabilities[v][:, rows]
        return scores.values(score, self.actual[rows], self.predicted[v][:, rows], probabilities)

    def confidence(self, v: int, s: int, k: int) -> np.ndarray:
        """The probability of the answer to each of a fold's utterances, by one run, at the run's temperature."""
        t, own = 1.0 if self.temperatures is None else self.temperatures[v, s, k], self.bounds[k]
        return scores.confidence(self.probabilities[v, s, own], self.predicted[v, s, own], t)

    def run_scores(self, names: list[str]) -> dict[str, np.ndarray]:
        """Metric and `recall_<class>` → scores [V, S, K]; NaN for a class that a fold does not test."""
        shape = (len(self.variants), len(self.seeds), len(self.folds))
        found = {name: np.full(shape, np.nan) for name in [*names, *map(metrics.recall, self.classes)]}
        for k, own in enumerate(self.bounds):
            counted = scores.from_counts(*self._counts(own))
            for c, name in enumerate(self.classes):
                found[metrics.recall(name)][..., k] = counted["recall"][..., c]
            for name in names:
                found[name][..., k] = counted[name] if name in counted else self._scores(name, k, own)
        return found

    def _counts(self, own: slice) -> Iterator[np.ndarray]:
        """One fold's counts by class, [..., C] each: right [V, S], tested, predicted [V, S]."""
        actual, predicted, count = self.actual[own], self.predicted[..., own], len(self.classes)
        right = predicted == actual
        yield np.stack([(right & (actual == c)).sum(-1) for c in range(count)], axis=-1)
        yield np.bincount(actual, minlength=count)
        yield np.stack([(predicted == c).sum(-1) for c in range(count)], axis=-1)

    def _scores(self, name: str, k: int, own: slice) -> np.ndarray:
        """One fold's scores [V, S] of a metric that needs probabilities."""
        actual, predicted = self.actual[own], self.predicted[..., own]
        if metrics.METRICS[name].is_sum:
            values = scores.values(name, actual, predicted, self.probabilities[..., own, :])
            return values @ scores.weights(name, actual)
        once, right = np.ones((1, len(actual)), np.float32), predicted == actual
        return np.array(
            [
                [scores.calibration_error(self.confidence(v, s, k), right[v, s], once)[0] for s in range(len(seeds))]
                for v, seeds in enumerate(right)
            ]
        )


def arrange(
    predictions: pd.DataFrame,
    classes: list[str],
    dev: pd.DataFrame | None = None,
    *,
    where: Callable[[int], str] = "row {}".format,
) -> Answers:
    """The answers in a table of predictions: variant, seed, fold, utterance_id, actual, predicted (both of `classes`)
    and, perhaps, a `probability_<class>` for each class.

    `dev`: the same of development parts, which temperatures are fitted on. `where`: what an error calls a row.

    Raises
    ------
    UserError
        If a run has an utterance twice, lacks one that another run of its fold has, or differs in its class.
    """
    variant, variants = _codes(predictions["variant"], sort=False)
    seed, seeds = _codes(predictions["seed"])
    fold, folds = _codes(predictions["fold"])
    utterance, utterances = _codes(predictions["utterance_id"])
    actual, predicted = (_numbers(predictions[name], classes) for name in ("actual", "predicted"))
    own = np.empty(len(utterances), np.intp)
    own[utterance[::-1]] = actual[::-1]
    for i in np.flatnonzero(own[utterance] != actual)[:1]:
        raise UserError(
            f"{where(int(i))}: actual must be the same for all models, but {utterances[utterance[i]]} is "
            f"{classes[actual[i]]} here and {classes[own[utterance[i]]]} elsewhere"
        )
    tested, row = np.unique(fold * len(utterances) + utterance, return_inverse=True)
    number, shape = tested % len(utterances), (len(variants), len(seeds), len(tested))
    answers = Answers(
        variants=variants,
        seeds=seeds,
        classes=classes,
        folds=folds,
        fold=tested // len(utterances),
        utterance_id=np.array(utterances, dtype=object)[number],
        actual=own[number],
        predicted=np.empty((*shape[:2], 0), np.min_scalar_type(len(classes))),
    )
    place = np.ravel_multi_index((variant, seed, row), shape)
    order = np.argsort(place, kind="stable")
    _check_once(answers, place, order, where)
    answers = replace(
        answers,
        predicted=predicted[order].reshape(shape).astype(answers.predicted.dtype),
        probabilities=_probabilities(predictions, classes, order, shape),
    )
    return answers if dev is None else replace(answers, temperatures=_temperatures(answers, dev))


def _probabilities(
    predictions: pd.DataFrame, classes: list[str], order: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray | None:
    """[V, S, N, C], if there are any; `order`: the table's rows as V, S and N follow each other."""
    names = [f"probability_{name}" for name in classes]
    if names[0] not in predictions:
        return None
    found = np.empty((len(order), len(classes)), np.float32)
    for c, name in enumerate(names):
        found[:, c] = predictions[name].to_numpy()[order]
    return found.reshape(*shape, len(classes))


def _check_once(answers: Answers, place: np.ndarray, order: np.ndarray, where: Callable[[int], str]) -> None:
    """Raise a UserError unless each run has each utterance of its fold once.

    `place`: each row's, of all that V, S and N have; `order` sorts them.
    """
    shape, cells = (len(answers.variants), len(answers.seeds), len(answers.fold)), place[order]
    i = int(next(iter(np.flatnonzero(cells != np.arange(len(cells)))), len(cells)))
    if i == len(cells) == math.prod(shape):
        return
    twice = i < len(cells) and cells[i] < i
    v, s, n = np.unravel_index(cells[i] if twice else i, shape)
    run = f"{answers.variants[v]}, seed {answers.seeds[s]}, fold {answers.folds[answers.fold[n]]}"
    rule = f"must be predicted once, but {answers.utterance_id[n]}"
    if twice:
        here, before = (where(int(row)) for row in (order[i], order[i - 1]))
        raise UserError(f"{here}: an utterance {rule} is predicted by {run} in {before} too")
    raise UserError(
        f"{run}: all utterances that another run tests in this fold {rule} is not; models are compared on the "
        "same utterances, with the same seeds and folds"
    )


def _temperatures(answers: Answers, dev: pd.DataFrame) -> np.ndarray:
    """[V, S, K]: each run's temperature; 1 for a run without development predictions."""
    found = np.ones((len(answers.variants), len(answers.seeds), len(answers.folds)))
    names = [f"probability_{name}" for name in answers.classes]
    for (variant, seed, fold), rows in dev.groupby(["variant", "seed", "fold"], sort=False):
        place = answers.variants.index(variant), answers.seeds.index(seed), answers.folds.index(fold)
        actual = pd.Index(answers.classes).get_indexer(rows["actual"])
        found[place] = scores.temperature(rows[names].to_numpy(), actual)
    return found


def _codes(column: pd.Series, *, sort: bool = True) -> tuple[np.ndarray, list]:
    """Each row's place among the column's values, which are sorted or as they appear."""
    codes, values = pd.factorize(column)
    values = list(values)
    if not sort:
        return codes.astype(np.intp), values
    order = sorted(range(len(values)), key=values.__getitem__)  # a categorical column sorts by its own order
    return np.argsort(order)[codes], [values[i] for i in order]


def _numbers(column: pd.Series, classes: list[str]) -> np.ndarray:
    """The number of each row's class."""
    codes, values = _codes(column, sort=False)
    return pd.Index(classes).get_indexer(values)[codes]
