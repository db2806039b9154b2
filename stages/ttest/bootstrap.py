"""A hierarchical bootstrap of all models' scores, from their test predictions.

Whole dialogues are drawn with replacement (speakers where the corpus names no dialogues, utterances where it names
neither), then seeds, in each fold anew since its runs are other ones, and all models with the same draw. A draw's
score is the mean over folds and seeds, as in the tables. So it says how scores would vary with other utterances of the
kind that were tested and other seeds; the folds' training data stay as they are, and the t-tests speak of those.
`docs/statistics.md` reports its coverage.
"""

from functools import cache

import numpy as np
import pandas as pd

from stages.ttest.answers import Answers
from stages.ttest.student import ROUNDING

DRAWS, SEED = 2000, 0


def draws(answers: Answers, unit: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Metric of `names` or of `task.details` → [draws, V]: the mean over folds and seeds.

    All NaN with a single unit or seed: the interval would leave out its part. `unit`: [N], the unit of each utterance.
    """
    rng = np.random.default_rng(SEED)
    unit = pd.factorize(unit)[0]  # numbered as they come in `answers`, whatever their numbers were
    times_unit = _multiplicities(rng, unit.max() + 1)  # (draws, units)
    found = [*names, *answers.task.details]
    total = {name: np.zeros((DRAWS, len(answers.variants))) for name in found}
    folds = {name: np.zeros((DRAWS, 1)) for name in found}
    for k, own in enumerate(answers.bounds):
        drawn = answers.drawn_scores(k, unit[own], times_unit, names)
        times_seed = _multiplicities(rng, len(answers.seeds)) / len(answers.seeds)  # (draws, seeds)
        for name in found:
            scored = np.isfinite(drawn[name][:, :1, 0])  # a fold's draw may hold no utterance of a class
            total[name] += np.where(scored, np.einsum("dvs,ds->dv", drawn[name], times_seed), 0.0)
            folds[name] += scored
    if min(unit.max() + 1, len(answers.seeds)) < 2:
        return {name: np.full((DRAWS, len(answers.variants)), np.nan) for name in found}  # nothing to draw from
    with np.errstate(invalid="ignore"):
        return {name: total[name] / folds[name] for name in found}


def interval(difference: np.ndarray, alpha: float) -> tuple[float, float]:
    """The percentile interval that holds 1 - alpha of the draws; NaN without a draw to score."""
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return np.nan, np.nan
    low, high = np.quantile(difference, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def best(drawn: np.ndarray, *, lower_is_better: bool) -> np.ndarray:
    """The share of draws [draws, V] in which each model is the best [V]; those that tie share the draw."""
    drawn = (-drawn if lower_is_better else drawn)[~np.isnan(drawn).any(axis=1)]
    if not len(drawn):
        return np.full(drawn.shape[1], np.nan)
    first = drawn == drawn.max(axis=1, keepdims=True)
    return (first / first.sum(axis=1, keepdims=True)).mean(axis=0)


def superiority(d: np.ndarray, alpha: float) -> tuple[float, float, float]:
    """P(A > B): the share of paired runs in which the first model is better, ties counted half; with its interval.

    `d`: by how much it is better, [folds, seeds]. The interval draws seeds within each fold, as Bouthillier et al.
    (MLSys 2021, Section 4) do with their paired runs; NaN with one seed.
    """
    wins = np.where(np.abs(d) < ROUNDING, 0.5, d > 0)
    if d.shape[1] < 2:
        return float(wins.mean()), np.nan, np.nan
    low, high = interval(_seeds_drawn(*d.shape) @ wins.ravel() / d.size, alpha)
    return float(wins.mean()), low, high


@cache
def _seeds_drawn(folds: int, seeds: int) -> np.ndarray:
    """[draws, folds · seeds]: how often each run is drawn, as many in each fold as there are."""
    rng = np.random.default_rng(SEED)
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=(DRAWS, folds)).reshape(DRAWS, -1).astype(float)


def _multiplicities(rng: np.random.Generator, count: int) -> np.ndarray:
    """[draws, count]: how often each of `count` things is drawn when as many are drawn with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float32)
