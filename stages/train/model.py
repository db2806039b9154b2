"""The models (paper, Section 2), put together from parts: encoders, a fusion mechanism, a classifier.

Shapes: B batch, T positions, F features, D = 2 · hidden the model's width, H heads, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages import params, variants
from stages.train import fusion
from stages.train.gru import BidirectionalGRU

MANY = 2**26
"""Multiplications of a batch from which leaving out its padding saves more than it costs."""


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

    It is a 1-D convolution of kernel 1 whose channels are the positions. [B, T, F] → [B, positions, F]; positions
    beyond T count as zeros, so that x may be cut to the batch's longest sequence.
    """

    def __init__(self, longest: int, positions: int):
        super().__init__()
        linear = nn.Linear(longest, positions)  # initialised as nn.Conv1d is
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[:, : x.shape[1]] @ x + self.bias[:, None]

    def by_position(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The same with positions first, [positions, B, F], reading no padding: x is zero beyond `lengths` [B]."""
        if x.numel() * len(self.weight) < MANY:
            product = self.weight[:, : x.shape[1]] @ x.transpose(0, 1).flatten(1)
            return product.unflatten(1, x[:, 0].shape) + self.bias[:, None, None]
        return _RaggedMap.apply(self.weight, self.bias, x, lengths)


class _RaggedMap(torch.autograd.Function):
    """`TimeMap.by_position`, utterance by utterance; x, which is data, gets no gradient."""

    @staticmethod
    def forward(ctx, weight: Tensor, bias: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
        ctx.save_for_backward(weight, x, lengths)
        output = bias[:, None, None].repeat(1, len(x), x.shape[2])
        for b, length in enumerate(lengths.tolist()):
            output[:, b].addmm_(weight[:, :length], x[b, :length])
        return output

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        weight, x, lengths = ctx.saved_tensors
        grad_weight = torch.zeros_like(weight)
        for b, length in enumerate(lengths.tolist()):
            grad_weight[:, :length].addmm_(grad[:, b], x[b, :length].T)
        return grad_weight, grad.sum((1, 2)), None, None


class Encoder(nn.Module):
    """One modality's sequence → its encoding: (dropout,) (linear map over time,) bidirectional GRU (paper, Eq. 2).

    [B, T, F] → [B, T', D] and, where only some positions hold data, how many: [B].
    """

    def __init__(
        self, features: int, hidden: int, *, time_map: TimeMap | None = None, dropout: float = 0.0, mask: bool = False
    ):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.time_map = time_map
        self.gru = BidirectionalGRU(features, hidden)
        self.mask = mask and time_map is None  # after a map over time no position is padding

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """x is zero beyond `lengths` [B]."""
        read = lengths.clamp(min=1) if self.mask else None  # an empty sequence is one padding position
        if x.device.type == "cpu":
            return self.gru.recur(self._projected(x, lengths), read), read
        x = self.dropout(x)
        return self.gru(x if self.time_map is None else self.time_map(x), read), read

    def _projected(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What the GRU's gates see of its inputs, [T', B, G]; of two linear maps the cheaper one comes first."""
        weight, bias = self.gru.projection()
        if self.time_map is None:
            return self._products(x, lengths, weight) + bias
        (batch, time, features), (gates, positions) = x.shape, (len(weight), len(self.time_map.weight))
        first = 2 * positions * time * features + 3 * positions * features * gates  # products, gradients included
        if first <= 2 * time * features * gates + 3 * positions * time * gates:
            return F.linear(self.time_map.by_position(x, lengths), weight, bias)
        product = self.time_map.weight[:, :time] @ self._products(x, lengths, weight).flatten(1)
        constant = self.time_map.bias[:, None] * weight.sum(1) + bias  # (T', G)
        return product.unflatten(1, (batch, gates)) + constant[:, None]

    def _products(self, x: Tensor, lengths: Tensor, weight: Tensor) -> Tensor:
        """x · weightᵀ after dropout, [T, B, G]; of many values only those within the lengths are read."""
        batch, time, features = x.shape
        if x.numel() * len(weight) < MANY:
            return F.linear(self.dropout(x.transpose(0, 1)), weight)
        index = (torch.arange(time)[:, None] < lengths.clamp(min=1)).flatten().nonzero()[:, 0]
        rows = x.transpose(0, 1).reshape(-1, features)[index]
        product = F.linear(self.dropout(rows), weight)
        return product.new_zeros(time * batch, len(weight)).index_copy(0, index, product).unflatten(0, (time, batch))


class Classifier(nn.Sequential):
    """Two linear layers with nothing between them: [B, size] → logits [B, C] (paper, Eq. 7)."""

    def __init__(self, size: int, hidden: int, classes: int):
        super().__init__(nn.Linear(size, hidden), nn.Linear(hidden, classes))


class Model(nn.Module):
    """Sequences of some modalities → logits [B, C]."""

    def __init__(self, encoders: dict[str, Encoder], fusion: nn.Module, classifier: Classifier):
        super().__init__()
        self.encoders, self.fusion, self.classifier = nn.ModuleDict(encoders), fusion, classifier

    def forward(self, sequences: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        """`sequences`: modality → values [B, T, F], zero beyond their lengths, and lengths [B]."""
        encodings = {name: encoder(*sequences[name]) for name, encoder in self.encoders.items()}
        return self.classifier(self.fusion(encodings))


def build(variant: str, shape: Shape, config: params.Model) -> Model:
    """The model of a variant, freshly initialised from torch's global random state.

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
