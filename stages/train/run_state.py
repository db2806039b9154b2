"""A run: one training of a variant with one seed on one fold, while it is trained and when it has ended."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.plan import Select
from stages.common.records import OUTPUTS, SHARES, WEIGHTS, Record, RunId
from stages.train import optimiser
from stages.train.data import Scaler

DEV = "dev_"
"""Before the names of the development part's values."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch left behind."""

    epoch: int
    train_loss: float
    """Mean over the epoch's utterances, dropout on."""
    dev: dict[str, float]
    """`Objective.scores` of the development part."""
    learning_rate: float
    """With which the epoch was trained."""

    def row(self) -> dict[str, int | float]:
        """Its values by names that say which are of the development part, as `curves.csv` has them."""
        dev = {f"{DEV}{name}": value for name, value in self.dev.items()}
        return {"epoch": self.epoch, "train_loss": self.train_loss} | dev | {"learning_rate": self.learning_rate}

    @classmethod
    def from_row(cls, row: dict[str, int | float]) -> "Epoch":
        """The epoch whose `row` it is."""
        dev = {name.removeprefix(DEV): value for name, value in row.items() if name.startswith(DEV)}
        return cls(dev=dev, **{name: row[name] for name in ("epoch", "train_loss", "learning_rate")})

    def is_better(self, other: "Epoch", select: Select) -> bool:
        """Whether its development value `select` is better than another epoch's: equal is not."""
        return self.dev[select] < other.dev[select] if select == "loss" else self.dev[select] > other.dev[select]

    @property
    def is_finite(self) -> bool:
        """Whether its losses are."""
        return bool(np.isfinite([self.train_loss, self.dev["loss"]]).all())

    def check_finite(self, run: RunId) -> None:
        """Raise a UserError if a loss is not finite."""
        if not self.is_finite:
            raise UserError(
                f"seed {run.seed}, fold {run.fold}, epoch {self.epoch}: the loss must be finite, but is "
                f"{self.train_loss} on the training part and {self.dev['loss']} on the development part; a lower "
                f"train.protocol.learning_rate ({self.learning_rate} now) may help"
            )


class RunProgress(NamedTuple):
    """How far a run is: little enough for a pipe to pass on at once, or not at all if its process is killed."""

    epochs_done: int
    last_epoch: int
    """The epoch with which it ends if none is better than its best so far."""
    dev: tuple[str, float] | None
    """A score of the development part after its latest epoch, and its name."""

    @property
    def has_ended(self) -> bool:
        """Whether its latest epoch was its last."""
        return self.epochs_done == self.last_epoch


@dataclass(frozen=True, kw_only=True)
class Run:
    """The outcome of one training."""

    epochs: list[Epoch]
    outputs: np.ndarray
    """[test utterances, C]: probabilities of classes, or values of dimensions."""
    dev_outputs: np.ndarray
    """[development utterances, C]"""
    shares: dict[str, np.ndarray]
    """What the fusion's gate lets through of each test utterance, name → [test utterances]; empty without a gate."""
    weights: dict[str, Tensor]
    """Of the best epoch, by which all of these are predicted."""

    def record(self, *, weights: bool) -> Record:
        """What is kept of it, with its weights or without."""
        kept = {f"{WEIGHTS}{name}": value.numpy() for name, value in self.weights.items()} if weights else {}
        return Record(
            values={
                "epochs": [epoch.row() for epoch in self.epochs],
                "parameters": sum(value.numel() for value in self.weights.values()),
            },
            arrays={
                f"{OUTPUTS}test": self.outputs,
                f"{OUTPUTS}dev": self.dev_outputs,
                **{f"{SHARES}{name}": np.ascontiguousarray(share) for name, share in self.shares.items()},
                **kept,
            },
        )


class Checkpoints(Protocol):
    """Where runs leave checkpoints and resume from."""

    def checkpoint(self, run: RunId) -> Record | None:
        """A run's checkpoint, if it has one."""

    def write_checkpoint(self, run: RunId, checkpoint: Record) -> None:
        """Keep a run's checkpoint instead of the one before."""


@dataclass(kw_only=True)
class RunState:
    """A run that is being trained, but for its parameters and the optimiser's means (`optimiser.State`)."""

    id: RunId
    rows: dict[str, np.ndarray]
    """Part → rows of the features."""
    scalers: dict[str, Scaler]
    """Of the modalities that are standardised."""
    shuffle: np.random.Generator
    """Of the order of the training part."""
    generator: torch.Generator
    """Of dropout."""
    schedule: optimiser.Plateau
    select: Select
    """The development value by which its best epoch is chosen."""
    steps: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: Tensor | None = None
    """Parameters [P] of the best epoch."""
    diverged: bool = False
    """Whether it has ended because a loss was not finite; the epoch in which it was is none of its epochs."""

    def note(self, epoch: Epoch, parameters: Tensor) -> None:
        """Take note of an epoch and the parameters [P] after it."""
        self.schedule.step(epoch.dev["loss"])
        if self.best is None or epoch.is_better(self.epochs[self.best_epoch - 1], self.select):
            self.best_epoch, self.best = epoch.epoch, parameters.clone()
        self.epochs.append(epoch)

    def progress(self, *, patience: int, max_epochs: int) -> RunProgress:
        """How far it is."""
        last = len(self.epochs) if self.diverged else min(self.best_epoch + patience, max_epochs)
        scores = self.epochs[-1].dev.items() if self.epochs else ()
        dev = next((score for score in scores if score[0] != "loss"), None)
        return RunProgress(len(self.epochs), last, dev)

    def checkpoint(self, state: optimiser.State) -> Record:
        """All that it takes to resume from here with the run's `state` as if nothing had been."""
        return Record(
            values={
                "device": state.values.device.type,
                "epochs": [epoch.row() for epoch in self.epochs],
                "best_epoch": self.best_epoch,
                "steps": self.steps,
                "schedule": vars(self.schedule),
                "shuffle": self.shuffle.bit_generator.state,
            },
            arrays={
                "state": state.values.cpu().numpy(),
                "best": self.best.cpu().numpy(),
                "generator": self.generator.get_state().numpy(),
            },
        )

    def resume(self, checkpoint: Record, state: optimiser.State) -> None:
        """Resume from a checkpoint; `state` is overwritten by that of the checkpoint."""
        values, arrays = checkpoint.values, {name: torch.tensor(array) for name, array in checkpoint.arrays.items()}
        self.epochs = [Epoch.from_row(row) for row in values["epochs"]]
        self.best_epoch, self.steps = values["best_epoch"], values["steps"]
        vars(self.schedule).update(values["schedule"])
        self.shuffle.bit_generator.state = values["shuffle"]
        self.generator.set_state(arrays["generator"])
        self.best = arrays["best"].to(state.values.device)
        state.values.copy_(arrays["state"])
