"""Changed inputs: a modality left out, or noise added to its features."""

from dataclasses import dataclass

import numpy as np
import torch

from stages.common.features import Ragged
from stages.common.records import RunId
from stages.evaluate import trained
from stages.evaluate.found import LEFT_OUT, NOISE, WHOLE
from stages.evaluate.trained import TrainedRun
from stages.train.data import Batch, moments


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way to change the test part."""

    modality: str = ""
    """The one that is changed; none of `WHOLE`."""
    change: str = WHOLE
    size: float = np.nan
    """Of the noise, in standard deviations of a feature."""


def conditions(modalities: list[str], sizes: list[float]) -> list[Condition]:
    """All of a variant: nothing changed, then each modality with noise of rising size and left out."""
    found = [Condition()]
    for name in modalities:
        found += [Condition(modality=name, change=NOISE, size=size) for size in sizes]
        found.append(Condition(modality=name, change=LEFT_OUT))
    return found


def change(run: TrainedRun, run_id: RunId, condition: Condition) -> trained.Change | None:
    """What a condition does to the batches of a run's test part, which come once and in their order."""
    if condition.change == LEFT_OUT:
        return left_out(run, condition.modality)
    if condition.change == NOISE:
        return noise(run, run_id, condition.modality, condition.size)
    return None


def left_out(run: TrainedRun, modality: str) -> trained.Change:
    """Leave out a modality as `model.modality_dropout` does (`Batches.without`): its sequences are empty.

    So is, in a corpus that lacks a modality of some utterances, that of such an utterance.
    """

    def apply(batch: Batch, rows: np.ndarray) -> Batch:
        gone = torch.zeros(1, len(run.plan.names), batch.targets.shape[1], dtype=torch.bool)
        gone[:, run.plan.names.index(modality)] = True
        return run.batches.without(batch, gone)

    return apply


def noise(run: TrainedRun, run_id: RunId, modality: str, size: float) -> trained.Change:
    """Add `size` · σ_f · ε, ε standard normal, to each feature f of a modality's frames, or of its words' vectors.

    σ_f is the feature's standard deviation in the fold's training part, before standardisation. ε depends on seed, fold
    and modality alone: all variants and sizes get the same.
    """
    ragged, rng = run.batches.ragged[modality], np.random.default_rng([*run_id, *modality.encode()])
    scale = size * deviations(run.features.sequences[modality], run.rows["train"])
    if modality in run.scalers:
        scale = scale / run.scalers[modality][1]

    def apply(batch: Batch, rows: np.ndarray) -> Batch:
        values, lengths = batch.sequences[modality]  # (1, T, B, F)
        added = np.zeros(values.shape)
        for b, length in enumerate(ragged.lengths[rows]):
            added[0, :length, b] = scale * rng.standard_normal((length, values.shape[3]))
        noisy = values + torch.from_numpy(added).to(values.dtype)
        return Batch(sequences=batch.sequences | {modality: (noisy, lengths)}, targets=batch.targets, real=batch.real)

    return apply


def deviations(sequences: Ragged, rows: np.ndarray) -> np.ndarray:
    """The standard deviation [F] of each feature over all valid frames, or words, of the utterances `rows`."""
    if sequences.embedding is None:
        return moments(sequences, rows)[1]
    valid = sequences.valid_only()
    words = np.bincount(np.concatenate([valid[row] for row in rows]), minlength=len(valid.embedding))
    mean = words @ valid.embedding.astype(np.float64) / max(1, words.sum())
    return np.sqrt(words @ (valid.embedding - mean) ** 2 / max(1, words.sum()))
