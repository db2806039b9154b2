"""A train stage's place in the study and how long that will take, for people to read: no result depends on it."""

import time
from dataclasses import dataclass
from itertools import product

import psutil

from stages.common import params, predictions
from stages.common.plan import read
from stages.common.records import RunId
from stages.train.engine.work import Work


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stage is among the study's train stages. Work is counted in runs × positions of their sequences."""

    number: int
    """In DVC's order, from 1."""
    stages: int
    """Of the study."""
    done: float
    """Work of the stages that are up to date."""
    seconds: float
    """That they took."""
    own: float
    """Work of this stage."""
    later: float
    """Work of the stages that are not up to date, but for this one."""

    def left(self, elapsed: float = 0.0, own_left: float | None = 0.0) -> float | None:
        """Seconds until all is trained, if work to come goes as fast as it went; None where none has been done.

        `elapsed`: seconds since this stage began; `own_left`: that it will still take, None if that is not known.
        """
        if own_left is None:
            if not self.done:
                return None
            own_left = max(0.0, self.own * self.seconds / self.done - elapsed)
        work = self.done + self.own
        return own_left + self.later * (self.seconds + elapsed + own_left) / work if work else None

    def text(self, left: float | None) -> str:
        """`train 12 of 42, about 3 min left`."""
        return f"train {self.number} of {self.stages}" + (f", {about(left)} left" if left else "")


def place(work: Work, seed: int, run_ids: list[RunId], folds: list[int], config: params.Params) -> Place | None:
    """The place of the stage that trains the runs `run_ids` of `work`; None if params name no such stage.

    A stage is up to date if its outputs were last written here by the same plan and data.
    """
    stages = list(product(config.variants, config.seeds))
    if (work.variant, seed) not in stages:
        return None
    done, seconds, later = 0.0, 0.0, 0.0
    for name in config.variants:
        own = work if name == work.variant else Work(name, read(name), work.data)
        for each in config.seeds:
            written = own.written(each, predictions.folder(name, each))
            if written:
                done, seconds = done + own.positions * written[0], seconds + written[1]
            else:
                runs = [RunId(each, fold) for fold in folds if own is not work or (each, fold) not in run_ids]
                later += own.positions * sum(not own.has_result(run) for run in runs)
    number, trained = stages.index((work.variant, seed)) + 1, work.positions * len(run_ids)
    return Place(number=number, stages=len(stages), done=done, seconds=seconds, own=trained, later=later)


def elapsed() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def about(seconds: float) -> str:
    """`about 40 s`, `about 3 min` or `about 2.5 h`."""
    if seconds < 99.5:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"about {seconds / 3600:.1f} h"
