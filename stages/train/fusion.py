"""The fusion mechanisms: encodings of some modalities → one vector an utterance.

A mechanism is a function (modalities, sizes) → module. The module has a `size` and maps `Encodings` to [B, size].
`stages/variants.py` gives it its name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.train import attention_kernel

Encodings = dict[str, tuple[Tensor, Tensor | None]]
"""Modality → encoding [B, T, D] and how many of its positions hold data [B], None: all."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of an attention module."""

    width: int
    """D, of encodings and outputs."""
    heads: int
    """H; divides the width."""
    dropout: float
    """Probability that an attention weight is dropped in training."""


class AveragedAttention(nn.Module):
    """mean_t MHA(Q, K, V)[t]: multi-head attention (paper, Eqs. 3-6), averaged over the target's positions.

    Target [B, T, D] (Q), source [B, S, D] (K = V) → [B, D]. The average over the target commutes with everything
    after the softmax, so it is taken first: of the weights, not of T output vectors. On the CPU the averaged weights
    are computed by compiled loops (`attention_kernel.py`), elsewhere by torch's own operations.
    """

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.heads, self.dropout = sizes.heads, sizes.dropout
        # Initialised as nn.MultiheadAttention is.
        self.in_proj_weight = nn.Parameter(torch.empty(3 * sizes.width, sizes.width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * sizes.width))
        self.out_proj = nn.Linear(sizes.width, sizes.width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, target: Tensor, source: Tensor, target_lengths: Tensor | None, source_lengths: Tensor | None
    ) -> Tensor:
        """`target_lengths` and `source_lengths` [B]: how many positions count, at least 1; None: all."""
        weight, bias = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        scale = math.sqrt(self.heads / target.shape[-1])
        q = F.linear(target, weight[0] * scale, bias[0] * scale)  # (B, T, D)
        k = F.linear(source, weight[1], bias[1])  # (B, S, D)
        dropout = self.dropout if self.training else 0.0
        average = CompiledWeights.apply if q.device.type == "cpu" else averaged_weights
        pooled = average(q, k, self.heads, dropout, target_lengths, source_lengths)  # (B, H, S)
        context = (pooled @ source).transpose(0, 1)  # (H, B, D)
        values = context @ weight[2].unflatten(0, (self.heads, -1)).transpose(1, 2)  # (H, B, D / H)
        # With dropout a head's weights need not sum to 1: the value bias counts as often as they do.
        values = values.transpose(0, 1) + pooled.sum(-1, keepdim=True) * bias[2].unflatten(0, (self.heads, -1))
        return self.out_proj(values.flatten(1))


def averaged_weights(
    q: Tensor, k: Tensor, heads: int, dropout: float, q_lengths: Tensor | None, k_lengths: Tensor | None
) -> Tensor:
    """Attention weights of queries [B, T, D] to keys [B, S, D], dropped and averaged over the queries: [B, H, S]."""
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))  # (B, H, T or S, D / H)
    scores = q @ k.transpose(-2, -1)  # (B, H, T, S)
    if k_lengths is not None:
        scores = scores.masked_fill(~valid(k_lengths, k.shape[2])[:, None, None], -math.inf)
    weights = F.dropout(scores.softmax(dim=-1), dropout)
    if q_lengths is None:
        return weights.mean(dim=2)
    share = valid(q_lengths, q.shape[2]).to(weights.dtype) / q_lengths[:, None]  # (B, T)
    return (share[:, None, None] @ weights).squeeze(2)


