"""What the benchmarks of `dvc repro` share."""

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
    """Wall time of `dvc repro`, and of each stage's own process by when DVC says that it starts and is done."""
    started = time.monotonic()
    process = subprocess.Popen([*DVC, "repro"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    stages, name, since = {}, "", 0.0
    for line in process.stdout:
        now = time.monotonic()
        if line.startswith("Running stage '"):
            name = line.split("'")[1]
        elif line.startswith("> python -m"):
            since = now
        elif name and line.startswith(("Generating lock file", "Updating lock file")):
            stages.setdefault(name, now - since)  # a stage that says nothing has ended by now
            name = ""  # what follows is DVC's own
        elif name and line.strip() and not line.startswith("Use `dvc"):
            stages[name] = now - since  # a stage's own last line is printed when it is done
    if process.wait():
        sys.exit("error: dvc repro failed")
    return time.monotonic() - started, stages
