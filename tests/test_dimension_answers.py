"""The tests of the concordance correlation coefficient: against finite differences, plain loops and drawn rows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import null_dimensions
from stages.common import corpus, predictions, scores, task
from stages.common.errors import UserError
from stages.common.params import Compare
from stages.ttest import __main__ as ttest
from stages.ttest import analysis, answers, bootstrap, comparisons, corpora, design, forest, power, report
from stages.ttest.verdict import Verdict, amount
from tests.conftest import make_up
from tests.test_components import in_loops

NAMES = ["valence", "activation"]
TASK = task.dimensions(NAMES)
SETTINGS = Compare(metrics=["ccc"])
PAIR = [("self_tv", "cross_tv")]
FOLDS = {3: 23, 1: 17, 2: 29}


def made(noise: dict[str, float], seeds: int = 3, folds: dict[int, int] = FOLDS, rng_seed: int = 0) -> pd.DataFrame:
    """Predictions of models, more or less noisy, of utterances in folds of different sizes."""
    rng, parts = np.random.default_rng(rng_seed), []
    for fold, size in folds.items():
        actual = rng.integers(2, 11, (size, 2)) / 2
        for name, own in noise.items():
            shared = rng.standard_normal(actual.shape)
            for seed in range(seeds):
                found = 2.2 + 0.4 * (actual - 3) + own * (shared + rng.standard_normal(actual.shape) / 3)
                table = {"variant": name, "seed": seed, "fold": fold}
                table["utterance_id"] = [f"u{fold}_{i:02d}" for i in range(size)]
                table |= {column: actual[:, d] for d, column in enumerate(TASK.actual)}
                parts.append(pd.DataFrame(table | {column: found[:, d] for d, column in enumerate(TASK.predicted)}))
    return pd.concat(parts, ignore_index=True)


def dialogues(table: pd.DataFrame) -> design.Design:
    """Seven utterances of a fold, of all folds together, to a dialogue."""
    names = table["utterance_id"].unique()
    units = pd.Series([int(name.split("_")[1]) // 7 for name in names], index=names)
    return design.Design(test_to_train=0.2, unit="dialogue", units=units)


def analysed(table: pd.DataFrame, shape: design.Design | None = None, settings: Compare = SETTINGS):
    return analysis.analyse(answers.arrange(table, TASK), PAIR, settings, shape or dialogues(table), "made up")


TWO = {"self_tv": 0.3, "cross_tv": 1.4}


def test_an_influence_is_the_derivative_by_an_utterances_weight():
    rng, step = np.random.default_rng(1), 1e-5
    actual = rng.integers(2, 11, 23) / 2
    predicted = np.stack([0.7 * actual + rng.standard_normal(23), rng.exponential(size=23), np.full(23, 3.2)])
    found = scores.concordance_influence(actual, predicted)
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-12)
    for u in range(23):
        up, down = ((1 - own) / 23 + own * (np.arange(23) == u) for own in (step, -step))
        slope = (scores.concordance(actual, predicted, up) - scores.concordance(actual, predicted, down)) / (2 * step)
        np.testing.assert_allclose(found[:, u], slope, atol=1e-6)


def test_an_influence_by_hand():
    # x = -1, 1 and y = -1, 3: s_xy = 2, s_x² = 1, s_y² = 4, gap -1; CCC = 4/6. Of the first, x y = 2, x² = 1, y² = 4
    # about the means: nothing changes but the gap, by x - y = 1: -2/3 · 2 · -1 · 1 / 6 = 2/9.
    found = scores.concordance_influence(np.array([-1, 1]), np.array([-1, 3]))
    np.testing.assert_allclose(found, [2 / 9, -2 / 9], atol=1e-8)


def test_values_of_units_by_hand():
    # The same with a third utterance at 0, 1: s_xy = 4/3, s_x² = 2/3, s_y² = 8/3, gap -1, so CCC = 8/13. Without the
    # last 2/3, as above; without either of the others s_xy = 1/2, s_x² = 1/4, s_y² = 1, and the gap is -3/2 or -1/2:
    # 2/7 and 2/3. Two times what is lost is 60/91, -4/39 and -4/39, of mean 124/819.
    found = scores.concordance_values(np.array([-1, 1, 0]), np.array([-1, 3, 1]), np.array([5, 2, 9]))
    expected = 8 / 13 + np.array([60 / 91, -4 / 39, -4 / 39]) - 124 / 819
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_values_of_many_units_are_influences():
    rng = np.random.default_rng(2)
    actual = rng.standard_normal(5000)
    predicted = actual + rng.standard_normal(5000)
    found = scores.concordance_values(actual, predicted, np.arange(5000)) - scores.concordance(actual, predicted)
    np.testing.assert_allclose(found, scores.concordance_influence(actual, predicted), atol=0.01)
    assert found.std() > 0.4


def ccc_in_loops(x: list[float], y: list[float]) -> tuple[float, list[float]]:
    """The CCC and the influences by the formulas of the docs, a sum at a time."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    xx, yy = (sum((a - mean) ** 2 for a in own) / n for own, mean in ((x, mean_x), (y, mean_y)))
    xy = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / n
    gap = mean_x - mean_y
    below = xx + yy + gap**2 + 1e-8
    ccc, found = 2 * xy / below, []
    for a, b in zip(x, y, strict=True):
        a, b = a - mean_x, b - mean_y
        found.append((2 * (a * b - xy) - ccc * (a * a - xx + b * b - yy + 2 * gap * (a - b))) / below)
    return ccc, found


