"""`python -m benchmarks.embedded_truth [--corpora 6] [--reference 20]`: does the embedded study find what is true?

Trains the study of params.yaml on several synthetic corpora, which differ in `corpus.synthetic.seed` alone, and prints
the verdicts on all pairs for each. What is true is known without them: by construction (`stages/corpus/synthetic.py`:
only by looking up in the text what the video asks for can a model use `corpus.synthetic.interaction`), and from a
reference, the mean difference over other corpora, whose standard error needs no test's assumptions since corpora are
independent. The reference's models are trained with one seed each.

A verdict is wrong if it calls a model better that the reference, beyond three of its standard errors, has as the
worse, or a pair different that the reference cannot tell apart within three.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.synthetic_corpora import write
from stages.common import corpus as corpora
from stages.common import features, params, predictions, tables, task
from stages.common.records import RunId
from stages.corpus import synthetic
from stages.plan.__main__ import make
from stages.split.__main__ import divide
from stages.train import protocol
from stages.train.engine import capacity, workers
from stages.ttest import answers, bootstrap, comparisons, design

FIRST_REFERENCE = 100_000
"""The first seed of the reference's corpora."""
SURE = 3
"""Standard errors of the reference."""


@dataclass(frozen=True)
class Job:
    """A variant's trainings on one corpus."""

    config: params.Params
    folder: Path
    variant: str
    seeds: list[int]


@dataclass(frozen=True)
class Trained:
    """What they came to."""

    predictions: pd.DataFrame
    epochs: int
    seconds: float
    """Of the processor."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=int, default=6, help="studies; the first has the seed of params.yaml")
    parser.add_argument("--reference", type=int, default=20, help="corpora that say what is true, at least 2")
    parser.add_argument("--variants", nargs="+", help="instead of all of params.yaml")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    config = params.load().model_copy(update={"references": []})
    if options.variants:
        config = config.model_copy(update={"variants": options.variants})
    own = config.corpus.synthetic.seed
    with tempfile.TemporaryDirectory() as root:
        reference = [FIRST_REFERENCE + number for number in range(options.reference)]
        studies = [own + number for number in range(options.corpora)]
        found = verdicts(config, studies, Path(root), options.workers)
        known = truth(config, reference, Path(root), options.workers)
    show(found, known, config)


def truth(config: params.Params, seeds: list[int], root: Path, processes: int) -> pd.DataFrame:
    """Mean difference of each pair and metric over corpora, and its standard error; prints the mean scores."""
    rows, scored, seconds = [], [], 0.0
    for seed, trained, folds, utterances in trainings(config, seeds, config.seeds[:1], root, processes):
        rows.append(differences(config, trained, folds, utterances).assign(corpus=seed))
        scored.append(scores_of(config, trained).assign(corpus=seed))
        seconds += sum(own.seconds for own in trained.values())
    means = pd.concat(scored).groupby("variant", sort=False)[config.compare.metrics].agg(["mean", "std"])
    print(f"Scores over {len(seeds)} reference corpora ({seconds:.0f} s of processor time)\n\n{means.round(3)}\n")
    table = pd.concat(rows).groupby(["a", "b", "score"], sort=False)["difference"]
    return table.agg(["mean", "sem", "count"]).reset_index()


def verdicts(config: params.Params, seeds: list[int], root: Path, processes: int) -> pd.DataFrame:
    """`comparisons.COLUMNS` of each corpus's study, with its seed as the column corpus; prints what each took."""
    found = []
    for seed, trained, folds, utterances in trainings(config, seeds, config.seeds, root, processes):
        found.append(differences(config, trained, folds, utterances).assign(corpus=seed))
        epochs, seconds = (sum(getattr(own, name) for own in trained.values()) for name in ("epochs", "seconds"))
        print(f"corpus {seed}: {epochs} epochs, {seconds:.0f} s of processor time")
        better = [row for row in found[-1].itertuples() if row.verdict.better is not None]
        print("".join(f"  {row.score}, {row.a} - {row.b}: {cell(row)}\n" for row in better), end="", flush=True)
    return pd.concat(found, ignore_index=True)


def differences(
    config: params.Params, trained: dict[str, Trained], folds: pd.DataFrame, utterances: pd.DataFrame
) -> pd.DataFrame:
    """What the study's comparisons say."""
    table = pd.concat([own.predictions for own in trained.values()], ignore_index=True)
    own, shape = answers.arrange(table, task.classes(synthetic.CLASSES)), design.of_study(folds, utterances)
    drawn = bootstrap.draws(own, shape.numbers(own.utterance_id), config.compare.metrics)
    return comparisons.compare(own, config.pairs, config.compare, shape, drawn, details=False)


