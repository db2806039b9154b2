"""Attention weights of trained runs, computed plainly: the compiled loops of training never hold them as a whole.

    A = softmax(Q Kᵀ / √(D / H)),  Q = W_q e_m + b_q,  K = W_k e_n + b_k      (paper, Eqs. 3-6)

for each head, of encodings e_m (target) and e_n (source). They are the weights that the model used: its output is the
same when it is computed from them (tests/test_attention.py).

Shapes: B utterances, H heads, T positions of the target, S of the source, D width, C classes.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.evaluate.trained import TrainedRun
from stages.train.data import Batch
from stages.train.fusions.attention import AveragedAttention, Encodings, valid


@dataclass(frozen=True, kw_only=True)
class Attention:
    """What one module of a fusion did with a batch."""

    target: str
    """The modality whose positions attend."""
    source: str
    """The modality whose positions are attended to."""
    module: AveragedAttention
    queries: Tensor
    """The target's encoding [B, T, D]."""
    keys: Tensor
    """The source's encoding [B, S, D]."""
    target_lengths: Tensor | None
    """How many positions of the target count [B]; None: all."""
    source_lengths: Tensor | None
    """Likewise of the source."""

    @torch.inference_mode()
    def weights(self, rows: slice = slice(None)) -> Tensor:
        """A [B, H, T, S] of some of the utterances, in float64: each row over S sums to 1, 0 where nothing counts."""
        heads = self.module.heads
        weight, bias = (x[0].double().chunk(3) for x in (self.module.in_proj_weight, self.module.in_proj_bias))
        q, k = (
            (x[rows].double() @ weight[i].T + bias[i])
            .unflatten(-1, (heads, -1))
            .transpose(1, 2)  # (B, H, T or S, D / H)
            for i, x in enumerate((self.queries, self.keys))
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if self.source_lengths is not None:
            counts = valid(self.source_lengths[rows], k.shape[2])
            scores = scores.masked_fill(~counts[:, None, None], -math.inf)
        return scores.softmax(dim=-1)


def attend(run: TrainedRun, batch: Batch) -> tuple[list[Attention], np.ndarray]:
    """What a run's fusion does with a batch, padding utterances too, and the run's logits [B, C] of it in float64.

    Only modules that read the modalities' encodings as they are, and so tell which modality attends to which; of other
    fusions the list is empty.
    """
    with torch.inference_mode(), run.precision():
        encodings = run.network.encodings(batch.sequences)
        found, fused = _observed(run.network.fusion, encodings)
        return found, run.network.classifier(fused)[0].double().numpy()


def _observed(fusion: nn.Module, encodings: Encodings) -> tuple[list[Attention], Tensor]:
    """The attention of a fusion as it runs on encodings [1, B, T, D], and its output [1, B, size]."""
    found: list[Attention] = []
    names = {id(x): name for name, (x, _) in encodings.items()}

    def observe(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        target, source = (names.get(id(x)) for x in inputs[:2])
        if target is None or source is None:
            return
        lengths = [encodings[name][1] for name in (target, source)]
        own = Attention(
            target=target,
            source=source,
            module=module,
            queries=inputs[0][0],
            keys=inputs[1][0],
            target_lengths=None if lengths[0] is None else lengths[0][0],
            source_lengths=None if lengths[1] is None else lengths[1][0],
        )
        found.append(own)

    modules = [module for module in fusion.modules() if isinstance(module, AveragedAttention)]
    handles = [module.register_forward_hook(observe) for module in modules]
    try:
        return found, fusion(encodings)
    finally:
        for handle in handles:
            handle.remove()
