"""The local engine: processes of one thread each that share out the runs of a stage."""

import ctypes
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.queues import Queue

import pandas as pd
import torch

from stages.common import corpus, features, params
from stages.common.errors import UserError
from stages.common.plan import Plan
from stages.common.processes import cores, follow_parent
from stages.common.records import Record, RunId
from stages.train import protocol
from stages.train.device import resolve_device
from stages.train.engine.capacity import runs_per_process
from stages.train.engine.progress import Progress
from stages.train.engine.run_times import RunTimes
from stages.train.engine.study import Place
from stages.train.engine.work import Work, note_time
from stages.train.run_state import RunProgress
from stages.train.stopwatch import Stopwatch

SAFE = "Runs that have ended and checkpoints are safe in .work/: the next dvc repro resumes from them"

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def capacity(work: Work, config: params.Train) -> int:
    """How many runs of a variant are trained at a time."""
    return count(work.plan, config) * runs_per_process(work.plan, work.positions, config.together)


def train(run_ids: list[RunId], config: params.Train, work: Work, place: Place | None) -> float:
    """Train the runs of `run_ids` and write their results to `work`; the seconds that it took to warm up.

    `place`: the stage's, to be shown.

    Raises
    ------
    UserError
        If a training fails or a worker process dies; results and checkpoints stay in `work`.
    """
    number = min(len(run_ids), count(work.plan, config))
    # A forked worker need not import torch again; CUDA does not survive a fork.
    forked = resolve_device(work.plan.device).type == "cpu" and sys.platform == "linux"
    context = multiprocessing.get_context("fork" if forked else "spawn")
    pending, reports = context.Queue(), context.Queue()
    for run in [*run_ids, *[None] * number]:
        pending.put(run)
    at_once = min(runs_per_process(work.plan, work.positions, config.together), -(-len(run_ids) // number))
    with (
        ProcessPoolExecutor(number, mp_context=context, initializer=_start, initargs=(pending, reports)) as pool,
        Progress(work.name, run_ids, place) as progress,
    ):
        try:
            futures = [pool.submit(_train, work, at_once, config.checkpoint_seconds) for _ in range(number)]
            _follow(futures, reports, progress)
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.terminate()  # rather than wait for the runs that it is training
            if not isinstance(error, BrokenProcessPool):
                raise
            raise UserError(
                f"{work.variant}: a worker process was killed. If the kernel killed it, out of memory: fewer "
                f"train.workers, or a smaller train.together, need less. {SAFE}"
            ) from None
    return progress.warm_up()


def count(plan: Plan, config: params.Train) -> int:
    """How many processes a stage may have; on CUDA they would only share the one device."""
    if config.workers != "auto":
        return config.workers
    if resolve_device(plan.device).type == "cuda":
        return 1
    return cores()


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
    follow_parent()


def keep_freed_memory() -> None:
    """Have glibc keep large buffers that are freed for the next step, which else begins with page faults."""
    set_allocation(mapped_from=2**30, kept=2**31 - 1)


def set_allocation(*, mapped_from: int, kept: int) -> None:
    """Where malloc is glibc's: from how many bytes a buffer is mapped by itself, and how many may lie unused."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, mapped_from)
        libc.mallopt(M_TRIM_THRESHOLD, kept)


def _train(work: Work, at_once: int, checkpoint_seconds: float) -> None:
    """Train runs, `at_once` at a time, for as long as there are any."""
    data, folds = features.read(work.plan.names), corpus.read_folds()

    def report(run: RunId, progress: RunProgress) -> None:
        _reports.put((run, progress))

    note_time(train_runs(iter(_pending.get, None), data, folds, work, at_once, checkpoint_seconds, report))


def train_runs(
    run_ids: Iterable[RunId],
    data: features.Features,
    folds: pd.DataFrame,
    work: Work,
    at_once: int,
    checkpoint_seconds: float,
    report: Callable[[RunId, RunProgress], None],
) -> dict[str, str | float]:
    """Train the runs of `run_ids` and write their results to `work`; what the time was spent on, in seconds.

    Raises
    ------
    UserError
        If a loss is not finite, memory runs out, or CUDA fails.
    """
    rows = {fold: features.fold_rows(data, folds, fold) for fold in corpus.numbers(folds)}
    stopwatch, epochs = Stopwatch(), 0
    times = RunTimes(work, report, cuda=resolve_device(work.plan.device).type == "cuda")
    runs = protocol.train(
        work.plan,
        run_ids,
        rows,
        data,
        at_once=at_once,
        report=times.report,
        stopwatch=stopwatch,
        checkpoints=times,
        checkpoint_seconds=checkpoint_seconds,
    )
    with failures(work.variant):
        for run_id, run in runs:
            stopwatch.switch("results")
            result = run.record(weights=work.plan.save_weights)
            values = result.values | {"seconds": times.ended(run_id)}
            work.write_result(run_id, Record(values=values, arrays=result.arrays))
            epochs += len(run.epochs)
    stopwatch.switch("")
    return {"variant": work.variant, "together": at_once, "epochs": epochs, **stopwatch.seconds}


@contextmanager
def failures(variant: str) -> Iterator[None]:
    """Say what a failure of memory or of CUDA means."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in reason:
            advice = "out of memory; fewer train.workers, or a smaller train.together, need less"
        elif "CUDA error" in reason or "cuDNN error" in reason or "CUBLAS_STATUS" in reason:
            advice = "CUDA failed; if the device is gone for good, train.device: cpu trains without it, from the start"
        else:
            raise
        raise UserError(f"{variant}: {advice} ({reason}). {SAFE}") from None
