"""The table of `metrics/ttest.csv`: every statistic of every pair and score, and the verdict that follows."""

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from stages.common.params import Compare
from stages.common.scores import SCORES
from stages.ttest import bootstrap, student

COLUMNS = {
    "a": "first variant",
    "b": "second variant",
    "score": "balanced_accuracy, accuracy or recall_<class>",
    "family": "the rows that Holm's correction runs over: one a metric, one for all recalls",
    "folds": "folds that have the score (a fold whose test part lacks a class has no recall of it)",
    "seeds": "seeds a fold",
    "mean_a": "mean of a's runs",
    "mean_b": "mean of b's runs",
    "difference": "mean_a - mean_b",
    "d_z": "Cohen's d_z: difference / standard deviation of the runs' differences",
    "q": "correction: max(n_test / n_train, 1 / (folds - 1))",
    "se": "corrected standard error of the difference",
    "low": "corrected interval of 1 - alpha, lower end",
    "high": "its upper end",
    "t_corrected": "corrected resampled t",
    "p_corrected": "its two-sided p",
    "p_holm": "p_corrected after Holm's correction within the family",
    "t_fold_means": "paired t over the folds' means",
    "p_fold_means": "its two-sided p",
    "p_equivalence": "two one-sided tests against compare.margin, with the corrected standard error",
    "equivalence_low": "corrected interval of 1 - 2 alpha, lower end",
    "equivalence_high": "its upper end",
    "posterior_a": "Bayesian correlated t: P(a better by more than the margin)",
    "posterior_equal": "P(difference within the margin)",
    "posterior_b": "P(b better by more than the margin)",
    "bootstrap_low": "hierarchical bootstrap interval of 1 - alpha, lower end",
    "bootstrap_high": "its upper end",
    "t_uncorrected_unpaired": "the paper's test as if all runs were independent",
    "p_uncorrected_unpaired": "its p, too small",
    "t_uncorrected_paired": "the same, runs paired by fold and seed",
    "p_uncorrected_paired": "its p, too small",
    "verdict": "A better, B better (p_holm < alpha), equivalent (p_equivalence < alpha), both or undecided",
}
"""The columns of `metrics/ttest.csv`."""


def compare(
    runs: pd.DataFrame,
    pairs: list[tuple[str, str]],
    settings: Compare,
    *,
    test_to_train: float,
    draws: dict[str, pd.DataFrame],
) -> pd.DataFrame:
    """`COLUMNS`, one row a pair (a, b) and score: the metrics, then each class's recall.

    Parameters
    ----------
    runs: the table of `scores.csv`.
    test_to_train: n_test / n_train.
    draws: what `bootstrap.draws` returns.
    """
    wide = runs.set_index(["variant", "fold", "seed"]).sort_index()
    families = {name: name for name in SCORES} | {name: "recall" for name in runs if name.startswith("recall_")}
    rows = []
    for a, b in pairs:
        for score, family in families.items():
            x, y = (wide.loc[name, score].unstack("seed").dropna().to_numpy() for name in (a, b))
            low, high = bootstrap.interval(draws[score], a, b, settings.alpha)
            rows.append(
                {"a": a, "b": b, "score": score, "family": family}
                | tests(x, y, settings, test_to_train)
                | {"bootstrap_low": low, "bootstrap_high": high}
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["p_holm"] = table.groupby("family")["p_corrected"].transform(holm)
    table["verdict"] = [verdict(row, settings.alpha) for row in table.itertuples()]
    return table


def tests(a: np.ndarray, b: np.ndarray, settings: Compare, test_to_train: float) -> dict[str, float]:
    """What the scores a and b [folds, seeds] of one pair say, by the names of `COLUMNS`."""
    d = a - b
    if d.size == 0:
        return {"folds": 0, "seeds": 0}
    q = student.correction(len(d), test_to_train)
    corrected, folds = student.corrected(d, q), student.fold_means(d)
    unpaired, paired = student.unpaired(a, b), student.paired(d)
    low, high = corrected.interval(1 - settings.alpha)
    equivalence_low, equivalence_high = corrected.interval(1 - 2 * settings.alpha)
    more, within, less = corrected.posterior(settings.margin)
    values = {
        "mean_a": a.mean(),
        "mean_b": b.mean(),
        "difference": paired.location,
        "d_z": student.ratio(paired.location, student.spread(d.ravel())),
        "q": q,
        "se": corrected.scale,
        "low": low,
        "high": high,
        "t_corrected": corrected.t,
        "p_corrected": corrected.p,
        "t_fold_means": folds.t,
        "p_fold_means": folds.p,
        "p_equivalence": corrected.p_equivalence(settings.margin),
        "equivalence_low": equivalence_low,
        "equivalence_high": equivalence_high,
        "posterior_a": more,
        "posterior_equal": within,
        "posterior_b": less,
        "t_uncorrected_unpaired": unpaired.t,
        "p_uncorrected_unpaired": unpaired.p,
        "t_uncorrected_paired": paired.t,
        "p_uncorrected_paired": paired.p,
    }
    return dict(zip(("folds", "seeds"), d.shape, strict=True)) | {name: float(value) for name, value in values.items()}


def holm(p: pd.Series) -> np.ndarray:
    """Holm's adjusted p of one family; tests that could not be done (NaN) are not of the family."""
    done = p.notna().to_numpy()
    adjusted = np.full(len(p), np.nan)
    if done.any():
        adjusted[done] = multipletests(p[done], method="holm")[1]
    return adjusted


def verdict(row: tuple, alpha: float) -> str:
    """The verdict column from a row's difference, p_holm and p_equivalence; both hold for a tiny sure difference."""
    found = []
    if row.p_holm < alpha:
        found.append("A better" if row.difference > 0 else "B better")
    if row.p_equivalence < alpha:
        found.append("equivalent")
    return ", ".join(found) or "undecided"
