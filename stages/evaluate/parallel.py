"""The evaluations of all variants and seeds, shared out over processes of one thread each."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from stages.common import progress
from stages.common.errors import UserError
from stages.common.params import Params
from stages.common.processes import cores, follow_parent
from stages.evaluate.found import Evaluated
from stages.evaluate.run import evaluate


def evaluate_all(jobs: list[tuple[str, int]], config: Params) -> list[Evaluated]:
    """Evaluate each variant and seed of `jobs`; the results in their order, whatever the number of processes.

    Raises
    ------
    UserError
        As `evaluate`, and if a process is killed.
    """
    if not jobs:
        return []
    processes = cores() if config.train.workers == "auto" else config.train.workers
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    line = progress.line("evaluate", "variants × seeds", total=len(jobs))
    with line, ProcessPoolExecutor(min(processes, len(jobs)), context, _start) as pool:
        try:
            futures = [pool.submit(evaluate, *job, config.evaluate, config.compare.metrics) for job in jobs]
            for future in futures:
                future.add_done_callback(lambda _: line.update())
            return [future.result() for future in futures]
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.terminate()  # rather than wait for the runs that are left
            if not isinstance(error, BrokenProcessPool):
                raise
            raise UserError(
                "evaluate: a worker process was killed. If the kernel killed it, out of memory: fewer train.workers "
                "need less"
            ) from None


def _start() -> None:
    follow_parent()
    torch.set_num_threads(1)
