"""A bidirectional GRU whose recurrence is one compiled loop on the CPU."""

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from stages.train.exponential import exp

LANES = 8
"""Hidden units are filled up with zeros to a multiple of this, so that vector instructions have no remainder."""


class BidirectionalGRU(nn.GRU):
    """[B, T, I] → [B, T, 2 · hidden]: `nn.GRU` (paper, Eq. 2), its parameters and its result.

    Called as it is, it is `nn.GRU` itself. On the CPU the encoder uses its two halves instead: the inputs of both
    directions and all steps projected by one product, and then `recur`, the steps in a compiled loop with a written-out
    backward pass: `nn.GRU` spends much of its time between its small operations.
    """

    def __init__(self, features: int, hidden: int):
        super().__init__(features, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`lengths` [B], at least 1: where given, nothing beyond them is read and the output there is 0."""
        if lengths is None:
            return super().forward(x)[0]
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(super().forward(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    def projection(self) -> tuple[Tensor, Tensor]:
        """Weight [6h', I] and bias [6h'] that project the inputs of both directions and all gates; h' is h filled."""
        weight, bias = (
            torch.cat([self._filled(getattr(self, name)), self._filled(getattr(self, f"{name}_reverse"))])
            for name in ("weight_ih_l0", "bias_ih_l0")
        )
        return weight.flatten(0, 1), bias.flatten()

    def recur(self, projected: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The encoding [B, T, 2 · hidden] of projected inputs [T, B, 6h']; `lengths` as in `forward`."""
        time, batch, _ = projected.shape
        if lengths is None:
            lengths = torch.full((batch,), time)
        extra = -self.hidden_size % LANES
        weight, bias = (
            torch.stack([self._filled(getattr(self, name)), self._filled(getattr(self, f"{name}_reverse"))])
            for name in ("weight_hh_l0", "bias_hh_l0")
        )
        weight, bias = F.pad(weight, (0, extra)).flatten(1, 2), bias.flatten(1, 2)
        return _Recurrence.apply(projected.unflatten(-1, (2, -1)), weight, bias, lengths, self.hidden_size).flatten(2)

    def _filled(self, parameter: Tensor) -> Tensor:
        """[3h, ...] → [3, h', ...]."""
        extra = -self.hidden_size % LANES
        return F.pad(parameter.unflatten(0, (3, -1)), (0, 0) * (parameter.dim() - 1) + (0, extra))


class _Recurrence(torch.autograd.Function):
    """The recurrence of both directions, given their inputs' projections x.

    r = σ(x_r + W_r h + b_r), z = σ(x_z + W_z h + b_z), n = tanh(x_n + r (W_n h + b_n)), h' = (1 - z) n + z h.
    """

    @staticmethod
    def forward(ctx, projected: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor, hidden: int) -> Tensor:
        """`projected` [T, B, 2, 3h], `weight` [2, 3h, h], `bias` [2, 3h], `lengths` [B] → [B, T, 2, hidden]."""
        time, batch, _, triple = projected.shape
        h = triple // 3
        output = projected.new_empty(batch, time, 2, hidden)
        states = projected.new_zeros(2, time + 1, batch, h)  # by step, not by position
        gates = projected.new_empty(2, time, 4, batch, h)  # r, z, n and W_n h + b_n
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
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        weight, lengths, states, gates = ctx.saved_tensors
        _, time, _, batch, h = gates.shape
        grad_projected = weight.new_empty(time, batch, 2, 3 * h)
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
        grad_weight = torch.bmm(flat.transpose(1, 2), states[:, :-1].flatten(1, 2))
        return grad_projected, grad_weight, flat.sum(1), None, None


@njit(cache=True, error_model="numpy")
def _forward(projected, weight, bias, lengths, output, states, gates):
    batch, time, _, hidden = output.shape
    h = weight.shape[1]
    recalled = np.empty((batch, 3 * h), weight.dtype)
    for d in range(2):
        for s in range(time):
            np.dot(states[d, s], weight[d], recalled)
            r, z, n, inner = gates[d, s, 0], gates[d, s, 1], gates[d, s, 2], gates[d, s, 3]
            for b in range(batch):
                t = _position(d, s, lengths[b])
                if t >= 0:
                    _gather(projected[t, b, d], recalled[b], bias[d], r[b], z[b], n[b], inner[b])
                else:
                    r[b], z[b], n[b], inner[b] = 0, 0, 0, 0
            _activate(r.ravel(), z.ravel(), n.ravel(), inner.ravel(), states[d, s].ravel(), states[d, s + 1].ravel())
            for b in range(batch):
                t = _position(d, s, lengths[b])
                if t >= 0:
                    for j in range(hidden):
                        output[b, t, d, j] = states[d, s + 1, b, j]
                else:
                    states[d, s + 1, b] = 0
                    output[b, s, d] = 0


@njit
def _position(d, s, length):
    """Where step `s` of direction `d` reads; negative beyond the sequence."""
    if s >= length:
        return -1
    return s if d == 0 else length - 1 - s


@njit(fastmath={"contract"}, error_model="numpy")
def _gather(x, w, bias, r, z, n, inner):
    """What the gates of one sequence are functions of: x + W h + b, for n its two parts."""
    h = len(r)
    for j in range(h):
        r[j] = x[j] + w[j] + bias[j]
    for j in range(h):
        z[j] = x[h + j] + w[h + j] + bias[h + j]
    for j in range(h):
        n[j] = x[2 * h + j]
    for j in range(h):
        inner[j] = w[2 * h + j] + bias[2 * h + j]


@njit(fastmath={"contract"}, error_model="numpy")
def _activate(r, z, n, inner, before, state):
    """Gates in place, and the next state, of all sequences at once."""
    one, two = r.dtype.type(1), r.dtype.type(2)
    for j in range(len(r)):
        r[j] = one / (one + exp(-r[j]))
    for j in range(len(z)):
        z[j] = one / (one + exp(-z[j]))
    for j in range(len(n)):
        n[j] = two / (one + exp(-two * (n[j] + r[j] * inner[j]))) - one  # tanh
    for j in range(len(state)):
        state[j] = (one - z[j]) * n[j] + z[j] * before[j]


@njit(cache=True, error_model="numpy")
def _backward(grad, weight, lengths, states, gates, grad_projected, grad_recalled):
    batch, time, _, hidden = grad.shape
    h = weight.shape[2]
    carried, product = np.empty((batch, h), weight.dtype), np.empty((batch, h), weight.dtype)
    grad_r, grad_z = np.empty((batch, h), weight.dtype), np.empty((batch, h), weight.dtype)
    grad_n, grad_inner = np.empty((batch, h), weight.dtype), np.empty((batch, h), weight.dtype)
    for d in range(2):
        carried[:] = 0
        for s in range(time - 1, -1, -1):
            for b in range(batch):
                t = _position(d, s, lengths[b])
                if t >= 0:
                    for j in range(hidden):
                        carried[b, j] += grad[b, t, d, j]
            _activate_back(
                carried.ravel(),
                gates[d, s, 0].ravel(),
                gates[d, s, 1].ravel(),
                gates[d, s, 2].ravel(),
                gates[d, s, 3].ravel(),
                states[d, s].ravel(),
                grad_r.ravel(),
                grad_z.ravel(),
                grad_n.ravel(),
                grad_inner.ravel(),
            )
            for b in range(batch):
                t = _position(d, s, lengths[b])
                if t >= 0:
                    _scatter(grad_r[b], grad_z[b], grad_n[b], grad_projected[t, b, d])
                    _scatter(grad_r[b], grad_z[b], grad_inner[b], grad_recalled[d, s, b])
                else:
                    grad_recalled[d, s, b] = 0
                    grad_projected[s, b, d] = 0
                    carried[b] = 0
            np.dot(grad_recalled[d, s], weight[d], product)
            carried += product


@njit(fastmath={"contract"}, error_model="numpy")
def _activate_back(carried, r, z, n, inner, before, grad_r, grad_z, grad_n, grad_inner):
    """Gradients of what the gates are functions of; `carried` keeps what reaches the state before directly."""
    one = r.dtype.type(1)
    for j in range(len(r)):
        grad_z[j] = carried[j] * (before[j] - n[j]) * z[j] * (one - z[j])
    for j in range(len(r)):
        grad_n[j] = carried[j] * (one - z[j]) * (one - n[j] * n[j])
    for j in range(len(r)):
        grad_inner[j] = grad_n[j] * r[j]
    for j in range(len(r)):
        grad_r[j] = grad_n[j] * inner[j] * r[j] * (one - r[j])
    for j in range(len(r)):
        carried[j] = carried[j] * z[j]


@njit
def _scatter(r, z, n, out):
    h = len(r)
    for j in range(h):
        out[j] = r[j]
    for j in range(h):
        out[h + j] = z[j]
    for j in range(h):
        out[2 * h + j] = n[j]
