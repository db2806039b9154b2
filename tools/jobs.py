"""`python -m tools.jobs N`: the train stages that are not up to date, N at a time.

Each is run by a DVC command of its own, so DVC keeps its books as in `dvc repro`. A job has its share of the cores
(Linux) and of the CUDA devices. Stages that fail are named at the end, the others go on; SIGINT, SIGTERM and SIGHUP end
all. What a SIGKILL leaves goes on to the end of its stages, and the next `tools.jobs` or
`tools.repair_lock` waits for it.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from itertools import product

from tqdm import tqdm

from stages.common import cli, params
from stages.common.errors import UserError
from tools import repair_lock as mend

DVC = [sys.executable, "-m", "dvc"]
PATIENCE = 30  # seconds that an interrupted job has to end


def main() -> None:
    """Bring the train stages up to date."""
    parser = cli.ArgumentParser(prog="python -m tools.jobs", description=__doc__.partition("\n")[0])
    parser.add_argument("jobs", type=int, help="how many at a time")
    number = parser.parse_args().jobs
    if number < 1:
        raise UserError(f"jobs must be at least 1, but is {number}")
    config = params.load()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as it is after `nohup`
            signal.signal(ending, signal.default_int_handler)
    with mend.jobs_lock(), Jobs(number, config) as jobs:
        mend.mend()
        jobs.ask("repro", "--quiet", "plan", "split")
        stages = _stale(config, json.loads(jobs.ask("status", "--json")))
        failures = jobs.run(stages)
    for stage, output in failures.items():
        print(f"\n{stage} failed:\n{output}", file=sys.stderr)
    print(f"train: {len(stages) - len(failures)} of {len(stages)} stages done")
    if failures:
        raise UserError(f"{len(failures)} stages failed: {', '.join(failures)}")


def _stale(config: params.Params, status: dict) -> list[str]:
    """The train stages that are not up to date; all of one seed first, since a stage may train others' seeds ahead."""
    every = [(seed, f"train@{variant}-{seed}") for seed, variant in product(config.seeds, config.variants)]
    return [stage for _, stage in every if stage in status]


class Jobs:
    """Runs DVCs, some at a time; those that still run when the context ends by an error are ended."""

    def __init__(self, number: int, config: params.Params):
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
        devices = _devices(config)
        self.number, self.running, self.stopped = number, set(), threading.Event()
        self.shares = queue.SimpleQueue()
        for job in range(number):
            self.shares.put((_share(cores, job, number), _share(devices, job, number)))

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            self._stop()

    def ask(self, *arguments: str) -> str:
        """Run one DVC with all cores; what it writes to stdout.

        Raises
        ------
        UserError
            If it fails.
        """
        status, output = self._dvc(arguments, stderr=None)
        if status:
            print(output, file=sys.stderr)
            raise UserError(f"dvc {' '.join(arguments)} failed: the train stages were not begun")
        return output

    def run(self, stages: list[str]) -> dict[str, str]:
        """Run all; stage → what it printed, of those that failed."""
        failures = {}
        with (
            ThreadPoolExecutor(self.number) as pool,
            tqdm(total=len(stages), desc="train", unit="stage", disable=not sys.stderr.isatty()) as progress,
        ):
            futures = {pool.submit(self._run, stage): stage for stage in stages}
            try:
                for future in as_completed(futures):
                    if future.result() is not None:
                        failures[futures[future]] = future.result()
                        progress.set_postfix(failed=len(failures))
                    progress.update()
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return {stage: failures[stage] for stage in stages if stage in failures}

    def _run(self, stage: str) -> str | None:
        """Run a stage; what it printed if it failed."""
        if self.stopped.is_set():
            return None
        cores, devices = share = self.shares.get()
        arguments = ("--wait-for-lock", "repro", "--single-item", stage)
        status, output = self._dvc(arguments, stderr=subprocess.STDOUT, cores=cores, devices=devices)
        self.shares.put(share)
        return output if status else None

    def _dvc(
        self, arguments: tuple[str, ...], *, stderr: int | None, cores: list[int] = (), devices: list[str] = ()
    ) -> tuple[int, str]:
        """Run a DVC on some cores and devices, or on all; its exit status and output."""
        with tempfile.TemporaryFile("w+") as log:  # no pipe, which would end with this process
            process = subprocess.Popen(
                [*DVC, *arguments],
                env=os.environ | ({"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}),
                stdout=log,
                stderr=stderr,
                start_new_session=True,  # an interrupt reaches it once, from here
                close_fds=False,  # it holds the lock on jobs too
            )
            self.running.add(process)
            if cores:
                os.sched_setaffinity(process.pid, cores)
            if self.stopped.is_set():  # in the meantime
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.running.discard(process)
            log.seek(0)
            return process.returncode, log.read()

    def _stop(self) -> None:
        """Interrupt what runs and wait for its end."""
        self.stopped.set()
        for number in (signal.SIGINT, signal.SIGKILL):
            for process in list(self.running):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            for process in list(self.running):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)


def _share(what: list, job: int, jobs: int) -> list:
    """A job's part of some cores or devices; where there are fewer of them than jobs, one that others have too."""
    return what[job::jobs] or what[job % len(what) :][:1] if what else []


def _devices(config: params.Params) -> list[str]:
    """The CUDA devices that local training may use."""
    if config.train.engine == "ray" or config.train.device == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


if __name__ == "__main__":
    cli.run(main)
