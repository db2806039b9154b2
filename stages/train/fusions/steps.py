"""What other systems make of a sequence of steps: its last state, and attention by one query.

Shapes: R runs, B batch, T steps, D the encodings' width, one half of it from each of the GRU's two directions.
"""

import math

import torch
from torch import Tensor

from stages.train.fusions.attention import valid


def last(encoding: Tensor, lengths: Tensor | None) -> Tensor:
    """[R, B, T, D] → [R, B, D]: the forward half at the last step that holds data, the backward half at the first.

    `lengths` [R, B]: how many hold data, at least 1; None: all.
    """
    forward, backward = encoding.chunk(2, dim=3)  # (R, B, T, D / 2) each
    return torch.cat([last_step(forward, lengths).squeeze(2), backward[:, :, 0]], dim=2)


def last_step(x: Tensor, lengths: Tensor | None) -> Tensor:
    """[R, B, T, D] → [R, B, 1, D]: the last step that holds data, `lengths` [R, B] at least 1; None: the very last."""
    if lengths is None:
        return x[:, :, -1:]
    return x.gather(2, (lengths - 1)[..., None, None].expand(-1, -1, 1, x.shape[3]))


def shares(scores: Tensor, lengths: Tensor | None) -> Tensor:
    """Softmax over steps: scores [R, B, T] → weights [R, B, T], 0 beyond `lengths` [R, B]; None: all count."""
    if lengths is not None:
        scores = scores.masked_fill(~valid(lengths, scores.shape[2]), -math.inf)
    return scores.softmax(dim=2)


def attend(query: Tensor, encoding: Tensor, lengths: Tensor | None) -> Tensor:
    """att(q, m) = Σ_t softmax_t(e_t · q) e_t: one head, unscaled. q [R, B, D], e [R, B, T, D] → [R, B, D]."""
    weights = shares((encoding @ query[..., None]).squeeze(3), lengths)  # (R, B, T)
    return (weights[:, :, None] @ encoding).squeeze(2)
