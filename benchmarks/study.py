"""`python -m benchmarks.study [--skip-run]`: where the default study's time goes, and what the paper's size would take.

First clones this checkout to a temporary folder and runs `dvc repro` there, once the compiled loops are built, and
splits its wall time by what DVC prints and what the workers note in `.work/timings.jsonl`. Then projects the paper's
protocol (every variant × 5 folds × 10 seeds) from measured steps of every variant at the paper's sizes, alone and in
two processes at once, and from the epochs that the default study's trainings took.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.kills import begin_anew
from benchmarks.published_corpus import parts
from benchmarks.step import BATCH, Runner, allocate_for
from stages.common import params, tables
from stages.corpus.iemocap import CLASS_COUNTS

ROOT = Path(__file__).parents[1]
DVC = [sys.executable, "-m", "dvc"]
EPOCHS = 20
"""A run, where no study has been run to count them."""
SEEDS, FOLDS = 10, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip-run", action="store_true", help="only project the paper's size")
    options = parser.parse_args()
    variants, epochs = params.load().variants, {}
    if not options.skip_run:
        with tempfile.TemporaryDirectory() as folder:
            epochs = run(Path(folder) / "study")
    project({variant: epochs.get(variant, EPOCHS) for variant in variants})


def clone(folder: Path) -> None:
    """Clone the default study; of what it writes nothing is there but the compiled loops."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    subprocess.run([*DVC, "repro", "--quiet", "train@self_t-1"], cwd=folder, check=True)  # builds the compiled loops
    begin_anew(folder)


def run(folder: Path) -> dict[str, float]:
    """Run the default study in a clone; print the split of its time; variant → epochs a run."""
    clone(folder)
    total, stages = timed_repro(folder)
    workers = pd.DataFrame([json.loads(line) for line in (folder / ".work/timings.jsonl").open()])
    activities = ["data", "training", "evaluation", "checkpoints", "results"]
    busy = workers.reindex(columns=activities, fill_value=0).fillna(0)
    training_stages = sum(seconds for name, seconds in stages.items() if name.startswith("train"))
    # Of a variant's workers the one that took longest decides; activities share that as they share all workers' time.
    longest = busy.assign(variant=workers["variant"], all=busy.sum(axis=1)).groupby("variant")["all"].max().sum()
    shares = busy.sum() / busy.sum().sum() * longest
    rows = [
        ("DVC", total - sum(stages.values())),
        ("start-up and writing of train stages", training_stages - longest),
        *((f"workers: {name}", seconds) for name, seconds in shares.items()),
        ("the other stages", sum(stages.values()) - training_stages),
        ("all", total),
    ]
    print(f"default study: {len(stages)} stages, {int(workers['epochs'].sum())} epochs\n")
    print(tables.markdown(pd.DataFrame([{"what": name, "seconds": f"{seconds:.0f}"} for name, seconds in rows])))
    runs = len(params.load().seeds) * FOLDS
    return (workers.groupby("variant")["epochs"].sum() / runs).to_dict()


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


def project(epochs: dict[str, float]) -> None:
    """Print hours of the paper's protocol from steps at the paper's sizes."""
    utterances = sum(CLASS_COUNTS.values())
    divided = parts(utterances, FOLDS, seed=1)[0]
    steps, passes = (-(-len(divided[part]) // BATCH) for part in ("train", "dev"))
    rows, alone = [], {}
    for variant in epochs:
        train, evaluate = alone[variant] = measure(variant)
        epoch = steps * train + passes * evaluate
        rows.append((variant, train, evaluate, epoch, epochs[variant], epoch * epochs[variant] * SEEDS * FOLDS / 3600))
    table = pd.DataFrame(
        [
            {
                "variant": variant,
                "step (s)": f"{train:.3f}",
                "evaluation (s)": f"{evaluate:.3f}",
                f"epoch of {steps} + {passes} batches (s)": f"{epoch:.0f}",
                "epochs a run": f"{number:.1f}",
                f"{SEEDS * FOLDS} runs (h)": f"{hours:.1f}",
            }
            for variant, train, evaluate, epoch, number, hours in rows
        ]
    )
    print(f"\nprojection to {utterances} utterances, one core\n\n{tables.markdown(table)}")
    both = 1 / statistics.median(two_at_once(variant) / alone[variant][0] for variant in ("self_tva", "cross_tva"))
    hours = sum(row[-1] for row in rows)
    print(f"\none core: {hours:.0f} h; two processes do {2 * both:.2f} times one's work: {hours / 2 / both:.0f} h")
    print("GPU: not measured" if not torch.cuda.is_available() else "GPU: see python -m benchmarks.together")


def measure(variant: str, rounds: int = 3) -> tuple[float, float]:
    """Median seconds of a training step and of an evaluation of a batch, by one thread."""
    torch.set_num_threads(1)
    allocate_for("project")
    runner = Runner(variant, "project")
    train, evaluate = np.median([runner.timed(number) for number in range(rounds + 1)][1:], axis=0)
    return float(train), float(evaluate)


def two_at_once(variant: str) -> float:
    """Median seconds of a training step while another process makes the same ones."""
    with get_context("spawn").Pool(2) as pool:
        return statistics.mean(train for train, _ in pool.starmap(measure, [(variant, 8)] * 2))


if __name__ == "__main__":
    main()
