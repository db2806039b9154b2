"""The models (paper, Section 2), put together from parts: encoders, a fusion mechanism, a classifier.

The same in plain torch, one run at a time, with the equations: `plain.py`.

Shapes: R runs, B batch, T positions, F features, D = 2 · hidden the model's width, H heads, C outputs.
"""

import importlib
from dataclasses import dataclass

from torch import Tensor, nn

from stages.common.plan import Modality, Plan, Sizes
from stages.train import kernels
from stages.train.input_projection import TimeMap, gates
from stages.train.kernels.gru import BidirectionalGRU
from stages.train.layers import Dropout, Linear


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a corpus fixes of a model's sizes."""

    features: dict[str, int]
    """Modality → features a position."""
    longest: dict[str, int]
    """Modality → positions to which its sequences are padded."""
    outputs: int
    """Classes, or dimensions."""


class Encoder(nn.Module):
    """One modality's sequence → its encoding: (dropout,) (linear map over time,) bidirectional GRU (paper, Eqs. 1, 2).

    [R, T, B, F] → [R, B, T', D] and, where only some positions hold data, how many: [R, B].
    """

    def __init__(self, features: int, hidden: int, *, time_map: TimeMap | None, dropout: float, mask: bool):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.time_map = time_map
        self.gru = BidirectionalGRU(features, hidden)
        self.mask = mask and time_map is None  # after a map over time no position is padding

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """x is zero beyond `lengths` [R, B]."""
        valid = lengths.clamp(min=1) if self.mask else None  # an empty sequence is one padding position
        if kernels.are_for(x):  # the same in the order of the least work, by compiled loops
            return self.gru.recur(gates(x, lengths, self.dropout, self.time_map, self.gru), valid), valid
        x = self.dropout(x)  # (R, T, B, F)
        if self.time_map is not None:
            x = self.time_map(x, lengths)  # (R, T', B, F)
        return self.gru(x, valid), valid  # (R, B, T', D)


class Classifier(nn.Sequential):
    """Two linear layers with nothing between them: [R, B, size] → logits [R, B, C] (paper, Eq. 7)."""

    def __init__(self, size: int, hidden: int, outputs: int):
        super().__init__(Linear(size, hidden), Linear(hidden, outputs))


class Model(nn.Module):
    """Sequences of some modalities → logits [R, B, C]."""

    def __init__(self, encoders: dict[str, Encoder], fusion: nn.Module, classifier: Classifier):
        super().__init__()
        self.modalities = list(encoders)
        for name, encoder in encoders.items():
            self.add_module(f"encoder_{name}", encoder)  # a name that no attribute of a module has
        self.fusion, self.classifier = fusion, classifier

    def forward(self, sequences: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        """`sequences`: modality → values [R, T, B, F], zero beyond their lengths, and lengths [R, B]."""
        return self.classifier(self.fusion(self.encodings(sequences)))

    def shares(self, sequences: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """What the fusion's gate lets through, name → share [R, B]; nothing where it has no `shares`."""
        return self.fusion.shares(self.encodings(sequences)) if hasattr(self.fusion, "shares") else {}

    def encodings(self, sequences: dict[str, tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Modality → encoding [R, B, T', D] and how many of its positions hold data [R, B], None: all."""
        return {name: getattr(self, f"encoder_{name}")(*sequences[name]) for name in self.modalities}


def build(plan: Plan, shape: Shape) -> Model:
    """The model of a variant, freshly initialised from torch's global random state, for `stack.py` to run.

    Encoders come first, so that one seed gives all fusions of the same modalities the same encoders.
    """
    encoders = {modality.name: _encoder(modality, shape, plan.model) for modality in plan.modalities}
    module = importlib.import_module(f"stages.train.fusions.{plan.fusion.name}")
    fusion = module.build(plan.names, 2 * plan.model.hidden, **plan.fusion.settings)
    return Model(encoders, fusion, Classifier(fusion.size, plan.model.classifier, shape.outputs))


def _encoder(modality: Modality, shape: Shape, sizes: Sizes) -> Encoder:
    longest, time_map = shape.longest[modality.name], None
    if modality.positions is not None:
        time_map = TimeMap(longest, max(1, round(longest * modality.positions)))
    return Encoder(
        shape.features[modality.name],
        sizes.hidden,
        time_map=time_map,
        dropout=modality.dropout,
        mask=sizes.padding == "mask",
    )
