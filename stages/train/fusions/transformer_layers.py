"""Transformer layers of R runs: attention with an output at every position, normalisation, position codes.

Vaswani et al., "Attention is all you need", NeurIPS 2017. Shapes: R runs, B batch, T positions of a target, S of a
source, D width, H heads.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.train.fusions.attention import AveragedAttention, valid
from stages.train.layers import Dropout, Linear, linear


class PositionwiseAttention(AveragedAttention):
    """MHA(Q, K, V)[t] for every t, with the parameters of `AveragedAttention`.

    Target [R, B, T, D] (Q), source [R, B, S, D] (K = V) → [R, B, T, D].
    """

    def forward(self, target: Tensor, source: Tensor, source_lengths: Tensor | None) -> Tensor:
        """`source_lengths` [R, B]: how many of the source's positions count, at least 1; None: all."""
        weight, bias = self.in_proj_weight.chunk(3, dim=1), self.in_proj_bias.chunk(3, dim=1)
        scale = math.sqrt(self.heads / target.shape[-1])
        q = linear(target, weight[0] * scale, bias[0] * scale)  # (R, B, T, D)
        k, v = (linear(source, weight[i], bias[i]) for i in (1, 2))  # (R, B, S, D)
        return self.out_proj(attended(q, k, v, self.heads, self.dropout, source_lengths))


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout: Dropout, lengths: Tensor | None) -> Tensor:
    """Scaled queries [R, B, T, D], keys and values [R, B, S, D] → the heads' outputs side by side, [R, B, T, D].

    `lengths` [R, B]: how many keys count; None: all.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(2, 3) for x in (q, k, v))  # (R, B, H, T or S, D / H)
    scores = q @ k.transpose(-2, -1)  # (R, B, H, T, S)
    if lengths is not None:
        scores = scores.masked_fill(~valid(lengths, k.shape[3])[:, :, None, None], -math.inf)
    return (dropout(scores.softmax(dim=-1)) @ v).transpose(2, 3).flatten(3)  # (R, B, T, D)


class LayerNorm(nn.Module):
    """[R, ..., D] → [R, ..., D]: mean 0 and variance 1 over D, then each run's own scale and shift."""

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (own.view(len(own), *[1] * (x.dim() - 2), -1) for own in (self.weight, self.bias))
        return F.layer_norm(x, x.shape[-1:]) * weight + bias


class FeedForward(nn.Sequential):
    """Linear D → 4D, ReLU, Linear 4D → D, at every position."""

    def __init__(self, width: int):
        super().__init__(Linear(width, 4 * width), nn.ReLU(), Linear(4 * width, width))


class PostNormLayer(nn.Module):
    """z = LN(x + MHA(x, y)), then LN(z + FF(z)): target x [R, B, T, D], source y [R, B, S, D] → [R, B, T, D]."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention, self.feed_forward = PositionwiseAttention(width, heads, dropout), FeedForward(width)
        self.norm_1, self.norm_2 = LayerNorm(width), LayerNorm(width)

    def forward(self, x: Tensor, y: Tensor, y_lengths: Tensor | None) -> Tensor:
        z = self.norm_1(x + self.attention(x, y, y_lengths))
        return self.norm_2(z + self.feed_forward(z))


class PreNormLayer(nn.Module):
    """z = x + MHA(LN x, LN y) with one LN for both, then z + FF(LN z): [R, B, T, D], [R, B, S, D] → [R, B, T, D]."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention, self.feed_forward = PositionwiseAttention(width, heads, dropout), FeedForward(width)
        self.norm_1, self.norm_2 = LayerNorm(width), LayerNorm(width)

    def forward(self, x: Tensor, y: Tensor, y_lengths: Tensor | None) -> Tensor:
        z = x + self.attention(self.norm_1(x), self.norm_1(y), y_lengths)
        return z + self.feed_forward(self.norm_2(z))


def position_codes(x: Tensor) -> Tensor:
    """[T, D] for x [R, B, T, D]: sin(t / 10000^(2i / D)) in the even columns 2i, cos of the same in the odd ones."""
    time, width = x.shape[2:]
    t, even = (torch.arange(0, n, k, device=x.device, dtype=torch.float64) for n, k in ((time, 1), (width, 2)))
    angles = t[:, None] * 10_000 ** (-even / width)  # (T, D / 2 rounded up)
    codes = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
    return codes.to(x.dtype)
