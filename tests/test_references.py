"""References: late fusion against averages, majority and prior against counts, and all of them through the stages."""

import json
import shutil
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.aggregate import __main__ as aggregate
from stages.common import corpus, costs, predictions, scores, task, variants
from stages.common.errors import UserError
from stages.common.features import Features
from stages.common.metrics import METRICS as ALL
from stages.confusion import __main__ as confusion
from stages.references import __main__ as references
from stages.references import models
from stages.ttest import __main__ as ttest
from stages.ttest import bootstrap, comparisons, power
from stages.ttest import study as ttest_study
from tests.conftest import make_up

METRICS = {name: own for name, own in ALL.items() if own.task == "classes"}
CLASSES = ["angry", "sad", "neutral"]
NAMES = [f"probability_{name}" for name in CLASSES]
SEEDS = [1, 2]
PARTS = {"self_t": 11, "self_v": 13, "self_a": 17}
"""Variants and their numbers of parameters."""
REFERENCES = ["late_tva", "late_va", "majority_t", "majority_tva", "prior_tva"]
TESTED = {1: np.arange(0, 5), 2: np.arange(11, 16)}
DEVELOPED = {1: np.arange(5, 9), 2: np.arange(0, 4)}
PAIRS = [
    ("majority_t", "majority_tva"),
    ("majority_tva", "prior_tva"),
    ("late_tva", "self_t"),
    ("late_tva", "majority_tva"),
]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    """A study of three variants, two seeds and two folds, as if trained, with its references."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        changes = {"seeds": SEEDS, "references": REFERENCES, "headline__modalities": "t"}
        changes |= {"compare__metrics": ["calibration_error"], "compare__pairs": [list(pair) for pair in PAIRS]}
        make_up(CLASSES, TESTED, DEVELOPED, variants=list(PARTS), **changes)
        for name, seed in product(PARTS, SEEDS):
            costs.write(predictions.folder(name, seed), costs.Cost(PARTS[name], dict.fromkeys(TESTED, 3)))
        references.main()
    return folder


@pytest.fixture
def study(made_up, tmp_path, monkeypatch) -> Path:
    """A copy of it, as the current folder."""
    folder = shutil.copytree(made_up, tmp_path / "study")
    monkeypatch.chdir(folder)
    return folder


def read(name: str, seed: int, part: str = "test") -> pd.DataFrame:
    return predictions.read(name, seed, task.classes(CLASSES), part)


def put(name: str, seed: int, part: str, rows: list[list[float]]) -> None:
    """Have a run's first predictions be these probabilities."""
    table = read(name, seed, part).drop(columns=["variant", "seed"])
    table.loc[: len(rows) - 1, NAMES] = np.array(rows, np.float32)
    predictions.write(predictions.folder(name, seed), table, part)


