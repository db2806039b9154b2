"""`python -m stages.ttest.papers_claims`: the paper's claims, tested again from its printed numbers.

Prints the page `docs/papers_claims.md`. A mean, a deviation and n of each model determine the unpaired t-test. The
paired and the corrected ones also need the correlation r of the two models' runs, which the paper does not print: with
standard deviations s_a, s_b the differences have the variance s_a² + s_b² - 2 r s_a s_b. So the page says how large r
would have to be for the claim to hold.
"""

import math
from dataclasses import dataclass
from itertools import product

import pandas as pd
from scipy import stats

from stages.aggregate import papers_tables
from stages.common import tables, variants
from stages.common.scores import SCORES
from stages.ttest import student

FOLDS, TEST_TO_TRAIN = 5, 15 / 80
ALPHA, MARGIN = 0.05, 0.01
ROUNDING = 0.0005
"""Half the last printed digit."""


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


def claims() -> list[Claim]:
    """The paper's claims on its own models (Section 3)."""
    starred = {("ta", "balanced_accuracy"), ("ta", "accuracy"), ("tva", "balanced_accuracy")}
    table_1 = [
        ("1", modalities, "self", "cross", metric, "better" if (modalities, metric) in starred else "comparable")
        for modalities, metric in product(("tv", "ta", "va", "tva"), SCORES)
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
            SCORES,
        )
        if not (b == "cross_nosp" and a == "self_nosp" and metric == "accuracy")  # nothing is said of that one
    ]
    names = ("table", "modalities", "a", "b", "metric", "says")
    return [Claim(**dict(zip(names, values, strict=True))) for values in table_1 + table_2]


def retest(mean_a: float, std_a: float, mean_b: float, std_b: float, n: int) -> dict[str, float]:
    """What the printed numbers of two models with n runs each allow.

    Returns
    -------
    difference; p, the unpaired t-test's (perhaps the paper's), with p_low and p_high, its range over all numbers that
    print the same; and the least correlation of paired runs with which the paired t-test (r_paired), the corrected one
    (r_corrected) and equivalence within the margin (r_equivalent) hold: below -1 always, above 1 never.
    """
    corners = product(*((value - ROUNDING, value + ROUNDING) for value in (mean_a, std_a, mean_b, std_b)))
    around = [_unpaired(*corner, n) for corner in corners]
    crosses_zero = abs(mean_a - mean_b) < 2 * ROUNDING
    q = student.correction(FOLDS, TEST_TO_TRAIN)
    d = mean_a - mean_b
    two_sided, one_sided = stats.t.ppf([1 - ALPHA / 2, 1 - ALPHA], n - 1)
    left = MARGIN - abs(d)  # what the margin leaves to chance
    return {
        "difference": d,
        "p": _unpaired(mean_a, std_a, mean_b, std_b, n),
        "p_low": min(around),
        "p_high": 1.0 if crosses_zero else max(around),
        "r_paired": _correlation(abs(d) / two_sided, 1 / n, std_a, std_b),
        "r_corrected": _correlation(abs(d) / two_sided, 1 / n + q, std_a, std_b),
        "r_equivalent": _correlation(left / one_sided, 1 / n + q, std_a, std_b)
        if left > student.ROUNDING
        else math.inf,
    }


def _unpaired(mean_a: float, std_a: float, mean_b: float, std_b: float, n: int) -> float:
    return float(stats.ttest_ind_from_stats(mean_a, std_a, n, mean_b, std_b, n).pvalue)


def _correlation(error: float, factor: float, std_a: float, std_b: float) -> float:
    """The correlation with which the standard error √((s_a² + s_b² - 2 r s_a s_b) · factor) is `error`."""
    return (std_a**2 + std_b**2 - error**2 / factor) / (2 * std_a * std_b)


