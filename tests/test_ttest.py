"""The comparisons of two models: hand-worked numbers, scipy and baycomp, properties, degenerate input."""

import math

import baycomp
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from stages.common import scores
from stages.common.params import Compare
from stages.ttest import bootstrap, comparisons, drawing, report, student

SETTINGS = Compare(pairs="auto", margin=0.01, alpha=0.05)
CLASSES = ["x", "y", "z"]


def cdf_of_three_degrees(t: float) -> float:
    """Student's distribution for df = 3 in closed form."""
    u = t / math.sqrt(3)
    return 0.5 + (u / (1 + u * u) + math.atan(u)) / math.pi


def test_the_corrected_test_by_hand():
    # Differences 2, 4, 0, 2 points: mean 2, s² = 8/3; q = max(.2, 1/(2 - 1)) = 1; SE² = 8/3 · (1/4 + 1) = 10/3; df = 3.
    d = np.array([[0.02, 0.04], [0.00, 0.02]])
    test = student.corrected(d, student.correction(2, 0.2))
    t = 2 / math.sqrt(10 / 3)
    assert test.t == pytest.approx(t)
    assert test.p == pytest.approx(2 * (1 - cdf_of_three_degrees(t)))
    # TOST with a margin of 5 points: t = 7/SE against -5 and -3/SE against +5; the latter decides.
    assert test.p_equivalence(0.05) == pytest.approx(cdf_of_three_degrees(-3 / math.sqrt(10 / 3)))
    # Fold means 3 and 1: mean 2, s = √2, SE = 1, t = 2, df = 1 (Cauchy).
    means = student.fold_means(d)
    assert means.t == pytest.approx(2)
    assert means.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)


def test_the_correction_is_what_folds_imply_or_more():
    assert student.correction(5, 15 / 80) == 0.25
    assert student.correction(10, 0.25) == 0.25
    assert math.isnan(student.correction(1, 0.25))


def test_holm_by_hand():
    # Of three tests .01 · 3, then .03 · 2, then .04 · 1, which may not be below the one before.
    np.testing.assert_allclose(comparisons.holm(pd.Series([0.04, 0.01, np.nan, 0.03])), [0.06, 0.03, np.nan, 0.06])
    assert np.isnan(comparisons.holm(pd.Series([np.nan, np.nan]))).all()


@pytest.mark.parametrize(("folds", "seeds"), [(5, 10), (5, 3), (2, 7), (11, 1)])
def test_the_tests_are_scipys_and_baycomps(folds, seeds):
    rng = np.random.default_rng(folds)
    a, b = rng.normal(0.6, 0.02, (folds, seeds)), rng.normal(0.61, 0.03, (folds, seeds))
    row = comparisons.tests(a, b, SETTINGS, 0.1)
    for names, theirs in {
        ("t_uncorrected_unpaired", "p_uncorrected_unpaired"): stats.ttest_ind(a.ravel(), b.ravel()),
        ("t_uncorrected_paired", "p_uncorrected_paired"): stats.ttest_rel(a.ravel(), b.ravel()),
        ("t_fold_means", "p_fold_means"): stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)),
    }.items():
        assert [row[name] for name in names] == pytest.approx(list(theirs), rel=1e-12, abs=1e-12)
    q = max(0.1, 1 / (folds - 1))
    assert row["q"] == q
    posterior = baycomp.CorrelatedTTest(b.ravel(), a.ravel(), 0.01, runs=seeds)  # baycomp's difference is y - x
    if q == 1 / (folds - 1):
        assert row["se"] == pytest.approx(math.sqrt(posterior.var), rel=1e-12)
        ours = [row["posterior_b"], row["posterior_equal"], row["posterior_a"]]
        assert ours == pytest.approx(list(posterior.probs()), rel=1e-12, abs=1e-12)
        theirs = baycomp.two_on_single(b.ravel(), a.ravel(), runs=seeds)
        assert row["p_corrected"] == pytest.approx(2 * min(theirs), rel=1e-10)
    assert row["d_z"] == pytest.approx((a - b).mean() / (a - b).std(ddof=1), rel=1e-12)


shapes = st.tuples(st.integers(1, 6), st.integers(1, 4))
shares = st.integers(0, 60).map(lambda right: right / 60)
pairs_of_scores = shapes.flatmap(lambda shape: st.tuples(*[arrays(float, shape, elements=shares)] * 2))
MIRRORED = {"mean_a": "mean_b", "posterior_a": "posterior_b"}
INTERVALS = {"low": "high", "equivalence_low": "equivalence_high"}
SIGNED = ("difference", "d_z", "t_corrected", "t_fold_means", "t_uncorrected_unpaired", "t_uncorrected_paired")


