"""Adam and its schedule for runs side by side.

Written out because torch's own know nothing of runs, and their first use imports torch's compiler, a second or more.
"""

import numpy as np
import torch
from torch import Tensor

from stages.train.kernels.compiled import njit

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def fresh(parameters: Tensor) -> Tensor:
    """The state [3, P] of a run before its first step: parameters, means of gradients, means of their squares."""
    return torch.stack([parameters, torch.zeros_like(parameters), torch.zeros_like(parameters)])


def step(states: Tensor, gradients: Tensor, steps: list[int], rates: list[float]) -> None:
    """Change the runs' `states` [R, 3, P] by their `gradients` [R, P]: `torch.optim.Adam` with its defaults.

    Kingma & Ba 2015, Algorithm 1. `steps` [R]: how many steps each run has made, this one included; `rates` [R]: their
    learning rates.
    """
    sizes = [rate / (1 - BETAS[0] ** count) for rate, count in zip(rates, steps, strict=True)]
    corrections = [1 / (1 - BETAS[1] ** count) for count in steps]
    if _on_cpu(states):
        _step(states.numpy(), gradients.numpy(), np.array(sizes), np.array(corrections))
        return
    parameters, means, squares = states.unbind(1)
    means.lerp_(gradients, 1 - BETAS[0])
    squares.mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
    sizes, corrections = (states.new_tensor(numbers)[:, None] for numbers in (sizes, corrections))
    parameters.sub_(sizes * means / ((squares * corrections).sqrt_() + EPSILON))


def _on_cpu(states: Tensor) -> bool:
    return states.device.type == "cpu"


@njit(cache=True, error_model="numpy")
def _step(states, gradients, sizes, corrections):
    for run in range(len(states)):
        _step_run(states[run, 0], states[run, 1], states[run, 2], gradients[run], sizes[run], corrections[run])


@njit(fastmath={"contract"}, error_model="numpy")
def _step_run(parameters, means, squares, gradient, size, correction):
    number = parameters.dtype.type
    size, correction, epsilon = number(size), number(correction), number(EPSILON)
    fresh, fresh_square = number(1 - BETAS[0]), number(1 - BETAS[1])
    for i in range(len(parameters)):
        means[i] += fresh * (gradient[i] - means[i])
        squares[i] += fresh_square * (gradient[i] * gradient[i] - squares[i])
        parameters[i] -= size * means[i] / (np.sqrt(squares[i] * correction) + epsilon)


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
