"""Cross-attention: each modality attends to each other one, then statistical pooling.

    v[m, n] = mean_t MHA(Q = e_m, K = V = e_n)[t]  for all ordered pairs m ≠ n
    output  = [mean of all v[m, n]; standard deviation of all v[m, n]], 2D

Rajan, Brutti, Cavallaro, "Is cross-attention preferable to self-attention for multi-modal emotion recognition?",
ICASSP 2022, Fig. 1, Eqs. 3-6.
"""

from itertools import permutations

from stages.common.plan import Probability, Size
from stages.train.fusions.pairwise import PairwiseAttention
from stages.train.fusions.pooling import statistical_pooling


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> PairwiseAttention:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    pairs = list(permutations(modalities, 2))
    return PairwiseAttention(pairs, statistical_pooling, width=width, heads=heads, dropout=attention_dropout)
