"""The comparisons of two models: hand-worked numbers, scipy and baycomp, properties, degenerate input."""

import math
from dataclasses import replace
from itertools import product

import baycomp
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from stages.common import scores, task
from stages.common.metrics import METRICS
from stages.common.params import Compare
from stages.ttest import analysis, bootstrap, comparisons, design, drawing, report, student
from stages.ttest.answers import Answers, arrange
from stages.ttest.components import components
from stages.ttest.design import Design
from stages.ttest.verdict import Verdict, amount, decide

SETTINGS = Compare(pairs="auto", margin=0.01, alpha=0.05)
CLASSES = ["x", "y", "z"]
TASK = task.classes(CLASSES)
SCORES = [name for name, metric in METRICS.items() if metric.task == "classes"]
NOBODY = pd.Series(dtype=int)


def statistics(a: np.ndarray, b: np.ndarray, settings: Compare = SETTINGS, test_to_train: float = 0.2) -> dict:
    """The statistics of a score that is no sum."""
    return comparisons.tests(
        a, b, None, settings, Design(test_to_train=test_to_train, units=NOBODY), "macro_f1", with_excess=False
    )


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
    row = statistics(a, b, test_to_train=0.1)
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
SIGNED = ("difference", "d_z", "t", "t_corrected", "t_fold_means", "t_uncorrected_unpaired", "t_uncorrected_paired")


@given(pairs_of_scores)
def test_swapping_mirrors_every_statistic(pair):
    row, swapped = (statistics(a, b) for a, b in (pair, pair[::-1]))
    expected = dict(row)
    for one, other in MIRRORED.items():
        expected |= {one: row[other], other: row[one]}
    for one, other in INTERVALS.items():
        expected |= {one: -row[other], other: -row[one]}
    expected |= {name: -row[name] for name in SIGNED}
    expected |= {"superiority": 1 - row["superiority"]}
    expected |= {"superiority_low": 1 - row["superiority_high"], "superiority_high": 1 - row["superiority_low"]}
    assert swapped == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(pairs_of_scores, st.integers(1, 99).map(lambda percent: percent / 100))
def test_a_constant_added_to_both_changes_nothing_else(pair, constant):
    a, b = pair
    row = statistics(a, b)
    moved = statistics(a + constant, b + constant)
    moved |= {name: moved[name] - constant for name in ("mean_a", "mean_b")}
    assert moved.pop("test") == row.pop("test")
    assert moved == pytest.approx(row, rel=1e-6, abs=1e-9, nan_ok=True)


@given(pairs_of_scores, st.floats(0.001, 0.2), st.floats(0.01, 0.2))
def test_probabilities_and_the_verdict_follow_from_the_columns(pair, margin, alpha):
    settings = Compare(pairs="auto", margin=margin, alpha=alpha)
    row = statistics(*pair, settings)
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
    verdict = decide(row["difference"], row["p"], row["p_equivalence"], alpha, lower_is_better=False)
    assert verdict.equivalent == inside
    assert verdict.better == ("a" if row["low"] > 0 else "b" if row["high"] < 0 else None)
    assert row["smallest_margin"] == pytest.approx(max(-row["equivalence_low"], row["equivalence_high"]))


def test_the_smallest_margin_is_where_equivalence_begins():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.6, 0.02, (5, 3)), rng.normal(0.61, 0.03, (5, 3))
    smallest = statistics(a, b)["smallest_margin"]
    for factor, holds in ((1.001, True), (0.999, False)):
        row = statistics(a, b, Compare(pairs="auto", margin=smallest * factor, alpha=0.05))
        assert (row["p_equivalence"] < 0.05) == holds


