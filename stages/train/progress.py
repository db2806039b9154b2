"""One line that says how far a stage's runs are, kept up to date on a terminal and left out elsewhere."""

import sys
import time

from tqdm import tqdm

from stages.train.protocol import Epoch
from stages.train.work import Key


class Progress:
    """Follows the runs of one stage; use it as a context manager."""

    def __init__(self, variant: str, keys: list[Key], patience: int):
        self.variant, self.keys, self.patience = variant, keys, patience
        self.epochs: dict[Key, list[Epoch]] = {}
        self.resumed: dict[Key, int] = {}  # run → epochs that were behind it when it was first heard of
        self.started = time.monotonic()

    def __enter__(self) -> "Progress":
        self.line = tqdm(bar_format="{desc}", disable=not sys.stderr.isatty())
        return self

    def __exit__(self, *_) -> None:
        self.line.close()

    def update(self, key: Key, epochs: list[Epoch]) -> None:
        """Take note of a run's epochs so far and show the last."""
        self.resumed.setdefault(key, len(epochs))
        self.epochs[key] = epochs
        if epochs:
            self.line.set_description_str(
                f"{self.variant}: {self._ended()} of {len(self.keys)} runs done; seed {key[0]}, fold {key[1]}: "
                f"epoch {len(epochs)}, development accuracy {epochs[-1].dev_accuracy:.3f}; {self._left()}"
            )

    def _ended(self) -> int:
        return sum(len(epochs) >= self._end(epochs) for epochs in self.epochs.values() if epochs)

    def _end(self, epochs: list[Epoch]) -> int:
        """The epoch with which a run ends if none is better than its best so far."""
        best = max(epochs, key=lambda epoch: epoch.dev_accuracy)  # the first of them
        return max(len(epochs), best.epoch + self.patience)

    def _left(self) -> str:
        """The time left if every run ends a patience after its best epoch, and those to come are like those seen."""
        ends = [self._end(epochs) for epochs in self.epochs.values() if epochs]
        behind = sum(len(epochs) for epochs in self.epochs.values())
        trained = behind - sum(self.resumed.values())
        if not trained:
            return "continued"
        to_come = sum(ends) / len(ends) * len(self.keys) - behind
        return f"about {to_come * (time.monotonic() - self.started) / trained:.0f} s left"
