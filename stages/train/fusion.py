"""The fusion mechanisms: encodings of some modalities → one vector an utterance.

A mechanism is a function (modalities, sizes) → module. The module has a `size` and maps `{modality: (encoding
[B, T, D], valid [B, T] or None)}` to [B, size]. `stages/variants.py` gives it its name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Encodings = dict[str, tuple[Tensor, Tensor | None]]


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
    after the softmax, so it is taken first: of the weights, not of T output vectors.
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
        self, target: Tensor, source: Tensor, target_valid: Tensor | None, source_valid: Tensor | None
    ) -> Tensor:
        """`target_valid` [B, T] and `source_valid` [B, S]: positions that count; None: all."""
        weight, bias = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q = self._by_head(F.linear(target, weight[0], bias[0]))  # (B, H, T, D / H)
        k = self._by_head(F.linear(source, weight[1], bias[1]))  # (B, H, S, D / H)
        scores = q * math.sqrt(self.heads / target.shape[-1]) @ k.transpose(-2, -1)  # (B, H, T, S)
        if source_valid is not None:
            scores = scores.masked_fill(~source_valid[:, None, None], -math.inf)
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        pooled = _mean(weights, target_valid)  # (B, H, S)
        context = (pooled @ source).transpose(0, 1)  # (H, B, D)
        values = context @ weight[2].unflatten(0, (self.heads, -1)).transpose(1, 2)  # (H, B, D / H)
        # With dropout a head's weights need not sum to 1: the value bias counts as often as they do.
        values = values.transpose(0, 1) + pooled.sum(-1, keepdim=True) * bias[2].unflatten(0, (self.heads, -1))
        return self.out_proj(values.flatten(1))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _mean(weights: Tensor, valid: Tensor | None) -> Tensor:
    """The mean over the valid target positions: [B, H, T, S] → [B, H, S]."""
    if valid is None:
        return weights.mean(dim=2)
    share = valid / valid.sum(dim=1, keepdim=True)  # (B, T)
    return (share[:, None, None].to(weights.dtype) @ weights).squeeze(2)


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
            (q, q_valid), (kv, kv_valid) = encodings[target], encodings[source]
            vectors.append(attention(q, kv, q_valid, kv_valid))
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
