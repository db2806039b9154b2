"""`python -m tools.jobs N`: the train stages that are not up to date, N at a time.

A DVC command of its own runs each stage, so `dvc.lock` and the cache are as after `dvc repro`. A job has its share of
the cores (Linux) and of the CUDA devices. Where a stage fails, the others run on, and the failed ones are named at the
end. SIGINT, SIGTERM and SIGHUP end all. After a SIGKILL, stages that are running finish; the next `tools.jobs` or
`tools.repair_lock` waits for them.
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

from stages.common import cli, params, progress
from stages.common.errors import UserError
from tools import repair_lock

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
    with repair_lock.jobs_lock(), Jobs(number, config) as jobs:
        repair_lock.repair()
        jobs.ask("repro", "--quiet", "plan", "features", "split")
        stages = _stale(config, json.loads(jobs.ask("status", "--json")))
        failures = jobs.run(stages)
    for stage, output in failures.items():
        print(f"\n{stage} failed:\n{output}", file=sys.stderr)
    print(f"train: {len(stages) - len(failures)} of {len(stages)} stages done")
    if failures:
        raise UserError(f"{len(failures)} stages failed: {', '.join(failures)}")


def _stale(config: params.Params, status: dict) -> list[str]:
    """The train stages that are not up to date, seed by seed, since a stage may also train runs of later seeds."""
    every = [(seed, f"train@{variant}-{seed}") for seed, variant in product(config.seeds, config.variants)]
    return [stage for _, stage in every if stage in status]


class Jobs:
    """Runs DVC commands, `number` at a time; if the context ends by an error, stops those that are running."""

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
        """Run one DVC command with all cores; returns what it writes to stdout.

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
        """Run all stages; returns stage → what it printed, of those that failed."""
        failures = {}
        with (
            ThreadPoolExecutor(self.number) as pool,
            progress.line("train", "stages", total=len(stages)) as line,
        ):
            futures = {pool.submit(self._run, stage): stage for stage in stages}
            try:
                for future in as_completed(futures):
                    if future.result() is not None:
                        failures[futures[future]] = future.result()
                        line.set_description_str(f"train ({len(failures)} failed)")
                    line.update()
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return {stage: failures[stage] for stage in stages if stage in failures}

    def _run(self, stage: str) -> str | None:
        """Run a stage; returns what it printed if it failed, else None."""
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
        """Run a DVC command on some cores and devices, or on all; returns its exit status and output."""
        with tempfile.TemporaryFile("w+") as log:  # a pipe would break if this process is killed
            process = subprocess.Popen(
                [*DVC, *arguments],
                env=os.environ | ({"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}),
                stdout=log,
                stderr=stderr,
                start_new_session=True,  # so that an interrupt reaches it once, from `_stop`
                close_fds=False,  # so that it inherits the lock on jobs
            )
            self.running.add(process)
            if cores:
                os.sched_setaffinity(process.pid, cores)
            if self.stopped.is_set():  # `_stop` may have run before it was in `running`
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.running.discard(process)
            log.seek(0)
            return process.returncode, log.read()

    def _stop(self) -> None:
        """Interrupt what is running and wait for its end; kill what does not end in time."""
        self.stopped.set()
        for number in (signal.SIGINT, signal.SIGKILL):
            for process in list(self.running):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            for process in list(self.running):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)


def _share(what: list, job: int, jobs: int) -> list:
    """A job's part of some cores or devices; where these are fewer than jobs, one that other jobs share."""
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
