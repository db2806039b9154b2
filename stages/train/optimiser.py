"""Adam and its schedule for runs side by side.

Written out because torch's own know nothing of runs, and their first use imports torch's compiler, a second or more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.train import kernels
from stages.train.kernels.compiled import njit

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True)
class State:
    """What Adam keeps of R runs, or of one: named views of one tensor.

    `state[2]` is the state of one run, a view; `state[[0, 2]]` that of some runs, a copy.
    """

    values: Tensor
    """[R, 3, P], of one run [3, P]: parameters, mean, square."""

    @property
    def parameters(self) -> Tensor:
        """The models' parameters: [R, P] or [P]."""
        return self.values[..., 0, :]

    @property
    def mean(self) -> Tensor:
        """The running means of the gradients: [R, P] or [P]."""
        return self.values[..., 1, :]

    @property
    def square(self) -> Tensor:
        """The running means of the squared gradients: [R, P] or [P]."""
        return self.values[..., 2, :]

    @classmethod
    def cat(cls, states: Sequence["State"]) -> "State":
        """Join states, each of one run or of several, to that of all these runs in their order, [R, 3, P]."""
        return cls(torch.cat([state.values.view(-1, *state.values.shape[-2:]) for state in states]))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, runs: int | list[int]) -> "State":
        return State(self.values[runs])

    def __setitem__(self, runs: list[int], state: "State") -> None:
        self.values[runs] = state.values


def fresh(parameters: Tensor) -> State:
    """The state before the first step, for parameters [P] of one run or [R, P] of several."""
    return State(torch.stack([parameters, torch.zeros_like(parameters), torch.zeros_like(parameters)], dim=-2))


def step(state: State, gradients: Tensor, steps: list[int], rates: list[float]) -> None:
    """Change the runs' `state` by their `gradients` [R, P], in place: `torch.optim.Adam` with its defaults.

    Kingma & Ba 2015, Algorithm 1. `steps` [R]: how many steps each run has made, this one included; `rates` [R]: their
    learning rates.
    """
    sizes = [rate / (1 - BETAS[0] ** count) for rate, count in zip(rates, steps, strict=True)]
    corrections = [1 / (1 - BETAS[1] ** count) for count in steps]
    if kernels.are_for(state.values):
        _step(gradients.numpy(), np.array(sizes), np.array(corrections), state.values.numpy())
        return
    state.mean.lerp_(gradients, 1 - BETAS[0])
    state.square.mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
    sizes, corrections = (state.values.new_tensor(numbers)[:, None] for numbers in (sizes, corrections))
    state.parameters.sub_(sizes * state.mean / ((state.square * corrections).sqrt_() + EPSILON))


@njit(cache=True, error_model="numpy")
def _step(gradients, sizes, corrections, values):
    """Change the state `values` [R, 3, P] by `gradients` [R, P], given step sizes and bias corrections [R]."""
    for run in range(len(values)):
        parameters, mean, square = values[run, 0], values[run, 1], values[run, 2]
        _step_run(gradients[run], sizes[run], corrections[run], parameters, mean, square)


@njit(fastmath={"contract"}, error_model="numpy")
def _step_run(gradient, size, correction, parameters, mean, square):
    number = parameters.dtype.type
    size, correction, epsilon = number(size), number(correction), number(EPSILON)
    fresh, fresh_square = number(1 - BETAS[0]), number(1 - BETAS[1])
    for i in range(len(parameters)):
        mean[i] += fresh * (gradient[i] - mean[i])
        square[i] += fresh_square * (gradient[i] * gradient[i] - square[i])
        parameters[i] -= size * mean[i] / (np.sqrt(square[i] * correction) + epsilon)


class Plateau:
    """`torch.optim.lr_scheduler.ReduceLROnPlateau`: the learning rate times `factor` when the loss stalls.

    It stalls when it has not fallen by more than a share of 1e-4 for more than `patience` epochs.
    """

    def __init__(self, rate: float, *, factor: float, patience: int):
        self.rate, self.factor, self.patience = rate, factor, patience
        self.best, self.stalled = float("inf"), 0

    def step(self, loss: float) -> None:
        """Note an epoch's loss."""
        if loss < self.best * (1 - 1e-4):
            self.best, self.stalled = loss, 0
        else:
            self.stalled += 1
        if self.stalled > self.patience:
            lower = self.rate * self.factor
            if self.rate - lower > 1e-8:  # a smaller change is none, as torch has it
                self.rate = lower
            self.stalled = 0