class CompiledWeights(torch.autograd.Function):
    """`averaged_weights` by compiled loops; their generator's key is drawn from torch's global one."""

    @staticmethod
    def forward(ctx, q, k, heads, dropout, q_lengths, k_lengths):
        lengths = [
            torch.full((len(x),), x.shape[1]) if given is None else given
            for x, given in ((q, q_lengths), (k, k_lengths))
        ]
        ctx.heads, ctx.drop = heads, attention_kernel.threshold(dropout)
        ctx.key = np.uint32(torch.randint(2**32, ()).item() if dropout else 0)
        pooled = q.new_empty(len(q), heads, k.shape[1])
        peaks, sums = q.new_empty(2, len(q), heads, q.shape[1])
        attention_kernel.forward(
            *_arrays(q, k), heads, *_arrays(*lengths), ctx.drop, ctx.key, *_arrays(pooled, peaks, sums)
        )
        ctx.save_for_backward(q, k, *lengths, peaks, sums)
        return pooled

    @staticmethod
    def backward(ctx, grad):
        q, k, q_lengths, k_lengths, peaks, sums = ctx.saved_tensors
        grad_q, grad_k = torch.empty_like(q), torch.empty_like(k)
        arrays = _arrays(q, k, q_lengths, k_lengths, peaks, sums, grad.contiguous(), grad_q, grad_k)
        attention_kernel.backward(*arrays[:2], ctx.heads, *arrays[2:4], ctx.drop, ctx.key, *arrays[4:])
        return grad_q, grad_k, None, None, None, None


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def valid(lengths: Tensor, time: int) -> Tensor:
    """[B] → [B, T]: which positions hold data."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def statistical_pooling(vectors: Tensor) -> Tensor:
    """[B, M, D] → [B, 2D]: mean and unbiased standard deviation across the modules' vectors (paper, Fig. 1)."""
    mean = vectors.mean(dim=1)
    variance = (vectors - mean[:, None]).square().sum(dim=1) / (vectors.shape[1] - 1)
    # As torch.std, which is slow on this axis; like it, equal vectors get a gradient of 0, not NaN.
    deviation = variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
    return torch.cat([mean, deviation], dim=1)


def concatenation(vectors: Tensor) -> Tensor:
    """[B, M, D] → [B, M · D]."""
    return vectors.flatten(1)


class Attention(nn.Module):
    """One attention module for each (target, source) pair of modalities, then `pooling` across their vectors."""

    def __init__(self, pairs: list[tuple[str, str]], sizes: Sizes, pooling: Callable[[Tensor], Tensor]):
        super().__init__()
        self.pairs, self.pooling = pairs, pooling
        self.modules_by_pair = nn.ModuleList(AveragedAttention(sizes) for _ in pairs)
        self.size = sizes.width * (2 if pooling is statistical_pooling else len(pairs))

    def forward(self, encodings: Encodings) -> Tensor:
        vectors = []
        for (target, source), attention in zip(self.pairs, self.modules_by_pair, strict=True):
            (q, q_lengths), (kv, kv_lengths) = encodings[target], encodings[source]
            vectors.append(attention(q, kv, q_lengths, kv_lengths))
        return self.pooling(torch.stack(vectors, dim=1))


class Joined(nn.Module):
    """The vectors of several mechanisms on the same encodings, concatenated."""

    def __init__(self, *mechanisms: nn.Module):
        super().__init__()
        self.mechanisms = nn.ModuleList(mechanisms)
        self.size = sum(mechanism.size for mechanism in mechanisms)

    def forward(self, encodings: Encodings) -> Tensor:
        return torch.cat([mechanism(encodings) for mechanism in self.mechanisms], dim=1)


def self_attention(modalities: list[str], sizes: Sizes) -> Attention:
    """Each modality attends to itself (paper, Fig. 2); one vector has no deviation, so one modality is not pooled."""
    return Attention(_same(modalities), sizes, statistical_pooling if len(modalities) > 1 else concatenation)


def cross_attention(modalities: list[str], sizes: Sizes) -> Attention:
    """Each modality attends to each other one (paper, Fig. 1)."""
    return Attention(_ordered_pairs(modalities), sizes, statistical_pooling)


def self_attention_concatenated(modalities: list[str], sizes: Sizes) -> Attention:
    """Self-noSP: self-attention without statistical pooling (paper, Table 2)."""
    return Attention(_same(modalities), sizes, concatenation)


def cross_attention_concatenated(modalities: list[str], sizes: Sizes) -> Attention:
    """Cross-noSP: cross-attention without statistical pooling (paper, Table 2)."""
    return Attention(_ordered_pairs(modalities), sizes, concatenation)


def cross_and_self_attention(modalities: list[str], sizes: Sizes) -> Joined:
    """Cross+Self: the pooled vectors of both, on the same encodings (paper, Table 2)."""
    return Joined(cross_attention(modalities, sizes), self_attention(modalities, sizes))


def _same(modalities: list[str]) -> list[tuple[str, str]]:
    return [(modality, modality) for modality in modalities]


def _ordered_pairs(modalities: list[str]) -> list[tuple[str, str]]:
    return list(permutations(modalities, 2))
