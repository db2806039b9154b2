"""MDRE: each modality's last state through a linear map of its own, joined.

    output = [W_1 last(e_1) + b_1; …; W_M last(e_M) + b_M], M D / 2 of M modalities
    last   = the forward direction at the last step and the backward direction at the first one, D

Yoon, Byun, Jung, "Multimodal speech emotion recognition using audio and text", SLT 2018, Section 3.3.

As published there are audio and text alone, states of 235 and 200 values are mapped to half of them, each map has one
scalar bias, and encoders, inputs and training are others; here each map has a vector of biases, and any modalities are
joined. As in the released code no activation follows the maps. This project's classifier has none either, so the maps
add no capacity to joining the last states.
"""

import torch
from torch import Tensor, nn

from stages.train.fusions.attention import Encodings
from stages.train.fusions.steps import last
from stages.train.layers import Linear


class MDRE(nn.Module):
    """Encodings [R, B, T, D] → [R, B, M · D / 2]."""

    def __init__(self, modalities: list[str], width: int):
        super().__init__()
        self.modalities, self.size = modalities, len(modalities) * (width // 2)
        self.maps = nn.ModuleList(Linear(width, width // 2) for _ in modalities)

    def forward(self, encodings: Encodings) -> Tensor:
        named = zip(self.modalities, self.maps, strict=True)
        return torch.cat([halve(last(*encodings[name])) for name, halve in named], dim=2)


def build(modalities: list[str], width: int) -> MDRE:
    """`width`: D."""
    return MDRE(modalities, width)
