"""One line that says how far a stage's runs are, kept up to date on a terminal and left out elsewhere."""

import sys
import time

from tqdm import tqdm

from stages.train.protocol import Epoch, Key


class Progress:
    """Follows the runs of one stage; use it as a context manager."""

    def __init__(self, variant: str, keys: list[Key], patience: int):
        self.variant, self.keys, self.patience = variant, keys, patience
        self.best: dict[Key, tuple[float, int]] = {}  # run → best development accuracy and its epoch
        self.done: dict[Key, int] = {}  # run → epochs
        self.started = time.monotonic()

    def __enter__(self) -> "Progress":
        self.line = tqdm(bar_format="{desc}", disable=not sys.stderr.isatty())
        return self

    def __exit__(self, *_) -> None:
        self.line.close()

    def update(self, key: Key, epoch: Epoch) -> None:
        """Take note of an epoch and show it."""
        self.done[key] = epoch.epoch
        if epoch.dev_accuracy > self.best.get(key, (-1.0, 0))[0]:
            self.best[key] = epoch.dev_accuracy, epoch.epoch
        self.line.set_description_str(
            f"{self.variant}: {self._ended()} of {len(self.keys)} runs done; seed {key[0]}, fold {key[1]}: "
            f"epoch {epoch.epoch}, development accuracy {epoch.dev_accuracy:.3f}; about {self._left():.0f} s left"
        )

    def _ended(self) -> int:
        return sum(self.done[key] - best >= self.patience for key, (_, best) in self.best.items())

    def _left(self) -> float:
        """Seconds left if every run ends a patience after its best epoch, and those to come are like those seen."""
        ends = {key: max(self.done[key], best + self.patience) for key, (_, best) in self.best.items()}
        to_come = len(self.keys) - len(ends)
        epochs = sum(ends.values()) + to_come * sum(ends.values()) / len(ends) - sum(self.done.values())
        return epochs * (time.monotonic() - self.started) / sum(self.done.values())
