"""How much better runs look on the development part, by which epochs and draws were chosen, than on the test part."""

from itertools import product

import pandas as pd

from stages.common import tables, variants
from stages.common.metrics import METRICS

KEYS = ["variant", "fold", "seed"]
CHOSEN_BY = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "loss": "loss", "ccc": "CCC"}
"""`train.protocol.select` → in words."""


def compare(dev: pd.DataFrame, test: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """One row a variant and metric: variant, metric, dev, test (means over runs), optimism, std (over runs, ddof 1).

    `dev`, `test`: `scores.run_scores` of the two parts. Optimism is by how much dev is better, whichever way is better.
    """
    both = dev.merge(test, on=KEYS, suffixes=("_dev", "_test"), validate="1:1")
    rows = []
    for (variant, runs), metric in product(both.groupby("variant", sort=False), metrics):
        sign = -1 if METRICS[metric].lower_is_better else 1
        gain = sign * (runs[f"{metric}_dev"] - runs[f"{metric}_test"])
        rows.append(
            {
                "variant": variant,
                "metric": metric,
                "dev": runs[f"{metric}_dev"].mean(),
                "test": runs[f"{metric}_test"].mean(),
                "optimism": gain.mean(),
                "std": gain.std(),
            }
        )
    return pd.DataFrame(rows)


def as_markdown(table: pd.DataFrame, select: str, corpus: str, draws: int = 0) -> str:
    """A row a variant, a column a metric; `draws`: of settings, from which one was chosen, 0 if nothing was tuned."""
    rows, has_references = [], not all(variants.parse(name).trained for name in table["variant"])
    for variant, own in table.groupby("variant", sort=False):
        cells = {"Model": variants.label(variant)}
        for row in own.itertuples():
            deviation = "" if pd.isna(row.std) else f" ± {100 * row.std:.1f}"
            cells[METRICS[row.metric].label] = (
                f"{tables.fraction(row.dev)}, {tables.fraction(row.test)}: {100 * row.optimism:+.1f}{deviation}"
            )
        rows.append(cells)
    by = f"development {CHOSEN_BY[select]} (`train.protocol.select`)"
    what, chosen = "the epoch", f"Each run's epoch was chosen by its {by}"
    if draws:
        what = "the epoch and the draw"
        chosen += f", and then its draw of settings, one of {draws} (`tune.draws`), by the same value of its best epoch"
    return (
        f"# What choosing {what} flatters\n\nCorpus: {corpus}. {chosen}, so its development score is the best of many. "
        f"{'References have no epochs of their own. ' if has_references else ''}Each cell: "
        "mean development score, mean test score: by how many hundredths the former is better, ± standard deviation "
        f"over runs. Models are compared by their test scores alone.\n\n{tables.markdown(pd.DataFrame(rows))}"
    )
