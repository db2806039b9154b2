"""Where one model is right and another wrong: by class, speaker, session and length, and single utterances.

Shares are descriptions: of utterances in test parts, over all folds and seeds, without a test, but for the recalls by
class, which `metrics/ttest.csv` tests.
"""

import numpy as np
import pandas as pd

from stages.common import tables
from stages.common.variants import label
from stages.report.blocks import Beside, Cell, Fold, Grid, Heading, Paragraph, cells
from stages.report.material import Material
from stages.ttest.report import pair, signed

MOST_GROUPS = 20
"""Speakers or sessions that are shown, the largest."""
MOST_UTTERANCES = 8
"""That are shown for each of the two models."""
QUARTERS = 4


def anchor(a: str, b: str) -> str:
    """The pair's place on the page."""
    return f"wins-{a}-{b}"


def compare(material: Material, a: str, b: str, *, is_open: bool) -> Fold:
    """All that is said of one pair."""
    classes = material.task.kind == "classes"
    found = (by_utterance if classes else errors)(material, a, b)
    grids = [details(material, a, b)]
    if not classes:
        grids.append(by_group(found, material.utterances["label"].loc[found.index], "Class", (label(a), label(b))))
    for column in ("speaker", "session"):
        if material.known(column) and 1 < material.utterances[column].nunique() < len(material.utterances):
            groups = material.utterances[column].loc[found.index]
            grids.append(by_group(found, groups, column.capitalize(), (label(a), label(b))))
    letter = next((own for own in _letters(a, b) if own in material.lengths), None)
    if letter is not None:
        lengths = material.lengths[letter].loc[found.index]
        name = next(name for name, own in material.config.modalities.items() if own.letter == letter)
        grids.append(by_group(found, quarters(lengths), f"Positions of {name}", (label(a), label(b)), ordered=True))
    blocks = [Beside(grids)]
    for better, worse, sign in ((a, b, 1), (b, a, -1)):
        blocks += (telling if classes else nearer)(material, found, better, worse, sign)
    return Fold(pair(a, b), blocks, anchor=anchor(a, b), is_open=is_open)


def _letters(a: str, b: str) -> str:
    first, second = (name.split("_")[1] for name in (a, b))
    return "".join(letter for letter in first if letter in second)


def by_utterance(material: Material, a: str, b: str) -> pd.DataFrame:
    """utterance_id → a, b: the share of right answers over folds and seeds; sure_a, sure_b: mean probability of the
    right class, NaN where there are none. Utterances are in the order of their names.
    """
    answers = material.answers
    table = pd.DataFrame({"utterance_id": answers.utterance_id})
    for name, variant in (("a", a), ("b", b)):
        v = material.place(variant)
        table[name] = material.right[v]
        table[f"sure_{name}"] = np.nan
        if answers.probabilities is not None:
            own = np.take_along_axis(answers.probabilities[v], answers.actual[None, :, None], axis=-1)
            table[f"sure_{name}"] = own[..., 0].mean(axis=0, dtype=np.float64)
    return table.groupby("utterance_id", sort=True).mean()


def errors(material: Material, a: str, b: str) -> pd.DataFrame:
    """utterance_id → a, b: the mean distance of what they predict from what is true, over dimensions, folds and seeds.

    Utterances are in the order of their names.
    """
    own = {name: material.errors[material.place(variant)] for name, variant in (("a", a), ("b", b))}
    table = pd.DataFrame({"utterance_id": material.answers.utterance_id} | own)
    return table.groupby("utterance_id", sort=True).mean()


