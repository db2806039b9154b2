"""The inputs of a recurrence on the CPU: linear maps over time and of the features, with little work on padding."""

import torch
from torch import Tensor, nn

from stages.train import kernels
from stages.train.kernels.gru import BidirectionalGRU
from stages.train.layers import Dropout, linear, padded

MANY = 2**26
"""Multiplications of a run's batch from which leaving out its padding saves more than it costs."""


class TimeMap(nn.Module):
    """y[t'] = bias[t'] + Σ_t weight[t', t] · x[t]: a linear map over time, alike for every feature (paper, Eq. 1).

    It is a 1-D convolution of kernel 1 whose channels are the positions. [R, T, B, F] → [R, positions, B, F];
    positions beyond T count as zeros.
    """

    def __init__(self, longest: int, positions: int):
        super().__init__()
        linear = nn.Linear(longest, positions)  # initialised as nn.Conv1d is
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x is zero beyond `lengths` [R, B]; much padding is not read on the CPU."""
        if kernels.are_for(x) and x[0].numel() * self.weight.shape[1] >= MANY:
            product = _RaggedMap.apply(padded(self.weight), x, lengths)[:, : self.weight.shape[1]]
        else:
            product = self.product(x.flatten(2)).unflatten(2, x.shape[2:])
        return product + self.bias[:, :, None, None]

    def product(self, x: Tensor) -> Tensor:
        """weight · x without the bias: [R, T, N] → [R, positions, N]."""
        return torch.bmm(padded(self.weight)[:, :, : x.shape[1]], x)[:, : self.weight.shape[1]]


class _RaggedMap(torch.autograd.Function):
    """`TimeMap.product`, utterance by utterance; x, which is data, gets no gradient."""

    @staticmethod
    def forward(ctx, weight: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
        ctx.save_for_backward(weight, x, lengths)
        output = weight.new_empty(len(x), weight.shape[1], *x.shape[2:])
        for run, run_lengths in enumerate(lengths.tolist()):
            for b, length in enumerate(run_lengths):
                output[run, :, b].addmm_(weight[run, :, :length], x[run, :length, b], beta=0)
        return output

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        weight, x, lengths = ctx.saved_tensors
        grad_weight = weight.new_zeros(weight.shape)
        for run, run_lengths in enumerate(lengths.tolist()):
            for b, length in enumerate(run_lengths):
                grad_weight[run, :, :length].addmm_(grad[run, :, b], x[run, :length, b].T)
        return grad_weight, None, None


def gates(x: Tensor, lengths: Tensor, dropout: Dropout, time_map: TimeMap | None, gru: BidirectionalGRU) -> Tensor:
    """What the GRU's gates see of its inputs x [R, T, B, F], which are zero beyond `lengths` [R, B]: [R, T', B, G].

    Of the two linear maps, over time and of the features, the cheaper one comes first.
    """
    weight, bias = gru.projection()
    if time_map is None:
        return _products(x, lengths, dropout, weight) + bias[:, None, None]
    (time, batch, features), (positions, width) = x.shape[1:], (time_map.weight.shape[1], weight.shape[1])
    first = 2 * positions * time * features + 3 * positions * features * width  # products, gradients included
    if first <= 2 * time * features * width + 3 * positions * time * width:
        return linear(time_map(dropout(x), lengths), weight, bias)
    product = time_map.product(_products(x, lengths, dropout, weight).flatten(2))
    constant = time_map.bias[:, :, None] * weight.sum(2)[:, None] + bias[:, None]  # (R, T', G)
    return product.unflatten(2, (batch, width)) + constant[:, :, None]


def _products(x: Tensor, lengths: Tensor, dropout: Dropout, weight: Tensor) -> Tensor:
    """x · weightᵀ after dropout, [R, T, B, G]; of many values only those within the lengths are read."""
    time, batch, features = x.shape[1:]
    if x[0].numel() * weight.shape[1] < MANY:
        return linear(dropout(x), weight)
    products = []
    for run, run_lengths in enumerate(lengths.clamp(min=1)):
        index = (torch.arange(time)[:, None] < run_lengths).flatten().nonzero()[:, 0]
        rows = dropout.of_run(run, x[run].reshape(-1, features)[index])
        product = (rows @ padded(weight)[run].T)[:, : weight.shape[1]]
        products.append(product.new_zeros(time * batch, len(product[0])).index_copy(0, index, product))
    return torch.stack(products).unflatten(1, (time, batch))
