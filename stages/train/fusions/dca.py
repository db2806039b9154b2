"""DCA: dynamic cross-attention, a gate at each step between what attends to another modality and the step itself.

    A        = MHA(Q = e_m, K = V = e_n)  for all ordered pairs m ≠ n
    g[t]     = softmax((W A[t] + b) / τ), two shares: g_0 of the step itself, g_1 of the attended one
    v[m, n]  = mean_t ReLU(g_0[t] e_m[t] + g_1[t] A[t])
    output   = [mean of all v[m, n]; standard deviation of all v[m, n]], 2D

Praveen, Alam, "Cross-attention is not always needed: dynamic cross-attention for audio-visual dimensional emotion
recognition", ICME 2024.

The attention is that of `cross`, so that with g_1 = 1 this is `cross` but for the ReLU. The published gate is on joint
cross-attention of audio and video, of tanh correlations between feature channels and with a residual, on other
encoders; a further recurrent layer and two regressions of valence and arousal follow it.
"""

from collections.abc import Iterator
from itertools import permutations

import torch
from torch import Tensor, nn

from stages.common.plan import Probability, Share, Size
from stages.train.fusions.attention import Encodings
from stages.train.fusions.pooling import mean_over_time, statistical_pooling
from stages.train.fusions.transformer_layers import PositionwiseAttention
from stages.train.layers import Linear


class DynamicCrossAttention(nn.Module):
    """Encodings [R, B, T, D] → [R, B, 2D]."""

    def __init__(self, modalities: list[str], width: int, heads: int, dropout: float, temperature: float):
        super().__init__()
        self.pairs, self.size, self.temperature = list(permutations(modalities, 2)), 2 * width, temperature
        self.modules_by_pair = nn.ModuleList(PositionwiseAttention(width, heads, dropout) for _ in self.pairs)
        self.gates_by_pair = nn.ModuleList(Linear(width, 2) for _ in self.pairs)

    def forward(self, encodings: Encodings) -> Tensor:
        vectors = []
        for (target, _), attended, gate in self._attended(encodings):
            steps, lengths = encodings[target]
            chosen = (gate[..., :1] * steps + gate[..., 1:] * attended).relu()  # (R, B, T, D)
            vectors.append(mean_over_time(chosen, lengths))
        return statistical_pooling(torch.stack(vectors, dim=2))

    def gates(self, encodings: Encodings) -> dict[tuple[str, str], Tensor]:
        """(target, source) → g_1 [R, B, T], the attended share of each of the target's steps, padding's too."""
        return {pair: gate[..., 1] for pair, _, gate in self._attended(encodings)}

    def shares(self, encodings: Encodings) -> dict[str, Tensor]:
        """For each pair, the share of the target's steps [R, B] for which the gate chooses the attended one."""
        shares = {}
        for (target, source), gate in self.gates(encodings).items():
            crossed = (gate > 0.5).to(gate.dtype)[..., None]  # (R, B, T, 1)
            shares[f"{target} from {source}"] = mean_over_time(crossed, encodings[target][1])[..., 0]
        return shares

    def _attended(self, encodings: Encodings) -> Iterator[tuple[tuple[str, str], Tensor, Tensor]]:
        """Each pair with its A [R, B, T, D] and g [R, B, T, 2]."""
        for pair, attention, gate in zip(self.pairs, self.modules_by_pair, self.gates_by_pair, strict=True):
            (steps, _), (source, lengths) = (encodings[name] for name in pair)
            attended = attention(steps, source, lengths)
            yield pair, attended, (gate(attended) / self.temperature).softmax(dim=3)


def build(
    modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability, temperature: Share = 0.1
) -> DynamicCrossAttention:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights; `temperature`: τ."""
    return DynamicCrossAttention(modalities, width, heads, attention_dropout, temperature)
