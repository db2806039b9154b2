"""What is left of variants' scores without interactions: each variant's difference from its own EMAP, tested."""

import numpy as np
import pandas as pd

from stages.common import corpus, predictions, tables, variants
from stages.common.metrics import METRICS
from stages.common.params import Compare, Params
from stages.common.task import Task
from stages.evaluate.found import Evaluated
from stages.ttest import answers, bootstrap, comparisons, design
from stages.ttest.verdict import HUNDREDTH, amount

SAMPLING_ERROR = "sampling_error"
COLUMNS = [*comparisons.COLUMNS, SAMPLING_ERROR]
"""Those of `metrics/ttest.csv`, a the variant and b its EMAP, and the standard error of b's mean score that comes of
the sample of partners."""


def name(variant: str) -> str:
    """What a variant's EMAP is called among the models."""
    return f"{variant} EMAP"


def compare(found: list[Evaluated], config: Params, aim: Task) -> pd.DataFrame:
    """`COLUMNS`, a row a variant of several modalities and metric; Holm's correction is over the variants of a metric.

    The test is that of all verdicts. The sampling error is the root of the sum of squares of the runs' errors, which
    are independent, over the number of runs.
    """
    own = [one for one in found if one.emap is not None]
    if not own:
        return pd.DataFrame(columns=COLUMNS)
    names = list(dict.fromkeys(one.variant for one in own))
    projected = [one.emap.assign(variant=name(one.variant), seed=one.seed) for one in own]
    models = pd.concat([predictions.read_study(names, config.seeds, aim), *projected], ignore_index=True)
    folds, utterances = corpus.read_folds(), corpus.read_utterances()
    arranged, shape = answers.arrange(models, aim), design.of_study(folds, utterances)
    metrics = config.compare.metrics
    drawn = bootstrap.draws(arranged, shape.numbers(arranged.utterance_id), metrics)
    pairs = [(variant, name(variant)) for variant in names]
    table = comparisons.compare(arranged, pairs, config.compare, shape, drawn, details=False)
    errors = pd.concat([one.errors.assign(variant=one.variant) for one in own])
    errors = errors.groupby("variant")[metrics].agg(lambda runs: np.sqrt((runs**2).sum()) / len(runs))
    return table.assign(**{SAMPLING_ERROR: [errors.loc[row.a, row.score] for row in table.itertuples()]})


def as_markdown(table: pd.DataFrame, settings: Compare, partners: int, corpus_name: str) -> str:
    """The page: a table a metric, a row a variant."""
    head = "# Is interaction between modalities used?\n\n"
    if table.empty:
        return f"{head}No variant has several modalities.\n"
    own = "units of 0.01" if METRICS[settings.metrics[0]].unit == HUNDREDTH else "points"
    text = (
        f"{head}Corpus: {corpus_name}. EMAP: the model's logits replaced by the nearest sum of functions of one "
        "modality each (Hessel & Lee, EMNLP 2020). A model that is better than its EMAP uses how modalities relate; "
        f"one that is equivalent does not need to. Differences are in {own}, model minus EMAP, by the test of all "
        f"verdicts at α = {settings.alpha:g} after Holm's correction over the models of a metric; *equivalent* means "
        f"surely within ± {amount(settings.margin, settings.metrics[0])}. The sampling error is the standard error, in "
        f"{own}, of EMAP's "
        f"mean score that comes of taking {partners} combinations of partners: 0 where there are no more.\n"
    )
    for metric in settings.metrics:
        rows = table[table["score"] == metric]
        text += f"\n## {METRICS[metric].label}\n\n{tables.markdown(_rows(rows))}"
    return text


def _rows(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": rows["a"].map(variants.label),
            "Score": rows["mean_a"].map(tables.fraction),
            "EMAP": rows["mean_b"].map(tables.fraction),
            "Difference": [f"{100 * value:+.1f}" for value in rows["difference"]],
            "P (Holm)": rows["p_holm"].map(tables.p_value),
            "Verdict": [verdict.words("model", "EMAP") for verdict in rows["verdict"]],
            "Sampling error": [f"{100 * value:.2f}" for value in rows[SAMPLING_ERROR]],
        }
    )
