"""Batches of utterances, cut from the memory-mapped features."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.features import Features, Ragged
from stages.common.plan import Modality
from stages.train.layers import ALIGNED, round_up

CHUNK = 1 << 20  # frames that the scaler reads at a time


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Utterances of R runs, padded with empty ones to one size that keeps every run's values aligned."""

    sequences: dict[str, tuple[Tensor, Tensor]]
    """Modality → values [R, T, B, F], zero beyond the lengths [R, B]."""
    targets: Tensor
    """[R, B] numbers of classes, or [R, B, K] values of dimensions."""
    real: Tensor
    """[R, B]: 1 for utterances, 0 for padding."""


Scaler = tuple[np.ndarray, np.ndarray]
"""Mean and standard deviation of each feature."""


class Batches:
    """Cuts batches for some modalities: frames are standardised where asked for, tokens become their vectors.

    All have the same shape, the corpus's longest sequences: so a run's results do not depend on the other runs.
    """

    def __init__(
        self,
        features: Features,
        modalities: list[str],
        targets: np.ndarray,
        *,
        size: int,
        padding_is_data: bool,
        dtype: torch.dtype,
        device: torch.device,
    ):
        """`targets` [utterances, ...]: what is true of each; `size`: utterances of a batch; `padding_is_data`: whether
        the model reads padding, so what a corpus has there too.
        """
        self.modalities, self.targets, self.size = modalities, targets, size
        self.padding_is_data = padding_is_data
        sequences = {name: features.sequences[name] for name in modalities}
        self.ragged = {name: own if padding_is_data else own.valid_only() for name, own in sequences.items()}
        self.padded = round_up(size, ALIGNED)
        self.dtype, self.device = dtype, device
        embeddings = {name: own.embedding for name, own in sequences.items() if own.embedding is not None}
        self.vectors = {name: torch.from_numpy(own).to(device, dtype) for name, own in embeddings.items()}
        self.padding_has_vector = {name for name, own in embeddings.items() if own[0].any()}
        """Modalities whose padding token's vector is not 0."""

    def __call__(self, rows: list[np.ndarray], scalers: list[dict[str, Scaler]]) -> Batch:
        """A batch of each run's utterances `rows`; its scalers: those of the modalities that are standardised."""
        counts = np.array([len(run) for run in rows])
        targets = np.zeros((len(rows), self.padded, *self.targets.shape[1:]), self.targets.dtype)
        for row, run in zip(targets, rows, strict=True):
            row[: len(run)] = self.targets[run]
        return Batch(
            sequences={name: self._sequences(name, rows, scalers) for name in self.modalities},
            targets=torch.from_numpy(targets).to(self.device),
            real=torch.from_numpy(np.arange(self.padded) < counts[:, None]).to(self.device, self.dtype),
        )

    def without(self, batch: Batch, left_out: Tensor) -> Batch:
        """The batch with some sequences left out, as if the corpus had not that modality of the utterance.

        Such a sequence is empty: the model meets padding alone. `left_out` [R, M, B]: which, in the order of the
        modalities.
        """
        sequences = {}
        for name, gone in zip(self.modalities, left_out.unbind(1), strict=True):
            values, lengths = batch.sequences[name]
            there = ~gone[:, None, :, None]  # (R, 1, B, 1)
            if name in self.padding_has_vector and self.padding_is_data:
                sequences[name] = torch.where(there, values, self.vectors[name][0]), lengths
            else:
                sequences[name] = torch.where(there, values, 0), lengths.masked_fill(gone, 0)
        return replace(batch, sequences=sequences)

    def _sequences(
        self, modality: str, rows: list[np.ndarray], scalers: list[dict[str, Scaler]]
    ) -> tuple[Tensor, Tensor]:
        """Values [R, T, B, F], zero beyond the lengths [R, B]."""
        ragged = self.ragged[modality]
        lengths = np.zeros((len(rows), self.padded), np.int64)
        frame = ragged.values.shape[1:]
        values = np.zeros((len(rows), ragged.longest, self.padded, *frame), ragged.values.dtype)
        for run, (run_rows, run_scalers) in enumerate(zip(rows, scalers, strict=True)):
            lengths[run, : len(run_rows)] = ragged.lengths[run_rows]
            scaler = run_scalers.get(modality)
            for b, row in enumerate(run_rows):
                sequence = ragged[row]
                if scaler is not None:
                    sequence = (sequence - scaler[0]) / scaler[1]
                values[run, : len(sequence), b] = sequence
        tensor = torch.from_numpy(values).to(self.device)
        if modality not in self.vectors:
            return tensor.to(self.dtype), torch.from_numpy(lengths).to(self.device)
        vectors = self.vectors[modality][tensor]
        if modality in self.padding_has_vector and self.padding_is_data:
            lengths[:] = ragged.longest
        elif modality in self.padding_has_vector:
            within = np.arange(ragged.longest)[:, None] < lengths[:, None]
            vectors = vectors * torch.from_numpy(within).to(self.device)[..., None]
        return vectors, torch.from_numpy(lengths).to(self.device)


def scalers(features: Features, modalities: list[Modality], rows: np.ndarray) -> dict[str, Scaler]:
    """The scaler of each modality that is standardised, of the frames of the utterances `rows`.

    Raises
    ------
    UserError
        If one of them is of tokens.
    """
    found = {}
    for modality in modalities:
        if modality.standardise:
            ragged = features.sequences[modality.name]
            if ragged.embedding is not None:
                raise UserError(
                    f"modalities.{modality.name}.standardise must be false for tokens, whose vectors are read as they "
                    "are, but is true"
                )
            found[modality.name] = scaler(ragged, rows)
    return found


def scaler(frames: Ragged, rows: np.ndarray) -> Scaler:
    """Mean and standard deviation (1 where it is 0) of each feature over all valid frames of the utterances `rows`."""
    mean, deviation = moments(frames, rows)
    deviation[deviation == 0] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def moments(frames: Ragged, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature over all valid frames of the utterances `rows`.

    Computed in float64, a bounded number of frames at a time.
    """
    frames = frames.valid_only()
    size = frames.values.shape[1]
    mean, squares = np.zeros(size), np.zeros(size)
    count = int(frames.lengths[rows].sum())
    for chunk in _chunks(frames, rows):
        mean += chunk.sum(axis=0, dtype=np.float64) / max(1, count)
    for chunk in _chunks(frames, rows):
        squares += ((chunk - mean) ** 2).sum(axis=0)
    return mean, np.sqrt(squares / max(1, count))


def _chunks(frames: Ragged, rows: np.ndarray) -> Iterator[np.ndarray]:
    chunk = np.cumsum(frames.lengths[rows]) // CHUNK
    for group in np.split(rows, np.flatnonzero(np.diff(chunk)) + 1):
        yield np.concatenate([frames[row] for row in group])
