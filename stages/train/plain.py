"""The paper's models in torch's own layers, one run at a time: `model.py` computes the same, faster and for many runs.

Of a modality m with sequence x_m [T, F], padded with zeros (Rajan, Brutti, Cavallaro, ICASSP 2022, Section 2):

    y_m[t']  = b[t'] + Σ_t W[t', t] x_m[t]                         Eq. 1: a convolution over time, where asked for
    e_m      = [→GRU(y_m); ←GRU(y_m)]                              Eq. 2
    head_h   = softmax((e_m Q_h)(e_n K_h)ᵀ / √(D / H)) (e_n V_h)   Eqs. 3-5, each projection with a bias
    v[m, n]  = mean_t ([head_1; …; head_H] O)[t]                   Eq. 6: m attends to n
    z        = [mean of all v[m, n]; standard deviation of them]   Fig. 1; without statistical pooling all v, joined
    logits   = (z W_1 + b_1) W_2 + b_2                             Eq. 7

Cross-attention has all ordered pairs m ≠ n of modalities, self-attention the pairs (m, m).

Other systems' fusions in plain torch are in `plain_fusions.py`, without padding; a new fusion's plain form is one entry
there, by which `benchmarks/step.py` and the tests of fusions compare it.

Parameters have the names of `model.py`'s, and of the paper's models one seed gives both the same ones. Shapes: B batch,
T positions (of a target), S positions (of a source), F features, h hidden, D = 2h, H heads, C outputs.
"""

from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from stages.common.plan import Modality, Plan, Sizes
from stages.train import plain_fusions
from stages.train.model import Shape

FUSIONS = ("cross", "self", "cross_nosp", "self_nosp", "crossself")
"""The paper's fusions; those of other systems are in `plain_fusions.py`."""


class Encoder(nn.Module):
    """One modality: [B, T, F] → [B, T', D] and, with `model.padding: mask`, which positions hold data [B, T']."""

    def __init__(self, modality: Modality, shape: Shape, sizes: Sizes):
        super().__init__()
        longest, self.time_map = shape.longest[modality.name], None
        self.dropout = nn.Dropout(modality.dropout)
        if modality.positions is not None:
            self.time_map = nn.Conv1d(longest, max(1, round(longest * modality.positions)), 1)
        self.gru = nn.GRU(shape.features[modality.name], sizes.hidden, batch_first=True, bidirectional=True)
        self.mask = sizes.padding == "mask" and self.time_map is None  # after Eq. 1 no position is padding

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        x = self.dropout(x)  # (B, T, F)
        if self.time_map is not None:
            x = self.time_map(x)  # (B, T', F)
        if not self.mask:
            return self.gru(x)[0], None  # (B, T', D)
        lengths = lengths.clamp(min=1)  # an empty sequence is one padding position
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        encoding, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])
        return encoding, torch.arange(x.shape[1], device=x.device) < lengths[:, None]  # (B, T, D), (B, T)


class PairwiseAttention(nn.Module):
    """v[m, n] of each pair of modalities, then z: encodings [B, T, D] → [B, size]."""

    def __init__(self, pairs: list[tuple[str, str]], width: int, heads: int, dropout: float, *, pooled: bool):
        super().__init__()
        self.pairs, self.pooled = pairs, pooled
        self.modules_by_pair = nn.ModuleList(
            nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True) for _ in pairs
        )
        self.size = width * (2 if pooled else len(pairs))

    def forward(self, encodings: dict[str, tuple[Tensor, Tensor | None]]) -> Tensor:
        vectors = []
        for (target, source), attention in zip(self.pairs, self.modules_by_pair, strict=True):
            (q, q_valid), (kv, kv_valid) = encodings[target], encodings[source]  # (B, T, D), (B, S, D)
            attended, _ = attention(q, kv, kv, key_padding_mask=None if kv_valid is None else ~kv_valid)  # (B, T, D)
            if q_valid is None:
                vectors.append(attended.mean(dim=1))  # (B, D)
            else:
                vectors.append((attended * q_valid[..., None]).sum(dim=1) / q_valid.sum(dim=1, keepdim=True))
        if not self.pooled:
            return torch.cat(vectors, dim=1)  # (B, pairs · D)
        stacked = torch.stack(vectors)  # (pairs, B, D)
        return torch.cat([stacked.mean(dim=0), stacked.std(dim=0)], dim=1)  # (B, 2D)


class Joined(nn.Module):
    """Cross+Self: the vectors of both on the same encodings, side by side."""

    def __init__(self, *mechanisms: PairwiseAttention):
        super().__init__()
        self.mechanisms = nn.ModuleList(mechanisms)
        self.size = sum(mechanism.size for mechanism in mechanisms)

    def forward(self, encodings: dict[str, tuple[Tensor, Tensor | None]]) -> Tensor:
        return torch.cat([mechanism(encodings) for mechanism in self.mechanisms], dim=1)  # (B, 4D)


class Model(nn.Module):
    """Sequences of some modalities → logits [B, C]."""

    def __init__(self, plan: Plan, shape: Shape):
        """Raises ValueError if `plan`'s fusion has no plain form: that of other systems' knows no padding."""
        super().__init__()
        self.modalities = plan.names
        for modality in plan.modalities:
            self.add_module(f"encoder_{modality.name}", Encoder(modality, shape, plan.model))
        self.fusion = _fusion(plan)
        neurons = plan.model.classifier
        self.classifier = nn.Sequential(nn.Linear(self.fusion.size, neurons), nn.Linear(neurons, shape.outputs))

    def forward(self, sequences: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        """`sequences`: modality → values [B, longest, F], zero beyond their lengths, and lengths [B]."""
        encodings = {name: getattr(self, f"encoder_{name}")(*sequences[name]) for name in self.modalities}
        return self.classifier(self.fusion(encodings))


def _fusion(plan: Plan) -> nn.Module:
    fusion, modalities, width = plan.fusion, plan.names, 2 * plan.model.hidden
    if fusion.name in plain_fusions.FUSIONS and plan.model.padding == "attend":
        return plain_fusions.FUSIONS[fusion.name](modalities, width, **fusion.settings)
    if fusion.name not in FUSIONS:
        raise ValueError(
            f"the fusion must be one of the paper's, {', '.join(FUSIONS)}, or with `model.padding: attend` "
            f"{', '.join(plain_fusions.FUSIONS)}, but is {fusion.name!r}"
        )
    kind, _, option = fusion.name.partition("_")
    cross, own = list(permutations(modalities, 2)), [(name, name) for name in modalities]
    mechanisms = [
        PairwiseAttention(
            pairs,
            width,
            fusion.settings["heads"],
            fusion.settings["attention_dropout"],
            pooled=option != "nosp" and len(pairs) > 1,
        )
        for pairs in {"cross": [cross], "self": [own], "crossself": [cross, own]}[kind]
    ]
    return Joined(*mechanisms) if kind == "crossself" else mechanisms[0]
