"""`python -m stages.ttest.power`: would more seeds, folds or data show a difference of x points?

The standard error of a mean difference has parts (see `components.py`): runs vary, and so would the folds' means with
other test utterances (and, where folds leave out speakers or sessions, by more than that: the excess).

    SE² = (τ² + excess) (1/k + q) + σ² / (k r),      k folds, r seeds.

A study with k' folds, r' seeds and m times the data is planned from the components of one that was run:

* σ² stays, though larger training parts may change it, by how much is not known.
* τ²/k is the variance of the mean over all test utterances. k' folds of the same corpus test the same utterances, so
  τ'² = τ² k'/k; m times as many, in m times as many dialogues, vary less, so it is divided by m. The excess likewise.
* q' = q (k - 1) / (k' - 1): 1/(k' - 1), or more in proportion where the study's n_test/n_train is more.

Power is that of the components test: the estimated variances are drawn from their χ² distributions, and given these the
test's power is known. The components themselves are estimates, so each number stands between its values at the ends of
an 80 % interval: see `variances` and `standard_error`.
"""

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from stages.common import cli, tables
from stages.common.errors import UserError
from stages.common.metrics import METRICS
from stages.common.plan import TaskKind
from stages.ttest import report
from stages.ttest.comparisons import Differences
from stages.ttest.components import Components
from stages.ttest.student import ratio
from stages.ttest.study import read
from stages.ttest.verdict import amount

DATA, FOLDS, SEEDS = (1, 2, 4), (5, 10), (3, 5, 10, 20)
SCORES = [name for name, metric in METRICS.items() if metric.is_sum or metric.task == "dimensions"]
"""Those with parts."""
DRAWS, SEED = 4000, 0
"""Of the estimated variances of a planned study, and the seed of their random numbers."""
ENOUGH_POWER = 0.8
"""The power that is usually asked for."""
FEW_RUNS = 0.1
"""More seeds are worth their time while the runs' part of SE² is this share or more."""
LEVEL = 0.8
"""Of the intervals of what is estimated."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a study."""

    folds: int
    seeds: int
    data: int = 1
    """How many times as much as the study had that was run."""


def variances(study: Components, *, with_excess: bool) -> np.ndarray:
    """τ², the excess (0 unless counted) and σ², [3 parts, 3]: estimate and ends of its interval, in score².

    A mean square s² with ν degrees of freedom estimates what lies within ν s² / χ²_ν. σ² is one. τ² and the excess are
    one less what the runs (and the utterances) add to it, which is taken as known. What the runs add to the utterances'
    is at most about σ²/r, where each run fails on utterances of its own, and is taken to be that.
    """
    from_runs = study.runs / study.seeds
    known = study.utterances + from_runs
    excess = _less(study.excess + known, known, study.folds - 1) if with_excess else (0.0, 0.0, 0.0)
    return np.array(
        [
            _less(known, from_runs, study.units - 1),
            excess,
            _less(study.runs, 0.0, study.folds * (study.seeds - 1)),
        ]
    )


def _less(mean_square: float, known: float, df: int) -> tuple[float, float, float]:
    """What a mean square estimates, less what is known of it, and the ends of its interval; none below 0."""
    low, high = mean_square * df / stats.chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], df)
    return max(0.0, mean_square - known), max(0.0, float(low) - known), max(0.0, float(high) - known)


def weights(study: Components, plan: Plan, q: float) -> np.ndarray:
    """Those [3] with which the study's variances make the SE² of a planned one; `q`: the study's."""
    shared = (1 / plan.folds + q * (study.folds - 1) / (plan.folds - 1)) * plan.folds / (study.folds * plan.data)
    return np.array([shared, shared, 1 / (plan.folds * plan.seeds)])


def degrees_of_freedom(study: Components, plan: Plan) -> np.ndarray:
    """Those [3] with which a planned study will estimate its parts."""
    return np.array([study.units * plan.data - 1, plan.folds - 1, plan.folds * (plan.seeds - 1)])


def standard_error(parts: np.ndarray) -> tuple[float, float, float]:
    """SE and the ends of its interval, of the parts of SE² [3 parts, 3] with those of theirs.

    The distances of the ends from the estimate add up as squares (Graybill & Wang 1980).
    """
    estimate, low, high = parts.T
    total = estimate.sum()
    below, above = (np.sqrt(((end - estimate) ** 2).sum()) for end in (low, high))
    return math.sqrt(total), math.sqrt(max(0.0, total - below)), math.sqrt(total + above)


