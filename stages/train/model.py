"""The models (paper, Section 2), put together from parts: encoders, a fusion mechanism, a classifier.

Shapes: R runs, B batch, T positions, F features, D = 2 · hidden the model's width, H heads, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.common import params, variants
from stages.train.fusions import attention as fusion
from stages.train.kernels.gru import BidirectionalGRU
from stages.train.layers import Dropout, Linear, linear, padded

MANY = 2**26
"""Multiplications of a run's batch from which leaving out its padding saves more than it costs."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a corpus fixes of a model's sizes."""

    features: dict[str, int]
    """Modality → features a position."""
    longest: dict[str, int]
    """Modality → positions to which its sequences are padded."""
    classes: int


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
        if x.device.type == "cpu" and x[0].numel() * self.weight.shape[1] >= MANY:
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


class Encoder(nn.Module):
    """One modality's sequence → its encoding: (dropout,) (linear map over time,) bidirectional GRU (paper, Eq. 2).

    [R, T, B, F] → [R, B, T', D] and, where only some positions hold data, how many: [R, B].
    """

    def __init__(
        self, features: int, hidden: int, *, time_map: TimeMap | None = None, dropout: float = 0.0, mask: bool = False
    ):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.time_map = time_map
        self.gru = BidirectionalGRU(features, hidden)
        self.mask = mask and time_map is None  # after a map over time no position is padding

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """x is zero beyond `lengths` [R, B]."""
        read = lengths.clamp(min=1) if self.mask else None  # an empty sequence is one padding position
        if x.device.type == "cpu":
            return self.gru.recur(self._projected(x, lengths), read), read
        x = self.dropout(x)
        return self.gru(x if self.time_map is None else self.time_map(x, lengths), read), read

    def _projected(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What the GRU's gates see of its inputs, [R, T', B, G]; of two linear maps the cheaper one comes first."""
        weight, bias = self.gru.projection()
        if self.time_map is None:
            return self._products(x, lengths, weight) + bias[:, None, None]
        (time, batch, features), (positions, gates) = x.shape[1:], (self.time_map.weight.shape[1], weight.shape[1])
        first = 2 * positions * time * features + 3 * positions * features * gates  # products, gradients included
        if first <= 2 * time * features * gates + 3 * positions * time * gates:
            return linear(self.time_map(x, lengths), weight, bias)
        product = self.time_map.product(self._products(x, lengths, weight).flatten(2))
        constant = self.time_map.bias[:, :, None] * weight.sum(2)[:, None] + bias[:, None]  # (R, T', G)
        return product.unflatten(2, (batch, gates)) + constant[:, :, None]

    def _products(self, x: Tensor, lengths: Tensor, weight: Tensor) -> Tensor:
        """x · weightᵀ after dropout, [R, T, B, G]; of many values only those within the lengths are read."""
        time, batch, features = x.shape[1:]
        if x[0].numel() * weight.shape[1] < MANY:
            return linear(self.dropout(x), weight)
        products = []
        for run, run_lengths in enumerate(lengths.clamp(min=1)):
            index = (torch.arange(time)[:, None] < run_lengths).flatten().nonzero()[:, 0]
            rows = self.dropout.of_run(run, x[run].reshape(-1, features)[index])
            product = (rows @ padded(weight)[run].T)[:, : weight.shape[1]]
            products.append(product.new_zeros(time * batch, len(product[0])).index_copy(0, index, product))
        return torch.stack(products).unflatten(1, (time, batch))


class Classifier(nn.Sequential):
    """Two linear layers with nothing between them: [R, B, size] → logits [R, B, C] (paper, Eq. 7)."""

    def __init__(self, size: int, hidden: int, classes: int):
        super().__init__(Linear(size, hidden), Linear(hidden, classes))


class Model(nn.Module):
    """Sequences of some modalities → logits [R, B, C]."""

    def __init__(self, encoders: dict[str, Encoder], fusion: nn.Module, classifier: Classifier):
        super().__init__()
        self.encoders, self.fusion, self.classifier = nn.ModuleDict(encoders), fusion, classifier

    def forward(self, sequences: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        """`sequences`: modality → values [R, T, B, F], zero beyond their lengths, and lengths [R, B]."""
        encodings = {name: encoder(*sequences[name]) for name, encoder in self.encoders.items()}
        return self.classifier(self.fusion(encodings))


def build(variant: str, shape: Shape, config: params.Model) -> Model:
    """The model of a variant, freshly initialised from torch's global random state, for `stack.py` to run.

    Encoders come first, so that one seed gives all fusions of the same modalities the same encoders.
    """
    parsed = variants.parse(variant)
    modalities = [variants.MODALITIES[letter] for letter in parsed.modalities]
    encoders = {name: _encoder(name, shape, config) for name in modalities}
    attention = fusion.Sizes(width=2 * config.hidden, heads=config.heads, dropout=config.attention_dropout)
    fused = getattr(fusion, variants.FUSIONS[parsed.fusion].builder)(modalities, attention)
    return Model(encoders, fused, Classifier(fused.size, config.classifier, shape.classes))


def _encoder(modality: str, shape: Shape, config: params.Model) -> Encoder:
    features, longest, mask = shape.features[modality], shape.longest[modality], config.padding == "mask"
    if modality == "text":
        return Encoder(features, config.hidden, dropout=config.text_dropout, mask=mask)
    positions = max(1, round(longest * getattr(config.positions, modality)))
    return Encoder(features, config.hidden, time_map=TimeMap(longest, positions), mask=mask)
