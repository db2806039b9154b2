"""`python -m benchmarks.interaction`: what `corpus.synthetic.interaction` does to self- and cross-attention.

Trains `self_t`, `self_v`, `self_tv` and `cross_tv` on synthetic corpora of 1,500 utterances with interaction 0 and 1
and prints the mean accuracy over folds.
"""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import pandas as pd

from stages.common import features, params, predictions, scores
from stages.corpus import synthetic
from stages.split import schemes
from stages.train import protocol

VARIANTS, INTERACTIONS, FOLDS = ("self_t", "self_v", "self_tv", "cross_tv"), (0.0, 1.0), 5
UTTERANCES = 1500


def main() -> None:
    config = params.load()
    with tempfile.TemporaryDirectory() as root:
        for interaction in INTERACTIONS:
            changed = config.corpus.synthetic.model_copy(update={"utterances": UTTERANCES, "interaction": interaction})
            synthetic.write(config.corpus.model_copy(update={"synthetic": changed}), Path(root, str(interaction)))
        jobs = list(product([root], INTERACTIONS, VARIANTS, range(1, FOLDS + 1)))
        with ProcessPoolExecutor() as pool:
            table = pd.DataFrame(pool.map(accuracy, jobs))
    print(table.pivot_table(index="variant", columns="interaction", values="accuracy", sort=False).round(3))


def accuracy(job: tuple[str, float, str, int]) -> dict:
    root, interaction, variant, fold = job
    config, corpus = params.load(), features.read(Path(root, str(interaction)))
    folds = schemes.random(features.read_utterances(Path(root, str(interaction))), config.split)
    rows = features.fold_rows(corpus, folds, fold)
    ((_, run),) = protocol.train(variant, [(1, fold)], {fold: rows}, corpus, config)
    test = rows["test"]
    table = predictions.table(corpus, fold, test, run.probabilities)
    result = scores.scores(table, corpus.meta.classes)["accuracy"]
    return {"interaction": interaction, "variant": variant, "accuracy": result}


if __name__ == "__main__":
    main()
