"""`python -m benchmarks.bootstrap_coverage [--repeats 400]`: how often bootstrap intervals hold the true difference.

Prints the table of `docs/statistics.md`. Test predictions of two models are drawn from a probit model: an utterance is
right in a run if level + class + dialogue + utterance + run + noise > 0, all but the level and the class normal, each
with a part that both models share and a part of their own. Over all dialogues, utterances and runs the recall of a
class is then Φ((level + class) / √(1 + sum of variances)) exactly, which gives the true difference.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

import numpy as np
import pandas as pd
from scipy import stats

from stages.common import tables, task
from stages.corpus.iemocap import CLASS_COUNTS
from stages.ttest import bootstrap
from stages.ttest.answers import arrange

CLASSES = list(CLASS_COUNTS)
SHARES = np.array(list(CLASS_COUNTS.values())) / sum(CLASS_COUNTS.values())
LEVELS = {"self_tva": 0.45, "cross_tva": 0.35}
CLASS_LEVELS = np.linspace(0.5, -0.5, len(CLASSES))
DEVIATIONS = {"dialogue": (0.4, 0.2), "utterance": (0.8, 0.5), "run": (0.0, 0.15)}
"""Of the part that both models share and of each one's own."""

STUDIES = {
    "as IEMOCAP: 151 dialogues of 36 test utterances, 5 × 10": (151, 36, 5, 10),
    "as IEMOCAP, 5 × 3": (151, 36, 5, 3),
    "as the embedded corpus: 35 dialogues of 8 test utterances, 5 × 3": (35, 8, 5, 3),
    "10 speakers of 540 test utterances, 5 × 10": (10, 540, 5, 10),
}


def true_difference() -> dict[str, float]:
    """Metric → what the first model has more than the second, over all utterances and runs."""
    total = np.sqrt(1 + sum(deviation**2 for pair in DEVIATIONS.values() for deviation in pair))
    first, second = (stats.norm.cdf((level + CLASS_LEVELS) / total) for level in LEVELS.values())
    return {"accuracy": float(SHARES @ (first - second)), "balanced_accuracy": float((first - second).mean())}


def predictions(units: int, size: int, folds: int, seeds: int, rng: np.random.Generator) -> tuple:
    """Test predictions of both models in all runs, and each utterance's unit."""
    count = units * size
    unit, fold = np.arange(count) // size, rng.integers(1, folds + 1, count)
    label = rng.choice(len(CLASSES), count, p=SHARES)
    shared = {name: deviations[0] for name, deviations in DEVIATIONS.items()}
    common = shared["dialogue"] * rng.standard_normal(units)[unit] + shared["utterance"] * rng.standard_normal(count)
    names, rows = np.array(CLASSES), []
    for name, level in LEVELS.items():
        own = {part: deviations[1] for part, deviations in DEVIATIONS.items()}
        latent = level + CLASS_LEVELS[label] + common
        latent = latent + own["dialogue"] * rng.standard_normal(units)[unit]
        latent = latent + own["utterance"] * rng.standard_normal(count)
        run = own["run"] * rng.standard_normal((folds, seeds))
        for seed in range(seeds):
            right = latent + run[fold - 1, seed] + rng.standard_normal(count) > 0
            rows.append(
                pd.DataFrame(
                    {
                        "variant": name,
                        "seed": seed,
                        "fold": fold,
                        "utterance_id": np.arange(count),
                        "actual": names[label],
                        "predicted": names[np.where(right, label, (label + 1) % len(CLASSES))],
                    }
                )
            )
    return pd.concat(rows, ignore_index=True), pd.Series(unit)


def covered(study: tuple[int, int, int, int], number: int) -> dict[str, tuple[bool, float]]:
    """Metric → whether the interval of one simulated study holds the truth, and its width."""
    tested, unit_of = predictions(*study, np.random.default_rng([number, *study]))
    answers, truths = arrange(tested, task.classes(CLASSES)), true_difference()
    draws = bootstrap.draws(answers, unit_of.loc[answers.utterance_id].to_numpy(), list(truths))
    found = {}
    for metric, truth in truths.items():
        low, high = bootstrap.interval(draws[metric][:, 0] - draws[metric][:, 1], alpha=0.05)
        found[metric] = (low <= truth <= high, high - low)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400, help="simulated studies of each size (default: 400)")
    repeats = parser.parse_args().repeats
    print("True difference in points:", {name: round(100 * value, 2) for name, value in true_difference().items()})
    rows = []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for name, study in STUDIES.items():
            results = list(pool.map(covered, repeat(study), range(repeats)))
            for metric in true_difference():
                held, width = np.mean([result[metric] for result in results], axis=0)
                rows.append(
                    {
                        "study": name,
                        "metric": metric,
                        "coverage": tables.fraction(held),
                        "mean width (points)": f"{100 * width:.1f}",
                    }
                )
    print(f"\nCoverage of 95 % intervals, {repeats} studies each\n\n{tables.markdown(pd.DataFrame(rows))}")


if __name__ == "__main__":
    main()
