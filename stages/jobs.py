"""`python -m stages.jobs N`: the train stages that are not up to date, N at a time.

Each is run by a DVC command of its own, so DVC keeps its books as in `dvc repro`. A job has its share of the cores
(Linux) and of the CUDA devices. Stages that fail are named at the end, the others go on; an interrupt ends all.
"""

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from itertools import product

from tqdm import tqdm

from stages import cli, mend, params

DVC = [sys.executable, "-m", "dvc"]
PATIENCE = 30  # seconds that an interrupted job has to end


def main() -> None:
    """Bring the train stages up to date."""
    parser = argparse.ArgumentParser(prog="python -m stages.jobs", description=__doc__.partition("\n")[0])
    parser.add_argument("jobs", type=int, help="how many at a time")
    jobs = parser.parse_args().jobs
    if jobs < 1:
        raise cli.UserError(f"jobs must be at least 1, but is {jobs}")
    config = params.load()
    mend.main()
    if subprocess.run([*DVC, "repro", "--quiet", "split"], check=False).returncode:
        raise cli.UserError("dvc repro split failed: the train stages were not begun")
    stages, listed = _stale(config), mend.stages()
    try:
        failures = Jobs(jobs, config).run(stages)
    finally:
        mend.order([stage for stage in _all(config) if stage not in listed])  # as dvc repro would have written them
    for stage, output in failures.items():
        print(f"\n{stage} failed:\n{output}", file=sys.stderr)
    print(f"train: {len(stages) - len(failures)} of {len(stages)} stages done")
    if failures:
        raise cli.UserError(f"{len(failures)} stages failed: {', '.join(failures)}")


def _stale(config: params.Params) -> list[str]:
    """The train stages that are not up to date; all of one seed first, since a stage may train others' seeds ahead."""
    done = subprocess.run([*DVC, "status", "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise cli.UserError("dvc status failed: the train stages were not begun")
    status = json.loads(done.stdout)
    stale = (stage for stage in _all(config) if stage in status)
    return sorted(stale, key=lambda stage: config.seeds.index(int(stage.rpartition("-")[2])))


def _all(config: params.Params) -> list[str]:
    """All train stages, as `dvc repro` takes them."""
    return [f"train@{variant}-{seed}" for variant, seed in product(config.variants, config.seeds)]


class Jobs:
    """Runs stages, some at a time."""

    def __init__(self, number: int, config: params.Params):
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
        devices = _devices(config)
        self.number, self.running, self.stopped = number, set(), threading.Event()
        self.shares = queue.SimpleQueue()
        for job in range(number):
            self.shares.put((_share(cores, job, number), _share(devices, job, number)))

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
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {})
        process = subprocess.Popen(
            [*DVC, "--wait-for-lock", "repro", "--single-item", stage],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # an interrupt reaches it once, from here
        )
        if cores:
            os.sched_setaffinity(process.pid, cores)
        self.running.add(process)
        if self.stopped.is_set():  # in the meantime
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        self.running.discard(process)
        self.shares.put(share)
        return output if process.returncode else None

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
