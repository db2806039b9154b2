"""The fusion mechanisms: encodings of some modalities → one vector an utterance.

A mechanism is a function (modalities, sizes) → module. The module has a `size` and maps `Encodings` to [R, B, size],
for R runs at once: `layers.py` has its `Linear` and `Dropout`. `stages/common/variants.py` gives it its name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from stages.train.kernels import attention as attention_kernel
from stages.train.layers import Dropout, Linear, linear

Encodings = dict[str, tuple[Tensor, Tensor | None]]
"""Modality → encoding [R, B, T, D] and how many of its positions hold data [R, B], None: all."""


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

    Target [R, B, T, D] (Q), source [R, B, S, D] (K = V) → [R, B, D]. The average over the target commutes with
    everything after the softmax, so it is taken first: of the weights, not of T output vectors. On the CPU the averaged
    weights are computed by compiled loops (`attention_kernel.py`), elsewhere by torch's own operations.
    """

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.heads, self.dropout = sizes.heads, Dropout(sizes.dropout)
        # Initialised as nn.MultiheadAttention is.
        self.in_proj_weight = nn.Parameter(torch.empty(3 * sizes.width, sizes.width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * sizes.width))
        self.out_proj = Linear(sizes.width, sizes.width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, target: Tensor, source: Tensor, target_lengths: Tensor | None, source_lengths: Tensor | None
    ) -> Tensor:
        """`target_lengths` and `source_lengths` [R, B]: how many positions count, at least 1; None: all."""
        weight, bias = self.in_proj_weight.chunk(3, dim=1), self.in_proj_bias.chunk(3, dim=1)
        scale = math.sqrt(self.heads / target.shape[-1])
        q = linear(target, weight[0] * scale, bias[0] * scale)  # (R, B, T, D)
        k = linear(source, weight[1], bias[1])  # (R, B, S, D)
        average = compiled_weights if q.device.type == "cpu" else averaged_weights
        pooled = average(q, k, self.heads, self.dropout, target_lengths, source_lengths)  # (R, B, H, S)
        context = (pooled @ source).transpose(1, 2)  # (R, H, B, D)
        # Not a view, which a single run's would be: products depend on how their operands lie.
        values = linear(context.contiguous().flatten(0, 1), weight[2].unflatten(1, (self.heads, -1)).flatten(0, 1))
        values = values.unflatten(0, context.shape[:2]).transpose(1, 2)  # (R, B, H, D / H)
        # With dropout a head's weights need not sum to 1: the value bias counts as often as they do.
        values = values + pooled.sum(-1, keepdim=True) * bias[2].unflatten(1, (self.heads, -1))[:, None]
        return self.out_proj(values.flatten(2))


def averaged_weights(
    q: Tensor, k: Tensor, heads: int, dropout: Dropout, q_lengths: Tensor | None, k_lengths: Tensor | None
) -> Tensor:
    """Attention weights of queries [R, B, T, D] to keys [R, B, S, D], dropped and averaged over the queries.

    q is scaled; the lengths [R, B] say how many of them count. → [R, B, H, S].
    """
    q, k = (x.unflatten(-1, (heads, -1)).transpose(2, 3) for x in (q, k))  # (R, B, H, T or S, D / H)
    scores = q @ k.transpose(-2, -1)  # (R, B, H, T, S)
    if k_lengths is not None:
        scores = scores.masked_fill(~valid(k_lengths, k.shape[3])[:, :, None, None], -math.inf)
    weights = dropout(scores.softmax(dim=-1))
    if q_lengths is None:
        return weights.mean(dim=3)
    share = valid(q_lengths, q.shape[3]).to(weights.dtype) / q_lengths[..., None]  # (R, B, T)
    return (share[:, :, None, None] @ weights).squeeze(3)


def compiled_weights(
    q: Tensor, k: Tensor, heads: int, dropout: Dropout, q_lengths: Tensor | None, k_lengths: Tensor | None
) -> Tensor:
    """`averaged_weights` by compiled loops, whose random numbers are a hash of a word that each run draws."""
    runs, batch = q.shape[:2]
    words = dropout.seeds() if dropout.rate else np.zeros(runs, np.uint32)
    lengths = [
        torch.full((runs * batch,), x.shape[2]) if given is None else given.flatten()
        for x, given in ((q, q_lengths), (k, k_lengths))
    ]
    q, k = (x.flatten(0, 1).to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k))
    return _CompiledWeights.apply(q, k, heads, dropout.rate, words, *lengths).unflatten(0, (runs, batch))


class _CompiledWeights(torch.autograd.Function):
    """q [N, T, D] and k [N, S, D] of N = R · B samples, words [R], lengths [N] → [N, H, S]."""

    @staticmethod
    def forward(ctx, q, k, heads, dropout, words, q_lengths, k_lengths):
        ctx.heads, ctx.drop, ctx.words = heads, attention_kernel.threshold(dropout), words
        pooled = q.new_empty(len(q), heads, k.shape[1])
        peaks, sums = q.new_empty(2, len(q), heads, q.shape[1])
        attention_kernel.forward(
            *_arrays(q, k), heads, *_arrays(q_lengths, k_lengths), ctx.drop, words, *_arrays(pooled, peaks, sums)
        )
        ctx.save_for_backward(q, k, q_lengths, k_lengths, peaks, sums)
        return pooled

    @staticmethod
    def backward(ctx, grad):
        q, k, q_lengths, k_lengths, peaks, sums = ctx.saved_tensors
        grad_q, grad_k = torch.empty_like(q), torch.empty_like(k)
        arrays = _arrays(q, k, q_lengths, k_lengths, peaks, sums, grad.contiguous(), grad_q, grad_k)
        attention_kernel.backward(*arrays[:2], ctx.heads, *arrays[2:4], ctx.drop, ctx.words, *arrays[4:])
        return grad_q, grad_k, None, None, None, None, None


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def valid(lengths: Tensor, time: int) -> Tensor:
    """[...] → [..., T]: which positions hold data."""
    return torch.arange(time, device=lengths.device) < lengths[..., None]


def statistical_pooling(vectors: Tensor) -> Tensor:
    """[R, B, M, D] → [R, B, 2D]: mean and unbiased standard deviation across the modules' vectors (paper, Fig. 1)."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))  # of mixed precision
    mean = vectors.mean(dim=2)
    variance = (vectors - mean[:, :, None]).square().sum(dim=2) / (vectors.shape[2] - 1)
    # As torch.std, which is slow on this axis; like it, equal vectors get a gradient of 0, not NaN.
    deviation = variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
    return torch.cat([mean, deviation], dim=2)


def concatenation(vectors: Tensor) -> Tensor:
    """[R, B, M, D] → [R, B, M · D]."""
    return vectors.flatten(2)


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
        return self.pooling(torch.stack(vectors, dim=2))


class Joined(nn.Module):
    """The vectors of several mechanisms on the same encodings, concatenated."""

    def __init__(self, *mechanisms: nn.Module):
        super().__init__()
        self.mechanisms = nn.ModuleList(mechanisms)
        self.size = sum(mechanism.size for mechanism in mechanisms)

    def forward(self, encodings: Encodings) -> Tensor:
        return torch.cat([mechanism(encodings) for mechanism in self.mechanisms], dim=2)


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
