"""The paper's Tables 1 and 2 from a study's scores, with the paper's own numbers beside them where they apply."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stages.common import tables, variants
from stages.common.metrics import METRICS, PAPERS

COSTS = ["parameters", "epochs"]
"""Columns of the runs' scores that say what a run cost."""

NAMES = "WA and UWA are the paper's names, the reverse of most of the field's. "

TITLES = {1: "Scores by modality and model", 2: "Scores of the variants on all modalities"}


def read_published() -> pd.DataFrame:
    """The paper's numbers: table, modalities, fusion, metric, paper_mean, paper_std, paper_n (runs)."""
    published = pd.read_csv(Path(__file__).with_name("published.csv"))
    metric = {METRICS[name].label.split()[0]: name for name in PAPERS}  # WA → balanced_accuracy
    return pd.DataFrame(
        {
            "table": published["table"],
            "modalities": published["modalities"],
            "fusion": published["model"].str.replace("-", "_"),
            "metric": published["metric"].map(metric),
            "paper_mean": published["mean"],
            "paper_std": published["std"],
            "paper_n": published["n"],
        }
    )


def summarise(runs: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """variant, metric, mean, std (ddof 1; NaN for one run), n, parameters and mean epochs over all fold × seed runs."""
    long = runs.melt(id_vars=["variant", *COSTS], value_vars=list(metrics), var_name="metric")
    by_variant = long.groupby(["variant", "metric"], sort=False)
    summary = by_variant["value"].agg(mean="mean", std="std", n="size").join(by_variant[COSTS].mean())
    return summary.reset_index()


def arrange(summary: pd.DataFrame, number: int, published: pd.DataFrame | None, letters: str) -> pd.DataFrame:
    """The rows of Table `number`, long: variant, modalities, fusion, metric, mean, std, n, best.

    Table 1 has the fusions of the paper's Table 1 on all combinations of modalities; Table 2 all fusions on the
    study's largest combination. `letters`: of all modalities, in order. `best` marks the best mean of those that the
    paper compares: of one metric and, in Table 1, one combination. With `published` the columns paper_mean, paper_std,
    paper_n and difference follow.
    """
    table, combinations = summary.copy(), variants.combinations(summary["variant"], letters)
    metrics = list(summary["metric"].unique())
    parsed = [variants.parse(name) for name in table["variant"]]
    table.insert(1, "modalities", [variant.modalities for variant in parsed])
    table.insert(2, "fusion", [variant.fusion for variant in parsed])
    if number == 1:
        table = table[[variants.FUSIONS[name].table == 1 for name in table["fusion"]]]
        compared = ["metric", "modalities"]
    else:
        largest = combinations[-1]
        table = table[table["modalities"] == largest]
        compared = ["metric"]
    orders = {"metric": metrics, "modalities": combinations, "fusion": list(variants.FUSIONS)}
    table = table.sort_values(list(orders), key=lambda column: column.map(orders[column.name].index))
    goodness = table["mean"] * [-1 if METRICS[metric].lower_is_better else 1 for metric in table["metric"]]
    best = goodness.groupby([table[name] for name in compared]).transform("max")
    several = table.groupby(compared)["mean"].transform("size") > 1
    table["best"] = several & (goodness == best)
    if published is not None:
        table = table.merge(
            published[published["table"] == str(number)].drop(columns="table"),
            on=["modalities", "fusion", "metric"],
            how="left",
        )
        table["difference"] = table["mean"] - table["paper_mean"]
    return table.reset_index(drop=True)


def as_markdown(table: pd.DataFrame, number: int, corpus: str) -> str:
    """One row a model and a column a metric; Table 1 says the modalities too. Then parameters and epochs a run."""
    if table.empty:
        return f"# Table {number}: {TITLES[number]}\n\nNo variant of the study stands in this table.\n"
    rows = []
    for (modalities, fusion), own in table.groupby(["modalities", "fusion"], sort=False):
        first = own.iloc[0]
        rows.append(
            ({"Modality": variants.combination_label(modalities)} if number == 1 else {})
            | {"Model": variants.FUSIONS[fusion].label}
            | {METRICS[row.metric].label: _cell(row) for row in own.itertuples()}
            | {"Parameters": f"{first['parameters']:,.0f}", "Epochs": tables.number(first["epochs"])}
        )
    counts, papers = sorted(table["n"].unique()), set(table["metric"]) & set(PAPERS)
    note = (
        f"Corpus: {corpus}. Mean ± standard deviation (ddof 1) over {', '.join(map(str, counts))} runs (folds × "
        f"seeds). **Bold**: the best mean of those compared. {NAMES if papers else ''}Parameters: without word "
        "vectors; epochs: mean of a run, to the one that ended it "
        "(seconds: `metrics/cost.md`, which differs from machine to machine)."
    )
    if "paper_mean" in table and table["paper_mean"].notna().any():
        note += " In brackets: the paper's number, and this study's difference from it in points."
    return f"# Table {number}: {TITLES[number]}\n\n{note}\n\n{tables.markdown(pd.DataFrame(rows))}"


def _cell(row: tuple) -> str:
    text = tables.mean_std(row.mean, row.std)
    if row.best:
        text = f"**{text}**"
    if hasattr(row, "paper_mean") and not pd.isna(row.paper_mean):
        text += f" ({tables.mean_std(row.paper_mean, row.paper_std)}; {100 * row.difference:+.1f})"
    return text
