"""A train stage's place in the study and how long that will take, for people to read: no result depends on it."""

import time
from dataclasses import dataclass
from itertools import product

import psutil

from stages.common import features, params, predictions, variants
from stages.train.engine.work import Key, Work


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


def place(variant: str, seed: int, keys: list[Key], folds: list[int], config: params.Params) -> Place | None:
    """The place of the stage that trains the runs `keys`; None if params name no such stage.

    A stage is up to date if its outputs were last written here by the same code, params and data.
    """
    stages = list(product(config.variants, config.seeds))
    if (variant, seed) not in stages:
        return None
    longest, done, seconds, later = features.read_meta().longest, 0.0, 0.0, 0.0
    for name in config.variants:
        work = Work(name, config)
        positions = sum(longest[variants.MODALITIES[letter]] for letter in variants.parse(name).modalities)
        for each in config.seeds:
            written = work.written(each, predictions.folder(name, each))
            if written:
                done, seconds = done + positions * written[0], seconds + written[1]
            else:
                own = keys if name == variant else []
                runs = [(each, fold) for fold in folds if (each, fold) not in own]
                later += positions * sum(not work.has_result(key) for key in runs)
        if name == variant:
            own_work = positions * len(keys)
    number = stages.index((variant, seed)) + 1
    return Place(number=number, stages=len(stages), done=done, seconds=seconds, own=own_work, later=later)


def elapsed() -> float:
    """Seconds since this process began."""
    return time.time() - psutil.Process().create_time()


def about(seconds: float) -> str:
    """`about 40 s`, `about 3 min` or `about 2.5 h`."""
    if seconds < 99.5:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"about {seconds / 3600:.1f} h"