def values_in_loops(x: list[float], y: list[float], unit: list[int]) -> list[float]:
    """An utterance's influence, moved so that those of a unit sum to what the CCC loses without the unit."""
    (ccc, influence), n, moved = ccc_in_loops(x, y), len(x), []
    for u in range(n):
        own = [other for other in range(n) if unit[other] == unit[u]]
        rest = [other for other in range(n) if unit[other] != unit[u]]
        without = ccc_in_loops([x[other] for other in rest], [y[other] for other in rest])[0]
        due = len(rest) * (ccc - without)
        moved.append(influence[u] + (due - sum(influence[other] for other in own)) / len(own))
    return [ccc + value - sum(moved) / n for value in moved]


@pytest.mark.parametrize("score", ["ccc", "ccc_valence", "ccc_activation"])
def test_the_parts_are_those_of_plain_loops(score):
    table = made(TWO)
    found, dimensions = answers.arrange(table, TASK), NAMES if score == "ccc" else [score.removeprefix("ccc_")]
    unit_of, z = dialogues(table).units, []
    for seed in sorted(table["seed"].unique()):
        row = []
        for fold in sorted(FOLDS):
            here = table[(table["seed"] == seed) & (table["fold"] == fold)].sort_values("utterance_id")
            mean = {}
            for name, rows in here.groupby("variant"):
                unit = list(unit_of.loc[rows["utterance_id"]])
                columns = ([list(rows[f"{kind}_{own}"]) for kind in ("actual", "predicted")] for own in dimensions)
                mean[name] = np.mean([values_in_loops(*pair, unit) for pair in columns], axis=0)
            row += list(mean["self_tv"] - mean["cross_tv"])
        z.append(row)
    fold, unit = found.fold, unit_of.loc[found.utterance_id].to_numpy()
    weights = [1 / FOLDS[found.folds[k]] for k in fold]
    parts = comparisons.Differences(found, score, unit).components(*PAIR[0])
    assert vars(parts) == pytest.approx(vars(in_loops(z, weights, fold, np.zeros(len(fold), int), unit)), rel=1e-9)
    assert parts.utterances > 0


