"""MHA: multi-hop attention between two modalities, each hop asking one about the other.

    v_x    = last(e_x)
    v_y    = att(M_1 v_x + c_1, e_y)
    v_x    = att(M_2 v_y + c_2, e_x), and so on, in turn for each hop
    output = [v_x; v_y], 2D
    att(q, e) = Σ_t softmax_t(e[t] · q) e[t];  last: `steps.py`

Yoon, Byun, Dey, Jung, "Speech emotion recognition using multi-hop attention mechanism", ICASSP 2019.

x is the last of a variant's modalities, y the first: audio asks the text and the video, and video asks the text. As
published there are audio and text alone, x is audio, and encoders, inputs and training are others. Its code is not
released: the linear map of a query is that of the authors' later AMH.
"""

import torch
from torch import Tensor, nn

from stages.common.plan import Size
from stages.train.fusions.attention import Encodings
from stages.train.fusions.steps import attend, last
from stages.train.layers import Linear


class MultiHopAttention(nn.Module):
    """Encodings [R, B, T, D] of two modalities → [R, B, 2D]."""

    def __init__(self, modalities: list[str], width: int, hops: int):
        super().__init__()
        self.modalities, self.size = modalities, 2 * width
        self.queries = nn.ModuleList(Linear(width, width) for _ in range(hops))

    def forward(self, encodings: Encodings) -> Tensor:
        asked, asking = self.modalities
        vectors = {asking: last(*encodings[asking])}  # (R, B, D)
        for query in self.queries:
            vectors[asked] = attend(query(vectors[asking]), *encodings[asked])
            asked, asking = asking, asked
        return torch.cat([vectors[name] for name in reversed(self.modalities)], dim=2)


def build(modalities: list[str], width: int, *, hops: Size = 2) -> MultiHopAttention:
    """`width`: D; `hops`: how often one modality is asked about the other."""
    return MultiHopAttention(modalities, width, hops)
