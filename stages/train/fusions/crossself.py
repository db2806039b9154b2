"""Cross+Self: the outputs of `cross` and `self` on the same encodings, joined: 4D.

Rajan, Brutti, Cavallaro, "Is cross-attention preferable to self-attention for multi-modal emotion recognition?",
ICASSP 2022, Table 2.
"""

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Size
from stages.train.fusions import cross
from stages.train.fusions import self as self_attention
from stages.train.fusions.attention import Encodings


class Joined(nn.Module):
    """The vectors of several mechanisms on the same encodings, concatenated."""

    def __init__(self, *mechanisms: nn.Module):
        super().__init__()
        self.mechanisms = nn.ModuleList(mechanisms)
        self.size = sum(mechanism.size for mechanism in mechanisms)

    def forward(self, encodings: Encodings) -> Tensor:
        return torch.cat([mechanism(encodings) for mechanism in self.mechanisms], dim=2)


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> Joined:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    settings = {"heads": heads, "attention_dropout": attention_dropout}
    return Joined(cross.build(modalities, width, **settings), self_attention.build(modalities, width, **settings))
