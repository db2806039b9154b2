"""Transformer layers of R runs: attention with an output at every position, normalisation, position codes.

Vaswani et al., "Attention is all you need", NeurIPS 2017. Shapes: R runs, B batch, T positions of a target, S of a
source, D width, H heads.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.train import kernels
from stages.train.fusions.attention import AveragedAttention, arrays_of, flat_lengths, flat_samples, valid
from stages.train.kernels import positionwise
from stages.train.kernels.dropout import threshold
from stages.train.kernels.vectors import LANES
from stages.train.layers import Dropout, Linear, linear, round_up


class PositionwiseAttention(AveragedAttention):
    """MHA(Q, K, V)[t] for every t, with the parameters of `AveragedAttention`.

    Target [R, B, T, D] (Q), source [R, B, S, D] (K = V) → [R, B, T, D]. On the CPU by compiled loops
    (`kernels/positionwise.py`), elsewhere by torch's own operations.
    """

    def forward(self, target: Tensor, source: Tensor, source_lengths: Tensor | None) -> Tensor:
        """`source_lengths` [R, B]: how many of the source's positions count, at least 1; None: all."""
        weight, bias = self.in_proj_weight.chunk(3, dim=1), self.in_proj_bias.chunk(3, dim=1)
        scale = math.sqrt(self.heads / target.shape[-1])
        q = linear(target, weight[0] * scale, bias[0] * scale)  # (R, B, T, D)
        k, v = (linear(source, weight[i], bias[i]) for i in (1, 2))  # (R, B, S, D)
        attend = compiled_attended if kernels.are_for(q) else attended
        return self.out_proj(attend(q, k, v, self.heads, self.dropout, source_lengths))


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout: Dropout, lengths: Tensor | None) -> Tensor:
    """Scaled queries [R, B, T, D], keys and values [R, B, S, D] → the heads' outputs side by side, [R, B, T, D].

    `lengths` [R, B]: how many keys count; None: all.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(2, 3) for x in (q, k, v))  # (R, B, H, T or S, D / H)
    scores = q @ k.transpose(-2, -1)  # (R, B, H, T, S)
    if lengths is not None:
        scores = scores.masked_fill(~valid(lengths, k.shape[3])[:, :, None, None], -math.inf)
    return (dropout(scores.softmax(dim=-1)) @ v).transpose(2, 3).flatten(3)  # (R, B, T, D)


def compiled_attended(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout: Dropout, lengths: Tensor | None) -> Tensor:
    """`attended` by compiled loops (`kernels/positionwise.py`), whose random numbers are a hash of each run's seed."""
    runs, batch = q.shape[:2]
    seeds = dropout.seeds() if dropout.rate else np.zeros(runs, np.uint32)
    output = _CompiledAttention.apply(*flat_samples(q, k, v), heads, dropout.rate, seeds, flat_lengths(k, lengths))
    return output.unflatten(0, (runs, batch))


class _CompiledAttention(torch.autograd.Function):
    """q [N, T, D], k and v [N, S, D] of N = R · B samples, seeds [R], lengths [N] → [N, T, D]."""

    @staticmethod
    def forward(ctx, q, k, v, heads, dropout, seeds, lengths):
        ctx.heads, ctx.drop, ctx.seeds = heads, threshold(dropout), seeds
        output = torch.empty_like(q)
        peaks, sums = q.new_empty(2, len(q), heads, round_up(q.shape[1], LANES))
        arrays = arrays_of(q, k, v, lengths, output, peaks, sums)
        positionwise.forward(*arrays[:3], heads, arrays[3], ctx.drop, seeds, *arrays[4:])
        ctx.save_for_backward(q, k, v, lengths, output, peaks, sums)
        return output

    @staticmethod
    def backward(ctx, grad):
        q, k, v = ctx.saved_tensors[:3]
        grads = [torch.empty_like(x) for x in (q, k, v)]
        arrays = arrays_of(*ctx.saved_tensors, grad.contiguous(), *grads)
        positionwise.backward(*arrays[:3], ctx.heads, arrays[3], ctx.drop, ctx.seeds, *arrays[4:])
        return *grads, None, None, None, None


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
