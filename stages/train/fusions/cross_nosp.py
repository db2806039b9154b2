"""Cross-noSP: cross-attention without statistical pooling.

    output = all v[m, n] of `cross`, joined: M (M - 1) D of M modalities

Rajan, Brutti, Cavallaro, "Is cross-attention preferable to self-attention for multi-modal emotion recognition?",
ICASSP 2022, Table 2.
"""

from itertools import permutations

from stages.common.plan import Probability, Size
from stages.train.fusions.pairwise import PairwiseAttention
from stages.train.fusions.pooling import concatenation


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> PairwiseAttention:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    pairs = list(permutations(modalities, 2))
    return PairwiseAttention(pairs, concatenation, width=width, heads=heads, dropout=attention_dropout)
