"""`python -m tools.status`: how much of the study is done and about how long its trainings will still take.

It reads and runs nothing of the study. A run (one fold and seed of a variant, or one draw of that where it is tuned) is
done if its stage is up to date, or its result waits in `.work/`.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from stages.common import cli, corpus, params, predictions
from stages.common.errors import UserError
from stages.common.records import RunId
from stages.train.engine.study import about
from stages.train.engine.work import Draws, data_digest

BEFORE = ("plan", "corpus", "features", "split")
"""Stages without which nothing can be trained."""
ALWAYS = "cost"
"""A stage that is never up to date."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How far the training of one variant and seed is."""

    variant: str
    done: int
    begun: int
    """Runs that have a checkpoint."""
    runs: int
    positions: int
    """Of a run: what its work is about proportional to."""
    noted: tuple[int, float] | None
    """Runs that were trained by stages that are up to date, and the seconds that this took."""


def main() -> None:
    """Print it."""
    cli.ArgumentParser(prog="python -m tools.status", description=__doc__.splitlines()[0]).parse_args()
    config, stale = params.load(), [name for name in _stale() if name != ALWAYS]
    before = [name for name in stale if name.partition("@")[0] in BEFORE]
    if before:
        print(f"Before anything is trained, these stages have to run: {', '.join(before)}")
        return
    print(report(list(stages(config, stale))), end="")
    after = [name for name in stale if not name.startswith("train@")]
    print(f"After the trainings: {', '.join(after)}" if after else "All other stages are up to date")


def _stale() -> list[str]:
    """The stages that DVC would run, in its order."""
    done = subprocess.run(["dvc", "--wait-for-lock", "status", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc status failed: {done.stderr.strip()}")
    return list(json.loads(done.stdout))


def stages(config: params.Params, stale: list[str]) -> Iterator[Stage]:
    """How far each train stage is, in DVC's order; `stale`: those that are not up to date, among others."""
    folds, data = corpus.numbers(corpus.read_folds()), data_digest()
    for variant in config.variants:
        draws = Draws(variant, data)
        for seed in config.seeds:
            runs = [(work, RunId(seed, fold)) for work in draws.works for fold in folds]
            up_to_date = f"train@{variant}-{seed}" not in stale
            done = len(runs) if up_to_date else sum(work.has_result(run) for work, run in runs)
            begun = 0 if up_to_date else sum(len(work.begun([run])) for work, run in runs)
            noted = draws.written(seed, predictions.folder(variant, seed)) if up_to_date else None
            positions = draws.positions
            yield Stage(variant=variant, done=done, begun=begun, runs=len(runs), positions=positions, noted=noted)


def report(found: list[Stage]) -> str:
    """A line a variant, and one for all with the time left, if a stage that is up to date was timed here."""
    lines, width = [], max(len(stage.variant) for stage in found)
    for variant in dict.fromkeys(stage.variant for stage in found):
        lines.append(f"{variant:{width}}  {_counts([stage for stage in found if stage.variant == variant])}")
    left = seconds_left(found)
    rest = f"; the rest takes {about(left)}" if left else "; none was timed here" if left is None else ""
    return "\n".join([*lines, f"{'all':{width}}  {_counts(found)}{rest}"]) + "\n"


def _counts(found: list[Stage]) -> str:
    done, runs, begun = (sum(getattr(stage, name) for stage in found) for name in ("done", "runs", "begun"))
    return f"{done} of {runs} runs done" + (f", {begun} begun" if begun else "")


def seconds_left(found: list[Stage]) -> float | None:
    """Seconds that the runs to come take, if work goes as fast as it went; 0 if there are none, None if none was timed.

    As the train stages say it (`Place.left`): work is counted in runs × positions.
    """
    to_come = sum((stage.runs - stage.done) * stage.positions for stage in found)
    timed = [stage for stage in found if stage.noted]
    work = sum(stage.noted[0] * stage.positions for stage in timed)
    if not to_come:
        return 0.0
    return to_come * sum(stage.noted[1] for stage in timed) / work if work else None


if __name__ == "__main__":
    cli.run(main)
