"""`python -m stages.ttest.papers_claims`: the paper's claims, tested again from its printed numbers.

Prints the page `docs/papers_claims.md`. A mean, a deviation and n of each model determine the unpaired t-test. Every
other test needs the correlation r of the two models' paired runs, which the paper does not print: with standard
deviations s_a, s_b the differences have the variance s_d² = s_a² + s_b² - 2 r s_a s_b. The components test also needs
the share f of s_d² that is the folds': τ² = f s_d², σ² = (1 - f) s_d². So the page says how large r would have to be
for a claim to hold, for several f.
"""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from stages.aggregate import papers_tables
from stages.common import tables, variants
from stages.common.metrics import METRICS, PAPERS
from stages.ttest import student
from stages.ttest.components import Components
from stages.ttest.student import Student

FOLDS, SEEDS, TEST_TO_TRAIN = 5, 10, 15 / 80
DIALOGUES = 151
"""Of IEMOCAP: the units of the components test, when the folds together test all of it."""
FOLD_SHARES = (0.1, 0.2, 0.3)
ALPHA, MARGIN = 0.05, 0.01
ROUNDING = 0.0005
"""Half the last printed digit."""
STEPS = 21
"""Deviations tried that print the same; r may be least between the ends."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the paper says of two models and one metric of one of its tables."""

    table: str
    modalities: str
    a: str
    b: str
    metric: str
    says: str
    """`better` (a, with P < .05), `higher` (a, without a test) or `comparable`."""


class Rounded(NamedTuple):
    """What the printed numbers give, and its range over all numbers that print the same."""

    printed: float
    low: float
    high: float


def claims() -> list[Claim]:
    """The paper's claims on its own models (Section 3)."""
    starred = {("ta", "balanced_accuracy"), ("ta", "accuracy"), ("tva", "balanced_accuracy")}
    table_1 = [
        ("1", modalities, "self", "cross", metric, "better" if (modalities, metric) in starred else "comparable")
        for modalities, metric in product(("tv", "ta", "va", "tva"), PAPERS)
    ]
    table_2 = [
        ("2", "tva", a, b, metric, says)
        for (a, b, says), metric in product(
            [
                ("self_nosp", "cross_nosp", "better"),
                ("self", "self_nosp", "higher"),
                ("cross", "cross_nosp", "higher"),
                ("crossself", "self", "comparable"),
            ],
            PAPERS,
        )
        if not (b == "cross_nosp" and a == "self_nosp" and metric == "accuracy")  # nothing is said of that one
    ]
    names = ("table", "modalities", "a", "b", "metric", "says")
    return [Claim(**dict(zip(names, values, strict=True))) for values in table_1 + table_2]


def paired_test() -> Student:
    """The paired t-test over all runs, of differences with mean 0 and s_d = 1."""
    return Student(location=np.zeros(()), scale=np.sqrt(1 / (FOLDS * SEEDS)), df=FOLDS * SEEDS - 1)


def corrected_test() -> Student:
    """The corrected resampled t-test of such differences."""
    n, q = FOLDS * SEEDS, student.correction(FOLDS, TEST_TO_TRAIN)
    return Student(location=np.zeros(()), scale=np.sqrt(1 / n + q), df=n - 1)


def components_test(fold_share: float) -> Student:
    """The components test of such differences, if the folds' part is `fold_share` of their variance."""
    parts = Components(
        difference=0.0,
        folds=FOLDS,
        seeds=SEEDS,
        units=DIALOGUES,
        runs=1 - fold_share,
        utterances=fold_share,
        excess=0.0,
    )
    return parts.test(student.correction(FOLDS, TEST_TO_TRAIN), with_excess=False)


def unpaired_p(mean_a: float, std_a: float, mean_b: float, std_b: float) -> Rounded:
    """P of the unpaired t-test, perhaps the paper's."""
    n = FOLDS * SEEDS
    corners = product(*((value - ROUNDING, value + ROUNDING) for value in (mean_a, std_a, mean_b, std_b)))
    p, *around = (
        float(stats.ttest_ind_from_stats(a, s_a, n, b, s_b, n).pvalue)
        for a, s_a, b, s_b in [(mean_a, std_a, mean_b, std_b), *corners]
    )
    return Rounded(p, min(around), 1.0 if abs(mean_a - mean_b) < 2 * ROUNDING else max(around))


