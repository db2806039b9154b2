"""Work on all variants and seeds, shared out over processes of one thread each."""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Literal, TypeVar

import torch

from stages.common import progress
from stages.common.errors import UserError
from stages.common.processes import cores, follow_parent

Result = TypeVar("Result")


def in_processes(
    work: Callable[..., Result], jobs: list[tuple], workers: Literal["auto"] | int, *, stage: str, unit: str
) -> list[Result]:
    """`work` with the arguments of each of `jobs`; the results in their order, whatever the number of processes.

    `workers`: `train.workers`; `stage`, `unit`: what works, and on how many of what, for messages.

    Raises
    ------
    UserError
        As `work`, and if a process is killed.
    """
    if not jobs:
        return []
    processes = cores() if workers == "auto" else workers
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    line = progress.line(stage, unit, total=len(jobs))
    with line, ProcessPoolExecutor(min(processes, len(jobs)), context, _start) as pool:
        try:
            futures = [pool.submit(work, *job) for job in jobs]
            for future in futures:
                future.add_done_callback(lambda _: line.update())
            return [future.result() for future in futures]
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.terminate()  # rather than wait for the runs that are left
            if not isinstance(error, BrokenProcessPool):
                raise
            raise UserError(
                f"{stage}: a worker process was killed. If the kernel killed it, out of memory: fewer train.workers "
                "need less"
            ) from None


def _start() -> None:
    follow_parent()
    torch.set_num_threads(1)
