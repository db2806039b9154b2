"""`python -m stages.train --variant V --seed S`: write `runs/V/seedS/`, its folds trained in parallel processes."""

import argparse
import multiprocessing
import os
import signal
import sys
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing.queues import Queue
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits

from stages import cli, features, files, params, predictions, variants
from stages.train import protocol
from stages.train.progress import Progress


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
    runs = train_folds(options.variant, options.seed, config)
    with files.replacing(predictions.folder(options.variant, options.seed)) as folder:
        folder.mkdir()
        _write(folder, runs, config)
    epochs = sum(len(run.epochs) for run in runs.values())
    print(f"{options.variant} seed {options.seed}: {len(runs)} folds, {epochs} epochs")


def train_folds(variant: str, seed: int, config: params.Params) -> dict[int, protocol.Run]:
    """Fold → run, trained by `train.workers` processes of one torch thread each.

    Raises
    ------
    UserError
        If a training fails or a worker process dies.
    """
    folds = sorted(int(fold) for fold in features.read_folds()["fold"].unique())
    device = protocol.resolve_device(config.train.device)
    workers = min(len(folds), cores() if config.train.workers == "auto" else config.train.workers)
    # A forked worker need not import torch again; CUDA does not survive a fork.
    forked = device.type == "cpu" and sys.platform == "linux"
    context = multiprocessing.get_context("fork" if forked else "spawn")
    epochs = context.Queue()
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(epochs,)) as pool,
        Progress(f"{variant} seed {seed}", folds, config.train.protocol.patience) as progress,
    ):
        futures = {pool.submit(_train, variant, seed, fold, config): fold for fold in folds}
        try:
            _follow(list(futures), epochs, progress)
            return {fold: future.result() for future, fold in futures.items()}
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.terminate()  # rather than wait for the folds that it is training
            if not isinstance(error, BrokenProcessPool):
                raise
            raise cli.UserError(
                f"{variant} seed {seed}: a worker process was killed, perhaps for want of memory; nothing was written"
            ) from None


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _follow(futures: list[Future], epochs: Queue, progress: Progress) -> None:
    """Show the epochs that the workers report until all are done or one has failed."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
        while not epochs.empty():
            progress.update(*epochs.get())
        for future in done:
            future.result()


def _start(epochs: Queue) -> None:
    """Make a process a worker: one thread, interrupts left to the parent."""
    global _epochs
    _epochs = epochs
    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")  # of the compiled loops
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _train(variant: str, seed: int, fold: int, config: params.Params) -> protocol.Run:
    """Train one fold in a worker."""
    corpus = features.read()
    return protocol.train(
        variant,
        seed,
        fold,
        features.fold_rows(corpus, features.read_folds(), fold),
        corpus,
        config,
        report=lambda epoch: _epochs.put((fold, epoch)),
    )


def _write(folder: Path, runs: dict[int, protocol.Run], config: params.Params) -> None:
    """Write predictions, curves and, where asked for, weights."""
    corpus, folds = features.read(), features.read_folds()
    tables, curves = [], []
    for fold, run in runs.items():
        rows = features.fold_rows(corpus, folds, fold)["test"]
        tables.append(predictions.table(corpus, fold, rows, run.probabilities))
        curves.extend({"fold": fold} | asdict(epoch) for epoch in run.epochs)
        if config.train.save_weights:
            save_file(run.weights, folder / f"fold{fold}.safetensors")
    predictions.write(folder, pd.concat(tables, ignore_index=True))
    files.write_csv(folder / "curves.csv", pd.DataFrame(curves))


if __name__ == "__main__":
    cli.run(main)
