"""Cross-shared: `cross` with one attention module for both directions of a pair of modalities.

    v[m, n] = mean_t MHA_{m, n}(Q = e_m, K = V = e_n)[t]  for all ordered pairs m ≠ n, where MHA_{m, n} = MHA_{n, m}
    output  = [mean of all v[m, n]; standard deviation of all v[m, n]], 2D

A control, not a published system: it has half of `cross`'s attention parameters, of three modalities as many as `self`,
so what divides the two is not their number.
"""

from itertools import combinations

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Size
from stages.train.fusions.attention import AveragedAttention, Encodings
from stages.train.fusions.pooling import statistical_pooling


class SharedCrossAttention(nn.Module):
    """Encodings [R, B, T, D] → [R, B, 2D]."""

    def __init__(self, modalities: list[str], width: int, heads: int, dropout: float):
        super().__init__()
        self.pairs, self.size = list(combinations(modalities, 2)), 2 * width
        self.modules_by_pair = nn.ModuleList(AveragedAttention(width, heads, dropout) for _ in self.pairs)

    def forward(self, encodings: Encodings) -> Tensor:
        vectors = []
        for pair, attention in zip(self.pairs, self.modules_by_pair, strict=True):
            (a, a_lengths), (b, b_lengths) = (encodings[name] for name in pair)
            vectors += [attention(a, b, a_lengths, b_lengths), attention(b, a, b_lengths, a_lengths)]  # (R, B, D)
        return statistical_pooling(torch.stack(vectors, dim=2))


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> SharedCrossAttention:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    return SharedCrossAttention(modalities, width, heads, attention_dropout)
