"""Answers of models that tell classes apart: V, S, K, N as in `answers_base.py`; C classes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from stages.common import metrics, scores
from stages.ttest.answers_base import Answers


@dataclass(frozen=True, kw_only=True)
class ClassAnswers(Answers):
    """Predicted classes, with or without their probabilities."""

    actual: np.ndarray
    """[N] numbers of classes."""
    predicted: np.ndarray
    """[V, S, N] numbers of classes."""
    probabilities: np.ndarray | None = None
    """[V, S, N, C]"""
    temperatures: np.ndarray | None = None
    """[V, S, K], fitted on the development part; None: 1 everywhere."""

    @classmethod
    def of(
        cls, predictions: pd.DataFrame, rows: np.ndarray, dev: pd.DataFrame | None = None, **whose: object
    ) -> "ClassAnswers":
        """The answers in a table with the columns actual, predicted and, perhaps, `probability_<class>`.

        `rows` [V, S, N] of it are in this order; `whose`: the fields of all answers; `dev`: what temperatures are
        fitted on.
        """
        classes = whose["task"].names
        actual, predicted = (_numbers(predictions[name], classes) for name in ("actual", "predicted"))
        answers = cls(
            actual=actual[rows[0, 0]],
            predicted=predicted[rows].astype(np.min_scalar_type(len(classes))),
            probabilities=_probabilities(predictions, classes, rows),
            **whose,
        )
        return answers if dev is None else replace(answers, temperatures=_temperatures(answers, dev))

    @property
    def classes(self) -> list[str]:
        """Their names in the order of their numbers."""
        return self.task.names

    def has_values(self, score: str) -> bool:
        """Whether it is a recall, or a metric that is one."""
        return score not in metrics.METRICS or metrics.METRICS[score].is_sum

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

    def strata(self, score: str) -> np.ndarray:
        """The class where the score counts classes alike, else the same for all."""
        rows = self.rows_of(score)
        alike = score in metrics.METRICS and metrics.METRICS[score].classes_alike
        return self.actual[rows] if alike else np.zeros(len(self.fold[rows]), int)

    def values(self, score: str, variant: str, unit: np.ndarray) -> np.ndarray:
        """[S, n]: what one variant's runs get for each of the utterances that a sum runs over, whatever their units."""
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

    def drawn_scores(self, k: int, unit: np.ndarray, times: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """One fold's scores [draws, V, S], from counts of the answers to the utterances of each unit."""
        own, count = self.bounds[k], len(self.classes)
        actual, predicted = self.actual[own], self.predicted[..., own]
        there, unit = np.unique(unit, return_inverse=True)
        times = times[:, there]
        right = _by_unit(unit, actual, predicted == actual, times, count)
        tested = _by_unit(unit, actual, np.ones((1, 1, len(actual)), bool), times, count)
        taken = None
        if any(name.endswith("_f1") for name in names):
            each = [_by_unit(unit, np.zeros_like(actual), predicted == c, times, 1) for c in range(count)]
            taken = np.concatenate(each, axis=-1)
        found = scores.from_counts(right, tested, taken)
        recalls = found.pop("recall")
        found |= {metrics.recall(name): recalls[..., c] for c, name in enumerate(self.classes)}
        drawn = np.take(times, unit, axis=1)  # (draws, n)
        needy = [name for name in names if metrics.METRICS[name].needs_probabilities]
        return found | {name: self._drawn(name, k, drawn) for name in needy}

    def _drawn(self, name: str, k: int, times: np.ndarray) -> np.ndarray:
        """One fold's scores [draws, V, S] of a metric that needs probabilities; `times`: of utterances [draws, n]."""
        own = self.bounds[k]
        actual, predicted = self.actual[own], self.predicted[..., own]
        if metrics.METRICS[name].is_sum:
            values = scores.values(name, actual, predicted, self.probabilities[..., own, :])
            with np.errstate(invalid="ignore"):  # a draw may hold no utterance of a fold
                sums = times @ values.reshape(-1, len(actual)).T / times.sum(axis=1, keepdims=True)
            return sums.reshape(len(times), *values.shape[:2])
        found = np.empty((len(times), *predicted.shape[:2]))
        for v, s in np.ndindex(predicted.shape[:2]):
            right = (predicted == actual)[v, s]
            found[:, v, s] = scores.calibration_error(self.confidence(v, s, k), right, times)
        return found


def _probabilities(predictions: pd.DataFrame, classes: list[str], rows: np.ndarray) -> np.ndarray | None:
    """[V, S, N, C], if there are any; `rows` [V, S, N] of the table."""
    names = [f"probability_{name}" for name in classes]
    if names[0] not in predictions:
        return None
    found = np.empty((*rows.shape, len(classes)), np.float32)
    for c, name in enumerate(names):
        found[..., c] = predictions[name].to_numpy()[rows]
    return found


def _temperatures(answers: ClassAnswers, dev: pd.DataFrame) -> np.ndarray:
    """[V, S, K]: each run's temperature; 1 for a run without development predictions."""
    found = np.ones((len(answers.variants), len(answers.seeds), len(answers.folds)))
    names = [f"probability_{name}" for name in answers.classes]
    for (variant, seed, fold), rows in dev.groupby(["variant", "seed", "fold"], sort=False):
        place = answers.variants.index(variant), answers.seeds.index(seed), answers.folds.index(fold)
        actual = pd.Index(answers.classes).get_indexer(rows["actual"])
        found[place] = scores.temperature(rows[names].to_numpy(), actual)
    return found


def _numbers(column: pd.Series, classes: list[str]) -> np.ndarray:
    """The number of each row's class."""
    codes, values = pd.factorize(column)
    return pd.Index(classes).get_indexer(values)[codes]


def _by_unit(unit: np.ndarray, group: np.ndarray, hit: np.ndarray, times: np.ndarray, groups: int) -> np.ndarray:
    """Sums of `hit` [V, S, n] over the utterances of each group, each as often as its unit is drawn: [draws, V, S,
    groups]. Whole numbers below 2^24, so float32 has them exactly."""
    n, units = len(unit), times.shape[1]
    cell = sparse.csr_array((np.ones(n, np.float32), (unit * groups + group, np.arange(n))), (units * groups, n))
    counts = cell @ hit.reshape(-1, n).T.astype(np.float32)  # (units · groups, V · S)
    drawn = times @ counts.reshape(units, -1)
    return drawn.reshape(len(times), groups, *hit.shape[:2]).transpose(0, 2, 3, 1)
