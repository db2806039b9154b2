"""Tuning: what is drawn, what is chosen and from what, what it costs, and what the page says."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.aggregate import __main__ as aggregate
from stages.common import corpus, costs, draws, features, params, predictions, tuning
from stages.common.errors import UserError
from stages.common.records import Record, RunId
from stages.corpus import __main__ as corpus_stage
from stages.features import __main__ as features_stage
from stages.plan import __main__ as plan_stage
from stages.split import __main__ as split_stage
from stages.train import __main__ as stage
from stages.train import choice, protocol
from stages.train.engine import study as places
from stages.train.engine import workers
from stages.train.engine.work import Draws, data_digest
from stages.tuning import __main__ as page
from stages.tuning.expected import best_of
from tests.conftest import ROOT, Study, changed, make_up

COMMITTED = yaml.safe_load((ROOT / "params.yaml").read_text())
RATE, HIDDEN, VIDEO = "train.protocol.learning_rate", "model.hidden", "modalities.video.dropout"
RANGES = {
    RATE: {"low": 0.001, "high": 0.1, "log": True},
    HIDDEN: [3, 6, 9],
    "model.attention_dropout": {"low": 0.0, "high": 0.3},
    VIDEO: {"low": 0.1, "high": 0.5},
    "fusions.dca.temperature": [0.1, 0.3],
}


def tune(number: int = 5, seed: int = 1, ranges: dict | None = None) -> draws.Tune:
    return draws.Tune(draws=number, seed=seed, ranges=RANGES if ranges is None else ranges)


def test_draws_keep_to_their_ranges_and_fill_them():
    drawn = pd.DataFrame([draws.values(tune(), number) for number in range(1, 1001)])
    rate, dropout = drawn[RATE], drawn["model.attention_dropout"]
    assert rate.between(0.001, 0.1).all()
    assert rate.median() == pytest.approx(0.01, rel=0.15)  # half below the middle of the logarithm
    assert dropout.between(0, 0.3).all()
    assert dropout.median() == pytest.approx(0.15, abs=0.015)
    assert sorted(drawn[HIDDEN].value_counts()) == pytest.approx([333, 333, 333], abs=60)
    assert np.corrcoef(np.log(rate), dropout)[0, 1] == pytest.approx(0, abs=0.12)
    assert all(len(f"{value:.15g}".lstrip("0.")) <= 6 for value in rate)


def test_more_draws_and_more_ranges_leave_the_others_as_they_are():
    before = [draws.values(tune(5), number) for number in range(1, 6)]
    assert [draws.values(tune(9), number) for number in range(1, 6)] == before
    fewer = {key: own for key, own in reversed(RANGES.items()) if key != HIDDEN}
    assert [draws.values(tune(ranges=fewer), number) for number in range(1, 6)] == [
        {key: own[key] for key in fewer} for own in before
    ]
    other = [draws.values(tune(seed=2), number) for number in range(1, 6)]
    assert not {own[RATE] for own in before} & {own[RATE] for own in other}
    assert len({own[RATE] for own in before}) == 5


def config(**changes) -> params.Params:
    """The committed params with `RANGES`, three draws and some keys changed."""
    tuned = {"tune": {"draws": 3, "ranges": RANGES}, "model__heads": 3}
    return params.Params.model_validate(changed(COMMITTED, tuned | changes))


def test_every_variant_has_the_same_values_of_what_it_has():
    names = ["self_t", "self_tv", "dca_tv", "concat_tv"]
    own = config(variants=names, headline={"attention": "self", "modalities": "t"})
    text, both, dca, concat = (plan_stage.tuned(variant, own, own.drawn()) for variant in names)
    for k, (of_text, of_both, of_dca) in enumerate(zip(text.draws, both.draws, dca.draws, strict=True), start=1):
        values = draws.values(own.tune, k)
        assert of_text.settings.keys() == {RATE, HIDDEN, "model.attention_dropout"}
        assert of_both.settings.keys() == of_text.settings.keys() | {VIDEO}
        assert of_dca.settings.keys() == of_both.settings.keys() | {"fusions.dca.temperature"}
        assert concat.draws[k - 1].settings == {key: values[key] for key in (RATE, HIDDEN, VIDEO)}
        for each in (of_text, of_both, of_dca):
            assert each.settings.items() <= values.items()
        plan = dca.plans()[k - 1]
        assert (plan.protocol.learning_rate, plan.model.hidden) == (values[RATE], values[HIDDEN])
        assert plan.fusion.settings["temperature"] == values["fusions.dca.temperature"]
        assert [modality.dropout for modality in plan.modalities] == [0.25, values[VIDEO]]
        assert both.plans()[k - 1].fusion.settings["attention_dropout"] == values["model.attention_dropout"]


def test_a_setting_that_a_fusion_has_of_its_own_is_not_drawn_for_it():
    own = config(tune={"draws": 2, "ranges": {"model.attention_dropout": [0.2]}}, fusions={"self": {"heads": 2}})
    assert plan_stage.tuned("self_tv", own, own.drawn()).draws[0].settings == {"model.attention_dropout": 0.2}
    own = own.model_copy(update={"fusions": {"self": {"attention_dropout": 0.4}}})
    tuned = plan_stage.tuned("self_tv", own, own.drawn())
    assert tuned.draws[0].settings == {}
    assert tuned.plans()[0].fusion.settings["attention_dropout"] == 0.4


def test_without_tuning_plans_are_the_same_bytes():
    own = config(tune={"draws": 0, "ranges": RANGES})
    for variant in own.variants:
        assert plan_stage.tuned(variant, own, own.drawn()).as_json() == plan_stage.make(variant, own).as_json()
    (plan,) = plan_stage.tuned("self_t", own, []).plans()
    assert plan == plan_stage.make("self_t", own)
    assert "stages.train.choice" not in plan.training_code | plan.output_code


def test_a_tuned_plan_depends_on_what_chooses_but_no_draws_training_does():
    own = config()
    tuned = plan_stage.tuned("self_t", own, own.drawn())
    assert "stages.train.choice" in tuned.output_code
    for plan, drawn in zip(tuned.plans(), own.drawn(), strict=True):
        alone = plan_stage.make("self_t", drawn)
        differing = {"output_code", "may_diverge"}
        assert (plan.may_diverge, alone.may_diverge) == (True, False)
        assert plan.model_dump(exclude=differing) == alone.model_dump(exclude=differing)


BAD = {
    "no values": ({HIDDEN: []}, "tune.ranges: 'model.hidden' must have a list of values, or .*; but has"),
    "one bound": ({HIDDEN: {"low": 1}}, "tune.ranges: 'model.hidden' must have"),
    "bounds in disorder": ({RATE: {"low": 0.1, "high": 0.01}}, "low less than high"),
    "log of zero": ({RATE: {"low": 0.0, "high": 0.01, "log": True}}, "log: true, for which low is above 0"),
    "nothing to draw": ({}, "tune: ranges must name what is drawn where draws is above 0, but is empty"),
    "no list": ([1], "tune.ranges: must be a mapping"),
    "not of a plan": ({"train.device": ["cpu"]}, "tune.ranges: keys must be settings of .*, but one is 'train.device'"),
    "what draws are compared by": ({"train.protocol.select": ["loss"]}, "but not select"),
    "a letter": ({"modalities.text.letter": ["x"]}, "of modalities.<name>, but one is 'modalities.text.letter'"),
    "unknown key": ({"model.hiden": [30]}, r"draw 1 \(model.hiden: 30\) breaks a rule: model.hiden: unknown key"),
    "unknown fusion": ({"fusions.slef.heads": [2]}, "keys must be fusions, .*, but one is 'slef'"),
    "unknown setting": ({"fusions.dca.heat": [2.0]}, "fusions.dca.heat: unknown key"),
    "not a whole number": ({HIDDEN: {"low": 30, "high": 60}}, "model.hidden: must be a valid integer"),
    "heads do not divide": ({HIDDEN: [60, 7]}, r"model.hidden: 7\) breaks a rule: model.heads must divide .* = 14"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_ranges_are_said_before_anything_runs(name, tmp_path, monkeypatch):
    ranges, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    document = changed(COMMITTED, {"tune": {"draws": 8, "ranges": ranges}})
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(UserError, match=message) as error:
        plan_stage.main()
    assert str(error.value).startswith("params.yaml: ")
    assert not Path("data").exists()


def result(*values: float, measure: str = "accuracy") -> Record:
    """What a run has left whose epochs had these development values."""
    return Record(values={"epochs": [{f"dev_{measure}": value} for value in values]}, arrays={})


def test_each_fold_chooses_by_itself_the_first_of_equals_by_hand():
    first = {1: result(0.2, 0.5), 2: result(0.9, 0.1)}
    second = {1: result(0.6), 2: result(0.3, 0.4)}
    third = {1: result(0.1, 0.6, 0.2), 2: result(0.9)}
    assert choice.choose([first, second, third], "accuracy") == {1: 1, 2: 0}
    assert choice.choose([third, second, first], "accuracy") == {1: 0, 2: 0}
    losses = [{1: result(0.4, 0.2, measure="loss")}, {1: result(0.3, measure="loss")}]
    assert choice.choose(losses, "loss") == {1: 0}


def test_best_of_n_against_all_tuples():
    rng = np.random.default_rng(3)
    by, values = np.array([0.2, 0.5, 0.5, 0.1, 0.5]), rng.random(5)
    found = best_of(values, by)
    for n in range(1, 6):
        best = [values[max(draw, key=lambda i: by[i])] for draw in itertools.product(range(5), repeat=n)]
        assert found[n - 1] == pytest.approx(np.mean(best), rel=1e-12)
    distinct = rng.permutation(7) / 7
    maxima = [np.max(list(itertools.product(distinct, repeat=n)), axis=1).mean() for n in range(1, 5)]
    np.testing.assert_allclose(best_of(distinct, distinct)[:4], maxima, rtol=1e-12)


def test_best_of_two_by_hand():
    # Draws of 1, 2 and 4: pairs whose greatest is 1 are one of nine, 2 three, 4 five.
    np.testing.assert_allclose(best_of(np.array([4.0, 1, 2]), np.array([4.0, 1, 2]))[:2], [7 / 3, (1 + 6 + 20) / 9])


SIZES = {"corpus__synthetic__utterances": 150, "split__folds": 2, "model__heads": 3, "corpus__synthetic__signal": 30.0}
SHORT = {"train__protocol__max_epochs": 3, "train__protocol__patience": 2, "train__together": 2, "train__workers": 1}
SMALL_RANGES = {HIDDEN: [3, 6], RATE: {"low": 0.003, "high": 0.05, "log": True}, VIDEO: [0.1, 0.2]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Study:
    """A study of one variant on text alone, ready to be trained."""
    study = Study(tmp_path_factory.mktemp("tuned"))
    study.set(
        variants=["self_t"],
        seeds=[1],
        headline={"attention": "self", "modalities": "t"},
        confusion__fold=1,
        tune={"draws": 2, "ranges": SMALL_RANGES},
        **SIZES,
        **SHORT,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(study.folder)
        for main, *arguments in (
            (plan_stage.main,),
            (corpus_stage.main,),
            (features_stage.main, "--modality", "text"),
            (split_stage.main,),
        ):
            patch.setattr("sys.argv", ["stage", *arguments])
            main()
    return study


@pytest.fixture
def tuned(prepared, tmp_path, monkeypatch) -> Study:
    """The same in a folder of its own, which is the current one."""
    (tmp_path / "study").mkdir()
    study = prepared.untrained(tmp_path / "study")
    monkeypatch.chdir(study.folder)
    return study


def train(study: Study, monkeypatch, capsys, seed: int = 1, **changes) -> str:
    """Write the plans by changed params and train; what the stage says."""
    study.set(**changes)
    plan_stage.main()
    monkeypatch.setattr("sys.argv", ["stages.train", "--variant", "self_t", "--seed", str(seed)])
    stage.main()
    return capsys.readouterr().out


def test_more_draws_train_only_the_new_ones(tuned, monkeypatch, capsys):
    assert "2 folds of 2 different draws, " in train(tuned, monkeypatch, capsys)
    before = {path: path.stat().st_mtime_ns for path in Path(".work").glob("*/*.result")}
    table = pd.read_csv("runs/self_t/seed1/tuning.csv")
    assert len(before) == 4
    assert table["epochs"].sum() == sum(costs.read("self_t", 1).epochs.values())
    assert "2 folds of 4 different draws, 4 of them found in .work/" in train(tuned, monkeypatch, capsys, tune__draws=4)
    after = {path: path.stat().st_mtime_ns for path in Path(".work").glob("*/*.result")}
    assert len(after) == 8
    assert before.items() <= after.items()
    more = pd.read_csv("runs/self_t/seed1/tuning.csv")
    same = ["fold", "draw", RATE, HIDDEN, "development"]
    pd.testing.assert_frame_equal(more[more["draw"] <= 2][same].reset_index(drop=True), table[same])
    assert list(more) == ["fold", "draw", HIDDEN, RATE, "parameters", "epochs", "development", "chosen"]
    for _, fold in more.groupby("fold"):
        assert fold.loc[fold["chosen"], "draw"].tolist() == [fold["draw"].iloc[fold["development"].argmax()]]
    outcome, all_draws = (
        predictions.read_table(Path("runs/self_t/seed1/predictions.parquet")),
        tuning.read_predictions("self_t", 1),
    )
    chosen = all_draws.merge(more[more["chosen"]][["fold", "draw"]]).drop(columns="draw")
    pd.testing.assert_frame_equal(chosen, outcome)
    outputs = tuned.outputs("self_t", 1)
    assert ", 8 of them found in .work/" in train(tuned, monkeypatch, capsys)
    assert tuned.outputs("self_t", 1) == outputs


def test_one_draw_is_trained_as_if_its_values_were_in_params(tuned, monkeypatch, capsys):
    train(tuned, monkeypatch, capsys)
    number = 2
    values = draws.values(params.load().tune, number)
    drawn = tuning.read_predictions("self_t", 1)
    train(
        tuned,
        monkeypatch,
        capsys,
        tune__draws=0,
        model__hidden=values[HIDDEN],
        train__protocol__learning_rate=values[RATE],
    )
    alone = predictions.read_table(Path("runs/self_t/seed1/predictions.parquet"))
    pd.testing.assert_frame_equal(drawn[drawn["draw"] == number].drop(columns="draw").reset_index(drop=True), alone)
    assert set(tuned.outputs("self_t", 1)) == {"predictions.parquet", "dev.parquet", "curves.csv", "cost.json"}


def test_draws_of_the_same_settings_are_trained_once(tuned, monkeypatch, capsys):
    ranges = {VIDEO: {"low": 0.1, "high": 0.2}}  # self_t has no video
    assert "2 folds of 1 different draws, " in train(tuned, monkeypatch, capsys, tune={"draws": 3, "ranges": ranges})
    assert len(list(Path(".work").glob("*/*.result"))) == 2
    table = pd.read_csv("runs/self_t/seed1/tuning.csv")
    assert table[table["chosen"]]["draw"].tolist() == [1, 1]
    epochs = costs.read("self_t", 1).epochs
    assert epochs == table[table["draw"] == 1].set_index("fold")["epochs"].to_dict()


def test_what_was_stopped_between_draws_goes_on(tuned, monkeypatch, capsys):
    whole, calls = workers.train, []

    def stopped(run_ids, *arguments):
        calls.append(run_ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(run_ids, *arguments)

    monkeypatch.setattr(workers, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(tuned, monkeypatch, capsys)
    assert not Path("runs").exists()
    assert "2 folds of 2 different draws, 2 of them found in .work/" in train(tuned, monkeypatch, capsys)
    outputs = tuned.outputs("self_t", 1)
    for path in Path(".work").glob("*/*.result"):
        path.unlink()
    assert "found in .work/" not in train(tuned, monkeypatch, capsys)
    assert tuned.outputs("self_t", 1) == outputs


def test_the_place_in_the_study_counts_draws(tuned):
    tuned.set(seeds=[1, 2], tune__draws=3)
    plan_stage.main()
    config, own = params.load(), Draws("self_t", data_digest())
    assert [work.name for work in own.works] == [f"self_t draw {k} of 3" for k in (1, 2, 3)]
    second, runs, longest = own.works[1], [RunId(1, 1), RunId(1, 2)], own.positions
    for run in runs:
        own.works[0].write_result(run, Record(values={}, arrays={}))
    place = places.place(own, 1, {second.digest: runs}, [1, 2], config, trained=2)
    assert (place.done, place.own, place.later) == (0, 4 * longest, (2 + 6) * longest)
    predictions.folder("self_t", 1).mkdir(parents=True)
    own.note_written(1, runs=6, seconds=12.0)
    assert places.place(own, 2, {}, [1, 2], config).done == 6 * longest
    tuned.set(tune__draws=2)
    plan_stage.main()
    assert places.place(Draws("self_t", data_digest()), 2, {}, [1, 2], config).done == 0  # of other draws


def trained(seed: int | None) -> list[choice.Results]:
    """What fold 1's runs with each draw leave, and their test accuracy as `test`, if labels of the test part are
    permuted."""
    data, plans = features.read(["text"]), Draws("self_t", data_digest()).plan.plans()
    rows = {1: features.fold_rows(data, corpus.read_folds(), 1)}
    tested, label = rows[1]["test"], data.label.copy()
    if seed is not None:
        label[tested] = np.random.default_rng(seed).permutation(label[tested])
    results = []
    for plan in plans:
        ((_, run),) = protocol.train(plan, [RunId(1, 1)], rows, dataclasses.replace(data, label=label))
        record = run.record(weights=False)
        right = record.arrays["outputs/test"].argmax(axis=1) == label[tested]
        results.append({1: Record(values=record.values | {"test": right.mean()}, arrays=record.arrays)})
    return results


def test_a_leak_of_the_test_part_is_caught(tuned, monkeypatch):
    tuned.set(tune__draws=5)
    plan_stage.main()
    found = [trained(seed) for seed in (None, 1, 2)]
    assert len({own[1].values["test"] for results in found for own in results}) > 3  # there is something to leak
    # What is chosen, and all that it is chosen from, is the same whatever the labels of the test part are.
    assert found[0][0][1].values["epochs"] == found[1][0][1].values["epochs"]
    assert len({choice.choose(results, "accuracy")[1] for results in found}) == 1
    monkeypatch.setattr(choice, "development", lambda result, select: result.values["test"])
    assert len({choice.choose(results, "accuracy")[1] for results in found}) > 1


def test_a_draw_that_diverges_is_a_bad_one_and_an_error_only_alone(tuned, monkeypatch, capsys):
    """Without tuning the same rate stops the study."""
    diverging = {"tune": {"draws": 7, "ranges": {RATE: [0.01, 1e30]}}}
    assert "2 folds of 2 different draws" in train(tuned, monkeypatch, capsys, **diverging)
    table = pd.read_csv("runs/self_t/seed1/tuning.csv")
    bad = table[RATE] > 1
    assert bad.any()
    assert not table[bad]["chosen"].any()
    assert set(table[bad]["epochs"]) == {0}
    assert set(table[bad]["development"]) == {0}
    assert table[~bad]["epochs"].min() > 0
    drawn = predictions.read_table(Path("runs/self_t/seed1/draws.parquet"))
    assert np.isfinite(drawn.filter(like="probability_")).all(axis=None)
    with pytest.raises(UserError, match="fold 1: a draw must have an epoch with a finite loss, but of 7 none has"):
        train(tuned, monkeypatch, capsys, tune={"draws": 7, "ranges": {RATE: [1e30, 1e31]}})
    with pytest.raises(UserError, match="the loss must be finite"):
        train(tuned, monkeypatch, capsys, tune={"draws": 0}, train__protocol__learning_rate=1e30)


@pytest.fixture
def made_up(tmp_path, monkeypatch) -> Path:
    """A study of two variants, as if trained on two folds and tuned with three draws; where its run folders lie."""
    monkeypatch.chdir(tmp_path)
    tested = {1: np.arange(15), 2: np.arange(15, 30)}
    changes = {"variants": ["self_t", "gate_tv"], "seeds": [1], "headline": {"attention": "self", "modalities": "t"}}
    make_up(["a", "b"], tested, {1: np.arange(20, 25), 2: np.arange(5)}, **changes)
    return tmp_path


def test_a_study_that_is_not_tuned_has_an_empty_table_and_says_so(made_up):
    page.main()
    assert page.TABLE.read_text() == "variant,draws,development,test,runs\n"
    assert "Nothing was tuned" in page.PAGE.read_text()
    assert {path.name for path in page.FOLDER.iterdir()} == {"chosen.csv"}


def write_draws(variant: str, development: np.ndarray, right: np.ndarray) -> None:
    """Draws of folds 1 and 2, with development values [2, draws], of which as many of 15 are right [2, draws]."""
    rows, predicted = [], []
    outcome = predictions.read_table(predictions.folder(variant, 1) / "predictions.parquet")
    for fold, draw in itertools.product((1, 2), range(development.shape[1])):
        own = outcome[outcome["fold"] == fold].reset_index(drop=True)
        other = own["actual"].map({"a": "b", "b": "a"})
        own["predicted"] = own["actual"].where(own.index < right[fold - 1, draw], other)
        own.insert(1, "draw", draw + 1)
        predicted.append(own)
        rows.append(
            {
                "fold": fold,
                "draw": draw + 1,
                HIDDEN: 30 + draw,
                "parameters": 100 * fold + draw,
                "epochs": 2,
                "development": development[fold - 1, draw],
                "chosen": draw == development[fold - 1].argmax(),
            }
        )
    tuning.write_runs(predictions.folder(variant, 1), pd.DataFrame(rows), pd.concat(predicted, ignore_index=True))


def test_the_page_by_hand(made_up):
    document = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(changed(document, {"tune__draws": 2}), sort_keys=False))
    with pytest.raises(UserError, match="self_t seed 1: its draws are missing"):
        page.main()
    write_draws("self_t", np.array([[0.2, 0.6], [0.8, 0.4]]), np.array([[3, 6], [9, 12]]))
    write_draws("gate_tv", np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[3, 6], [9, 12]]))
    page.main()
    table = pd.read_csv(page.TABLE).set_index(["variant", "draws"])
    # Of two draws from two, the better one is the best in three of four; both folds count alike.
    assert table.loc[("self_t", 1), "development"] == pytest.approx((0.4 + 0.6) / 2)
    assert table.loc[("self_t", 2), "development"] == pytest.approx((0.5 + 0.7) / 2)
    assert table.loc[("self_t", 1), "test"] == pytest.approx(7.5 / 15)
    assert table.loc[("self_t", 2), "test"] == pytest.approx(((0.25 * 3 + 0.75 * 6) + (0.75 * 9 + 0.25 * 12)) / 2 / 15)
    assert table.loc[("gate_tv", 2), "test"] == pytest.approx(7.5 / 15)  # equal draws: either
    assert (table["runs"] == 2).all()
    chosen = pd.read_csv(page.FOLDER / "chosen.csv")
    assert chosen[["variant", "draw", "chosen", "runs", HIDDEN]].to_numpy().tolist() == [
        ["self_t", 1, 1, 2, 30],
        ["self_t", 2, 1, 2, 31],
        ["gate_tv", 1, 2, 2, 30],
        ["gate_tv", 2, 0, 2, 31],
    ]
    assert "| Gate T+V | 1 | 2 of 2 | model.hidden 30 |" in page.PAGE.read_text()
    assert (page.FOLDER / "draws.png").read_bytes().startswith(b"\x89PNG")
    aggregate.main()
    runs = pd.read_csv("metrics/scores.csv")
    assert runs[["variant", "fold", "parameters"]].to_numpy().tolist() == [
        ["self_t", 1, 101],
        ["self_t", 2, 200],
        ["gate_tv", 1, 100],
        ["gate_tv", 2, 200],
    ]
    flattered = Path("metrics/optimism.md").read_text()
    assert flattered.startswith("# What choosing the epoch and the draw flatters\n")
    assert "its draw of settings, one of 2 (`tune.draws`), by the same value" in flattered
    before = {path: path.read_bytes() for path in (page.TABLE, page.PAGE, page.FOLDER / "draws.png")}
    page.main()
    assert before == {path: path.read_bytes() for path in before}
