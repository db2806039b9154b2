"""Attention modules between pairs of modalities: the paper's fusions differ in the pairs and in the pooling."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stages.train.fusions.attention import AveragedAttention, Encodings
from stages.train.fusions.pooling import statistical_pooling


class PairwiseAttention(nn.Module):
    """One attention module for each (target, source) pair of modalities, then `pooling` across their vectors.

    Encodings [R, B, T, D] → [R, B, size].
    """

    def __init__(
        self,
        pairs: list[tuple[str, str]],
        pooling: Callable[[Tensor], Tensor],
        *,
        width: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        self.pairs, self.pooling = pairs, pooling
        self.modules_by_pair = nn.ModuleList(AveragedAttention(width, heads, dropout) for _ in pairs)
        self.size = width * (2 if pooling is statistical_pooling else len(pairs))

    def forward(self, encodings: Encodings) -> Tensor:
        vectors = []
        for (target, source), attention in zip(self.pairs, self.modules_by_pair, strict=True):
            (q, q_lengths), (kv, kv_lengths) = encodings[target], encodings[source]
            vectors.append(attention(q, kv, q_lengths, kv_lengths))  # (R, B, D)
        return self.pooling(torch.stack(vectors, dim=2))
