"""Self-attention: each modality attends to itself, then statistical pooling.

    v[m]   = mean_t MHA(Q = e_m, K = V = e_m)[t]  for each modality m
    output = [mean of all v[m]; standard deviation of all v[m]], 2D; of one modality v[m] itself, D

Rajan, Brutti, Cavallaro, "Is cross-attention preferable to self-attention for multi-modal emotion recognition?",
ICASSP 2022, Fig. 2, Eqs. 3-6. One vector has no
deviation, so one modality is not pooled.
"""

from stages.common.plan import Probability, Size
from stages.train.fusions.pairwise import PairwiseAttention
from stages.train.fusions.pooling import concatenation, statistical_pooling


def build(modalities: list[str], width: int, *, heads: Size, attention_dropout: Probability) -> PairwiseAttention:
    """`width`: D; `heads`: H, divide it; `attention_dropout`: on attention weights."""
    pairs, pooling = (
        [(name, name) for name in modalities],
        statistical_pooling if len(modalities) > 1 else concatenation,
    )
    return PairwiseAttention(pairs, pooling, width=width, heads=heads, dropout=attention_dropout)
