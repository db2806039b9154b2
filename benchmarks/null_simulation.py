"""`python -m benchmarks.null_simulation`: how often each test of two models calls a difference that is not there.

Prints the tables of `docs/statistics.md`. Two kinds of study are simulated:

* *Variances*: the difference of fold i and seed j is a true difference plus normal deviations of the fold, of the seed
  in all folds alike, and of the run, 2.5 points together.
* *Trained*: real cross-validation. Two models (ridge regression on random features) are trained on two halves of the
  features of 400 random utterances, exchangeable by construction, so that neither is better; the folds share training
  data as in any cross-validation, and three quarters of each are tested. Few random features make seeds differ much.
"""

from itertools import product

import numpy as np
import pandas as pd

from stages.common import tables
from stages.ttest import student

SHAPES = ((5, 10), (5, 3), (10, 1))
DEVIATION, SMALL_DEVIATION = 0.025, 0.005
STUDIES, TRAINED = 20_000, 2_000
MARGIN, ALPHA = 0.01, 0.05
TESTED_SHARE = 0.75  # of a held-out fold; the rest is its development part

VARIANCES = {
    "runs vary most (fold .1, run .9)": (0.1, 0.0, 0.9),
    "folds and runs alike (.5, .5)": (0.5, 0.0, 0.5),
    "folds vary most (fold .9, run .1)": (0.9, 0.0, 0.1),
    "a seed acts alike in all folds (seed .5, run .5)": (0.0, 0.5, 0.5),
}
RANDOM_FEATURES = {"trained, seeds vary most": 6, "trained, folds vary most": 150}


def tests(a: np.ndarray, b: np.ndarray) -> dict[str, student.Student]:
    """Name → test, of scores [studies, folds, seeds]."""
    folds = a.shape[-2]
    ratio = TESTED_SHARE / (folds - 1)
    return {
        "unpaired t, uncorrected": student.unpaired(a, b),
        "paired t, uncorrected": student.paired(a - b),
        "corrected, q = n_test/n_train": student.corrected(a - b, ratio),
        "corrected, q = 1/(k − 1)": student.corrected(a - b, student.correction(folds, ratio)),
        "t over fold means": student.fold_means(a - b),
    }


def by_variances(
    shares: tuple[float, ...], difference: float, folds: int, seeds: int, deviation: float = DEVIATION
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two models [studies, folds, seeds] whose differences have the variances `shares` of `deviation`²."""
    rng, half = np.random.default_rng(0), np.array(shares) * deviation**2 / 2
    return simulate(half, 0.6 + difference, folds, seeds, rng), simulate(half, 0.6, folds, seeds, rng)


def simulate(variances: np.ndarray, mean: float, folds: int, seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Scores [studies, folds, seeds] with the variances of a fold, of a seed in all folds alike, and of a run."""
    shapes = (STUDIES, folds, 1), (STUDIES, 1, seeds), (STUDIES, folds, seeds)
    fold, seed, run = (
        np.sqrt(variance) * rng.standard_normal(shape) for variance, shape in zip(variances, shapes, strict=True)
    )
    return mean + fold + seed + run


def trained(random_features: int, folds: int, seeds: int, utterances: int = 400, size: int = 8) -> tuple:
    """Accuracies of two models [studies, folds, seeds] on exchangeable halves of the features of random data."""
    rng = np.random.default_rng(0)
    scores = np.empty((2, TRAINED, folds, seeds))
    weights = rng.standard_normal((size, 1))
    for study in range(TRAINED):
        halves = rng.standard_normal((2, utterances, size))
        signal = (np.sin(halves) @ weights).sum(axis=0)[:, 0] + 2 * rng.standard_normal(utterances)
        label = np.where(signal > 0, 1.0, -1.0)
        fold = rng.permutation(utterances) % folds
        for model, half in enumerate(halves):
            projection = rng.standard_normal((seeds, size, random_features))
            hidden = np.tanh(half @ projection + rng.standard_normal((seeds, 1, random_features)))
            for i in range(folds):
                held_out = np.flatnonzero(fold == i)
                test = held_out[: int(TESTED_SHARE * len(held_out))]
                scores[model, study, i] = accuracy(hidden[:, fold != i], label[fold != i], hidden[:, test], label[test])
    return tuple(scores)


def accuracy(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> np.ndarray:
    """Test accuracies [seeds] of ridge regression on x [seeds, utterances, features]."""
    transposed = x.transpose(0, 2, 1)
    solution = np.linalg.solve(transposed @ x + np.eye(x.shape[-1]), (transposed @ y)[..., None])
    return (np.sign(x_test @ solution)[..., 0] == y_test).mean(axis=-1)


def significant(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Test → share of studies with p < ALPHA."""
    return {name: float((test.p < ALPHA).mean()) for name, test in tests(a, b).items()}


def equivalent(a: np.ndarray, b: np.ndarray) -> float:
    """Share of studies that the corrected TOST calls equivalent."""
    test = tests(a, b)["corrected, q = 1/(k − 1)"]
    return float((test.p_equivalence(MARGIN) < ALPHA).mean())


def main() -> None:
    nothing, some, within = {}, {}, {}
    for row in product(VARIANCES, SHAPES):
        shares, shape = VARIANCES[row[0]], row[1]
        nothing[row] = significant(*by_variances(shares, 0.0, *shape))
        one, two = (significant(*by_variances(shares, difference, *shape)) for difference in (0.01, 0.02))
        some[row] = {name: (one[name], two[name]) for name in one}
        within[row] = {
            f"true difference {100 * difference:g}": equivalent(
                *by_variances(shares, difference, *shape, SMALL_DEVIATION)
            )
            for difference in (0.0, MARGIN / 2, MARGIN)
        }
    for row in product(RANDOM_FEATURES, SHAPES):
        nothing[row] = significant(*trained(RANDOM_FEATURES[row[0]], *row[1]))
    print(f"No true difference: share of studies with P < {ALPHA}\n\n{table(nothing)}")
    print(f"A true difference of 1 / 2 points: share of studies with P < {ALPHA}\n\n{table(some)}")
    print(
        f"Called equivalent within ± {100 * MARGIN:g} point (corrected TOST), deviations of {100 * SMALL_DEVIATION:g} "
        f"points together\n\n{table(within)}"
    )


def table(rows: dict[tuple[str, tuple[int, int]], dict[str, float | tuple[float, ...]]]) -> str:
    """Rates as a Markdown table, a row a setting."""
    return tables.markdown(
        pd.DataFrame(
            [
                {"setting": setting, "folds × seeds": f"{folds} × {seeds}"}
                | {name: " / ".join(map(tables.fraction, np.atleast_1d(rate))) for name, rate in rates.items()}
                for (setting, (folds, seeds)), rates in rows.items()
            ]
        )
    )


if __name__ == "__main__":
    main()