def power(parts: np.ndarray, dfs: np.ndarray, differences: np.ndarray, alpha: float) -> np.ndarray:
    """Probability that the components test has P < alpha, for each true difference.

    Without Holm's correction, which asks more of each pair of a family.

    Parameters
    ----------
    parts, dfs: of the true SE² [3], and the degrees of freedom with which a study estimates them.
    differences: of the two models, in score.
    """
    if parts.sum() == 0:
        return np.where(differences == 0, 0.0, 1.0)  # the study is sure of it
    estimates = parts * np.random.default_rng(SEED).chisquare(dfs, (DRAWS, len(dfs))) / dfs  # (DRAWS, 3)
    df = estimates.sum(axis=-1) ** 2 / (estimates**2 / dfs).sum(axis=-1)  # Satterthwaite's
    needed = stats.t.ppf(1 - alpha / 2, df) * np.sqrt(estimates.sum(axis=-1) / parts.sum())  # in true standard errors
    centre = np.asarray(differences)[..., None] / np.sqrt(parts.sum())
    return (stats.norm.sf(needed - centre) + stats.norm.cdf(-needed - centre)).mean(axis=-1)


def power_with_range(
    study: Components, plan: Plan, differences: np.ndarray, *, q: float, alpha: float, with_excess: bool
) -> np.ndarray:
    """Power of a planned study [3, differences]: as estimated, and where SE is at the upper and at the lower end."""
    parts = variances(study, with_excess=with_excess) * weights(study, plan, q)[:, None]
    error, low, high = standard_error(parts)
    # With c times the SE the chance to see a difference is that to see the difference / c.
    factors = np.array([1, error / high, error / low]) if error else np.ones(3)
    scaled = np.asarray(differences) * factors[:, None]
    return power(parts[:, 0], degrees_of_freedom(study, plan), scaled, alpha)


def advice(parts: np.ndarray) -> str:
    """The rule, in words, for parts of SE² [3]."""
    runs, total = parts[-1], parts.sum()
    return "more seeds help" if runs > 0 and runs >= FEW_RUNS * total else "stop adding seeds: add folds or data"


def page(
    components: dict[tuple[str, str], Components],
    *,
    q: float,
    metric: str,
    points: list[float],
    alpha: float,
    with_excess: bool,
) -> str:
    """The answer as Markdown.

    Parameters
    ----------
    components: of each pair of variants, all of one study.
    q: the study's correction.
    metric: the score that they are of.
    points: differences to see, in hundredths of the score.
    with_excess: as for `Components.test`.

    Raises
    ------
    UserError
        If the study has fewer than two folds, seeds or units, which cannot tell the parts apart.
    """
    for study in components.values():
        if min(study.folds, study.seeds, study.units) < 2:
            raise UserError(
                "power needs at least 2 folds, 2 seeds and 2 dialogues, speakers or utterances, but the study has "
                f"{study.folds}, {study.seeds} and {study.units}"
            )
    shapes = sorted({f"{study.folds} folds × {study.seeds} seeds" for study in components.values()})
    numbers = {"level": f"{100 * LEVEL:g} %", "few": FEW_RUNS}
    sections = [
        f"# Power: {METRICS[metric].label}\n\n"
        + TEXT.format(unit=report.units(metric), shape=", ".join(shapes), **numbers),
        tables.markdown(
            pd.DataFrame([_now(report.pair(*pair), study, q, with_excess) for pair, study in components.items()])
        ),
        POWER_TEXT.format(alpha=alpha, enough=tables.fraction(ENOUGH_POWER)),
    ]
    for pair, study in components.items():
        by_difference = _plans(study, points, q=q, alpha=alpha, with_excess=with_excess)
        for value, table in zip(points, by_difference, strict=True):
            sections += [
                f"## {report.pair(*pair)}: to see {amount(value / 100, metric)}",
                tables.markdown(table),
            ]
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


TEXT = """What the standard error (SE) of the mean difference is made of, from {shape}, in {unit}; {level} intervals in
brackets. *Runs*: standard deviation of a run around its fold's mean. *Utterances*: of a fold's mean, by other test
utterances; 0 where runs explain all. *Runs' share*: of SE². More seeds reduce this share alone; the rest needs more
data, or, for a little, more folds: stop adding seeds when the share is below {few}."""

POWER_TEXT = """Below: the probability that the components test has P < {alpha:g}, before Holm's correction, which asks
more of each pair. In brackets: where SE is at the ends of its interval. *Data*: times as many utterances in times as
many dialogues; runs are taken to vary as before. Last: the fewest of these seeds with a power of {enough} or more."""


