"""Batches of utterances, cut from the memory-mapped features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.common.features import Features, Ragged
from stages.train.layers import ALIGNED, round_up

CHUNK = 1 << 20  # frames that the scaler reads at a time


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Utterances of R runs, filled up with empty ones to one size that keeps every run's values aligned."""

    sequences: dict[str, tuple[Tensor, Tensor]]
    """Modality → values [R, T, B, F], zero beyond the lengths [R, B]."""
    labels: Tensor
    """[R, B]"""
    real: Tensor
    """[R, B]: 1 for utterances, 0 for padding."""


class Batches:
    """Cuts batches for some modalities: audio is standardised, words become their vectors.

    All have the same shape, the corpus's longest sequences: so a run's results do not depend on what is beside it.
    """

    def __init__(
        self,
        features: Features,
        modalities: list[str],
        *,
        size: int,
        padding_is_data: bool,
        dtype: torch.dtype,
        device: torch.device,
    ):
        """`size`: utterances; `padding_is_data`: whether the model reads padding, so what a corpus has there too."""
        self.features, self.modalities, self.size = features, modalities, size
        self.ragged = {name: own if padding_is_data else own.valid_only() for name, own in features.sequences.items()}
        self.padded = round_up(size, ALIGNED)
        self.dtype, self.device = dtype, device
        self.embedding = torch.from_numpy(features.embedding).to(device, dtype)
        self.padding_is_data = padding_is_data and bool(features.embedding[0].any())

    def __call__(self, rows: list[np.ndarray], scalers: list[tuple[np.ndarray, np.ndarray] | None]) -> Batch:
        """A batch of each run's utterances `rows`; its scaler: mean and standard deviation of each audio feature."""
        counts = np.array([len(run) for run in rows])
        labels = np.zeros((len(rows), self.padded), np.int64)
        for row, run in zip(labels, rows, strict=True):
            row[: len(run)] = self.features.label[run]
        return Batch(
            sequences={name: self._sequences(name, rows, scalers) for name in self.modalities},
            labels=torch.from_numpy(labels).to(self.device),
            real=torch.from_numpy(np.arange(self.padded) < counts[:, None]).to(self.device, self.dtype),
        )

    def _sequences(self, modality: str, rows: list[np.ndarray], scalers: list) -> tuple[Tensor, Tensor]:
        ragged = self.ragged[modality]
        lengths = np.zeros((len(rows), self.padded), np.int64)
        frame = ragged.values.shape[1:]
        values = np.zeros((len(rows), ragged.longest, self.padded, *frame), ragged.values.dtype)
        for run, (run_rows, scaler) in enumerate(zip(rows, scalers, strict=True)):
            lengths[run, : len(run_rows)] = ragged.lengths[run_rows]
            for b, row in enumerate(run_rows):
                sequence = ragged[row]
                if modality == "audio" and scaler is not None:
                    sequence = (sequence - scaler[0]) / scaler[1]
                values[run, : len(sequence), b] = sequence
        if modality == "text":
            tensor = self.embedding[torch.from_numpy(values).to(self.device)]
            if self.padding_is_data:
                lengths[:] = ragged.longest
        else:
            tensor = torch.from_numpy(values).to(self.device, self.dtype)
        return tensor, torch.from_numpy(lengths).to(self.device)


def scaler(audio: Ragged, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (1 where it is 0) of each feature over all valid frames of the utterances `rows`.

    Computed in float64, a bounded number of frames at a time.
    """
    audio = audio.valid_only()
    size = audio.values.shape[1]
    mean, squares = np.zeros(size), np.zeros(size)
    frames = int(audio.lengths[rows].sum())
    for chunk in _chunks(audio, rows):
        mean += chunk.sum(axis=0, dtype=np.float64) / max(1, frames)
    for chunk in _chunks(audio, rows):
        squares += ((chunk - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / max(1, frames))
    deviation[deviation == 0] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def _chunks(audio: Ragged, rows: np.ndarray) -> Iterator[np.ndarray]:
    filled = np.cumsum(audio.lengths[rows]) // CHUNK
    for group in np.split(rows, np.flatnonzero(np.diff(filled)) + 1):
        yield np.concatenate([audio[row] for row in group])
