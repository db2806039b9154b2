"""Power of the components test: hand-worked numbers, noncentral t, and simulated studies."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from stages.common.errors import UserError
from stages.ttest import power
from stages.ttest.components import Components, components
from stages.ttest.power import Plan

STUDY = Components(difference=0.013, folds=5, seeds=3, units=17, runs=0.02**2, utterances=0.03**2, excess=0.01**2)
NOW = Plan(folds=5, seeds=3)
SETTINGS = {"q": 0.25, "alpha": 0.05, "with_excess": False}
PAIR = ("self_tv", "cross_tv")


def page(study: Components = STUDY, points: tuple[float, ...] = (2.0,), **changes) -> str:
    settings = SETTINGS | {"metric": "accuracy"} | changes
    return power.page({PAIR: study}, points=list(points), **settings)


def cells(text: str, start: str) -> list[str]:
    """Of the first table row that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return line.strip("| ").split(" | ")


def noncentral_t(difference: float, error: float, df: float) -> float:
    """The two-sided t-test's power at .05."""
    critical, centre = stats.t.ppf(0.975, df), difference / error
    return stats.nct.sf(critical, df, centre) + stats.nct.cdf(-critical, df, centre)


def test_a_planned_standard_error_by_hand():
    # 7 folds × 11 seeds on twice the data: q' = 1/6; the means over folds vary with 7/5 · 1/2 of 9 and 1 points²:
    # (1/7 + 1/6) · 7/10 = 13/60; runs 4/77.
    weights = power.weights(STUDY, Plan(folds=7, seeds=11, data=2), 0.25)
    assert weights == pytest.approx([13 / 60, 13 / 60, 1 / 77])
    error = power.standard_error(power.variances(STUDY, with_excess=True) * weights[:, None])[0]
    assert 100 * error == pytest.approx(math.sqrt((9 + 1) * 13 / 60 + 4 / 77))
    # 17 dialogues become 34; 7 folds; 7 folds of 11 seeds.
    assert list(power.degrees_of_freedom(STUDY, Plan(folds=7, seeds=11, data=2))) == [33, 6, 70]
    # A study with q = .5, twice 1/(5 - 1), has 1/3, twice 1/(7 - 1).
    assert power.weights(STUDY, Plan(folds=7, seeds=11), 0.5)[0] == pytest.approx((1 / 7 + 1 / 3) * 7 / 5)


@pytest.mark.parametrize("with_excess", [False, True])
@pytest.mark.parametrize("excess", [0.01**2, -(0.01**2), 0.0])
def test_the_study_itself_has_the_standard_error_of_its_test(with_excess, excess):
    study = replace(STUDY, excess=excess)
    parts = power.variances(study, with_excess=with_excess) * power.weights(study, NOW, 0.4)[:, None]
    test = study.test(0.4, with_excess=with_excess)
    assert power.standard_error(parts)[0] == pytest.approx(float(test.scale))
    estimates, dfs = parts[:, 0], power.degrees_of_freedom(study, NOW)
    assert estimates.sum() ** 2 / (estimates**2 / dfs).sum() == pytest.approx(test.df)


def test_the_intervals_of_variances_by_hand():
    # One fold's two seeds and another's: σ² with 2 degrees of freedom, χ²₂ = -2 ln(1 - p) at p = .9 and .1.
    study = Components(difference=0.0, folds=2, seeds=2, units=3, runs=0.07, utterances=0.0, excess=0.0)
    found = power.variances(study, with_excess=True)
    assert found[2] == pytest.approx([0.07, 0.07 / -math.log(0.1), 0.07 / -math.log(0.9)])
    # τ² = 0: the dialogues' mean square is what the runs add to it, .035, with 2 degrees of freedom as well.
    assert found[0] == pytest.approx([0, 0, 0.035 / -math.log(0.9) - 0.035])
    # τ² = .11 beside the same: .145, less .035.
    found = power.variances(replace(study, utterances=0.11), with_excess=False)
    assert found[0] == pytest.approx([0.11, 0.145 / -math.log(0.1) - 0.035, 0.145 / -math.log(0.9) - 0.035])
    assert (found[1] == 0).all()
    # An excess of .13 beside .11 + .035, 4 degrees of freedom with 5 folds; below 0 it is none, but could be some.
    five = replace(study, folds=5, utterances=0.11, excess=0.13)
    low, high = stats.chi2.ppf([0.1, 0.9], 4)
    expected = [0.13, 0.275 * 4 / high - 0.145, 0.275 * 4 / low - 0.145]
    assert power.variances(five, with_excess=True)[1] == pytest.approx(np.maximum(0, expected))
    negative = power.variances(replace(five, excess=-0.013), with_excess=True)[1]
    assert negative == pytest.approx([0, 0, 0.132 * 4 / low - 0.145])


