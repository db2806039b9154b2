"""AMH: attentive modality hopping, three modalities asked in turn, each by the vectors of the other two.

    v_m    = last(e_m)  for each modality m
    v_z    = att(M_k [v_x; v_y] + c_k, e_z)  for hop k = 1, 2, …, where z is V, A, T, V, A, T, V, …
    output = [v_A; v_T; v_V], 3D; x and y stand in the same order
    att(q, e) = Σ_t softmax_t(e[t] · q) e[t];  last: `steps.py`

Yoon, Dey, Lee, Jung, "Attentive modality hopping mechanism for speech emotion recognition", ICASSP 2020.

A, T, V are the modalities in the alphabetical order of their names. M_k, D × 2D, has a bias as in the released code;
the published equation has a square matrix. As published the encoders have one direction, unequal widths and other
dropout, M_k begins uniform in ±.25 rather than as torch's linear layers do, and training is other than here.
"""

import torch
from torch import Tensor, nn

from stages.common.plan import Size
from stages.train.fusions.attention import Encodings
from stages.train.fusions.steps import attend, last
from stages.train.layers import Linear


class ModalityHopping(nn.Module):
    """Encodings [R, B, T, D] of three modalities → [R, B, 3D]."""

    def __init__(self, modalities: list[str], width: int, hops: int):
        super().__init__()
        self.modalities, self.size = sorted(modalities), 3 * width
        self.queries = nn.ModuleList(Linear(2 * width, width) for _ in range(hops))

    def forward(self, encodings: Encodings) -> Tensor:
        vectors = {name: last(*encodings[name]) for name in self.modalities}  # (R, B, D)
        for hop, query in enumerate(self.queries):
            asked = self.modalities[(hop + 2) % 3]  # the last one first, then in order
            others = torch.cat([vectors[name] for name in self.modalities if name != asked], dim=2)  # (R, B, 2D)
            vectors[asked] = attend(query(others), *encodings[asked])
        return torch.cat(list(vectors.values()), dim=2)


def build(modalities: list[str], width: int, *, hops: Size = 7) -> ModalityHopping:
    """`width`: D; `hops`: how often a modality is asked."""
    return ModalityHopping(modalities, width, hops)
