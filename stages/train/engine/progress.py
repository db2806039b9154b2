"""One line that says how far a stage's runs are, kept up to date on a terminal and left out elsewhere."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from stages.common.records import RunId
from stages.train.engine import study
from stages.train.run_state import RunProgress


@dataclass(kw_only=True)
class _Followed:
    """A run, as far as it was heard of."""

    before: int
    """Epochs that were behind it when it was first heard of."""
    begun: float
    """When that was."""
    latest: RunProgress
    first: float | None = None
    """When its first epoch after that had ended."""
    last: float = 0.0
    """When its latest epoch had ended."""

    @property
    def timed(self) -> int:
        """Epochs between `first` and `last`."""
        return self.latest.epochs_done - self.before - 1 if self.first is not None else 0

    @property
    def to_come(self) -> int:
        """Epochs until it ends, if none is better than its best so far."""
        return self.latest.last_epoch - self.latest.epochs_done


class Progress:
    """Follows the runs of one stage; use it as a context manager."""

    def __init__(
        self,
        variant: str,
        run_ids: list[RunId],
        place: study.Place | None = None,
        clock: Callable[[], float] = study.elapsed,
    ):
        """`place`: the stage's; `clock`: seconds since the stage began."""
        self.variant, self.run_ids, self.place, self.clock = variant, run_ids, place, clock
        self.runs: dict[RunId, _Followed] = {}
        self.at_once = 1
        """The most runs that were seen running at a time."""

    def __enter__(self) -> "Progress":
        self.line = tqdm(bar_format="{desc}", disable=not sys.stderr.isatty())
        return self

    def __exit__(self, *_) -> None:
        self.line.close()

    def update(self, run_id: RunId, progress: RunProgress) -> None:
        """Take note of how far a run is and show it."""
        now, run = self.clock(), self.runs.get(run_id)
        if run is None or progress.epochs_done < run.latest.epochs_done:  # a lost task's run resumes from a checkpoint
            run = self.runs[run_id] = _Followed(before=progress.epochs_done, begun=now, latest=progress)
        run.latest = progress
        if progress.epochs_done > run.before:
            run.last = now
            run.first = run.last if run.first is None else run.first
        self.at_once = max(self.at_once, sum(not run.latest.has_ended for run in self.runs.values()))
        if progress.dev is not None:
            self.line.set_description_str(self.text(run_id))

    def text(self, run_id: RunId) -> str:
        """The stage's place in the study, its own progress and that of one run."""
        left, ended = self.left(), sum(run.latest.has_ended for run in self.runs.values())
        progress = self.runs[run_id].latest
        return (
            (f"{self.place.text(self.place.left(self.clock() - self.warm_up(), left))}; " if self.place else "")
            + f"{self.variant}: {ended} of {len(self.run_ids)} runs done"
            + (f", {study.about(left)} left" if left is not None else "")
            + f"; seed {run_id.seed}, fold {run_id.fold}: epoch {progress.epochs_done}, development "
            f"{progress.dev[0]} {progress.dev[1]:.3f}"
        )

    def left(self) -> float | None:
        """Seconds that the stage will still take, if no run's epochs get better than they are and those to come are
        like those seen; None before any run has made two."""
        seconds = self._epoch()
        if seconds is None:
            return None
        unheard, lengths = len(self.run_ids) - len(self.runs), [run.latest.last_epoch for run in self.runs.values()]
        to_come = sum(run.to_come for run in self.runs.values()) + unheard * sum(lengths) / len(lengths)
        running = unheard + sum(not run.latest.has_ended for run in self.runs.values())
        return seconds * to_come / max(1, min(self.at_once, running))

    def warm_up(self) -> float:
        """Seconds that the first epoch took longer than an epoch takes: for the most, compilation."""
        seconds = self._epoch()
        if seconds is None:
            return 0.0
        first = min((run for run in self.runs.values() if run.first is not None), key=lambda run: run.first)
        return max(0.0, first.first - first.begun - seconds)

    def _epoch(self) -> float | None:
        """Seconds of a run's epoch, each run's first left out, since the first contains a worker's compilation."""
        timed = [run for run in self.runs.values() if run.timed]
        epochs = sum(run.timed for run in timed)
        return sum(run.last - run.first for run in timed) / epochs if epochs else None
