"""The models (paper, Section 2), put together from parts: encoders, a fusion mechanism, a classifier.

Shapes: B batch, T positions, F features, D = 2 · hidden the model's width, H heads, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages import params, variants
from stages.train import fusion
from stages.train.gru import BidirectionalGRU


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


class Encoder(nn.Module):
    """One modality's sequence → its encoding: (dropout,) (linear map over time,) bidirectional GRU (paper, Eq. 2).

    [B, T, F] → [B, T', D] and, where only some positions hold data, which ones: [B, T'].
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
        x = self.dropout(x)
        if self.time_map is not None:
            x = self.time_map(x)
        if not self.mask:
            return self.gru(x), None
        lengths = lengths.clamp(min=1)  # an empty sequence is one padding position
        return self.gru(x, lengths), torch.arange(x.shape[1], device=x.device) < lengths[:, None]


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
