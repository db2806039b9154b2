"""`python -m benchmarks.study [--skip-run]`: where the default study's time goes, and what the paper's size would take.

First clones this checkout to a temporary folder and runs `dvc repro` there, once the compiled loops are built, and
splits its wall time by what DVC prints and what the workers note in `.work/timings.jsonl`. Then projects the paper's
protocol (every variant × 5 folds × 10 seeds) from measured steps of every variant at the paper's sizes, alone and in
two processes at once, and from the epochs that the default study's trainings took.
"""

import argparse
import json
import statistics
import tempfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.published_corpus import parts
from benchmarks.repro import clone, timed_repro
from benchmarks.step import BATCH, Runner, allocate_for
from stages.common import params, tables
from stages.corpus.iemocap import CLASS_COUNTS

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
