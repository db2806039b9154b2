"""Scores and tables against hand-worked numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from stages.aggregate import __main__ as aggregate
from stages.aggregate import optimism, papers_tables
from stages.common import corpus, features, predictions, scores, tables, task, variants
from stages.common.metrics import PAPERS
from stages.confusion import __main__ as confusion
from stages.headline import __main__ as headline
from stages.ttest import __main__ as ttest
from tests.conftest import make_up

CLASSES = ["a", "b", "c"]
TASK = task.classes(CLASSES)


def made(actual: str, predicted: str) -> pd.DataFrame:
    return pd.DataFrame({"actual": list(actual), "predicted": list(predicted)})


def test_scores_by_hand():
    # a: 2 of 3, b: 1 of 2, c: 0 of 1. Precisions: a 2/3, b 1/2, c 0/1.
    result = scores.scores(made("aaabbc", "aabbca"), TASK)
    assert result["accuracy"] == pytest.approx(3 / 6)
    assert result["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert [result[f"recall_{name}"] for name in CLASSES] == pytest.approx([2 / 3, 1 / 2, 0])


def test_a_class_that_is_not_tested_has_no_recall():
    result = scores.scores(made("aab", "acb"), TASK)
    assert result["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert np.isnan(result["recall_c"])


@given(
    st.permutations(["neutral", "angry", "sad", "happy", "frustrated", "excited", "surprise", "bored", "Calm"]).flatmap(
        lambda classes: st.tuples(
            st.just(classes), st.lists(st.tuples(*[st.sampled_from(classes)] * 2), min_size=1, max_size=40)
        )
    )
)
def test_scores_are_scikit_learns(drawn):
    classes, pairs = drawn
    table = pd.DataFrame(pairs, columns=["actual", "predicted"])
    result = scores.scores(table, task.classes(classes))
    assert result["accuracy"] == metrics.accuracy_score(table["actual"], table["predicted"])
    for name in ("macro", "weighted"):
        f1 = metrics.f1_score(table["actual"], table["predicted"], average=name, zero_division=0)
        assert result[f"{name}_f1"] == pytest.approx(f1, rel=1e-14)
    recalls = metrics.recall_score(*table.to_numpy().T, labels=classes, average=None, zero_division=np.nan)
    np.testing.assert_array_equal([result[f"recall_{name}"] for name in classes], recalls)
    assert result["balanced_accuracy"] == pytest.approx(np.nanmean(recalls), rel=1e-14)


def test_one_row_a_run():
    rows = pd.concat([made("ab", "ab").assign(variant="v", fold=fold, seed=seed) for seed in (3, 1) for fold in (1, 2)])
    runs = scores.run_scores(rows, TASK)
    assert runs[["variant", "fold", "seed"]].values.tolist() == [["v", 1, 3], ["v", 2, 3], ["v", 1, 1], ["v", 2, 1]]
    assert (runs["accuracy"] == 1).all()


def test_predictions_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "RUNS", tmp_path)
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], np.float32)
    folder = predictions.folder("self_t", 5)
    folder.mkdir(parents=True)
    made_up = features.Features(
        meta=corpus.Meta(corpus="made up", classes=CLASSES, modalities=["text"]),
        utterance_id=np.array(["y", "other", "x"]),
        label=np.array([2, 0, 1]),
        values=np.empty((3, 0), np.float32),
        sequences={},
    )
    predictions.write(folder, predictions.table(made_up, 2, np.array([2, 0]), probabilities))
    read = predictions.read("self_t", 5, TASK)
    assert read[["variant", "seed", "fold", "utterance_id", "actual", "predicted"]].values.tolist() == [
        ["self_t", 5, 2, "x", "b", "b"],
        ["self_t", 5, 2, "y", "c", "a"],
    ]
    np.testing.assert_array_equal(read[[f"probability_{name}" for name in CLASSES]], probabilities)


def test_optimism_is_how_much_better_the_development_part_looks():
    keys = {"variant": ["self_v", "self_v"], "fold": [1, 2], "seed": [1, 1]}
    dev = pd.DataFrame(keys | {"accuracy": [0.9, 0.8], "brier_score": [0.1, 0.2]})
    test = pd.DataFrame(keys | {"accuracy": [0.6, 0.7], "brier_score": [0.3, 0.1]}).iloc[::-1]
    table = optimism.compare(dev, test, ["accuracy", "brier_score"]).set_index("metric")
    assert table.loc["accuracy", ["dev", "test", "optimism"]].to_list() == pytest.approx([0.85, 0.65, 0.2])
    assert table.loc["accuracy", "std"] == pytest.approx(0.1 * np.sqrt(2))  # .3 and .1
    assert table.loc["brier_score", "optimism"] == pytest.approx(0.05)
    page = optimism.as_markdown(table.reset_index(), "loss", "made up")
    assert "chosen by its development loss" in page
    assert "References" not in page
    assert "draw" not in page
    assert "| Self V | .850, .650: +20.0 ± 14.1 | .150, .200: +5.0 ± 21.2 |" in page


def study_scores() -> pd.DataFrame:
    values = {
        "self_tva": (0.50, 0.60),
        "cross_tva": (0.40, 0.44),
        "self_t": (0.30, 0.30),
        "crossself_tva": (0.50, 0.52),
    }
    return pd.DataFrame(
        [
            {"variant": name, "fold": fold, "seed": 1, "parameters": 98765, "epochs": 10 + fold}
            | {"accuracy": value, "balanced_accuracy": value / 2}
            for name, pair in values.items()
            for fold, value in enumerate(pair, start=1)
        ]
    )


def test_table_1_by_hand():
    table = papers_tables.arrange(papers_tables.summarise(study_scores(), PAPERS), 1, None, "tva")
    assert list(table["variant"]) == ["self_t", "cross_tva", "self_tva"] * 2  # the paper's order, and no Cross+Self
    assert list(table["metric"]) == ["balanced_accuracy"] * 3 + ["accuracy"] * 3
    assert list(table["best"]) == [False, False, True] * 2  # nothing is compared with self_t
    best = table.iloc[5]
    assert (best["mean"], best["n"]) == (pytest.approx(0.55), 2)
    assert best["std"] == pytest.approx(0.1 / np.sqrt(2))
    assert "paper_mean" not in table
    text = papers_tables.as_markdown(table, 1, "synthetic")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| Modality | Model | WA (balanced accuracy) | UWA (accuracy) | Parameters | Epochs |"
    assert rows[2:] == [
        "| T | Self | .150 ± .000 | .300 ± .000 | 98,765 | 11.5 |",
        "| T+V+A | Cross | .210 ± .014 | .420 ± .028 | 98,765 | 11.5 |",
        "| T+V+A | Self | **.275 ± .035** | **.550 ± .071** | 98,765 | 11.5 |",
    ]


def test_table_2_has_the_largest_combination_and_all_fusions():
    table = papers_tables.arrange(papers_tables.summarise(study_scores(), PAPERS), 2, None, "tva")
    assert list(table["variant"]) == ["cross_tva", "self_tva", "crossself_tva"] * 2
    assert list(table["best"]) == [False, True, False] * 2


def test_the_papers_numbers_stand_beside_iemocaps():
    summary = papers_tables.summarise(study_scores(), PAPERS)
    table = papers_tables.arrange(summary, 1, papers_tables.read_published(), "tva")
    row = table[(table["variant"] == "cross_tva") & (table["metric"] == "accuracy")].iloc[0]
    assert (row["paper_mean"], row["paper_std"]) == (0.636, 0.017)  # Table 2 prints .012 for the same cell
    assert row["difference"] == pytest.approx(0.42 - 0.636)
    assert ".420 ± .028 (.636 ± .017; -21.6)" in papers_tables.as_markdown(table, 1, "IEMOCAP")
    assert len(table) == 6


def row_names(markdown: str) -> list[str]:
    """The first column of a page's table."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]


