"""`python -m stages.train --variant V --seed S`: write `runs/V/seedS/`, its folds trained in parallel processes.

Runs of small models are trained several at once: then those of the next seeds too, whose stages find them done.
"""

import argparse
import shutil
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from stages import cli, features, files, params, predictions, variants
from stages.train.work import Work, claim


def main() -> None:
    """Train one variant with one seed on every fold."""
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--seed", required=True, type=int)
    options = parser.parse_args()
    config = params.load()
    try:
        variants.parse(options.variant)
    except ValueError as error:
        raise cli.UserError(f"--variant: {error}") from None
    folds = features.numbers(features.read_folds())
    work = Work(options.variant, config)
    with claim(options.variant, options.seed, wait=True):
        if work.unfinished(options.seed, folds):
            _train(options.variant, options.seed, folds, config, work)
        with files.replacing(predictions.folder(options.variant, options.seed)) as folder:
            folder.mkdir()
            epochs = _write(folder, options.seed, folds, work)
        work.taken(options.seed, folds)
    print(f"{options.variant} seed {options.seed}: {len(folds)} folds, {epochs} epochs")


def _train(variant: str, seed: int, folds: list[int], config: params.Params, work: Work) -> None:
    """Train a seed's folds and, where more can be trained at once, those of the seeds after it."""
    from stages.train import protocol, workers  # a stage whose runs are done need not wait for torch's import

    keys = work.unfinished(seed, folds)
    room = workers.count(config) * protocol.together(variant, features.read(), config)
    with ExitStack() as claims:
        for later in config.seeds[config.seeds.index(seed) + 1 :] if seed in config.seeds else []:
            more = work.unfinished(later, folds)
            if len(keys) + len(more) > room or work.is_current(later, predictions.folder(variant, later)):
                continue
            if claims.enter_context(claim(variant, later, wait=False)):
                keys += more
        try:
            workers.train(variant, keys, config, work)
        except cli.UserError:
            own = work.unfinished(seed, folds)
            if len(own) == len(keys):
                raise
            if own:  # perhaps only a later seed has failed, which is for its own stage to say
                workers.train(variant, own, config, work)


def _write(folder: Path, seed: int, folds: list[int], work: Work) -> int:
    """Write predictions, curves and, where asked for, weights; the number of epochs."""
    corpus, table = features.read(), features.read_folds()
    tables, curves = [], []
    for fold in folds:
        probabilities, epochs = work.read(seed, fold)
        rows = features.fold_rows(corpus, table, fold)["test"]
        tables.append(predictions.table(corpus, fold, rows, probabilities))
        curves.extend({"fold": fold} | epoch for epoch in epochs)
        weights = work.run_folder(seed, fold) / "weights.safetensors"
        if weights.exists():
            shutil.copyfile(weights, folder / f"fold{fold}.safetensors")
    predictions.write(folder, pd.concat(tables, ignore_index=True))
    files.write_csv(folder / "curves.csv", pd.DataFrame(curves))
    return len(curves)


if __name__ == "__main__":
    cli.run(main)
