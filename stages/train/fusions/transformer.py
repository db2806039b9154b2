"""Transformer: one layer of self-attention over the steps of all modalities as one sequence.

    x      = [all e_m[t] + position code of t + w_m, one after the other], w_m a learned vector of the modality
    z      = x + MHA(Q = K = V = LN x), then z + FF(LN z)
    output = mean of LN(z) over all steps, D

The layer is that of Vaswani et al., "Attention is all you need", NeurIPS 2017, with the normalisation in front. What is
done with it here is the simplest fusion of whole sequences ("early fusion" by concatenation, as in Nagrani et al.,
"Attention bottlenecks for multimodal fusion", NeurIPS 2021, Section 3.2), not a published system.
"""

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Size
from stages.train.fusions.attention import Encodings, valid
from stages.train.fusions.pooling import mean_over_time
from stages.train.fusions.transformer_layers import LayerNorm, PreNormLayer, position_codes


class OneSequence(nn.Module):
    """Encodings [R, B, T, D] → [R, B, D]."""

    def __init__(self, modalities: list[str], width: int, heads: int, dropout: float):
        super().__init__()
        self.modalities, self.size = modalities, width
        self.kinds = nn.Parameter(0.02 * torch.randn(len(modalities), width))
        self.layer, self.norm = PreNormLayer(width, heads, dropout), LayerNorm(width)

    def forward(self, encodings: Encodings) -> Tensor:
        coded = {}
        for name, kind in zip(self.modalities, self.kinds.unbind(1), strict=True):  # kind: (R, D)
            x, lengths = encodings[name]
            coded[name] = x + position_codes(x) + kind[:, None, None], lengths
        x, lengths = one_sequence(list(coded.values()))  # (R, B, T, D), T: of all together
        return mean_over_time(self.norm(self.layer(x, x, lengths)), lengths)


def one_sequence(parts: list[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """Sequences [R, B, T, D] and lengths [R, B] → all in one, [R, B, sum of T, D], with all that holds data in front.

    The sum of the lengths [R, B] says how much that is; None: all.
    """
    x = torch.cat([x for x, _ in parts], dim=2)
    if all(lengths is None for _, lengths in parts):
        return x, None
    held = torch.cat(
        [x.new_ones(x.shape[:3], dtype=bool) if n is None else valid(n, x.shape[2]) for x, n in parts], dim=2
    )
    order = held.to(torch.uint8).argsort(dim=2, descending=True, stable=True)  # (R, B, T)
    return x.gather(2, order[..., None].expand_as(x)), held.sum(dim=2)


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> OneSequence:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    return OneSequence(modalities, width, heads, attention_dropout)
