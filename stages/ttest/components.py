"""The components test: what the difference of two models owes to the test utterances, to the folds and to the runs.

The difference of fold i and seed j is a weighted sum over the fold's test utterances, d_ij = Σ_u w_u z_uj, with z_uj
what the first model gets for u minus what the second gets. A run's random numbers depend on its seed and its fold, so
given the data runs are independent, and only the folds' part is shared by folds that share training data:

    V(mean of d) = τ² (1/k + q) + σ² / (k r),      k folds, r seeds.

σ² is estimated from the seeds of a fold, τ² from how the test utterances differ, added up by units (whole dialogues)
that may go one way together; `docs/statistics.md` has the reasons, and how often the test errs. Its form is that of
Satterthwaite (1946); the correction q is that of Nadeau & Bengio (2003), for the folds' part alone.
"""

from dataclasses import dataclass

import numpy as np

from stages.ttest.student import ROUNDING, Student, ratio


@dataclass(frozen=True, kw_only=True)
class Components:
    """Of one comparison; variances in score² (a score is 0 to 1)."""

    difference: float
    """Mean over folds and seeds."""
    folds: int
    seeds: int
    units: int
    """Dialogues, speakers or utterances that vary independently."""
    runs: float
    """σ², s_e²: of a run around its fold's mean."""
    utterances: float
    """τ_u²: of a fold's mean, by other test utterances."""
    excess: float
    """How much more the folds' means vary than utterances and runs explain; below 0 if less."""

    def test(self, q: float, *, with_excess: bool) -> Student:
        """The test of the difference; NaN with fewer than two folds or seeds, or one unit.

        `q`: `student.correction`. `with_excess`: whether the folds' excess, if positive, counts as the folds' (for
        folds that leave out speakers or sessions).
        """
        shared = 1 / self.folds + q
        between = max(0.0, self.excess) * shared if with_excess else 0.0
        parts = np.array([self.utterances * shared, between, self.runs / (self.folds * self.seeds)])
        dfs = np.array([self.units - 1, self.folds - 1, self.folds * (self.seeds - 1)])
        variance = parts.sum()
        df = variance**2 / (parts[parts > 0] ** 2 / dfs[parts > 0]).sum() if variance > 0 else dfs.sum()
        same = variance == 0 and abs(self.difference) < ROUNDING
        return Student(location=np.array(0.0 if same else self.difference), scale=np.sqrt(variance), df=float(df))


def components(
    z: np.ndarray, weights: np.ndarray, fold: np.ndarray, stratum: np.ndarray, unit: np.ndarray
) -> Components:
    """Estimate them.

    Parameters
    ----------
    z: differences [seeds, rows]; a row is an utterance in the test part of a fold.
    weights: w_u [rows], so that a fold's difference is the weighted sum of its rows.
    fold: [rows], ascending.
    stratum: [rows], numbers of what z is centred in, over all folds: the class where the score counts classes alike,
        else the same for all. Centring in each fold would take a degree of freedom for each; with few units or few
        utterances of a class in a fold the test then errs far too often (`docs/statistics.md`).
    unit: [rows], numbers of what varies independently.
    """
    d = per_fold(z, weights, fold)  # (folds, seeds)
    (k, r), mean = d.shape, z.mean(axis=0)
    within = d - d.mean(axis=1, keepdims=True)
    count = len(np.unique(unit))
    if min(k - 1, r - 1, count - 1) < 1:
        runs = float(_square_sum(within)) / (k * (r - 1)) if r > 1 else np.nan
        return Components(
            difference=float(d.mean()), folds=k, seeds=r, units=count, runs=runs, utterances=np.nan, excess=np.nan
        )
    centred = mean - ratio(np.bincount(stratum, mean), np.bincount(stratum))[stratum]
    raw = count / (count - 1) * _square_sum(np.bincount(unit, weights * centred)) / k**2
    noise = float((weights**2 * z.var(axis=0, ddof=1)).sum()) / (r * k**2)
    runs, utterances = float(_square_sum(within)) / (k * (r - 1)), k * max(0.0, float(raw) - noise)
    between = _square_sum(d.mean(axis=1) - d.mean()) / (k - 1)
    return Components(
        difference=float(d.mean()),
        folds=k,
        seeds=r,
        units=count,
        runs=runs,
        utterances=utterances,
        excess=between - runs / r - utterances,
    )


def per_fold(z: np.ndarray, weights: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Weighted sums [folds, seeds] of z [seeds, rows] over the rows of each fold, which are together."""
    starts = np.flatnonzero(np.diff(fold, prepend=fold[:1] - 1))
    return np.add.reduceat(z * weights, starts, axis=1).T


def _square_sum(values: np.ndarray) -> float:
    """Sum of squares; 0 where all are rounding."""
    return 0.0 if np.abs(values).max() < ROUNDING else float((values**2).sum())
