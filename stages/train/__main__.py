"""`python -m stages.train --variant V --seed S`: write `runs/V/seedS/`, its folds trained in parallel.

What is trained is said by `data/plans/V.json` alone; `train` in params.yaml says how, which changes no result. Runs of
small models are trained several at once: then those of the next seeds too, whose stages find them done.
"""

import re
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pandas as pd
import psutil

from stages.common import cli, corpus, features, files, params, predictions, variants
from stages.common.errors import UserError
from stages.common.records import Record, RunId
from stages.train import choice, outputs
from stages.train.engine import study
from stages.train.engine.work import Draws, Work, data_digest, remove_old, verify_features


def main() -> None:
    """Train one variant with one seed on every fold, with each of its draws where it is tuned."""
    (variant, seed), config, callers = _options(), params.load(), _callers()
    table, draws = corpus.read_folds(), Draws(variant, data_digest())
    folds = corpus.numbers(table)
    remove_old(config.train.work)
    with draws.lock(seed, wait=True):
        found, trained, warm_up = _train_all(seed, folds, config, draws)
        if _callers() != callers:  # the next stage or DVC may use `runs/` by now
            raise UserError(
                f"{variant} seed {seed}: the DVC that began this has ended; the results stay in .work/ "
                "for the next dvc repro"
            )
        results = {
            work.digest: {fold: _result(work, RunId(seed, fold)) for fold in folds}  # a draw's, each once
            for work in draws.works
        }
        epochs = _write(predictions.folder(variant, seed), table, draws, results)
        for work in draws.works:
            work.write_times(seed, results[work.digest])
        draws.note_written(seed, runs=trained, seconds=study.elapsed() - warm_up)
    of_draws = f" of {len(draws.works)} different draws" if draws.plan.draws else ""
    in_work = f", {found} of them found in .work/" if found else ""
    place = study.place(draws, seed, {}, folds, config)
    where = f" ({place.text(place.left())})" if place else ""
    print(f"{variant} seed {seed}: {len(folds)} folds{of_draws}{in_work}, {epochs} epochs{where}")


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


def _train_all(seed: int, folds: list[int], config: params.Params, draws: Draws) -> tuple[int, int, float]:
    """Train a seed's folds with one draw after the other.

    How many of its runs had results already, how many runs it trained, and the seconds that this took to warm up.
    """
    found, trained, warm_up = 0, 0, 0.0
    for work in draws.works:
        run_ids = work.unfinished(seed, folds)
        found += len(folds) - len(run_ids)
        if run_ids:
            number, seconds = _train(seed, run_ids, folds, config, draws, work, trained)
            trained, warm_up = trained + number, warm_up + seconds
    return found, trained, warm_up


def _train(
    seed: int,
    run_ids: list[RunId],
    folds: list[int],
    config: params.Params,
    draws: Draws,
    work: Work,
    before: int,
) -> tuple[int, float]:
    """Train a seed's folds with one draw and, where more can be trained at once, those of the seeds after it.

    How many runs it trained, and the seconds that this took to warm up. `before`: how many the stage trained before.
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
            written = draws.written(later, predictions.folder(work.variant, later))
            if written or len(run_ids) + len(more) > capacity:
                continue
            if locks.enter_context(draws.lock(later, wait=False)):
                run_ids = run_ids + work.unfinished(later, folds)
        begun = work.begun(run_ids)
        if begun:
            print(f"{work.name}: {len(begun)} of {len(run_ids)} runs resume from checkpoints", file=sys.stderr)
        place = study.place(draws, seed, {work.digest: run_ids}, folds, config, before)
        try:
            return len(run_ids), engine.train(run_ids, config.train, work, place)
        except UserError:
            own = work.unfinished(seed, folds)
            if len(own) == len(run_ids):
                raise
            # Perhaps only a later seed has failed, which is for its own stage to say.
            return len(run_ids), engine.train(own, config.train, work, place) if own else 0.0


def _write(target: Path, table: pd.DataFrame, draws: Draws, results: dict[str, choice.Results]) -> int:
    """Write a seed's outputs, in each fold of the draw that its development part chooses; how many epochs it cost.

    `results`: digest of a draw's work → fold → the record of its run.
    """
    by_draw = [results[work.digest] for work in draws.by_draw]
    chosen, known = choice.choose(by_draw, draws.plan.protocol.select), features.read([])
    with files.replacing(target) as folder:
        own = {fold: by_draw[place][fold] for fold, place in chosen.items()}
        epochs = outputs.write(folder, known, table, own, draws.plan.task)
        if draws.plan.draws:
            epochs = choice.write(folder, known, table, draws.plan, by_draw, chosen)
    return epochs


def _result(work: Work, run: RunId) -> Record:
    result = work.result(run)
    if result is None:
        raise UserError(f"{work.folder}: the result of seed {run.seed}, fold {run.fold} is gone; run again")
    return result


if __name__ == "__main__":
    cli.run(main)
