"""A train stage's place in the study and how long that will take, for people to read: no result depends on it."""

import time
from dataclasses import dataclass
from itertools import product

import psutil

from stages.common import params, predictions
from stages.common.records import RunId
from stages.train.engine.work import Draws, Work


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


def place(
    draws: Draws, seed: int, running: dict[str, list[RunId]], folds: list[int], config: params.Params, trained: int = 0
) -> Place | None:
    """The place of a stage that trains a variant's draws, one after the other; None if params name no such stage.

    A stage is up to date if its outputs were last written here by the same plan and data.
    `running`: digest of a draw's work → the runs that are trained now. `trained`: how many the stage trained before.
    """
    stages = list(product(config.variants, config.seeds))
    if (draws.variant, seed) not in stages:
        return None
    done, seconds, later = 0.0, 0.0, 0.0
    for name in config.variants:
        own = draws if name == draws.variant else Draws(name, draws.data)
        for each in config.seeds:
            written = own.written(each, predictions.folder(name, each))
            if written:
                done, seconds = done + own.positions * written[0], seconds + written[1]
            else:
                later += own.positions * sum(_to_come(work, each, running, folds) for work in own.works)
    number, own_runs = stages.index((draws.variant, seed)) + 1, trained + sum(map(len, running.values()))
    own_work = draws.positions * own_runs
    return Place(number=number, stages=len(stages), done=done, seconds=seconds, own=own_work, later=later)


def _to_come(work: Work, seed: int, running: dict[str, list[RunId]], folds: list[int]) -> int:
    """How many of a seed's runs have no result and are not running."""
    runs = (RunId(seed, fold) for fold in folds)
    return sum(run not in running.get(work.digest, []) and not work.has_result(run) for run in runs)


def elapsed() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def about(seconds: float) -> str:
    """`about 40 s`, `about 3 min` or `about 2.5 h`."""
    if seconds < 99.5:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"about {seconds / 3600:.1f} h"