def details(material: Material, a: str, b: str) -> Grid:
    """The recalls of both by class, or their CCC by dimension, with the tests."""
    rows = material.tests[(material.tests["a"] == a) & (material.tests["b"] == b)].set_index("score")
    counts = material.utterances.loc[np.unique(material.answers.utterance_id), "label"].value_counts()
    shown = []
    task = material.task
    for name, score in zip(task.names, task.details, strict=True):
        row = rows.loc[score]
        known = pd.notna(row["mean_a"])
        shown.append(
            cells(
                name,
                *([counts.get(name, 0)] if task.kind == "classes" else []),
                tables.fraction(row["mean_a"]) if known else "–",
                tables.fraction(row["mean_b"]) if known else "–",
                _difference(row["difference"]),
                tables.p_value(row["p_holm"]),
            )
        )
    first = ["Class", "Utterances"] if task.kind == "classes" else ["Dimension"]
    what, unit, every = (
        ("Recall by class", "points", "recalls")
        if task.kind == "classes"
        else ("CCC by dimension", "units of 0.01", "dimensions")
    )
    caption = f"{what}: mean over runs; difference in {unit}; P after Holm over all {every}."
    return Grid([*first, label(a), label(b), "Difference", "P (Holm)"], shown, caption)


def by_group(
    found: pd.DataFrame, groups: pd.Series, name: str, models: tuple[str, str], *, ordered: bool = False
) -> Grid:
    """The share of right answers, or the error, of both models in each group of utterances; `groups`: utterance_id →
    its name.

    The `MOST_GROUPS` largest, or all in the groups' own order if `ordered`.
    """
    of_errors = "sure_a" not in found
    own = found.groupby(groups.to_numpy(), sort=True, observed=True)
    means, sizes = own[["a", "b"]].mean(), own.size()
    first = (
        sizes.index if ordered else sizes.sort_values(ascending=False, kind="stable").index[:MOST_GROUPS].sort_values()
    )
    rows = [
        cells(
            group,
            sizes[group],
            tables.fraction(means.loc[group, "a"]),
            tables.fraction(means.loc[group, "b"]),
            _difference(means.loc[group, "a"] - means.loc[group, "b"], lower_is_better=of_errors),
        )
        for group in first
    ]
    more = f" The {len(first)} largest of {len(sizes)}." if len(first) < len(sizes) else ""
    what = "Mean error" if of_errors else "Share of right answers"
    caption = f"{what} by {name[0].lower()}{name[1:]}: a description, not tested.{more}"
    return Grid([name, "Utterances", *models, "Difference"], rows, caption)


def quarters(lengths: pd.Series) -> pd.Series:
    """utterance_id → the range of lengths that its quarter of all has, in order; `none` for a length of 0."""
    own = lengths[lengths > 0]
    edges = np.unique(np.quantile(own, np.linspace(0, 1, QUARTERS + 1), method="nearest")) if len(own) else [1]
    number = np.clip(np.searchsorted(edges, lengths, side="left"), 1, max(1, len(edges) - 1))
    number = np.where(lengths == 0, 0, number)
    names = {0: "none"}
    for i in sorted({*number} - {0}):
        within = lengths[number == i]
        names[i] = str(within.min()) if within.min() == within.max() else f"{within.min()} to {within.max()}"
    order = [names[i] for i in sorted({*number})]
    return pd.Series(pd.Categorical([names[i] for i in number], order, ordered=True), index=lengths.index)


