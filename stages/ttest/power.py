"""`python -m stages.ttest.power`: how many seeds and folds does a difference of x points need to be seen?

Reads `metrics/scores.csv`. The difference of two models in fold i with seed j is taken as

    d_ij = difference + fold_i + seed_j + residual_ij,

independent normal deviations whose variances are estimated from the study's own runs (two-way random effects without
replication, method of moments, Searle, Casella & McCulloch 1992, Section 4.5; negative estimates are 0). Studies with
other numbers of folds and seeds are simulated from these, and the corrected resampled t-test and the t-test over fold
means are run on each. Only more folds, not more seeds, reduce what the folds contribute. Folds keep their variance
here however many they are; smaller test parts would raise it, so more folds promise a little more than they hold.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.common import cli, params, scores, tables
from stages.common.errors import UserError
from stages.common.scores import SCORES
from stages.ttest import report, student

SEEDS, FOLDS = (1, 3, 5, 10, 20, 50), (5, 10, 20)
STUDIES, SEED = 4000, 0
"""Simulated studies of each size, and the seed of their random numbers."""
ENOUGH_POWER = 0.8
"""The power that is usually asked for."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances of a difference's parts, in score² (a score is 0 to 1)."""

    fold: float
    seed: float
    residual: float

    def standard_error(self, folds: int, seeds: float) -> float:
        """Of the mean difference over `folds` and `seeds`; seeds may be infinite."""
        return float(np.sqrt(self.fold / folds + self.seed / seeds + self.residual / (folds * seeds)))


def components(d: np.ndarray) -> Components:
    """Estimate the variances from differences [folds, seeds].

    Raises
    ------
    UserError
        With fewer than two folds or two seeds, which cannot tell them apart.
    """
    k, r = d.shape
    if min(k, r) < 2:
        raise UserError(f"power needs at least 2 folds and 2 seeds to tell their variances apart, but has {k} × {r}")
    fold, seed = d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    residual = float(((d - fold - seed + d.mean()) ** 2).sum() / ((k - 1) * (r - 1)))
    return Components(
        fold=max(0.0, float(fold.var(ddof=1)) - residual / r),
        seed=max(0.0, float(seed.var(ddof=1)) - residual / k),
        residual=residual,
    )


def simulate(
    parts: Components, difference: float, folds: int, seeds: int, studies: int, rng: np.random.Generator
) -> np.ndarray:
    """Differences [studies, folds, seeds] of simulated studies."""
    draw = rng.standard_normal
    return (
        difference
        + np.sqrt(parts.fold) * draw((studies, folds, 1))
        + np.sqrt(parts.seed) * draw((studies, 1, seeds))
        + np.sqrt(parts.residual) * draw((studies, folds, seeds))
    )


def power(parts: Components, difference: float, folds: int, seeds: int, alpha: float) -> tuple[float, float]:
    """Share of simulated studies in which the corrected t-test, and the t-test over fold means, has p < alpha.

    Without Holm's correction, which asks more of each pair of a family.
    """
    d = simulate(parts, difference, folds, seeds, STUDIES, np.random.default_rng(SEED))
    tests = (student.corrected(d, student.correction(folds, 0.0)), student.fold_means(d))
    corrected, fold_means = (float((test.p < alpha).mean()) for test in tests)
    return corrected, fold_means


def main() -> None:
    """Print the variances of each pair and the power of studies of several sizes."""
    parser = argparse.ArgumentParser(prog="python -m stages.ttest.power", description=__doc__.split("\n\n")[0])
    parser.add_argument("--pair", nargs=2, metavar=("A", "B"), help="two variants; default: the mean of compare.pairs")
    parser.add_argument("--metric", choices=SCORES, default="accuracy")
    parser.add_argument("--points", nargs="+", type=float, default=[1.0, 2.0, 5.0], help="differences to see")
    options = parser.parse_args()
    config = params.load()
    pairs = [tuple(options.pair)] if options.pair else config.pairs
    runs = scores.read([options.metric])
    for name in sorted({name for pair in pairs for name in pair} - set(runs["variant"])):
        raise UserError(f"--pair must name two variants of {scores.FILE}, but {name!r} is none of them")
    if not pairs:
        raise UserError("the study has no pair of variants to compare: see compare.pairs in params.yaml")
    print(page(runs, pairs, options.metric, options.points, config.compare.alpha), end="")


def page(runs: pd.DataFrame, pairs: list[tuple[str, str]], metric: str, points: list[float], alpha: float) -> str:
    """The answer as Markdown."""
    wide = runs.pivot(index=["fold", "seed"], columns="variant", values=metric)
    parts = {(a, b): components((wide[a] - wide[b]).unstack("seed").to_numpy()) for a, b in pairs}
    mean = Components(
        **{name: float(np.mean([getattr(p, name) for p in parts.values()])) for name in ("fold", "seed", "residual")}
    )
    folds, seeds = (runs[name].nunique() for name in ("fold", "seed"))
    sections = [
        f"# Power: {SCORES[metric]}\n\nStandard deviations of a difference's parts, in points, from {folds} folds × "
        f"{seeds} seeds; what they make the standard error of the mean difference; and what is left of it with "
        "unlimited seeds, which only more folds reduce. With so few folds and seeds each is a rough estimate. The "
        "corrected test is stricter: for what folds share, its standard error keeps s √q, however many the seeds.",
        tables.markdown(pd.DataFrame([_parts(report.pair(*pair), p, folds, seeds) for pair, p in parts.items()])),
    ]
    if len(pairs) > 1:
        sections[-1] += tables.markdown(pd.DataFrame([_parts("**mean**", mean, folds, seeds)])).split("\n", 2)[2]
        sections.append("The mean's variances are used below.")
    for difference in points:
        sections += [
            f"## To see a difference of {report.points(difference / 100)}\n\nShare of {STUDIES:,} simulated studies "
            f"with P < {alpha:g}: corrected resampled t / t over fold means. Last: the fewest of these seeds that see "
            f"it in {100 * ENOUGH_POWER:g} % of the studies",
            tables.markdown(_sizes(mean, difference / 100, alpha)),
        ]
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


def _parts(name: str, parts: Components, folds: int, seeds: int) -> dict[str, str]:
    values = {
        "Fold": np.sqrt(parts.fold),
        "Seed": np.sqrt(parts.seed),
        "Residual": np.sqrt(parts.residual),
        "Standard error": parts.standard_error(folds, seeds),
        "Unlimited seeds": parts.standard_error(folds, np.inf),
    }
    return {"Models": name} | {title: f"{100 * value:.2f}" for title, value in values.items()}


def _sizes(parts: Components, difference: float, alpha: float) -> pd.DataFrame:
    """A row a number of folds, a column a number of seeds."""
    rows = []
    for folds in FOLDS:
        cells = [power(parts, difference, folds, seeds, alpha) for seeds in SEEDS]
        rows.append(
            {"Folds": folds}
            | {
                f"{seeds} seed{'s' if seeds > 1 else ''}": f"{tables.fraction(corrected)} / {tables.fraction(means)}"
                for seeds, (corrected, means) in zip(SEEDS, cells, strict=True)
            }
            | {"Seeds needed": " / ".join(_needed(powers) for powers in zip(*cells, strict=True))}
        )
    return pd.DataFrame(rows)


def _needed(powers: tuple[float, ...]) -> str:
    """The fewest of SEEDS with enough power."""
    return next((str(seeds) for seeds, share in zip(SEEDS, powers, strict=True) if share >= ENOUGH_POWER), "none")


if __name__ == "__main__":
    cli.run(main)
