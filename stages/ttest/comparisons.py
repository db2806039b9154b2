"""The table of `metrics/ttest.csv`: every statistic of every pair and score, and the verdict that follows."""

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from stages.common.metrics import METRICS
from stages.common.params import Compare
from stages.common.plan import TaskKind
from stages.ttest import bootstrap, components, student, verdict
from stages.ttest.answers import Answers
from stages.ttest.components import Components
from stages.ttest.design import Design
from stages.ttest.student import Student

COMPONENTS, WITH_EXCESS, RESAMPLED = "components", "components with excess", "corrected resampled t"
"""The verdict's tests."""

DETAILS: dict[TaskKind, str] = {"classes": "recall", "dimensions": "ccc_dimension"}
"""Task → the family of the scores of single classes or dimensions."""

COLUMNS = {
    "a": "first variant",
    "b": "second variant",
    "score": "a metric of compare.metrics, recall_<class> or ccc_<dimension>",
    "family": "the rows that Holm's correction runs over: one a metric, one for all recalls or dimensions",
    "folds": "folds that have the score (a fold whose test part lacks a class has no recall of it)",
    "seeds": "seeds a fold",
    "mean_a": "mean of a's runs",
    "mean_b": "mean of b's runs",
    "difference": "mean_a - mean_b",
    "d_z": "Cohen's d_z: difference / standard deviation of the runs' differences",
    "q": "correction for what folds share: max(n_test / n_train, 1 / (folds - 1))",
    "test": "the verdict's test, which the columns from se to posterior_b are of",
    "se": "standard error of the difference",
    "df": "its degrees of freedom",
    "low": "interval of 1 - alpha, lower end",
    "high": "its upper end",
    "t": "difference / se",
    "p": "its two-sided p",
    "p_holm": "p after Holm's correction within the family",
    "p_with_excess": "p of the components test if the folds' excess, where positive, counts as theirs",
    "var_runs": "s_e²: variance of a run's difference around its fold's mean",
    "var_utterances": "τ_u²: variance of a fold's difference, by other test utterances",
    "var_excess": "how much more the folds' means vary than these two explain (less: below 0)",
    "units": "dialogues, speakers or utterances that var_utterances is estimated from",
    "p_equivalence": "two one-sided tests against compare.margin",
    "p_equivalence_holm": "p_equivalence after Holm's correction within the family",
    "equivalence_low": "interval of 1 - 2 alpha, lower end",
    "equivalence_high": "its upper end",
    "smallest_margin": "the smallest margin with p_equivalence < alpha: the larger end of that interval",
    "posterior_a": "P(a better by more than the margin)",
    "posterior_equal": "P(difference within the margin)",
    "posterior_b": "P(b better by more than the margin)",
    "t_corrected": "corrected resampled t",
    "p_corrected": "its two-sided p",
    "t_fold_means": "paired t over the folds' means",
    "p_fold_means": "its two-sided p",
    "superiority": "P(A > B): share of paired runs in which a is better, ties counted half",
    "superiority_low": "its bootstrap interval of 1 - alpha, lower end",
    "superiority_high": "its upper end",
    "bootstrap_low": "hierarchical bootstrap interval of 1 - alpha, lower end",
    "bootstrap_high": "its upper end",
    "t_uncorrected_unpaired": "the paper's test as if all runs were independent",
    "p_uncorrected_unpaired": "its p, too small",
    "t_uncorrected_paired": "the same, runs paired by fold and seed",
    "p_uncorrected_paired": "its p, too small",
    "verdict": "A better, B better (p_holm < alpha), equivalent (p_equivalence_holm < alpha), both or undecided",
}
"""The columns of `metrics/ttest.csv`."""


