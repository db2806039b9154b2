"""Time and memory of `python -m stages.ttest --predictions` on a long study.

`python -m benchmarks.long_study`: 20 models × 10 folds × 10 seeds, 10,000 utterances of 7 classes and 500 dialogues,
each tested by one fold: 2 million predictions. Prints seconds (as a clock has them, and of all cores) and the peak
memory of the command for a CSV and a Parquet file, without and with probabilities; with them all metrics are compared.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from stages.common.metrics import METRICS

CLASSES = ["angry", "excited", "fear", "frustrated", "happy", "neutral", "sad"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A study's sizes."""

    models: int = 20
    folds: int = 10
    seeds: int = 10
    utterances: int = 10_000
    dialogues: int = 500


def predictions(shape: Shape, *, with_probabilities: bool) -> pa.Table:
    """Made-up predictions: models, folds, dialogues and runs all differ a little."""
    rng = np.random.default_rng(0)
    n, runs = shape.utterances, shape.models * shape.seeds
    actual, fold = rng.integers(len(CLASSES), size=n), np.arange(n) % shape.folds
    dialogue = fold + shape.folds * rng.integers(shape.dialogues // shape.folds, size=n)
    model, seed = (index.repeat(n) for index in np.divmod(np.arange(runs), shape.seeds))
    of_dialogue = 0.3 * rng.standard_normal((shape.dialogues, len(CLASSES)))
    logits = rng.standard_normal((n, len(CLASSES))) + of_dialogue[dialogue]
    logits = np.tile(logits, (runs, 1)) + 0.7 * rng.standard_normal((runs * n, len(CLASSES)), dtype=np.float32)
    logits[np.arange(len(logits)), np.tile(actual, runs)] += 1.2 + 0.01 * model
    logits = logits.astype(np.float32)
    columns = {
        "variant": _text(model, [f"wav2vec 2.0 + RoBERTa, fusion {i:02d}" for i in range(shape.models)]),
        "fold": np.tile(fold + 1, runs),
        "seed": seed + 1,
        "utterance_id": _text(np.tile(np.arange(n), runs), [f"Ses{i % 5 + 1:02d}_impro_{i:05d}" for i in range(n)]),
        "actual": _text(np.tile(actual, runs), CLASSES),
        "predicted": _text(logits.argmax(axis=1), CLASSES),
        "dialogue": _text(np.tile(dialogue, runs), [f"d{i:04d}" for i in range(shape.dialogues)]),
    }
    if with_probabilities:
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        columns |= {f"probability_{name}": probabilities[:, i].astype(np.float32) for i, name in enumerate(CLASSES)}
    return pa.table(columns)


def _text(places: np.ndarray, names: list[str]) -> pa.Array:
    """The names at some places."""
    return pa.DictionaryArray.from_arrays(places.astype(np.int32), names).cast(pa.string())


def write(shape: Shape, kind: str, path: Path) -> None:
    """Make predictions up and write them."""
    table = predictions(shape, with_probabilities=kind == "with")
    (csv.write_csv if path.suffix == ".csv" else parquet.write_table)(table, path)


def measure(arguments: list[str]) -> str:
    """Run the command; its seconds and memory in words."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "stages.ttest", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    if status:
        sys.exit(1)
    return f"{wall:.1f} s, {cpu:.1f} s of all cores, {usage.ru_maxrss / 2**20:.2f} GiB at most"


def main() -> None:
    """Write the files, run the command on each, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in vars(Shape()).items():
        parser.add_argument(f"--{name}", type=int, default=size, help=f"{size} unless named")
    parser.add_argument("--only", nargs=2, metavar=("SUFFIX", "KIND"), help="csv or parquet, without or with")
    parser.add_argument("--out", type=Path, help="keep the tables and figures in this folder")
    options = vars(parser.parse_args())
    only, out, shape = options.pop("only"), options.pop("out"), Shape(**options)
    with TemporaryDirectory() as folder:
        for kind, suffix in product(("without", "with"), ("csv", "parquet")):
            if only in (None, [suffix, kind]):
                path = Path(folder) / f"predictions.{suffix}"
                # in a process of its own: a child's peak memory is at least what its parent has when it starts it
                writer = multiprocessing.get_context("spawn").Process(target=write, args=(shape, kind, path))
                writer.start()
                writer.join()
                metrics = (
                    ["--metrics", *(name for name, own in METRICS.items() if own.task == "classes")]
                    if kind == "with"
                    else []
                )
                target = str((out or Path(folder)) / f"{suffix}_{kind}")
                size = path.stat().st_size / 2**20
                taken = measure(["--predictions", str(path), *metrics, "--out", target])
                print(f"{suffix}, {kind} probabilities ({size:.0f} MiB): {taken}", flush=True)
                path.unlink()


if __name__ == "__main__":
    main()
