"""`python -m benchmarks.interaction [--utterances 1000]`: are the verdicts those that the corpus was made for?

Trains self- and cross-attention, concatenation and DCA on text and video, and late fusion of the two alone, on two
synthetic corpora in which each modality alone is as hard: with `corpus.synthetic.interaction` 0 nothing is in the
relation of text and video, with 0.85 most is. Prints the mean scores, and the verdict on each pair of them beside the
one that is expected:

* 0.85: only by looking up in one modality what the other asks for can a model use what lies in their relation. So
  `cross` and `dca`, whose gate can let all of it through, are better than those that average each modality's steps by
  themselves: `self`, `concat`, `late`.
* 0: nothing is gained by looking anything up, so neither `cross` nor `dca` is better than one of the three.

Of the other pairs nothing is expected.
"""

import argparse
import os
import tempfile
from itertools import combinations
from pathlib import Path

import pandas as pd

from benchmarks import embedded_truth
from benchmarks.embedded_truth import Trained
from stages.common import params, tables
from stages.corpus import synthetic
from stages.references import models

LATE, PARTS = "late_tv", ["self_t", "self_v"]
LOOKING, AVERAGING = ["cross_tv", "dca_tv"], ["self_tv", "concat_tv", LATE]
INTERACTIONS = (0.0, 0.85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as root:
        for interaction in INTERACTIONS:
            config = study(options.utterances, interaction)
            found, means = compared(config, Path(root, str(interaction)), options.workers)
            print(f"interaction {interaction}: mean scores\n\n{tables.markdown(means.round(3))}", flush=True)
            rows += [verdict(row, interaction) for row in found.itertuples()]
    print(tables.markdown(pd.DataFrame(rows)))


def study(utterances: int, interaction: float) -> params.Params:
    """The params of one corpus's study."""
    config = params.load()
    changes = {"utterances": utterances, "interaction": interaction, "signal": 1 / (1 - interaction)}
    corpus = config.corpus.model_copy(update={"synthetic": config.corpus.synthetic.model_copy(update=changes)})
    compared = [*LOOKING, *AVERAGING]
    compare = config.compare.model_copy(update={"pairs": [list(pair) for pair in combinations(compared, 2)]})
    names = [*PARTS, *(name for name in compared if name != LATE)]
    return config.model_copy(update={"corpus": corpus, "compare": compare, "variants": names, "references": [LATE]})


def compared(config: params.Params, root: Path, workers: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The comparisons of a study (`comparisons.COLUMNS`), and each model's mean scores."""
    seed = config.corpus.synthetic.seed
    ((_, trained, folds, utterances),) = embedded_truth.trainings(config, [seed], config.seeds, root, workers)
    order = ["seed", "fold"]
    parts = [trained[name].predictions.sort_values(order, kind="stable", ignore_index=True) for name in PARTS]
    late = models.averaged(parts, synthetic.CLASSES).assign(variant=LATE, seed=parts[0]["seed"])
    trained = {name: own for name, own in trained.items() if name not in PARTS} | {LATE: Trained(late, 0, 0.0)}
    found = embedded_truth.differences(config, trained, folds, utterances)
    return found, embedded_truth.scores_of(config, trained)


def verdict(row: tuple, interaction: float) -> dict[str, str]:
    """One pair's verdict and the expected one."""
    better = {"a": row.a, "b": row.b, None: None}[row.verdict.better]
    looking = [name for name in (row.a, row.b) if name in LOOKING]
    expected, holds = "–", "–"
    if len(looking) == 1:
        (own,) = looking
        expected = f"{own} better" if interaction else f"not: {own} better"
        holds = "yes" if (better == own) == bool(interaction) else "NO"
    return {
        "interaction": f"{interaction:g}",
        "a": row.a,
        "b": row.b,
        "score": row.score,
        "difference (points)": f"{100 * row.difference:+.1f}",
        "P after Holm": tables.p_value(row.p_holm),
        "verdict": row.verdict.words(row.a, row.b),
        "expected": expected,
        "as expected": holds,
    }


if __name__ == "__main__":
    main()
