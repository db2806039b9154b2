"""One variant with one seed, evaluated on all its folds."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from stages.common import corpus, features, predictions, scores, task, tuning
from stages.common.errors import UserError
from stages.common.params import Evaluate
from stages.common.plan import Plan
from stages.common.records import RunId
from stages.evaluate import additive, changes
from stages.evaluate.found import Evaluated
from stages.evaluate.trained import TrainedRun, weights_path

DIFFERENT = 0.05
"""By how much a prediction may differ from the run's own, which another processor or precision may have computed."""


def evaluate(variant: str, seed: int, asked: Evaluate, metrics: list[str]) -> Evaluated:
    """Evaluate the runs of one variant and seed.

    Raises
    ------
    UserError
        If weights are missing or damaged, or not those of the run's predictions.
    """
    emap, errors, changed = [], [], []
    for run_id, run, answered in trained_runs(variant, seed):
        whole = run.logits()
        check_same(_table(run, run_id, whole), answered, weights_path(variant, run_id))
        if asked.emap and len(run.plan.names) > 1:
            table, error = _emap(run, run_id, asked.partners, metrics)
            emap.append(table)
            errors.append({"fold": run_id.fold} | error)
        if asked.missing:
            changed += [{"fold": run_id.fold} | row for row in _changed(run, run_id, whole, asked.noise, metrics)]
    return Evaluated(
        variant=variant,
        seed=seed,
        emap=pd.concat(emap, ignore_index=True) if emap else None,
        errors=pd.DataFrame(errors) if errors else None,
        changed=pd.DataFrame(changed) if asked.missing else None,
    )


def trained_runs(variant: str, seed: int) -> Iterator[tuple[RunId, TrainedRun, pd.DataFrame]]:
    """Each fold's run of one variant and seed, with the predictions that it left.

    Raises
    ------
    UserError
        If predictions or weights are missing or damaged.
    """
    own, folds = tuning.read(variant), corpus.read_folds()
    data = features.read(own.names)
    answered = predictions.read(variant, seed, task.of(own.task, data.meta))
    for fold, plan in plans_by_fold(own, variant, seed, corpus.numbers(folds)).items():
        run_id, rows = RunId(seed, fold), features.fold_rows(data, folds, fold)
        yield run_id, TrainedRun(plan, data, rows, weights_path(variant, run_id)), answered[answered["fold"] == fold]


def plans_by_fold(own: tuning.Tuned, variant: str, seed: int, folds: list[int]) -> dict[int, Plan]:
    """Fold → the plan of its run: of the draw that it chose, where the variant is tuned."""
    plans, table = own.plans(), tuning.read_runs(variant, seed) if own.draws else None
    if table is None:
        return dict.fromkeys(folds, plans[0])
    chosen = table[table["chosen"]].set_index("fold")["draw"]
    return {fold: plans[chosen[fold] - 1] for fold in folds}


def check_same(found: pd.DataFrame, answered: pd.DataFrame, weights: Path) -> None:
    """Raise a UserError if the weights do not give the run's own predictions."""
    names = [name for name in found if name.startswith(("probability_", "predicted_"))]
    own, expected = found[names].to_numpy(), answered[names].to_numpy()
    if len(own) != len(expected) or not np.abs(own - expected).max() <= DIFFERENT:
        raise UserError(
            f"{weights} must hold the weights that gave the predictions beside it, but gives others: remove "
            f"{weights.parent}, then run dvc repro"
        )


def _emap(run: TrainedRun, run_id: RunId, partners: int, metrics: list[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """EMAP's predictions, and the sampling error of their score on each metric.

    That is half the difference of the scores by each half of the partners, whose mean square is the variance of a score
    by all of them, less for partners being taken once (`additive.share_left`); so 0 if all are taken.
    """
    count = len(run.rows["test"])
    chosen = additive.choose(count, len(run.plan.names), partners, np.random.default_rng([*run_id, *b"partners"]))
    logits = additive.crossed(run.combined(), count, chosen)
    table, left = _table(run, run_id, additive.project(logits, chosen)), additive.share_left(count, chosen)
    if not left:
        return table, dict.fromkeys(metrics, 0.0)
    halves = [additive.project(logits[:, :, half::2], chosen[:, half::2]) for half in (0, 1)]
    one, other = (_scores(_table(run, run_id, half), run, metrics) for half in halves)
    return table, {name: np.sqrt(left) * (one[name] - other[name]) / 2 for name in metrics}


def _changed(
    run: TrainedRun, run_id: RunId, whole: np.ndarray, sizes: list[float], metrics: list[str]
) -> list[dict[str, str | float]]:
    """The scores of one fold under each condition."""
    rows = []
    for condition in changes.conditions(run.plan.names, sizes):
        change = changes.change(run, run_id, condition)
        logits = run.logits(change) if change else whole
        rows.append(vars(condition) | _scores(_table(run, run_id, logits), run, metrics))
    return rows


def _table(run: TrainedRun, run_id: RunId, logits: np.ndarray) -> pd.DataFrame:
    """Logits [N, C], or values of dimensions, of the test part as predictions."""
    outputs = softmax(logits, axis=1) if run.plan.task == "classes" else logits
    return predictions.table(run.features, run_id.fold, run.rows["test"], outputs.astype(np.float32), run.plan.task)


def _scores(table: pd.DataFrame, run: TrainedRun, metrics: list[str]) -> dict[str, float]:
    found = scores.scores(table, task.of(run.plan.task, run.features.meta))
    return {name: found[name] for name in metrics}
