"""Concatenation: each modality's mean over time, joined.

    output = [mean_t e_1[t]; …; mean_t e_M[t]], M D of M modalities

The fusion without parameters, from which it is seen what others add. The classifier has no activation, so to average
the logits of one classifier a modality, all trained together, would be the same model.
"""

import torch
from torch import Tensor, nn

from stages.train.fusions.attention import Encodings
from stages.train.fusions.pooling import mean_over_time


class Concatenation(nn.Module):
    """Encodings [R, B, T, D] → [R, B, M · D]."""

    def __init__(self, modalities: list[str], width: int):
        super().__init__()
        self.modalities, self.size = modalities, len(modalities) * width

    def forward(self, encodings: Encodings) -> Tensor:
        return torch.cat([mean_over_time(*encodings[name]) for name in self.modalities], dim=2)


def build(modalities: list[str], width: int) -> Concatenation:
    """`width`: D."""
    return Concatenation(modalities, width)
