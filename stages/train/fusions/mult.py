"""MulT: each modality is adapted by each other one in cross-modal transformers; its last step then has seen them all.

    u_m    = √d W_m e_m + position codes, d
    c_mn   = LN of L layers Pre(·, u_n) on u_m                    for all ordered pairs m ≠ n
    s_m    = √((M - 1) d) [all c_mn, joined] + position codes, (M - 1) d
    h_m    = LN of L layers Pre(·, ·) of self-attention on s_m, at the last position
    output = h + W₂ ReLU(W₁ h + b₁) + b₂ of h = [all h_m, joined], M (M - 1) d
    Pre(x, y): z = x + MHA(Q = LN x, K = V = LN y), then z + FF(LN z)

Tsai, Bai, Liang, Kolter, Morency, Salakhutdinov, "Multimodal transformer for unaligned multimodal language sequences",
ACL 2019, Section 3, Fig. 2.

The paper has L = 4; its code masks the future in every attention, which the paper doesn't say, and takes the last
position of a padded sequence. Ours are: L = 1 by default, no mask, the last position that holds data, and no dropout
but on attention weights.
"""

import math

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Size
from stages.train.fusions.attention import Encodings
from stages.train.fusions.steps import last_step
from stages.train.fusions.transformer_layers import LayerNorm, PreNormLayer, position_codes
from stages.train.layers import Linear


class Transformer(nn.Module):
    """Pre-norm layers from one source, then LN: target x [R, B, T, D], source y [R, B, S, D] → [R, B, T, D]."""

    def __init__(self, layers: int, width: int, heads: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(PreNormLayer(width, heads, dropout) for _ in range(layers))
        self.norm = LayerNorm(width)

    def forward(self, x: Tensor, y: Tensor, y_lengths: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, y, y_lengths)
        return self.norm(x)

    def last_of_self(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Self-attention's output at the last step that holds data, [R, B, D]: the last layer computes no other one."""
        *first, final = self.layers
        for layer in first:
            x = layer(x, x, lengths)
        return self.norm(final(last_step(x, lengths), x, lengths)).squeeze(2)


class CrossModalTransformers(nn.Module):
    """Encodings [R, B, T, D] → [R, B, M (M - 1) d]."""

    def __init__(self, modalities: list[str], width: int, inner: int, heads: int, layers: int, dropout: float):
        """`width`: D; `inner`: d."""
        super().__init__()
        self.sources = {target: [name for name in modalities if name != target] for target in modalities}
        joined = (len(modalities) - 1) * inner
        self.size = len(modalities) * joined
        self.projections = nn.ModuleDict({name: Linear(width, inner, bias=False) for name in modalities})
        self.crosses = nn.ModuleDict(
            {
                target: nn.ModuleDict({name: Transformer(layers, inner, heads, dropout) for name in sources})
                for target, sources in self.sources.items()
            }
        )
        self.selves = nn.ModuleDict({name: Transformer(layers, joined, heads, dropout) for name in modalities})
        self.residual = nn.Sequential(Linear(self.size, self.size), nn.ReLU(), Linear(self.size, self.size))

    def forward(self, encodings: Encodings) -> Tensor:
        lengths = {name: own for name, (_, own) in encodings.items()}
        u = {name: coded(project(encodings[name][0])) for name, project in self.projections.items()}  # (R, B, T, d)
        h = []
        for target, crosses in self.crosses.items():
            adapted = [cross(u[target], u[source], lengths[source]) for source, cross in crosses.items()]
            joined = coded(torch.cat(adapted, dim=3))  # (R, B, T, (M - 1) d)
            h.append(self.selves[target].last_of_self(joined, lengths[target]))
        joined = torch.cat(h, dim=2)  # (R, B, M (M - 1) d)
        return joined + self.residual(joined)


def coded(x: Tensor) -> Tensor:
    """√D x + position codes: [R, B, T, D]."""
    return x * math.sqrt(x.shape[3]) + position_codes(x)


def build(
    modalities: list[str],
    width: int,
    *,
    inner_heads: Size = 10,
    head_width: Size = 4,
    layers: Size = 1,
    attention_dropout: Probability,
) -> CrossModalTransformers:
    """d = `inner_heads` · `head_width`; `width`: D; `layers`: L; `attention_dropout`: on attention weights."""
    inner = inner_heads * head_width
    return CrossModalTransformers(modalities, width, inner, inner_heads, layers, attention_dropout)
