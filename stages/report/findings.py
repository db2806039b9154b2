"""`metrics/ttest.csv` as the report reads it, and its verdicts in words."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from stages.common import scores, tables, variants
from stages.common.errors import UserError, short
from stages.common.metrics import METRICS
from stages.common.params import Compare
from stages.ttest.comparisons import COLUMNS
from stages.ttest.report import interval, signed
from stages.ttest.verdict import VERDICTS, Verdict, amount

FILE = Path("metrics/ttest.csv")
PAPERS = ("self", "cross")
"""The fusions that the paper compares."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the tests say of one pair of models on one metric; fields are the columns of `metrics/ttest.csv`."""

    a: str
    b: str
    score: str
    test: str
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_holm: float
    p_equivalence_holm: float
    verdict: Verdict

    @property
    def fusions(self) -> tuple[str, str]:
        """Those of a and b."""
        return variants.parse(self.a).fusion, variants.parse(self.b).fusion

    @property
    def modalities(self) -> str | None:
        """Their letters, if a and b have the same."""
        first, second = (variants.parse(name).modalities for name in (self.a, self.b))
        return first if first == second else None

    def in_order(self) -> "Finding":
        """The same of the pair the other way round where b is better: so a is what is better, if either is."""
        if self.verdict.better != "b":
            return self
        return Finding(
            a=self.b,
            b=self.a,
            score=self.score,
            test=self.test,
            mean_a=self.mean_b,
            mean_b=self.mean_a,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            p_holm=self.p_holm,
            p_equivalence_holm=self.p_equivalence_holm,
            verdict=self.verdict.mirrored,
        )

    def numbers(self, settings: Compare) -> str:
        """Means, difference with its interval and P, a minus b."""
        unit, level = METRICS[self.score].unit, f"{100 * (1 - settings.alpha):g} %"
        difference = f"{signed(self.difference)} {unit if unit == 'points' else f'× {unit}'}"
        parts = [f"{tables.fraction(self.mean_a)} against {tables.fraction(self.mean_b)}", difference]
        if self.low == self.low:
            parts.append(f"{level} interval {interval(self.low, self.high)}")
        for name, p in (("P", self.p_holm), ("P of equivalence", self.p_equivalence_holm)):
            parts += [f"{name}{_equals(p)}"] if p == p else []
        return ", ".join(parts)

    def sentence(self, settings: Compare) -> str:
        """The verdict, with its numbers, in a sentence."""
        own, margin = self.in_order(), amount(settings.margin, self.score)
        first, second = variants.label(own.a), variants.label(own.b)
        if own.verdict.better:
            tail = f", but surely by less than {margin}" if own.verdict.equivalent else ""
            words = f"{first} is better than {second}{tail}"
        elif own.verdict.equivalent:
            words = f"{first} and {second} are equivalent: their difference is surely within ± {margin}"
        else:
            words = (
                f"undecided: neither {first} nor {second} is shown to be better, nor are they shown to be equivalent"
            )
        return f"{words} ({own.numbers(settings)})"


def named(metric: str) -> str:
    """A metric as people read it, with its direction where that is down."""
    return METRICS[metric].label + (" (the lower the better)" if METRICS[metric].lower_is_better else "")


def _equals(p: float) -> str:
    text = tables.p_value(p)
    return f" {text}" if text.startswith("<") else f" = {text}"


def read(path: Path = FILE) -> pd.DataFrame:
    """The table, with a column verdict of `Verdict`s.

    Raises
    ------
    UserError
        If the file is missing or damaged, has an unknown verdict, or one against the sign of its difference.
    """
    table = scores.read_csv(path, numbers=[])
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise UserError(f"{path} must have the columns of a comparison, but lacks {', '.join(missing)}: run dvc repro")
    for row, text in enumerate(table["verdict"]):
        if text not in VERDICTS:
            raise UserError(
                f"{path}: line {row + 2}: verdict must be one of {', '.join(VERDICTS)}, but is {short(text)}: "
                "run dvc repro"
            )
    table["verdict"] = table["verdict"].astype(object).map(VERDICTS)
    for row in table.itertuples():
        lower = row.score in METRICS and METRICS[row.score].lower_is_better
        if row.verdict.better and (row.verdict.better == "a") != ((row.difference > 0) != lower):
            raise UserError(
                f"{path}: line {row.Index + 2}: the verdict must agree with the sign of the difference, but "
                f"{row.difference:g} is said to be {str(row.verdict)!r}: run dvc repro"
            )
    return table


def of_metrics(table: pd.DataFrame) -> list[Finding]:
    """The rows of metrics, not of recalls."""
    names = [one.name for one in fields(Finding)]
    rows = table.loc[table["score"].isin(METRICS), names]
    return [Finding(**row) for row in rows.to_dict("records")]


def papers(found: Iterable[Finding]) -> list[Finding]:
    """Those of the paper's question: self and cross on the same modalities."""
    return [one for one in found if set(one.fusions) == set(PAPERS) and one.modalities]


def summaries(found: Iterable[Finding], settings: Compare) -> list[str]:
    """A sentence a kind of pair and metric: which combinations of modalities get which verdict.

    Pairs of the same two fusions on the same modalities are of one kind; any other pair is alone.
    """
    kinds: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for one in found:
        if one.modalities:
            names, place = (variants.FUSIONS[name].label for name in one.fusions), one.modalities
        else:
            names, place = (variants.label(name) for name in (one.a, one.b)), ""
        first, second = names
        words = one.verdict.sentence(first, second, amount(settings.margin, one.score))
        kinds.setdefault((first, second, one.score), {}).setdefault(words, []).append(place)
    return [f"{named(key[-1])}: {'; '.join(_on(*each) for each in own.items())}." for key, own in kinds.items()]


def _on(words: str, places: list[str]) -> str:
    shown = [variants.combination_label(place) for place in places if place]
    return f"{words} on {enumerated(shown)}" if shown else words


def enumerated(names: list[str]) -> str:
    """`T, V and A`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def count(found: list[Finding]) -> str:
    """How many comparisons came out in which way, in a sentence."""
    better: dict[str, int] = dict.fromkeys(
        (variants.FUSIONS[name].label for one in found for name in sorted(one.fusions)), 0
    )
    for one in found:
        if one.verdict.better:
            better[variants.FUSIONS[variants.parse(one.in_order().a).fusion].label] += 1
    small = sum(one.verdict.better is not None and one.verdict.equivalent for one in found)
    equivalent = sum(one.verdict == Verdict(None, True) for one in found)
    undecided = sum(one.verdict == Verdict() for one in found)
    said = [f"{name} is better in {number or 'none'}" for name, number in better.items()]
    said += [f"{equivalent or 'none'} equivalent", f"{undecided or 'none'} undecided"]
    tail = f" (of the better ones {small} by less than the margin)" if small else ""
    return f"Of {len(found)} comparisons (combinations of modalities × metrics): {'; '.join(said)}{tail}."