@pytest.mark.parametrize(
    ("difference", "p", "p_equivalence", "lower", "expected", "text"),
    [
        (0.02, 0.0499, 0.6, False, Verdict("a"), "A better"),
        (-0.02, 0.0499, 0.6, False, Verdict("b"), "B better"),
        (-0.02, 0.0499, 0.6, True, Verdict("a"), "A better"),
        (0.02, 0.05, 0.6, False, Verdict(), "undecided"),  # at alpha is not below it
        (0.02, 0.6, 0.05, False, Verdict(), "undecided"),
        (0.02, 0.6, 0.0499, False, Verdict(None, True), "equivalent"),
        (-0.002, 0.01, 0.01, False, Verdict("b", True), "B better, equivalent"),
        (0.02, np.nan, np.nan, False, Verdict(), "undecided"),
    ],
)
def test_verdicts(difference, p, p_equivalence, lower, expected, text):
    verdict = decide(difference, p, p_equivalence, 0.05, lower_is_better=lower)
    assert verdict == expected
    assert str(verdict) == text
    assert verdict.mirrored == decide(-difference, p, p_equivalence, 0.05, lower_is_better=lower)
    sentence = verdict.sentence("first", "second", "1 point")
    assert (
        sentence
        == {
            "A better": "first is better",
            "B better": "second is better",
            "undecided": "undecided",
            "equivalent": "equivalent within ± 1 point",
            "B better, equivalent": "second is better, by less than 1 point",
        }[text]
    )


def test_the_verdict_is_that_of_the_family():
    row = pd.Series({"score": "accuracy", "difference": 0.02, "p": 0.01, "p_equivalence": 0.01})
    alone = pd.concat([row, pd.Series({"p_holm": 0.06, "p_equivalence_holm": 0.06})])
    assert comparisons.decide(alone, 0.05) == Verdict()
    assert comparisons.decide(alone, 0.07) == Verdict("a", True)


def test_a_difference_of_just_the_margin_is_not_within_it():
    sure = student.Student(location=np.array(0.01), scale=np.array(0.0), df=9)
    assert sure.p_equivalence(0.01) == 0.5
    assert [float(p) for p in sure.posterior(0.01)] == [0, 1, 0]
    assert float(student.Student(location=np.array(0.0099), scale=np.array(0.0), df=9).p_equivalence(0.01)) == 0


def test_amounts():
    assert [amount(size) for size in (0.01, 0.02, 0.005)] == ["1 point", "2 points", "0.5 points"]
    assert amount(0.01, "negative_log_likelihood") == "1 × 0.01 nat"


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
    row = statistics(a, b)
    assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def made(shifts: dict[str, float], folds: int, seeds: int, seed: int = 0) -> pd.DataFrame:
    """Predictions of variants that are right for a share .5 + shift of 40 utterances a fold, with probabilities."""
    rng = np.random.default_rng(seed)
    actual = {fold: rng.choice(CLASSES, 40) for fold in range(1, folds + 1)}
    rows = []
    for name, shift in shifts.items():
        for fold, run in product(actual, range(seeds)):
            right = rng.random(40) < 0.5 + shift
            wrong = np.roll(CLASSES, 1)[[CLASSES.index(c) for c in actual[fold]]]
            table = {
                "variant": name,
                "seed": run,
                "fold": fold,
                "utterance_id": [f"{fold}-{i}" for i in range(40)],
                "actual": actual[fold],
                "predicted": np.where(right, actual[fold], wrong),
            }
            noise = rng.dirichlet(np.ones(3), 40).astype(np.float32) / 2
            for c, label in enumerate(CLASSES):
                table[f"probability_{label}"] = noise[:, c] + (table["predicted"] == label) * np.float32(0.5)
            rows.append(pd.DataFrame(table))
    return pd.concat(rows, ignore_index=True)


