"""Batches of one fold's utterances, cut from the memory-mapped features."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from stages.features import Features, Ragged

CHUNK = 1 << 20  # frames that the scaler reads at a time

Batch = tuple[dict[str, tuple[Tensor, Tensor]], Tensor]
"""Modality → (values [B, T, F], zero beyond the lengths [B]), and labels [B]."""


class Batches:
    """Cuts batches for some modalities; audio is standardised with `scaler`, words become their vectors."""

    def __init__(
        self,
        features: Features,
        modalities: list[str],
        *,
        scaler: tuple[np.ndarray, np.ndarray] | None,
        pad_text: bool,
        dtype: torch.dtype,
        device: torch.device,
    ):
        """`scaler`: mean and standard deviation of each audio feature. `pad_text`: to the corpus's longest sequence,
        where the model reads padding, rather than the batch's."""
        self.features, self.modalities, self.scaler = features, modalities, scaler
        self.pad_text, self.dtype, self.device = pad_text, dtype, device
        self.embedding = torch.from_numpy(features.embedding).to(device, dtype)
        self.padding_is_data = pad_text and bool(features.embedding[0].any())

    def __call__(self, rows: np.ndarray, size: int) -> Iterator[Batch]:
        """The utterances `rows` in their order, `size` at a time."""
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            sequences = {name: self._sequence(name, batch) for name in self.modalities}
            yield sequences, torch.from_numpy(self.features.label[batch]).to(self.device)

    def _sequence(self, modality: str, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        ragged = self.features.sequences[modality]
        lengths = ragged.lengths[rows]
        values = np.concatenate([ragged[row] for row in rows])
        if modality == "audio" and self.scaler is not None:
            mean, deviation = self.scaler
            values = (values - mean) / deviation
        pad_text = modality == "text" and self.pad_text
        longest = ragged.longest if pad_text else max(1, int(lengths.max()))
        padded = np.zeros((len(rows), longest, *values.shape[1:]), dtype=values.dtype)
        padded[np.arange(longest) < lengths[:, None]] = values
        tensor = torch.from_numpy(padded).to(self.device)
        tensor = self.embedding[tensor] if modality == "text" else tensor.to(self.dtype)
        if modality == "text" and self.padding_is_data:
            lengths = np.full_like(lengths, longest)
        return tensor, torch.from_numpy(lengths).to(self.device)


def scaler(audio: Ragged, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (1 where it is 0) of each feature over all valid frames of the utterances `rows`.

    Computed in float64, a bounded number of frames at a time.
    """
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