def _now(name: str, study: Components, q: float, with_excess: bool) -> dict[str, str]:
    """A row of what makes the standard error of the study as it is."""
    found = variances(study, with_excess=with_excess)
    parts = found * weights(study, Plan(folds=study.folds, seeds=study.seeds), q)[:, None]
    utterances, excess, runs = map(_deviation, np.sqrt(found))
    return {
        "Models": name,
        "Runs": runs,
        "Utterances": utterances,
        **({"Folds' excess": excess} if with_excess else {}),
        "SE": _deviation(standard_error(parts)),
        "Runs' share": tables.fraction(float(ratio(parts[-1, 0], parts[:, 0].sum()))),
        "So": advice(parts[:, 0]),
    }


def _deviation(with_ends: Iterable[float]) -> str:
    """A standard deviation and the ends of its interval, in points."""
    value, low, high = (f"{100 * each:.2f}" if each else "0" for each in with_ends)
    return value if high == "0" else f"{value} ({low} to {high})"


def _plans(study: Components, points: list[float], **settings: float) -> list[pd.DataFrame]:
    """A table for each difference: a row an amount of data and a number of folds, a column a number of seeds."""
    rows: list[list[dict]] = [[] for _ in points]
    for data in DATA:
        for folds in FOLDS:
            plans = [Plan(folds=folds, seeds=seeds, data=data) for seeds in SEEDS]
            cells = [power_with_range(study, plan, np.array(points) / 100, **settings) for plan in plans]
            for number, of_difference in enumerate(rows):
                powers = [cell[:, number] for cell in cells]
                of_difference.append(
                    {"Data": f"× {data}", "Folds": folds}
                    | {f"{seeds} seeds": _cell(*three) for seeds, three in zip(SEEDS, powers, strict=True)}
                    | {"Fewest seeds": fewest([three[0] for three in powers])}
                )
    return [pd.DataFrame(table) for table in rows]


def _cell(value: float, low: float, high: float) -> str:
    return f"{tables.fraction(value)} ({tables.fraction(low)} to {tables.fraction(high)})"


def fewest(powers: list[float]) -> str:
    """The fewest of SEEDS with enough power."""
    return next((str(seeds) for seeds, value in zip(SEEDS, powers, strict=True) if value >= ENOUGH_POWER), "none")


def main() -> None:
    """Print the parts of each pair's difference and the power of studies of several sizes."""
    options, own = arguments(), read()
    pairs = [tuple(pair) for pair in options.pair or own.config.pairs]
    for name in sorted({name for pair in pairs for name in pair} - set(own.answers.variants)):
        raise UserError(f"--pair must name two models of the study, but {name!r} is none of them")
    if not pairs:
        raise UserError("the study has no pair of models to compare: see compare.pairs in params.yaml")
    if own.design.repeats > 1:
        raise UserError("power follows the components test, which is for split.repeats of 1, but there are more")
    metric = _metric(options.metric, own.answers.task.kind)
    found = Differences(own.answers, metric, own.design.numbers(own.answers.utterance_id))
    print(
        page(
            {pair: found.components(*pair) for pair in pairs},
            q=own.design.correction(len(own.answers.folds)),
            metric=metric,
            points=options.points,
            alpha=own.config.compare.alpha,
            with_excess=own.design.left_out is not None or own.answers.counts_excess,
        ),
        end="",
    )


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command's options: pair (a list, or None for all of compare.pairs), metric and points."""
    parser = cli.ArgumentParser(prog="python -m stages.ttest.power", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--pair",
        nargs=2,
        action="append",
        metavar=("A", "B"),
        help="two models; may be repeated; default: all of compare.pairs",
    )
    parser.add_argument("--metric", choices=SCORES, help="default: accuracy, of dimensions ccc")
    parser.add_argument(
        "--points", nargs="+", type=_points, default=[1.0, 2.0, 5.0], help="differences to see, in hundredths"
    )
    return parser.parse_args(words)


def _metric(asked: str | None, kind: TaskKind) -> str:
    """The metric that was asked for, or the task's first with parts."""
    known = [name for name in SCORES if METRICS[name].task == kind]
    if asked is not None and asked not in known:
        raise UserError(f"--metric must be one of {', '.join(known)} where the task is {kind}, but is {asked}")
    return asked or ("accuracy" if "accuracy" in known else known[0])


def _points(word: str) -> float:
    value = float(word)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 100, but is {word}")
    return value


if __name__ == "__main__":
    cli.run(main)
