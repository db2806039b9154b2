"""`metrics/ttest.md`: the verdicts in words, then the numbers."""

import numpy as np
import pandas as pd

from stages.common import tables
from stages.common.metrics import DEFAULTS, METRICS
from stages.common.params import Compare
from stages.common.plan import TaskKind
from stages.common.variants import label
from stages.ttest.comparisons import COMPONENTS, DETAILS, RESAMPLED, WITH_EXCESS
from stages.ttest.design import Design
from stages.ttest.verdict import POINTS, amount, unit

MOST = 45
"""Pairs that people are shown: all of ten models, the best of more."""
PAPERS = (
    "The test of the paper treats all runs as independent. They are not: folds share training data, seeds of one fold "
    "share everything. So these P are too small: they are here to compare with the paper, not as evidence."
)
TESTS = {
    COMPONENTS: "Components test",
    WITH_EXCESS: "Components test, the folds' excess counted",
    RESAMPLED: "Corrected resampled t-test",
}
JACKKNIFE = (
    ", by the jackknife: the CCC of a fold is no sum over its utterances, so what a {unit} adds to it is how much it "
    "changes without that {unit}"
)
"""What is said of the components tests of a score that is no sum."""
WHY_RESAMPLED = {
    "sum": "this score is no sum over utterances, which the components test needs",
    "seeds": "with one seed the runs' part cannot be seen",
    "units": "with one {unit} the utterances' part cannot be seen",
    "repeats": "the corpus was divided more than once",
}

SINGLE: dict[TaskKind, tuple[str, str]] = {
    "classes": ("Recall by class", "recalls"),
    "dimensions": ("CCC by dimension", "CCCs of dimensions"),
}
"""Task → the heading and the name of the scores of single classes or dimensions."""


