"""`python -m benchmarks.together [variant]`: runs per hour with 1, 5, 10 and 50 runs in lockstep, against plain ones.

A run is taken as `EPOCHS` epochs over the training and development utterances of the corpus's fold; measured are a
training step and an evaluation of a batch. On CUDA at the paper's sizes, on a CPU at those of the embedded corpus, by
one thread: at the paper's sizes a CPU gains nothing by it. The plain model is that of `stages/train/plain.py` in
float32, one run at a time.
"""

import argparse

import numpy as np
import pandas as pd
import torch

from benchmarks.published_corpus import Sizes
from benchmarks.step import BATCH, Runner, allocate_for
from stages.common import tables

TOGETHER = (1, 5, 10, 50)
EPOCHS = 20
SMALL = Sizes(audio=(10, 16), video=(4, 16), text=8, vocabulary=210, embedding=16)
PARTS = {"cpu": (286, 18), "cuda": (5990, 749)}
"""Utterances of the training and the development part."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="?", default="cross_tva")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", choices=PARTS, default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes() if options.device == "cuda" else SMALL
    cases = [("plain float32", 1), *(("project", runs) for runs in TOGETHER)]
    runners = [Runner(options.variant, kind, runs=runs, sizes=sizes, device=options.device) for kind, runs in cases]
    steps, passes = (-(-utterances // BATCH) for utterances in PARTS[options.device])
    seconds = [[] for _ in cases]  # of an epoch
    for number in range(options.rounds + 1):
        for (kind, _), runner, times in zip(cases, runners, seconds, strict=True):
            allocate_for(kind)
            train, evaluate = runner.timed(number)
            times.append(steps * train + passes * evaluate)
    rates = [runs * 3600 / EPOCHS / np.array(times[1:]) for (_, runs), times in zip(cases, seconds, strict=True)]
    rows = [
        {
            "model": kind,
            "runs together": runs,
            "runs an hour": f"{np.median(rate):.0f}",
            "ratio to plain": f"{np.median(rate / rates[0]):.1f}",
        }
        for (kind, runs), rate in zip(cases, rates, strict=True)
    ]
    where = torch.cuda.get_device_name() if options.device == "cuda" else "one core"
    print(f"{options.variant}, {where}, runs of {EPOCHS} epochs\n\n{tables.markdown(pd.DataFrame(rows))}")


if __name__ == "__main__":
    main()
