"""How an utterance's answer becomes a score: here alone, for runs, for tests and for the bootstrap.

The names are the field's: the paper calls balanced accuracy WA and accuracy UWA (its footnote 1), as only tables do
here. A score is either a sum over utterances, each with a weight and a value of its own (`weights`, `values`), or it is
computed from all of a fold's answers together. C is the number of classes.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, special

from stages.common import metrics
from stages.common.errors import UserError
from stages.common.task import Task

FILE = Path("metrics/scores.csv")
BINS = 15
"""Of the calibration error, with the same number of utterances in each."""
SMALLEST_VARIANCE = 1e-8
"""Added to the denominator of the CCC, which is then 0, not undefined, of values that are all the same."""
SMALLEST = float(np.finfo(np.float32).eps)
"""A probability below counts as this in the negative log-likelihood, as in scikit-learn's for float32."""


def from_counts(right: np.ndarray, tested: np.ndarray, predicted: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Scores from counts or sums of weights by class, [..., C] each: utterances of the class that were recognised, all
    of the class, and, for the F1 scores, all that were taken for it.

    accuracy, balanced_accuracy (mean recall of the classes that are tested), recall [..., C] (NaN for a class that is
    not), macro_f1 (mean over the classes that are tested or predicted), weighted_f1 (by the classes' sizes).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = right / tested
        found = {
            "accuracy": right.sum(-1) / tested.sum(-1),
            "balanced_accuracy": np.where(tested > 0, recall, 0.0).sum(-1) / (tested > 0).sum(-1),
            "recall": recall,
        }
        if predicted is not None:
            f1, there = 2 * right / (tested + predicted), tested + predicted > 0
            f1 = np.where(there, f1, 0.0)
            found["macro_f1"] = f1.sum(-1) / there.sum(-1)
            found["weighted_f1"] = (f1 * tested).sum(-1) / tested.sum(-1)
    return found


def weights(score: str, actual: np.ndarray) -> np.ndarray:
    """w_u of a sum's utterances [N], all of one fold's test part, from their classes; they sum to 1.

    For `recall_<class>`, `actual` holds the utterances of that class alone.
    """
    if score in metrics.METRICS and metrics.METRICS[score].classes_alike:
        sizes = np.bincount(actual)
        return 1 / (np.count_nonzero(sizes) * sizes[actual])
    return np.full(len(actual), 1 / len(actual))


def values(score: str, actual: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None) -> np.ndarray:
    """What each utterance adds to a sum but for its weight: [..., N].

    `actual` [N] and `predicted` [..., N] are numbers of classes, `probabilities` [..., N, C]. 1 or 0 for a right or a
    wrong answer; -log p of the right class, in nats; or Brier's (1950) sum of squares over the classes, 0 to 2.
    """
    if score == "negative_log_likelihood":
        own = np.take_along_axis(probabilities, np.broadcast_to(actual[:, None], (*predicted.shape, 1)), axis=-1)
        return -np.log(np.maximum(own[..., 0], SMALLEST, dtype=np.float64))
    if score == "brier_score":
        target = np.eye(probabilities.shape[-1])[actual]
        return ((probabilities - target) ** 2).sum(-1)
    return (predicted == actual).astype(np.float64)


def concordance(actual: np.ndarray, predicted: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
    """The concordance correlation coefficient (Lin, Biometrics 1989) of values [..., N] with predicted ones [..., N]:

        CCC = 2 s_xy / (s_x² + s_y² + (x̄ - ȳ)² + 1e-8),      moments over N.

    `times` [..., N]: how often each utterance counts; None: once. NaN where none counts.
    """
    actual, predicted = np.asarray(actual, np.float64), np.asarray(predicted, np.float64)
    weights = np.ones(actual.shape[-1:]) if times is None else np.asarray(times, np.float64)
    with np.errstate(invalid="ignore"):
        weights = weights / weights.sum(axis=-1, keepdims=True)
    mean_x, mean_y = ((weights * values).sum(-1) for values in (actual, predicted))
    x, y = actual - mean_x[..., None], predicted - mean_y[..., None]
    variances = (weights * x**2).sum(-1) + (weights * y**2).sum(-1)
    return concordance_from_moments((weights * x * y).sum(-1), variances, mean_x - mean_y)


def concordance_from_moments(covariance: np.ndarray, variances: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """The CCC from s_xy, s_x² + s_y² and x̄ - ȳ, arrays of one shape."""
    return 2 * covariance / (variances + gap**2 + SMALLEST_VARIANCE)


def concordance_influence(actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The influence (Hampel, JASA 1974) of each utterance on the CCC of values [..., N] with predicted ones: [..., N].

    It is the derivative of the CCC by the share of the utterance, while all others' shares shrink alike. Over the
    utterances it sums to 0. With x and y centred,

        influence = (2 (x y - s_xy) - CCC (x² - s_x² + y² - s_y² + 2 (x̄ - ȳ) (x - y))) / (the CCC's denominator).
    """
    x, y, gap = _centred(actual, predicted)
    product, squares = x * y, x**2 + y**2
    covariance, variances = (values.mean(-1, keepdims=True) for values in (product, squares))
    ccc = concordance_from_moments(covariance, variances, gap)
    change = 2 * (product - covariance) - ccc * (squares - variances + 2 * gap * (x - y))
    return change / (variances + gap**2 + SMALLEST_VARIANCE)


def concordance_values(actual: np.ndarray, predicted: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """What each utterance adds to the CCC of values [..., N] with predicted ones [..., N]: [..., N], whose mean is the
    CCC.

    `unit` [N]: numbers of what varies independently, such as dialogues. What the values of a unit of n_g utterances are
    above the CCC sums to (N - n_g) (CCC - CCC without the unit), the pseudo-value of Tukey's (1958) jackknife, but for
    a constant that makes the mean right. Within a unit, values differ as the `concordance_influence` of its utterances.
    """
    x, y, gap = _centred(actual, predicted)
    unit, size = np.unique(unit, return_inverse=True, return_counts=True)[1:]
    order, starts, left = np.argsort(unit, kind="stable"), size.cumsum() - size, len(unit) - size

    def sums(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values[..., order], starts, axis=-1)  # (..., units)

    def without(values: np.ndarray) -> np.ndarray:
        return (values.sum(-1, keepdims=True) - sums(values)) / np.maximum(left, 1)  # means over the others

    mean_x, mean_y = without(x), without(y)
    variances = without(x**2) - mean_x**2 + without(y**2) - mean_y**2
    others = concordance_from_moments(without(x * y) - mean_x * mean_y, variances, gap + mean_x - mean_y)
    ccc, influence = concordance(actual, predicted)[..., None], concordance_influence(actual, predicted)
    more = ((left * (ccc - others) - sums(influence)) / size)[..., unit]
    return ccc + influence + more - more.mean(-1, keepdims=True)


def _centred(actual: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [..., N] less their means, and the difference of the means [..., 1]."""
    actual, predicted = np.asarray(actual, np.float64), np.asarray(predicted, np.float64)
    mean_x, mean_y = (values.mean(-1, keepdims=True) for values in (actual, predicted))
    return actual - mean_x, predicted - mean_y, mean_x - mean_y


def temperature(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """The temperature T whose softmax(log p / T) has the least negative log-likelihood (Guo et al., ICML 2017).

    `probabilities` [N, C] of utterances of the classes `actual` [N]; T lies in 0.05 … 20.
    """
    logits = np.log(np.maximum(probabilities, SMALLEST, dtype=np.float64))
    right = logits[np.arange(len(actual)), actual]

    def loss(log_t: float) -> float:
        scale = np.exp(-log_t)
        return float((special.logsumexp(scale * logits, axis=1) - scale * right).mean())

    limit = np.log(20)
    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))


def sharpened(probabilities: np.ndarray, t: float | np.ndarray) -> np.ndarray:
    """softmax(log p / T) of probabilities [..., C]."""
    return special.softmax(np.log(np.maximum(probabilities, SMALLEST, dtype=np.float64)) / t, axis=-1)


def confidence(probabilities: np.ndarray, predicted: np.ndarray, t: float) -> np.ndarray:
    """What a model gives the classes `predicted` [N] that it answers: [N], of probabilities [N, C] at a temperature.

    The highest of them, unless an answer is not the most probable class.
    """
    return np.take_along_axis(sharpened(probabilities, t), predicted[:, None].astype(np.intp), axis=1)[:, 0]


def calibration_error(confidence: np.ndarray, right: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Expected calibration error over `BINS` bins of the same mass (Nixon et al., CVPR workshops 2019): the mean
    over utterances of |confidence - share of right answers| of their bin.

    Parameters
    ----------
    confidence, right: [N], `confidence` of an utterance's answer and whether it is right.
    times: [D, N], how often each utterance counts in each of D draws. Returns [D]; NaN for a draw of no utterance.
    """
    order = np.argsort(confidence, kind="stable")
    gap, times = (confidence - right)[order], times[:, order]
    total = times.sum(axis=1, keepdims=True, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        middle = (times.cumsum(axis=1, dtype=np.float64) - times / 2) / total  # of an utterance's mass
        bins = np.minimum((BINS * np.nan_to_num(middle)).astype(int), BINS - 1) + BINS * np.arange(len(times))[:, None]
        sums = np.bincount(bins.ravel(), (times * gap).ravel(), BINS * len(times)).reshape(-1, BINS)
        return np.abs(sums).sum(axis=1) / total[:, 0]


def scores(predictions: pd.DataFrame, task: Task, dev: pd.DataFrame | None = None) -> dict[str, float]:
    """Every score of `METRICS` of one run's predictions, and each class's recall or each dimension's CCC.

    `dev`: predictions of the development part, by which probabilities are calibrated.
    """
    if task.kind == "dimensions":
        own = concordance(predictions[task.actual].to_numpy().T, predictions[task.predicted].to_numpy().T)  # (K,)
        return {"ccc": float(own.mean())} | dict(zip(task.details, own.tolist(), strict=True))
    return _of_classes(predictions, task.names, dev)


def _of_classes(predictions: pd.DataFrame, classes: list[str], dev: pd.DataFrame | None) -> dict[str, float]:
    """The scores of classes.

    Without columns of probabilities, scores that need them are not there. The calibration error is that of
    probabilities whose temperature was fitted on `dev`, if given. A class without an utterance has no recall (NaN) and
    does not enter the balanced accuracy; one that is neither there nor predicted does not enter macro F1.
    """
    actual, predicted, probabilities = _arrays(predictions, classes)
    count = len(classes)
    right = np.bincount(actual[actual == predicted], minlength=count)
    found = from_counts(right, np.bincount(actual, minlength=count), np.bincount(predicted, minlength=count))
    recall = found.pop("recall")
    if probabilities is not None:
        t = 1.0
        if dev is not None:
            own, _, of_dev = _arrays(dev, classes)
            t = temperature(of_dev, own)
        sure, once = confidence(probabilities, predicted, t), np.ones((1, len(actual)), np.float32)
        found["calibration_error"] = calibration_error(sure, actual == predicted, once)[0]
        for name in ("negative_log_likelihood", "brier_score"):
            found[name] = weights(name, actual) @ values(name, actual, predicted, probabilities)
    own = {name: float(found[name]) for name in metrics.METRICS if name in found}
    return own | {metrics.recall(name): value for name, value in zip(classes, recall.tolist(), strict=True)}


def _arrays(predictions: pd.DataFrame, classes: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """actual [N], predicted [N] and probabilities [N, C] or None."""
    actual, predicted = (pd.Index(classes).get_indexer(predictions[name]) for name in ("actual", "predicted"))
    names = [f"probability_{name}" for name in classes]
    return actual, predicted, predictions[names].to_numpy() if names[0] in predictions else None


def run_scores(predictions: pd.DataFrame, task: Task, dev: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a run (variant, fold, seed) with its `scores`, in the order of the predictions."""
    keys = ["variant", "fold", "seed"]
    others = {} if dev is None else dict(iter(dev.groupby(keys, sort=False)))
    groups = predictions.groupby(keys, sort=False)
    return pd.DataFrame(
        [dict(zip(keys, key, strict=True)) | scores(rows, task, others.get(key)) for key, rows in groups]
    )


def read_csv(path: Path, *, numbers: list[str]) -> pd.DataFrame:
    """A CSV that a stage wrote, with finite numbers in the columns `numbers`.

    Raises
    ------
    UserError
        If the file is missing, is no CSV, or a column lacks or holds something else.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: dvc repro writes what is missing") from None
    except ValueError as error:  # what pandas has for damaged files
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} must be a CSV file, but is damaged ({reason}): run dvc repro") from None
    for name in numbers:
        if name not in table:
            raise UserError(f"{path} must have a column {name}, but has {', '.join(table)}: run dvc repro")
    for name in numbers:
        wrong = ~np.isfinite(pd.to_numeric(table[name], errors="coerce"))
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise UserError(
                f"{path}: {name} must be a number, but is {table[name].iloc[row]} in line {row + 2}: run dvc repro"
            )
    return table
