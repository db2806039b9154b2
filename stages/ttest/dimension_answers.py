"""Answers of models that predict values of dimensions, scored by the concordance correlation coefficient (CCC).

The CCC of a fold is no sum over its utterances. But a run's CCC is the mean of values, one an utterance, which say what
the CCC would be without the utterance's dialogue, that is, its unit (`scores.concordance_values`): the jackknife. So
differences are weighted sums of these values, and how they vary between units says how the differences would vary with
other units. `docs/statistics.md` says how well the test holds that comes of it.

V, S, K, N as in `answers_base.py`; D dimensions.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import sparse

from stages.common import scores
from stages.ttest.answers_base import Answers


@dataclass(frozen=True, kw_only=True)
class DimensionAnswers(Answers):
    """Predicted values of dimensions, on the corpus's scale."""

    counts_excess: ClassVar[bool] = True
    actual: np.ndarray
    """[N, D]"""
    predicted: np.ndarray
    """[V, S, N, D]"""

    @classmethod
    def of(
        cls, predictions: pd.DataFrame, rows: np.ndarray, dev: pd.DataFrame | None = None, **whose: object
    ) -> "DimensionAnswers":
        """The answers in a table, whose `rows` [V, S, N] are in this order; `whose`: the fields of all answers.

        `dev` is not needed.
        """
        task = whose["task"]
        actual, predicted = (predictions[names].to_numpy(np.float64) for names in (task.actual, task.predicted))
        return cls(actual=actual[rows[0, 0]], predicted=predicted[rows], **whose)

    def run_scores(self, names: list[str]) -> dict[str, np.ndarray]:
        """`ccc` and `ccc_<dimension>` → scores [V, S, K]."""
        each = [scores.concordance(*self._fold(own)) for own in self.bounds]  # (V, S, D) a fold
        return self._named(np.stack(each, axis=-2), names)

    def has_values(self, score: str) -> bool:
        """True: all are, of the jackknife's values."""
        return True

    def rows_of(self, score: str) -> slice:
        """All utterances."""
        return slice(None)

    def weights(self, score: str) -> np.ndarray:
        """w_u [N]: 1 / utterances of the fold."""
        return (1 / np.bincount(self.fold))[self.fold]

    def strata(self, score: str) -> np.ndarray:
        """One for all utterances: zeros [N]."""
        return np.zeros(len(self.fold), int)

    def values(self, score: str, variant: str, unit: np.ndarray) -> np.ndarray:
        """[S, N]: what one variant's runs get for each utterance, by the jackknife over the units [N]."""
        v, found = self.variants.index(variant), []
        for own in self.bounds:
            each = scores.concordance_values(*self._fold(own, v), unit[own])  # (S, D, n)
            found.append(self._named(np.moveaxis(each, 1, -1), [score])[score])
        return np.concatenate(found, axis=-1)

    def drawn_scores(self, k: int, unit: np.ndarray, times: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """One fold's `ccc` and `ccc_<dimension>` [draws, V, S], from sums over the utterances of each unit."""
        actual, predicted = self._fold(self.bounds[k])
        there, unit = np.unique(unit, return_inverse=True)
        in_unit = sparse.csr_array((np.ones(len(unit)), (unit, np.arange(len(unit)))))  # (units, n)
        times = times[:, there].astype(np.float64)
        times /= _positive((times @ in_unit.sum(axis=1))[:, None])
        each = [
            _drawn(actual[d], predicted[:, :, d].reshape(-1, len(unit)), in_unit, times) for d in range(len(actual))
        ]
        return self._named(np.stack(each, axis=-1).reshape(len(times), *predicted.shape[:2], -1), names)

    def _fold(self, own: slice, v: int | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """One fold's values: actual [D, n] and predicted [V, S, D, n], or [S, D, n] of one variant."""
        return self.actual[own].T, np.moveaxis(self.predicted[v][..., own, :], -1, -2)

    def _named(self, each: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """The scores of dimensions [..., D] by their names, and their mean where `ccc` is of `names`."""
        mean = {"ccc": each.mean(axis=-1)} if "ccc" in names else {}
        return mean | {name: each[..., d] for d, name in enumerate(self.task.details)}


def _drawn(actual: np.ndarray, predicted: np.ndarray, in_unit: sparse.csr_array, shares: np.ndarray) -> np.ndarray:
    """The CCC [draws, R] of values [n] with predicted ones [R, n], where an utterance of a unit counts as `shares`
    [draws, units] say: NaN where none counts."""
    x, y = actual - actual.mean(), predicted - predicted.mean(axis=-1, keepdims=True)  # small, so squares are exact

    def means(values: np.ndarray) -> np.ndarray:
        return shares @ (in_unit @ values.T)  # (draws, …)

    mean_x, mean_y = means(x[None]), means(y)
    covariance = means(x * y) - mean_x * mean_y
    variances = means(x[None] ** 2) - mean_x**2 + means(y**2) - mean_y**2
    gap = mean_x - mean_y + actual.mean() - predicted.mean(axis=-1)
    return scores.concordance_from_moments(covariance, variances, gap)


def _positive(counts: np.ndarray) -> np.ndarray:
    """Counts, with NaN for 0."""
    return np.where(counts > 0, counts, np.nan)
