"""Multi-head attention whose outputs are averaged over time: what the paper's fusions are made of."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from stages.train import kernels
from stages.train.kernels import averaged
from stages.train.kernels.dropout import threshold
from stages.train.kernels.vectors import LANES
from stages.train.layers import Dropout, Linear, linear, round_up

Encodings = dict[str, tuple[Tensor, Tensor | None]]
"""Modality → encoding [R, B, T, D] and how many of its positions hold data [R, B], None: all."""


class AveragedAttention(nn.Module):
    """mean_t MHA(Q, K, V)[t]: multi-head attention (paper, Eqs. 3-6), averaged over the target's positions.

    Target [R, B, T, D] (Q), source [R, B, S, D] (K = V) → [R, B, D]. The average over the target commutes with
    everything after the softmax, so it is taken first: of the weights, not of T output vectors. On the CPU the averaged
    weights are computed by compiled loops (`kernels/averaged.py`), elsewhere by torch's own operations.
    """

    def __init__(self, width: int, heads: int, dropout: float):
        """`width`: D, of encodings and outputs; `heads` divide it; `dropout`: on attention weights."""
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        # Initialised as nn.MultiheadAttention is.
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
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
        average = compiled_weights if kernels.are_for(q) else averaged_weights
        pooled = average(q, k, self.heads, self.dropout, target_lengths, source_lengths)  # (R, B, H, S)
        context = pooled @ source  # (R, B, H, D)
        if context.requires_grad:
            context.register_hook(Tensor.contiguous)  # else a single run's gradient lies otherwise than several runs'
        context = context.transpose(1, 2)  # (R, H, B, D)
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
    """`averaged_weights` by compiled loops, whose random numbers are a hash of a seed that each run draws."""
    runs, batch = q.shape[:2]
    lengths = [flat_lengths(x, given) for x, given in ((q, q_lengths), (k, k_lengths))]
    weights = _CompiledWeights.apply(
        *flat_samples(q, k),
        heads,
        dropout.rate,
        dropout.seeds() if dropout.rate else np.zeros(runs, np.uint32),
        *lengths,
    )
    return weights.unflatten(0, (runs, batch))


def flat_lengths(x: Tensor, lengths: Tensor | None) -> Tensor:
    """How many positions of x [R, B, T, D] count, as compiled loops read it: [R · B]; `lengths` [R, B], None: all."""
    return torch.full((x.shape[0] * x.shape[1],), x.shape[2]) if lengths is None else lengths.flatten()


def flat_samples(*tensors: Tensor) -> list[Tensor]:
    """Each [R, B, T, D] as compiled loops read it: [R · B, T, D], in float32 where it is of mixed precision."""
    return [x.flatten(0, 1).to(torch.promote_types(x.dtype, torch.float32)).contiguous() for x in tensors]


class _CompiledWeights(torch.autograd.Function):
    """q [N, T, D] and k [N, S, D] of N = R · B samples, seeds [R], lengths [N] → [N, H, S]."""

    @staticmethod
    def forward(ctx, q, k, heads, dropout, seeds, q_lengths, k_lengths):
        ctx.heads, ctx.drop, ctx.seeds = heads, threshold(dropout), seeds
        pooled = q.new_empty(len(q), heads, k.shape[1])
        peaks, sums = q.new_empty(2, len(q), heads, round_up(q.shape[1], LANES))
        averaged.forward(
            *arrays_of(q, k), heads, *arrays_of(q_lengths, k_lengths), ctx.drop, seeds, *arrays_of(pooled, peaks, sums)
        )
        ctx.save_for_backward(q, k, q_lengths, k_lengths, peaks, sums)
        return pooled

    @staticmethod
    def backward(ctx, grad):
        q, k, q_lengths, k_lengths, peaks, sums = ctx.saved_tensors
        grad_q, grad_k = torch.empty_like(q), torch.empty_like(k)
        arrays = arrays_of(q, k, q_lengths, k_lengths, peaks, sums, grad.contiguous(), grad_q, grad_k)
        averaged.backward(*arrays[:2], ctx.heads, *arrays[2:4], ctx.drop, ctx.seeds, *arrays[4:])
        return grad_q, grad_k, None, None, None, None, None


def arrays_of(*tensors: Tensor) -> list[np.ndarray]:
    """The tensors' memory as numpy reads it."""
    return [tensor.detach().numpy() for tensor in tensors]


def valid(lengths: Tensor, time: int) -> Tensor:
    """[...] → [..., T]: which positions hold data."""
    return torch.arange(time, device=lengths.device) < lengths[..., None]
