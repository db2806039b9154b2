"""`python -m benchmarks.kills [--kills 200] [--seed 1]`: a small study that is disturbed again and again.

Runs the study undisturbed, then again, by `dvc repro` or `python -m tools.jobs 2`, with a signal to a worker, to a
stage, to DVC or to `tools.jobs` at random moments, half of them soon after a checkpoint: SIGKILL, SIGTERM, SIGINT, or
SIGSTOP with SIGCONT a while later.
The plain rerun follows at once (`python -m tools.repair_lock` and `dvc repro`, or `tools.jobs`), while processes that
were left may still be training. It must not fail unless it gets a signal itself. Whenever the study is complete,
`runs/`, `references/`, `metrics/`, `plots/` and `dvc.lock` (its stages in any order) must be those of the undisturbed
run; then it begins anew. Prints what was disturbed and what came of it.
"""

import argparse
import collections
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[1]
STUDY = {"variants": ["self_tva", "cross_tva"], "seeds": [1, 2]}
TRAIN = {"checkpoint_seconds": 0, "workers": 2, "together": 2}
WRITTEN = ("runs", "references", "metrics", "plots", "dvc.lock")
WITH_TIMES = ("metrics/cost.csv", "metrics/cost.md", "plots/cost.png")
"""Written too, but not the same twice."""
LONGEST = 9.0
"""Seconds until a signal at most, but for the wait for a process of the kind that is to get it."""
AFTER_CHECKPOINT = 1.0
"""Seconds from a new checkpoint to the signal that waits for one, at most: `LONGEST` may be over before the first."""
PAUSE = 2.0
"""Seconds between SIGSTOP and SIGCONT at most: DVC waits three for another's lock on its list of files in use."""

