"""`python -m stages.ttest.corpora STUDY [STUDY …]`: combine the differences of two models over several corpora.

With d_i the difference that study i of k found, s_i its standard error and u_i what the corpora themselves differ by,

    d_i = difference + u_i + e_i,    var(u_i) = τ²,    var(e_i) = s_i²,

a random-effects meta-analysis by `statsmodels.stats.meta_analysis`. τ² is Paule and Mandel's (1982), of statsmodels'
estimators the one that Veroniki et al. (2016) recommend: it solves Σ w_i (d_i - d̄)² = k - 1 with w_i = 1/(s_i² + τ²)
and d̄ the mean by these weights, or is 0 where Q, the sum with τ² = 0, is below k - 1. The standard error is Hartung and
Knapp's (2001; Sidik & Jonkman 2002), √(scale / Σ w_i) with scale = Σ w_i (d_i - d̄)² / (k - 1), on k - 1 degrees of
freedom. Where few studies happen to agree, it is far too small, so the scale is taken as 1 at least (Röver, Knapp &
Friede 2015). `docs/several-corpora.md` says how to read the result.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from stages.common import cli, figures, files, metrics, tables
from stages.common.errors import UserError
from stages.ttest import corpora_input, forest
from stages.ttest.report import interval, pair, signed
from stages.ttest.student import Student

SINGLE = metrics.recall(""), metrics.concordance("")
"""How the names of scores of single classes or dimensions begin."""
LEVEL = 0.95
"""What every interval holds."""

COLUMNS = {
    "a": "first variant",
    "b": "second variant",
    "score": "as in ttest.csv",
    "corpora": "k, the number of studies that are combined",
    "names": "their names",
    "left_out": "the studies that compare the pair without a standard error above 0",
    "difference": "combined difference a - b",
    "se": "its standard error: Hartung and Knapp's, its scale 1 at least",
    "df": "k - 1",
    "low": "95 % interval, lower end",
    "high": "its upper end",
    "p": "two-sided p",
    "p_holm": "p after Holm's correction over the pairs of the score",
    "scale": "Hartung and Knapp's scale, before it is raised to 1",
    "tau": "standard deviation of the difference between corpora (Paule & Mandel)",
    "q": "Cochran's Q",
    "p_q": "its p: chi² on k - 1 degrees of freedom",
    "i2": "I², the share of Q above k - 1, or 0",
    "prediction_low": "95 % interval of the difference in a new corpus, lower end; empty for k = 2",
    "prediction_high": "its upper end",
}
"""The columns of `corpora.csv`."""


def main() -> None:
    """Print the combined differences; with `--out`, also write them to a folder, and draw them."""
    parser = cli.ArgumentParser(prog="python -m stages.ttest.corpora", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "studies", nargs="+", metavar="STUDY", help="a study's folder or its ttest.csv; NAME=PATH names it"
    )
    parser.add_argument(
        "--score",
        action="append",
        metavar="NAME",
        help="combine this score, can be repeated; default: all but those of single classes or dimensions",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write corpora.csv, corpora.md and forest.png there")
    options = parser.parse_args()
    rows = corpora_input.read(options.studies)
    table, members = combine(rows, chosen(rows, options.score))
    if table.empty:
        raise UserError(
            "at least two of the studies must have the same pair and score with a standard error above 0, "
            f"but none of {', '.join(rows['score'].unique()) or 'no score'} is so"
        )
    text = page(table, members)
    if options.out:
        files.write_csv(options.out / "corpora.csv", table)
        files.write_text(options.out / "corpora.md", text)
        figures.save(forest.draw(table, members, LEVEL), options.out / "forest.png")
    print(text, end="")


def chosen(rows: pd.DataFrame, names: list[str] | None) -> list[str]:
    """The scores to combine: `names`, or all but those of single classes or dimensions.

    Raises
    ------
    UserError
        If no study has one of `names`.
    """
    found = list(rows["score"].unique())
    for name in names or ():
        if name not in found:
            raise UserError(f"--score must be one of {', '.join(found)}, but is {name!r}")
    return list(dict.fromkeys(names or (name for name in found if not name.startswith(SINGLE))))


def combine(rows: pd.DataFrame, scores: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Combine the rows of each pair and score that two studies have at least.

    Parameters
    ----------
    rows: what `corpora_input.read` returns; an se that is NaN is of a difference that could not be tested.

    Returns
    -------
    `COLUMNS`, one row a score and pair; and the rows that went into them with low and high, the ends of each study's
    own interval, and weight, which sums to 1 in each pair and score.
    """
    combined, members = [], []
    for score in scores:
        for (a, b), own in rows[rows["score"] == score].groupby(["a", "b"], sort=False):
            usable = own["se"] > 0
            if usable.sum() < 2:
                continue
            used = own[usable]
            numbers, weight = random_effects(used["difference"].to_numpy(), used["se"].to_numpy())
            names = {"names": "; ".join(used["study"]), "left_out": "; ".join(own.loc[~usable, "study"])}
            combined.append({"a": a, "b": b, "score": score} | names | numbers)
            low, high = Student(
                location=used["difference"].to_numpy(), scale=used["se"].to_numpy(), df=used["df"].to_numpy()
            ).interval(LEVEL)
            members.append(used.assign(low=low, high=high, weight=weight))
    table = pd.DataFrame(combined, columns=list(COLUMNS))
    table["p_holm"] = table.groupby("score")["p"].transform(lambda p: multipletests(p, method="holm")[1])
    return table, pd.concat(members) if members else rows.head(0)


