"""Student t distributions around the difference of two models: their tests, intervals and posteriors.

Scores of one model are an array [..., folds, seeds]; leading axes hold as many comparisons as one likes. `d` are the
differences of two models, run by run. Degenerate input has defined answers: without any spread p is 1 for a
difference of 0 and 0 for another one; where a test needs more folds or runs than there are, all it says is NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

ROUNDING = 1e-12
"""Scores are about 1 or less, as shares of counted utterances are: a smaller spread or difference is rounding."""


@dataclass(frozen=True, kw_only=True)
class Student:
    """An estimated difference `location` with its standard error `scale` and degrees of freedom `df`."""

    location: np.ndarray
    scale: np.ndarray
    df: float | np.ndarray

    @property
    def t(self) -> np.ndarray:
        """location / scale; without spread 0 or ± infinity."""
        return ratio(self.location, self.scale)

    @property
    def p(self) -> np.ndarray:
        """Two-sided p of the hypothesis that there is no difference."""
        return 2 * special.stdtr(self.df, -np.abs(self.t))

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """The two-sided confidence interval that holds the share `level`."""
        width = special.stdtrit(self.df, (1 + level) / 2) * self.scale
        return self.location - width, self.location + width

    def p_equivalence(self, margin: float) -> np.ndarray:
        """Two one-sided tests: p of the hypothesis that the difference is `margin` or more in either direction.

        It is below alpha exactly when the interval of level 1 - 2 alpha lies within ± margin (Schuirmann 1987).
        """
        above = special.stdtr(self.df, -ratio(self.location + margin, self.scale))
        below = special.stdtr(self.df, ratio(self.location - margin, self.scale))
        return np.maximum(above, below)

    def posterior(self, margin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """P(difference > margin), P(within ± margin) and P(difference < -margin) of the posterior Student(df,
        location, scale²) (Benavoli et al., JMLR 2017, Section 3.2)."""
        sure = self.scale == 0
        t_more, t_less = (ratio(sign * self.location - margin, self.scale) for sign in (1, -1))
        more = np.where(sure, self.location > margin, special.stdtr(self.df, t_more))
        less = np.where(sure, self.location < -margin, special.stdtr(self.df, t_less))
        return more, np.maximum(0.0, 1 - more - less), less


def unpaired(a: np.ndarray, b: np.ndarray) -> Student:
    """The paper's test, unpaired: `scipy.stats.ttest_ind` over all runs, [..., folds, seeds] of each model."""
    a, b = _runs(a), _runs(b)
    n = a.shape[-1]
    scale = np.sqrt((spread(a) ** 2 + spread(b) ** 2) / n)
    return Student(location=_location(a.mean(-1) - b.mean(-1), scale), scale=scale, df=2 * n - 2)


def paired(d: np.ndarray) -> Student:
    """The paper's test, paired: `scipy.stats.ttest_rel` over all runs, differences [..., folds, seeds]."""
    return corrected(d, 0.0)


def corrected(d: np.ndarray, q: float) -> Student:
    """The corrected resampled t-test: SE² = s² (1/n + q) (Nadeau & Bengio 2003; Bouckaert & Frank 2004).

    Parameters
    ----------
    d: differences [..., folds, seeds], n of them in each comparison.
    q: `correction` of the study.
    """
    runs = _runs(d)
    n = runs.shape[-1]
    scale = spread(runs) * np.sqrt(1 / n + q)
    return Student(location=_location(runs.mean(-1), scale), scale=scale, df=n - 1)


def correction(folds: int, test_to_train: float) -> float:
    """q = max(n_test / n_train, 1 / (folds - 1)); NaN for one fold."""
    return max(test_to_train, 1 / (folds - 1)) if folds > 1 else np.nan


def fold_means(d: np.ndarray) -> Student:
    """`scipy.stats.ttest_rel` over the folds' means over seeds, differences [..., folds, seeds]."""
    return paired(d.mean(axis=-1, keepdims=True))


def spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation (ddof 1) over the last axis; NaN for one value."""
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)
    return np.where(np.ptp(values, axis=-1) < ROUNDING, 0.0, values.std(axis=-1, ddof=1))


def ratio(numerator: ArrayLike, scale: ArrayLike) -> np.ndarray:
    """numerator / scale, for a scale of 0 the limit: 0 or ± infinity."""
    numerator, scale = np.asarray(numerator, float), np.asarray(scale, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((scale == 0) & (numerator == 0), 0.0, numerator / scale)


def _runs(values: np.ndarray) -> np.ndarray:
    """[..., folds, seeds] → [..., folds × seeds]."""
    return values.reshape(*values.shape[:-2], -1)


def _location(mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The mean; exactly 0 where it and the scale are nothing but rounding."""
    return np.where((scale == 0) & (np.abs(mean) < ROUNDING), 0.0, mean)