def least_correlation(
    test: Student, mean_a: float, std_a: float, mean_b: float, std_b: float, *, equivalent: bool = False
) -> Rounded:
    """The least correlation of paired runs with which the means differ, or are equivalent within the margin.

    Below -1: they do whatever the correlation is; above 1: whatever it is, they do not. `test`: of differences with
    s_d = 1, as the functions above make it.
    """
    difference, tried = abs(mean_a - mean_b), np.linspace(-ROUNDING, ROUNDING, STEPS)
    differences = np.array([max(0.0, difference - 2 * ROUNDING), difference + 2 * ROUNDING])
    low_high = _correlation(
        test, differences[:, None, None], std_a + tried[:, None], std_b + tried, equivalent=equivalent
    )
    printed = _correlation(test, np.array(difference), std_a, std_b, equivalent=equivalent)
    return Rounded(float(printed), float(low_high.min()), float(low_high.max()))


def _correlation(
    test: Student, difference: np.ndarray, std_a: np.ndarray, std_b: np.ndarray, *, equivalent: bool
) -> np.ndarray:
    """The r with which the standard error s_d · scale is as large as the test allows; infinite if it allows none."""
    level = 1 - ALPHA if equivalent else 1 - ALPHA / 2
    allowed = (MARGIN - difference if equivalent else difference) / stats.t.ppf(level, test.df)  # error
    r = (std_a**2 + std_b**2 - (allowed / test.scale) ** 2) / (2 * std_a * std_b)
    return np.where(allowed > student.ROUNDING, r, np.inf)


def share_as_strict_as_the_corrected_test() -> float:
    """The fold share with which the components test needs the same r as the corrected one, for any difference."""

    def least_t(test: Student) -> float:
        """The least difference with P < α, in s_d."""
        return float(stats.t.ppf(1 - ALPHA / 2, test.df) * test.scale)

    return optimize.brentq(lambda share: least_t(components_test(share)) - least_t(corrected_test()), 0, 1)


def finding(claim: Claim, p: Rounded) -> str:
    """What the unpaired t-test says of the claim, in words."""
    if claim.says == "comparable":
        return "disagrees" if p.printed < ALPHA else "no difference shown"
    if p.high < ALPHA:
        return "agrees, if all runs were independent"
    if p.printed < ALPHA:
        return "agrees as printed, not for all numbers that print the same"
    no = "**disagrees** as printed" if claim.says == "better" else "**not shown**"
    return f"{no}, though rounding could hide P < .05" if p.low < ALPHA else no


def page() -> str:
    """The page as Markdown."""
    published = papers_tables.read_published().set_index(["table", "modalities", "fusion", "metric"])
    differ = [_row(claim, published) for claim in claims() if claim.says != "comparable"]
    same = [_row(claim, published) for claim in claims() if claim.says == "comparable"]
    sections = [
        TEXT + what_follows(published),
        "## Claims of a difference\n\nr for P < .05. A star is the paper's mark of P < .05",
        tables.markdown(pd.DataFrame(differ)),
        f"## Claims of no difference\n\nr for equivalence within ± {100 * MARGIN:g} point at α = .05",
        tables.markdown(pd.DataFrame(same).drop(columns=["The paper says", "r: paired"])),
        _twice(published),
    ]
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


TEXT = f"""# The paper's claims, from its printed numbers

Printed by `python -m stages.ttest.papers_claims`. Each row recomputes what the mean ± standard deviation over 50 runs
that the paper prints allow (Rajan et al. 2022, Tables 1 and 2). WA is balanced accuracy, UWA accuracy. In brackets: the
range over all numbers that print the same. No P is corrected for the number of claims.

* **Unpaired P**: the t-test over 50 + 50 runs as if they were independent. It is too small:
  [statistics.md](statistics.md).
* **r**: how strongly the two models' runs of the same fold and seed would have to correlate for the claim to hold.
  "any": whatever r is; "none": whatever it is, not.
* **r, f = .1**: by the components test ({FOLDS} folds × {SEEDS} seeds, q = .25, {DIALOGUES} dialogues of IEMOCAP), if
  the folds' part is a share f of the variance of the runs' differences. Beside it by the paired t-test over the runs,
  which is as wrong as the unpaired one, and by the corrected resampled t-test, which knows no f.

"""