def test_tables_of_other_modalities_follow_the_order_of_their_letters():
    values = {"self_b": 0.3, "cross_zb": 0.4, "self_zb": 0.5, "self_z": 0.2, "cross_zbe": 0.6, "cross_ze": 0.1}
    rows = [(name, 1, 1, 7, None, value, value) for name, value in values.items()]
    columns = ["variant", "fold", "seed", "parameters", "epochs", "accuracy", "balanced_accuracy"]
    runs = pd.DataFrame(rows, columns=columns)
    summary = papers_tables.summarise(runs, PAPERS)
    first, second = (papers_tables.arrange(summary, number, None, "zbe") for number in (1, 2))
    assert list(first["variant"])[:6] == ["self_z", "self_b", "cross_zb", "self_zb", "cross_ze", "cross_zbe"]
    assert list(second["variant"]) == ["cross_zbe"] * 2
    text = papers_tables.as_markdown(first, 1, "made up")
    assert row_names(text) == ["Z", "B", "Z+B", "Z+B", "Z+E", "Z+B+E"]
    assert "| Z+B | Self | **.500** | **.500** | 7 | – |" in text
    assert "| Cross | .600 | .600 | 7 | – |" in papers_tables.as_markdown(second, 2, "made up")
    other = papers_tables.arrange(summary, 1, papers_tables.read_published(), "zbe")  # the paper has no such modality
    assert other["paper_mean"].isna().all()
    assert "(" not in papers_tables.as_markdown(other, 1, "IEMOCAP").splitlines()[-1]
    assert "In brackets" not in papers_tables.as_markdown(other, 1, "IEMOCAP")


