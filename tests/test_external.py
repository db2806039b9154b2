"""`python -m stages.ttest --predictions`: agreement with the stage, wrong files and options, damage, its page."""

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from stages.common import corpus, figures, predictions, task
from stages.common.errors import UserError
from stages.ttest import __main__ as ttest
from stages.ttest import analysis, external
from tests.conftest import ROOT, make_up

CLASSES = ["calm", "happy", "sad"]
KEYS = ["variant", "fold", "seed", "utterance_id"]
PAGE = (ROOT / "docs/your-own-predictions.md").read_text(encoding="utf-8")


def made_up(models=("A", "B"), seeds=(1, 2), folds=2, probabilities=True) -> pd.DataFrame:
    """Predictions of 6 utterances a fold, of 3 dialogues of 2."""
    rng, rows = np.random.default_rng(0), []
    for model in models:
        for fold in range(1, folds + 1):
            for seed in seeds:
                for i in range(6):
                    p = rng.dirichlet(np.ones(3)).round(2)
                    row = {"variant": model, "fold": fold, "seed": seed, "utterance_id": f"u{fold}{i}"}
                    row |= {"actual": CLASSES[i % 3], "predicted": CLASSES[p.argmax()], "dialogue": f"d{fold}{i // 2}"}
                    own = dict(zip((f"probability_{name}" for name in CLASSES), p, strict=True))
                    rows.append(row | (own if probabilities else {}))
    return pd.DataFrame(rows)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read_only(here, monkeypatch) -> list:
    """What the command would analyse is put here instead."""
    found = []

    class Unwritten:
        def write(self, *_):
            pass

    def analyse(*arguments):
        found.append(arguments)
        return Unwritten()

    monkeypatch.setattr(analysis, "analyse", analyse)
    return found


def refused(*arguments: str) -> str:
    """The message of the command's UserError."""
    with pytest.raises(UserError) as raised:
        external.main(["--predictions", *arguments])
    assert "\n" not in str(raised.value)
    return str(raised.value)


def refused_table(table: pd.DataFrame, *arguments: str) -> str:
    table.to_csv("p.csv", index=False)
    return refused("p.csv", *arguments)


def table_of(folder: str, name: str = "ttest.csv") -> pd.DataFrame:
    return pd.read_csv(Path(folder) / name)


# Agreement with the stage


@pytest.mark.parametrize(
    "known",
    [
        [],
        *(pytest.param(own, marks=pytest.mark.long) for own in (["dialogue"], ["dialogue", "session"], ["speaker"])),
    ],
    ids="+".join,
)
def test_a_studys_predictions_give_the_stages_numbers(known, here, monkeypatch):
    monkeypatch.setattr(figures, "save", lambda *_: None)
    tested = {1: np.arange(10), 2: np.arange(10, 20), 3: np.arange(20, 30)}
    variants, metrics = (
        ["self_tv", "cross_tv", "self_v"],
        [name for name in external.SCORES if name != "calibration_error"],
    )
    make_up(
        CLASSES,
        tested,
        variants=variants,
        seeds=[4, 11],
        headline={"attention": "self", "modalities": "tv"},
        compare={"pairs": [["self_tv", "cross_tv"], ["cross_tv", "self_v"]], "metrics": metrics},
    )
    utterances = corpus.read_utterances()
    for name in known:
        # a dialogue of one name in each of two sessions is two dialogues
        utterances[name] = {
            "dialogue": [f"d{i // 3 % 5}" for i in range(30)],
            "session": [f"s{i // 15}" for i in range(30)],
            "speaker": [f"p{i % 7}" for i in range(30)],
        }[name]
    utterances.to_csv(corpus.FOLDER / "utterances.csv", index=False)
    ttest.main()
    shutil.copytree("metrics", "expected")

    table = predictions.read_study(variants, [4, 11], task.classes(CLASSES))
    table = table.merge(utterances[["utterance_id", *known]], on="utterance_id").sample(frac=1, random_state=1)
    table["fold"] = table["fold"].astype("category")
    table.to_csv("p.csv", index=False)
    table.astype({"actual": "category", "seed": "int8"}).set_index("utterance_id").to_parquet("p.parquet")
    pairs = ["--pair", "self_tv", "cross_tv", "--pair", "cross_tv", "self_v"]
    for path in ("p.csv", "p.parquet"):
        external.main(["--predictions", path, *pairs, "--metrics", *metrics, "--out", path[2:], "--classes", *CLASSES])
        for name in ("ttest.csv", "pairs.csv", "ranks.csv"):
            found, expected = (
                own.set_index(own.columns[0]).sort_index()
                for own in (table_of(path[2:], name), table_of("expected", name))
            )
            if name == "pairs.csv":  # of which two is the first depends on the order of rows
                numbers = ["p", "p_holm", "p_corrected", "p_equivalence", "var_runs", "var_utterances", "units", "se"]
                found, expected = (own.reset_index().sort_values(["score", "p"])[numbers] for own in (found, expected))
            pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True), atol=1e-6)
        units = {"dialogue": 10 if "session" in known else 5, "speaker": 7}.get((known or [""])[0], 30)
        assert set(table_of(path[2:]).query("score == 'accuracy'")["units"]) == {units}


