"""Intermediate attention: each modality's steps are weighted by how much the other modalities attend to them.

    a_xy   = mean over heads and over t of softmax_s(q_xy[t] · k_xy[s] / √(D / H)),  q_xy = Q_xy e_y, k_xy = K_xy e_x
    v_x    = Σ_s (Σ_y a_xy[s]) e_x[s]   for each modality x and all others y
    output = all v_x, joined: M D of M modalities

Chumachenko, Iosifidis, Gabbouj, "Self-attention fusion for audiovisual emotion recognition with incomplete data", ICPR
2022, Section III ("intermediate attention fusion"). Projections have no bias, as in their code.

The code sums weights over y's T steps and then takes the mean over x's S steps, T / S times the v_x of two modalities
here: that the mean of weights sums to 1 keeps v_x a mean of steps, whatever is padded. Between the weighting and the
mean, they have further convolutions. Ours are: more than two modalities, whose weights are added, and dropout on them.
"""

import math
from itertools import permutations

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Size
from stages.train import kernels
from stages.train.fusions.attention import Encodings, averaged_weights, compiled_weights
from stages.train.layers import Dropout, Linear


class StepWeights(nn.Module):
    """How much each step of a source is attended to: target [R, B, T, D], source [R, B, S, D] → [R, B, S]."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.q, self.k = Linear(width, width, bias=False), Linear(width, width, bias=False)

    def forward(
        self, target: Tensor, source: Tensor, target_lengths: Tensor | None, source_lengths: Tensor | None
    ) -> Tensor:
        q, k = self.q(target) * math.sqrt(self.heads / target.shape[-1]), self.k(source)
        average = compiled_weights if kernels.are_for(q) else averaged_weights
        return average(q, k, self.heads, self.dropout, target_lengths, source_lengths).mean(dim=2)


class Intermediate(nn.Module):
    """Encodings [R, B, T, D] → [R, B, M · D]."""

    def __init__(self, modalities: list[str], width: int, heads: int, dropout: float):
        super().__init__()
        self.modalities, self.size = modalities, len(modalities) * width
        self.pairs = list(permutations(modalities, 2))  # (x, y): y attends to x
        self.weights = nn.ModuleList(StepWeights(width, heads, dropout) for _ in self.pairs)

    def forward(self, encodings: Encodings) -> Tensor:
        totals = dict.fromkeys(self.modalities, 0)
        for (x, y), weights in zip(self.pairs, self.weights, strict=True):
            (source, source_lengths), (target, target_lengths) = encodings[x], encodings[y]
            totals[x] = totals[x] + weights(target, source, target_lengths, source_lengths)  # (R, B, S)
        vectors = [(totals[name][:, :, None] @ encodings[name][0]).squeeze(2) for name in self.modalities]
        return torch.cat(vectors, dim=2)


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> Intermediate:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    return Intermediate(modalities, width, heads, attention_dropout)
