"""What models answered as arrays, and the scores from it: against tables of each run, scikit-learn and paper."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from stages.common import metrics, scores, task
from stages.common.errors import UserError
from stages.common.metrics import METRICS
from stages.common.params import Compare
from stages.ttest import answers, comparisons, design

CLASSES = ["calm", "sad", "angry", "bored", "fear"]
TASK = task.classes(CLASSES)
SCORES = [name for name, metric in METRICS.items() if metric.task == "classes"]
MODELS, SEEDS, FOLDS = ["b", "a", "c"], [30, 4], {3: 11, 1: 17, 2: 13}
SUMS = [name for name in SCORES if METRICS[name].is_sum] + [metrics.recall(name) for name in CLASSES]


def made_up(rng_seed: int = 0, untested: dict[int, str] | None = None) -> pd.DataFrame:
    """Predictions of 3 models, 2 seeds and 3 folds of different sizes; `untested`: fold → a class it does not test."""
    rng, parts = np.random.default_rng(rng_seed), []
    for fold, size in FOLDS.items():
        kept = [name for name in CLASSES if name != (untested or {}).get(fold)]
        actual = np.array(kept)[np.r_[np.arange(len(kept)), rng.integers(len(kept), size=size - len(kept))]]
        for variant in MODELS:
            for seed in SEEDS:
                probabilities = rng.dirichlet(np.ones(len(CLASSES)), size).astype(np.float32)
                table = pd.DataFrame(probabilities, columns=[f"probability_{name}" for name in CLASSES])
                names = [f"u{fold}_{i:02d}" for i in range(size)]
                first = {"variant": variant, "seed": seed, "fold": fold, "utterance_id": names, "actual": actual}
                predicted = np.array(CLASSES)[probabilities.argmax(axis=1)]
                parts.append(pd.concat([pd.DataFrame(first | {"predicted": predicted}), table], axis=1))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("untested", [{}, {1: "sad", 3: "fear"}], ids=["all classes", "a class missing in a fold"])
@pytest.mark.parametrize("with_dev", [False, True])
def test_scores_of_runs_are_those_of_their_tables(untested, with_dev):
    table, dev = made_up(0, untested), made_up(1) if with_dev else None
    found = answers.arrange(table, TASK, dev)
    expected = scores.run_scores(table, TASK, dev).set_index(["variant", "seed", "fold"])
    assert (found.variants, found.seeds, found.folds) == (MODELS, sorted(SEEDS), sorted(FOLDS))
    scored = found.run_scores(SCORES)
    assert set(scored) == {*SCORES, *map(metrics.recall, CLASSES)}
    for name, values in scored.items():
        for (v, s, k), value in np.ndenumerate(values):
            own = expected.loc[(found.variants[v], found.seeds[s], found.folds[k]), name]
            assert value == pytest.approx(own, abs=1e-12, nan_ok=True), name
    for fold, name in untested.items():
        assert np.isnan(scored[metrics.recall(name)][..., found.folds.index(fold)]).all()


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_is_irrelevant_but_for_the_models(random):
    table = made_up()
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = table.iloc[order].reset_index(drop=True)
    shuffled["utterance_id"] = pd.Categorical(shuffled["utterance_id"], categories=shuffled["utterance_id"].unique())
    one, other = answers.arrange(table, TASK), answers.arrange(shuffled, TASK)
    assert (one.seeds, one.folds) == (other.seeds, other.folds)
    for name in ("fold", "utterance_id", "actual"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    models = [other.variants.index(name) for name in one.variants]
    np.testing.assert_array_equal(one.predicted, other.predicted[models])
    np.testing.assert_array_equal(one.probabilities, other.probabilities[models])


@pytest.mark.parametrize("score", SUMS)
@pytest.mark.parametrize("untested", [{}, {1: "sad", 3: "fear"}], ids=["all classes", "a class missing in a fold"])
def test_a_difference_is_the_weighted_sum_over_utterances(score, untested):
    found = answers.arrange(made_up(2, untested), TASK)
    rows, weights = found.rows_of(score), found.weights(score)
    z = found.values(score, "a", found.fold) - found.values(score, "b", found.fold)
    fold = found.fold[rows]
    scored = found.run_scores([score] if score in METRICS else [])[score]
    d = scored[found.variants.index("a")] - scored[found.variants.index("b")]  # (seeds, folds)
    for k in range(len(found.folds)):
        if (fold == k).any():
            assert weights[fold == k].sum() == pytest.approx(1, abs=1e-12)
            assert z[:, fold == k] @ weights[fold == k] == pytest.approx(d[:, k], abs=1e-12)
        else:
            assert np.isnan(d[:, k]).all()
    unit = design.units(pd.DataFrame({"utterance_id": found.utterance_id}))[1].to_numpy()
    parts = comparisons.Differences(found, score, unit).components("a", "b")
    assert parts.difference == pytest.approx(np.nanmean(d), abs=1e-12)
    assert (parts.folds, parts.seeds) == (np.isfinite(d[0]).sum(), 2)


WRONG = {
    "twice": (
        lambda table: pd.concat([table, table.iloc[[5]]], ignore_index=True),
        "row 246: an utterance must be predicted once, but u3_05 is predicted by b, seed 30, fold 3 in row 5 too",
    ),
    "the last one twice": (
        lambda table: pd.concat([table, table[(table["variant"] == "c") & (table["seed"] == 30)].iloc[[10]]]),
        "row 246: an utterance must be predicted once, but u3_10 is predicted by c, seed 30, fold 3 in row 54 too",
    ),
    "lacking": (
        lambda table: table.drop(70).reset_index(drop=True),
        "b, seed 30, fold 1: all utterances that another run tests in this fold must be predicted once, "
        "but u1_04 is not; models are compared on the same utterances, with the same seeds and folds",
    ),
    "without a seed": (
        lambda table: table[(table["variant"] != "c") | (table["seed"] != 4)].reset_index(drop=True),
        "c, seed 4, fold 1: all utterances that another run tests in this fold must be predicted once, "
        "but u1_00 is not; models are compared on the same utterances, with the same seeds and folds",
    ),
    "the last one lacking": (
        lambda table: table[(table["variant"] != "c") | (table["seed"] != 30) | (table["utterance_id"] != "u3_10")],
        "c, seed 30, fold 3: all utterances that another run tests in this fold must be predicted once, "
        "but u3_10 is not; models are compared on the same utterances, with the same seeds and folds",
    ),
    "one lacking and one twice": (
        lambda table: pd.concat([table.drop(5), table.iloc[[6]]], ignore_index=True),
        "b, seed 30, fold 3: all utterances that another run tests in this fold must be predicted once, "
        "but u3_05 is not; models are compared on the same utterances, with the same seeds and folds",
    ),
    "of another class": (
        lambda table: table.assign(actual=table["actual"].where(table.index != 15, "angry")),
        "row 15: actual must be the same for all models, but u3_04 is angry here and fear elsewhere",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_runs_that_are_not_of_the_same_utterances(wrong):
    change, message = WRONG[wrong]
    with pytest.raises(UserError) as raised:
        answers.arrange(change(made_up()), TASK)
    assert str(raised.value) == message


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(deadline=None)
@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 10_000))
def test_scores_are_scikit_learns(classes, count, rng_seed):
    rng, names = np.random.default_rng(rng_seed), [f"c{i}" for i in range(classes)]
    actual = rng.integers(classes, size=count)
    probabilities = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    predicted = probabilities.argmax(axis=1)
    table = pd.DataFrame({"actual": np.array(names)[actual], "predicted": np.array(names)[predicted]})
    table[[f"probability_{name}" for name in names]] = probabilities
    found = scores.scores(table, task.classes(names))
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(actual, predicted), abs=1e-12)
    recalls = sklearn.recall_score(actual, predicted, labels=np.unique(actual), average=None, zero_division=np.nan)
    assert found["balanced_accuracy"] == pytest.approx(recalls.mean(), abs=1e-12)
    if set(predicted) <= set(actual):  # else it warns
        expected = sklearn.balanced_accuracy_score(actual, predicted)
        assert found["balanced_accuracy"] == pytest.approx(expected, abs=1e-12)
    for kind in ("weighted", "macro"):
        expected = sklearn.f1_score(actual, predicted, average=kind, zero_division=0)
        assert found[f"{kind}_f1"] == pytest.approx(expected, abs=1e-12)
    right = probabilities[np.arange(count), actual].astype(np.float64)
    assert found["negative_log_likelihood"] == pytest.approx(-np.log(np.maximum(right, scores.SMALLEST)).mean())
    expected = sklearn.log_loss(actual, probabilities, labels=range(classes))
    assert found["negative_log_likelihood"] == pytest.approx(expected, rel=1e-5)  # it makes rows sum to 1 first
    brier = sum((probabilities[n, c] - float(c == actual[n])) ** 2 for n in range(count) for c in range(classes))
    assert found["brier_score"] == pytest.approx(brier / count, abs=1e-6)


def test_scores_from_counts_by_hand():
    # 4 of a, of which 3 are right; 2 of b, 1 right; c is not there but predicted once: 3 taken for a, 2 for b, 1 for c.
    found = scores.from_counts(np.array([3, 1, 0]), np.array([4, 2, 0]), np.array([3, 2, 1]))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    np.testing.assert_allclose(found["recall"], [3 / 4, 1 / 2, np.nan])
    a, b = 2 * 3 / (4 + 3), 2 * 1 / (2 + 2)
    assert found["macro_f1"] == pytest.approx((a + b + 0) / 3)
    assert found["weighted_f1"] == pytest.approx((4 * a + 2 * b) / 6)
    empty = scores.from_counts(np.zeros(3), np.zeros(3), np.zeros(3))  # a bootstrap draw may hold nothing of a fold
    assert all(np.isnan(value).all() for value in empty.values())


def test_weights_by_hand():
    np.testing.assert_allclose(scores.weights("balanced_accuracy", np.array([0, 0, 2])), [1 / 4, 1 / 4, 1 / 2])
    np.testing.assert_allclose(scores.weights("accuracy", np.array([0, 0, 2])), [1 / 3] * 3)
    np.testing.assert_allclose(scores.weights("recall_b", np.array([1, 1])), [1 / 2] * 2)


def test_values_by_hand():
    actual, predicted = np.array([0, 1]), np.array([[0, 0]])
    probabilities = np.array([[[0.5, 0.3, 0.2], [0.8, 0.0, 0.2]]])  # (runs, utterances, classes)
    np.testing.assert_array_equal(scores.values("accuracy", actual, predicted, None), [[1, 0]])
    np.testing.assert_allclose(
        scores.values("brier_score", actual, predicted, probabilities),
        [[0.5**2 + 0.3**2 + 0.2**2, 0.8**2 + 1 + 0.2**2]],
    )
    loss = scores.values("negative_log_likelihood", actual, predicted, probabilities)
    np.testing.assert_allclose(loss, [[np.log(2), 23 * np.log(2)]])  # 0 counts as float32's 2^-23


def test_the_temperature_by_hand():
    # Of two classes, always .8 and right 3 times of 4: the best is p = 3/4, so 1/T = log 3 / log 4.
    probabilities = np.array([[0.8, 0.2]] * 4)
    t = scores.temperature(probabilities, np.array([0, 0, 0, 1]))
    assert t == pytest.approx(np.log(4) / np.log(3), rel=1e-4)
    np.testing.assert_allclose(scores.sharpened(probabilities, t)[0], [0.75, 0.25], atol=1e-5)
    assert scores.temperature(probabilities, np.zeros(4, int)) == pytest.approx(1 / 20, rel=1e-3)  # the limits
    assert scores.temperature(probabilities, np.ones(4, int)) == pytest.approx(20, rel=1e-3)


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(5, 60), st.integers(0, 10_000))
def test_no_other_temperature_has_a_lower_loss(classes, count, rng_seed):
    rng = np.random.default_rng(rng_seed)
    probabilities, actual = rng.dirichlet(np.ones(classes), count), rng.integers(classes, size=count)
    probabilities = np.maximum(probabilities, 1e-5)
    t, rows = scores.temperature(probabilities, actual), (np.arange(count), actual)

    def loss(t: float) -> float:
        return -np.log(probabilities ** (1 / t) / (probabilities ** (1 / t)).sum(axis=1, keepdims=True))[rows].mean()

    assert all(loss(t) <= loss(other) + 1e-6 for other in np.geomspace(0.05, 20, 40))


def test_the_calibration_error_by_hand():
    # 30 utterances are 15 bins of two: one right and one wrong at .9 is a gap of .4; both right at .9 is one of .1.
    confidence = np.r_[np.full(2, 0.95), np.full(28, 0.9)]
    right = np.r_[[True, False], np.full(28, True)]
    found = scores.calibration_error(confidence, right, np.ones((1, 30), np.float32))
    assert found == pytest.approx([(0.45 + 14 * 0.1) / 15])
    # The same with one utterance of the first bin drawn three times: bins are of 32/15 of an utterance.
    times = np.ones((2, 30), np.float32)
    times[1, 0] = 3
    assert scores.calibration_error(confidence, right, times)[0] == pytest.approx(found[0])
    assert scores.calibration_error(confidence[:1], right[:1], times[:, :1]) == pytest.approx([0.05, 0.05])
    assert np.isnan(scores.calibration_error(confidence, right, 0 * times)).all()


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(0, 10_000))
def test_the_calibration_error_is_its_definition(count, rng_seed):
    rng = np.random.default_rng(rng_seed)
    confidence, right = rng.random(count).round(2), rng.random(count) < 0.5
    times = np.stack([np.ones(count), rng.multinomial(count, np.full(count, 1 / count))]).astype(np.float32)
    for draw, found in zip(times, scores.calibration_error(confidence, right, times), strict=True):
        order = sorted(range(count), key=lambda n: confidence[n])  # stable
        gaps, mass = [0.0] * scores.BINS, 0.0
        for n in filter(lambda n: draw[n], order):
            middle = mass + draw[n] / 2
            place = next(b for b in range(scores.BINS) if scores.BINS * middle < (b + 1) * count)
            gaps[place] += draw[n] * (confidence[n] - right[n])
            mass += draw[n]
        assert found == pytest.approx(sum(map(abs, gaps)) / count, abs=1e-9)


def test_probabilities_that_say_how_often_they_are_right_have_no_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 200_000)
    right = rng.random(len(confidence)) < confidence
    assert scores.calibration_error(confidence, right, np.ones((1, len(right)), np.float32))[0] < 0.01


def test_a_study_of_one_seed_or_fold_has_an_answer():
    table = made_up()
    for own in (table[table["seed"] == 4], table[table["fold"] == 1]):
        found = answers.arrange(own.reset_index(drop=True), TASK)
        shape = design.of_predictions(own[["fold", "utterance_id"]].drop_duplicates(), 0.0)
        drawn = {name: np.full((5, 3), np.nan) for name in [*SCORES, *map(metrics.recall, CLASSES)]}
        rows = comparisons.compare(found, [("a", "b")], Compare(metrics=SCORES), shape, drawn)
        assert len(rows) == len(SCORES) + len(CLASSES)
        assert rows["p"].isna().all() == (own["fold"].nunique() == 1)
