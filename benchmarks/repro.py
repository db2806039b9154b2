"""What the benchmarks of `dvc repro` share."""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.kills import begin_anew

ROOT = Path(__file__).parents[1]
DVC = [sys.executable, "-m", "dvc"]


def clone(folder: Path) -> None:
    """Clone the default study; of what it writes nothing is there but the compiled loops."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    subprocess.run([*DVC, "repro", "--quiet", "train@self_t-1"], cwd=folder, check=True)  # builds the compiled loops
    begin_anew(folder)


def timed_repro(folder: Path) -> tuple[float, dict[str, float]]:
    """Wall time of `dvc repro`, and of each stage's process, from when DVC starts it until it has ended.

    DVC starts stages through `$SHELL`: here one that notes the times.
    """
    shell, log = folder / ".shell", folder / ".times"
    shell.write_text(
        f'#!/bin/bash\nstart=$EPOCHREALTIME\n/bin/bash "$@"\nstatus=$?\n'
        f'echo "$DVC_STAGE $start $EPOCHREALTIME" >> {log}\nexit $status\n'
    )
    shell.chmod(0o755)
    log.unlink(missing_ok=True)
    started = time.monotonic()
    subprocess.run(
        [*DVC, "repro", "--quiet"],
        cwd=folder,
        env=os.environ | {"SHELL": str(shell)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    total = time.monotonic() - started
    rows = [line.rsplit(" ", 2) for line in log.read_text().splitlines()]
    return total, {stage: float(end) - float(start) for stage, start, end in rows}