def telling(material: Material, found: pd.DataFrame, better: str, worse: str, sign: int) -> list:
    """The utterances that `better` gets most often right and `worse` wrong, if there are any.

    `sign`: 1 if `better` is the model a of `found`, -1 if it is b. Of equals, those with the greatest difference of the
    right class's probability come first, then by name.
    """
    gap = sign * (found["a"] - found["b"])
    order = pd.DataFrame({"gap": -gap, "sure": -sign * (found["sure_a"] - found["sure_b"])}, index=found.index)
    chosen = order[order["gap"] < 0].sort_values(["gap", "sure"], kind="stable").index[:MOST_UTTERANCES]
    if not len(chosen):
        return []
    has_text = "transcription" in material.utterances
    extra = [name for name in ("speaker",) if material.known(name)] + ["transcription"] * has_text
    columns = [
        "Utterance",
        "Class",
        *(name.capitalize() for name in extra),
        label(better),
        label(worse),
        "Said instead",
    ]
    rows = []
    for name in chosen:
        own = material.utterances.loc[name]
        rows.append(
            cells(
                name,
                own["label"],
                *(own[column] or "–" for column in extra),
                f"{100 * found.loc[name, 'a' if sign > 0 else 'b']:.0f} %",
                f"{100 * found.loc[name, 'b' if sign > 0 else 'a']:.0f} %",
                _instead(material, name, worse),
            )
        )
    total = int((order["gap"] < 0).sum())
    caption = (
        f"{len(chosen)} of {total} utterances that more runs of {label(better)} than of {label(worse)} get right, the "
        "widest apart first: the share of runs that are right, and what the other's wrong runs say most often."
    )
    return [Heading(f"What {label(better)} gets right more often"), Grid(columns, rows, caption)]


def nearer(material: Material, found: pd.DataFrame, better: str, worse: str, sign: int) -> list:
    """The utterances whose values `better` comes nearer to than `worse`, the widest apart first, if there are any.

    `sign`: 1 if `better` is the model a of `found`, -1 if it is b.
    """
    gap = sign * (found["b"] - found["a"])
    chosen = gap[gap > 0].sort_values(ascending=False, kind="stable").index[:MOST_UTTERANCES]
    if not len(chosen):
        return []
    extra = ["transcription"] * ("transcription" in material.utterances)
    columns = ["Utterance", "Class", *(name.capitalize() for name in extra), "Actual", label(better), label(worse)]
    rows = []
    for name in chosen:
        own, said = material.utterances.loc[name], values(material, name, better, worse)
        rows.append(cells(name, own["label"], *(own[column] or "–" for column in extra), *said))
    caption = (
        f"{len(chosen)} of {(gap > 0).sum()} utterances that {label(better)} is nearer to than {label(worse)}, the "
        f"widest apart first: {', '.join(material.task.names)}, and what the runs say in the mean."
    )
    return [Heading(f"Where {label(better)} is nearer"), Grid(columns, rows, caption)]


def values(material: Material, utterance: str, *variants: str) -> list[str]:
    """An utterance's values, and the mean of what the runs of some variants predict."""
    answers = material.answers
    where = np.flatnonzero(answers.utterance_id == utterance)
    means = [answers.predicted[material.place(name)][:, where].mean(axis=(0, 1)) for name in variants]
    return [", ".join(f"{value:.1f}" for value in own) for own in (answers.actual[where[0]], *means)]


def _instead(material: Material, utterance: str, variant: str) -> str:
    """The most frequent wrong answer of a variant's runs to an utterance, the first of equals by the classes' order."""
    answers = material.answers
    where = np.flatnonzero(answers.utterance_id == utterance)
    said = answers.predicted[material.place(variant)][:, where]
    wrong = said[said != answers.actual[where]]
    return material.meta.classes[np.bincount(wrong).argmax()]


def _difference(value: float, *, lower_is_better: bool = False) -> Cell:
    """A difference in hundredths, on a colour for what it is good for the first model."""
    if pd.isna(value):
        return Cell("–")
    good = (value > 0) != lower_is_better
    return Cell(signed(value), tone="up" if good else "down", amount=min(1.0, abs(value) / 0.4))


def contents(material: Material) -> Paragraph:
    """What the section shows."""
    licensed, shown, tested = "", "recalls by class, shares of right answers by other groups", "recalls by class"
    if material.task.kind == "dimensions":
        shown, tested = "CCC by dimension, mean errors on the corpus's scale by other groups", "the CCCs"
    if "transcription" in material.utterances:
        licensed = " Transcripts are the corpus's own: mind its licence before you hand this page on."
    return Paragraph(
        f"For each compared pair: {shown}, and the utterances that tell the two models apart. Differences are the "
        f"first model minus the second; only {tested} are tested.{licensed}"
    )
