"""Bottleneck: transformer layers of each modality, which exchange only what a few latent vectors carry.

    x_m        = e_m + position codes; z: K learned vectors
    [z_m; x_m] = Pre_lm([z; x_m]) for each modality m, z = mean_m z_m     in each layer l of L
    output     = mean_m mean_t LN(x_m[t]), D
    Pre(x): y = x + MHA(Q = K = V = LN x), then y + FF(LN y)

Nagrani, Yang, Arnab, Jansen, Schmid, Sun, "Attention bottlenecks for multimodal fusion", NeurIPS 2021, Eqs. 8, 9.

With L = 1 nothing is exchanged. They average the logits that one classifier gives each modality's class token; ours is
linear, so this is to average what it is given; and the mean of steps is in place of class tokens. Ours are: L = 2 in
place of 12, of which the last 4 exchange, ReLU in place of GELU, sinusoids in place of learned position codes, and no
dropout but on attention weights.
"""

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Size
from stages.train.fusions.attention import Encodings
from stages.train.fusions.pooling import mean_over_time
from stages.train.fusions.transformer_layers import LayerNorm, PreNormLayer, position_codes


class Bottleneck(nn.Module):
    """Encodings [R, B, T, D] → [R, B, D]."""

    def __init__(self, modalities: list[str], width: int, latents: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.modalities, self.size = modalities, width
        self.latents = nn.Parameter(0.02 * torch.randn(latents, width))
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: PreNormLayer(width, heads, dropout) for name in modalities}) for _ in range(layers)
        )
        self.norm = LayerNorm(width)

    def forward(self, encodings: Encodings) -> Tensor:
        steps = {name: x + position_codes(x) for name, (x, _) in encodings.items()}
        batch, count = next(iter(steps.values())).shape[1], self.latents.shape[1]
        latents = self.latents[:, None].expand(-1, batch, -1, -1)  # (R, B, K, D)
        for layers in self.layers:
            own = []
            for name, layer in layers.items():
                lengths = encodings[name][1]
                x = torch.cat([latents, steps[name]], dim=2)  # latents first: what holds data stays in front
                x = layer(x, x, None if lengths is None else lengths + count)  # (R, B, K + T, D)
                latents_of_one, steps[name] = x[:, :, :count], x[:, :, count:]
                own.append(latents_of_one)
            latents = torch.stack(own).mean(dim=0)
        means = [mean_over_time(self.norm(steps[name]), encodings[name][1]) for name in self.modalities]
        return torch.stack(means).mean(dim=0)


def build(
    modalities: list[str],
    width: int,
    *,
    latents: Size = 4,
    layers: Size = 2,
    heads: Size,
    attention_dropout: Probability,
) -> Bottleneck:
    """`width`: D; `latents`: K; `layers`: L; `heads`: H, divide D; `attention_dropout`: on attention weights."""
    return Bottleneck(modalities, width, latents, layers, heads, attention_dropout)
