"""The components test: worked by hand, against plain loops, and its properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ttest import student
from stages.ttest.components import Components, components, per_fold

BY_HAND = {
    "z": np.array([[1, 0, 0, 0, -1, 1], [1, 1, 0, 0, 0, 1]], float),
    "weights": np.full(6, 1 / 3),
    "fold": np.array([0, 0, 0, 1, 1, 1]),
    "stratum": np.zeros(6, int),
    "unit": np.array([5, 8, 5, 9, 9, 9]),
}


def test_two_folds_two_seeds_and_six_utterances_by_hand():
    # d = 1/3, 2/3 | 0, 1/3; fold means 1/2, 1/6. s_e² = 4 · (1/6)² / (2 · 1) = 1/18.
    parts = components(**BY_HAND)
    np.testing.assert_allclose(
        per_fold(BY_HAND["z"], BY_HAND["weights"], BY_HAND["fold"]), [[1 / 3, 2 / 3], [0, 1 / 3]]
    )
    assert (parts.folds, parts.seeds, parts.units) == (2, 2, 3)
    assert parts.difference == pytest.approx(1 / 3)
    assert parts.runs == pytest.approx(1 / 18)
    # Means over seeds 1, 1/2, 0 | 0, -1/2, 1, of all 1/3; a third of what they deviate from it: 4, 1, -2 | -2, -5, 4
    # eighteenths. By units 2, 1, -3 of them: V_raw = 3/2 · 14/324 / 4 = 7/432. Two utterances differ by a seed, with
    # variance 1/2: I = (1/9) · 1 / (2 · 4) = 6/432. So τ² = 2 · 1/432.
    assert parts.utterances == pytest.approx(1 / 216)
    assert parts.excess == pytest.approx(1 / 18 - 1 / 36 - 1 / 216)
    # q = 1: SE² = (1 + 2)/144, df = 3² / (1²/2 + 2²/2).
    test = parts.test(1.0, with_excess=False)
    assert (float(test.scale), test.df) == pytest.approx((math.sqrt(3 / 144), 9 / 2.5))
    assert float(test.t) == pytest.approx(math.sqrt(48) / 3)
    # With the excess of 5/216: SE² = (1 + 5 + 2)/144, df = 8² / (1²/2 + 5²/1 + 2²/2).
    test = parts.test(1.0, with_excess=True)
    assert (float(test.scale), test.df) == pytest.approx((math.sqrt(8 / 144), 64 / 27.5))
    assert float(test.t) == pytest.approx(math.sqrt(2))


def test_folds_and_seeds_in_the_standard_error_by_hand():
    parts = Components(difference=0.5, folds=5, seeds=3, units=8, runs=0.6, utterances=0.2, excess=0.1)
    shared = 1 / 5 + 0.3
    for with_excess, variances in ((False, [0.2 * shared, 0.6 / 15]), (True, [0.2 * shared, 0.6 / 15, 0.1 * shared])):
        test = parts.test(0.3, with_excess=with_excess)
        assert float(test.scale) ** 2 == pytest.approx(sum(variances))
        dfs = [7, 10, 4]
        expected = sum(variances) ** 2 / sum(own**2 / df for own, df in zip(variances, dfs, strict=False))
        assert test.df == pytest.approx(expected)


def in_loops(z, weights, fold, stratum, unit) -> Components:
    """The formulas of the docs, a sum at a time."""
    seeds, rows, folds = range(len(z)), range(len(weights)), sorted(set(fold))
    k, r = len(folds), len(z)
    d = {(i, j): sum(weights[u] * z[j][u] for u in rows if fold[u] == i) for i in folds for j in seeds}
    m = {i: sum(d[i, j] for j in seeds) / r for i in folds}
    runs = sum((d[i, j] - m[i]) ** 2 for i in folds for j in seeds) / (k * (r - 1))
    mean = [sum(z[j][u] for j in seeds) / r for u in rows]
    total: dict[int, float] = {}
    noise = 0.0
    for u in rows:
        alike = [mean[other] for other in rows if stratum[other] == stratum[u]]
        total[unit[u]] = total.get(unit[u], 0.0) + weights[u] * (mean[u] - sum(alike) / len(alike))
        noise += weights[u] ** 2 * sum((z[j][u] - mean[u]) ** 2 for j in seeds) / (r - 1) / (r * k * k)
    g = len(total)
    raw = g / (g - 1) * sum(value**2 for value in total.values()) / k**2
    utterances = k * max(0.0, raw - noise)
    centre = sum(m.values()) / k
    between = sum((m[i] - centre) ** 2 for i in folds) / (k - 1)
    return Components(
        difference=centre,
        folds=k,
        seeds=r,
        units=g,
        runs=runs,
        utterances=utterances,
        excess=between - runs / r - utterances,
    )


@pytest.mark.parametrize(("folds", "seeds"), [(5, 3), (3, 7), (2, 2), (11, 5)])
@pytest.mark.parametrize("by_class", [False, True])
def test_they_are_those_of_plain_loops(folds, seeds, by_class):
    rng = np.random.default_rng([folds, seeds])
    fold = np.sort(rng.permutation(np.arange(13 * folds) % folds))
    label = rng.integers(3, size=len(fold))
    z, unit = rng.integers(-1, 2, (seeds, len(fold))).astype(float), rng.integers(17, size=len(fold))
    z[:, label == 2] += 0.5
    weights, stratum = np.empty(len(fold)), label if by_class else np.zeros(len(fold), int)
    for i in range(folds):
        own = fold == i
        sizes = np.bincount(label[own])
        weights[own] = 1 / (np.count_nonzero(sizes) * sizes[label[own]]) if by_class else 1 / own.sum()
    found, expected = components(z, weights, fold, stratum, unit), in_loops(z, weights, fold, stratum, unit)
    assert vars(found) == pytest.approx(vars(expected), rel=1e-12, abs=1e-12)


drawn = st.integers(0, 2**32 - 1)


@given(drawn)
def test_swapping_the_models_mirrors_the_test(seed):
    rng = np.random.default_rng(seed)
    z = rng.integers(-1, 2, (3, 20)).astype(float)
    fold, unit = np.arange(20) // 5, rng.integers(7, size=20)
    one, other = (components(sign * z, np.full(20, 0.2), fold, np.zeros(20, int), unit) for sign in (1, -1))
    assert other.difference == pytest.approx(-one.difference)
    for name in ("runs", "utterances", "excess"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-15)
    for with_excess in (False, True):
        tests = [parts.test(0.25, with_excess=with_excess) for parts in (one, other)]
        assert tests[0].p == pytest.approx(tests[1].p)
        assert tests[0].scale >= 0


@given(drawn)
def test_the_excess_only_adds(seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(3, 20)) + np.repeat(rng.normal(size=4), 5)
    fold = np.arange(20) // 5
    parts = components(z, np.full(20, 0.2), fold, np.zeros(20, int), np.arange(20))
    without, with_excess = (parts.test(0.25, with_excess=own) for own in (False, True))
    assert with_excess.scale >= without.scale
    assert (with_excess.scale == without.scale) == (parts.excess <= 0)


def test_the_number_of_units_and_folds_that_are_used():
    """Numbers of folds and units may have gaps; a unit whose utterances lie in several folds is one."""
    spread = BY_HAND | {"unit": BY_HAND["unit"] * 1000, "fold": BY_HAND["fold"] * 7 + 3}
    spread["stratum"] = spread["stratum"] + 4
    assert vars(components(**spread)) == pytest.approx(vars(components(**BY_HAND)))


@pytest.mark.filterwarnings("error")
def test_degenerate_answers():
    fold = np.array([0, 0, 1, 1])
    rest = {"weights": np.full(4, 0.5), "fold": fold, "stratum": np.zeros(4, int), "unit": np.arange(4)}
    same = components(np.zeros((3, 4)), **rest).test(1.0, with_excess=True)
    assert (float(same.p), float(same.p_equivalence(0.01))) == (1, 0)
    all_better = components(np.ones((3, 4)), **rest).test(1.0, with_excess=True)
    assert (float(all_better.p), float(all_better.location), float(all_better.p_equivalence(0.01))) == (0, 1, 1)
    one_seed = components(np.ones((1, 4)), **rest)
    assert math.isnan(one_seed.test(1.0, with_excess=False).p)
    one_unit = components(np.eye(2, 4), **rest | {"unit": np.zeros(4, int)})
    assert math.isnan(one_unit.test(1.0, with_excess=False).p)
    one_fold = components(np.eye(2, 4), **rest | {"fold": np.zeros(4, int)})
    assert math.isnan(one_fold.test(student.correction(1, 0.2), with_excess=False).p)
    assert one_fold.difference == pytest.approx(0.5)