def random_effects(difference: np.ndarray, se: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Combine the differences [k] of k studies with standard errors [k] above 0.

    Returns
    -------
    The numbers of `COLUMNS`, without p_holm, and the studies' weights [k].
    """
    k, centre = len(difference), difference.mean()
    effects = {"effect": difference - centre, "variance": se**2, "method_re": "pm"}  # centred: Q subtracts squares
    with np.errstate(divide="ignore"):  # I² of Q = 0
        # Newton's steps from 0 come near τ² from below; one more is as good as exact. To ask for a smaller atol is no
        # way: a step that ends above τ² by rounding makes statsmodels return 0.
        near = combine_effects(**effects, maxiter=1000)
        result = combine_effects(**effects, tau2_start=near.tau2, maxiter=1, atol=0)
    homogeneity = result.test_homogeneity()
    mean = Student(
        location=centre + result.mean_effect_re,
        scale=max(result.sd_eff_w_re_hksj, result.sd_eff_w_re),  # the latter has scale 1
        df=k - 1,
    )
    (low, high), (prediction_low, prediction_high) = mean.interval(LEVEL), prediction(mean, result.tau2, k)
    numbers = {
        "corpora": k,
        "difference": mean.location,
        "se": mean.scale,
        "df": k - 1,
        "low": low,
        "high": high,
        "p": mean.p,
        "scale": result.scale_hksj_re,
        "tau": np.sqrt(result.tau2),
        "q": max(0.0, homogeneity.statistic),
        "p_q": homogeneity.pvalue,
        "i2": 1 - (k - 1) / homogeneity.statistic if homogeneity.statistic > k - 1 else 0.0,  # finite for any Q
        "prediction_low": prediction_low,
        "prediction_high": prediction_high,
    }
    return {name: float(value) for name, value in numbers.items()} | {"corpora": k, "df": k - 1}, result.weights_rel_re


def prediction(mean: Student, tau2: float, k: int) -> tuple[float, float]:
    """The interval of a new corpus's difference, t on k - 2 degrees of freedom (Higgins et al. 2009)."""
    if k < 3:
        return np.nan, np.nan
    width = stats.t.ppf((1 + LEVEL) / 2, k - 2) * np.sqrt(tau2 + mean.scale**2)
    return mean.location - width, mean.location + width


def page(table: pd.DataFrame, members: pd.DataFrame) -> str:
    """The result as Markdown."""
    names = list(members["study"].unique())
    sections = [
        f"# Over {len(names)} corpora\n\n{TEXT.format(names=', '.join(names), level=f'{100 * LEVEL:g} %')}",
        *([FEW] if table["corpora"].min() < 5 else []),
    ]
    for score, own in table.groupby("score", sort=False):
        sections += [
            f"## {forest.heading(score)}",
            tables.markdown(_combined(own)),
            "Each corpus",
            tables.markdown(_members(members[members["score"] == score])),
        ]
        left_out = own[own["left_out"] != ""]
        lines = [f"* {pair(row.a, row.b)}: {row.left_out}" for row in left_out.itertuples()]
        sections += ["Left out, for want of a standard error above 0:", "\n".join(lines)] if lines else []
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


TEXT = (
    "Combined: {names}. Differences, τ and intervals ({level}) are in points where the heading names no other unit, "
    "first model minus second, each corpus's own with the standard error and degrees of freedom of its `ttest.csv`. "
    "Random effects: τ, the standard deviation between corpora, is Paule and Mandel's; the combined interval and P are "
    "Hartung and Knapp's on one degree of freedom less than there are corpora, with a scale of 1 at least (Röver, "
    "Knapp & Friede 2015). Holm's correction runs over the pairs of a metric. The last column says where the "
    "difference of a new corpus would lie. How to read this: docs/several-corpora.md."
)

FEW = (
    "**Few corpora**: with fewer than five, τ is hardly known, a wide interval says little, and Q sees only large "
    "disagreement."
)


def _combined(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": map(pair, rows["a"], rows["b"]),
            "Corpora": rows["corpora"].to_list(),
            "Difference": [_interval(row.difference, row.low, row.high) for row in rows.itertuples()],
            "P": map(tables.p_value, rows["p"]),
            "P (Holm)": map(tables.p_value, rows["p_holm"]),
            "Q": [f"{row.q:.2f} ({_p(row.p_q)})" for row in rows.itertuples()],
            "I²": [f"{100 * i2:.0f} %" for i2 in rows["i2"]],
            "τ": [f"{100 * tau:.1f}" for tau in rows["tau"]],
            "A new corpus": [interval(row.prediction_low, row.prediction_high) for row in rows.itertuples()],
        }
    )


def _members(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": map(pair, rows["a"], rows["b"]),
            "Corpus": rows["study"].to_list(),
            "Folds × seeds": [f"{row.folds} × {row.seeds}" for row in rows.itertuples()],
            "Difference": [_interval(row.difference, row.low, row.high) for row in rows.itertuples()],
            "df": [f"{df:.1f}" for df in rows["df"]],
            "Weight": [f"{100 * weight:.0f} %" for weight in rows["weight"]],
        }
    )


def _p(p: float) -> str:
    return f"P {'' if p < 0.001 else '= '}{tables.p_value(p)}"


def _interval(difference: float, low: float, high: float) -> str:
    return f"{signed(difference)} {interval(low, high)}"


if __name__ == "__main__":
    cli.run(main)
