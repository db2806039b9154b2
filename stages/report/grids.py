"""The tables of scores and tests, for the page and for LaTeX alike, from the files that other stages have written."""

from pathlib import Path

import pandas as pd

from stages.common import scores, tables, variants
from stages.common.metrics import METRICS
from stages.common.params import Compare
from stages.report.blocks import Cell, Grid, cells
from stages.report.findings import named
from stages.ttest.report import TESTS, foremost, interval, pair, signed
from stages.ttest.verdict import amount

TITLES = {1: "Scores by modality and model", 2: "Scores of the variants on all modalities"}
METRICS_FOLDER = Path("metrics")


def scored(number: int) -> Grid | None:
    """The paper's Table `number`, with its numbers where they are known; None where no variant stands in it."""
    table = scores.read_csv(METRICS_FOLDER / f"table{number}.csv", numbers=["mean", "n", "parameters"])
    if table.empty:
        return None
    has_papers = "paper_mean" in table and table["paper_mean"].notna().any()
    rows, metrics = [], list(dict.fromkeys(table["metric"]))
    for name, own in table.groupby("variant", sort=False):
        variant, own = variants.parse(name), own.set_index("metric")
        head = [variants.combination_label(variant.modalities)] if number == 1 else []
        row = cells(*head, variants.FUSIONS[variant.fusion].label)
        for metric in metrics:
            row += _scores(own.loc[metric], has_papers)
        first = own.iloc[0]
        rows.append(row + cells(f"{first['parameters']:,.0f}", tables.number(first["epochs"])))
    heads = ["Modality", "Model"] if number == 1 else ["Model"]
    papers = ["Paper", "Difference"] if has_papers else []
    shown = [name for metric in metrics for name in (METRICS[metric].label, *papers)]
    runs = ", ".join(map(str, sorted(table["n"].unique())))
    caption = f"{TITLES[number]}: mean ± standard deviation over {runs} runs (folds × seeds)."
    if has_papers:
        caption += " Paper: its own number; difference: of this study's mean from it, in points."
    return Grid([*heads, *shown, "Parameters", "Epochs"], rows, caption, f"Table {number}", len(heads))


def _scores(row: pd.Series, has_papers: bool) -> list[Cell]:
    """One model's mean on one metric, and the paper's where tables have them."""
    own = [Cell(tables.mean_std(row["mean"], row["std"]), strong=bool(row["best"]))]
    if not has_papers:
        return own
    if pd.isna(row["paper_mean"]):
        return own + cells("–", "–")
    return own + cells(tables.mean_std(row["paper_mean"], row["paper_std"]), signed(row["difference"]))


def tested(table: pd.DataFrame, metric: str, settings: Compare) -> Grid:
    """The tests of one metric, a row a pair: those of `report.foremost` where there are very many."""
    pairs = table.groupby(["a", "b"]).ngroups
    rows = foremost(table, settings.metrics[0]).loc[lambda own: own["score"] == metric]
    level = f"{100 * (1 - settings.alpha):g} %"
    names = ["Models", "Means", f"Difference ({level})", "t (df)", "P", "P (Holm)", "P (equivalence, Holm)", "Verdict"]
    shown = [
        cells(
            pair(row.a, row.b),
            f"{tables.fraction(row.mean_a)}, {tables.fraction(row.mean_b)}",
            f"{signed(row.difference)} {interval(row.low, row.high)}",
            "–" if pd.isna(row.t) else f"{row.t:+.2f} ({row.df:.0f})",
            tables.p_value(row.p),
            tables.p_value(row.p_holm),
            tables.p_value(row.p_equivalence_holm),
            Cell(row.verdict.words("first", "second"), strong=row.verdict.better is not None),
        )
        for row in rows.itertuples()
    ]
    unit = METRICS[metric].unit
    caption = (
        f"{named(metric)}: first model minus second, in "
        f"{'units of ' if unit != 'points' else ''}{unit}. {TESTS[rows['test'].iloc[0]]}; P (Holm): corrected for "
        f"{pairs} pair{'s' if pairs > 1 else ''}; equivalent: surely within ± {amount(settings.margin, metric)}."
    )
    if pairs > len(rows):
        caption += f" The {len(rows)} pairs of the best models; all are in metrics/ttest.csv."
    return Grid(names, shown, caption)
