"""One line that says how far a stage's runs are, kept up to date on a terminal and left out elsewhere."""

import sys
import time

from tqdm import tqdm

from stages.train.protocol import Standing
from stages.train.work import Key


class Progress:
    """Follows the runs of one stage; use it as a context manager."""

    def __init__(self, variant: str, keys: list[Key]):
        self.variant, self.keys = variant, keys
        self.standings: dict[Key, Standing] = {}
        self.before: dict[Key, int] = {}  # run → epochs that were behind it when it was first heard of
        self.started = time.monotonic()

    def __enter__(self) -> "Progress":
        self.line = tqdm(bar_format="{desc}", disable=not sys.stderr.isatty())
        return self

    def __exit__(self, *_) -> None:
        self.line.close()

    def update(self, key: Key, standing: Standing) -> None:
        """Take note of where a run stands and show it."""
        self.before.setdefault(key, standing.epochs)
        self.standings[key] = standing
        if standing.accuracy is not None:
            self.line.set_description_str(
                f"{self.variant}: {self._ended()} of {len(self.keys)} runs done; seed {key[0]}, fold {key[1]}: "
                f"epoch {standing.epochs}, development accuracy {standing.accuracy:.3f}{self._left()}"
            )

    def _ended(self) -> int:
        return sum(standing.has_ended for standing in self.standings.values())

    def _left(self) -> str:
        """The time left if no run's epochs get better than they are, and those to come are like those seen."""
        begun = [standing for standing in self.standings.values() if standing.epochs]
        behind = sum(standing.epochs for standing in begun)
        trained = behind - sum(self.before.values())
        if not trained:
            return ""
        to_come = sum(standing.end for standing in begun) / len(begun) * len(self.keys) - behind
        return f"; about {to_come * (time.monotonic() - self.started) / trained:.0f} s left"