def test_a_table_without_a_variant_says_so():
    columns = ["variant", "fold", "seed", "parameters", "epochs", *PAPERS]
    runs = pd.DataFrame([("crossself_tv", 1, 1, 7, 3, 0.5, 0.5)], columns=columns)
    table = papers_tables.arrange(papers_tables.summarise(runs, PAPERS), 1, None, "tv")
    expected = "# Table 1: Scores by modality and model\n\nNo variant of the study stands in this table.\n"
    assert papers_tables.as_markdown(table, 1, "made up") == expected


def test_combinations_are_ordered_by_their_number_and_then_by_letters():
    names = ["cross_zbe", "self_e", "self_be", "self_zb", "cross_zb", "self_z", "cross_ze"]
    assert variants.combinations(names, "zbe") == ["z", "e", "zb", "ze", "be", "zbe"]
    assert variants.combinations(["self_a", "cross_tva", "self_va", "self_t"], "tva") == ["t", "a", "va", "tva"]


@pytest.mark.parametrize("classes", [["no", "yes"], [f"class {i}" for i in range(30)]], ids=len)
def test_the_stages_after_the_training_take_any_classes_and_letters(classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_up(
        classes,
        {1: np.arange(15), 2: np.arange(15, 30)},
        {1: np.arange(15, 20), 2: np.arange(5)},
        modalities={"face": {"letter": "z"}, "eeg": {"letter": "b"}},
        variants=["self_z", "cross_zb", "self_zb"],
        seeds=[1, 2],
        headline={"attention": "self", "modalities": "zb"},
    )
    for stage in (aggregate, headline, ttest, confusion):
        stage.main()
    runs = pd.read_csv("metrics/scores.csv")
    actual, predicted = (
        pd.read_parquet("runs/self_zb/seed2/predictions.parquet").query("fold == 2")[name]
        for name in ("actual", "predicted")
    )
    row = runs.query("variant == 'self_zb' and fold == 2 and seed == 2").iloc[0]
    assert row["accuracy"] == (actual == predicted).mean()
    assert [row[f"recall_{name}"] for name in classes] == pytest.approx(
        [(predicted[actual == name] == name).mean() for name in classes], nan_ok=True
    )
    own = runs[runs["variant"] == "self_zb"]
    summary = json.loads(Path("metrics/headline.json").read_text())
    assert summary["accuracy"]["mean"] == pytest.approx(own["accuracy"].mean())
    assert list(summary["recall"]) == classes
    for number, names in ((1, ["Z", "Z+B", "Z+B"]), (2, ["Cross", "Self"])):
        assert row_names(Path(f"metrics/table{number}.md").read_text()) == names
    compared = pd.read_csv("metrics/ttest.csv")
    assert set(zip(compared["a"], compared["b"], strict=True)) == {("self_zb", "cross_zb")}
    assert len(compared) == 2 + len(classes)
    drawn = {path.name for path in Path("plots/confusion").iterdir()}
    assert drawn == {"z.png", "z_fold1.png", "zb.png", "zb_fold1.png", "recall.png"}


def test_pairs_are_what_the_fusions_are_tested_against():
    names = ["self_t", "cross_tv", "self_tv", "self_tva_nosp", "cross_tva_nosp", "cross_tva", "crossself_tva"]
    assert variants.pairs(names) == [
        ("self_tv", "cross_tv"),
        ("self_tva_nosp", "cross_tva_nosp"),
        ("cross_tva_nosp", "cross_tva"),
        ("crossself_tva", "cross_tva"),
    ]


def test_confusion_matrices_are_grouped_as_the_papers():
    names = ["self_t", "cross_tv", "self_tv", "self_tva_nosp", "cross_tva_nosp", "crossself_tva", "self_tva"]
    assert confusion.groups(names) == {
        "t": ["self_t"],
        "tv": ["self_tv", "cross_tv"],
        "tva": ["self_tva"],
        "tva_nosp": ["self_tva_nosp", "cross_tva_nosp"],
        "tva_crossself": ["crossself_tva"],
    }


def test_numbers_are_printed_as_the_papers():
    assert tables.mean_std(0.5874, 0.0218) == ".587 ± .022"
    assert tables.mean_std(1.0, float("nan")) == "1.000"
    assert [tables.p_value(p) for p in (0.0534, 0.0004, 1.0, float("nan"))] == [".053", "< .001", "1.000", "–"]