def dialogues(predictions: pd.DataFrame) -> Design:
    """Eight utterances of each fold, of all folds together, to a dialogue."""
    names = predictions["utterance_id"].unique()
    units = pd.Series([int(name.split("-")[1]) // 8 for name in names], index=names)
    return Design(test_to_train=0.2, unit="dialogue", units=units)


def compared(
    predictions: pd.DataFrame, pairs: list[tuple[str, str]], shape: Design | None = None, settings: Compare = SETTINGS
) -> analysis.Analysis:
    return analysis.analyse(arrange(predictions, TASK), pairs, settings, shape or dialogues(predictions), "made up")


def page(found: analysis.Analysis, table: pd.DataFrame | None = None) -> str:
    shown = found.pairs if table is None else table
    return report.as_markdown(shown, found.settings, found.corpus, found.design, found.ranks)


PAIRS = [("self_tv", "cross_tv"), ("self_ta", "cross_ta")]
SHIFTS = {"self_tv": 0.4, "cross_tv": 0.0, "self_ta": 0.02, "cross_ta": 0.0}


@pytest.fixture(scope="module")
def found() -> analysis.Analysis:
    return compared(made(SHIFTS, 5, 3), PAIRS)


def test_the_table_has_families_and_follows_the_order_of_nothing(found):
    table = found.pairs
    assert list(table.columns) == list(comparisons.COLUMNS)
    assert table.groupby("family").size().to_dict() == {"balanced_accuracy": 2, "accuracy": 2, "recall": 6}
    shuffled = made(SHIFTS, 5, 3).sample(frac=1, random_state=1)
    shuffled = pd.concat([shuffled[shuffled["variant"] == name] for name in SHIFTS])
    pd.testing.assert_frame_equal(table, compared(shuffled, PAIRS).pairs)
    for p in ("p", "p_equivalence"):
        for family, rows in table.groupby("family"):
            assert (rows[f"{p}_holm"] >= rows[p]).all()
            assert rows[f"{p}_holm"].min() == pytest.approx(min(1, len(rows) * rows[p].min())), (p, family)
    first = table[(table["a"] == "self_tv") & (table["score"] == "accuracy")].iloc[0]
    assert first["verdict"] == Verdict("a")


def test_swapping_models_mirrors_the_verdicts(found):
    swapped = compared(made(SHIFTS, 5, 3), [pair[::-1] for pair in PAIRS]).pairs
    assert list(swapped["verdict"]) == [verdict.mirrored for verdict in found.pairs["verdict"]]
    for one, other in (("bootstrap_low", "bootstrap_high"), ("low", "high")):
        np.testing.assert_allclose(swapped[one], -found.pairs[other], atol=1e-12)
    np.testing.assert_allclose(swapped["superiority"], 1 - found.pairs["superiority"], atol=1e-12)


def scored(predictions: pd.DataFrame, name: str, score: str) -> np.ndarray:
    """[folds, seeds], from scoring each run's rows."""
    runs = scores.run_scores(predictions[predictions["variant"] == name], TASK)
    return runs.pivot(index="fold", columns="seed", values=score).dropna(how="all").to_numpy()


def test_each_column_is_that_of_the_runs_scores():
    """Folds and seeds differ in number, one fold tests no z, and n_test / n_train is above 1 / (folds - 1)."""
    predictions = made({"self_tv": 0.2, "cross_tv": 0.0}, 5, 3)
    predictions = predictions[(predictions["fold"] != 2) | (predictions["actual"] != "z")]
    shape = replace(dialogues(predictions), test_to_train=0.3)
    table = compared(predictions, [("self_tv", "cross_tv")], shape).pairs.set_index("score")
    for score, folds in (("balanced_accuracy", 5), ("accuracy", 5), ("recall_x", 5), ("recall_z", 4)):
        a, b = (scored(predictions, name, score) for name in ("self_tv", "cross_tv"))
        row, d = table.loc[score], a - b
        assert d.shape == (row["folds"], row["seeds"]) == (folds, 3)
        assert row["q"] == max(0.3, 1 / (folds - 1))
        expected = {
            "mean_a": a.mean(),
            "mean_b": b.mean(),
            "difference": a.mean() - b.mean(),
            "p_fold_means": stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).pvalue,
            "p_uncorrected_unpaired": stats.ttest_ind(a.ravel(), b.ravel()).pvalue,
            "p_uncorrected_paired": stats.ttest_rel(a.ravel(), b.ravel()).pvalue,
            "t_corrected": d.mean() / (d.std(ddof=1) * math.sqrt(1 / d.size + row["q"])),
            "var_runs": d.var(axis=1, ddof=1).mean(),
            "superiority": (d > 0).mean() + (d == 0).mean() / 2,
        }
        assert row[list(expected)].to_dict() == pytest.approx(expected, rel=1e-10), score
        excess = d.mean(axis=1).var(ddof=1) - row["var_runs"] / 3 - row["var_utterances"]
        assert row["var_excess"] == pytest.approx(excess, rel=1e-10, abs=1e-15)
        assert row["units"] == 5
        assert row["test"] == comparisons.COMPONENTS
        folds_part = row["var_utterances"] * (1 / folds + row["q"])
        assert row["se"] ** 2 == pytest.approx(folds_part + row["var_runs"] / (3 * folds))


@pytest.mark.parametrize(("score", "by_class"), [("balanced_accuracy", True), ("accuracy", False), ("recall_y", False)])
def test_utterances_are_centred_by_class_where_classes_count_alike(score, by_class):
    predictions = made({"self_tv": 0.3, "cross_tv": 0.0}, 4, 3, seed=5)
    first = predictions.groupby(["variant", "utterance_id"])["predicted"].transform("first")
    answers = arrange(predictions.assign(predicted=first), TASK)  # all seeds alike: only utterances vary
    unit = np.arange(len(answers.actual)) // 7
    found = comparisons.Differences(answers, score, unit).components("self_tv", "cross_tv")
    own = answers.actual == 1 if score == "recall_y" else np.ones(len(unit), bool)
    right = (answers.predicted == answers.actual)[..., own].astype(float)
    fold, label = answers.fold[own], answers.actual[own]
    weights = np.concatenate([scores.weights(score, label[fold == k]) for k in range(4)])
    stratum = label if by_class else np.zeros(len(label), int)
    expected = components(right[0] - right[1], weights, fold, stratum, unit[own])
    assert vars(found) == pytest.approx(vars(expected), rel=1e-12)
    assert found.utterances > 0
    other = components(right[0] - right[1], weights, fold, fold, unit[own])
    assert other.utterances != pytest.approx(found.utterances, rel=1e-6)


def test_which_test_the_verdict_follows():
    predictions = made({"self_tv": 0.2, "cross_tv": 0.0}, 4, 3)
    settings = Compare(pairs="auto", metrics=SCORES)
    table = compared(predictions, PAIRS[:1], settings=settings).pairs.set_index("score")
    resampled = table.index[table["test"] == comparisons.RESAMPLED]
    assert set(resampled) == {"weighted_f1", "macro_f1", "calibration_error"}
    assert (table.loc[resampled, "p"] == table.loc[resampled, "p_corrected"]).all()
    sums = table.drop(index=resampled)
    assert (sums["test"] == comparisons.COMPONENTS).all()
    assert (sums["p"] != sums["p_corrected"]).all()
    left_out = compared(predictions, PAIRS[:1], replace(dialogues(predictions), left_out="speaker")).pairs
    assert (left_out["test"] == comparisons.WITH_EXCESS).all()
    assert (left_out["p"] == left_out["p_with_excess"]).all()
    np.testing.assert_allclose(
        left_out.set_index("score")["p_with_excess"][list(SETTINGS.metrics)],
        sums["p_with_excess"][list(SETTINGS.metrics)],
    )
    repeated = compared(predictions, PAIRS[:1], replace(dialogues(predictions), repeats=2)).pairs
    assert (repeated["test"] == comparisons.RESAMPLED).all()
    assert (repeated["q"] == 1).all()  # two folds a partition
    one_seed = compared(predictions[predictions["seed"] == 0], PAIRS[:1]).pairs
    assert (one_seed["test"] == comparisons.RESAMPLED).all()
    assert one_seed["var_runs"].isna().all()


def test_the_lower_the_better():
    predictions = made({"self_tv": 0.35, "cross_tv": -0.2}, 4, 3)
    settings = Compare(pairs="auto", metrics=["negative_log_likelihood", "brier_score", "accuracy"])
    found = compared(predictions, PAIRS[:1], settings=settings)
    table = found.pairs.set_index("score")
    assert (table["verdict"].iloc[:3] == Verdict("a")).all()
    assert (table["difference"].iloc[:2] < 0).all()
    assert (table[["superiority", "posterior_a"]].iloc[:3] > 0.9).all(axis=None)
    assert (found.ranks.set_index("variant").loc["self_tv"] == 1).all()


def test_bootstrap_intervals_are_quantiles_of_the_draws_of_a_minus_b():
    predictions = made({"self_tv": 0.2, "cross_tv": 0.0}, 4, 3)
    answers, shape = arrange(predictions, TASK), dialogues(predictions)
    drawn = bootstrap.draws(answers, shape.numbers(answers.utterance_id), ["accuracy"])["accuracy"]
    settings = Compare(pairs="auto", metrics=["accuracy"], alpha=0.1)
    row = compared(predictions, PAIRS[:1], settings=settings).pairs.iloc[0]
    expected = np.quantile(drawn[:, 0] - drawn[:, 1], [0.05, 0.95])
    assert [row["bootstrap_low"], row["bootstrap_high"]] == pytest.approx(list(expected))
    assert row["bootstrap_low"] < row["difference"] < row["bootstrap_high"]


def test_superiority_by_hand():
    # Of four paired runs three are won, one is tied.
    share, low, high = bootstrap.superiority(np.array([[1.0, 0.0], [2.0, 3.0]]), 0.05)
    assert share == 3.5 / 4
    # The second fold is always won; the first gives 2, 1½ or 1 of its two: all draws lie in [3, 4] / 4.
    assert (low, high) == (3 / 4, 1)
    assert np.isnan(bootstrap.superiority(np.ones((3, 1)), 0.05)[1:]).all()


def test_the_best_by_hand():
    drawn = np.array([[0.5, 0.4, 0.1], [0.3, 0.3, 0.2], [0.1, 0.4, 0.2], [np.nan, 0.1, 0.1]])
    np.testing.assert_allclose(bootstrap.best(drawn, lower_is_better=False), [0.5, 0.5, 0])
    np.testing.assert_allclose(bootstrap.best(drawn, lower_is_better=True), [1 / 3, 0, 2 / 3])


def crafted(found: analysis.Analysis, **values) -> str:
    """The page with some columns of every row set."""
    table = found.pairs.copy()
    for name, value in values.items():
        table[name] = value
    return page(found, table)


def cell(text: str, section: str, column: str, row: int = 0) -> str:
    """A cell of the first table after a heading that has the column."""
    lines = text.partition(section)[2].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| ") and f"| {column} |" in line)
    titles, cells = ([own.strip() for own in lines[i].strip("|").split(" | ")] for i in (start, start + 2 + row))
    return cells[titles.index(column)]


def test_each_cell_of_the_page_is_its_columns(found):
    text = crafted(
        found,
        p=0.011,
        p_holm=0.022,
        p_equivalence=0.033,
        p_equivalence_holm=0.044,
        difference=0.0123,
        low=-0.01,
        high=0.03,
        smallest_margin=0.0345,
        posterior_a=0.5,
        posterior_equal=0.3,
        posterior_b=0.2,
        p_with_excess=0.055,
        p_corrected=0.066,
        p_fold_means=0.077,
        var_runs=0.0004,
        var_utterances=0.0009,
        var_excess=-0.0001,
        bootstrap_low=-0.02,
        bootstrap_high=0.04,
        equivalence_low=-0.005,
        equivalence_high=0.025,
        t=1.5,
        df=7.2,
        superiority=0.75,
        superiority_low=0.6,
        superiority_high=0.9,
    )
    section = "## UWA (accuracy)"
    expected = {
        "Models": "Self T+V − Cross T+V",
        "Difference (95 %)": "+1.2 [-1.0, +3.0]",
        "t (df)": "+1.50 (7)",
        "P": ".011",
        "P (Holm)": ".022",
        "P(A > B) (95 %)": ".750 [.600, .900]",
        "90 %": "[-0.5, +2.5]",
        "P (equivalence)": ".033",
        "Smallest margin": "3.5",
        "P(first better)": ".500",
        "P(within)": ".300",
        "P(second better)": ".200",
        "Runs": "2.0",
        "Utterances": "3.0",
        "Folds' excess": "−1.0",
        "P, with excess": ".055",
        "P, corrected resampled t": ".066",
        "P, fold means": ".077",
        "Bootstrap (95 %)": "[-2.0, +4.0]",
    }
    assert {name: cell(text, section, name) for name in expected} == expected
    assert cell(text.partition(section)[2], "Equivalence within", "P (Holm)") == ".044"
    assert "**Self T+V is better** (+1.2)" in text


def test_recalls_are_bold_by_the_corrected_p(found):
    assert "**+" not in crafted(found, p=0.01, p_holm=0.05, difference=0.02).partition("## Recall")[2]
    assert "**+2.0 (.049)**" in crafted(found, p=0.01, p_holm=0.049, difference=0.02).partition("## Recall")[2]


def test_first_and_second_in_the_table_are_a_and_b(found):
    for verdict, text in ((Verdict("a"), "first better"), (Verdict("b"), "second better")):
        table = found.pairs.assign(verdict=[verdict] * len(found.pairs))
        assert cell(page(found, table), "## UWA", "Verdict") == text
    table = found.pairs.assign(verdict=[Verdict("b", True)] * len(found.pairs))
    assert "**Cross T+V is better, by less than 1 point**" in page(found, table)


def test_what_parts_share_is_said(found):
    shared = replace(found, design=replace(found.design, shared={"speaker": 1.0, "session": 0.5, "dialogue": 0.0}))
    line = next(line for line in page(shared).splitlines() if line.startswith("Test utterances"))
    assert "100 % by speaker, 50 % by session, 0 % by dialogue" in line
    assert "of a new speaker" in line
    apart = replace(found, design=replace(found.design, shared={"speaker": 0.0}))
    assert "of a new speaker" not in page(apart)


def test_equivalence_in_words():
    predictions = made({"self_tv": 0.1}, 5, 2)
    twins = compared(pd.concat([predictions, predictions.assign(variant="cross_tv")]), PAIRS[:1])
    assert (twins.pairs["verdict"] == Verdict(None, True)).all()
    assert (twins.pairs[["bootstrap_low", "bootstrap_high"]] == 0).all(axis=None)
    assert "**equivalent within ± 1 point** (+0.0)" in page(twins)
    assert set(twins.ranks["accuracy"]) == {0.5}


@pytest.mark.parametrize(("folds", "seeds", "pairs"), [(1, 1, True), (1, 3, True), (2, 1, True), (5, 2, False)])
@pytest.mark.filterwarnings("error")
def test_small_studies_are_reported_and_drawn(folds, seeds, pairs, tmp_path):
    predictions = made({"self_tv": 0.1, "cross_tv": 0.1}, folds, seeds)
    settings = Compare(pairs="auto", metrics=SCORES)
    found = compared(predictions, PAIRS[:1] if pairs else [], settings=settings)
    table = found.pairs
    assert folds > 1 or set(table["verdict"]) <= {Verdict()}
    text = page(found)
    assert "nan" not in text
    assert table["bootstrap_low"].isna().all() == (seeds == 1 or not pairs)
    assert ("no pair of models" in text) == (not pairs)
    figure = drawing.differences(table, settings, "made up")
    figure.draw_without_rendering()
    rows = ["Self T+V − Cross T+V"] if pairs else []
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == rows
    found.write(tmp_path / "tables", tmp_path / "plots")
    assert {path.name for path in (tmp_path / "plots/pairs").iterdir()} == {f"{name}.png" for name in settings.metrics}
    written = pd.read_csv(tmp_path / "tables/ttest.csv")
    assert list(written["verdict"]) == [str(verdict) for verdict in table["verdict"]]


def test_the_matrix_shows_each_pair_from_both_sides(found):
    figure = drawing.matrix(found.every_pair, list(SHIFTS), "accuracy", "made up")
    texts = {text.get_position(): text.get_text().split("\n") for text in figure.axes[0].texts}
    row = found.every_pair.query("a == 'self_tv' and b == 'cross_tv' and score == 'accuracy'").iloc[0]
    assert len(texts) == 12
    assert texts[1, 0] == [f"{100 * row['difference']:+.1f}", "< .001", "▲"]
    assert texts[0, 1] == [f"{-100 * row['difference']:+.1f}", "< .001", "▼"]


def test_what_varies_independently():
    utterances = pd.DataFrame(
        {
            "utterance_id": ["u1", "u2", "u3", "u4"],
            "speaker": ["F", "F", "F", "M"],
            "session": ["1", "2", "1", "2"],
            "dialogue": ["d", "d", "d", "d"],
        }
    )
    unit, numbers = design.units(utterances)
    assert (unit, numbers.to_dict()) == ("dialogue", {"u1": 0, "u2": 1, "u3": 0, "u4": 1})
    unit, numbers = design.units(utterances.assign(dialogue=["d", "d", "d", ""]))
    assert (unit, numbers.to_dict()) == ("speaker", {"u1": 0, "u2": 0, "u3": 0, "u4": 1})
    unit, numbers = design.units(utterances.assign(dialogue="", speaker=""))
    assert (unit, numbers.nunique()) == ("utterance", 4)


def folds_of(parts: dict[str, list[str]]) -> pd.DataFrame:
    """part of u1 … u4 in each fold."""
    rows = [
        {"fold": fold, "utterance_id": f"u{i}", "part": part}
        for fold, own in enumerate(zip(*parts.values(), strict=True), start=1)
        for i, part in enumerate(own, start=1)
    ]
    return pd.DataFrame(rows)


def test_the_design_of_a_study():
    speakers = pd.DataFrame(
        {"utterance_id": ["u1", "u2", "u3", "u4"], "speaker": ["F", "F", "M", "M"], "session": "", "dialogue": ""}
    )
    by_speaker = {"u1": ["test", "train"], "u2": ["test", "dev"], "u3": ["train", "test"], "u4": ["dev", "test"]}
    found = design.of_study(folds_of(by_speaker), speakers)
    assert found.test_to_train == 2  # 4 tested, 2 trained on; 2 are for development
    assert (found.unit, found.left_out, found.repeats) == ("speaker", "speaker", 1)
    assert found.correction(2) == 2
    mixed = by_speaker | {"u2": ["train", "test"], "u3": ["test", "train"]}
    assert design.of_study(folds_of(mixed), speakers).left_out is None
    alone = speakers.assign(speaker=["A", "B", "C", "D"])  # a speaker an utterance: no fold leaves anybody out
    assert design.of_study(folds_of(by_speaker), alone).left_out is None
    repeated = design.of_study(folds_of(mixed).assign(repeat=[1] * 4 + [2] * 4), speakers)
    assert repeated.repeats == 2


def test_the_design_behind_predictions():
    tested = pd.DataFrame({"fold": [1, 1, 2, 2], "utterance_id": list("abcd"), "speaker": ["F", "F", "M", "M"]})
    found = design.of_predictions(tested, 0.4)
    assert (found.unit, found.left_out) == ("speaker", "speaker")
    assert found.test_to_train == 2 / 2  # a fold can train on no more than the two that it does not test
    assert design.of_predictions(tested, 2.5).test_to_train == 2.5
    assert design.of_predictions(tested.assign(fold=[1, 2, 1, 2]), 0).left_out is None
    assert design.of_predictions(tested.drop(columns="speaker"), 0).unit == "utterance"


def test_a_draw_is_the_mean_score_of_the_drawn_rows(monkeypatch):
    """Against drawing the rows themselves and scoring them as all predictions are."""
    monkeypatch.setattr(bootstrap, "DRAWS", 7)
    predictions = made({"self_tv": 0.3, "cross_tv": 0.0}, 3, 2)
    predictions = predictions[(predictions["fold"] != 2) | (predictions["actual"] != "z")]  # z is not tested there
    unit_of = dialogues(predictions).units
    answers: Answers = arrange(predictions, TASK)
    metrics = SCORES
    draws = bootstrap.draws(answers, unit_of.loc[answers.utterance_id].to_numpy(), metrics)
    rng = np.random.default_rng(bootstrap.SEED)
    of_units = rng.multinomial(5, [0.2] * 5, size=7)
    of_seeds = np.stack([rng.multinomial(2, [0.5] * 2, size=7) for _ in range(3)])
    for draw in range(7):
        times = of_units[draw][unit_of.loc[predictions["utterance_id"]]]
        rows = predictions.loc[predictions.index.repeat(times)]
        runs = scores.run_scores(rows, TASK).set_index(["variant", "fold", "seed"]).sort_index()
        for metric, table in draws.items():
            if metric == "calibration_error":
                continue  # bins cut between copies of a row
            for v, name in enumerate(("self_tv", "cross_tv")):
                wide = runs.loc[name, metric].unstack("seed")
                expected = np.nanmean((wide * of_seeds[:, draw]).sum(axis=1, skipna=False) / 2)
                assert table[draw, v] == pytest.approx(expected, rel=1e-6), (metric, name)
