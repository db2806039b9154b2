"""Layers of R models of one architecture, computed together: run r's values x[r] meet run r's parameters p[r].

A module is built with the parameters of one model; `stack.py` gives them the runs in front, [R, ...], before it is
called. On a CPU, what a run computes does not depend on the other runs, to the last bit.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ALIGNED = 16
"""Values in a CPU's longest vector. A product may round otherwise where an operand does not begin at a multiple of it,
as the second run's would: so all tensors are padded to such sizes."""


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is not less than n."""
    return -(-n // multiple) * multiple


class Linear(nn.Linear):
    """[R, ..., I] → [R, ..., O]."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias: x [R, ..., I], weight [R, O, I], bias [R, O] → [R, ..., O]."""
    flat, wanted, weight = x.flatten(1, -2), weight.shape[1], padded(weight)
    if bias is None:
        product = torch.bmm(flat, weight.transpose(1, 2))
    else:
        bias = F.pad(bias, (0, weight.shape[1] - wanted))
        product = torch.baddbmm(bias[:, None], flat, weight.transpose(1, 2))
    return product[..., :wanted].unflatten(1, x.shape[1:-1])


def padded(weight: Tensor) -> Tensor:
    """weight [R, O, I] → [R, O', I], with rows of zeros where else a run's weights or gradients would not lie aligned.

    O' is O, or the next multiple of `ALIGNED`.
    """
    rows, columns = weight.shape[1:]
    return F.pad(weight, (0, 0, 0, round_up(rows, ALIGNED) - rows)) if rows * columns % ALIGNED else weight


class Dropout(nn.Module):
    """[R, ...] → [R, ...]: in training each value is 0 with probability p, else divided by 1 - p.

    Every run draws from a generator of its own.
    """

    generators: tuple[torch.Generator, ...] = ()
    """One for each run; `stack.py` sets them."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    @property
    def rate(self) -> float:
        """The probability in the present mode: 0 outside training."""
        return self.p if self.training else 0.0

    def forward(self, x: Tensor) -> Tensor:
        return x if self.rate == 0 else torch.stack([self.of_run(run, values) for run, values in enumerate(x)])

    def of_run(self, run: int, x: Tensor) -> Tensor:
        """Dropout of one run's values x, of any shape."""
        if self.rate == 0:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self.generators[run])
        return x * kept.div_(1 - self.rate)

    def seeds(self) -> np.ndarray:
        """Draw a seed for each run's random numbers in a compiled loop: uint32 [R]."""
        seeds = [torch.randint(2**32, (), generator=generator).item() for generator in self.generators]
        return np.array(seeds, np.uint32)
