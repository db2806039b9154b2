"""The parameters of several runs of one variant as rows of one tensor, so that one operation serves them all."""

import torch
from torch import Tensor, nn

from stages.train.layers import ALIGNED, Dropout, round_up


class Stack:
    """Gives a network the parameters of R models, and collects their gradients.

    A model's parameters are one vector [P]: one after the other, each padded with zeros to a multiple of `ALIGNED`.
    """

    def __init__(self, network: nn.Module):
        self.network = network
        self.names, self.parameters = zip(*network.named_parameters(), strict=True)
        self.runs = 0
        """For how many runs the parameters are."""
        self.shapes = [parameter.shape for parameter in self.parameters]
        padded = [round_up(shape.numel(), ALIGNED) for shape in self.shapes]
        self.starts = [sum(padded[:i]) for i in range(len(padded))]
        self.size = sum(padded)
        self.dropouts = [module for module in network.modules() if isinstance(module, Dropout)]

    def vector(self, network: nn.Module) -> Tensor:
        """The parameters [P] of a network of the same architecture that is one model, with no runs in front."""
        return self._joined([parameter.detach()[None] for parameter in network.parameters()])[0]

    def use(self, vectors: Tensor, generators: tuple[torch.Generator, ...] = ()) -> nn.Module:
        """The network with R models' parameters, views of `vectors` [R, P]; in training each run has a generator."""
        parts = self._parts(vectors)
        if len(vectors) != self.runs:
            # A graph that something still holds, such as an exception's traceback, expects gradients of the old shape.
            self.parameters = [self._replaced(parameter) for parameter in self.parameters]
            self.runs = len(vectors)
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.data = part
        for dropout in self.dropouts:
            dropout.generators = generators
        return self.network

    def gradient(self) -> Tensor:
        """The gradients [R, P] of the last backward pass, which must have reached all parameters; then forget them."""
        gradient = self._joined([parameter.grad for parameter in self.parameters])
        for parameter in self.parameters:
            parameter.grad = None
        return gradient

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """One model's parameters [P] by name."""
        return {name: part[0].clone() for name, part in zip(self.names, self._parts(vector[None]), strict=True)}

    def _replaced(self, old: nn.Parameter) -> nn.Parameter:
        """A new parameter of the network in each place of an old one."""
        with torch.inference_mode(False):
            new = nn.Parameter(torch.empty_like(old.data))
        for module in self.network.modules():
            for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                if parameter is old:
                    setattr(module, name, new)
        return new

    def _parts(self, vectors: Tensor) -> list[Tensor]:
        return [
            vectors[:, start : start + shape.numel()].unflatten(1, shape)
            for start, shape in zip(self.starts, self.shapes, strict=True)
        ]

    def _joined(self, tensors: list[Tensor]) -> Tensor:
        vectors = tensors[0].new_zeros(len(tensors[0]), self.size)
        for part, tensor in zip(self._parts(vectors), tensors, strict=True):
            part.copy_(tensor)
        return vectors
