"""`python -m benchmarks.paper_scale [--scale S]`: what the paper's corpus size costs.

Writes a made-up corpus in the published layout (7,487 utterances at scale 1: 28 GB; a tenth by default), then
reports time, peak memory and disk of the stages `corpus` and `features`, and time and memory of one training epoch of
`self_tva` and `cross_tva` at the paper's sizes. The files are removed at the end.
"""

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import yaml

from benchmarks import memory
from benchmarks.published_corpus import Corpus, Sizes, parts, size_in_bytes, write
from stages.common import corpus, features, params
from stages.common.records import RunId
from stages.corpus.iemocap import CLASS_COUNTS
from stages.plan.__main__ import make

ROOT = Path(__file__).parents[1]
FOLDS = 5
MODALITIES = ("audio", "video", "text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="share of the 7,487 utterances (default: 0.1)")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to write (default: the system's temporary folder)"
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)  # what a child process is to do and measure
    options = parser.parse_args()
    if options.job:
        name, _, modality = options.job.partition("@")
        print(json.dumps(measure_stage(name, modality) if name in ("corpus", "features") else measure_epoch(name)))
        return
    labels = np.repeat(np.arange(len(CLASS_COUNTS)), [max(5, round(options.scale * n)) for n in CLASS_COUNTS.values()])
    sizes = Sizes()
    needed = int(1.3 * size_in_bytes(len(labels), FOLDS, sizes))  # the features take less than 30 % of it
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        free = shutil.disk_usage(folder).free
        if free < needed:
            sys.exit(
                f"error: {folder} has {gigabytes(free)} free, but needs {gigabytes(needed)}: use --folder or --scale"
            )
        run(Path(folder), labels, sizes)


def run(folder: Path, labels: np.ndarray, sizes: Sizes) -> None:
    print(f"writing {len(labels)} utterances in {FOLDS} folds: {gigabytes(size_in_bytes(len(labels), FOLDS, sizes))}")
    started = time.monotonic()
    made = Corpus(labels, sizes, without_video=(0, len(labels) // 2))
    write(folder / "corpus", made, parts(len(labels), FOLDS, seed=1))
    print(f"written in {time.monotonic() - started:.0f} s")
    config = yaml.safe_load((ROOT / "params.yaml").read_text())
    config["corpus"] |= {"source": "published_folds", "root": str(folder / "corpus")}
    (folder / "params.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for job in ("corpus", *(f"features@{modality}" for modality in MODALITIES)):
        found = child(folder, job)
        disk = sum(path.stat().st_size for path in (folder / "data" / job.replace("@", "/")).iterdir())
        print(f"{job}: {found['seconds']:.0f} s, peak memory {gigabytes(found['peak'])}, {gigabytes(disk)} written")
    subprocess.run([sys.executable, "-m", "stages.split"], cwd=folder, env=environment(), check=True)
    for variant in ("self_tva", "cross_tva"):
        found = child(folder, variant)
        print(
            f"{variant}: one epoch (training and development pass, {found['steps']} steps of one thread) "
            f"{found['seconds']:.0f} s; peak memory {gigabytes(found['peak'])} with the features that it maps, "
            f"{gigabytes(found['own'])} of its own between epochs"
        )


def measure_stage(name: str, modality: str) -> dict[str, float]:
    """Run the stage `corpus`, or `features` for a modality, in this process."""
    stage = importlib.import_module(f"stages.{name}.__main__")
    sys.argv = [name, *(["--modality", modality] if modality else [])]
    started = time.monotonic()
    with redirect_stdout(sys.stderr):
        stage.main()
    return {"seconds": time.monotonic() - started, "peak": memory.peak()}


def measure_epoch(variant: str) -> dict[str, float]:
    """Train fold 1 for two epochs in this process; the second one's cost."""
    from stages.train import protocol
    from stages.train.engine import workers  # only here, so that the parent stays small

    workers.keep_freed_memory()
    plan = make(variant, params.load())
    short = plan.protocol.model_copy(update={"max_epochs": 2})
    plan = plan.model_copy(update={"protocol": short, "device": "cpu"})
    prepared = features.read(plan.names)
    rows = features.fold_rows(prepared, corpus.read_folds(), 1)
    ends, own = [], []

    def note(_run, progress) -> None:
        if not progress.epochs_done:
            return
        ends.append(time.monotonic())
        own.append(memory.anonymous())

    list(protocol.train(plan, [RunId(1, 1)], {1: rows}, prepared, report=note))
    steps = -(-len(rows["train"]) // short.batch_size)
    return {"seconds": ends[1] - ends[0], "own": max(own), "peak": memory.peak(), "steps": steps}


def child(folder: Path, job: str) -> dict[str, float]:
    """Do a job in `folder` in a process of its own; what it measured."""
    command = [sys.executable, "-m", "benchmarks.paper_scale", "--job", job]
    done = subprocess.run(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def gigabytes(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


if __name__ == "__main__":
    main()
