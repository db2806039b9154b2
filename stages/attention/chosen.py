"""Whose attention is drawn, and by which variants."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.common import variants
from stages.common.errors import UserError, short
from stages.common.features import Features
from stages.common.params import Params

PARTS = ("test", "dev", "train")
"""An utterance is drawn by the run of the fold that tests it; where none does, by one that meets it otherwise."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """An utterance that is drawn."""

    utterance_id: str
    row: int
    """Of the corpus."""
    label: str
    """Its class."""
    why: str
    """For which it is drawn."""
    fold: int
    """Whose run draws it."""
    part: str
    """Where it is in that fold."""


def drawn_variants(config: Params) -> list[str]:
    """Self- and cross-attention on the headline's modalities, as far as the study has them, and the headline itself."""
    headline = variants.parse(config.headline.variant)
    names = [variants.named(fusion, headline.modalities) for fusion in ("self", "cross")]
    return [name for name in dict.fromkeys([*names, headline.name]) if name in config.variants]


def extremes(predicted: pd.DataFrame, classes: list[str]) -> dict[str, str]:
    """Utterance → what it is: of each class, by `actual`, the most and the least certain one.

    `predicted`: predictions of several runs. Certainty is the highest of an utterance's probabilities, averaged over
    its runs. The first of equals counts; of a class with one utterance it is the most certain one.
    """
    names = [f"probability_{name}" for name in classes]
    means = predicted.groupby(["utterance_id", "actual"], sort=False)[names].mean().max(axis=1).reset_index(name="most")
    found: dict[str, str] = {}
    for name in classes:
        own = means[means["actual"] == name].set_index("utterance_id")["most"]
        if len(own):
            found[own.idxmax()] = f"the most certain {name}"
            found.setdefault(own.idxmin(), f"the least certain {name}")
    return found


def locate(wanted: dict[str, str], data: Features, folds: pd.DataFrame) -> list[Chosen]:
    """Find utterances in the corpus and its folds. `wanted`: utterance → why it is drawn.

    Raises
    ------
    UserError
        If one is not in the corpus, or in no fold.
    """
    return [_located(name, why, data, folds) for name, why in wanted.items()]


def _located(name: str, why: str, data: Features, folds: pd.DataFrame) -> Chosen:
    rows = np.flatnonzero(data.utterance_id == name)
    if not len(rows):
        raise UserError(f"report.utterances: must be utterances of the corpus, but {short(name)} is none")
    own = folds[folds["utterance_id"] == name].sort_values("fold")
    if own.empty:
        raise UserError(f"report.utterances: must be utterances of the folds, but {short(name)} is in none of them")
    part = next(part for part in PARTS if part in set(own["part"]))
    fold = int(own.loc[own["part"] == part, "fold"].iloc[0])
    label = data.meta.classes[data.label[rows[0]]]
    return Chosen(utterance_id=name, row=int(rows[0]), label=label, why=why, fold=fold, part=part)
