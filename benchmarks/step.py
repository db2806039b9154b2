"""`python -m benchmarks.step [variant …]`: a training step and an evaluation at the paper's sizes, against plain torch.

Three models in one process, alternating: the plain one of `stages/train/plain.py` (nn.Conv1d, nn.GRU and
nn.MultiheadAttention, as the paper's authors would write it) in float64 and in float32, and the project's. All see the
same batches of 32 made-up utterances of realistic lengths; a training step is forward, backward and Adam. Prints
medians of the ratios to the project's times in the same round, and the peak memory that each adds, measured in a
process of its own.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from benchmarks import memory
from benchmarks.published_corpus import Corpus, Sizes
from stages.common import params, tables
from stages.plan.__main__ import make
from stages.train import model, optimiser, plain
from stages.train.engine import workers
from stages.train.stack import Stack

VARIANTS = ("self_tva", "cross_tva", "crossself_tva", "self_a", "cross_ta")
MATCHED = (
    *("concat_tva", "gate_tva", "mdre_tva", "mha_ta", "amh_tva", "cfn_va_sr", "dca_tva", "self2_tva", "cross_tva_half"),
    *("mcsan_tva", "mult_tva", "transformer_tva", "lmf_tva", "intermediate_tva", "bottleneck_tva"),
)
"""Those of other systems' fusions."""
BATCH, CLASSES = 32, 7
KINDS = ("plain float64", "plain float32", "project")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="by default some of the paper's")
    parser.add_argument("--matched", action="store_true", help="other systems' fusions; plain float32 alone")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="torch threads; a training worker has one")
    parser.add_argument("--memory", choices=KINDS, help=argparse.SUPPRESS)  # what a child process is to measure
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        allocate_for(options.memory)
        print(added_memory(options.variants[0], options.memory))
        return
    rows, kinds = [], KINDS[1:] if options.matched else KINDS
    for variant in options.variants or (MATCHED if options.matched else VARIANTS):
        times = measure(variant, options.rounds, kinds)
        used = {kind: child(variant, kind, options.threads) for kind in kinds}
        for what, columns in times.items():
            seconds = {kind: np.array(columns[kind]) for kind in kinds}
            ratios = {kind: np.median(seconds[kind] / seconds["project"]) for kind in kinds[:-1]}
            rows.append(
                {"variant": variant, "what": what}
                | {f"{kind} (s)": f"{np.median(seconds[kind]):.3f}" for kind in kinds}
                | {f"{kind} / project": f"{ratio:.1f}" for kind, ratio in ratios.items()}
                | {f"{kind} (GiB)": f"{used[kind]:.2f}" if what == "training step" else "" for kind in kinds}
            )
        print(tables.markdown(pd.DataFrame(rows[-2:])), flush=True)
    print(f"threads: {options.threads}; rounds: {options.rounds}\n\n{tables.markdown(pd.DataFrame(rows))}")


def measure(variant: str, rounds: int, kinds: tuple[str, ...] = KINDS) -> dict[str, dict[str, list[float]]]:
    """What → kind → seconds of each round after the first."""
    runs = {kind: Runner(variant, kind) for kind in kinds}
    times = {what: {kind: [] for kind in kinds} for what in ("training step", "evaluation")}
    for number in range(rounds + 1):
        for kind, runner in runs.items():
            allocate_for(kind)
            for what, seconds in zip(times, runner.timed(number), strict=True):
                if number:
                    times[what][kind].append(seconds)
    return times


def allocate_for(kind: str) -> None:
    """Memory as in a training worker for the project's model, as glibc sets itself in the end for the plain ones."""
    if kind == "project":
        workers.keep_freed_memory()
    else:
        workers.set_allocation(mapped_from=2**25, kept=2**26)


class Runner:
    """One kind of model with its optimiser and batches; the project's for some runs together."""

    def __init__(self, variant: str, kind: str, *, runs: int = 1, sizes: Sizes | None = None, device: str = "cpu"):
        torch.manual_seed(0)
        plan, sizes = make(variant, params.load()), sizes or Sizes()
        self.runs, self.device = runs, torch.device(device)
        self.kind, self.dtype = kind, torch.float64 if kind == "plain float64" else torch.float32
        shape = model.Shape(
            features={"audio": sizes.audio[1], "video": sizes.video[1], "text": sizes.embedding},
            longest={"audio": sizes.audio[0], "video": sizes.video[0], "text": sizes.text},
            outputs=CLASSES,
        )
        if kind == "project":
            self.network = model.build(plan, shape).to(self.device)
            self.stack = Stack(self.network)
            self.states = optimiser.fresh(self.stack.vector(self.network).repeat(runs, 1))
            generators = tuple(torch.Generator(self.device).manual_seed(run) for run in range(runs))
            self.stack.use(self.states.parameters, generators)
            self.steps = 0
        else:
            self.network = plain.Model(plan, shape).to(self.device, self.dtype)
            self.optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        corpus = Corpus(np.arange(4 * BATCH) % CLASSES, sizes)
        self.labels = torch.from_numpy(corpus.labels[:BATCH]).to(self.device)
        self.batches = [self._batch(corpus, number, plan.names) for number in range(4)]

    def _batch(self, corpus: Corpus, number: int, names: list[str]) -> dict:
        """Padded values [B, T, F] and lengths [B]; for the project [R, T, B, F] and [R, B]."""
        utterances = [corpus.sequences(BATCH * number + i) for i in range(BATCH)]
        longest = {"audio": corpus.sizes.audio[0], "video": corpus.sizes.video[0], "text": corpus.sizes.text}
        batch = {}
        for name in names:
            sequences = [u[name] if name != "text" else corpus.embedding[u[name]] for u in utterances]
            lengths = torch.tensor([len(s) for s in sequences]).to(self.device)
            padded = torch.zeros(BATCH, longest[name], sequences[0].shape[1])
            for row, sequence in zip(padded, sequences, strict=True):
                row[: len(sequence)] = torch.from_numpy(sequence)
            padded = padded.to(self.device, self.dtype)
            batch[name] = padded, lengths
            if self.kind == "project":
                batch[name] = padded.transpose(0, 1).repeat(self.runs, 1, 1, 1), lengths.repeat(self.runs, 1)
        return batch

    def train(self, number: int) -> None:
        """A training step."""
        self.network.train()
        logits = self.network(self.batches[number % 4])
        if self.kind == "project":
            self.steps += 1
            F.cross_entropy(logits.flatten(0, 1), self.labels.repeat(self.runs), reduction="sum").div(BATCH).backward()
            optimiser.step(self.states, self.stack.gradient(), [self.steps] * self.runs, [1e-3] * self.runs)
        else:
            F.cross_entropy(logits, self.labels).backward()
            self.optimiser.step()
            self.optimiser.zero_grad()

    def evaluate(self, number: int) -> None:
        """Logits of a batch, without dropout."""
        self.network.eval()
        with torch.inference_mode():
            self.network(self.batches[number % 4])

    def timed(self, number: int) -> tuple[float, float]:
        """Seconds of a training step and of an evaluation."""
        times = []
        for function in (self.train, self.evaluate):
            started = time.perf_counter()
            function(number)
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        return times[0], times[1]


def added_memory(variant: str, kind: str) -> float:
    """GiB that two training steps and an evaluation add to this process at their peak."""
    runner = Runner(variant, kind)
    before = memory.resident()
    for number in range(2):
        runner.train(number)
    runner.evaluate(2)
    return (memory.peak() - before) / 2**30


def child(variant: str, kind: str, threads: int) -> float:
    """`added_memory` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step", variant, "--memory", kind, "--threads", str(threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
