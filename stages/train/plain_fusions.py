"""Other systems' fusions in torch's own layers, one run at a time, of sequences all of whose steps hold data.

`fusions/<name>.py` has the equations and the sources, and computes the same, faster, for many runs and beside padding.
Parameters have the same names. Shapes: B batch, T steps (of a target), S steps (of a source), D width, H heads.
"""

import math
from collections.abc import Callable
from itertools import combinations, permutations, product

import torch
from torch import Tensor, nn

Encodings = dict[str, Tensor]
"""Modality → encoding [B, T, D]."""


class Fusion(nn.Module):
    """A fusion: `fused` makes of `Encodings` [B, size]."""

    def forward(self, encodings: dict[str, tuple[Tensor, None]]) -> Tensor:
        """`encodings` as `plain.Encoder` gives them."""
        return self.fused({name: x for name, (x, _) in encodings.items()})


def _attention(width: int, heads: int, dropout: float) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)


def _codes(x: Tensor) -> Tensor:
    """Position codes [T, D] of x [B, T, D]."""
    _, time, width = x.shape
    t, column = (torch.arange(count, dtype=torch.float64) for count in (time, width))
    angles = t[:, None] / 10_000 ** (column // 2 * 2 / width)
    return torch.where(column % 2 == 0, angles.sin(), angles.cos()).to(x.dtype)


def _coded(x: Tensor) -> Tensor:
    """√D x + position codes."""
    return math.sqrt(x.shape[2]) * x + _codes(x)


def _last(x: Tensor) -> Tensor:
    """The forward half at the last step, the backward half at the first: [B, T, D] → [B, D]."""
    half = x.shape[2] // 2
    return torch.cat([x[:, -1, :half], x[:, 0, half:]], dim=1)


def _attend(query: Tensor, x: Tensor) -> Tensor:
    """Σ_t softmax_t(x_t · query) x_t: [B, D], [B, T, D] → [B, D]."""
    weights = torch.softmax((x * query[:, None]).sum(dim=2), dim=1)
    return (weights[..., None] * x).sum(dim=1)


def _pooled(vectors: list[Tensor]) -> Tensor:
    """Mean and standard deviation of vectors [B, D], joined."""
    stacked = torch.stack(vectors)
    return torch.cat([stacked.mean(dim=0), stacked.std(dim=0)], dim=1)


class _Concat(Fusion):
    def __init__(self, names: list[str], width: int):
        super().__init__()
        self.names, self.size = names, len(names) * width

    def fused(self, e: Encodings) -> Tensor:
        return torch.cat([e[name].mean(dim=1) for name in self.names], dim=1)


class _Gate(Fusion):
    def __init__(self, names: list[str], width: int):
        super().__init__()
        self.names, self.size = names, width
        self.scores = nn.Linear(len(names) * width, len(names))

    def fused(self, e: Encodings) -> Tensor:
        means = [e[name].mean(dim=1) for name in self.names]
        weights = torch.softmax(self.scores(torch.cat(means, dim=1)), dim=1)  # (B, M)
        return sum(weights[:, i, None] * mean for i, mean in enumerate(means))


class _MDRE(Fusion):
    def __init__(self, names: list[str], width: int):
        super().__init__()
        self.names, self.size = names, len(names) * (width // 2)
        self.maps = nn.ModuleList(nn.Linear(width, width // 2) for _ in names)

    def fused(self, e: Encodings) -> Tensor:
        return torch.cat([halve(_last(e[name])) for name, halve in zip(self.names, self.maps, strict=True)], dim=1)


class _MHA(Fusion):
    def __init__(self, names: list[str], width: int, *, hops: int):
        super().__init__()
        self.names, self.size = names, 2 * width
        self.queries = nn.ModuleList(nn.Linear(width, width) for _ in range(hops))

    def fused(self, e: Encodings) -> Tensor:
        y, x = self.names
        v = {x: _last(e[x])}
        for hop, query in enumerate(self.queries):
            asked, asking = (x, y) if hop % 2 else (y, x)
            v[asked] = _attend(query(v[asking]), e[asked])
        return torch.cat([v[x], v[y]], dim=1)


class _AMH(Fusion):
    def __init__(self, names: list[str], width: int, *, hops: int):
        super().__init__()
        self.names, self.size = sorted(names), 3 * width
        self.queries = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(hops))

    def fused(self, e: Encodings) -> Tensor:
        a, t, v = (_last(e[name]) for name in self.names)
        of_a, of_t, of_v = (e[name] for name in self.names)
        for hop, query in enumerate(self.queries):
            if hop % 3 == 0:
                v = _attend(query(torch.cat([a, t], dim=1)), of_v)
            elif hop % 3 == 1:
                a = _attend(query(torch.cat([t, v], dim=1)), of_a)
            else:
                t = _attend(query(torch.cat([a, v], dim=1)), of_t)
        return torch.cat([a, t, v], dim=1)


class _Layer(nn.Module):
    """A transformer layer: target [B, T, D], source [B, S, D] → [B, T, D]."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention = _attention(width, heads, dropout)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)


class PostNormLayer(_Layer):
    """Normalisation after each part, as Vaswani et al. have it."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[B, T, D], [B, S, D] → [B, T, D]."""
        z = self.norm_1(x + self.attention(x, y, y)[0])
        return self.norm_2(z + self.feed_forward(z))


class PreNormLayer(_Layer):
    """Normalisation in front of each part, one for target and source."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[B, T, D], [B, S, D] → [B, T, D]."""
        source = self.norm_1(y)
        z = x + self.attention(self.norm_1(x), source, source)[0]
        return z + self.feed_forward(self.norm_2(z))


class _CFNSR(Fusion):
    def __init__(self, names: list[str], width: int, *, heads: int, attention_dropout: float):
        super().__init__()
        self.names, self.size = names, 2 * width
        self.layer, self.norm = PreNormLayer(width, heads, attention_dropout), nn.LayerNorm(width)
        self.of_video, self.of_audio = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def fused(self, e: Encodings) -> Tensor:
        video, audio = (e[name] for name in self.names)
        x = _coded(audio)
        guide = self.norm(self.layer(x, x))[:, -1:]  # (B, 1, D)
        weights = torch.softmax(self.score(torch.tanh(self.of_video(video) + self.of_audio(guide))), dim=1)  # (B, T, 1)
        return torch.cat([(video * (1 + weights)).mean(dim=1), audio.mean(dim=1)], dim=1)


class _DCA(Fusion):
    def __init__(self, names: list[str], width: int, *, heads: int, attention_dropout: float, temperature: float):
        super().__init__()
        self.pairs, self.size, self.temperature = list(permutations(names, 2)), 2 * width, temperature
        self.modules_by_pair = nn.ModuleList(_attention(width, heads, attention_dropout) for _ in self.pairs)
        self.gates_by_pair = nn.ModuleList(nn.Linear(width, 2) for _ in self.pairs)

    def fused(self, e: Encodings) -> Tensor:
        vectors = []
        for (x, y), module, gate in zip(self.pairs, self.modules_by_pair, self.gates_by_pair, strict=True):
            attended = module(e[x], e[y], e[y])[0]  # (B, T, D)
            own, other = torch.softmax(gate(attended) / self.temperature, dim=2).split(1, dim=2)  # (B, T, 1) each
            vectors.append(torch.relu(own * e[x] + other * attended).mean(dim=1))
        return _pooled(vectors)


class _Pairs(Fusion):
    """The mean over time of attention of each pair (target, source, place of the module), then `pooled`."""

    def __init__(self, pairs: list[tuple[str, str, int]], width: int, *, heads: int, attention_dropout: float):
        super().__init__()
        self.pairs, self.size, count = pairs, 2 * width, 1 + max(place for *_, place in pairs)
        self.modules_by_pair = nn.ModuleList(_attention(width, heads, attention_dropout) for _ in range(count))

    def fused(self, e: Encodings) -> Tensor:
        return _pooled([self.modules_by_pair[place](e[x], e[y], e[y])[0].mean(dim=1) for x, y, place in self.pairs])


def _self2(names: list[str], width: int, **settings) -> _Pairs:
    return _Pairs([(name, name, 2 * i + copy) for i, name in enumerate(names) for copy in (0, 1)], width, **settings)


def _cross_half(names: list[str], width: int, **settings) -> _Pairs:
    sets = [set(pair) for pair in combinations(names, 2)]
    return _Pairs([(x, y, sets.index({x, y})) for x, y in permutations(names, 2)], width, **settings)


class _MCSAN(Fusion):
    def __init__(self, names: list[str], width: int, *, heads: int, attention_dropout: float):
        super().__init__()
        self.pairs = list(product(names, repeat=2))
        self.size = len(self.pairs) * width
        self.layers = nn.ModuleList(PostNormLayer(width, heads, attention_dropout) for _ in self.pairs)

    def fused(self, e: Encodings) -> Tensor:
        x = {name: own + _codes(own) for name, own in e.items()}
        layers = zip(self.pairs, self.layers, strict=True)
        return torch.cat([layer(x[a], x[b]).max(dim=1).values for (a, b), layer in layers], dim=1)


class _Transformer(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(PreNormLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, x if y is None else y)
        return self.norm(x)


class _MulT(Fusion):
    def __init__(
        self,
        names: list[str],
        width: int,
        *,
        inner_heads: int,
        head_width: int,
        layers: int,
        attention_dropout: float,
    ):
        super().__init__()
        inner, others = inner_heads * head_width, len(names) - 1
        own = (inner_heads, attention_dropout)
        self.size = len(names) * others * inner
        self.projections = nn.ModuleDict({name: nn.Linear(width, inner, bias=False) for name in names})
        self.crosses = nn.ModuleDict(
            {a: nn.ModuleDict({b: _Transformer(layers, inner, *own) for b in names if b != a}) for a in names}
        )
        self.selves = nn.ModuleDict({name: _Transformer(layers, others * inner, *own) for name in names})
        self.residual = nn.Sequential(nn.Linear(self.size, self.size), nn.ReLU(), nn.Linear(self.size, self.size))

    def fused(self, e: Encodings) -> Tensor:
        u = {name: _coded(project(e[name])) for name, project in self.projections.items()}  # (B, T, d)
        ends = []
        for a, crosses in self.crosses.items():
            joined = _coded(torch.cat([cross(u[a], u[b]) for b, cross in crosses.items()], dim=2))
            ends.append(self.selves[a](joined)[:, -1])
        h = torch.cat(ends, dim=1)
        return h + self.residual(h)


class _OneSequence(Fusion):
    def __init__(self, names: list[str], width: int, *, heads: int, attention_dropout: float):
        super().__init__()
        self.names, self.size = names, width
        self.kinds = nn.Parameter(torch.zeros(len(names), width))
        self.layer, self.norm = PreNormLayer(width, heads, attention_dropout), nn.LayerNorm(width)

    def fused(self, e: Encodings) -> Tensor:
        x = torch.cat(
            [e[name] + _codes(e[name]) + kind for name, kind in zip(self.names, self.kinds, strict=True)], dim=1
        )
        return self.norm(self.layer(x, x)).mean(dim=1)


class _LMF(Fusion):
    def __init__(self, names: list[str], width: int, *, rank: int):
        super().__init__()
        self.names, self.size, self.rank = names, width, rank
        self.factors = nn.ModuleList(nn.Linear(width, rank * width) for _ in names)

    def fused(self, e: Encodings) -> Tensor:
        total = 0
        for r in range(self.rank):
            rows, term = slice(r * self.size, (r + 1) * self.size), 1
            for name, factor in zip(self.names, self.factors, strict=True):
                w = torch.cat([factor.weight[rows], factor.bias[rows, None]], dim=1)  # (D, D + 1)
                mean = e[name].mean(dim=1)
                term = term * (torch.cat([mean, torch.ones_like(mean[:, :1])], dim=1) @ w.T)
            total = total + term
        return total


class _StepWeights(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.q, self.k = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)


class _Intermediate(Fusion):
    def __init__(self, names: list[str], width: int, *, heads: int, attention_dropout: float):
        super().__init__()
        self.names, self.pairs, self.heads = names, list(permutations(names, 2)), heads
        self.size, self.dropout = len(names) * width, nn.Dropout(attention_dropout)
        self.weights = nn.ModuleList(_StepWeights(width) for _ in self.pairs)

    def fused(self, e: Encodings) -> Tensor:
        shares = dict.fromkeys(self.names, 0)
        for (x, y), own in zip(self.pairs, self.weights, strict=True):
            q, k = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (own.q(e[y]), own.k(e[x])))
            weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), dim=3)  # (B, H, T, S)
            shares[x] = shares[x] + self.dropout(weights).mean(dim=(1, 2))  # (B, S)
        return torch.cat([(shares[name][..., None] * e[name]).sum(dim=1) for name in self.names], dim=1)


class _Bottleneck(Fusion):
    def __init__(
        self, names: list[str], width: int, *, latents: int, layers: int, heads: int, attention_dropout: float
    ):
        super().__init__()
        self.names, self.size, self.latents = names, width, nn.Parameter(torch.zeros(latents, width))
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: PreNormLayer(width, heads, attention_dropout) for name in names})
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def fused(self, e: Encodings) -> Tensor:
        x = {name: own + _codes(own) for name, own in e.items()}
        latents = self.latents.expand(len(x[self.names[0]]), -1, -1)
        for layer in self.layers:
            found = []
            for name in self.names:
                both = torch.cat([x[name], latents], dim=1)  # as the paper has them: latents at the end
                both = layer[name](both, both)
                x[name], own = both.split([x[name].shape[1], latents.shape[1]], dim=1)
                found.append(own)
            latents = sum(found) / len(found)
        return sum(self.norm(x[name]).mean(dim=1) for name in self.names) / len(self.names)


FUSIONS: dict[str, Callable[..., Fusion]] = {
    "concat": _Concat,
    "gate": _Gate,
    "mdre": _MDRE,
    "mha": _MHA,
    "amh": _AMH,
    "cfn_sr": _CFNSR,
    "dca": _DCA,
    "self2": _self2,
    "cross_half": _cross_half,
    "mcsan": _MCSAN,
    "mult": _MulT,
    "transformer": _OneSequence,
    "lmf": _LMF,
    "intermediate": _Intermediate,
    "bottleneck": _Bottleneck,
}
"""Name → makes one of the modalities' names, D and the fusion's settings."""