def what_follows(published: pd.DataFrame) -> str:
    """The answer in three sentences."""
    stars, pairs = (_needed_correlations(says, published) for says in ("better", "comparable"))
    first_star, every_star, first_pair, every_pair = (
        _listed(map(tables.fraction, needed[:-1]))
        for needed in (stars.min(axis=0), stars.max(axis=0), pairs.min(axis=0), pairs.max(axis=0))
    )
    return textwrap.fill(
        f"As printed, with the folds' share f at {_listed(map(_short, FOLD_SHARES))}, the first of the {len(stars)} "
        f'stars holds from r = {first_star} on and all of them from r = {every_star} on; the first "comparable" pair '
        f"is equivalent from r = {first_pair} on and all of them from r = {every_pair} on. The paper prints neither r "
        "nor f, so its print neither shows nor refutes a star, and shows no equivalence. The corrected resampled "
        f"t-test needs r = {tables.fraction(stars[:, -1].min())} or more for any star and r = "
        f"{tables.fraction(pairs[:, -1].min())} or more for any equivalence, whatever f is; the components test needs "
        f"as much for a star only at f = {tables.fraction(share_as_strict_as_the_corrected_test())}, less where f is "
        "smaller, more where it is larger.",
        width=120,
        break_on_hyphens=False,
    )


def _needed_correlations(says: str, published: pd.DataFrame) -> np.ndarray:
    """r, as printed, of the claims that say so: by the components test for each fold share, then by the corrected."""
    tests = [*map(components_test, FOLD_SHARES), corrected_test()]
    return np.array(
        [
            [
                least_correlation(test, *_printed(claim, published), equivalent=says == "comparable").printed
                for test in tests
            ]
            for claim in claims()
            if claim.says == says
        ]
    )


def _row(claim: Claim, published: pd.DataFrame) -> dict[str, str]:
    printed = _printed(claim, published)
    p = unpaired_p(*printed)
    tests = {
        "r: paired": paired_test(),
        **{f"r, f = {_short(share)}": components_test(share) for share in FOLD_SHARES},
        "r: corrected": corrected_test(),
    }
    return {
        "Table": claim.table,
        "Models": f"{_label(claim.a)} − {_label(claim.b)}, {variants.combination_label(claim.modalities)}",
        "Metric": METRICS[claim.metric].label.split()[0],
        "Printed": f"{tables.mean_std(*printed[:2])}, {tables.mean_std(*printed[2:])}",
        "The paper says": {"better": "better (star)", "higher": "higher (not tested)"}.get(claim.says, claim.says),
        "Unpaired P": f"{tables.p_value(p.printed)} ({tables.p_value(p.low)} to {tables.p_value(p.high)})",
        "By unpaired P": finding(claim, p),
    } | {
        name: _needed(least_correlation(test, *printed, equivalent=claim.says == "comparable"))
        for name, test in tests.items()
    }


def _printed(claim: Claim, published: pd.DataFrame) -> tuple[float, float, float, float]:
    """Mean and standard deviation of a, then of b."""
    a, b = (published.loc[(claim.table, claim.modalities, name, claim.metric)] for name in (claim.a, claim.b))
    return float(a.paper_mean), float(a.paper_std), float(b.paper_mean), float(b.paper_std)


def _twice(published: pd.DataFrame) -> str:
    """The cells that both tables print, where they differ."""
    lines = []
    for metric, fusion in product(PAPERS, ("cross", "self")):
        first, second = (published.loc[(table, "tva", fusion, metric)] for table in ("1", "2"))
        cells = [tables.mean_std(cell.paper_mean, cell.paper_std) for cell in (first, second)]
        if cells[0] != cells[1]:
            lines.append(
                f"Table 1 and Table 2 print {_label(fusion)}, T+V+A, {METRICS[metric].label.split()[0]} differently: "
                f"{cells[0]} and {cells[1]}.\n"
            )
    return "".join(lines)


def _label(fusion: str) -> str:
    return variants.FUSIONS[fusion].label


def _needed(r: Rounded) -> str:
    if r.low > 1 or r.high < -1:
        return _bound(r.printed)
    return f"{_bound(r.printed)} ({_bound(r.low).removeprefix('≥ ')} to {_bound(r.high).removeprefix('≥ ')})"


def _bound(r: float) -> str:
    return "any" if r < -1 else "none" if r > 1 else f"≥ {tables.fraction(r)}"


def _short(share: float) -> str:
    """`.1`"""
    return f"{share:g}".removeprefix("0")


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}"


if __name__ == "__main__":
    print(page(), end="")
