"""What every run of a study answered, as arrays: the input of all tests."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from stages.common.errors import UserError
from stages.common.task import Task
from stages.ttest.answers_base import Answers
from stages.ttest.class_answers import ClassAnswers
from stages.ttest.dimension_answers import DimensionAnswers

KINDS = {"classes": ClassAnswers, "dimensions": DimensionAnswers}


def arrange(
    predictions: pd.DataFrame,
    task: Task,
    dev: pd.DataFrame | None = None,
    *,
    where: Callable[[int], str] = "row {}".format,
) -> Answers:
    """The answers in a table of predictions: variant, seed, fold, utterance_id and the task's columns, of classes with
    or without probabilities.

    `dev`: the same of development parts, which temperatures are fitted on. `where`: what an error calls a row.

    Raises
    ------
    UserError
        If a run has an utterance twice, lacks one that another run of its fold has, or differs in what is true of it.
        If a value of a dimension is not a finite number.
    """
    variant, variants = _codes(predictions["variant"], sort=False)
    seed, seeds = _codes(predictions["seed"])
    fold, folds = _codes(predictions["fold"])
    utterance, utterances = _codes(predictions["utterance_id"])
    _check_values(predictions, task, where)
    _check_actual(predictions, task, utterance, where)
    tested, row = np.unique(fold * len(utterances) + utterance, return_inverse=True)
    whose = {
        "variants": variants,
        "seeds": seeds,
        "folds": folds,
        "fold": tested // len(utterances),
        "utterance_id": np.array(utterances, dtype=object)[tested % len(utterances)],
    }
    shape = (len(variants), len(seeds), len(tested))
    place = np.ravel_multi_index((variant, seed, row), shape)
    order = np.argsort(place, kind="stable")
    _check_once(place, order, where, **whose)
    return KINDS[task.kind].of(predictions, order.reshape(shape), dev, task=task, **whose)


def _check_values(predictions: pd.DataFrame, task: Task, where: Callable[[int], str]) -> None:
    """Raise a UserError unless all values of dimensions are finite."""
    for name in (*task.actual, *task.predicted) if task.kind == "dimensions" else ():
        for i in np.flatnonzero(~np.isfinite(predictions[name].to_numpy()))[:1]:
            raise UserError(f"{where(int(i))}: {name} must be a finite number, but is {predictions[name].iloc[i]}")


def _check_actual(predictions: pd.DataFrame, task: Task, utterance: np.ndarray, where: Callable[[int], str]) -> None:
    """Raise a UserError unless the same is true of an utterance in all its rows; `utterance`: each row's number."""
    first = np.empty(utterance.max(initial=-1) + 1, np.intp)
    first[utterance[::-1]] = np.arange(len(utterance))[::-1]
    for name in task.actual:
        actual = pd.factorize(predictions[name])[0]
        for i in np.flatnonzero(actual[first[utterance]] != actual)[:1]:
            here, elsewhere = (predictions[name].iloc[row] for row in (i, first[utterance[i]]))
            raise UserError(
                f"{where(int(i))}: {name} must be the same for all models, but {predictions['utterance_id'].iloc[i]} "
                f"is {here} here and {elsewhere} elsewhere"
            )


def _check_once(
    place: np.ndarray,
    order: np.ndarray,
    where: Callable[[int], str],
    *,
    variants: list[str],
    seeds: list,
    folds: list,
    fold: np.ndarray,
    utterance_id: np.ndarray,
) -> None:
    """Raise a UserError unless each run has each utterance of its fold once.

    `place`: each row's, of all that V, S and N have; `order` sorts them. The rest: fields of `Answers`.
    """
    shape, cells = (len(variants), len(seeds), len(fold)), place[order]
    i = int(next(iter(np.flatnonzero(cells != np.arange(len(cells)))), len(cells)))
    if i == len(cells) == math.prod(shape):
        return
    twice = i < len(cells) and cells[i] < i
    v, s, n = np.unravel_index(cells[i] if twice else i, shape)
    run = f"{variants[v]}, seed {seeds[s]}, fold {folds[fold[n]]}"
    rule = f"must be predicted once, but {utterance_id[n]}"
    if twice:
        here, before = (where(int(row)) for row in (order[i], order[i - 1]))
        raise UserError(f"{here}: an utterance {rule} is predicted by {run} in {before} too")
    raise UserError(
        f"{run}: all utterances that another run tests in this fold {rule} is not; models are compared on the "
        "same utterances, with the same seeds and folds"
    )


def _codes(column: pd.Series, *, sort: bool = True) -> tuple[np.ndarray, list]:
    """Each row's place among the column's values, which are sorted or as they appear."""
    codes, values = pd.factorize(column)
    values = list(values)
    if not sort:
        return codes.astype(np.intp), values
    order = sorted(range(len(values)), key=values.__getitem__)  # a categorical column sorts by its own order
    return np.argsort(order)[codes], [values[i] for i in order]