@given(pairs_of_scores)
def test_swapping_mirrors_every_statistic(pair):
    row, swapped = (comparisons.tests(a, b, SETTINGS, 0.2) for a, b in (pair, pair[::-1]))
    expected = dict(row)
    for one, other in MIRRORED.items():
        expected |= {one: row[other], other: row[one]}
    for one, other in INTERVALS.items():
        expected |= {one: -row[other], other: -row[one]}
    expected |= {name: -row[name] for name in SIGNED}
    assert swapped == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(pairs_of_scores, st.integers(1, 99).map(lambda percent: percent / 100))
def test_a_constant_added_to_both_changes_nothing_else(pair, constant):
    a, b = pair
    row = comparisons.tests(a, b, SETTINGS, 0.2)
    moved = comparisons.tests(a + constant, b + constant, SETTINGS, 0.2)
    moved |= {name: moved[name] - constant for name in ("mean_a", "mean_b")}
    assert moved == pytest.approx(row, rel=1e-6, abs=1e-9, nan_ok=True)


@given(pairs_of_scores, st.floats(0.001, 0.2), st.floats(0.01, 0.2))
def test_probabilities_and_the_verdict_follow_from_the_columns(pair, margin, alpha):
    settings = Compare(pairs="auto", margin=margin, alpha=alpha)
    row = comparisons.tests(*pair, settings, 0.2)
    for name, value in row.items():
        if name.startswith(("p_", "posterior_")):
            assert math.isnan(value) or 0 <= value <= 1, name
    if row["folds"] == 1:
        assert math.isnan(row["p_corrected"])
        assert math.isnan(row["p_equivalence"])
        return
    assert row["posterior_a"] + row["posterior_equal"] + row["posterior_b"] == pytest.approx(1)
    assume(abs(row["p_equivalence"] - alpha) > 1e-9)
    inside = -margin < row["equivalence_low"] and row["equivalence_high"] < margin
    assert (row["p_equivalence"] < alpha) == inside
    assume(abs(row["p_corrected"] - alpha) > 1e-9)
    assert (row["p_corrected"] < alpha) == (row["low"] > 0 or row["high"] < 0)
    verdict = comparisons.verdict(pd.Series(row | {"p_holm": row["p_corrected"]}), alpha)
    assert ("equivalent" in verdict) == inside
    assert ("A better" in verdict) == (row["low"] > 0)
    assert ("B better" in verdict) == (row["high"] < 0)
    assert (verdict == "undecided") == (not inside and row["low"] <= 0 <= row["high"])


def test_the_verdict_is_that_of_the_family():
    row = {"difference": 0.02, "p_corrected": 0.01, "p_holm": 0.09, "p_equivalence": 0.6}
    assert comparisons.verdict(pd.Series(row), 0.05) == "undecided"
    assert comparisons.verdict(pd.Series(row), 0.1) == "A better"
    assert comparisons.verdict(pd.Series(row | {"difference": -0.02, "p_equivalence": 0.01}), 0.1) == (
        "B better, equivalent"
    )


