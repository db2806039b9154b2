"""Gate: the mean of the modalities' means, weighted by what all of them say.

    w      = softmax(W [mean_t e_1[t]; …; mean_t e_M[t]] + b), a weight a modality
    output = Σ_m w_m mean_t e_m[t], D

After the fusion "attention" of Lian et al., "MERBench: a unified evaluation benchmark for multimodal emotion
recognition", arXiv:2401.03429, 2024.

As published each modality's vector comes from a perceptron or an LSTM of its own, of one width, and W follows another
perceptron on the joined vectors; here W reads them as they are, so that the weights are all that is added. The released
code has no softmax: its weights need be neither positive nor of sum 1.
"""

import torch
from torch import Tensor, nn

from stages.train.fusions.attention import Encodings
from stages.train.fusions.pooling import mean_over_time
from stages.train.layers import Linear


class Gate(nn.Module):
    """Encodings [R, B, T, D] → [R, B, D]."""

    def __init__(self, modalities: list[str], width: int):
        super().__init__()
        self.modalities, self.size = modalities, width
        self.scores = Linear(len(modalities) * width, len(modalities))

    def forward(self, encodings: Encodings) -> Tensor:
        means = self._means(encodings)
        return (self._weights(means)[..., None] * means).sum(dim=2)

    def shares(self, encodings: Encodings) -> dict[str, Tensor]:
        """Each modality's weight [R, B]."""
        return dict(zip(self.modalities, self._weights(self._means(encodings)).unbind(dim=2), strict=True))

    def _means(self, encodings: Encodings) -> Tensor:
        return torch.stack([mean_over_time(*encodings[name]) for name in self.modalities], dim=2)  # (R, B, M, D)

    def _weights(self, means: Tensor) -> Tensor:
        return self.scores(means.flatten(2)).softmax(dim=2)


def build(modalities: list[str], width: int) -> Gate:
    """`width`: D."""
    return Gate(modalities, width)
