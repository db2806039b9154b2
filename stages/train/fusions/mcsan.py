"""MCSAN: every modality attends to each one and to itself in a transformer layer; then the maximum over time.

    x_m    = e_m + position codes
    z_mn   = LN(x_m + MHA(Q = x_m, K = V = x_n)),  c_mn = LN(z_mn + FF(z_mn))   for all ordered pairs, m = n too
    output = all max_t c_mn[t], joined: M² D of M modalities

Sun, Liu, Tao, Lian, "Multimodal cross- and self-attention network for speech emotion recognition", ICASSP 2021.

That system reads text and audio; it has no code. Ours are: three modalities; the encoders, which are this project's;
FF of width 4D.
"""

import math
from itertools import product

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Size
from stages.train.fusions.attention import Encodings, valid
from stages.train.fusions.transformer_layers import PostNormLayer, position_codes


class CrossAndSelf(nn.Module):
    """Encodings [R, B, T, D] → [R, B, M² D]."""

    def __init__(self, modalities: list[str], width: int, heads: int, dropout: float):
        super().__init__()
        self.pairs = list(product(modalities, repeat=2))
        self.layers = nn.ModuleList(PostNormLayer(width, heads, dropout) for _ in self.pairs)
        self.size = len(self.pairs) * width

    def forward(self, encodings: Encodings) -> Tensor:
        coded = {name: (x + position_codes(x), lengths) for name, (x, lengths) in encodings.items()}
        vectors = []
        for (target, source), layer in zip(self.pairs, self.layers, strict=True):
            (x, x_lengths), (y, y_lengths) = coded[target], coded[source]
            vectors.append(maximum_over_time(layer(x, y, y_lengths), x_lengths))  # (R, B, D)
        return torch.cat(vectors, dim=2)


def maximum_over_time(x: Tensor, lengths: Tensor | None) -> Tensor:
    """[R, B, T, D] → [R, B, D]: the greatest of the positions that hold data, the first `lengths`; None: all."""
    if lengths is not None:
        x = x.masked_fill(~valid(lengths, x.shape[2])[..., None], -math.inf)
    return x.amax(dim=2)


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> CrossAndSelf:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    return CrossAndSelf(modalities, width, heads, attention_dropout)
