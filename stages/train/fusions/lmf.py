"""LMF: a linear map of the outer product of all modalities' vectors, by a weight tensor of low rank.

    z_m    = [mean_t e_m[t]; 1]
    output = 𝒲 · (z_1 ⊗ … ⊗ z_M), D,  where 𝒲 = Σ_r w_1^r ⊗ … ⊗ w_M^r
           = Σ_r (w_1^r · z_1) * … * (w_M^r · z_M)

Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency, "Efficient low-rank multimodal fusion with modality-specific
factors", ACL 2018, Eqs. 5-8.

The sum over r is the paper's plain one: their code's learned weights of it can be had from the factors, and its bias is
the classifier's. Factors begin as torch's linear layers do, the weights of the 1 as their biases.
"""

import math

from torch import Tensor, nn

from stages.common.plan import Size
from stages.train.fusions.attention import Encodings
from stages.train.fusions.pooling import mean_over_time
from stages.train.layers import Linear


class LowRank(nn.Module):
    """Encodings [R, B, T, D] → [R, B, D]."""

    def __init__(self, modalities: list[str], width: int, rank: int):
        super().__init__()
        self.modalities, self.size, self.rank = modalities, width, rank
        self.factors = nn.ModuleList(Linear(width, rank * width) for _ in modalities)  # the bias is what meets the 1

    def forward(self, encodings: Encodings) -> Tensor:
        means = [mean_over_time(*encodings[name]) for name in self.modalities]  # M times (R, B, D)
        product = math.prod(factor(mean) for factor, mean in zip(self.factors, means, strict=True))
        return product.unflatten(2, (self.rank, self.size)).sum(dim=2)  # of (R, B, rank, D)


def build(modalities: list[str], width: int, *, rank: Size = 4) -> LowRank:
    """`width`: D; `rank`: of the weight tensor."""
    return LowRank(modalities, width, rank)
