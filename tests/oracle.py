"""The paper's models written plainly with torch's own layers, as its authors would: the oracle of the project's."""

from itertools import permutations

import torch
from torch import Tensor, nn

from stages.common.variants import MODALITIES, parse

FUSIONS = ("cross", "self", "cross_nosp", "self_nosp", "crossself")
"""The fusions that the plain model knows: the paper's."""


class PlainModel(nn.Module):
    """A variant as nn.Conv1d, nn.GRU and nn.MultiheadAttention; padding is attended to."""

    def __init__(
        self,
        variant: str,
        *,
        features: dict,
        longest: dict,
        positions: dict,
        hidden: int,
        heads: int,
        classifier: int,
        classes: int,
        attention_dropout: float = 0.0,
        text_dropout: float = 0.0,
    ):
        super().__init__()
        parsed = parse(variant)
        names = [MODALITIES[letter] for letter in parsed.modalities]
        self.conv = nn.ModuleDict(
            {name: nn.Conv1d(longest[name], positions[name], 1) for name in names if name != "text"}
        )
        self.gru = nn.ModuleDict(
            {name: nn.GRU(features[name], hidden, batch_first=True, bidirectional=True) for name in names}
        )
        cross, same = list(permutations(names, 2)), [(name, name) for name in names]
        self.groups = {
            "cross": [cross],
            "cross_nosp": [cross],
            "self": [same],
            "self_nosp": [same],
            "crossself": [cross, same],
        }[parsed.fusion]
        self.mha = nn.ModuleList(
            nn.MultiheadAttention(2 * hidden, heads, dropout=attention_dropout, batch_first=True)
            for group in self.groups
            for _ in group
        )
        self.word_dropout = nn.Dropout(text_dropout)
        self.pooled = not parsed.fusion.endswith("nosp") and len(names) > 1
        vectors = sum(2 if self.pooled else len(group) for group in self.groups)
        self.fc1, self.fc2 = nn.Linear(2 * hidden * vectors, classifier), nn.Linear(classifier, classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`inputs`: modality → [B, longest, features]."""
        encoded = {
            name: gru(self.conv[name](inputs[name]) if name in self.conv else self.word_dropout(inputs[name]))[0]
            for name, gru in self.gru.items()
        }
        modules, outputs = iter(self.mha), []
        for group in self.groups:
            averages = [next(modules)(encoded[q], encoded[kv], encoded[kv])[0].mean(dim=1) for q, kv in group]
            if self.pooled:
                stacked = torch.stack(averages)
                outputs += [stacked.mean(dim=0), stacked.std(dim=0)]
            else:
                outputs += averages
        return self.fc2(self.fc1(torch.cat(outputs, dim=1)))


def project_names(state: dict[str, Tensor], plain: PlainModel, model: nn.Module) -> dict[str, Tensor]:
    """A plain model's state dict (or gradients) under the project's parameter names and shapes."""
    named = {}
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        if kind == "conv":
            modality, parameter = rest.split(".")
            named[f"encoders.{modality}.time_map.{parameter}"] = value.squeeze(-1)
        elif kind == "gru":
            modality, parameter = rest.split(".")
            named[f"encoders.{modality}.gru.{parameter}"] = value
        elif kind == "mha":
            index, _, parameter = rest.partition(".")
            named[f"{attention_names(plain)[int(index)]}.{parameter}"] = value
        else:
            named[f"classifier.{0 if kind == 'fc1' else 1}.{rest}"] = value
    assert named.keys() == model.state_dict().keys()
    return named


def attention_names(plain: PlainModel) -> list[str]:
    """Where the project keeps each attention module, in the plain model's order."""
    if len(plain.groups) == 1:
        return [f"fusion.modules_by_pair.{i}" for i in range(len(plain.mha))]
    return [
        f"fusion.mechanisms.{g}.modules_by_pair.{i}" for g, group in enumerate(plain.groups) for i in range(len(group))
    ]