def foremost(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of the `MOST` pairs of the models that are best on one metric: those whose worse model is the best."""
    rows = table[table["score"] == metric]
    means = dict(zip([*rows["a"], *rows["b"]], [*rows["mean_a"], *rows["mean_b"]], strict=True))
    best = sorted(means, key=means.get, reverse=not METRICS[metric].lower_is_better)
    rank = {name: place for place, name in enumerate(best)}
    pairs = zip(rows["a"], rows["b"], strict=True)
    first = sorted(pairs, key=lambda names: sorted((rank[name] for name in names), reverse=True))
    return table[pd.MultiIndex.from_frame(table[["a", "b"]]).isin(first[:MOST])]


def as_markdown(table: pd.DataFrame, settings: Compare, corpus: str, design: Design, ranks: pd.DataFrame) -> str:
    """The whole page; `ranks`: a row a model, a column a metric, the probability of being the best."""
    if table.empty:
        return "# Which fusion is better?\n\nThe study has no pair of models to compare: see `compare.pairs`.\n"
    kind = METRICS[settings.metrics[0]].task
    usual, single = DEFAULTS[kind][0], table["family"] == DETAILS[kind]
    pairs, tested = table.groupby(["a", "b"]).ngroups, int(table.loc[single, "p"].notna().sum())
    table = foremost(table, settings.metrics[0])
    shown = f" {MOST} pairs, of the models that are best on the first metric, stand here; all are in ttest.csv."
    shape = f"{table['folds'].max():.0f} folds × {table['seeds'].max():.0f} seeds"
    sections = [
        f"# Which fusion is better?\n\nCorpus: {corpus}, {shape}. Verdicts hold at α = {settings.alpha:g} after Holm's "
        f"correction over the {pairs} pair{'s' if pairs > 1 else ''} of a metric; *equivalent* means that the "
        f"difference is surely within ± {amount(settings.margin, usual)}; *undecided* is no evidence either way. "
        f"Differences are in {units(usual)}, first model minus second. What each number means: docs/statistics.md."
        + (shown if pairs > MOST else ""),
        "\n".join(_line(rows, settings) for _, rows in table.groupby(["a", "b"], sort=False)),
    ]
    if design.shared:
        sections.append(shared(design))
    level = f"{100 * (1 - settings.alpha):g} %"
    for metric in settings.metrics:
        rows = table[table["score"] == metric]
        sections += _metric(rows, metric, settings, design, level)
    sections += [
        "## Which model is the best?\n\nProbability that a model has the best mean score of all, for other test "
        f"utterances, drawn by {design.unit}, and other seeds (bootstrap)",
        tables.markdown(_ranks(ranks)),
        f"## {SINGLE[kind][0]}\n\nDifference in {units(usual)} (P, after Holm over the {tested} tests of "
        f"{SINGLE[kind][1]}); **bold** where that is below α",
        tables.markdown(_single(table[table["family"] == DETAILS[kind]], settings.alpha)),
        f"## The paper's t-test: uncorrected\n\n{PAPERS}",
        tables.markdown(_uncorrected(table[table["score"].isin(METRICS)])),
    ]
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


def shared(design: Design) -> str:
    """What test and training parts have in common, in a sentence."""
    known = [f"{100 * share:.0f} % by {name}" for name, share in design.shared.items()]
    none = [name for name, share in design.shared.items() if share == 0]
    text = f"Test utterances that share something with their fold's training part: {', '.join(known)}."
    if len(none) < len(known):
        text += " So scores speak of new utterances of what was trained on; of a new speaker's they would be lower."
    return text


def _metric(rows: pd.DataFrame, metric: str, settings: Compare, design: Design, level: str) -> list[str]:
    """The sections of one metric."""
    written = "" if unit(metric) == POINTS else f"; in {units(metric)}"
    lower = "; the lower the better" if METRICS[metric].lower_is_better else ""
    return [
        f"## {METRICS[metric].label}\n\n{_test(rows, metric, design)}{written}{lower}",
        tables.markdown(_tests(rows, level)),
        f"Equivalence within ± {amount(settings.margin, metric)} (two one-sided tests), the smallest margin that would "
        "give it before Holm's correction, and the probability that the difference lies beyond or within the margin",
        tables.markdown(_equivalence(rows, f"{100 * (1 - 2 * settings.alpha):g} %")),
        "What a difference varies by, as standard deviations: of a run around its fold's mean, of a fold by its test "
        "utterances, and what the folds vary by beyond these (− where they vary less); the test with that excess "
        f"counted, two older tests, and a bootstrap interval for other test utterances, drawn by {design.unit}, and "
        "seeds",
        tables.markdown(_parts(rows, level)),
    ]


def _test(rows: pd.DataFrame, metric: str, design: Design) -> str:
    """Which test the verdicts follow, and why if it is the older one."""
    name = rows["test"].iloc[0]
    if name != RESAMPLED:
        return TESTS[name] + ("" if METRICS[metric].is_sum else JACKKNIFE.format(unit=design.unit))
    reason = "repeats"
    if rows["units"].isna().all():
        reason = "sum"
    elif rows["seeds"].max() < 2:
        reason = "seeds"
    elif design.repeats == 1:
        reason = "units"
    return f"{TESTS[name]}: {WHY_RESAMPLED[reason].format(unit=design.unit)}"


def _line(rows: pd.DataFrame, settings: Compare) -> str:
    """One pair's verdicts in words."""
    words = [
        f"{METRICS[row.score].label}: "
        f"**{row.verdict.sentence(label(row.a), label(row.b), amount(settings.margin, row.score))}** "
        f"({signed(row.difference)})"
        for row in rows.itertuples()
        if row.score in METRICS
    ]
    return f"* {pair(*rows.iloc[0][['a', 'b']])}: {'; '.join(words)}"


def _tests(rows: pd.DataFrame, level: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": list(map(pair, rows["a"], rows["b"])),
            "Means": [f"{tables.fraction(row.mean_a)}, {tables.fraction(row.mean_b)}" for row in rows.itertuples()],
            f"Difference ({level})": [
                f"{signed(row.difference)} {interval(row.low, row.high)}" for row in rows.itertuples()
            ],
            "t (df)": [f"{_statistic(row.t)} ({row.df:.0f})" if row.t == row.t else "–" for row in rows.itertuples()],
            "P": map(tables.p_value, rows["p"]),
            "P (Holm)": map(tables.p_value, rows["p_holm"]),
            f"P(A > B) ({level})": [
                f"{tables.fraction(row.superiority)} {_shares(row.superiority_low, row.superiority_high)}"
                for row in rows.itertuples()
            ],
            "d_z": map(_statistic, rows["d_z"]),
            "Verdict": [verdict.words("first", "second") for verdict in rows["verdict"]],
        }
    )


