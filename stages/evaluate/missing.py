"""What is left of variants' scores when a modality is left out or noisy."""

import pandas as pd

from stages.common import tables, variants
from stages.common.metrics import METRICS
from stages.evaluate.found import LEFT_OUT, NOISE, WHOLE, Evaluated

COLUMNS = ["variant", "modality", "change", "size", "score", "mean", "std", "difference", "runs"]


def summarise(found: list[Evaluated], metrics: list[str]) -> pd.DataFrame:
    """`COLUMNS`: a row a variant, condition and metric.

    mean, std (ddof 1; NaN for one run) and number of the fold × seed runs' scores, and the mean's difference from that
    of the whole input. `change`: none, noise (`size`: its standard deviations) or left out.
    """
    own = [one.changed.assign(variant=one.variant) for one in found if one.changed is not None]
    if not own:
        return pd.DataFrame(columns=COLUMNS)
    runs, rows = pd.concat(own), []
    for variant, of_variant in runs.groupby("variant", sort=False):
        conditions = of_variant.groupby(["modality", "change", "size"], sort=False, dropna=False)
        whole = of_variant.loc[of_variant["change"] == WHOLE, metrics].mean()
        for (modality, change, size), scored in conditions:
            condition = {"variant": variant, "modality": modality, "change": change, "size": size}
            for metric in metrics:
                mean, std = scored[metric].mean(), scored[metric].std()
                numbers = {"mean": mean, "std": std, "difference": mean - whole[metric], "runs": len(scored)}
                rows.append(condition | {"score": metric} | numbers)
    return pd.DataFrame(rows, columns=COLUMNS)


def as_markdown(table: pd.DataFrame, metrics: list[str], corpus_name: str) -> str:
    """The page: a table a metric, a row a variant and modality."""
    text = (
        f"# What if a modality is missing or noisy?\n\nCorpus: {corpus_name}. Mean scores of the trained models on "
        "changed test parts, nothing trained again. Left out: every sequence of the modality is empty, so the model "
        "meets padding alone. Noise: Gaussian, added to each feature (of text: of word vectors), in units of its "
        "standard deviation in the fold's training part (SD).\n"
    )
    for metric in metrics:
        text += f"\n## {METRICS[metric].label}\n\n{tables.markdown(_rows(table[table['score'] == metric]))}"
    return text


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for variant, own in table.groupby("variant", sort=False):
        (whole,) = own.loc[own["change"] == WHOLE, "mean"]
        for modality, changed in own[own["change"] != WHOLE].groupby("modality", sort=False):
            cells = {"Model": variants.label(variant), "Modality": modality, "Whole": tables.fraction(whole)}
            for row in changed.itertuples():
                cells[heading(row.change, row.size)] = tables.fraction(row.mean)
            rows.append(cells)
    return pd.DataFrame(rows)


def heading(change: str, size: float) -> str:
    """A condition as people read it."""
    return {NOISE: f"Noise {size:g} SD", LEFT_OUT: "Left out"}[change]
