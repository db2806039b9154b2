"""The table of a multiverse's specifications, and what it comes to in words."""

import pandas as pd

from stages.common import tables
from stages.common.metrics import METRICS
from stages.common.variants import label
from stages.multiverse.declaration import Multiverse, Specification, text
from stages.multiverse.experiments import NUMBERS
from stages.ttest.report import interval, pair, signed
from stages.ttest.verdict import Verdict

OUTCOMES = ("a", "b", "equivalent", "undecided")
"""What a specification may say; a difference that is both better and equivalent counts as better."""

DEPENDENT = (
    "The specifications are not independent: they share the corpus, most of their training data and their seeds. So "
    "the share of them that agrees is no probability, and each verdict is its own study's, not corrected for how many "
    "studies there are. No joint test of all of them is made. That of Simonsohn, Simmons and Nelson makes data without "
    "a difference some hundred times, and runs every specification on each: here, hundreds of times all trainings. To "
    "swap the two models' answers at random instead costs nothing, but errs too often where folds share training data "
    "(docs/statistics.md: sign flips). The curve shows whether a verdict hangs on a choice; it adds nothing to the "
    "evidence for it."
)


def specifications(multiverse: Multiverse, names: list[str], found: dict[str, dict]) -> pd.DataFrame:
    """One row a specification that has run, by its difference; equal ones in the order of the combinations.

    Parameters
    ----------
    names: each specification's experiment.
    found: experiment → what `experiments.result` returns.

    Returns
    -------
    experiment, each choice's value as text, own, a, b, metric, `NUMBERS`, verdict, a `Verdict`, and corpus.
    """
    rows = [
        {"experiment": name}
        | levels(own)
        | {"own": own.own, "a": multiverse.pair[0], "b": multiverse.pair[1], "metric": multiverse.metric}
        | found[name]
        for name, own in zip(names, multiverse.specifications, strict=True)
        if name in found
    ]
    columns = ["experiment", *multiverse.choices, "own", "a", "b", "metric", *NUMBERS, "verdict", "corpus"]
    return pd.DataFrame(rows, columns=columns).sort_values("difference", kind="stable", ignore_index=True)


def levels(specification: Specification) -> dict[str, str]:
    """Key → value as text, of each choice."""
    return {key: text(value) for key, value in specification.levels.items()}


def outcome(verdict: Verdict) -> str:
    """One of `OUTCOMES`."""
    return verdict.better or ("equivalent" if verdict.equivalent else "undecided")


def counts(table: pd.DataFrame) -> dict[str, int]:
    """Outcome → how many specifications have it."""
    own = table["verdict"].map(outcome)
    return {name: int((own == name).sum()) for name in OUTCOMES}


def moved(table: pd.DataFrame, choices: dict[str, list[str]]) -> dict[str, pd.Series]:
    """Choice → mean difference by level, of choices with two levels or more that ran; the one that moves it most first.

    How far a choice moves the difference is how far its levels' means lie apart.
    """
    means = {
        key: table.groupby(key)["difference"].mean().reindex([own for own in values if (table[key] == own).any()])
        for key, values in choices.items()
    }
    spread = {key: own.max() - own.min() for key, own in means.items() if len(own) > 1}
    return {key: means[key] for key in sorted(spread, key=spread.get, reverse=True)}


def page(table: pd.DataFrame, multiverse: Multiverse, missing: list[Specification]) -> str:
    """The whole page, as Markdown; `missing`: the specifications that have not run."""
    a, b = (label(name) for name in multiverse.pair)
    metric = METRICS[multiverse.metric]
    unit = "points" if metric.unit == "points" else f"units of {metric.unit}"
    lower = ", the lower the better" if metric.lower_is_better else ""
    every = len(multiverse.specifications)
    sections = [f"# Does the verdict survive? {pair(*multiverse.pair)}, {metric.label}{lower}"]
    if missing:
        sections.append(
            f"**Not complete**: {len(missing)} of {every} specifications have not run, {missing[0]} for one. What "
            "follows is of the others."
        )
    sections += [
        _outcome(table, a, b, unit),
        "![The differences, and each one's choices](curve.png)",
        f"Corpus: {corpora(table)}. Differences are in {unit}, first model minus second, each with its study's own "
        "interval.",
        "## What moves the difference\n\nMean difference by the value of a choice, over all specifications that have "
        "it; the choice that moves it most first",
        tables.markdown(_moved(table, multiverse.choices)),
        f"## How to read this\n\n{DEPENDENT}",
        "## All specifications",
        tables.markdown(_rows(table, multiverse, a, b)),
    ]
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


def corpora(table: pd.DataFrame) -> str:
    """The names of the specifications' corpora."""
    return " or ".join(sorted(table["corpus"].unique()))


def _outcome(table: pd.DataFrame, a: str, b: str, unit: str) -> str:
    found, size = counts(table), len(table)
    difference = table["difference"]
    lines = [
        f"Of {size} specification{'s' if size != 1 else ''}: {a} is better in {found['a']}, {b} is better in "
        f"{found['b']}, they are equivalent in {found['equivalent']}, and {found['undecided']} "
        f"{'is' if found['undecided'] == 1 else 'are'} undecided. The median difference is "
        f"{signed(difference.median())} {unit}; they reach from {signed(difference.min())} to "
        f"{signed(difference.max())}."
    ]
    if found["a"] and found["b"]:
        lines.append("**The verdict is turned round by a choice**: there are specifications for either model.")
    for place, row in enumerate(table.itertuples(), start=1):
        if row.own:
            lines.append(
                f"The choices of params.yaml give number {place} of them from the lowest: {signed(row.difference)}, "
                f"{row.verdict.words(a, b)}."
            )
    alike = table.duplicated(list(NUMBERS), keep=False) & table["se"].gt(0)
    if alike.any():
        lines.append(f"{int(alike.sum())} have the same numbers as another: the choice between them changes nothing.")
    return " ".join(lines)


def _moved(table: pd.DataFrame, choices: dict[str, list[str]]) -> pd.DataFrame:
    rows = moved(table, choices)
    return pd.DataFrame(
        {
            "Choice": list(rows),
            "Moves it by": [f"{100 * (own.max() - own.min()):.1f}" for own in rows.values()],
            "Mean difference by value": [
                "; ".join(f"{value}: {signed(mean)}" for value, mean in own.items()) for own in rows.values()
            ],
        }
    )


def _rows(table: pd.DataFrame, multiverse: Multiverse, a: str, b: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"": range(1, len(table) + 1)}
        | {key: table[key] for key in multiverse.choices}
        | {
            "Difference": [f"{signed(row.difference)} {interval(row.low, row.high)}" for row in table.itertuples()],
            "P": table["p"].map(tables.p_value),
            "Verdict": [own.words(a, b) for own in table["verdict"]],
        }
    )