def finding(claim: Claim, numbers: dict[str, float]) -> str:
    """Whether the print bears the claim out, in words."""
    p = f"P = {tables.p_value(numbers['p'])}" if numbers["p"] >= 0.001 else "P < .001"
    if claim.says == "comparable":
        if numbers["p"] < ALPHA:
            return f"disagrees: {p}"
        return f"no difference shown ({p}), but no equivalence either{_unless(numbers['r_equivalent'])}"
    no = "**disagrees** as printed" if claim.says == "better" else "**not shown**"
    if numbers["p_high"] < ALPHA:
        tested = "agrees, if all runs were independent"
    elif numbers["p"] < ALPHA:
        tested = "agrees as printed, not for all numbers that print the same"
    elif numbers["p_low"] < ALPHA:
        tested = f"{no} ({p}), though rounding could hide P < .05"
    else:
        tested = f"{no} ({p})"
    if claim.says == "better" and numbers["p"] >= ALPHA:
        tested += f"; a paired test would need a correlation of {tables.fraction(numbers['r_paired'])} or more"
    return tested + f"; corrected, not shown{_unless(numbers['r_corrected'])}"


def _unless(r: float) -> str:
    return " at any correlation" if r > 1 else f" unless paired runs correlate by {tables.fraction(r)} or more"


def page() -> str:
    """The page as Markdown."""
    published = papers_tables.read_published().set_index(["table", "modalities", "fusion", "metric"])
    rows = []
    for claim in claims():
        a, b = (published.loc[(claim.table, claim.modalities, name, claim.metric)] for name in (claim.a, claim.b))
        numbers = retest(a.paper_mean, a.paper_std, b.paper_mean, b.paper_std, int(a.paper_n))
        rows.append(
            {
                "Table": claim.table,
                "Models": f"{_label(claim.a)} − {_label(claim.b)}, {variants.combination_label(claim.modalities)}",
                "Metric": SCORES[claim.metric].split()[0],
                "Printed": f"{tables.mean_std(a.paper_mean, a.paper_std)}, "
                f"{tables.mean_std(b.paper_mean, b.paper_std)}",
                "The paper says": {"better": "better (P < .05)", "higher": "higher (not tested)"}.get(
                    claim.says, claim.says
                ),
                "Unpaired P (rounding)": f"{tables.p_value(numbers['p'])} "
                f"({tables.p_value(numbers['p_low'])} to {tables.p_value(numbers['p_high'])})",
                "r: paired": _needed(numbers["r_paired"]),
                "r: corrected": _needed(numbers["r_corrected"]),
                "r: equivalent": _needed(numbers["r_equivalent"]),
                "The print": finding(claim, numbers),
            }
        )
    return f"{TEXT}\n{tables.markdown(pd.DataFrame(rows))}\n{_twice(published)}"


TEXT = """# The paper's claims, from its printed numbers

Printed by `python -m stages.ttest.papers_claims`. Each row recomputes what the mean ± standard deviation over 50 runs
that the paper prints allow (Rajan et al. 2022, Tables 1 and 2). WA is balanced accuracy, UWA accuracy.

* **Unpaired P**: the t-test over 50 + 50 runs as if they were independent; in brackets its range over all numbers that
  print the same. Uncorrected, it is too small: [statistics.md](statistics.md).
* **r**: how strongly the two models' runs of the same fold and seed would have to correlate for the paired t-test and
  for the corrected resampled t-test (5 folds, q = .25) to give P < .05, and for a corrected equivalence test within ± 1
  point. The paper does not print this correlation. "any": whatever it is; "none": whatever it is, not.
"""


def _twice(published: pd.DataFrame) -> str:
    """The cells that both tables print, where they differ."""
    lines = []
    for metric, fusion in product(SCORES, ("cross", "self")):
        first, second = (published.loc[(table, "tva", fusion, metric)] for table in ("1", "2"))
        cells = [tables.mean_std(cell.paper_mean, cell.paper_std) for cell in (first, second)]
        if cells[0] != cells[1]:
            lines.append(
                f"Table 1 and Table 2 print {_label(fusion)}, T+V+A, {SCORES[metric].split()[0]} differently: "
                f"{cells[0]} and {cells[1]}.\n"
            )
    return "".join(lines)


def _label(fusion: str) -> str:
    return variants.FUSIONS[fusion].label


def _needed(r: float) -> str:
    return "any" if r < -1 else "none" if r > 1 else f"≥ {tables.fraction(r)}"


if __name__ == "__main__":
    print(page(), end="")