def test_dialogues_of_the_page_are_the_units_and_repeats_are_seen(read_only):
    table = made_up()
    again = pd.concat([table, table.assign(fold=table["fold"] + 2)])
    again.to_csv("p.csv", index=False)
    external.main(["--predictions", "p.csv"])
    shape = read_only[0][3]
    assert (shape.unit, shape.repeats, shape.correction(4)) == ("dialogue", 2, 1.0)
    assert shape.left_out is None


def test_speakers_that_one_fold_tests_are_left_out(read_only):
    table = made_up()
    table.assign(speaker="s" + table["fold"].astype(str)).to_csv("p.csv", index=False)
    external.main(["--predictions", "p.csv", "--test-to-train", "0.3"])
    assert read_only[0][3].left_out == "speaker"
    assert read_only[0][3].correction(2) == 1.0


# Files that are as they should be


def the_same(found: list, one: int = 0, other: int = 1) -> None:
    a, b = found[one][0], found[other][0]
    assert (a.variants, a.seeds, a.folds, a.classes) == (b.variants, b.seeds, b.folds, b.classes)
    for name in ("fold", "utterance_id", "actual", "predicted"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.probabilities is None) == (b.probabilities is None)
    if a.probabilities is not None:
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-6)


def quoted(text: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(csv.reader(io.StringIO(text)))
    return out.getvalue()


LAYOUTS = {
    "BOM": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "quoted, with a BOM": lambda text: b"\xef\xbb\xbf" + quoted(text).encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "no newline at the end": lambda text: text.rstrip("\n").encode(),
    "blank lines": lambda text: text.replace("\n", "\n\n").encode(),
    "a blank line first": lambda text: b"\n" + text.encode(),
    "a column with quoted newlines and commas": lambda text: "".join(
        f'"{"text" if i == 0 else chr(10).join("so, what" * 3 for _ in range(400))}",{line}\n'
        for i, line in enumerate(text.splitlines())
    ).encode(),
    "two more columns of one name, not in UTF-8": lambda text: "".join(
        f"{'x,x' if i == 0 else 'é,'},{line}\n" for i, line in enumerate(text.splitlines())
    ).encode("latin-1"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_csv(layout, read_only):
    text = made_up().to_csv(index=False)
    Path("plain.csv").write_text(text)
    Path("other.csv").write_bytes(LAYOUTS[layout](text))
    for path in ("plain.csv", "other.csv"):
        external.main(["--predictions", path])
    the_same(read_only)


PARQUETS = {
    "dictionaries": lambda table: table.astype(
        dict.fromkeys(["variant", "actual", "predicted", "utterance_id"], "category")
    ),
    "whole numbers as floats": lambda table: table.astype({"fold": float, "seed": float}),
    "small types": lambda table: table.astype({"fold": "uint8", "seed": "int16", "probability_sad": "float16"}),
    "an index": lambda table: table.set_index(["utterance_id", "variant"]),
    "a column with a dot and one of lists": lambda table: table.assign(**{"fold.x": 1, "y": [[1]] * len(table)}),
}


@pytest.mark.parametrize("kind", PARQUETS)
def test_types_of_parquet(kind, read_only):
    table = made_up()
    table.to_csv("p.csv", index=False)
    path = Path("fold=7/p.PARQUET")  # which some readers take for the value of a column
    path.parent.mkdir()
    PARQUETS[kind](table).to_parquet(path)
    for name in ("p.csv", str(path)):
        external.main(["--predictions", name])
    if kind == "small types":
        assert read_only[0][0].probabilities == pytest.approx(read_only[1][0].probabilities, abs=1e-3)
    else:
        the_same(read_only)


def test_several_files_and_other_names(read_only):
    table = made_up()
    table.to_csv("all.csv", index=False)
    own = table.rename(columns=lambda name: name.replace("probability_", "p_").replace("variant", "model"))
    own[own["model"] == "A"].to_csv("a.csv", index=False)
    own[own["model"] == "B"][own.columns[::-1]].sample(frac=1, random_state=0).to_parquet("b.parquet")
    external.main(["--predictions", "all.csv"])
    external.main(["--predictions", "a.csv", "b.parquet", "--columns", "variant=model", "probability_=p_"])
    the_same(read_only)


def test_what_real_files_hold(read_only):
    table = made_up().astype({"fold": str})
    table["fold"] = "fold_" + table["fold"]
    table["seed"] = "seed" + table["seed"].astype(str)
    table["utterance_id"] = table["utterance_id"].str.removeprefix("u").astype(int)
    table["probability_fear"] = 0.0  # which no test part has
    table.to_csv("p.csv", index=False)
    external.main(["--predictions", "p.csv", "--metrics", *external.SCORES])
    found = read_only[0][0]
    assert (found.folds, found.seeds) == (["fold_1", "fold_2"], ["seed1", "seed2"])
    assert found.classes == [*CLASSES, "fear"]
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, atol=1e-6)  # two digits were all that there was
    table = made_up(probabilities=False).assign(fold=lambda table: table["fold"] - 1)
    table.loc[3, "predicted"] = "fear"
    message = refused_table(table)
    assert message == (
        "p.csv: row 4: predicted must be one of the classes calm, happy, sad, but is fear; --classes names others"
    )
    external.main(["--predictions", "p.csv", "--classes", "sad", "fear", "happy", "calm"])
    assert (read_only[1][0].folds, read_only[1][0].classes) == ([0, 1], ["sad", "fear", "happy", "calm"])


# Files that are not


def set_cell(row: int, **cells):
    """A change of the table's cells in a row, the first being 1."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype(object)
        for name, value in cells.items():
            table.loc[row - 1, name] = value
        return table

    return change


WRONG_TABLES = {
    "a duplicate row": (
        lambda table: pd.concat([table, table.iloc[[8]]]),
        "p.csv: row 49: an utterance must be predicted once, but u10 is predicted by A, seed 2, fold 1 in "
        "p.csv: row 7 too",
        6,
    ),
    "an utterance that one model lacks": (
        lambda table: table.drop(30),
        "B, seed 2, fold 1: all utterances that another run tests in this fold must be predicted once, but u10 is not; "
        "models are compared on the same utterances, with the same seeds and folds",
    ),
    "another utterance": (
        set_cell(1, utterance_id="other"),
        "A, seed 1, fold 1: all utterances that another run tests in this fold must be predicted once, but u10 is not; "
        "models are compared on the same utterances, with the same seeds and folds",
    ),
    "a model without a seed": (
        lambda table: table[(table["variant"] == "A") | (table["seed"] == 1)],
        "B, seed 2, fold 1: all utterances that another run tests in this fold must be predicted once, but u10 is not; "
        "models are compared on the same utterances, with the same seeds and folds",
    ),
    "an unknown class": (
        set_cell(3, predicted="Sad"),
        "p.csv: row 3: predicted must be one of the classes calm, happy, sad, but is Sad; --classes names others",
    ),
    "probabilities that do not sum to 1": (
        set_cell(2, probability_sad=0.9, probability_calm=0.9, probability_happy=0.1),
        "p.csv: row 2: probabilities must sum to 1, but sum to 1.9",
    ),
    "a negative probability": (
        set_cell(2, probability_sad=-0.1),
        "p.csv: row 2: probability_sad must be a probability, 0 to 1, but is -0.1",
    ),
    "a percentage": (
        set_cell(5, probability_sad=53),
        "p.csv: row 5: probability_sad must be a probability, 0 to 1, but is 53",
    ),
    "NaN": (
        set_cell(2, probability_sad="nan"),
        "p.csv: row 2: probability_sad must be a probability, 0 to 1, but is empty",
    ),
    "no probability": (
        set_cell(48, probability_sad=""),
        "p.csv: row 48: probability_sad must be a probability, 0 to 1, but is empty",
    ),
    "text for a probability": (
        set_cell(47, probability_sad="high"),
        "p.csv: row 47: probability_sad must be a number, but is 'high'",
    ),
    "an empty cell": (
        set_cell(7, predicted=""),
        "p.csv: row 7: predicted must be printable text without spaces around it, but is empty",
    ),
    "a space": (
        set_cell(7, predicted=" sad"),
        "p.csv: row 7: predicted must be printable text without spaces around it, but is ' sad'",
    ),
    "a newline": (
        set_cell(9, variant="A\nB"),
        "p.csv: row 9: variant must be printable text without spaces around it, but is 'A\\nB'",
    ),
    "a missing column": (
        lambda table: table.drop(columns="seed"),
        "p.csv must have a column seed, but has 'variant', 'fold', 'utterance_id', 'actual', 'predicted', 'dialogue', "
        "'probability_calm', 'probability_happy', 'probability_sad'; --columns seed=YOURS names another",
    ),
    "values of dimensions": (
        lambda table: table.rename(columns={"actual": "actual_valence", "predicted": "predicted_valence"}),
        "p.csv must have predictions of classes, in columns actual and predicted, but has actual_valence: values of "
        "dimensions are compared within a study alone, with task: dimensions",
    ),
    "a class with two probabilities": (
        lambda table: table.rename(columns={"probability_sad": "probability_calm"}),
        "p.csv must have each column once, but has 'probability_calm' 2 times",
    ),
    "a column twice": (
        lambda table: table.rename(columns={"dialogue": "fold"}),
        "p.csv must have each column once, but has 'fold' 2 times",
    ),
    "two classes of an utterance": (
        set_cell(25, actual="sad"),
        "p.csv: row 25: actual must be the same for all models, but u10 is sad here and calm elsewhere",
    ),
    "two dialogues of an utterance": (
        set_cell(25, dialogue="other"),
        "p.csv: row 25: an utterance must have one dialogue, but u10 has other here and d10 before",
    ),
    "one model": (
        lambda table: table[table["variant"] == "A"],
        "there must be two models or more, but there is A alone",
    ),
    "one class": (
        lambda table: table.drop(columns=[f"probability_{name}" for name in CLASSES]).assign(actual="sad"),
        "there must be two or more different classes, but there are sad; see --classes",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_TABLES)
def test_wrong_tables(wrong, here):
    change, message, *_ = WRONG_TABLES[wrong]
    if wrong == "a duplicate row":
        message = message.replace("u10", "u12").replace("row 7 too", "row 9 too")
    assert refused_table(change(made_up())) == message


WRONG_FILES = {
    "empty": (b"", "p.csv must have a column variant, but has none; --columns variant=YOURS names another"),
    "header alone": (
        b"variant,fold,seed,utterance_id,actual,predicted\n",
        "p.csv must have predictions, but has no row",
    ),
    "semicolons": (
        b"variant;fold;seed\nA;1;1\n",
        "p.csv must have a column variant, but has 'variant;fold;seed'; --columns variant=YOURS names another",
    ),
    "a row that is too short": (
        b"variant,fold,seed,utterance_id,actual,predicted\nA,1,1,u,x,x\n\nA,1,1,u,x\n",
        "p.csv: row 2: must have 6 cells as the header, but has 5",
    ),
    "not UTF-8": (
        "variant,fold,seed,utterance_id,actual,predicted\nA,1,1,u,x,x\nA,1,1,ü,x,x\n".encode("latin-1"),
        "p.csv: row 2: utterance_id must be UTF-8, but is 'ü'",
    ),
    "a header that is not UTF-8": (
        "größe,variant\n1,A\n".encode("latin-1"),
        "p.csv: the header must be UTF-8, but is 'größe,variant'",
    ),
    "UTF-16": (
        "é,x\nA,1\n".encode("utf-16"),
        "p.csv: the header must be UTF-8, but is 'ÿþé\\x00,\\x00x\\x00'",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_FILES)
def test_wrong_files(wrong, here):
    content, message = WRONG_FILES[wrong]
    Path("p.csv").write_bytes(content)
    assert refused("p.csv") == message


def test_a_row_of_the_second_file_is_named(here):
    table = made_up()
    table[:24].to_csv("one.csv", index=False)
    for change, message in [
        (set_cell(27, predicted="Sad"), "two.csv: row 3: predicted must be one of"),
        (set_cell(27, predicted=""), "two.csv: row 3: predicted must be printable"),
        (set_cell(48, probability_sad=0.99, probability_calm=0.99), "two.csv: row 24: probabilities must sum"),
        (set_cell(25, actual="sad"), "two.csv: row 1: actual must be the same"),
        (set_cell(25, dialogue="other"), "two.csv: row 1: an utterance must have one dialogue"),
        (
            set_cell(25, variant="A", utterance_id="u11", actual="happy"),
            "two.csv: row 1: an utterance must be predicted once, but u11 is predicted by A, seed 1, ",
        ),
    ]:
        change(table)[24:].to_csv("two.csv", index=False)
        assert refused("one.csv", "two.csv").startswith(message)
    table[24:].drop(columns="dialogue").to_csv("two.csv", index=False)
    assert refused("one.csv", "two.csv") == ("two.csv must have the same columns as one.csv, but only one has dialogue")


def test_paths_that_are_no_files(here):
    Path("folder.csv").mkdir()
    Path("folder.parquet").mkdir()
    for path in ("folder.csv", "folder.parquet", "missing.csv", "missing.parquet"):
        done = subprocess.run(
            [sys.executable, "-m", "stages.ttest", "--predictions", str(here / path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert path in done.stderr


WRONG_PARQUETS = {
    "null": (
        set_cell(4, variant=None),
        "p.parquet: row 4: variant must be printable text without spaces around it, but is empty",
    ),
    "null probability": (
        lambda table: table.assign(probability_sad=table["probability_sad"].where(table.index != 3)),
        "p.parquet: row 4: probability_sad must be a probability, 0 to 1, but is empty",
    ),
    "lists": (
        lambda table: table.assign(dialogue=[["x"]] * len(table)),
        "p.parquet: dialogue must be text or numbers, but is 'list<element: string>'",
    ),
    "text for probabilities": (
        lambda table: table.assign(probability_sad="high"),
        "p.parquet: probability_sad must be numbers, but is 'large_string'",
    ),
    "dates for probabilities": (
        lambda table: table.assign(probability_sad=pd.Series(pd.Timestamp(0), table.index, "datetime64[ms]")),
        "p.parquet: probability_sad must be numbers, but is 'timestamp[ms]'",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_PARQUETS)
def test_wrong_parquet(wrong, here):
    change, message = WRONG_PARQUETS[wrong]
    table = change(made_up())
    for name in ("fold", "seed", *table.columns[-3:]):
        if table[name].dtype == object:
            table[name] = pd.to_numeric(table[name])
    table.to_parquet("p.parquet")
    assert refused("p.parquet") == message


def test_a_broken_parquet(here):
    made_up().to_parquet("p.parquet")
    content = Path("p.parquet").read_bytes()
    for broken in (b"", b"PAR1", content[:100], content[:-1], content[:50] + b"\0" * 50 + content[100:], content[::-1]):
        Path("p.parquet").write_bytes(broken)
        assert refused("p.parquet").startswith("p.parquet")
    twice = pa.table([pa.array(["A"])] * 2, names=["variant", "variant"])
    parquet.write_table(twice, "p.parquet")
    assert refused("p.parquet").startswith("p.parquet must have ")


WRONG_OPTIONS = {
    ("--columns", "model"): "--columns must be NAME=YOURS with a NAME of variant, ",
    ("--columns", "name=model"): "--columns must be NAME=YOURS with a NAME of variant, ",
    ("--columns", "fold=seed"): "--columns must name each of the files' columns once, but 'seed' is fold and seed",
    ("--columns", "fold=a", "fold=b"): "--columns must name each column once, but names fold as a and b",
    ("--columns", "probability_=q_"): "p.csv must have columns q_<class>, but has 'variant', ",
    ("--columns", "speaker=who"): "p.csv must have a column who, but has 'variant', ",
    ("--metrics", "accuracy", "ccc"): "--metrics must be scores of classes, but ccc is one of dimensions",
    ("--classes", "sad"): "--classes must be those of the probabilities, calm, happy, sad, but are sad",
    ("--classes", "sad", "sad", "happy", "calm"): "there must be two or more different classes, but ",
    ("--pair", "A", "C"): "--pair must name two models of A, B, but 'C' is none",
    ("--pair", "A", "A"): "--pair must name each pair of two different models once",
    ("--pair", "A", "B", "--pair", "B", "A"): "--pair must name each pair of two different models once",
    ("--pair", "A"): "argument --pair: expected 2 arguments",
    ("--metrics", "f1"): "--metrics: must each be one of balanced_accuracy, ",
    ("--margin", "0"): "--margin: must be greater than 0, but is 0.0",
    ("--margin", "nan"): "--margin: must be ",
    ("--alpha", "x"): "argument --alpha: invalid float value: 'x'",
    ("--test-to-train", "nan"): "--test-to-train must be a number from 0, but is nan",
    ("--test-to-train", "-1"): "--test-to-train must be a number from 0, but is -1.0",
}


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=" ".join)
def test_wrong_options(options, here):
    assert refused_table(made_up(), *options).startswith(WRONG_OPTIONS[options])


def test_probabilities_are_needed_by_some_metrics(here):
    assert refused_table(made_up(probabilities=False), "--metrics", "accuracy", "brier_score") == (
        "--metrics: brier_score needs columns probability_<class>, but p.csv has none"
    )


# Damage


def independent(content: bytes) -> dict[tuple, tuple]:
    """Model, fold, seed and utterance → class, answer and probabilities, by Python's own reader."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace"), newline=""))
    found = {}
    for row in rows:
        assert tuple(row[name] for name in KEYS) not in found
        p = np.array([float(row[f"probability_{name}"]) for name in CLASSES])
        found[tuple(row[name] for name in KEYS)] = (row["actual"], row["predicted"], *p / p.sum())
    return found


def check_answers(found, expected: dict[tuple, tuple]) -> None:
    """`found` holds what was read independently, no more and no less."""
    assert found.predicted.size == len(expected)
    for (v, s, n), answer in np.ndenumerate(found.predicted):
        key = found.variants[v], found.folds[found.fold[n]], found.seeds[s], found.utterance_id[n]
        actual, predicted, *p = expected[tuple(map(str, key))]
        assert (found.classes[found.actual[n]], found.classes[answer]) == (actual, predicted)
        own = [found.classes.index(name) for name in CLASSES]
        assert found.probabilities[v, s, n][own] == pytest.approx(p, abs=1e-5)


CELLS = [
    "",
    " ",
    "A",
    "B",
    "1",
    "2",
    "01",
    "u10",
    "sad",
    "calm",
    "nan",
    "1e999",
    "-0.1",
    "0.5",
    'a"b',
    "a,b",
    "a\nb",
    "é",
    "$x",
]
damage = st.one_of(
    st.tuples(st.just("cell"), st.integers(1, 48), st.integers(0, 9), st.sampled_from(CELLS)),
    st.tuples(st.just("drop"), st.integers(1, 48), st.just(0), st.just("")),
    st.tuples(st.just("double"), st.integers(1, 48), st.just(0), st.just("")),
    st.tuples(st.just("swap"), st.integers(0, 48), st.integers(0, 48), st.just("")),
    st.tuples(
        st.just("header"), st.just(0), st.integers(0, 9), st.sampled_from([*KEYS, "probability_x", "", "x", "é"])
    ),
)
byte_damage = st.tuples(
    st.sampled_from(["set", "insert", "delete", "cut"]),
    st.integers(0, 3000),
    st.one_of(st.integers(0, 255), st.sampled_from(list(b'",\n\r;A1 '))),
)
options = st.lists(
    st.sampled_from(
        [
            ("--columns", "speaker=dialogue"),
            ("--columns", "variant=x"),
            ("--classes", *CLASSES[::-1]),
            ("--pair", "B", "A"),
            ("--pair", "A", "A"),
            ("--metrics", *external.SCORES),
            ("--margin", "2"),
            ("--test-to-train", "0.5"),
            ("--corpus", "$\\x"),
        ]
    ),
    max_size=2,
)


def damaged(kind: str, changes: list, bytewise: list) -> bytes:
    rows = list(csv.reader(io.StringIO(made_up().to_csv(index=False))))
    for what, i, j, value in changes:
        i = min(i, len(rows) - 1)
        if what in ("cell", "header"):
            rows[i][j] = value
        elif what == "drop" and i:
            del rows[i]
        elif what == "double":
            rows.append(rows[i])
        elif what == "swap":
            j = min(j, len(rows) - 1)
            rows[i], rows[j] = rows[j], rows[i]
    if kind == "parquet":
        # a damaged header may name a column twice, which pandas does not write
        out = io.BytesIO()
        parquet.write_table(pa.table([pa.array(column) for column in zip(*rows[1:], strict=True)], names=rows[0]), out)
        content = out.getvalue()
    else:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        content = text.getvalue().encode()
    for what, i, value in bytewise:
        i = min(i, max(len(content) - 1, 0))
        middle = {"set": bytes([value]), "insert": bytes([value]) + content[i : i + 1]}.get(what, b"")
        content = content[:i] + middle + (b"" if what == "cut" else content[i + 1 :])
    return content


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(damage, max_size=2), st.lists(byte_damage, max_size=2), options)
def test_damage_of_a_csv_is_named_or_is_what_was_read(read_only, changes, bytewise, options):
    content = damaged("csv", changes, bytewise)
    Path("p.csv").write_bytes(content)
    read_only.clear()
    try:
        external.main(["--predictions", "p.csv", *(word for option in options for word in option)])
    except UserError:
        return
    check_answers(read_only[0][0], independent(content))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(damage, max_size=2), st.lists(byte_damage, max_size=2), options)
