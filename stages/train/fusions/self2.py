"""Self ×2: `self` with two attention modules a modality, each with weights of its own.

    v[m, i] = mean_t MHA_i(Q = e_m, K = V = e_m)[t]  for each modality m and i = 1, 2
    output  = [mean of all v[m, i]; standard deviation of all v[m, i]], 2D

A control, not a published system: of three modalities it has as many modules and parameters as `cross`, so what divides
the two is not their number.
"""

from stages.common.plan import Probability, Size
from stages.train.fusions.pairwise import PairwiseAttention
from stages.train.fusions.pooling import statistical_pooling


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> PairwiseAttention:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    pairs = [(name, name) for name in modalities for _ in range(2)]
    return PairwiseAttention(pairs, statistical_pooling, width=width, heads=heads, dropout=attention_dropout)
