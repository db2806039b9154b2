"""A bidirectional GRU whose recurrence is one compiled loop on the CPU."""

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class BidirectionalGRU(nn.GRU):
    """[B, T, I] → [B, T, 2 · hidden]: `nn.GRU` (paper, Eq. 2), its parameters and its result.

    On the CPU the inputs of both directions and all steps are projected by one product, and the steps are a compiled
    loop with a written-out backward pass: short sequences spend most of `nn.GRU`'s time between its small operations.
    Elsewhere it is `nn.GRU` itself.
    """

    def __init__(self, features: int, hidden: int):
        super().__init__(features, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`lengths` [B], at least 1: where given, nothing beyond them is read and the output there is 0."""
        if x.device.type != "cpu":
            return self._library(x, lengths)
        batch, time, _ = x.shape
        if lengths is None:
            lengths = torch.full((batch,), time)
        weight, bias = (
            torch.cat([getattr(self, name), getattr(self, f"{name}_reverse")])
            for name in ("weight_ih_l0", "bias_ih_l0")
        )
        projected = F.linear(x, weight, bias).unflatten(-1, (2, -1))  # (B, T, 2, 3h)
        weight, bias = (
            torch.stack([getattr(self, name), getattr(self, f"{name}_reverse")])
            for name in ("weight_hh_l0", "bias_hh_l0")
        )
        return _Recurrence.apply(projected, weight, bias, lengths).flatten(2)  # (B, T, 2h)

    def _library(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return super().forward(x)[0]
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(super().forward(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class _Recurrence(torch.autograd.Function):
    """The recurrence of both directions, given their inputs' projections x.

    r = σ(x_r + W_r h + b_r), z = σ(x_z + W_z h + b_z), n = tanh(x_n + r (W_n h + b_n)), h' = (1 - z) n + z h.
    """

    @staticmethod
    def forward(ctx, projected: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor) -> Tensor:
        """`projected` [B, T, 2, 3h], `weight` [2, 3h, h], `bias` [2, 3h], `lengths` [B] → [B, T, 2, h]."""
        batch, time, _, triple = projected.shape
        h = triple // 3
        output = projected.new_empty(batch, time, 2, h)
        states = projected.new_zeros(2, time + 1, batch, h)  # by step, not by position
        gates = projected.new_empty(2, time, batch, 4, h)  # r, z, n and W_n h + b_n
        _forward(
            projected.detach().numpy(),
            weight.transpose(1, 2).contiguous().numpy(),
            bias.numpy(),
            lengths.numpy(),
            output.numpy(),
            states.numpy(),
            gates.numpy(),
        )
        ctx.save_for_backward(weight, lengths, states, gates)
        return output

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        weight, lengths, states, gates = ctx.saved_tensors
        _, time, batch, _, h = gates.shape
        grad_projected = weight.new_empty(batch, time, 2, 3 * h)
        grad_recalled = weight.new_empty(2, time, batch, 3 * h)  # with respect to W h + b
        _backward(
            grad.contiguous().numpy(),
            weight.numpy(),
            lengths.numpy(),
            states.numpy(),
            gates.numpy(),
            grad_projected.numpy(),
            grad_recalled.numpy(),
        )
        flat = grad_recalled.flatten(1, 2)  # (2, T · B, 3h)
        return grad_projected, torch.bmm(flat.transpose(1, 2), states[:, :-1].flatten(1, 2)), flat.sum(1), None


@njit(cache=True)
def _forward(projected, weight, bias, lengths, output, states, gates):
    batch, time, _, h = output.shape
    one, two = weight.dtype.type(1), weight.dtype.type(2)
    recalled = np.empty((batch, 3 * h), weight.dtype)
    for d in range(2):
        for s in range(time):
            np.dot(states[d, s], weight[d], recalled)
            for b in range(batch):
                if s >= lengths[b]:
                    output[b, s, d] = 0
                    continue
                t = s if d == 0 else lengths[b] - 1 - s
                x, w, saved, state = projected[b, t, d], recalled[b], gates[d, s, b], states[d, s + 1, b]
                for j in range(h):
                    saved[0, j] = one / (one + np.exp(-(x[j] + w[j] + bias[d, j])))
                    saved[1, j] = one / (one + np.exp(-(x[h + j] + w[h + j] + bias[d, h + j])))
                    saved[3, j] = w[2 * h + j] + bias[d, 2 * h + j]
                    n = x[2 * h + j] + saved[0, j] * saved[3, j]
                    saved[2, j] = two / (one + np.exp(-two * n)) - one  # tanh
                    state[j] = (one - saved[1, j]) * saved[2, j] + saved[1, j] * states[d, s, b, j]
                    output[b, t, d, j] = state[j]


@njit(cache=True)
def _backward(grad, weight, lengths, states, gates, grad_projected, grad_recalled):
    batch, time, _, h = grad.shape
    one = weight.dtype.type(1)
    carried, product = np.empty((batch, h), weight.dtype), np.empty((batch, h), weight.dtype)
    for d in range(2):
        carried[:] = 0
        for s in range(time - 1, -1, -1):
            for b in range(batch):
                inner = grad_recalled[d, s, b]
                if s >= lengths[b]:
                    inner[:] = 0
                    grad_projected[b, s, d] = 0
                    continue
                t = s if d == 0 else lengths[b] - 1 - s
                saved, outer = gates[d, s, b], grad_projected[b, t, d]
                for j in range(h):
                    r, z, n = saved[0, j], saved[1, j], saved[2, j]
                    state = carried[b, j] + grad[b, t, d, j]
                    grad_n = state * (one - z) * (one - n * n)
                    outer[j] = inner[j] = grad_n * saved[3, j] * r * (one - r)
                    outer[h + j] = inner[h + j] = state * (states[d, s, b, j] - n) * z * (one - z)
                    outer[2 * h + j] = grad_n
                    inner[2 * h + j] = grad_n * r
                    carried[b, j] = state * z
            np.dot(grad_recalled[d, s], weight[d], product)
            carried += product