def test_damage_of_a_parquet_is_named_or_is_what_was_read(read_only, changes, bytewise, options):
    Path("p.parquet").write_bytes(damaged("parquet", changes, bytewise))
    read_only.clear()
    try:
        external.main(["--predictions", "p.parquet", *(word for option in options for word in option)])
    except UserError:
        return
    if not bytewise:  # Parquet's values have no checksum
        check_answers(read_only[0][0], independent(damaged("csv", changes, [])))


@pytest.mark.parametrize(
    ("models", "seeds", "folds"),
    [(["A", "$x_{|", "模型 ü *b*"], (1, 2), 2), (["A", "B"], (1,), 2), (["A", "B"], (1, 2), 1), (["A", "B"], (1,), 1)],
    ids=["odd names", "one seed", "one fold", "one run"],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_whole_runs(models, seeds, folds, here):
    made_up(models, seeds, folds).to_csv("p.csv", index=False)
    external.main(["--predictions", "p.csv", "--metrics", *external.SCORES, "--corpus", "$\\frac"])
    names = {str(path.relative_to("comparison")) for path in Path("comparison").rglob("*.*")}
    assert names == {
        "ttest.md",
        "ttest.csv",
        "pairs.csv",
        "ranks.csv",
        "differences.png",
        "runs.png",
        *(f"pairs/{name}.png" for name in external.SCORES),
    }
    for line in Path("comparison/ttest.md").read_text().splitlines():
        if line.startswith("| $x"):
            assert line.startswith(r"| $x_{\|")


# The page


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_pages_example_and_commands_run_as_written(here):
    (program,), commands = blocks("python"), blocks("sh")
    exec(compile(program, "page", "exec"), {})
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(
            ["bash", "-ec", command],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        )
        assert (done.returncode, done.stderr) == (0, "")
        listed = re.findall(
            r"^\| `([^`]+)` \|", PAGE.partition("## What comes out")[2].partition("##")[0], re.MULTILINE
        )
        there = {path.name for path in Path("comparison").iterdir()}
        assert there == {name.partition("/")[0] for name in listed}
    assert {path.stem for path in Path("comparison/pairs").iterdir()} == {"balanced_accuracy", "macro_f1"}
    verdicts = table_of("comparison").query("score == 'balanced_accuracy'")
    assert list(verdicts[["a", "b", "verdict", "test"]].iloc[0]) == ["audio+text", "audio", "A better", "components"]


def test_the_pages_columns_and_options_are_the_commands(here):
    columns = re.findall(
        r"`(\w+)(?:<class>)?`", "".join(line.split("|")[1] for line in PAGE.splitlines() if line[:3] == "| `")
    )
    assert {*external.REQUIRED, *external.OPTIONAL, external.PROBABILITY} <= set(columns)
    with pytest.raises(SystemExit):
        external.main(["--help"])


def test_every_option_is_on_the_page(here, capsys):
    with pytest.raises(SystemExit):
        external.main(["--help"])
    for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}:
        assert f"`{option}" in PAGE or f" {option} " in PAGE, option
    for metric in external.SCORES:
        assert metric in PAGE


def test_every_message_on_the_page_is_the_commands():
    table = PAGE.partition("| message |")[2]
    messages = re.findall(r"^\| (`…[^|]*) \|", table, re.MULTILINE)
    own = {message for _, message, *_ in [*WRONG_TABLES.values(), *WRONG_FILES.values()]}
    assert len(messages) > 10
    for message in re.findall(r"`… ([^`]*?)(?: …| too)?`", "".join(messages)):
        words = re.sub(r"row \d+: |u7|'[^']*'|but has \d+|, …|variant;.*", "", message).split(", but")[0].strip(" :")
        assert any(words in known for known in own), words
