"""`python -m benchmarks.interaction`: what `corpus.synthetic.interaction` does to self- and cross-attention.

Trains `self_t`, `self_v`, `self_tv` and `cross_tv` on synthetic corpora of 1,500 utterances with signal 1 and
interaction 0 and 1, and prints the mean accuracy over folds.
"""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import pandas as pd

from benchmarks.synthetic_corpora import write
from stages.common import corpus as corpora
from stages.common import features, params, predictions, scores
from stages.common.records import RunId
from stages.plan.__main__ import make
from stages.split import schemes
from stages.train import protocol

VARIANTS, INTERACTIONS, FOLDS = ("self_t", "self_v", "self_tv", "cross_tv"), (0.0, 1.0), 5
UTTERANCES, SIGNAL = 1500, 1.0


def main() -> None:
    config = params.load()
    with tempfile.TemporaryDirectory() as root:
        for interaction in INTERACTIONS:
            changes = {"utterances": UTTERANCES, "signal": SIGNAL, "interaction": interaction}
            write(config.corpus, ("text", "video"), Path(root, str(interaction)), **changes)
        jobs = list(product([root], INTERACTIONS, VARIANTS, range(1, FOLDS + 1)))
        with ProcessPoolExecutor() as pool:
            table = pd.DataFrame(pool.map(accuracy, jobs))
    print(table.pivot_table(index="variant", columns="interaction", values="accuracy", sort=False).round(3))


def accuracy(job: tuple[str, float, str, int]) -> dict:
    """Of one run."""
    root, interaction, variant, fold = job
    config, folder = params.load(), Path(root, str(interaction))
    plan = make(variant, config)
    corpus = features.read(plan.names, folder / "features", folder / "corpus")
    folds = schemes.random(corpora.read_utterances(folder / "corpus"), config.split)
    rows = features.fold_rows(corpus, folds, fold)
    ((_, run),) = protocol.train(plan, [RunId(1, fold)], {fold: rows}, corpus)
    table = predictions.table(corpus, fold, rows["test"], run.probabilities)
    result = scores.scores(table, corpus.meta.classes)["accuracy"]
    return {"interaction": interaction, "variant": variant, "accuracy": result}


if __name__ == "__main__":
    main()