def test_scores_of_runs_are_those_of_their_tables_and_differences_their_weighted_sums():
    table = made({"a": 0.3, "c": 1.0, "b": 2.0}, seeds=2).sample(frac=1, random_state=1).reset_index(drop=True)
    found = answers.arrange(table, TASK)
    expected = scores.run_scores(table, TASK).set_index(["variant", "seed", "fold"])
    scored = found.run_scores(["ccc"])
    assert list(scored) == ["ccc", *TASK.details]
    for name, values in scored.items():
        assert values.shape == (3, 2, 3)
        for (v, s, k), value in np.ndenumerate(values):
            own = expected.loc[(found.variants[v], found.seeds[s], found.folds[k]), name]
            assert value == pytest.approx(own, abs=1e-12)
        own, weights = found.values(name, "c", np.arange(len(found.fold)) // 4), found.weights(name)
        for k, part in enumerate(found.bounds):
            np.testing.assert_allclose(
                own[:, part] @ weights[part], values[found.variants.index("c"), :, k], atol=1e-12
            )
    runs = analysis.run_table(found, ["ccc"])
    np.testing.assert_allclose(
        runs["ccc"], expected.loc[list(zip(runs["variant"], runs["seed"], runs["fold"], strict=True)), "ccc"]
    )


def test_a_draw_is_the_mean_score_of_the_drawn_rows(monkeypatch):
    """Against drawing the rows themselves; one dialogue is in one fold alone, so a draw may hold nothing of it."""
    monkeypatch.setattr(bootstrap, "DRAWS", 31)
    table = made(TWO, seeds=2, folds={1: 3, 2: 17, 3: 23})
    shape = dialogues(table)
    units = shape.units.where(~shape.units.index.str.startswith("u1_"), 4)
    found = answers.arrange(table, TASK)
    unit = units.loc[found.utterance_id].to_numpy()
    draws = bootstrap.draws(found, unit, ["ccc"])
    assert list(draws) == ["ccc", *TASK.details]
    rng, order = np.random.default_rng(bootstrap.SEED), list(dict.fromkeys(unit))
    of_units = rng.multinomial(5, [0.2] * 5, size=31)[:, np.argsort(order)]
    of_seeds = np.stack([rng.multinomial(2, [0.5] * 2, size=31) for _ in range(3)])
    empty = 0
    for draw in range(31):
        rows = table.loc[table.index.repeat(of_units[draw][units.loc[table["utterance_id"]]])]
        runs = scores.run_scores(rows, TASK).set_index(["variant", "fold", "seed"]).sort_index()
        for name, drawn in draws.items():
            for v, variant in enumerate(TWO):
                wide = runs.loc[variant, name].unstack("seed").reindex(found.folds)
                expected = np.nanmean((wide * of_seeds[:, draw]).sum(axis=1, skipna=False) / 2)
                assert drawn[draw, v] == pytest.approx(expected, rel=1e-9), name
        empty += 1 not in rows["fold"].unique()
    assert empty


WRONG = {
    "lacking": (
        lambda table: table.drop(50).reset_index(drop=True),
        "self_tv, seed 2, fold 3: all utterances that another run tests in this fold must be predicted once, but "
        "u3_04 is not; models are compared on the same utterances, with the same seeds and folds",
    ),
    "twice": (
        lambda table: pd.concat([table, table.iloc[[5]]], ignore_index=True),
        "row 414: an utterance must be predicted once, but u3_05 is predicted by self_tv, seed 0, fold 3 in row 5 too",
    ),
    "of another value": (
        lambda table: table.assign(actual_activation=table["actual_activation"].where(table.index != 25, 7.5)),
        "row 25: actual_activation must be the same for all models, but u3_02 is 7.5 here and {} elsewhere",
    ),
    "no number": (
        lambda table: table.assign(predicted_valence=table["predicted_valence"].where(table.index != 11)),
        "row 11: predicted_valence must be a finite number, but is nan",
    ),
    "infinite": (
        lambda table: table.assign(
            actual_valence=table["actual_valence"].where(table["utterance_id"] != "u1_02", np.inf)
        ),
        "row 140: actual_valence must be a finite number, but is inf",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_runs_that_are_not_of_the_same_utterances(wrong):
    (change, message), table = WRONG[wrong], made(TWO)
    with pytest.raises(UserError) as raised:
        answers.arrange(change(table), TASK)
    assert str(raised.value) == message.format(table["actual_activation"][2])


@pytest.fixture(scope="module")
def found() -> analysis.Analysis:
    return analysed(made(TWO))


def page(found: analysis.Analysis) -> str:
    return report.as_markdown(found.pairs, found.settings, found.corpus, found.design, found.ranks)


def test_the_table_has_a_family_of_the_dimensions_and_the_same_statistics_as_others(found):
    table = found.pairs.set_index("score")
    assert list(table.index) == ["ccc", *TASK.details]
    assert list(table["family"]) == ["ccc", "ccc_dimension", "ccc_dimension"]
    own = table.loc[TASK.details]
    assert own["p_holm"].min() == pytest.approx(min(1, 2 * own["p"].min()))
    assert table.loc["ccc", "p_holm"] == table.loc["ccc", "p"]
    assert list(found.every_pair["score"]) == ["ccc"]
    assert (table["test"] == comparisons.WITH_EXCESS).all()
    assert (table["p"] == table["p_with_excess"]).all()
    row = table.loc["ccc"]
    assert row["verdict"] == Verdict("a")
    assert row["difference"] == pytest.approx(own["difference"].mean())
    shared = (row["var_utterances"] + max(0, row["var_excess"])) * (1 / 3 + row["q"])
    assert row["se"] ** 2 == pytest.approx(shared + row["var_runs"] / 9)
    assert row["bootstrap_low"] < row["difference"] < row["bootstrap_high"]
    assert found.ranks.set_index("variant").loc["self_tv", "ccc"] > 0.95


def test_the_page_speaks_of_the_ccc_alone(found, tmp_path):
    text = page(found)
    for word in ("accuracy", "recall", "point", "WA", "class"):
        assert word not in text.partition("## The paper")[0], word
    assert "Components test, the folds' excess counted, by the jackknife: the CCC of a fold is no sum" in text
    assert "so what a dialogue adds to it is how much it changes without that dialogue; in units of 0.01" in text
    assert "within ± 0.01;" in text
    assert "Differences are in units of 0.01, first model minus second" in text
    assert "| Models | valence | activation |" in text
    found.write(tmp_path / "tables", tmp_path / "plots")
    assert (tmp_path / "plots/pairs/ccc.png").exists()
    one_seed = page(analysed(made(TWO, seeds=1)))
    assert "Corrected resampled t-test: with one seed the runs' part cannot be seen; in units of 0.01" in one_seed


def test_units_of_a_difference():
    assert [amount(0.02, score) for score in ("ccc", "ccc_valence", "recall_sad")] == ["0.02", "0.02", "2 points"]
    assert forest.heading("ccc") == "CCC, in units of 0.01"
    assert forest.heading("ccc_valence") == "ccc_valence, in units of 0.01"
    rows = pd.DataFrame({"score": ["recall_sad", "ccc", "ccc_valence", "accuracy"]})
    assert corpora.chosen(rows, None) == ["ccc", "accuracy"]


SAME = made({"self_tv": 0.5}, seeds=2)
CONSTANT = SAME.assign(predicted_valence=3.1, predicted_activation=0.3)
DEGENERATE = {
    "the same twice": (SAME, SAME, {"p": 1, "difference": 0, "posterior_equal": 1}, Verdict(None, True)),
    "both constant": (CONSTANT, CONSTANT, {"p": 1, "difference": 0}, Verdict(None, True)),
    "different constants": (
        CONSTANT,
        CONSTANT.assign(predicted_valence=0.7),
        {"p": 1, "difference": 0},
        Verdict(None, True),
    ),
    "nothing to tell": (
        SAME.assign(actual_valence=2.5, actual_activation=4.1),
        CONSTANT.assign(actual_valence=2.5, actual_activation=4.1),
        {"p": 1, "difference": 0},
        Verdict(None, True),
    ),
    "one fold": (SAME[SAME["fold"] == 1], CONSTANT[SAME["fold"] == 1], {"p": np.nan}, Verdict()),
    "one utterance a fold": (SAME[SAME["utterance_id"].str.endswith("00")],) * 2 + ({"p": 1}, Verdict(None, True)),
}


@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.filterwarnings("error")
def test_degenerate_answers_are_defined(kind):
    one, other, expected, verdict = DEGENERATE[kind]
    table = pd.concat([one, other.assign(variant="cross_tv")], ignore_index=True)
    result = analysed(table)
    row = result.pairs.iloc[0]
    assert row[list(expected)].to_dict() == pytest.approx(expected, nan_ok=True)
    assert (result.pairs["verdict"] == verdict).all()
    assert "nan" not in page(result)


def test_a_study_in_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    models, seeds = ["self_tv", "cross_tv"], [4, 11]
    make_up(
        ["no", "yes"],
        {1: np.arange(11), 2: np.arange(11, 30)},
        variants=models,
        seeds=seeds,
        headline={"attention": "self", "modalities": "tv"},
        task="dimensions",
    )
    meta = json.loads((corpus.FOLDER / "meta.json").read_text())
    (corpus.FOLDER / "meta.json").write_text(json.dumps(meta | {"dimensions": {name: [1, 5] for name in NAMES}}))
    table = made(dict.fromkeys(models, 0.7), folds={1: 11, 2: 19}, seeds=2)
    names = {f"u{fold}_{i:02d}": f"u{i + 11 * (fold == 2):02d}" for fold in (1, 2) for i in range(19)}
    table["utterance_id"] = table["utterance_id"].map(names)
    for (variant, seed), rows in table.groupby(["variant", "seed"]):
        own = rows.drop(columns=["variant", "seed"]).reset_index(drop=True)
        predictions.write(predictions.folder(variant, seeds[seed]), own)
    ttest.main()
    written = pd.read_csv("metrics/ttest.csv")
    assert list(written["score"]) == ["ccc", *TASK.details]
    expected = scores.run_scores(table, TASK).groupby("variant")["ccc"].mean()
    assert written.loc[0, ["mean_a", "mean_b"]].to_list() == pytest.approx([expected[name] for name in models])
    assert Path("metrics/ranks.csv").read_text().startswith("variant,ccc\n")
    options = power.arguments([])
    monkeypatch.setattr(power, "arguments", lambda: options)
    power.main()
    assert capsys.readouterr().out.startswith("# Power: CCC\n")
    options.metric = "accuracy"
    with pytest.raises(UserError, match="--metric must be one of ccc where the task is dimensions, but is accuracy"):
        power.main()


def test_the_power_of_a_study_of_dimensions():
    table = made(TWO)
    own = answers.arrange(table, TASK)
    parts = comparisons.Differences(own, "ccc", dialogues(table).numbers(own.utterance_id)).components(*PAIR[0])
    text = power.page({PAIR[0]: parts}, q=0.5, metric="ccc", points=[2.0], alpha=0.05, with_excess=False)
    assert "# Power: CCC\n" in text
    assert "in units of 0.01;" in text
    assert "to see 0.02\n" in text
    assert "point" not in text


def test_the_test_errs_about_as_often_as_it_says_and_finds_more_than_the_older_one():
    setting, studies = null_dimensions.SETTINGS["shared-small-strong-noisy"], 120
    results = [null_dimensions.study(setting, number) for number in range(studies)]
    d, found = (np.array([result[i][1] for result in results]) for i in (0, 1))  # ten seeds
    tests = null_dimensions.all_tests(d, found, np.array([result[2] for result in results]))
    share = (tests.p[:, :, 0] < 0.05).mean(axis=0)  # (null and not, tests)
    ours, older = (null_dimensions.TESTS.index(name) for name in ("with excess", "corrected resampled t"))
    assert share[0, ours] < 0.05 + 4 * np.sqrt(0.05 * 0.95 / studies)
    assert share[1, ours] > share[1, older] + 0.1
