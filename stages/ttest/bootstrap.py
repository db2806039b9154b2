"""A hierarchical bootstrap interval of the difference of two models, from their test predictions.

Whole dialogues are drawn with replacement (speakers where the corpus names no dialogues, utterances where it names
neither), then seeds, in each fold anew since its runs are other ones, and both models with the same draw. A draw's
difference is the mean over folds and seeds, as in the tables. So it says how the difference would vary with other
utterances of the kind that were tested and other seeds; the folds' training data stay as they are, and the t-tests
speak of those. `docs/statistics.md` reports its coverage.
"""

import numpy as np
import pandas as pd

from stages.common.scores import SCORES

DRAWS, SEED = 2000, 0


def units(utterances: pd.DataFrame) -> tuple[str, pd.Series]:
    """What is drawn, `dialogue`, `speaker` or `utterance`, and each utterance_id's number of it."""
    columns = {"dialogue": ["session", "dialogue"], "speaker": ["speaker"], "utterance": ["utterance_id"]}
    unit = next(unit for unit, names in columns.items() if (utterances[names[-1]] != "").all())
    numbers = utterances.groupby(columns[unit], sort=False).ngroup()
    return unit, pd.Series(numbers.to_numpy(), index=utterances["utterance_id"].to_numpy())


def draws(predictions: pd.DataFrame, unit_of: pd.Series, classes: list[str]) -> dict[str, pd.DataFrame]:
    """Metric or `recall_<class>` → one row a draw and one column a variant: the mean over folds and seeds.

    All NaN with a single unit or seed: the interval would leave out its part.

    Parameters
    ----------
    predictions: variant, seed, fold, utterance_id, actual, predicted; the same utterances in a fold for all.
    unit_of: utterance_id → number of the unit that it belongs to.
    """
    rng = np.random.default_rng(SEED)
    names, seeds = list(predictions["variant"].unique()), predictions["seed"].unique()
    unit_numbers, unit = np.unique(unit_of.loc[predictions["utterance_id"]], return_inverse=True)
    times_unit = _multiplicities(rng, len(unit_numbers))  # (draws, units)
    metrics = [*SCORES, *(f"recall_{name}" for name in classes)]
    total = np.zeros((DRAWS, len(names), len(metrics)))
    folds = np.zeros((DRAWS, 1, len(metrics)))
    for _, rows in predictions.assign(unit=unit).groupby("fold"):
        own, index = np.unique(rows["unit"], return_inverse=True)
        tested, right = _counts(rows, index, len(own), names, seeds, classes)
        scores = _scores(times_unit[:, own], tested, right)
        times_seed = _multiplicities(rng, len(seeds)) / len(seeds)  # (draws, seeds)
        scored = np.isfinite(scores[:, :1, 0, :])  # a fold's draw may hold no utterance of a class
        total += np.where(scored, np.einsum("dvsm,ds->dvm", scores, times_seed), 0.0)
        folds += scored
    with np.errstate(invalid="ignore"):
        means = total / folds
    if min(len(unit_numbers), len(seeds)) < 2:
        means[:] = np.nan  # what does not vary cannot be drawn
    return {metric: pd.DataFrame(means[:, :, i], columns=names) for i, metric in enumerate(metrics)}


def interval(table: pd.DataFrame, a: str, b: str, alpha: float) -> tuple[float, float]:
    """The percentile interval of a - b that holds 1 - alpha of the draws; NaN without a draw to score."""
    difference = (table[a] - table[b]).dropna()
    if difference.empty:
        return np.nan, np.nan
    low, high = np.quantile(difference, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def _multiplicities(rng: np.random.Generator, count: int) -> np.ndarray:
    """[draws, count]: how often each of `count` things is drawn when as many are drawn with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)


def _counts(
    rows: pd.DataFrame, unit: np.ndarray, units: int, names: list[str], seeds: np.ndarray, classes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """One fold's utterances [units, classes] and right answers [units, variants, seeds, classes]."""
    variant, seed = pd.Index(names).get_indexer(rows["variant"]), pd.Index(seeds).get_indexer(rows["seed"])
    actual = pd.Index(classes).get_indexer(rows["actual"])
    right = np.zeros((units, len(names), len(seeds), len(classes)))
    np.add.at(right, (unit, variant, seed, actual), rows["actual"].to_numpy() == rows["predicted"].to_numpy())
    once = (variant == 0) & (seed == 0)
    tested = np.zeros((units, len(classes)))
    np.add.at(tested, (unit[once], actual[once]), 1)
    return tested, right


def _scores(times: np.ndarray, tested: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Scores [draws, variants, seeds, metrics] of one fold, in the order of SCORES and then the classes' recalls."""
    tested = (times @ tested)[:, None, None, :]  # (draws, 1, 1, classes)
    right = np.tensordot(times, right, axes=1)  # (draws, variants, seeds, classes)
    with np.errstate(invalid="ignore"):
        recall = right / tested
        balanced = np.where(tested > 0, recall, 0.0).sum(-1) / (tested > 0).sum(-1)
        accuracy = right.sum(-1) / tested.sum(-1)
    own = {"balanced_accuracy": balanced, "accuracy": accuracy}
    return np.concatenate([np.stack([own[name] for name in SCORES], axis=-1), recall], axis=-1)
