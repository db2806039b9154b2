"""The paper's t-test (Section 3), which treats the runs of a model as independent, though folds and seeds tie them."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from stages import tables, variants
from stages.scores import METRICS


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Each (self, cross) pair of variants that differ in nothing else."""
    return [
        (name, other)
        for name in names
        if name.startswith("self_") and (other := name.replace("self_", "cross_", 1)) in names
    ]


def compare(runs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """One row a pair and metric, the two-tailed t-test over all fold × seed runs, unpaired and paired.

    Columns: a, b, metric, n, mean_a, mean_b, difference (a - b), t_unpaired, p_unpaired, t_paired, p_paired. With one
    run a model the tests are NaN; without any spread p is 1 for equal means and 0 for others.
    """
    rows = []
    for a, b in pairs(names):
        paired = runs.pivot(index=["fold", "seed"], columns="variant", values=list(METRICS))
        for metric in METRICS:
            x, y = paired[metric, a].to_numpy(), paired[metric, b].to_numpy()
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "metric": metric,
                    "n": len(x),
                    "mean_a": x.mean(),
                    "mean_b": y.mean(),
                    "difference": x.mean() - y.mean(),
                    **_test(x, y, "unpaired"),
                    **_test(x, y, "paired"),
                }
            )
    return pd.DataFrame(rows)


def as_markdown(table: pd.DataFrame, corpus: str) -> str:
    """The tests, with what they are and what they are not."""
    rows = [
        {
            "Modality": variants.combination_label(variants.parse(row.a).modalities),
            "Models": f"{_label(row.a)} − {_label(row.b)}",
            "Metric": METRICS[row.metric],
            "Means": f"{tables.fraction(row.mean_a)}, {tables.fraction(row.mean_b)}",
            "Difference (points)": f"{100 * row.difference:+.1f}",
            "Runs": row.n,
            "Unpaired t": _statistic(row.t_unpaired),
            "P": tables.p_value(row.p_unpaired),
            "Paired t": _statistic(row.t_paired),
            "P (paired)": tables.p_value(row.p_paired),
        }
        for row in table.itertuples()
    ]
    note = (
        f'Corpus: {corpus}. Two-tailed t-tests over all fold × seed runs, as in the paper, which says only "two-tailed '
        't-test": both forms are shown. They treat the runs as independent. Folds share training data and seeds '
        "share everything else, so P is too small: read it as the paper's number, not as evidence."
    )
    return f"# The paper's t-tests (uncorrected)\n\n{note}\n\n{tables.markdown(pd.DataFrame(rows))}"


def _test(x: np.ndarray, y: np.ndarray, kind: str) -> dict[str, float]:
    """scipy's `ttest_ind` or `ttest_rel`, with defined answers where there is no spread."""
    spreads = [x - y] if kind == "paired" else [x, y]
    if len(x) < 2:
        t, p = np.nan, np.nan
    elif all(np.ptp(values) == 0 for values in spreads):
        difference = x.mean() - y.mean()
        t, p = (0.0, 1.0) if difference == 0 else (np.copysign(np.inf, difference), 0.0)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # "precision loss" for nearly equal runs
            t, p = (stats.ttest_rel if kind == "paired" else stats.ttest_ind)(x, y)
    return {f"t_{kind}": float(t), f"p_{kind}": float(p)}


def _label(name: str) -> str:
    return variants.FUSIONS[variants.parse(name).fusion].label


def _statistic(t: float) -> str:
    return "–" if np.isnan(t) else f"{t:+.2f}"
