"""The paper's claims from its printed numbers: scipy, hand-worked numbers, and numbers that print the same."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from stages.aggregate import papers_tables
from stages.ttest import papers_claims, student
from stages.ttest.student import Student

STAR = (0.587, 0.022, 0.578, 0.024)  # Self − Cross, T+V+A, WA
SHARES = (0.1, 0.2, 0.3)


def by_hand(difference: float, std_a: float, std_b: float, r: float, share: float) -> Student:
    """The components test of 5 folds × 10 seeds and 151 dialogues, q = 1/4: 1/k + q = 9/20, k r = 50."""
    variance = std_a**2 + std_b**2 - 2 * r * std_a * std_b
    folds, runs = share * variance * 9 / 20, (1 - share) * variance / 50
    df = (folds + runs) ** 2 / (folds**2 / 150 + runs**2 / (5 * 9))
    return Student(location=np.array(difference), scale=np.sqrt(folds + runs), df=df)


def test_the_papers_star_is_recomputed():
    assert papers_claims.unpaired_p(*STAR).printed == pytest.approx(0.053, abs=0.0005)  # t = 1.955
    p = papers_claims.unpaired_p(0.518, 0.031, 0.501, 0.026)
    assert p.printed == pytest.approx(2 * stats.t.sf(2.97, 98), rel=0.01)
    claims = papers_claims.claims()
    assert sum(claim.says == "better" for claim in claims) == 4  # the paper's stars
    assert len({(c.table, c.a, c.b, c.modalities, c.metric) for c in claims}) == len(claims) == 15


def test_the_paper_has_the_runs_that_the_tests_count():
    published = papers_tables.read_published().set_index(["table", "modalities", "fusion", "metric"])
    for claim in papers_claims.claims():
        for name in (claim.a, claim.b):
            assert published.loc[(claim.table, claim.modalities, name, claim.metric)].paper_n == 50


@pytest.mark.parametrize(
    ("q", "test"), [(0, papers_claims.paired_test()), (0.25, papers_claims.corrected_test())], ids=["paired", "corr."]
)
def test_the_correlation_needed_is_where_p_becomes_alpha(q, test):
    r = papers_claims.least_correlation(test, *STAR).printed
    rng = np.random.default_rng(0)
    x, y = np.linalg.qr(np.column_stack([np.ones(50), rng.normal(size=(50, 2))]))[0][:, 1:].T * 7  # std 1, r = 0
    a, b = 0.587 + 0.022 * x, 0.578 + 0.024 * (r * x + math.sqrt(1 - r * r) * y)
    assert student.corrected((a - b).reshape(5, 10), q).p == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("share", [*SHARES, 0.7])
def test_the_correlation_needed_by_components(share):
    r = papers_claims.least_correlation(papers_claims.components_test(share), *STAR).printed
    assert by_hand(0.009, 0.022, 0.024, r, share).p == pytest.approx(0.05, rel=1e-9)
    numbers = (0.563, 0.022, 0.567, 0.019)
    r = papers_claims.least_correlation(papers_claims.components_test(share), *numbers, equivalent=True).printed
    assert by_hand(-0.004, 0.022, 0.019, r, share).p_equivalence(0.01) == pytest.approx(0.05, rel=1e-9)


def test_the_degrees_of_freedom_by_hand():
    # f = .3: folds .3 · 9/20 = .135, runs .7 / 50 = .014; df = .149² / (.135²/150 + .014²/45) = 176.4.
    test = papers_claims.components_test(0.3)
    assert test.scale**2 == pytest.approx(0.149)
    assert test.df == pytest.approx(0.022201 / (0.0001215 + 0.000196 / 45))
    assert papers_claims.components_test(0.0).df == pytest.approx(5 * 9)
    assert papers_claims.components_test(1.0).df == pytest.approx(150)
    assert (papers_claims.paired_test().df, papers_claims.corrected_test().df) == (49, 49)


@pytest.mark.parametrize("equivalent", [False, True])
@pytest.mark.parametrize(
    "printed",
    [
        STAR,
        (0.567, 0.026, 0.566, 0.022),
        (0.642, 0.020, 0.642, 0.019),
        (0.636, 0.012, 0.634, 0.015),
    ],
)
def test_the_range_holds_all_numbers_that_print_the_same(printed, equivalent):
    test, rng = papers_claims.components_test(0.2), np.random.default_rng(0)
    range_ = papers_claims.least_correlation(test, *printed, equivalent=equivalent)
    steps = rng.choice([-0.0005, 0, 0.0005], (300, 4)) + rng.uniform(-0.0002, 0.0002, (300, 4))
    others = np.array(
        [
            papers_claims.least_correlation(
                test, *(np.array(printed) + np.clip(step, -0.0005, 0.0005)), equivalent=equivalent
            ).printed
            for step in steps
        ]
    )
    assert (others >= range_.low - 1e-4).all()
    assert (others <= range_.high + 1e-12).all()
    assert others.min() == pytest.approx(range_.low, abs=0.02)
    if np.isfinite(range_.high):
        assert others.max() == pytest.approx(range_.high, abs=0.02)


def test_the_range_holds_a_least_value_between_the_ends():
    # With s_b = .0168 and a difference of .0075, r is least at s_a² = s_b² - (.0075 / (t · scale))², and is s_a/s_b.
    test = papers_claims.components_test(0.2)
    least = math.sqrt(0.0168**2 - (0.0075 / (stats.t.ppf(0.975, test.df) * test.scale)) ** 2)
    assert 0.0118 < least < 0.0123
    found = papers_claims.least_correlation(test, 0.5300, 0.0120, 0.5235, 0.0173)
    assert found.low == pytest.approx(least / 0.0168, abs=1e-5)


def test_no_correlation_shows_what_is_not_there_and_none_equivalence_beyond_the_margin():
    test = papers_claims.components_test(0.2)
    same = papers_claims.least_correlation(test, 0.53, 0.02, 0.53, 0.02)
    assert same.printed == same.high == math.inf
    assert papers_claims.unpaired_p(0.53, 0.02, 0.53, 0.02).high == 1
    beyond = papers_claims.least_correlation(test, 0.52, 0.03, 0.50, 0.02, equivalent=True)
    assert (beyond.printed, beyond.low) == (math.inf, math.inf)
    on_the_margin = papers_claims.least_correlation(test, 0.51, 0.03, 0.50, 0.02, equivalent=True)
    assert on_the_margin.printed == math.inf
    assert 1 < on_the_margin.low < math.inf


def test_components_are_as_strict_as_the_corrected_test_at_one_share():
    share = papers_claims.share_as_strict_as_the_corrected_test()
    assert 0.59 < share < 0.61
    for star in (STAR, (0.574, 0.018, 0.562, 0.017)):
        corrected, below, same, above = (
            papers_claims.least_correlation(test, *star).printed
            for test in (
                papers_claims.corrected_test(),
                *map(papers_claims.components_test, (share - 0.1, share, share + 0.1)),
            )
        )
        assert below < same < above
        assert same == pytest.approx(corrected)


def test_the_page_is_what_the_command_prints():
    assert Path("docs/papers_claims.md").read_text(encoding="utf-8") == papers_claims.page()


def test_the_page_says_what_each_star_needs():
    cells = [line.split(" | ") for line in papers_claims.page().splitlines() if "better (star)" in line]
    assert len(cells) == 4
    for cell, share in zip(cells[0][-4:-1], SHARES, strict=True):  # .518 ± .031, .501 ± .026
        r = float(cell.removeprefix("≥ ").partition(" ")[0])
        assert by_hand(0.017, 0.031, 0.026, r, share).p == pytest.approx(0.05, abs=0.001)
