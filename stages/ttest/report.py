"""`metrics/ttest.md`: the verdicts in words, then the numbers."""

import pandas as pd

from stages.common import tables, variants
from stages.common.params import Compare
from stages.common.scores import SCORES

PAPERS = (
    "The test of the paper treats all runs as independent. They are not: folds share training data, seeds of one fold "
    "share everything. So these P are too small: they are here to compare with the paper, not as evidence."
)


def as_markdown(table: pd.DataFrame, settings: Compare, corpus: str, unit: str) -> str:
    """The whole page; `unit` is what the bootstrap drew."""
    if table.empty:
        return "# Which fusion is better?\n\nThe study has no pair of variants to compare: see `compare.pairs`.\n"
    pairs = table.groupby(["a", "b"]).ngroups
    shape = f"{table['folds'].max()} folds × {table['seeds'].max()} seeds"
    sections = [
        f"# Which fusion is better?\n\nCorpus: {corpus}, {shape}. Verdicts hold at α = {settings.alpha:g} after Holm's "
        f"correction over the {pairs} pair{'s' if pairs > 1 else ''} of a metric; *equivalent* means that the "
        f"difference is surely within ± {points(settings.margin)}; *undecided* is no evidence either way. "
        "Differences are in points, first model minus second. What each number means: docs/statistics.md.",
        "\n".join(_line(rows, settings) for _, rows in table.groupby(["a", "b"], sort=False)),
    ]
    level = f"{100 * (1 - settings.alpha):g} %"
    for metric, name in SCORES.items():
        rows = table[table["score"] == metric]
        sections += [
            f"## {name}\n\nCorrected resampled t-test, and beside it the t-test over the folds' means",
            tables.markdown(_tests(rows, level)),
            f"Equivalence within ± {points(settings.margin)} (two one-sided tests), the probability that the "
            f"difference lies beyond or within that margin (Bayesian correlated t-test), and a bootstrap interval for "
            f"other test utterances, drawn by {unit}, and seeds",
            tables.markdown(_equivalence(rows, level, f"{100 * (1 - 2 * settings.alpha):g} %")),
        ]
    sections += [
        f"## Recall by class\n\nDifference in points (corrected P, after Holm over the {_tested(table)} tests of this "
        "table); **bold** where that is below α",
        tables.markdown(_recalls(table[table["family"] == "recall"], settings.alpha)),
        f"## The paper's t-test: uncorrected\n\n{PAPERS}",
        tables.markdown(_uncorrected(table[table["score"].isin(SCORES)])),
    ]
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


def points(difference: float) -> str:
    """.01 → `1 point`."""
    return f"{100 * difference:g} point{'' if difference == 0.01 else 's'}"


def _line(rows: pd.DataFrame, settings: Compare) -> str:
    """One pair's verdicts in words."""
    words = [
        f"{SCORES[row.score]}: **{_words(row, settings)}** ({_signed(row.difference)})"
        for row in rows.itertuples()
        if row.score in SCORES
    ]
    return f"* {pair(*rows.iloc[0][['a', 'b']])}: {'; '.join(words)}"


def _words(row: tuple, settings: Compare) -> str:
    better = {"A": label(row.a), "B": label(row.b)}.get(row.verdict[0])
    if better is None:
        return row.verdict if row.verdict == "undecided" else f"equivalent within ± {points(settings.margin)}"
    return f"{better} is better" + (
        f", by less than {points(settings.margin)}" if row.verdict.endswith("equivalent") else ""
    )


def _tests(rows: pd.DataFrame, level: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": list(map(pair, rows["a"], rows["b"])),
            "Means": [f"{tables.fraction(row.mean_a)}, {tables.fraction(row.mean_b)}" for row in rows.itertuples()],
            f"Difference ({level})": [
                f"{_signed(row.difference)} {_interval(row.low, row.high)}" for row in rows.itertuples()
            ],
            "d_z": map(_statistic, rows["d_z"]),
            "t": map(_statistic, rows["t_corrected"]),
            "P": map(tables.p_value, rows["p_corrected"]),
            "P (Holm)": map(tables.p_value, rows["p_holm"]),
            "t, fold means": map(_statistic, rows["t_fold_means"]),
            "P, fold means": map(tables.p_value, rows["p_fold_means"]),
            "Verdict": [row.verdict.replace("A ", "first ").replace("B ", "second ") for row in rows.itertuples()],
        }
    )


def _equivalence(rows: pd.DataFrame, level: str, level_of_equivalence: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": list(map(pair, rows["a"], rows["b"])),
            level_of_equivalence: map(_interval, rows["equivalence_low"], rows["equivalence_high"]),
            "P (equivalence)": map(tables.p_value, rows["p_equivalence"]),
            "P(first better)": map(tables.probability, rows["posterior_a"]),
            "P(within)": map(tables.probability, rows["posterior_equal"]),
            "P(second better)": map(tables.probability, rows["posterior_b"]),
            f"Bootstrap ({level})": map(_interval, rows["bootstrap_low"], rows["bootstrap_high"]),
        }
    )


def _recalls(rows: pd.DataFrame, alpha: float) -> pd.DataFrame:
    cells: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        text = f"{_signed(row.difference)} ({tables.p_value(row.p_holm)})"
        cells.setdefault(pair(row.a, row.b), {})[row.score.removeprefix("recall_")] = (
            f"**{text}**" if row.p_holm < alpha else text
        )
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("Models").reset_index()


def _uncorrected(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": list(map(pair, rows["a"], rows["b"])),
            "Metric": rows["score"].map(SCORES).to_list(),
            "Difference": map(_signed, rows["difference"]),
            "Unpaired t (uncorrected)": map(_statistic, rows["t_uncorrected_unpaired"]),
            "P (uncorrected)": map(tables.p_value, rows["p_uncorrected_unpaired"]),
            "Paired t (uncorrected)": map(_statistic, rows["t_uncorrected_paired"]),
            "P (paired, uncorrected)": map(tables.p_value, rows["p_uncorrected_paired"]),
        }
    )


def _tested(table: pd.DataFrame) -> int:
    return int(table.loc[table["family"] == "recall", "p_corrected"].notna().sum())


def pair(a: str, b: str) -> str:
    """Two variants whose difference a - b is meant, as people read them."""
    return f"{label(a)} − {label(b)}"


def label(name: str) -> str:
    """A variant's name as people read it."""
    return variants.parse(name).label


def _interval(low: float, high: float) -> str:
    return "–" if pd.isna(low) else f"[{_signed(low)}, {_signed(high)}]"


def _signed(difference: float) -> str:
    return "–" if pd.isna(difference) else f"{100 * difference:+z.1f}"  # z: no minus before 0.0


def _statistic(t: float) -> str:
    return "–" if pd.isna(t) else f"{t:+.2f}"