def scores_of(config: params.Params, trained: dict[str, Trained]) -> pd.DataFrame:
    """Each variant's mean scores."""
    table = pd.concat([own.predictions for own in trained.values()], ignore_index=True)
    own = answers.arrange(table, task.classes(synthetic.CLASSES))
    found = own.run_scores(config.compare.metrics)
    return pd.DataFrame({"variant": own.variants} | {name: found[name].mean((1, 2)) for name in config.compare.metrics})


def trainings(
    config: params.Params, corpus_seeds: list[int], seeds: list[int], root: Path, processes: int
) -> Iterable[tuple[int, dict[str, Trained], pd.DataFrame, pd.DataFrame]]:
    """Each corpus's seed, trained variants, folds and utterances."""
    jobs, read = [], {}
    for seed in corpus_seeds:
        folder = root / str(seed)
        read[seed] = make_corpus(config, seed, folder)
        jobs += [Job(config, folder, variant, seeds) for variant in config.variants]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), initializer=start) as pool:
        done = pool.map(train, jobs)
        for seed in corpus_seeds:
            yield seed, {variant: next(done) for variant in config.variants}, *read[seed]


def make_corpus(config: params.Params, seed: int, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Generate a corpus, its features and folds; the folds and the utterances."""
    utterances = write(config.corpus, config.modalities, folder, seed=seed)
    folds = divide(utterances, config.split)
    folds.to_csv(folder / "folds.csv", index=False)
    return folds, utterances


def start() -> None:
    """Make a process as the study's workers are."""
    torch.set_num_threads(1)
    workers.keep_freed_memory()


def train(job: Job) -> Trained:
    """Train a variant with some seeds on all folds."""
    plan = make(job.variant, job.config)
    corpus = features.read(plan.names, job.folder / "features", job.folder / "corpus")
    folds = pd.read_csv(job.folder / "folds.csv")
    rows = {fold: features.fold_rows(corpus, folds, fold) for fold in corpora.numbers(folds)}
    run_ids = [RunId(seed, fold) for seed in job.seeds for fold in rows]
    together = capacity.runs_per_process(plan, sum(own.longest for own in corpus.sequences.values()), "auto")
    began, found, epochs = time.process_time(), [], 0
    for run_id, run in protocol.train(plan, run_ids, rows, corpus, at_once=together):
        own = predictions.table(corpus, run_id.fold, rows[run_id.fold]["test"], run.outputs)
        found.append(own.assign(variant=job.variant, seed=run_id.seed))
        epochs += len(run.epochs)
    return Trained(pd.concat(found, ignore_index=True), epochs, time.process_time() - began)


def show(found: pd.DataFrame, known: pd.DataFrame, config: params.Params) -> None:
    """Print the verdicts beside what is true, and whether they agree."""
    for metric in config.compare.metrics:
        own = found[found["score"] == metric].assign(
            pair=lambda table: table["a"] + " - " + table["b"],
            cell=lambda table: [cell(row) for row in table.itertuples()],
        )
        table = own.pivot_table(index="pair", columns="corpus", values="cell", aggfunc="first", sort=False)
        table = table.reset_index()
        true = known[known["score"] == metric]
        texts = {
            f"{row.a} - {row.b}": f"{100 * row.mean:+.1f} ± {100 * row.sem:.1f}" for row in true.itertuples(index=False)
        }
        table.insert(1, "reference", table["pair"].map(texts))
        print(f"\n{metric}: difference in points, and P after Holm; the verdict where there is one\n")
        print(tables.markdown(table))
    merged = found.merge(known, on=["a", "b", "score"], how="left")
    better = merged[[verdict.better is not None for verdict in merged["verdict"]]]
    right = np.sign(better["difference"]) * better["mean"] > SURE * better["sem"]
    by_corpus = pd.DataFrame({"corpus": better["corpus"], "right": right, "wrong": ~right}).groupby("corpus").sum()
    by_corpus = by_corpus.reindex(found["corpus"].unique(), fill_value=0)
    print(f"\nverdicts `better` over all metrics\n\n{tables.markdown(by_corpus.reset_index())}")


def cell(row: tuple) -> str:
    """A difference and what is said of it."""
    text = f"{100 * row.difference:+.1f}, {tables.p_value(row.p_holm)}"
    if row.verdict.better is not None:
        text += f" **{row.a if row.verdict.better == 'a' else row.b}**"
    return text + (" equivalent" if row.verdict.equivalent else "")


if __name__ == "__main__":
    main()
