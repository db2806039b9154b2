"""`python -m stages.train --variant V --seed S`: write `runs/V/seedS/`, its folds trained in parallel.

Runs of small models are trained several at once: then those of the next seeds too, whose stages find them done.
"""

import re
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pandas as pd
import psutil
from safetensors.numpy import save_file

from stages.common import cli, features, files, params, predictions, variants
from stages.common.errors import UserError
from stages.train.engine import study
from stages.train.engine.work import WEIGHTS, Key, Work, remove_old


def main() -> None:
    """Train one variant with one seed on every fold."""
    (variant, seed), config, callers = _options(), params.load(), _callers()
    table, work = features.read_folds(), Work(variant, config)
    folds = features.numbers(table)
    remove_old(config.train.work)
    with work.claim(seed, wait=True):
        keys = work.unfinished(seed, folds)
        trained, warm_up = _train(variant, seed, keys, folds, config, work) if keys else (0, 0.0)
        if _callers() != callers:  # the next stage or DVC may be at `runs/` by now
            raise UserError(
                f"{variant} seed {seed}: the DVC that began this has ended; the results stay in .work/ "
                "for the next dvc repro"
            )
        with files.replacing(predictions.folder(variant, seed)) as folder:
            folder.mkdir()
            epochs = _write(folder, seed, folds, table, work)
        work.note_written(seed, runs=trained, seconds=study.elapsed() - warm_up)
    found = f", {len(folds) - len(keys)} of them found in .work/" if len(keys) < len(folds) else ""
    place = study.place(variant, seed, [], folds, config)
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
    if not re.fullmatch("[0-9]{1,18}", options.seed):  # more digits are more than tables hold
        raise UserError(f"--seed must be a whole number from 0 to {10**18 - 1}, but is {options.seed}")
    return options.variant, int(options.seed)


def _callers() -> list[int]:
    """The process ids of who waits for this stage: DVC and, where it has not made way for the stage, its shell."""
    stage = psutil.Process()
    with suppress(psutil.Error):
        shell = psutil.Process(stage.ppid())
        if shell.cmdline()[-2:-1] == ["-c"]:
            return [shell.pid, shell.ppid()]
    return [stage.ppid()]


def _train(
    variant: str, seed: int, keys: list[Key], folds: list[int], config: params.Params, work: Work
) -> tuple[int, float]:
    """Train a seed's folds and, where more can be trained at once, those of the seeds after it.

    How many runs it trained, and the seconds that this took to warm up.
    """
    # A stage whose runs are done need not wait for torch's import.
    if config.train.engine == "ray":
        from stages.train.engine import cluster as engine
    else:
        from stages.train.engine import workers as engine

    work.verify_features()
    room = engine.room(variant, config)
    with ExitStack() as claims:
        for later in config.seeds[config.seeds.index(seed) + 1 :] if seed in config.seeds else []:
            more = work.unfinished(later, folds)
            if len(keys) + len(more) > room or work.written(later, predictions.folder(variant, later)):
                continue
            if claims.enter_context(work.claim(later, wait=False)):
                keys = keys + work.unfinished(later, folds)
        begun = work.begun(keys)
        if begun:
            print(f"{variant}: {len(begun)} of {len(keys)} runs go on from checkpoints", file=sys.stderr)
        place = study.place(variant, seed, keys, folds, config)
        try:
            return len(keys), engine.train(variant, keys, config, work, place)
        except UserError:
            own = work.unfinished(seed, folds)
            if len(own) == len(keys):
                raise
            # Perhaps only a later seed has failed, which is for its own stage to say.
            return len(keys), engine.train(variant, own, config, work, place) if own else 0.0


def _write(folder: Path, seed: int, folds: list[int], table: pd.DataFrame, work: Work) -> int:
    """Write predictions, curves and, where asked for, weights; the number of epochs."""
    corpus, tables, curves = features.read(), [], []
    for fold in folds:
        result = work.result((seed, fold))
        if result is None:
            raise UserError(f"{work.folder}: the result of seed {seed}, fold {fold} is gone; run again")
        rows = features.fold_rows(corpus, table, fold)["test"]
        tables.append(predictions.table(corpus, fold, rows, result.arrays["probabilities"]))
        curves.extend({"fold": fold} | epoch for epoch in result.values["epochs"])
        weights = {
            name.removeprefix(WEIGHTS): array for name, array in result.arrays.items() if name.startswith(WEIGHTS)
        }
        if weights:
            save_file(weights, folder / f"fold{fold}.safetensors")
    predictions.write(folder, pd.concat(tables, ignore_index=True))
    files.write_csv(folder / "curves.csv", pd.DataFrame(curves))
    return len(curves)


if __name__ == "__main__":
    cli.run(main)
