"""`task: dimensions`: the CCC as loss and as score, corpora with values, and a study from the corpus to its figures."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from stages.common import corpus, features, params, predictions, scores, task
from stages.common.errors import UserError
from stages.corpus import manifest, synthetic
from stages.split import dimensions
from stages.train import objective
from tests.conftest import Study

NAMES = ["valence", "activation", "dominance"]
SCALE = [1.0, 5.0]


def ccc(x, y) -> float:
    """As the textbook has it."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    return 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2 + 1e-8)


def test_the_ccc_by_hand():
    """Means 2 and 3, variances 2/3 and 2, covariance 1: 2 / (2/3 + 2 + 1) = 6/11."""
    assert scores.concordance(np.array([1, 2, 3]), np.array([2, 2, 5])) == pytest.approx(6 / 11, abs=1e-8)


def test_the_ccc_is_numpys_and_counts_utterances_as_often_as_told():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 7, 41)) * 1.7
    times = rng.integers(0, 4, 41)
    found = scores.concordance(x, y, times)
    for i in range(7):
        assert scores.concordance(x, y)[i] == pytest.approx(ccc(x[i], y[i]), abs=1e-12)
        assert found[i] == pytest.approx(ccc(x[i].repeat(times), y[i].repeat(times)), abs=1e-12)
    assert np.isnan(scores.concordance(x[0], y[0], np.zeros(41)))


@pytest.mark.parametrize(("y", "expected"), [([1, 2, 4], 1), ([3, 3, 3], 0), ([4, 2, 1], 1 - 26 / 14), ([5, 5, 5], 0)])
def test_the_ccc_of_values_that_agree_are_constant_or_turned_round(y, expected):
    if expected < 0:
        expected = ccc([1, 2, 4], y)
        assert expected < -0.5
    assert scores.concordance(np.array([1, 2, 4]), np.array(y)) == pytest.approx(expected, abs=1e-7)


def aim(values: np.ndarray) -> objective.Dimensions:
    """The objective of a corpus with these values [N, 3]."""
    return objective.of("dimensions", known(values))


def known(values: np.ndarray) -> features.Features:
    """A corpus without modalities."""
    meta = corpus.Meta(corpus="made", classes=["a", "b"], modalities=[], dimensions=dict.fromkeys(NAMES, SCALE))
    names = np.array([f"u{i}" for i in range(len(values))])
    label = np.arange(len(values)) % 2
    return features.Features(meta=meta, utterance_id=names, label=label, sequences={}, values=values)