def test_late_fusion_is_an_average_worked_by_hand(study):
    put("self_t", 2, "dev", [[0.5, 0.3, 0.2], [0.5, 0.25, 0.25]])
    put("self_v", 2, "dev", [[0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
    put("self_a", 2, "dev", [[0.3, 0.1, 0.6], [0.25, 0.5, 0.25]])
    references.main()
    found = read("late_tva", 2, "dev")
    assert found.loc[:1, NAMES].to_numpy() == pytest.approx(np.array([[0.3, 0.4, 0.3], [1 / 3] * 3]))
    assert found["predicted"].tolist()[0] == "sad"
    two = read("late_va", 2, "dev")
    assert two.loc[:0, NAMES].to_numpy() == pytest.approx(np.array([[0.2, 0.45, 0.35]]))


@pytest.mark.parametrize("part", predictions.FILES)
@pytest.mark.parametrize(
    ("name", "parts"), [("late_tva", ["self_t", "self_v", "self_a"]), ("late_va", ["self_v", "self_a"])]
)
def test_late_fusion_is_of_the_same_fold_seed_and_utterance(name, parts, part, made_up, monkeypatch):
    monkeypatch.chdir(made_up)
    for seed in SEEDS:
        found, own = read(name, seed, part), [read(each, seed, part) for each in parts]
        assert found[["fold", "utterance_id", "actual"]].equals(own[0][["fold", "utterance_id", "actual"]])
        for row in found.itertuples():
            of_parts = [table.set_index(["fold", "utterance_id"]).loc[(row.fold, row.utterance_id)] for table in own]
            mean = [sum(float(each[column]) for each in of_parts) / len(parts) for column in NAMES]
            assert [getattr(row, column) for column in NAMES] == pytest.approx(mean, abs=1e-7)
            assert row.predicted == CLASSES[mean.index(max(mean))]


SHARES = {1: [7 / 21, 7 / 21, 7 / 21], 2: [6 / 21, 8 / 21, 7 / 21]}
"""Of the classes in the training parts: rows 9 … 29 in fold 1, 4 … 10 and 16 … 29 in fold 2, each of class row % 3."""


@pytest.mark.parametrize("part", predictions.FILES)
def test_the_majority_is_counted_in_the_training_part(part, made_up, monkeypatch):
    monkeypatch.chdir(made_up)
    for seed, name in product(SEEDS, ("majority_t", "majority_tva")):
        found = read(name, seed, part)
        for fold, most in ((1, "angry"), (2, "sad")):  # of equals the first
            own = found[found["fold"] == fold]
            assert set(own["predicted"]) == {most}
            assert own[NAMES].to_numpy() == pytest.approx(np.tile(SHARES[fold], (len(own), 1)))


def test_the_prior_has_the_same_shares(made_up, monkeypatch):
    monkeypatch.chdir(made_up)
    for seed, part in product(SEEDS, predictions.FILES):
        drawn, most = read("prior_tva", seed, part), read("majority_tva", seed, part)
        assert drawn.drop(columns=["variant", "predicted"]).equals(most.drop(columns=["variant", "predicted"]))


@pytest.fixture(scope="module")
def large() -> tuple[Features, pd.DataFrame]:
    """A corpus of four classes, the last of them in no training part, and two folds of many utterances."""
    label = np.r_[np.repeat([0, 1, 2], [50, 20, 30]), np.arange(3000) % 4, np.arange(3000) % 4]
    names = np.array([f"u{row}" for row in range(len(label))])
    part = np.repeat(["train", "dev", "test"], [100, 3000, 3000])
    folds = pd.concat([pd.DataFrame({"fold": fold, "utterance_id": names, "part": part}) for fold in (1, 2)])
    meta = corpus.Meta(corpus="made up", classes=["a", "b", "c", "d"], modalities=["text"])
    return Features(meta=meta, utterance_id=names, label=label, sequences={}), folds


def test_the_prior_draws_classes_as_often_as_they_are_in_the_training_part(large):
    draws = {}
    for seed, part in product((1, 2), ("dev", "test")):
        table = models.prior(*large, part, seed)
        for fold, own in table.groupby("fold"):
            draws[seed, part, fold] = own["predicted"].tolist()
    for drawn in draws.values():
        assert len(drawn) == 3000
        for name, share in zip("abcd", (0.5, 0.2, 0.3, 0.0), strict=True):
            deviation = np.sqrt(share * (1 - share) / 3000)
            assert abs(drawn.count(name) / 3000 - share) <= 5 * deviation
    for one, other in product(draws, draws):  # chance: two draws agree as often as Σ p² says
        agree = np.mean([a == b for a, b in zip(draws[one], draws[other], strict=True)])
        assert agree == (1 if one == other else pytest.approx(0.38, abs=0.05))


def test_the_answers_of_chance_have_the_confidence_with_which_they_were_drawn(large):
    """Where classes are as frequent as in training, the answers are right as often as they say."""
    features, folds = large
    features = Features(
        meta=features.meta,
        utterance_id=features.utterance_id,
        label=np.resize(features.label[:100], 6100),
        sequences={},
    )
    own = scores.scores(models.prior(features, folds, "test", 3), task.classes(features.meta.classes))
    assert own["accuracy"] == pytest.approx(0.38, abs=0.03)  # .5² + .2² + .3²
    assert own["calibration_error"] < 0.06  # with the highest probability, .5, it would be .12
    most = scores.scores(models.majority(features, folds, "test"), task.classes(features.meta.classes))
    assert most["accuracy"] == 0.5
    assert most["balanced_accuracy"] == pytest.approx(1 / 3)
    entropy = -sum(p * np.log(p) for p in (0.5, 0.2, 0.3))
    for found in (own, most):
        assert found["negative_log_likelihood"] == pytest.approx(entropy)
        assert found["brier_score"] == pytest.approx(1 - 0.38)


def test_a_confidence_is_that_of_the_answer():
    probabilities = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], np.float32)
    assert scores.confidence(probabilities, np.array([1, 0], np.uint8), 1.0) == pytest.approx([0.3, 0.6])
    squares = np.array([0.09 / 0.38, 0.36 / 0.46])  # a temperature of ½
    assert scores.confidence(probabilities, np.array([1, 0]), 0.5) == pytest.approx(squares)


def test_parameters_are_those_of_the_parts(made_up, monkeypatch):
    monkeypatch.chdir(made_up)
    for seed in SEEDS:
        found = {name: costs.read(name, seed).parameters for name in REFERENCES}
        assert found == {"late_tva": 41, "late_va": 30, "majority_t": 0, "majority_tva": 0, "prior_tva": 0}


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_bytes_come_out_and_what_was_there_before_is_gone(study):
    before = written(study / "references")
    files = ("dev.parquet", "cost.json", "predictions.parquet")
    expected = {f"{name}/seed{seed}/{file}" for name, seed, file in product(REFERENCES, SEEDS, files)}
    assert set(before) == expected | {"README.md"}
    (study / "references/late_ta").mkdir()
    references.main()
    assert written(study / "references") == before
    assert not (study / "references/late_ta").exists()


def test_without_references_there_is_nothing_but_a_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_up(CLASSES, TESTED, DEVELOPED, variants=["self_tva"], seeds=[1])
    references.main()
    assert list(written(Path("references"))) == ["README.md"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("runs/self_v/seed2/cost.json", "^runs/self_v/seed2/cost.json: this file is missing; "),
        ("runs/self_a/seed1/dev.parquet", "^runs/self_a/seed1/dev.parquet is missing: dvc repro writes"),
        ("runs/self_t/seed2/predictions.parquet", "^runs/self_t/seed2/predictions.parquet is missing"),
        ("data/folds.csv", "^data/folds.csv: this file is missing"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_written(damage, said, study):
    before = written(study / "references")
    (study / damage).unlink()
    with pytest.raises(UserError, match=said):
        references.main()
    assert written(study / "references") == before


def test_parts_of_other_utterances_are_said(study):
    table = read("self_v", 1).drop(columns=["variant", "seed"])
    predictions.write(predictions.folder("self_v", 1), table.iloc[1:])
    with pytest.raises(UserError, match=r"^runs/self_v/seed1/predictions.parquet must be of the same folds, "):
        references.main()


def test_a_missing_reference_is_said(study):
    (study / "references/prior_tva/seed2/predictions.parquet").unlink()
    for stage in (aggregate, ttest, confusion):
        with pytest.raises(UserError, match=r"^references/prior_tva/seed2/predictions.parquet is missing: dvc repro"):
            stage.main()


def test_they_are_models_like_any_other(study, monkeypatch, capsys):
    for stage in (aggregate, ttest, confusion):
        stage.main()
    everything = [*PARTS, *REFERENCES]
    runs = pd.read_csv("metrics/scores.csv")
    assert list(dict.fromkeys(runs["variant"])) == everything
    assert np.isfinite(runs.drop(columns=["variant", "epochs"]).to_numpy()).all()
    tested = read("late_tva", 2).query("fold == 1")
    row = runs.query("variant == 'late_tva' and fold == 1 and seed == 2").iloc[0]
    assert row["accuracy"] == (tested["actual"] == tested["predicted"]).mean()
    errors = runs.groupby("variant")["calibration_error"].mean()
    compared = pd.read_csv("metrics/ttest.csv").query("score == 'calibration_error' and b == 'prior_tva'").iloc[0]
    assert compared[["mean_a", "mean_b"]].to_list() == pytest.approx([errors["majority_tva"], errors["prior_tva"]])
    for number in (1, 2):
        table = Path(f"metrics/table{number}.md").read_text()
        assert all(f"| {name} |" in table for name in ("Late", "Majority", "Prior"))
    assert list(pd.read_csv("metrics/ranks.csv")["variant"]) == everything
    optimism = Path("metrics/optimism.md").read_text()
    assert "Late T+V+A" in optimism
    assert "References have no epochs of their own. Each cell" in optimism
    drawn = {path.name for path in Path("plots/confusion").iterdir()}
    assert {"tva_late.png", "va_late_fold1.png", "t_majority.png", "tva_majority.png", "tva_prior.png"} <= drawn
    monkeypatch.setattr("sys.argv", ["power", "--pair", "late_tva", "prior_tva"])
    power.main()
    assert "Late T+V+A − Prior T+V+A" in capsys.readouterr().out


def test_models_that_seeds_do_not_change_are_compared_without_a_nan(study):
    own = ttest_study.read()
    settings, unit = own.config.compare.model_copy(update={"metrics": list(METRICS)}), own.design.numbers
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = bootstrap.draws(own.answers, unit(own.answers.utterance_id), settings.metrics)
        table = comparisons.compare(own.answers, own.config.pairs, settings, own.design, drawn)
    assert list(dict.fromkeys(zip(table["a"], table["b"], strict=True))) == PAIRS
    sums = [name for name in METRICS if METRICS[name].is_sum]
    numbers = table[table["score"].isin(sums)].drop(columns=["a", "b", "score", "family", "test", "verdict"])
    assert not numbers.isna().any(axis=None)
    same = table[(table["a"] == "majority_t") & table["score"].isin(METRICS)]
    assert len(same) == len(METRICS)
    for name, value in {"difference": 0, "se": 0, "t": 0, "d_z": 0, "p": 1, "p_holm": 1, "superiority": 0.5}.items():
        assert (same[name] == value).all(), name
    assert (same["p_equivalence"] == 0).all()
    assert set(map(str, same["verdict"])) == {"equivalent"}
    chance = table[(table["b"] == "prior_tva") & table["score"].isin(["negative_log_likelihood", "brier_score"])]
    assert (chance["difference"] == 0).all()
    assert json.loads(Path("references/prior_tva/seed1/cost.json").read_text()) == {"parameters": 0, "epochs": {}}


def test_late_fusion_is_tested_against_self_and_cross_and_the_others_against_self():
    names = ["self_t", "self_tva", "cross_tva", "late_tva", "majority_tva", "prior_t"]
    assert set(variants.pairs(names)) == {
        ("self_tva", "cross_tva"),
        ("late_tva", "self_tva"),
        ("late_tva", "cross_tva"),
        ("majority_tva", "self_tva"),
        ("prior_t", "self_t"),
    }
