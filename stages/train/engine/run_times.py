"""How long each run's epochs took: the one thing that a run leaves which is not the same when it is trained again."""

import time
from collections.abc import Callable

from stages.common.records import Record, RunId
from stages.train.run_state import Checkpoints, RunProgress


class RunTimes:
    """Shares out a process's time among the runs that it trains at once, epoch by epoch.

    It stands between the protocol and what keeps checkpoints, in which it has each run's times kept too. The time is
    the processor's, which other processes do not lengthen; on CUDA, where most of it is not the processor's, the
    clock's.
    """

    def __init__(self, checkpoints: Checkpoints, report: Callable[[RunId, RunProgress], None], *, cuda: bool):
        self.checkpoints, self._report = checkpoints, report
        self._clock = time.perf_counter if cuda else time.process_time
        self._since = self._clock()
        self._epochs: dict[RunId, list[float]] = {}
        self._begun: dict[RunId, float] = {}

    def checkpoint(self, run: RunId) -> Record | None:
        """A run's checkpoint, with which it starts."""
        self._share_out()
        found = self.checkpoints.checkpoint(run)
        self._epochs[run], self._begun[run] = list(found.values.get("seconds", [])) if found else [], 0.0
        return found

    def write_checkpoint(self, run: RunId, checkpoint: Record) -> None:
        """Keep a run's checkpoint, with its times."""
        values = checkpoint.values | {"seconds": self._epochs[run]}
        self.checkpoints.write_checkpoint(run, Record(values=values, arrays=checkpoint.arrays))

    def report(self, run: RunId, progress: RunProgress) -> None:
        """Take note of an epoch's end, and pass it on."""
        self._share_out()
        epochs = self._epochs[run]
        if progress.epochs_done > len(epochs):
            epochs.append(round(self._begun[run], 4))
            self._begun[run] = 0.0
        del epochs[progress.epochs_done :]  # of a checkpoint that was no use
        self._report(run, progress)

    def ended(self, run: RunId) -> list[float]:
        """The seconds of each epoch of a run that has ended."""
        self._share_out()
        del self._begun[run]
        return self._epochs.pop(run)

    def _share_out(self) -> None:
        now = self._clock()
        for run in self._begun:
            self._begun[run] += (now - self._since) / len(self._begun)
        self._since = now