def compare(
    answers: Answers,
    pairs: list[tuple[str, str]],
    settings: Compare,
    design: Design,
    draws: dict[str, np.ndarray],
    *,
    details: bool = True,
) -> pd.DataFrame:
    """`COLUMNS`, one row a pair (a, b) and score: the metrics of `settings`, then the task's details.

    `draws`: what `bootstrap.draws` returns. The column `verdict` holds a `Verdict`.
    """
    single = answers.task.details if details else []
    families = {name: name for name in settings.metrics} | dict.fromkeys(single, DETAILS[answers.task.kind])
    every, unit, rows = answers.run_scores(settings.metrics), design.numbers(answers.utterance_id), []
    parts = {name: Differences(answers, name, unit) for name in families if answers.has_values(name)}
    place, with_excess = answers.variants.index, design.left_out is not None or answers.counts_excess
    for a, b in pairs:
        for score, family in families.items():
            found = parts[score].components(a, b) if score in parts else None
            x, y = (every[score][place(name)].T for name in (a, b))  # (folds, seeds)
            tested = ~np.isnan(x[:, 0])
            low, high = bootstrap.interval(draws[score][:, place(a)] - draws[score][:, place(b)], settings.alpha)
            rows.append(
                {"a": a, "b": b, "score": score, "family": family}
                | tests(x[tested], y[tested], found, settings, design, score, with_excess=with_excess)
                | {"bootstrap_low": low, "bootstrap_high": high}
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("p", "p_equivalence"):
        table[f"{name}_holm"] = table.groupby("family")[name].transform(holm)
    table["verdict"] = [decide(row, settings.alpha) for row in table.itertuples()]
    return table


class Differences:
    """The parts of the differences of any two models on one score with values of utterances (`Answers.has_values`)."""

    def __init__(self, answers: Answers, score: str, unit: np.ndarray):
        rows = answers.rows_of(score)
        self.weights, self.unit = answers.weights(score), unit[rows]
        self.fold = np.unique(answers.fold[rows], return_inverse=True)[1]
        self.stratum = answers.strata(score)
        self.values = {name: answers.values(score, name, unit) for name in answers.variants}

    def components(self, a: str, b: str) -> Components | None:
        """The parts of a - b; None where no fold has the score."""
        if not len(self.weights):
            return None
        z = self.values[a] - self.values[b]
        return components.components(z, self.weights, self.fold, self.stratum, self.unit)


def tests(
    a: np.ndarray,
    b: np.ndarray,
    parts: Components | None,
    settings: Compare,
    design: Design,
    score: str,
    *,
    with_excess: bool,
) -> dict[str, float]:
    """What the scores a and b [folds, seeds] of one pair say, by the names of `COLUMNS`.

    `parts`: of a score with values of utterances. `with_excess`: as for `Components.test`, in the verdict's test.
    """
    d = a - b
    if d.size == 0:
        return {"folds": 0, "seeds": 0}
    q = design.correction(len(d))
    corrected, folds = student.corrected(d, q), student.fold_means(d)
    unpaired, paired = student.unpaired(a, b), student.paired(d)
    name, own = verdicts_test(parts, corrected, q, repeats=design.repeats, with_excess=with_excess)
    better = -1 if score in METRICS and METRICS[score].lower_is_better else 1
    above, within, below = own.posterior(settings.margin)
    win, win_low, win_high = bootstrap.superiority(better * d, settings.alpha)
    low, high = own.interval(1 - settings.alpha)
    equivalence_low, equivalence_high = own.interval(1 - 2 * settings.alpha)
    values = {
        "mean_a": a.mean(),
        "mean_b": b.mean(),
        "difference": paired.location,
        "d_z": student.ratio(paired.location, student.spread(d.ravel())),
        "q": q,
        "se": own.scale,
        "df": own.df,
        "low": low,
        "high": high,
        "t": own.t,
        "p": own.p,
        "p_equivalence": own.p_equivalence(settings.margin),
        "equivalence_low": equivalence_low,
        "equivalence_high": equivalence_high,
        "smallest_margin": np.maximum(-equivalence_low, equivalence_high),
        "posterior_a": above if better > 0 else below,
        "posterior_equal": within,
        "posterior_b": below if better > 0 else above,
        "t_corrected": corrected.t,
        "p_corrected": corrected.p,
        "t_fold_means": folds.t,
        "p_fold_means": folds.p,
        "superiority": win,
        "superiority_low": win_low,
        "superiority_high": win_high,
        "t_uncorrected_unpaired": unpaired.t,
        "p_uncorrected_unpaired": unpaired.p,
        "t_uncorrected_paired": paired.t,
        "p_uncorrected_paired": paired.p,
    }
    if parts is not None:
        values |= {f"var_{name}": getattr(parts, name) for name in ("runs", "utterances", "excess")}
        values |= {"p_with_excess": parts.test(q, with_excess=True).p, "units": parts.units}
    named = dict(zip(("folds", "seeds"), d.shape, strict=True)) | {"test": name}
    return named | {name: float(value) for name, value in values.items()}


def verdicts_test(
    parts: Components | None, corrected: Student, q: float, *, repeats: int, with_excess: bool
) -> tuple[str, Student]:
    """The test that the verdict follows, and its name (`docs/statistics.md` says when it is which)."""
    if parts is None or parts.seeds < 2 or parts.units < 2 or repeats > 1:
        return RESAMPLED, corrected
    return WITH_EXCESS if with_excess else COMPONENTS, parts.test(q, with_excess=with_excess)


def holm(p: pd.Series) -> np.ndarray:
    """Holm's adjusted p of one family; tests that could not be done (NaN) are not of the family."""
    done = p.notna().to_numpy()
    adjusted = np.full(len(p), np.nan)
    if done.any():
        adjusted[done] = multipletests(p[done], method="holm")[1]
    return adjusted


def decide(row: tuple, alpha: float) -> verdict.Verdict:
    """A row's verdict."""
    lower_is_better = row.score in METRICS and METRICS[row.score].lower_is_better
    return verdict.decide(row.difference, row.p_holm, row.p_equivalence_holm, alpha, lower_is_better=lower_is_better)