SIGNALS = (*[signal.SIGKILL] * 3, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP)
"""Half of them kills."""
VICTIMS = ("jobs", "dvc", "stage", "worker")
"""Each is the child of the one before."""
COMMANDS = {"dvc": ("dvc", "repro"), "jobs": ("tools.jobs", "2")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study"
        subprocess.run(["git", "clone", "--quiet", ROOT, path], check=True)
        counts = disturb(path, os.environ.copy(), kills=options.kills, seed=options.seed)
    for what, count in sorted(counts.items()):
        print(f"{what}: {count}")


def disturb(study: Path, environment: dict[str, str], *, kills: int, seed: int) -> collections.Counter:
    """Make `study` a small one, run it with kills, and count what happened.

    Raises
    ------
    AssertionError
        If what a disturbed study wrote differs from what the undisturbed one did, or a run fails that got no signal, or
        only paused.
    """
    document = yaml.safe_load((study / "params.yaml").read_text()) | STUDY
    document["corpus"]["synthetic"]["utterances"] = 150
    document["model"]["hidden"] = 6
    document["train"] |= TRAIN
    document["train"]["protocol"]["patience"] = 30
    (study / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    begin_anew(study)
    started = time.monotonic()
    done, output = finish(start(study, "dvc", environment))
    assert done, output
    undisturbed, length = contents(study), time.monotonic() - started
    counts, rng = collections.Counter({"seconds undisturbed": round(length)}), random.Random(seed)
    begin_anew(study)
    planned = list(itertools.islice(plan(rng), kills))  # however long runs take, the same signals are sent
    while True:
        left = len(planned)
        victim, number = planned[-1] if left else (VICTIMS[-1], None)
        command = "dvc" if not left else "jobs" if victim == "jobs" else rng.choice(list(COMMANDS))
        counts["runs that found checkpoints"] += bool(checkpoints(study))
        process = start(study, command, environment)
        depth = VICTIMS.index(victim) - VICTIMS.index(command)
        signalled = send(study, process, depth, number, rng) if left else None
        done, output = finish(process)
        assert done or signalled not in (None, "SIGSTOP"), f"{command} failed:\n{output}"
        note(counts, signalled and f"{signalled} to {victim} in {command}", output)
        if signalled:
            planned.pop()
        if done and command == "dvc":
            assert contents(study) == undisturbed, "a disturbed study differs"
            counts["studies completed, all equal to the undisturbed one"] += 1
            if not planned:
                return counts
            begin_anew(study)


def plan(rng: random.Random) -> Iterator[tuple[str, signal.Signals]]:
    """Victims and signals, each pair as often as it is due."""
    while True:
        pairs = list(itertools.product(VICTIMS, SIGNALS))
        rng.shuffle(pairs)
        yield from pairs


def note(counts: collections.Counter, signalled: str | None, output: str) -> None:
    """Count what a run came to."""
    if signalled:
        counts[signalled] += 1
    counts["dvc.lock cut short"] += "dvc.lock was cut short" in output
    counts["DVC's list of files in use cut short"] += "rwlock was cut short" in output
    counts["waits for what a killed DVC, or a killed tools.jobs, had left"] += output.count("waiting for its end")
    counts["checkpoints or results found damaged"] += output.count("agree with its checksum")


def begin_anew(study: Path, *, keep_work: bool = False) -> None:
    """Remove all that a study writes, its caches included; `keep_work`: but for the runs in `.work/`."""
    for name in (*WRITTEN, "data", *([] if keep_work else [".work"]), ".dvc/cache", ".dvc/tmp"):
        path = study / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def start(study: Path, command: str, environment: dict[str, str]) -> subprocess.Popen:
    """Start DVC, once what a killed one cut short is repaired, or `tools.jobs`, which repairs it itself."""
    log = (study / ".log").open("w+")
    if command == "dvc":
        subprocess.run([sys.executable, "-m", "tools.repair_lock"], cwd=study, env=environment, stderr=log, check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", *COMMANDS[command]],
        cwd=study,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as on a terminal
    )
    process.log = log
    return process


def finish(process: subprocess.Popen) -> tuple[bool, str]:
    """Wait for a command; whether it did all, and what it and its stages wrote."""
    code = process.wait()
    process.log.seek(0)
    with process.log as log:
        return code == 0, log.read()


def send(study: Path, process: subprocess.Popen, depth: int, number: signal.Signals, rng: random.Random) -> str | None:
    """Send a signal to a descendant at a random moment; its name, or None if the command ended before."""
    after_checkpoint = rng.random() < 0.5
    before = checkpoints(study)
    moment = time.monotonic() + rng.uniform(0, LONGEST)
    while process.poll() is None:
        time.sleep(0.01)
        if after_checkpoint and checkpoints(study) != before:
            after_checkpoint, moment = False, time.monotonic() + rng.uniform(0, AFTER_CHECKPOINT)
        found = [psutil.Process(process.pid)]
        for _ in range(depth):
            found = [child for parent in found for child in children(parent)]
        if not after_checkpoint and time.monotonic() >= moment and found:
            with suppress(psutil.NoSuchProcess):
                chosen = rng.choice(found)
                chosen.send_signal(number)
                if number == signal.SIGSTOP:
                    time.sleep(rng.uniform(0, PAUSE))
                    chosen.send_signal(signal.SIGCONT)
                return number.name
    return None


def checkpoints(study: Path) -> dict[Path, int]:
    """The checkpoints there are, and when each was written."""
    found = {}
    for path in study.glob(".work/*/*.checkpoint"):
        with suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime_ns
    return found


def children(parent: psutil.Process) -> list[psutil.Process]:
    """A process's children, in order; those of the shell in its place, where DVC's has not made way for the stage."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in sorted(parent.children(), key=lambda child: child.pid):
            found += children(child) if child.cmdline()[-2:-1] == ["-c"] else [child]
    return found


def contents(study: Path) -> dict[str, str]:
    """The SHA-256 of every file that a study writes; of `dvc.lock`, of its stages in alphabetical order."""
    found = {}
    for name in WRITTEN:
        for path in sorted([study / name, *(study / name).rglob("*")]):
            if path.is_file() and str(path.relative_to(study)) not in WITH_TIMES:
                found[str(path.relative_to(study))] = hashlib.sha256(path.read_bytes()).hexdigest()
    stages = yaml.safe_load((study / "dvc.lock").read_text())["stages"]
    ordered = json.dumps(stages, sort_keys=True).encode()
    return found | {"dvc.lock": hashlib.sha256(ordered).hexdigest()}


if __name__ == "__main__":
    main()
