"""Adam and its schedule: torch's own, whose first use imports torch's compiler, take a second more in every stage."""

import torch
from torch import nn


class Adam:
    """`torch.optim.Adam` with its defaults (Kingma & Ba 2015, Algorithm 1), on all parameters as one vector."""

    def __init__(self, network: nn.Module, learning_rate: float, *, betas: tuple = (0.9, 0.999), epsilon: float = 1e-8):
        self.learning_rate, self.betas, self.epsilon, self.steps = learning_rate, betas, epsilon, 0
        self.parameters = list(network.parameters())
        self.vector = torch.cat([parameter.detach().flatten() for parameter in self.parameters])
        self.first, self.second = torch.zeros_like(self.vector), torch.zeros_like(self.vector)
        sizes = [parameter.numel() for parameter in self.parameters]
        for parameter, part in zip(self.parameters, self.vector.split(sizes), strict=True):
            parameter.data = part.view_as(parameter)

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients, all of which must be there; then forget these."""
        gradient = torch.cat([parameter.grad.flatten() for parameter in self.parameters])
        for parameter in self.parameters:
            parameter.grad = None
        self.steps += 1
        beta, beta_squares = self.betas
        self.first.lerp_(gradient, 1 - beta)
        self.second.mul_(beta_squares).addcmul_(gradient, gradient, value=1 - beta_squares)
        deviation = (self.second / (1 - beta_squares**self.steps)).sqrt_().add_(self.epsilon)
        self.vector.addcdiv_(self.first, deviation, value=-self.learning_rate / (1 - beta**self.steps))


class Plateau:
    """`torch.optim.lr_scheduler.ReduceLROnPlateau`: the learning rate times `factor` when the loss stalls.

    It stalls when it has not fallen by more than a share of 1e-4 for more than `patience` epochs.
    """

    def __init__(self, optimiser: Adam, *, factor: float, patience: int):
        self.optimiser, self.factor, self.patience = optimiser, factor, patience
        self.best, self.stalled = float("inf"), 0

    def step(self, loss: float) -> None:
        """Note an epoch's loss."""
        if loss < self.best * (1 - 1e-4):
            self.best, self.stalled = loss, 0
        else:
            self.stalled += 1
        if self.stalled > self.patience:
            lower = self.optimiser.learning_rate * self.factor
            if self.optimiser.learning_rate - lower > 1e-8:  # a smaller change is none, as torch has it
                self.optimiser.learning_rate = lower
            self.stalled = 0
