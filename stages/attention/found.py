"""What is found of the attention of one variant and seed: shares on padding, and maps of chosen utterances."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from torch import Tensor

from stages.attention.axes import Axis, axes
from stages.attention.chosen import Chosen
from stages.attention.weights import Attention, attend
from stages.common import predictions
from stages.common.features import Features
from stages.evaluate.run import check_same, trained_runs
from stages.evaluate.trained import TrainedRun, weights_path
from stages.train.fusions.attention import valid

COLUMNS = ["variant", "target", "source", "fold", "seed", "share", "uniform"]
"""Of the table of padding."""
VALUES = 2**24
"""About how many weights are held at a time."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """How one modality of an utterance attends to one, by one run."""

    target: str
    source: str
    weights: np.ndarray
    """[heads, T, S]: of positions that count; of several modules of the same two modalities, the heads of all."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One variant's maps of one utterance."""

    variant: str
    utterance_id: str
    maps: list[Map]
    axes: dict[str, Axis]
    """Modality → what the positions of the maps are."""
    says: str
    """The run's most probable class."""
    probability: float
    """Of that class."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One variant and seed, all its folds."""

    variant: str
    attends: bool
    """Whether its fusion has attention between the modalities' encodings."""
    padding: pd.DataFrame
    """`COLUMNS`."""
    shown: list[Shown]


def find(variant: str, seed: int, chosen: list[Chosen]) -> Found:
    """The attention of the runs of one variant and seed; maps of the utterances `chosen`.

    Raises
    ------
    UserError
        If weights are missing or damaged, or not those of the run's predictions.
    """
    attends, rows, shown = False, [], []
    for run_id, run, answered in trained_runs(variant, seed):
        fold = run_id.fold
        shares = _of_test_part(run, answered, weights_path(variant, run_id))
        attends = shares is not None
        if not attends:
            break
        rows += [{"variant": variant, "fold": fold, "seed": seed} | row for row in shares]
        shown += [_maps(run, variant, each) for each in chosen if each.fold == fold]
    return Found(variant=variant, attends=attends, padding=pd.DataFrame(rows, columns=COLUMNS), shown=shown)


def _of_test_part(run: TrainedRun, answered: pd.DataFrame, weights: Path) -> list[dict] | None:
    """For each target and source that is padded, the mean shares on padding; None if the fusion does not attend."""
    logits, shares, attends = [], [], False
    for rows, batch in run.cut(run.rows["test"]):
        found, own = attend(run, batch)
        logits.append(own[: len(rows)])
        attends = attends or bool(found)
        for attention in found:
            if _is_padded(run, attention.source):
                held = _held(run.features, attention.source)[rows]
                each = zip(*padding_shares(attention, torch.from_numpy(held)), strict=True)
                shares += [(attention.target, attention.source, *pair) for pair in each]
    probabilities = softmax(np.concatenate(logits), axis=1).astype(np.float32)
    check_same(predictions.table(run.features, 0, run.rows["test"], probabilities), answered, weights)
    if not attends:
        return None
    table = pd.DataFrame(shares, columns=["target", "source", "share", "uniform"])
    return table.groupby(["target", "source"], sort=False).mean().reset_index().to_dict("records")


def _is_padded(run: TrainedRun, modality: str) -> bool:
    """Whether some of a modality's positions may be padding: after a map over time each is of all frames."""
    (own,) = (each for each in run.plan.modalities if each.name == modality)
    return own.positions is None


def _held(data: Features, modality: str) -> np.ndarray:
    """How many positions of each utterance hold data of its own."""
    return data.sequences[modality].valid_only().lengths


def padding_shares(attention: Attention, held: Tensor) -> tuple[list[float], list[float]]:
    """Of each of the first utterances, the share of attention on padding, and of uniform attention: [len(held)] each.

    `held` [N]: how many positions of the source hold data. Attention: the mean over heads and over the target's
    positions that count. Uniform: alike on all positions that the model may attend to.
    """
    count, (steps, sources) = len(held), (attention.queries.shape[1], attention.keys.shape[1])
    chunk = max(1, VALUES // (attention.module.heads * steps * sources))
    pooled = torch.cat([_pooled(attention, slice(i, min(i + chunk, count))) for i in range(0, count, chunk)])
    padded = ~valid(held, sources)  # (N, S)
    lengths = attention.source_lengths
    counts = torch.ones_like(padded) if lengths is None else valid(lengths[:count], sources)
    uniform = (padded & counts).sum(dim=1) / counts.sum(dim=1)
    return (pooled * padded).sum(dim=1).tolist(), uniform.tolist()


def _pooled(attention: Attention, rows: slice) -> Tensor:
    """Weights averaged over heads and the target's positions that count: [N, S]."""
    weights = attention.weights(rows).mean(dim=1)  # (N, T, S)
    if attention.target_lengths is None:
        return weights.mean(dim=1)
    lengths = attention.target_lengths[rows]
    counts = valid(lengths, weights.shape[1])[..., None]
    return (weights * counts).sum(dim=1) / lengths[:, None]


def _maps(run: TrainedRun, variant: str, chosen: Chosen) -> Shown:
    """A run's maps of one utterance."""
    ((_, batch),) = run.cut(np.array([chosen.row]))
    found, logits = attend(run, batch)
    heads: dict[tuple[str, str], list[np.ndarray]] = {}
    for attention in found:
        weights = attention.weights(slice(0, 1))[0]  # (H, T, S)
        for axis, lengths in ((1, attention.target_lengths), (2, attention.source_lengths)):
            weights = weights if lengths is None else weights.narrow(axis, 0, int(lengths[0]))
        heads.setdefault((attention.target, attention.source), []).append(weights.numpy())
    maps = [Map(target=a, source=b, weights=np.concatenate(own)) for (a, b), own in heads.items()]
    counts = {own.target: own.weights.shape[1] for own in maps} | {own.source: own.weights.shape[2] for own in maps}
    probabilities = softmax(logits[0])
    return Shown(
        variant=variant,
        utterance_id=chosen.utterance_id,
        maps=maps,
        axes=axes(run.plan, run.features, chosen.row, counts),
        says=run.features.meta.classes[probabilities.argmax()],
        probability=float(probabilities.max()),
    )
