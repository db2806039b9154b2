"""How the vectors of several positions, or of several attention modules, become one."""

import torch
from torch import Tensor

from stages.train.fusions.attention import valid


def mean_over_time(encoding: Tensor, lengths: Tensor | None) -> Tensor:
    """[R, B, T, D] → [R, B, D]: the mean of the positions that hold data, the first `lengths` [R, B]; None: all."""
    if lengths is None:
        return encoding.mean(dim=2)
    held = valid(lengths, encoding.shape[2])[..., None]  # (R, B, T, 1)
    return (encoding * held).sum(dim=2) / lengths[..., None]


def statistical_pooling(vectors: Tensor) -> Tensor:
    """[R, B, M, D] → [R, B, 2D]: mean and unbiased standard deviation across the modules' vectors (paper, Fig. 1)."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))  # of mixed precision
    mean = vectors.mean(dim=2)
    variance = (vectors - mean[:, :, None]).square().sum(dim=2) / (vectors.shape[2] - 1)
    # As torch.std, which is slow on this axis; like it, equal vectors get a gradient of 0, not NaN.
    deviation = variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
    return torch.cat([mean, deviation], dim=2)


def concatenation(vectors: Tensor) -> Tensor:
    """[R, B, M, D] → [R, B, M · D]."""
    return vectors.flatten(2)