def batch(*counts: int, size: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs and targets [R, size, 3] of batches of so many utterances, with what lies in padding, and `real`."""
    rng = torch.Generator().manual_seed(5)
    outputs, targets = torch.rand(2, len(counts), size, 3, generator=rng, dtype=torch.float64)
    return outputs, targets, (torch.arange(size) < torch.tensor(counts)[:, None]).double()


def test_the_loss_is_one_minus_the_mean_ccc_of_each_runs_batch_and_agrees_with_the_score():
    outputs, targets, real = batch(11, 13, 2)
    loss = aim(np.zeros((1, 3), np.float32)).loss(outputs, targets, real)
    for r, count in enumerate((11, 13, 2)):
        own = [ccc(targets[r, :count, k], outputs[r, :count, k]) for k in range(3)]
        assert loss.minimised[r].item() == pytest.approx(1 - np.mean(own), abs=1e-12)
        assert loss.total[r].item() == pytest.approx(count * (1 - np.mean(own)), abs=1e-11)
    assert loss.counted.tolist() == [11, 13, 2]
    values = targets[1, :13].float().numpy()
    found = aim(values).scores(outputs[1, :13], np.arange(13))
    expected = np.mean([ccc(values[:, k], outputs[1, :13, k]) for k in range(3)])
    assert found == pytest.approx({"loss": 1 - expected, "ccc": expected}, abs=1e-12)


def test_the_losss_gradient_is_that_of_finite_differences_and_stops_at_padding():
    outputs, targets, real = batch(7, 3, size=8)
    own = aim(np.zeros((1, 3), np.float32))
    outputs.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: own.loss(x, targets, real).minimised, outputs)
    own.loss(outputs, targets, real).minimised.sum().backward()
    assert (outputs.grad.abs().sum(2) > 0).equal(real > 0)


def test_a_batch_of_one_counts_nothing():
    outputs, targets, real = batch(1, 5)
    outputs.requires_grad_()
    loss = aim(np.zeros((1, 3), np.float32)).loss(outputs, targets, real)
    loss.minimised.sum().backward()
    assert (loss.minimised[0].item(), loss.total[0].item(), loss.counted[0].item()) == (0, 0, 0)
    assert not outputs.grad[0].any()
    assert outputs.grad[1].any()


def test_predictions_are_on_the_corpuss_scale(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.float32([[-1, 0, 1], [0.5, -0.25, 0]])
    made, folder = known(values), predictions.folder("self_t", 3)
    folder.mkdir(parents=True)
    table = predictions.table(made, 4, np.array([1, 0]), np.float32([[0, 0, 0.5], [-1, 1, 2]]), "dimensions")
    predictions.write(folder, table)
    found = predictions.read("self_t", 3, task.dimensions(NAMES))
    assert found.iloc[0].tolist() == ["self_t", 3, 4, "u1", 4, 2.5, 3, 3, 3, 4]
    assert found.iloc[1].tolist() == ["self_t", 3, 4, "u0", 1, 3, 5, 1, 5, 7]
    with pytest.raises(UserError, match=r"must have the columns .*actual_valence.*, for the dimensions of .*: run dvc"):
        predictions.read("self_t", 3, task.dimensions(NAMES[:1]))


def test_values_of_another_scale_are_trained_on_alike():
    labels, other_scale = ["sad", "happy", "angry"] * 5, [-1.0, 1.0]
    one, other = (
        pd.DataFrame(synthetic.ratings(labels, scale, np.random.default_rng(1)), columns=NAMES)
        for scale in (SCALE, other_scale)
    )
    assert one.min().min() >= 1
    assert one.max().max() <= 5
    assert (2 * one == (2 * one).round()).all(axis=None)
    read = [
        corpus.values(
            table.astype(str), corpus.Meta(corpus="x", classes=["a", "b"], modalities=["t"], dimensions=scales)
        )
        for table, scales in ((one, dict.fromkeys(NAMES, SCALE)), (other, dict.fromkeys(NAMES, other_scale)))
    ]
    np.testing.assert_allclose(read[0], read[1], atol=1e-6)
    assert (one.groupby(labels)["valence"].mean()[["happy", "sad"]].diff().iloc[1]) < -1


UTTERANCES = pd.DataFrame(
    {"utterance_id": list("abcd"), "valence": ["1.5", "", "3", "5.5"], "activation": ["2", "3", "4", ""]}
)
META = corpus.Meta(corpus="x", classes=["a", "b"], modalities=["text"], dimensions=dict.fromkeys(NAMES[:2], SCALE))


def test_utterances_that_lack_a_value_are_in_no_fold(capsys):
    folds = pd.DataFrame({"fold": [1, 1, 1, 1], "utterance_id": list("abcd"), "part": ["train", "dev", "test", "test"]})
    assert dimensions.rated(folds, UTTERANCES, META)["utterance_id"].tolist() == ["a", "c"]
    said = capsys.readouterr()
    assert said.out == "2 of 4 utterances are in no fold: they lack a value of valence, activation\n"
    assert said.err == (
        "warning: valence: 1 of 3 values are outside corpus.scale [1.0, 5.0]: they go from 1.5 to 5.5\n"
    )


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["1", "2", "999", "-20"], r"near corpus.scale \[1.0, 5.0\], but is 999 for utterance 'c' and 1 more$"),
        (["2", "2", "2", ""], "valence must differ between utterances, but is 2 for all$"),
        (["", "", "", "3"], "valence must differ between"),
        (["", "1", "", "3"], "task: dimensions needs utterances with values of valence, activation, but none has all"),
        (["x", "1", "", "3"], "valence must be a number or empty: run dvc repro"),
    ],
)
def test_a_column_that_cannot_be_a_dimension_is_refused(column, message):
    activation = ["1", "", "2", ""]
    with pytest.raises(UserError, match=message):
        dimensions.rated(pd.DataFrame(), UTTERANCES.assign(valence=column, activation=activation), META)


def test_a_manifests_columns_are_its_dimensions(tmp_path):
    rows = "utterance_id,label,text_file_name,valence,activation\n" + "".join(
        f"u{i},{'ab'[i % 2]},x{i}.npy,{i / 2},\n" for i in range(6)
    )
    (tmp_path / "metadata.csv").write_text(rows)
    for i in range(6):
        np.save(tmp_path / f"x{i}.npy", np.zeros((2, 3), np.float32))
    found = manifest.read(params.Corpus(source="manifest", root=str(tmp_path), scale=[0.0, 7.0]))
    assert found.meta.dimensions == {"valence": [0.0, 7.0]}  # activation is empty in every row
    assert [own["valence"] for own in found.utterances] == [0, 0.5, 1, 1.5, 2, 2.5]


def test_a_corpus_without_values_has_no_such_task():
    meta = corpus.Meta(corpus="MELD", classes=["a", "b"], modalities=["text"])
    with pytest.raises(
        UserError, match=r"task must be classes for a corpus without values of .*, such as MELD, but is"
    ):
        task.of("dimensions", meta)


VARIANTS, SEEDS = ["self_tv", "cross_tv"], [1, 2]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """A study of dimensions through DVC."""
    study = Study(tmp_path_factory.mktemp("dimensions"))
    study.set(
        task="dimensions",
        variants=VARIANTS,
        references=["prior_tv"],
        seeds=SEEDS,
        corpus__synthetic__utterances=150,
        split__folds=2,
        model__hidden=6,
        headline__modalities="tv",
        train__protocol__max_epochs=12,
        train__protocol__learning_rate=0.01,
        train__save_weights=True,
        evaluate__emap=True,
        evaluate__missing=True,
    )
    study.make_repository()
    study.ok("dvc", "repro")
    return study


def test_all_tables_follow_from_the_predictions(study):
    table, rows = pd.read_csv(study.folder / "metrics/scores.csv"), []
    for variant, seed in product(VARIANTS, SEEDS):
        predicted = pd.read_parquet(study.folder / f"runs/{variant}/seed{seed}/predictions.parquet")
        for fold, own in predicted.groupby("fold"):
            parts = [ccc(own[f"actual_{name}"], own[f"predicted_{name}"]) for name in NAMES]
            rows.append([variant, fold, seed, np.mean(parts), *parts])
    expected = pd.DataFrame(rows, columns=["variant", "fold", "seed", "ccc", *(f"ccc_{name}" for name in NAMES)])
    own = table.merge(expected, on=["variant", "fold", "seed"], suffixes=("", "_expected"))
    assert len(own) == len(rows) == 8
    for name in expected.columns[3:]:
        np.testing.assert_allclose(own[name], own[f"{name}_expected"], atol=1e-6)
    assert table[table["variant"] == "prior_tv"]["ccc"].abs().max() < 1e-6
    assert expected["ccc"].mean() > 0.1  # something is learnt in twelve epochs
    means = pd.read_csv(study.folder / "metrics/table2.csv").set_index("variant")["mean"]
    for variant in VARIANTS:
        assert means[variant] == pytest.approx(expected[expected["variant"] == variant]["ccc"].mean(), abs=1e-6)
    headline = json.loads((study.folder / "metrics/headline.json").read_text())
    own = expected[expected["variant"] == "self_tv"]
    assert headline["ccc"]["mean"] == pytest.approx(own["ccc"].mean(), abs=1e-6)
    assert headline["ccc_by_dimension"]["dominance"] == pytest.approx(own["ccc_dominance"].mean(), abs=1e-6)


def test_the_tests_are_of_the_ccc(study):
    tested = pd.read_csv(study.folder / "metrics/ttest.csv")
    assert set(tested["score"]) == {"ccc", *(f"ccc_{name}" for name in NAMES)}
    assert tested["p"].between(0, 1).all()
    page = (study.folder / "metrics/ttest.md").read_text()
    assert "CCC" in page
    assert "accuracy" not in page.lower()
    row = tested[(tested["a"] == "self_tv") & (tested["b"] == "cross_tv") & (tested["score"] == "ccc")].iloc[0]
    scored = pd.read_csv(study.folder / "metrics/scores.csv").groupby("variant")["ccc"].mean()
    assert row["difference"] == pytest.approx(scored["self_tv"] - scored["cross_tv"], abs=1e-9)


def test_figures_are_of_values_not_of_classes(study):
    assert {path.name for path in (study.folder / "plots/scatter").iterdir()} == {
        "tv.png",
        "tv_fold1.png",
        "tv_prior.png",
        "tv_prior_fold1.png",
        "ccc.png",
    }
    assert [path.name for path in (study.folder / "plots/confusion").iterdir()] == ["README.md"]
    curves = pd.read_csv(study.folder / "plots/headline/curves.csv")
    assert list(curves) == ["epoch", "train_loss", "dev_loss", "dev_score"]
    np.testing.assert_allclose(curves["dev_loss"], 1 - curves["dev_score"], atol=1e-9)


def test_evaluations_are_of_values(study):
    emap = pd.read_csv(study.folder / "metrics/emap.csv")
    missing = pd.read_csv(study.folder / "metrics/missing.csv")
    scored = pd.read_csv(study.folder / "metrics/scores.csv").groupby("variant")["ccc"].mean()
    for row in emap.itertuples():
        assert row.mean_a == pytest.approx(scored[row.a], abs=1e-6)
    whole = missing[missing["change"] == "none"].set_index("variant")["mean"]
    for variant in VARIANTS:
        assert whole[variant] == pytest.approx(scored[variant], abs=1e-4)


def test_what_is_said_of_an_utterance_of_the_corpus_is_its_runs_prediction(study, monkeypatch):
    monkeypatch.chdir(study.folder)
    predicted = pd.read_parquet("runs/cross_tv/seed2/predictions.parquet")
    row, known = predicted[predicted["fold"] == 2].iloc[3], features.read(["text", "video"])
    place = known.utterance_id.tolist().index(row["utterance_id"])
    for name, own in known.sequences.items():
        np.save(f"{name}.npy", own[place])
    which = ("--variant", "cross_tv", "--seed", "2", "--fold", "2")
    said = study.ok(
        "python",
        "-m",
        "stages.predict",
        *which,
        "--features",
        "text=text.npy",
        "--features",
        "video=video.npy",
        "--json",
    )
    values = json.loads(said.splitlines()[-1])["values"]
    assert values == pytest.approx({name: row[f"predicted_{name}"] for name in NAMES}, abs=1e-5)


def test_a_second_repro_does_nothing_and_a_run_is_the_same_again(study):
    assert "Data and pipelines are up to date" in study.ok("dvc", "repro", "headline")
    before = study.outputs("cross_tv", 2)
    for path in (study.folder / ".work").glob("*/*.result"):
        path.unlink()
    study.ok("python", "-m", "stages.train", "--variant", "cross_tv", "--seed", "2")
    assert study.outputs("cross_tv", 2) == before
