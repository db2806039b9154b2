"""The trained models that are asked."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from stages.common import corpus, features, tuning
from stages.common.errors import UserError
from stages.common.features import Features
from stages.common.params import Params
from stages.common.plan import Plan
from stages.common.records import RunId
from stages.evaluate.run import plans_by_fold
from stages.evaluate.trained import TrainedRun, weights_path
from stages.train.data import Scaler, scalers


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which runs of a variant are asked."""

    variant: str
    runs: list[RunId]
    """A fold's runs follow each other."""


def ask(variant: str, seed: int | None, fold: int | None, *, ensemble: bool, config: Params) -> Asked:
    """One run, or all seeds and folds of the study.

    Raises
    ------
    UserError
        If the study has not that variant, seed or fold, or it is not clear which are meant.
    """
    if variant not in config.variants:
        raise UserError(f"--variant must be one of {', '.join(config.variants)}, but is {variant}")
    folds = corpus.numbers(corpus.read_folds())
    if ensemble and (seed is not None or fold is not None):
        raise UserError("--ensemble asks all seeds and folds: --seed and --fold must not be given with it")
    if ensemble:
        return Asked(variant=variant, runs=[RunId(seed, fold) for fold in folds for seed in config.seeds])
    for option, value, known in (("--seed", seed, config.seeds), ("--fold", fold, folds)):
        if value is None:
            raise UserError(
                f"{option} must be one of {', '.join(map(str, known))}, or --ensemble given, but neither is"
            )
        if value not in known:
            raise UserError(f"{option} must be one of {', '.join(map(str, known))}, but is {value}")
    return Asked(variant=variant, runs=[RunId(seed, fold)])


def outputs(asked: Asked, known: Features, given: Features) -> np.ndarray:
    """The mean of what the runs that are asked say of the utterances `given`, in float64: probabilities [N, classes],
    or values [N, dimensions] between -1 and 1.

    `known`: the corpus, whose training parts scale standardised modalities, each run's own.

    Raises
    ------
    UserError
        If a run's weights are missing or damaged.
    """
    said = [(run.plan.task, run.logits_of(given)) for run in _runs(asked, known)]
    return np.mean([softmax(own, axis=1) if kind == "classes" else own for kind, own in said], axis=0)


def _runs(asked: Asked, known: Features) -> Iterator[TrainedRun]:
    own, folds = tuning.read(asked.variant), corpus.read_folds()
    scaled: dict[tuple, dict[str, Scaler]] = {}
    for run in asked.runs:
        plan = plans_by_fold(own, asked.variant, run.seed, [run.fold])[run.fold]
        rows = features.fold_rows(known, folds, run.fold)
        key = run.fold, *_standardised(plan)
        if key not in scaled:
            scaled = {key: scalers(known, plan.modalities, rows["train"])}  # of the last fold alone
        yield TrainedRun(plan, known, rows, weights_path(asked.variant, run), known_scalers=scaled[key])


def _standardised(plan: Plan) -> list[str]:
    return [modality.name for modality in plan.modalities if modality.standardise]