IDENTICAL = np.array([[0.5, 0.6], [0.7, 0.4]])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # the same runs: surely no difference
        (
            IDENTICAL,
            IDENTICAL,
            {"p_corrected": 1, "p_fold_means": 1, "p_equivalence": 0, "posterior_equal": 1, "d_z": 0},
        ),
        # .3 - .1 and .2 - 0 differ by rounding only: a sure difference of .2
        (
            np.array([[0.3, 0.2], [0.3, 0.2]]),
            np.array([[0.1, 0.0], [0.1, 0.0]]),
            {"p_corrected": 0, "p_fold_means": 0, "p_equivalence": 1, "posterior_a": 1, "low": 0.2, "high": 0.2}
            | {"p_uncorrected_paired": 0, "t_corrected": np.inf},
        ),
        # a sure difference below the margin
        (IDENTICAL, IDENTICAL + 1 / 256, {"p_corrected": 0, "p_equivalence": 0, "t_corrected": -np.inf}),
        # both constant
        (np.full((2, 2), 0.5), np.full((2, 2), 0.5), {"p_uncorrected_unpaired": 1, "t_uncorrected_unpaired": 0}),
        (np.full((2, 2), 0.5), np.full((2, 2), 0.75), {"p_uncorrected_unpaired": 0, "t_uncorrected_unpaired": -np.inf}),
        # one fold: only what needs no second one
        (
            IDENTICAL[:1],
            IDENTICAL[1:],
            {"p_corrected": np.nan, "p_fold_means": np.nan, "low": np.nan, "p_equivalence": np.nan, "q": np.nan}
            | {"posterior_a": np.nan, "difference": 0.0, "p_uncorrected_paired": 1.0},
        ),
        # one run
        (
            np.array([[0.5]]),
            np.array([[0.25]]),
            {"p_uncorrected_unpaired": np.nan, "p_uncorrected_paired": np.nan, "d_z": np.nan, "difference": 0.25},
        ),
        # a class that no fold tests
        (np.empty((0, 3)), np.empty((0, 3)), {"folds": 0}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_runs_have_defined_answers(a, b, expected):
    row = comparisons.tests(a, b, SETTINGS, 0.2)
    assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def made(shifts: dict[str, float], folds: int, seeds: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and scores of variants that are right for a share .5 + shift of 40 utterances a fold."""
    rng = np.random.default_rng(seed)
    actual = {fold: rng.choice(CLASSES, 40) for fold in range(1, folds + 1)}
    rows = []
    for name, shift in shifts.items():
        for fold, run in ((f, s) for f in actual for s in range(seeds)):
            right = rng.random(40) < 0.5 + shift
            wrong = np.roll(CLASSES, 1)[[CLASSES.index(c) for c in actual[fold]]]
            rows.append(
                pd.DataFrame(
                    {
                        "variant": name,
                        "seed": run,
                        "fold": fold,
                        "utterance_id": [f"{fold}-{i}" for i in range(40)],
                        "actual": actual[fold],
                        "predicted": np.where(right, actual[fold], wrong),
                    }
                )
            )
    predictions = pd.concat(rows, ignore_index=True)
    return predictions, scores.run_scores(predictions, CLASSES)


def dialogues(predictions: pd.DataFrame) -> pd.Series:
    """Eight utterances of each fold, of all folds together, to a dialogue."""
    names = predictions["utterance_id"].unique()
    return pd.Series([int(name.split("-")[1]) // 8 for name in names], index=names)


def compared(predictions, runs, pairs) -> pd.DataFrame:
    draws = bootstrap.draws(predictions, dialogues(predictions), CLASSES)
    return comparisons.compare(runs, pairs, SETTINGS, test_to_train=0.2, draws=draws)


def test_the_table_has_families_and_follows_the_order_of_nothing():
    predictions, runs = made({"self_tv": 0.4, "cross_tv": 0.0, "self_ta": 0.02, "cross_ta": 0.0}, 5, 3)
    pairs = [("self_tv", "cross_tv"), ("self_ta", "cross_ta")]
    table = compared(predictions, runs, pairs)
    assert list(table.columns) == list(comparisons.COLUMNS)
    assert table.groupby("family").size().to_dict() == {"balanced_accuracy": 2, "accuracy": 2, "recall": 6}
    shuffled = compared(predictions, runs.sample(frac=1, random_state=1), pairs)
    pd.testing.assert_frame_equal(table, shuffled)
    for family, rows in table.groupby("family"):
        assert (rows["p_holm"] >= rows["p_corrected"]).all()
        smallest = rows["p_corrected"].min()
        assert rows["p_holm"].min() == pytest.approx(min(1, len(rows) * smallest)), family
    first = table[(table["a"] == "self_tv") & (table["score"] == "accuracy")].iloc[0]
    assert first["verdict"] == "A better"
    text = report.as_markdown(table, SETTINGS, "made up", "dialogue")
    assert "UWA (accuracy): **Self T+V is better** (+" in text.splitlines()[4]
    assert "uncorrected" in text
    swapped = compared(predictions, runs, [pair[::-1] for pair in pairs])
    assert list(swapped["verdict"]) == [verdict.replace("A", "B") for verdict in table["verdict"]]
    np.testing.assert_allclose(swapped["bootstrap_low"], -table["bootstrap_high"], atol=1e-12)


def test_equivalence_in_words():
    predictions, _ = made({"self_tv": 0.1, "cross_tv": 0.1}, 5, 2)
    twin = predictions[predictions["variant"] == "self_tv"].assign(variant="cross_tv")
    predictions = pd.concat([predictions[predictions["variant"] == "self_tv"], twin])
    table = compared(predictions, scores.run_scores(predictions, CLASSES), [("self_tv", "cross_tv")])
    assert (table["verdict"] == "equivalent").all()
    assert (table[["bootstrap_low", "bootstrap_high"]] == 0).all(axis=None)
    assert "**equivalent within ± 1 point** (+0.0)" in report.as_markdown(table, SETTINGS, "made up", "dialogue")
    tiny = table.assign(verdict="B better, equivalent")
    assert "**Cross T+V is better, by less than 1 point**" in report.as_markdown(tiny, SETTINGS, "made up", "dialogue")


@pytest.mark.parametrize(("folds", "seeds", "pairs"), [(1, 1, True), (1, 3, True), (2, 1, True), (5, 2, False)])
@pytest.mark.filterwarnings("error")
def test_small_studies_are_reported_and_drawn(folds, seeds, pairs):
    predictions, runs = made({"self_tv": 0.1, "cross_tv": 0.1}, folds, seeds)
    table = compared(predictions, runs, [("self_tv", "cross_tv")] if pairs else [])
    assert set(table["verdict"]) <= {"undecided"} if folds == 1 else True
    text = report.as_markdown(table, SETTINGS, "made up", "dialogue")
    assert "nan" not in text
    assert table["bootstrap_low"].isna().all() == (seeds == 1 or not pairs)
    assert ("no pair of variants" in text) == (not pairs)
    for figure, rows in (
        (drawing.differences(table, SETTINGS, "made up"), ["Self T+V − Cross T+V"] if pairs else []),
        (drawing.runs(runs, ["self_tv", "cross_tv"], "made up"), ["Self T+V", "Cross T+V"]),
    ):
        figure.draw_without_rendering()
        assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == rows


def test_the_bootstrap_draws_whole_dialogues_else_speakers_else_utterances():
    utterances = pd.DataFrame(
        {
            "utterance_id": ["u1", "u2", "u3", "u4"],
            "speaker": ["F", "F", "F", "M"],
            "session": ["1", "2", "1", "2"],
            "dialogue": ["d", "d", "d", "d"],
        }
    )
    unit, numbers = bootstrap.units(utterances)
    assert (unit, numbers.to_dict()) == ("dialogue", {"u1": 0, "u2": 1, "u3": 0, "u4": 1})
    unit, numbers = bootstrap.units(utterances.assign(dialogue=["d", "d", "d", ""]))
    assert (unit, numbers.to_dict()) == ("speaker", {"u1": 0, "u2": 0, "u3": 0, "u4": 1})
    unit, numbers = bootstrap.units(utterances.assign(dialogue="", speaker=""))
    assert (unit, numbers.nunique()) == ("utterance", 4)


def test_a_draw_is_the_mean_score_of_the_drawn_rows(monkeypatch):
    """Against drawing the rows themselves and scoring them as all predictions are."""
    monkeypatch.setattr(bootstrap, "DRAWS", 7)
    predictions, _ = made({"self_tv": 0.3, "cross_tv": 0.0}, 3, 2)
    predictions = predictions[(predictions["fold"] != 2) | (predictions["actual"] != "z")]  # z is not tested there
    unit_of = dialogues(predictions)
    draws = bootstrap.draws(predictions.sample(frac=1, random_state=0), unit_of, CLASSES)
    rng = np.random.default_rng(bootstrap.SEED)
    of_units = rng.multinomial(5, [0.2] * 5, size=7)
    of_seeds = np.stack([rng.multinomial(2, [0.5] * 2, size=7) for _ in range(3)])
    order = predictions.sample(frac=1, random_state=0)["seed"].unique()
    for draw in range(7):
        times = of_units[draw][unit_of.loc[predictions["utterance_id"]]]
        rows = predictions.loc[predictions.index.repeat(times)]
        runs = scores.run_scores(rows, CLASSES).set_index(["variant", "fold", "seed"]).sort_index()
        for metric, table in draws.items():
            for name in ("self_tv", "cross_tv"):
                wide = runs.loc[name, metric].unstack("seed")[order]
                expected = np.nanmean((wide * of_seeds[:, draw]).sum(axis=1, skipna=False) / 2)
                assert table.loc[draw, name] == pytest.approx(expected, rel=1e-12), (metric, name)
