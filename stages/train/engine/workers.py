"""The local engine: processes of one thread each that share out the runs of a stage."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.queues import Queue

import pandas as pd
import torch

from stages.common import features, params
from stages.common.errors import UserError
from stages.train import protocol
from stages.train.engine.progress import Progress
from stages.train.engine.study import Place
from stages.train.engine.work import Key, Work, note_time
from stages.train.protocol import Standing

SAFE = "Runs that have ended and checkpoints are safe in .work/: the next dvc repro goes on from them"

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def room(variant: str, config: params.Params) -> int:
    """How many runs of a variant are trained at a time."""
    return count(config) * protocol.together(variant, features.read_meta().longest, config)


def train(variant: str, keys: list[Key], config: params.Params, work: Work, place: Place | None) -> float:
    """Train the runs of `keys` and write their results to `work`; the seconds that it took to warm up.

    `place`: the stage's, to be shown.

    Raises
    ------
    UserError
        If a training fails or a worker process dies; results and checkpoints stay in `work`.
    """
    number = min(len(keys), count(config))
    # A forked worker need not import torch again; CUDA does not survive a fork.
    forked = protocol.resolve_device(config.train.device).type == "cpu" and sys.platform == "linux"
    context = multiprocessing.get_context("fork" if forked else "spawn")
    pending, reports = context.Queue(), context.Queue()
    for key in [*keys, *[None] * number]:
        pending.put(key)
    together = min(protocol.together(variant, features.read_meta().longest, config), -(-len(keys) // number))
    with (
        ProcessPoolExecutor(number, mp_context=context, initializer=_start, initargs=(pending, reports)) as pool,
        Progress(variant, keys, place) as progress,
    ):
        try:
            futures = [pool.submit(_train, variant, config, work, together) for _ in range(number)]
            _follow(futures, reports, progress)
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.terminate()  # rather than wait for the runs that it is training
            if not isinstance(error, BrokenProcessPool):
                raise
            raise UserError(
                f"{variant}: a worker process was killed. If it was the kernel, for want of memory: fewer "
                f"train.workers, or a smaller train.together, need less. {SAFE}"
            ) from None
    return progress.warm_up()


def count(config: params.Params) -> int:
    """How many processes a stage may have; on CUDA they would only share the one device."""
    if config.train.workers != "auto":
        return config.train.workers
    if protocol.resolve_device(config.train.device).type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _follow(futures: list[Future], reports: Queue, progress: Progress) -> None:
    """Show what the workers report until all are done or one has failed."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
        while not reports.empty():
            progress.update(*reports.get())
        for future in done:
            future.result()


def _start(pending: Queue, reports: Queue) -> None:
    """Make a process a worker, which leaves interrupts to the parent and dies with it."""
    global _pending, _reports
    _pending, _reports = pending, reports
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=[multiprocessing.parent_process()], daemon=True).start()


def _die_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def keep_freed_memory() -> None:
    """Have glibc keep large buffers that are freed for the next step, which else begins with page faults."""
    set_allocation(mapped_from=2**30, kept=2**31 - 1)


def set_allocation(*, mapped_from: int, kept: int) -> None:
    """Where malloc is glibc's: from how many bytes a buffer is mapped by itself, and how many may lie unused."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, mapped_from)
        libc.mallopt(M_TRIM_THRESHOLD, kept)


def _train(variant: str, config: params.Params, work: Work, together: int) -> None:
    """Train runs, `together` at once, for as long as there are any."""
    corpus, folds = features.read(), features.read_folds()

    def report(key: Key, standing: Standing) -> None:
        _reports.put((key, standing))

    note_time(train_runs(variant, iter(_pending.get, None), corpus, folds, config, work, together, report))


def train_runs(
    variant: str,
    keys: Iterable[Key],
    corpus: features.Features,
    folds: pd.DataFrame,
    config: params.Params,
    work: Work,
    together: int,
    report: Callable[[Key, Standing], None],
) -> dict[str, str | float]:
    """Train the runs of `keys` and write their results to `work`; what the time was spent on, in seconds.

    Raises
    ------
    UserError
        If a loss is not finite, memory does not suffice, or CUDA fails.
    """
    rows = {fold: features.fold_rows(corpus, folds, fold) for fold in features.numbers(folds)}
    stopwatch, epochs = protocol.Stopwatch(), 0
    runs = protocol.train(
        variant, keys, rows, corpus, config, together=together, report=report, stopwatch=stopwatch, work=work
    )
    with failures(variant):
        for key, run in runs:
            stopwatch.switch("results")
            work.write_result(key, run.record(weights=config.train.save_weights))
            epochs += len(run.epochs)
    stopwatch.switch("")
    return {"variant": variant, "together": together, "epochs": epochs, **stopwatch.seconds}


@contextmanager
def failures(variant: str) -> Iterator[None]:
    """Say what a failure of memory or of CUDA means."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in reason:
            advice = "memory does not suffice; fewer train.workers, or a smaller train.together, need less"
        elif "CUDA error" in reason or "cuDNN error" in reason or "CUBLAS_STATUS" in reason:
            advice = "CUDA failed; if the device is gone for good, train.device: cpu goes on without it, from the start"
        else:
            raise
        raise UserError(f"{variant}: {advice} ({reason}). {SAFE}") from None
