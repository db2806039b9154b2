"""`python -m benchmarks.null_models`: how often the verdict's test errs with this project's own models.

A variant is compared with itself, seeds 1 to 3 with seeds 4 to 6, in 5 random folds of embedded corpora that are
generated anew: there is no difference. Models are small and trained for a few epochs, so that a corpus takes less than
a second of one core. Dialogues are the units.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.null_simulation import ALPHA, HOLM, METRICS, TESTS, all_tests, compare
from benchmarks.synthetic_corpora import write
from stages.common import features, params, tables
from stages.common.plan import Plan
from stages.common.records import RunId
from stages.plan.__main__ import make
from stages.split import schemes
from stages.train import protocol
from stages.ttest import design, student

FOLDS, SEEDS = 5, 3  # seeds on each side
MODEL = {"hidden": 8, "classifier": 16, "heads": 2}
PROTOCOL = {"max_epochs": 8, "patience": 4, "learning_rate": 0.02}


def small(utterances: int) -> params.Params:
    """The committed params with small corpora and models."""
    config = params.load()
    made = config.corpus.synthetic.model_copy(update={"utterances": utterances})
    protocol_params = config.train.protocol.model_copy(update=PROTOCOL)
    changes = {
        "corpus": config.corpus.model_copy(update={"synthetic": made}),
        "split": config.split.model_copy(update={"folds": FOLDS}),
        "model": config.model.model_copy(update=MODEL),
        "train": config.train.model_copy(update={"protocol": protocol_params, "device": "cpu"}),
    }
    return config.model_copy(update=changes)


def study(config: params.Params, plan: Plan, number: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """What `compare` finds in one corpus, [metrics, …]; the correction q and the mean accuracy."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        with contextlib.redirect_stdout(None):
            spoken = write(config.corpus, plan.names, folder, seed=number)
        data = features.read(plan.names, folder / "features", folder / "corpus")
    folds = schemes.random(spoken, config.split.model_copy(update={"seed": number}))
    rows = {fold: features.fold_rows(data, folds, fold) for fold in range(1, FOLDS + 1)}
    run_ids = [RunId(seed, fold) for fold in rows for seed in range(1, 2 * SEEDS + 1)]
    runs = dict(protocol.train(plan, run_ids, rows, data, at_once=len(run_ids)))
    tested, trained = (np.concatenate([own[part] for own in rows.values()]) for part in ("test", "train"))
    guessed = [
        np.concatenate([runs[RunId(seed, fold)].outputs.argmax(axis=1) for fold in rows])
        for seed in range(1, 2 * SEEDS + 1)
    ]
    correct = (np.array(guessed) == data.label[tested]).astype(float)  # (seeds, rows)
    fold = np.repeat(np.arange(FOLDS), [len(own["test"]) for own in rows.values()])
    unit = design.units(spoken)[1].loc[data.utterance_id[tested]].to_numpy()
    q = student.correction(FOLDS, len(tested) / len(trained))
    d, found = compare(correct[:SEEDS] - correct[SEEDS:], data.label[tested], unit, fold, q)
    return np.array(d), np.array(found), q, correct.mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="?", default="self_t")
    parser.add_argument("--studies", type=int, default=300, help="corpora (default: 300)")
    parser.add_argument("--utterances", type=int, default=150, help="of a corpus (default: 150)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: cores)")
    options = parser.parse_args()
    results, start = [], time.monotonic()
    with ProcessPoolExecutor(options.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        config = small(options.utterances)
        job = partial(study, config, make(options.variant, config))
        for result in pool.map(job, range(1, options.studies + 1)):
            results.append(result)
            print(f"\r{len(results)} corpora, {time.monotonic() - start:.0f} s", end="", file=sys.stderr)
    d, found, q, accuracy = (np.array(some) for some in zip(*results, strict=True))
    print(
        f"\n{options.variant}, {options.studies} corpora of {options.utterances} utterances, {FOLDS} × {SEEDS}: mean "
        f"accuracy {tables.fraction(accuracy.mean())}, two runs differ by {100 * d[:, 0].std():.1f} points (s.d.)\n\n"
        "Share of studies with P < .05 ± standard error / P < .05/9; the verdict's test is components\n"
    )
    print(tables.markdown(pd.DataFrame(lines(all_tests(d, found, q).p))))


def lines(p: np.ndarray) -> list[dict[str, str]]:
    """A row a metric, from P [studies, metrics, tests]."""
    error, holm = (p < ALPHA).mean(axis=0), (p < HOLM).mean(axis=0)
    deviation = np.sqrt(error * (1 - error) / len(p))
    return [
        {"metric": metric}
        | {
            test: f"{tables.fraction(error[i, j])} ± {tables.fraction(deviation[i, j])} / {tables.fraction(holm[i, j])}"
            for j, test in enumerate(TESTS)
        }
        for i, metric in enumerate(METRICS)
    ]


if __name__ == "__main__":
    main()