def _equivalence(rows: pd.DataFrame, level: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": list(map(pair, rows["a"], rows["b"])),
            level: map(interval, rows["equivalence_low"], rows["equivalence_high"]),
            "P (equivalence)": map(tables.p_value, rows["p_equivalence"]),
            "P (Holm)": map(tables.p_value, rows["p_equivalence_holm"]),
            "Smallest margin": ["–" if pd.isna(m) else f"{100 * m:.1f}" for m in rows["smallest_margin"]],
            "P(first better)": map(tables.probability, rows["posterior_a"]),
            "P(within)": map(tables.probability, rows["posterior_equal"]),
            "P(second better)": map(tables.probability, rows["posterior_b"]),
        }
    )


def _parts(rows: pd.DataFrame, level: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": list(map(pair, rows["a"], rows["b"])),
            "Runs": map(deviation, rows["var_runs"]),
            "Utterances": map(deviation, rows["var_utterances"]),
            "Folds' excess": map(deviation, rows["var_excess"]),
            "P, with excess": map(tables.p_value, rows["p_with_excess"]),
            "P, corrected resampled t": map(tables.p_value, rows["p_corrected"]),
            "P, fold means": map(tables.p_value, rows["p_fold_means"]),
            f"Bootstrap ({level})": map(interval, rows["bootstrap_low"], rows["bootstrap_high"]),
        }
    )


def _ranks(ranks: pd.DataFrame) -> pd.DataFrame:
    cells = {METRICS[metric].label: map(tables.probability, ranks[metric]) for metric in ranks.columns[1:]}
    return pd.DataFrame({"Model": map(label, ranks["variant"])} | cells)


def _single(rows: pd.DataFrame, alpha: float) -> pd.DataFrame:
    cells: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        text = f"{signed(row.difference)} ({tables.p_value(row.p_holm)})"
        cells.setdefault(pair(row.a, row.b), {})[row.score.partition("_")[2]] = (
            f"**{text}**" if row.p_holm < alpha else text
        )
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("Models").reset_index()


def _uncorrected(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Models": list(map(pair, rows["a"], rows["b"])),
            "Metric": [METRICS[score].label for score in rows["score"]],
            "Difference": map(signed, rows["difference"]),
            "Unpaired t (uncorrected)": map(_statistic, rows["t_uncorrected_unpaired"]),
            "P (uncorrected)": map(tables.p_value, rows["p_uncorrected_unpaired"]),
            "Paired t (uncorrected)": map(_statistic, rows["t_uncorrected_paired"]),
            "P (paired, uncorrected)": map(tables.p_value, rows["p_uncorrected_paired"]),
        }
    )


def units(score: str) -> str:
    """In what differences of a score are written."""
    return POINTS if unit(score) == POINTS else f"units of {unit(score)}"


def pair(a: str, b: str) -> str:
    """Two models whose difference a - b is meant, as people read them."""
    return f"{label(a)} − {label(b)}"


def deviation(variance: float) -> str:
    """A variance as a standard deviation in hundredths, − before that of one below 0."""
    if pd.isna(variance):
        return "–"
    return f"{'−' if variance < 0 else ''}{100 * np.sqrt(abs(variance)):.1f}"


def signed(difference: float) -> str:
    """A difference in hundredths, that is, in points or another score's `unit`."""
    return "–" if pd.isna(difference) else f"{100 * difference:+z.1f}"  # z: no minus before 0.0


def interval(low: float, high: float) -> str:
    """The ends of an interval, in hundredths."""
    return "–" if pd.isna(low) else f"[{signed(low)}, {signed(high)}]"


def _shares(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"[{tables.fraction(low)}, {tables.fraction(high)}]"


def _statistic(t: float) -> str:
    return "–" if pd.isna(t) else f"{t:+.2f}"