def test_the_interval_of_a_sum_by_hand():
    # 4 (1 to 7) and 9 (5 to 13): 13 - √(9 + 16) to 13 + √(9 + 16).
    error, low, high = power.standard_error(np.array([[4, 1, 7], [0, 0, 0], [9, 5, 13]]))
    assert (error**2, low**2, high**2) == pytest.approx((13, 8, 18))


@pytest.mark.parametrize("runs_alone", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(runs_alone):
    """In studies whose runs differ by utterance, much or little; normal scores, so that the truth is known."""
    rng, (dialogues, length, folds, seeds) = np.random.default_rng(0), (35, 10, 5, 3)
    of_utterance, of_run = (0.1, 0.6) if runs_alone else (0.2, 0.6)
    rows = dialogues * length
    fold = np.arange(rows) // (rows // folds)
    weights = np.full(rows, folds / rows)
    tau, sigma = folds * of_utterance**2 / rows, of_run**2 * folds / rows
    truth = np.array([tau, sigma, tau * 0.45 + sigma / (folds * seeds)])
    held = np.zeros(3)
    for _ in range(300):
        z = of_utterance * rng.standard_normal(rows) + of_run * rng.standard_normal((seeds, rows))
        study = components(z, weights, fold, fold, rng.permutation(rows) % dialogues)
        found = power.variances(study, with_excess=False)
        error = power.standard_error(found * power.weights(study, NOW, 0.25)[:, None])
        ends = np.array([found[0], found[2], np.square(error)])
        held += (ends[:, 1] <= truth) & (truth <= ends[:, 2])
    assert (held > 300 * 0.74).all()
    assert (held[1:] < 300 * 0.86).all()


@pytest.mark.parametrize(("part", "df"), [(0, 150), (1, 4), (2, 45)])
def test_power_is_the_noncentral_ts_where_one_part_varies(part, df):
    parts = np.where(np.arange(3) == part, 0.007**2, 0)
    differences = np.array([0.0, 0.011, 0.023])
    found = power.power(parts, np.array([150, 4, 45]), differences, 0.05)
    assert found == pytest.approx([noncentral_t(d, 0.007, df) for d in differences], abs=0.01)


def test_power_is_how_often_the_test_finds_the_difference():
    """In simulated studies whose utterances and runs both matter."""
    rng, rows, folds, seeds = np.random.default_rng(0), 315, 5, 3
    fold, weights = np.arange(rows) // (rows // folds), np.full(rows, folds / rows)
    found = 0
    for _ in range(600):
        common = 0.12 * rng.standard_normal((seeds, folds))[:, fold]  # the luck of a run
        z = 0.13 + 0.5 * rng.standard_normal(rows) + common
        # folds share training data: their means go one way together, as q says
        z += math.sqrt(0.25 * folds * 0.5**2 / rows) * rng.standard_normal()
        found += components(z, weights, fold, fold, np.arange(rows)).test(0.25, with_excess=False).p < 0.05
    study = Components(
        difference=0, folds=5, seeds=3, units=rows, runs=0.12**2, utterances=folds * 0.5**2 / rows, excess=0
    )
    expected = power.power_with_range(study, NOW, np.array([0.13]), **SETTINGS)[0, 0]
    assert 0.4 < expected < 0.9
    assert found / 600 == pytest.approx(expected, abs=0.06)


def test_the_range_of_power_is_that_of_the_standard_errors_ends():
    parts = power.variances(STUDY, with_excess=False) * power.weights(STUDY, NOW, 0.25)[:, None]
    error, low, high = power.standard_error(parts)
    value, least, most = power.power_with_range(STUDY, NOW, np.array([0.041]), **SETTINGS)[:, 0]
    assert least < value < most
    for end, expected in ((high, least), (low, most)):
        scaled = parts[:, 0] * (end / error) ** 2
        assert power.power(scaled, np.array([16, 4, 10]), 0.041, 0.05) == pytest.approx(expected)


def test_only_data_and_a_little_folds_help_against_utterances():
    study = replace(STUDY, runs=0.0)
    seeds, folds, data = (
        power.power_with_range(study, plan, np.array([0.05]), **SETTINGS)[0, 0]
        for plan in (Plan(folds=5, seeds=20), Plan(folds=10, seeds=3), Plan(folds=5, seeds=3, data=4))
    )
    now = power.power_with_range(study, NOW, np.array([0.05]), **SETTINGS)[0, 0]
    assert seeds == pytest.approx(now, abs=0.001)
    assert now < folds < now + 0.1 < data


def test_the_rule_stops_below_a_tenth():
    stop = "stop adding seeds: add folds or data"
    assert power.advice(np.array([0.89, 0.0, 0.11])) == "more seeds help"
    assert power.advice(np.array([0.0, 0.0, 1.0])) == "more seeds help"
    assert power.advice(np.array([0.5, 0.41, 0.09])) == stop
    assert power.advice(np.zeros(3)) == stop


def test_enough_is_a_power_of_eight_tenths():
    assert power.fewest([0.5, 0.79, 0.8, 0.99]) == "10"  # of 3, 5, 10 and 20
    assert power.fewest([0.5, 0.6, 0.7, 0.79]) == "none"


def test_the_page_says_what_the_error_is_made_of_in_points():
    # SE² = 9 · .45 + 4 / 15 = 4.317 points²; the runs' share .267 / 4.317.
    row = cells(page(), "Self T+V")
    assert row[0] == "Self T+V − Cross T+V"
    assert [cell.partition(" ")[0] for cell in row[1:4]] == ["2.00", "3.00", "2.08"]
    ends = 2 / np.sqrt(stats.chi2.ppf([0.9, 0.1], 10) / 10)
    assert row[1] == f"2.00 ({ends[0]:.2f} to {ends[1]:.2f})"
    assert row[4:] == [".062", "stop adding seeds: add folds or data"]
    assert "5 folds × 3 seeds" in page()
    # With an excess of 1 point² SE² is .45 more, the share .267 / 4.767.
    row = cells(page(with_excess=True), "Self T+V")
    assert [cell.partition(" ")[0] for cell in row[1:5]] == ["2.00", "3.00", "1.00", "2.18"]
    assert row[5] == ".056"
    assert cells(page(replace(STUDY, utterances=0.0)), "Self T+V")[2].startswith("0 (0 to ")
    assert cells(page(replace(STUDY, utterances=0.0, runs=0.0)), "Self T+V")[1:5] == ["0", "0", "0", ".000"]


def test_the_page_says_power_for_differences_in_points():
    study = replace(STUDY, units=151, runs=0.0, utterances=0.01**2)  # SE .01 · √.45, now and with any seeds
    text = page(study, (1.0, 2.0))
    one, two = text.split("to see 1 point\n")[1].split("to see 2 points\n")
    for part, difference in ((one, 0.01), (two, 0.02)):
        row = cells(part, "× 1 | 5 |")
        expected = noncentral_t(difference, 0.01 * math.sqrt(0.45), 150)
        assert [float(cell.partition(" ")[0]) for cell in row[2:6]] == pytest.approx([expected] * 4, abs=0.005)
        assert row[6] == ("3" if expected >= 0.8 else "none")
        row = cells(part, "× 4 | 10 |")  # τ'² = τ² · 2/4, (1/10 + 1/9)
        expected = noncentral_t(difference, 0.01 * math.sqrt((1 / 10 + 1 / 9) / 2), 603)
        assert float(row[2].partition(" ")[0]) == pytest.approx(expected, abs=0.005)
    rows = [line.split(" | ")[:2] for line in two.splitlines() if line.startswith("| ×")]
    assert rows == [[f"| × {data}", str(folds)] for data in (1, 2, 4) for folds in (5, 10)]


@pytest.mark.filterwarnings("error")
def test_a_study_that_is_sure_sees_every_difference():
    sure = replace(STUDY, runs=0.0, utterances=0.0)
    certain = "1.000 (1.000 to 1.000)"
    assert cells(page(sure).split("to see")[1], "× 1 | 5 |")[2:] == [certain] * 4 + ["3"]


@pytest.mark.parametrize("name", ["folds", "seeds", "units"])
def test_what_cannot_be_told_apart_is_refused(name):
    with pytest.raises(UserError, match=r"at least 2 folds, 2 seeds and 2 dialogues, .* has (1, 3|5, 1|5, 3) and"):
        page(replace(STUDY, **{name: 1}, utterances=math.nan))


def test_pairs_may_be_repeated_and_points_are_above_0():
    options = power.arguments(["--pair", "a", "b", "--pair", "c", "d", "--points", "1", "2.5"])
    assert (options.pair, options.points, options.metric) == ([["a", "b"], ["c", "d"]], [1, 2.5], None)
    assert power.arguments([]).pair is None
    for wrong in ("0", "-1", "nan", "101"):
        with pytest.raises(UserError, match=f"must be above 0 and at most 100, but is {wrong}"):
            power.arguments([f"--points={wrong}"])
