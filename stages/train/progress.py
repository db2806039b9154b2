"""One line that says how far a stage's trainings are, kept up to date on a terminal and left out elsewhere."""

import sys
import time

from tqdm import tqdm

from stages.train.protocol import Epoch


class Progress:
    """Follows the folds of one stage; use it as a context manager."""

    def __init__(self, name: str, folds: list[int], patience: int):
        self.name, self.folds, self.patience = name, folds, patience
        self.best: dict[int, tuple[float, int]] = {}  # fold → best development accuracy and its epoch
        self.done: dict[int, int] = {}  # fold → epochs
        self.started = time.monotonic()

    def __enter__(self) -> "Progress":
        self.line = tqdm(bar_format="{desc}", disable=not sys.stderr.isatty())
        return self

    def __exit__(self, *_) -> None:
        self.line.close()

    def update(self, fold: int, epoch: Epoch) -> None:
        """Take note of an epoch and show it."""
        self.done[fold] = epoch.epoch
        if epoch.dev_accuracy > self.best.get(fold, (-1.0, 0))[0]:
            self.best[fold] = epoch.dev_accuracy, epoch.epoch
        self.line.set_description_str(
            f"{self.name}: fold {fold} of {len(self.folds)}, epoch {epoch.epoch}, "
            f"development accuracy {epoch.dev_accuracy:.3f}, about {self._left():.0f} s left"
        )

    def _left(self) -> float:
        """Seconds left if every fold ends a patience after its best epoch, and those to come are like those seen."""
        ends = {fold: max(self.done[fold], best + self.patience) for fold, (_, best) in self.best.items()}
        to_come = len(self.folds) - len(ends)
        epochs = sum(ends.values()) + to_come * sum(ends.values()) / len(ends) - sum(self.done.values())
        return epochs * (time.monotonic() - self.started) / sum(self.done.values())
