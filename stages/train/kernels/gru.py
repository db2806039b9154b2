"""A bidirectional GRU whose recurrence is one compiled loop on the CPU."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from stages.train.kernels.compiled import njit
from stages.train.kernels.exponential import exp
from stages.train.kernels.product import COLUMNS, panels, product
from stages.train.kernels.vectors import LANES, load, store
from stages.train.layers import round_up


class BidirectionalGRU(nn.GRU):
    """[R, T, B, I] → [R, B, T, 2 · hidden]: `nn.GRU` (paper, Eq. 2), its parameters and its result, for R runs.

    Its `forward` sends each run's sequences through `torch.gru`. On the CPU the encoder uses two halves instead: one
    product projects the inputs of both directions and all steps (`projection`), then `recur` makes the steps in a
    compiled loop with a written-out backward pass, because torch spends much of its time between small operations.
    """

    def __init__(self, features: int, hidden: int):
        super().__init__(features, hidden, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode x; `lengths` [R, B], at least 1: where given, nothing beyond them is read and the output there is 0.

        On CUDA each run's recurrence is queued on a stream of its own, since one alone fills few of its processors.
        """
        if x.device.type != "cuda":
            return torch.stack([self._run(r, x[r], lengths) for r in range(len(x))])
        here, streams = torch.cuda.current_stream(), [torch.cuda.Stream() for _ in x]
        outputs = []
        for r, stream in enumerate(streams):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                outputs.append(self._run(r, x[r], lengths))
        for stream in streams:
            here.wait_stream(stream)
        return torch.stack(outputs)

    def _run(self, r: int, x: Tensor, lengths: Tensor | None) -> Tensor:
        """One run's sequences [T, B, I] → [B, T, 2 · hidden]."""
        weights = [parameter[r] for parameter in self.parameters()]
        start = x.new_zeros(2, x.shape[1], self.hidden_size)
        if lengths is None:
            return torch.gru(x, start, weights, True, 1, 0.0, self.training, True, False)[0].transpose(0, 1)
        packed = pack_padded_sequence(x, lengths[r].cpu(), enforce_sorted=False)
        data = torch.gru(packed.data, packed.batch_sizes, start, weights, True, 1, 0.0, self.training, True)[0]
        return pad_packed_sequence(PackedSequence(data, *packed[1:]), batch_first=True, total_length=len(x))[0]

    def projection(self) -> tuple[Tensor, Tensor]:
        """Weight [R, 6h, I] and bias [R, 6h] that project the inputs for both directions' gates; h is `hidden`."""
        weight, bias = self._both("weight_ih_l0"), self._both("bias_ih_l0")
        return weight.flatten(1, 2), bias.flatten(1)

    def recur(self, projected: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The encoding [R, B, T, 2 · hidden] of projected inputs [R, T, B, 6h]; `lengths` as in `forward`."""
        runs, time, batch, _ = projected.shape
        if lengths is None:
            lengths = torch.full((runs, batch), time)
        weight, bias = self._both("weight_hh_l0"), self._both("bias_hh_l0")
        if projected.dtype == torch.bfloat16:  # of mixed precision: the loop computes in the parameters' type
            projected = projected.float()
        return _Recurrence.apply(projected.unflatten(-1, (2, -1)), weight, bias, lengths).flatten(3)

    def _both(self, name: str) -> Tensor:
        """Both directions of a parameter, [R, 2, ...]."""
        return torch.stack([getattr(self, name), getattr(self, f"{name}_reverse")], dim=1)


class _Recurrence(torch.autograd.Function):
    """The recurrence of both directions, given their inputs' projections x.

    r = σ(x_r + W_r h + b_r), z = σ(x_z + W_z h + b_z), n = tanh(x_n + r (W_n h + b_n)), h' = (1 - z) n + z h.

    In the names, `hidden_gates` are the three products W h + b of the state h, and `hidden_new` is the last of them,
    W_n h + b_n. Inside, h is padded with zeros to h', a multiple of `COLUMNS`: no vector instruction has a remainder.
    """

    @staticmethod
    def forward(ctx, projected: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor) -> Tensor:
        """`projected` [R, T, B, 2, 3h], `weight` [R, 2, 3h, h], `bias` [R, 2, 3h], `lengths` [R, B] → [R, B, T, 2, h].

        States and gates of all steps are kept only where a gradient is wanted.
        """
        runs, time, batch, _, triple = projected.shape
        hidden = triple // 3
        padded = round_up(hidden, COLUMNS)
        kept = time if any(ctx.needs_input_grad) else 1
        output = projected.new_empty(runs, batch, time, 2, hidden)
        states = projected.new_empty(runs, 2, kept + 1, batch, padded)  # by step, not by position
        gates = projected.new_empty(runs, 2, kept, 4, batch, padded)  # r, z, n and W_n h + b_n
        _forward(*(x.detach().numpy() for x in (projected, weight, bias, lengths, output, states, gates)))
        ctx.save_for_backward(weight, lengths, states, gates)
        return output

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        weight, lengths, states, gates = ctx.saved_tensors
        runs, _, time, _, batch, padded = gates.shape
        hidden = weight.shape[3]
        grad_projected = weight.new_empty(runs, time, batch, 2, 3 * hidden)
        grad_hidden_gates = weight.new_empty(runs, 2, time, batch, 3 * padded)
        arrays = (grad.contiguous(), weight, lengths, states, gates, grad_projected, grad_hidden_gates)
        _backward(*(x.numpy() for x in arrays))
        flat = grad_hidden_gates.flatten(2, 3).flatten(0, 1)  # (R · 2, T · B, 3h')
        grad_weight = torch.bmm(flat.transpose(1, 2), states[:, :, :-1].flatten(2, 3).flatten(0, 1))
        grad_weight = grad_weight.view(runs, 2, 3, padded, padded)[:, :, :, :hidden, :hidden].flatten(2, 3)
        grad_bias = flat.sum(1).view(runs, 2, 3, padded)[..., :hidden].flatten(2)
        return grad_projected, grad_weight, grad_bias, None


@njit(cache=True, error_model="numpy")
def _forward(
    projected,
    weight,
    bias,
    lengths,
    output,
    states,
    gates,
):
    """Fill `output` [R, B, T, 2, h], `states` [R, 2, kept + 1, B, h'] and `gates` [R, 2, kept, 4, B, h']."""
    runs, batch, time, _, hidden = output.shape
    kept, padded = gates.shape[2], gates.shape[5]
    hidden_gates = np.empty((batch, 3 * padded), output.dtype)
    for run in range(runs):
        for d in range(2):
            weight_t = panels(_padded(weight[run, d], padded).T)
            states[run, d, 0] = 0
            for s in range(time):
                before, after = states[run, d, s % kept], states[run, d, s % kept + 1]
                gate = gates[run, d, s % kept]
                if kept == 1 and s > 0:
                    before[:] = after
                product(before, weight_t, hidden_gates)
                r, z, n, hidden_new = gate[0], gate[1], gate[2], gate[3]
                for b in range(batch):
                    t = _position(d, s, lengths[run, b])
                    if t >= 0:
                        _gather(projected[run, t, b, d], hidden_gates[b], bias[run, d], r[b], z[b], n[b], hidden_new[b])
                    else:
                        r[b], z[b], n[b], hidden_new[b] = 0, 0, 0, 0
                _activate(hidden_new.ravel(), before.ravel(), r.ravel(), z.ravel(), n.ravel(), after.ravel())
                for b in range(batch):
                    t = _position(d, s, lengths[run, b])
                    if t >= 0:
                        for j in range(hidden):
                            output[run, b, t, d, j] = after[b, j]
                    else:
                        after[b] = 0
                        output[run, b, s, d] = 0


@njit
def _padded(weight, padded):
    """weight [3h, h] → [3h', h'], each gate's rows and columns padded with zeros."""
    hidden = weight.shape[1]
    wide = np.zeros((3 * padded, padded), weight.dtype)
    for gate in range(3):
        wide[gate * padded : gate * padded + hidden, :hidden] = weight[gate * hidden : (gate + 1) * hidden]
    return wide


@njit
def _position(d, s, length):
    """Where step `s` of direction `d` reads; negative beyond the sequence."""
    if s >= length:
        return -1
    return s if d == 0 else length - 1 - s


@njit(fastmath={"contract"}, error_model="numpy")
def _gather(x, hidden_gates, bias, r, z, n, hidden_new):
    """Fill what the gates of one sequence are functions of: x + W h + b, for n its two parts; 0 in the padding."""
    hidden, padded = len(x) // 3, len(r)
    for j in range(hidden):
        r[j] = x[j] + hidden_gates[j] + bias[j]
    for j in range(hidden):
        z[j] = x[hidden + j] + hidden_gates[padded + j] + bias[hidden + j]
    for j in range(hidden):
        n[j] = x[2 * hidden + j]
    for j in range(hidden):
        hidden_new[j] = hidden_gates[2 * padded + j] + bias[2 * hidden + j]
    for j in range(hidden, padded):
        r[j], z[j], n[j], hidden_new[j] = 0, 0, 0, 0


@njit(error_model="numpy")
def _activate(hidden_new, before, r, z, n, after):
    """Compute the gates r, z and n in place and the next state `after`, of all sequences at once."""
    one, two = r.dtype.type(1), r.dtype.type(2)
    for j in range(0, len(r), LANES):
        reset = one / (one + exp(-one * load(r, j)))
        update = one / (one + exp(-one * load(z, j)))
        new = two / (one + exp(-two * (load(n, j) + reset * load(hidden_new, j)))) - one  # tanh
        store(r, j, reset)
        store(z, j, update)
        store(n, j, new)
        store(after, j, (one - update) * new + update * load(before, j))


@njit(cache=True, error_model="numpy")
def _backward(
    grad,
    weight,
    lengths,
    states,
    gates,
    grad_projected,
    grad_hidden_gates,
):
    """Fill `grad_projected` [R, T, B, 2, 3h] and `grad_hidden_gates` [R, 2, T, B, 3h'], given `grad` of the output."""
    runs, batch, time, _, hidden = grad.shape
    padded = gates.shape[5]
    grad_state, passed = np.empty((batch, padded), grad.dtype), np.empty((batch, padded), grad.dtype)
    grad_r, grad_z = np.empty((batch, padded), grad.dtype), np.empty((batch, padded), grad.dtype)
    grad_n, grad_hidden_new = np.empty((batch, padded), grad.dtype), np.empty((batch, padded), grad.dtype)
    for run in range(runs):
        for d in range(2):
            wide = panels(_padded(weight[run, d], padded))
            grad_state[:] = 0
            for s in range(time - 1, -1, -1):
                for b in range(batch):
                    t = _position(d, s, lengths[run, b])
                    if t >= 0:
                        for j in range(hidden):
                            grad_state[b, j] += grad[run, b, t, d, j]
                _activate_back(
                    gates[run, d, s, 0].ravel(),
                    gates[run, d, s, 1].ravel(),
                    gates[run, d, s, 2].ravel(),
                    gates[run, d, s, 3].ravel(),
                    states[run, d, s].ravel(),
                    grad_state.ravel(),
                    grad_r.ravel(),
                    grad_z.ravel(),
                    grad_n.ravel(),
                    grad_hidden_new.ravel(),
                )
                for b in range(batch):
                    t = _position(d, s, lengths[run, b])
                    if t >= 0:
                        _join(grad_r[b], grad_z[b], grad_hidden_new[b], grad_hidden_gates[run, d, s, b])
                        _join(grad_r[b], grad_z[b], grad_n[b], grad_projected[run, t, b, d])
                    else:
                        grad_hidden_gates[run, d, s, b] = 0
                        grad_projected[run, s, b, d] = 0
                        grad_state[b] = 0
                product(grad_hidden_gates[run, d, s], wide, passed)
                grad_state += passed


@njit(error_model="numpy")
def _activate_back(
    r,
    z,
    n,
    hidden_new,
    before,
    grad_state,
    grad_r,
    grad_z,
    grad_n,
    grad_hidden_new,
):
    """Fill the gradients of what the gates are functions of, of all sequences at once.

    `grad_state`, that of the state after the step, becomes the part that reaches the state `before` it by z alone.
    """
    one = r.dtype.type(1)
    for j in range(0, len(r), LANES):
        reset, update, new, grad = load(r, j), load(z, j), load(n, j), load(grad_state, j)
        grad_new = grad * (one - update) * (one - new * new)
        store(grad_z, j, grad * (load(before, j) - new) * update * (one - update))
        store(grad_n, j, grad_new)
        store(grad_hidden_new, j, grad_new * reset)
        store(grad_r, j, grad_new * load(hidden_new, j) * reset * (one - reset))
        store(grad_state, j, grad * update)


@njit
def _join(r, z, n, out):
    """Copy three gates' values side by side to `out` [3h] or [3h']; of longer ones the first h."""
    size = len(out) // 3
    for j in range(size):
        out[j] = r[j]
    for j in range(size):
        out[size + j] = z[j]
    for j in range(size):
        out[2 * size + j] = n[j]
