"""`python -m benchmarks.jobs [--jobs 2] [--rounds 1]`: `make train JOBS=n` against `dvc repro`, on the default study.

In turns, each from nothing but compiled loops: `dvc repro`, and `python -m tools.jobs n` with a `dvc repro` for the
other stages. Prints the wall times and their ratio, and whether both came to the same files.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kills import begin_anew, contents
from benchmarks.repro import DVC, clone

REPRO = [*DVC, "repro", "--quiet"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        clone(study)
        ratios = []
        for _ in range(options.rounds):
            serial = from_nothing(study, REPRO)
            expected = contents(study)
            side_by_side = from_nothing(study, [sys.executable, "-m", "tools.jobs", str(options.jobs)])
            rest = run(study, REPRO)
            ratios.append(serial / (side_by_side + rest))
            print(
                f"dvc repro: {serial:.0f} s; {options.jobs} jobs: {side_by_side:.0f} s, the other stages {rest:.0f} s; "
                f"same files: {contents(study) == expected}"
            )
    print(f"on {os.cpu_count()} cores: dvc repro takes {statistics.median(ratios):.2f} times as long (median)")


def from_nothing(study: Path, command: list[str]) -> float:
    """Seconds that a command takes where nothing has been run."""
    begin_anew(study)
    return run(study, command)


def run(study: Path, command: list[str]) -> float:
    """Seconds that a command takes."""
    started = time.monotonic()
    subprocess.run(command, cwd=study, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
