"""`python -m stages.train --variant V --seed S`: write `runs/V/seedS/`, its folds trained in parallel.

What is trained is said by `data/plans/V.json` alone; `train` in params.yaml says how, which changes no result. Runs of
small models are trained several at once: then those of the next seeds too, whose stages find them done.
"""

import re
import sys
from contextlib import ExitStack, suppress

import psutil

from stages.common import cli, corpus, features, files, params, plan, predictions, variants
from stages.common.errors import UserError
from stages.common.records import Record, RunId
from stages.train import outputs
from stages.train.engine import study
from stages.train.engine.work import Work, data_digest, remove_old, verify_features


def main() -> None:
    """Train one variant with one seed on every fold."""
    (variant, seed), config, callers = _options(), params.load(), _callers()
    table, work = corpus.read_folds(), Work(variant, plan.read(variant), data_digest())
    folds = corpus.numbers(table)
    remove_old(config.train.work)
    with work.lock(seed, wait=True):
        run_ids = work.unfinished(seed, folds)
        trained, warm_up = _train(seed, run_ids, folds, config, work) if run_ids else (0, 0.0)
        if _callers() != callers:  # the next stage or DVC may use `runs/` by now
            raise UserError(
                f"{variant} seed {seed}: the DVC that began this has ended; the results stay in .work/ "
                "for the next dvc repro"
            )
        results = {fold: _result(work, RunId(seed, fold)) for fold in folds}
        with files.replacing(predictions.folder(variant, seed)) as folder:
            epochs = outputs.write(folder, features.read([]), table, results)
        work.write_times(seed, results)
        work.note_written(seed, runs=trained, seconds=study.elapsed() - warm_up)
    found = f", {len(folds) - len(run_ids)} of them found in .work/" if len(run_ids) < len(folds) else ""
    place = study.place(work, seed, [], folds, config)
    where = f" ({place.text(place.left())})" if place else ""
    print(f"{variant} seed {seed}: {len(folds)} folds{found}, {epochs} epochs{where}")


def _options() -> tuple[str, int]:
    """The variant and the seed that the command line names."""
    parser = cli.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--seed", required=True)
    options = parser.parse_args()
    try:
        variants.parse(options.variant)
    except ValueError as error:
        raise UserError(f"--variant: {error}") from None
    if not re.fullmatch("[0-9]{1,10}", options.seed) or int(options.seed) > params.LARGEST_SEED:
        raise UserError(f"--seed must be a whole number from 0 to {params.LARGEST_SEED}, but is {options.seed}")
    return options.variant, int(options.seed)


def _callers() -> list[int]:
    """The process ids of who waits for this stage: DVC and, where it has not made way for the stage, its shell."""
    stage = psutil.Process()
    with suppress(psutil.Error):
        shell = psutil.Process(stage.ppid())
        if shell.cmdline()[-2:-1] == ["-c"]:
            return [shell.pid, shell.ppid()]
    return [stage.ppid()]


def _train(seed: int, run_ids: list[RunId], folds: list[int], config: params.Params, work: Work) -> tuple[int, float]:
    """Train a seed's folds and, where more can be trained at once, those of the seeds after it.

    How many runs it trained, and the seconds that this took to warm up.
    """
    # A stage whose runs are done need not wait for torch's import.
    if config.train.engine == "ray":
        from stages.train.engine import cluster as engine
    else:
        from stages.train.engine import workers as engine

    verify_features(work.plan.names)
    capacity = engine.capacity(work, config.train)
    with ExitStack() as locks:
        for later in config.seeds[config.seeds.index(seed) + 1 :] if seed in config.seeds else []:
            more = work.unfinished(later, folds)
            written = work.written(later, predictions.folder(work.variant, later))
            if written or len(run_ids) + len(more) > capacity:
                continue
            if locks.enter_context(work.lock(later, wait=False)):
                run_ids = run_ids + work.unfinished(later, folds)
        begun = work.begun(run_ids)
        if begun:
            print(f"{work.variant}: {len(begun)} of {len(run_ids)} runs resume from checkpoints", file=sys.stderr)
        place = study.place(work, seed, run_ids, folds, config)
        try:
            return len(run_ids), engine.train(run_ids, config.train, work, place)
        except UserError:
            own = work.unfinished(seed, folds)
            if len(own) == len(run_ids):
                raise
            # Perhaps only a later seed has failed, which is for its own stage to say.
            return len(run_ids), engine.train(own, config.train, work, place) if own else 0.0


def _result(work: Work, run: RunId) -> Record:
    result = work.result(run)
    if result is None:
        raise UserError(f"{work.folder}: the result of seed {run.seed}, fold {run.fold} is gone; run again")
    return result


if __name__ == "__main__":
    cli.run(main)
