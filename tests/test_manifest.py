"""Corpora of arrays that a user already has: each rule by its message, and random damage judged by another reading."""

import csv
import io
import json
import os
import pickle
import re
import shutil
import tempfile
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from stages.common import corpus, features, files
from stages.common.errors import UserError
from stages.common.params import Corpus
from stages.corpus import manifest, metadata
from stages.features import arrays
from tests.conftest import ROOT, Study

SIZES = {"text": (5, 3), "audio": (11, 2), "video": (3, 7), "gaze": (2, 1)}  # longest T, F
KINDS = ("csv", "jsonl", "parquet")
ENDS = (".npy", ".wav", ".flac", ".mp3", ".ogg", ".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv")
MEANT = ("utterance_id", "label", "speaker", "session", "dialogue", "fold", "part")


def build(root: Path, utterances: int = 12, classes: int = 2, modalities=("text", "gaze"), kind: str = "csv") -> list:
    """Write a corpus; its rows."""
    rng = np.random.default_rng(7)
    rows = []
    for i in range(utterances):
        row = {"utterance_id": f"u{i}", "speaker": f"s{i % 3}", "label": f"c{i % classes}", "remark": "ignored"}
        for name in modalities:
            longest, size = SIZES[name]
            frames = rng.standard_normal((1 + i % longest, size)) + i % classes
            save(root / name / f"u{i}.npy", frames)
            row[f"{name}_file_name"] = f"{name}/u{i}.npy"
        rows.append(row)
    write_rows(root, rows, kind)
    return rows


def save(path: Path, array: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, **options)


def write_rows(root: Path, rows: list[dict], kind: str = "csv") -> None:
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"metadata.{kind}"
    if kind == "parquet":
        columns = dict.fromkeys(column for row in rows for column in row)
        pq.write_table(pa.table({column: [row.get(column) for row in rows] for column in columns}), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, dict.fromkeys(column for row in rows for column in row))
            table.writeheader()
            table.writerows(rows)


def options(root: Path, *, classes=None, allow_outside: bool = False) -> Corpus:
    """What of `params.Corpus` concerns a manifest."""
    return Corpus(source="manifest", root=str(root), classes=classes, allow_outside=allow_outside)


def prepare(root: Path, data: Path, **choices) -> features.Features:
    """Run both stages' functions; what a training then reads."""
    chosen = options(root, **choices)
    with files.replacing(data / "corpus") as folder:
        manifest.read(chosen).write(folder)
    utterances = corpus.read_utterances(data / "corpus")
    modalities = corpus.read_meta(data / "corpus").modalities
    for modality in modalities:
        with files.replacing(data / "features" / modality) as folder:
            arrays.write(chosen, modality, utterances, folder)
    return features.read(modalities, data / "features", data / "corpus")


def refused(root: Path, data: Path, **choices) -> str:
    """The message of a mistake, which leaves nothing half-written."""
    with pytest.raises(UserError) as error:
        prepare(root, data, **choices)
    assert "\n" not in str(error.value)
    assert not list(data.rglob("*.partial"))
    return str(error.value)


def independent(root: Path) -> list[dict[str, str]]:
    """Rows of the metadata by the libraries' own readers; empty cells as ""."""
    (path,) = root.glob("metadata.*")
    if path.suffix == ".csv":
        text = path.read_bytes().decode("utf-8-sig").lstrip("\r\n")  # where DictReader would take no columns
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    elif path.suffix == ".jsonl":
        text = path.read_bytes().decode("utf-8-sig")
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    else:
        file = pq.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if name in MEANT or name.endswith("_file_name")]
        rows = file.read(names).to_pylist()  # others may be damaged
    return [{column: "" if cell is None else str(cell) for column, cell in row.items()} for row in rows]


def assert_holds(root: Path, data: Path, found: features.Features) -> None:
    """What was prepared must be what another reading finds."""
    rows = independent(root)
    first = {row["utterance_id"]: row for row in reversed(rows)}
    names = list(dict.fromkeys(row["utterance_id"] for row in rows))
    assert found.utterance_id.tolist() == names
    assert [found.meta.classes[label] for label in found.label] == [first[name]["label"] for name in names]
    assert set(found.meta.classes) == {row["label"] for row in rows}
    table = corpus.read_utterances(data / "corpus")
    for column in ("speaker", "session", "dialogue"):
        assert table[column].tolist() == [first[name].get(column, "") for name in names]
    filled = {column for row in rows for column, cell in row.items() if cell}
    modalities = {column.removesuffix("_file_name") for column in filled if column.endswith("_file_name")}
    assert set(found.meta.modalities) == set(found.sequences) == modalities
    for modality in modalities:
        for row, name in enumerate(names):
            file = first[name].get(f"{modality}_file_name", "")
            size = found.sequences[modality].dimensions
            expected = np.load(root / file, allow_pickle=False) if file else np.zeros((0, size))
            np.testing.assert_array_equal(found.sequences[modality][row], expected.astype(np.float32))
    assert_folds(rows, filled, data / "corpus/folds.csv")


def assert_folds(rows: list[dict[str, str]], filled: set[str], path: Path) -> None:
    """The folds that the columns `fold` and `part` mean."""
    if not {"fold", "part"} & filled:
        assert not path.exists()
        return
    found = {tuple(row) for row in corpus.read_folds(path).itertuples(index=False)}
    assert len(found) == len(corpus.read_folds(path))
    dev = dict.fromkeys(("validation", "valid", "val"), "dev")
    if "part" in filled:
        expected = {(int(row.get("fold") or 1), row["utterance_id"], dev.get(row["part"], row["part"])) for row in rows}
    else:
        numbers = sorted({int(row["fold"]) for row in rows})
        after = {fold: numbers[(i + 1) % len(numbers)] for i, fold in enumerate(numbers)}
        expected = {
            (fold, row["utterance_id"], {fold: "test", after[fold]: "dev"}.get(int(row["fold"]), "train"))
            for row in rows
            for fold in numbers
        }
    assert found == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("modalities", "classes"),
    [(("text", "audio", "video", "gaze"), 3), (("gaze",), 3), (("text", "audio"), 2), (("audio",), 30)],
)
def test_what_is_named_is_read(tmp_path, modalities, classes, kind):
    build(tmp_path / "in", 60, classes, modalities, kind)
    found = prepare(tmp_path / "in", tmp_path / "data")
    assert_holds(tmp_path / "in", tmp_path / "data", found)
    assert found.meta.corpus == "manifest"
    assert found.meta.classes == sorted(f"c{i}" for i in range(classes))
    for name, ragged in found.sequences.items():
        assert (ragged.longest, ragged.dimensions, ragged.valid) == (*SIZES[name], None)
        meta = features.read_modality_meta(name, tmp_path / "data/features")
        assert (meta.kind, meta.made) == ("frames", {"source": "manifest"})


def test_the_manifest_itself_may_be_named_and_others_lie_beside_it(tmp_path):
    build(tmp_path / "in", kind="jsonl")
    shutil.copy(tmp_path / "in/metadata.jsonl", tmp_path / "in/train.jsonl")
    (tmp_path / "in/metadata.csv").write_text("something else")
    found = prepare(tmp_path / "in/train.jsonl", tmp_path / "data")
    assert len(found.utterance_id) == 12


def test_of_one_kind_as_of_the_others(tmp_path):
    for kind in KINDS:
        build(tmp_path / kind, modalities=("text", "audio"), kind=kind)
        prepare(tmp_path / kind, tmp_path / f"data_{kind}")
    contents = [
        {path.relative_to(tmp_path / f"data_{kind}"): path.read_bytes() for path in data.rglob("*.*")}
        for kind in KINDS
        for data in [tmp_path / f"data_{kind}"]
    ]
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a", "10", "9"], ["10", "9", "a", "b"]),
        ([10, 9, -1, 0], ["-1", "0", "9", "10"]),
        (["1", "01", "2", "2"], ["01", "1", "2"]),
        (["très triste", "愉快", "so so", "a"], ["a", "so so", "très triste", "愉快"]),
    ],
)
def test_classes_are_the_labels_in_order(tmp_path, labels, classes):
    rows = build(tmp_path / "in", 4)
    write_rows(tmp_path / "in", [row | {"label": label} for row, label in zip(rows, labels, strict=True)])
    found = prepare(tmp_path / "in", tmp_path / "data")
    assert found.meta.classes == classes
    assert [found.meta.classes[label] for label in found.label] == list(map(str, labels))


def test_given_classes_keep_their_order(tmp_path):
    build(tmp_path / "in")
    found = prepare(tmp_path / "in", tmp_path / "data", classes=["c1", "c0"])
    assert (found.meta.classes, found.label.tolist()) == (["c1", "c0"], [1, 0] * 6)


def test_real_metadata_are_taken(tmp_path):
    """Names in all scripts, spaces, a byte order mark, CRLF, quoted cells, empty lines, shared files, numbers."""
    root = tmp_path / "in"
    save(root / "my files/días, 1.NPY", np.ones((2, 3)))
    (root / "my files/días, 1.NPY.npy").rename(root / "my files/días, 1.NPY")
    text = (
        '\ufeffutterance_id,"label",index,index,text_file_name\r\n'
        'ключ 1,"so, so",0,1,"my files/días, 1.NPY"\r\n\r\n'
        '"say ""hi""",good,"two\r\nlines",2,"my files/../my files/días, 1.NPY"\r\n'
    )
    (root / "metadata.csv").write_text(text, newline="", encoding="utf-8")
    found = prepare(root, tmp_path / "data")
    assert found.utterance_id.tolist() == ["ключ 1", 'say "hi"']
    assert found.meta.classes == ["good", "so, so"]
    np.testing.assert_array_equal(found.sequences["text"].values, np.ones((4, 3)))


def test_numbers_and_nulls_of_jsonl_and_parquet(tmp_path):
    rows = build(tmp_path / "in")
    for kind in ("jsonl", "parquet"):
        own = [
            row
            | {"utterance_id": i, "label": i % 3, "speaker": None, "session": i // 4, "gaze_file_name": None, "x": 0.5}
            for i, row in enumerate(rows)
        ]
        own[4].pop("session")
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        for path in (tmp_path / "in").glob("metadata.*"):
            path.unlink()
        write_rows(tmp_path / "in", own, kind)
        found = prepare(tmp_path / "in", tmp_path / "data")
        table = corpus.read_utterances(tmp_path / "data/corpus")
        assert found.meta.modalities == ["text"]
        assert found.utterance_id.tolist() == [str(i) for i in range(12)]
        assert table["session"].tolist() == [*"0000", "", *"1112222"]
        assert set(table["speaker"]) == {""}


def test_parquet_as_pandas_and_categories_write_it(tmp_path):
    rows = build(tmp_path / "in", kind="parquet")
    table = pd.DataFrame(rows).astype({"label": "category", "speaker": "string"}).set_index("remark")
    table.to_parquet(tmp_path / "in/metadata.parquet")
    assert_holds(tmp_path / "in", tmp_path / "data", prepare(tmp_path / "in", tmp_path / "data"))


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<f8", "<i1", ">i8", "<u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_all_numbers_in_both_orders(tmp_path, kind, order):
    build(tmp_path / "in", modalities=("audio",))
    for i in range(12):
        save(tmp_path / f"in/audio/u{i}.npy", np.arange(20).reshape(10, 2).astype(kind, order=order))
    found = prepare(tmp_path / "in", tmp_path / "data")
    np.testing.assert_array_equal(found.sequences["audio"][5], np.arange(20).reshape(10, 2))


def test_what_is_empty_has_length_0(tmp_path, capsys):
    rows = build(tmp_path / "in", modalities=("audio", "gaze"))
    for row in rows[:5]:
        row["audio_file_name"] = ""
    save(tmp_path / "in/audio/u6.npy", np.zeros((0, 2)))
    save(tmp_path / "in/audio/u7.npy", np.zeros((0, 2), order="F"))
    write_rows(tmp_path / "in", rows)
    found = prepare(tmp_path / "in", tmp_path / "data")
    assert_holds(tmp_path / "in", tmp_path / "data", found)
    assert found.sequences["audio"].lengths[:8].tolist() == [0, 0, 0, 0, 0, 6, 0, 0]
    assert "warning: 7 of 12 utterances have no" in capsys.readouterr().err


def test_folds_of_all_kinds(tmp_path):
    rows = build(tmp_path / "in", 9)
    parts = ["train", "dev", "test", "validation", "valid", "val"]
    columns = {
        "part": [{"part": parts[i % 6]} for i in range(9)],
        "fold": [{"fold": [1, 2, 4][i % 3]} for i in range(9)],
    }
    for name, cells in columns.items():
        write_rows(tmp_path / "in", [row | cell for row, cell in zip(rows, cells, strict=True)])
        assert_holds(tmp_path / "in", tmp_path / name, prepare(tmp_path / "in", tmp_path / name))
    own = [row | {"fold": f, "part": parts[(i + f) % 3]} for f in (2, 1) for i, row in enumerate(rows) if i != 3 * f]
    write_rows(tmp_path / "in", own)
    assert_holds(tmp_path / "in", tmp_path / "both", prepare(tmp_path / "in", tmp_path / "both"))


def test_a_rotated_fold_by_hand(tmp_path):
    rows = build(tmp_path / "in", 4)
    write_rows(tmp_path / "in", [row | {"fold": fold} for row, fold in zip(rows, (1, 2, 3, 3), strict=True)])
    prepare(tmp_path / "in", tmp_path / "data")
    folds = corpus.read_folds(tmp_path / "data/corpus/folds.csv")
    assert folds.pivot(index="fold", columns="utterance_id", values="part").values.tolist() == [
        ["test", "dev", "train", "train"],
        ["train", "test", "dev", "dev"],
        ["dev", "train", "test", "test"],
    ]


READ = (
    "must have values in the columns utterance_id, label and <modality>_file_name (or transcription), but has {} of "
    "those that are read; corpus.columns maps other names"
)
COLUMN = (
    "the <modality> of a column <modality>_file_name must be a lower-case letter and then a-z, 0-9 or '_', "
    "but the column is '{}'"
)
INSIDE = "inside the manifest's folder, links followed (unless corpus.allow_outside is true)"
PRINTABLE = "text of printable characters"
EXISTS = "the path of a file that exists"
PART = "train, dev (or validation, valid, val) or test"
FOLD = "a whole number in 1 … 999999"


def said(path: Path, message: str) -> str:
    """The message about a file of this kind; `line 2` stands for the first row."""
    if path.suffix != ".csv":  # these have no header
        message = re.sub(r"\bline (\d+)", lambda match: f"line {int(match[1]) - 1}", message)
    return f"{path}: {message.replace('line ', 'row ') if path.suffix == '.parquet' else message}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("label", "", "text or a whole number"),
        ("label", " c0", "without spaces around it"),
        ("speaker", "a\tb", PRINTABLE),
        ("dialogue", "\x00", PRINTABLE),
        ("text_file_name", "a\x00.npy", PRINTABLE),
        ("text_file_name", "text/u1", f"the path of a file that ends in {', '.join(ENDS)}"),
        ("text_file_name", "/etc/x.npy", INSIDE),
        ("text_file_name", "a/../../x.npy", INSIDE),
        ("text_file_name", "../in/text/u1.npy", INSIDE),
        ("text_file_name", "link/x.npy", INSIDE),
        ("text_file_name", "link.npy", INSIDE),
        ("text_file_name", "text/u99.npy", EXISTS),
        ("text_file_name", "text/u1.npy/x.npy", EXISTS),
        ("text_file_name", "folder.npy", "a file, not a folder or a device"),
        ("text_file_name", "pipe.npy", "a file, not a folder or a device"),
        ("text_file_name", "loop.npy", "the path of a file that can be read (Too many levels of symbolic links)"),
        ("part", "tset", PART),
        ("part", "", PART),
        ("fold", "0", FOLD),
        ("fold", "1.0", FOLD),
        ("fold", "", FOLD),
    ],
)
def test_mistakes_in_a_cell(tmp_path, kind, column, value, rule):
    root = tmp_path / "in"
    rows = build(root, kind=kind)
    save(tmp_path / "x.npy", np.ones((2, 3)))
    (root / "link").symlink_to(tmp_path)
    (root / "link.npy").symlink_to(tmp_path / "x.npy")
    (root / "loop.npy").symlink_to("loop.npy")
    (root / "folder.npy").mkdir()
    os.mkfifo(root / "pipe.npy")
    for row in rows:
        row.setdefault(column, {"part": "train", "fold": "1"}.get(column, ""))
    rows[1][column] = value
    write_rows(root, rows, kind)
    message = f"line 3 (utterance 'u1'): {column} must be {rule}, but is {repr(value) if value else 'empty'}"
    assert refused(root, tmp_path / "data") == said(root / f"metadata.{kind}", message)


def cell(row: int, **cells):
    """A change of some cells of a row, counted from 0."""
    return lambda rows: rows[row].update(cells)


def each(**cells):
    """A change of these cells in every row; what is callable is called with the row's number."""
    return lambda rows: [
        row.update({name: value(i) if callable(value) else value for name, value in cells.items()})
        for i, row in enumerate(rows)
    ]


def twice(change):
    """Two rows an utterance, one for each of two folds; then a change."""

    def both(rows):
        rows[:] = [
            row | {"fold": f, "part": ["train", "dev", "test"][i % 3]} for f in (1, 2) for i, row in enumerate(rows)
        ]
        change(rows)

    return both


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cell(3, utterance_id=""), "line 5: utterance_id must be text or a whole number, but is empty"),
        (cell(3, utterance_id="u1"), "line 5: utterance_id must be unique, but 'u1' is in line 3 too"),
        (cell(3, utterance_id="a\tb"), f"line 5: utterance_id must be {PRINTABLE}, but is 'a\\tb'"),
        (each(label="x"), "label must name two or more classes, but is 'x' in every row"),
        (each(label=None), READ.format("utterance_id, speaker, text_file_name, gaze_file_name")),
        (each(text_file_name=None, gaze_file_name=None), READ.format("utterance_id, speaker, label")),
        (each(Text_file_name="x"), COLUMN.format("Text_file_name")),
        (
            each(fold=lambda i: 1 + i % 2),
            "fold, without part, must have 3 … 1000 different values "
            "(a fold's dev part is the next fold's utterances), but has 2",
        ),
        (twice(cell(13, label="c0")), "line 15 (utterance 'u1'): label must be 'c1' as in line 3, but is 'c0'"),
        (twice(cell(13, speaker="")), "line 15 (utterance 'u1'): speaker must be 's1' as in line 3, but is empty"),
        (
            twice(cell(13, text_file_name="text/u2.npy")),
            "line 15 (utterance 'u1'): text_file_name must be 'text/u1.npy' as in line 3, but is 'text/u2.npy'",
        ),
        (twice(cell(13, fold=1)), "line 15: utterance_id must be in each fold once, but 'u1' is in line 3 too"),
        (list.clear, "must have a row for each utterance, but has none"),
    ],
)
def test_mistakes_in_the_metadata(tmp_path, kind, change, message):
    root = tmp_path / "in"
    rows = build(root, kind=kind)
    change(rows)
    write_rows(root, rows, kind)
    assert refused(root, tmp_path / "data") == said(root / f"metadata.{kind}", message)


def test_allowed_outside(tmp_path):
    rows = build(tmp_path / "in", modalities=("text",))
    save(tmp_path / "x.npy", np.ones((2, 3)))
    (tmp_path / "in/link.npy").symlink_to(tmp_path / "x.npy")
    for row, name in zip(rows, ("../x.npy", str(tmp_path / "x.npy"), "link.npy"), strict=False):
        row["text_file_name"] = name
    write_rows(tmp_path / "in", rows)
    found = prepare(tmp_path / "in", tmp_path / "data", allow_outside=True)
    for row in range(3):
        np.testing.assert_array_equal(found.sequences["text"][row], np.ones((2, 3)))


def test_absolute_paths_are_refused_even_where_they_lead_inside(tmp_path):
    rows = build(tmp_path / "in", modalities=("text",))
    rows[1]["text_file_name"] = f"{tmp_path}/in/text/u1.npy"
    write_rows(tmp_path / "in", rows)
    assert f"line 3 (utterance 'u1'): text_file_name must be {INSIDE}, but is " in refused(
        tmp_path / "in", tmp_path / "d"
    )


def test_links_inside_and_a_folder_that_is_a_link_are_allowed(tmp_path):
    rows = build(tmp_path / "in", modalities=("text",))
    (tmp_path / "in/also").symlink_to("text")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "in")
    (tmp_path / "in/link.npy").symlink_to("also/u3.npy")
    rows[0]["text_file_name"], rows[1]["text_file_name"] = "also/u1.npy", "link.npy"
    write_rows(tmp_path / "in", rows)
    found = prepare(tmp_path / "elsewhere", tmp_path / "data")
    assert_holds(tmp_path / "in", tmp_path / "data", found)


def test_paths_are_checked_again_when_arrays_are_read(tmp_path):
    root = tmp_path / "in"
    build(root, modalities=("text",))
    with files.replacing(tmp_path / "data/corpus") as folder:
        manifest.read(options(root)).write(folder)
    utterances = corpus.read_utterances(tmp_path / "data/corpus")
    save(tmp_path / "x.npy", np.ones((2, 3)))
    (root / "text/u4.npy").unlink()
    (root / "text/u4.npy").symlink_to(tmp_path / "x.npy")
    with pytest.raises(UserError) as error:
        arrays.write(options(root), "text", utterances, tmp_path / "out")
    assert str(error.value) == (
        f"{root}/metadata.csv: utterance 'u4': text_file_name must be {INSIDE}, but is 'text/u4.npy'"
    )


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["c0", "x"], "line 3 (utterance 'u1'): label must be one of c0, x (corpus.classes), but is 'c1'"),
        (["c0", "c1", "x", "y"], "every class of corpus.classes must have a row, but x, y has none"),
    ],
)
def test_given_classes_must_fit(tmp_path, classes, message):
    build(tmp_path / "in")
    assert refused(tmp_path / "in", tmp_path / "data", classes=classes) == f"{tmp_path}/in/metadata.csv: {message}"


HEAD = "utterance_id,label,text_file_name\n"
JSON = "must be a JSON object, but"
CELL = "must be text or a whole number, but is"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("csv", HEAD + "u1,a\n", "line 2: must have 3 cells as the header, but has 2"),
        ("csv", HEAD + '\n"u\n1",a,,\n', "line 3: must have 3 cells as the header, but has 4"),
        ("csv", HEAD + '"u1"x,a,\n', "line 2: must be CSV, but cannot be read (Error: ',' expected after '\"')"),
        ("csv", HEAD + 'u1,a,\n"u1,a,\nb', "line 3: must be CSV, but cannot be read (Error: unexpected end of data)"),
        ("csv", "label," + HEAD + "c,u1,a,\n", "line 2: must have each column once, but has label twice"),
        ("csv", HEAD.replace(",", ";") + "u1;a;\n", COLUMN.format("utterance_id;label;text_file_name")),
        ("csv", HEAD.replace("_", " ") + "u1,a,\n", READ.format("label")),
        ("csv", HEAD.encode() + b"u1,a,\nu\xff,a,\n", "line 3: must be UTF-8, but has the byte 0xff"),
        ("csv", "", "must have a row for each utterance, but has none"),
        ("jsonl", '{"label": 1}\n\n[1]\n', f"line 3: {JSON} is [1]"),
        ("jsonl", '{"label": 1, "label": 2}', "line 1: must have each column once, but has label twice"),
        ("jsonl", '{"label": true}', f"line 1: label {CELL} True"),
        ("jsonl", '{"utterance_id": "u", "label": 1.0}', f"line 1 (utterance 'u'): label {CELL} 1.0"),
        ("jsonl", '{"a_file_name": 1}', "line 1: a_file_name must be text, but is 1"),
        (
            "jsonl",
            '{"utterance_id": "u", "label": "\\ud800", "a_file_name": "x"}',
            f"line 1 (utterance 'u'): label must be {PRINTABLE}, but is '\\ud800'",
        ),
        ("jsonl", "?", f"line 1: {JSON} cannot be read (JSONDecodeError: Expecting value: line 1 column 1 (char 0))"),
        ("jsonl", b"\xff", "line 1: must be UTF-8, but has the byte 0xff"),
    ],
)
def test_damaged_metadata(tmp_path, name, content, message):
    path = tmp_path / f"metadata.{name}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused(tmp_path, tmp_path / "data") == f"{path}: {message}"


@pytest.mark.parametrize("made", [b"", b"PAR1 nothing", b"PAR1" + b"\xff" * 99 + b"PAR1"])
def test_damaged_parquet(tmp_path, made):
    (tmp_path / "metadata.parquet").write_bytes(made)
    message = refused(tmp_path, tmp_path / "data")
    assert message.startswith(
        f"{tmp_path}/metadata.parquet: must be a Parquet file, but cannot be read (ArrowInvalid: "
    )


def test_every_byte_that_says_how_a_parquet_file_is_made(tmp_path):
    """Damaged one after the other, each alone: counts of rows, offsets, names, types."""
    rows = build(tmp_path / "in", 5, modalities=("text",), kind="parquet")
    path = tmp_path / "in/metadata.parquet"
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in rows[0]}), path, store_schema=False)
    sound, messages = path.read_bytes(), ""
    for at in range(len(sound) - 8 - int.from_bytes(sound[-8:-4], "little"), len(sound)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 2]) + sound[at + 1 :])
        try:
            found = metadata.read(path)
        except UserError as error:
            messages += str(error)
        else:
            names = [name for name in pq.read_schema(path).names if name in found[0].cells]
            assert [row.cells for row in found] == pq.ParquetFile(path).read(names).to_pylist()
    assert "a column does not have" in messages  # as many rows as the file says


def test_deep_and_long_json(tmp_path):
    for content in ("[" * 100_000, '{"label": ' + "1" * 5000 + "}"):
        (tmp_path / "metadata.jsonl").write_text(content)
        assert "line 1: must be a JSON object, but cannot be read" in refused(tmp_path, tmp_path / "data")


def test_parquet_of_other_types(tmp_path):
    rows = build(tmp_path / "in", kind="parquet")
    for value, rule in ((1.5, "1.5"), (b"a", "b'a'"), ({"a": 1}, "{'a': 1}"), ([1], "[1]"), (True, "True")):
        write_rows(tmp_path / "in", [row | {"label": value} for row in rows], "parquet")
        message = refused(tmp_path / "in", tmp_path / "data")
        assert message.endswith(f"row 1 (utterance 'u0'): label must be text or a whole number, but is {rule}")
    twice = pa.table([pa.array(["u"]), pa.array(["a"]), pa.array(["b"])], ["utterance_id", "label", "label"])
    pq.write_table(twice, tmp_path / "in/metadata.parquet")
    message = refused(tmp_path / "in", tmp_path / "data")
    assert message.endswith("metadata.parquet: row 1: must have each column once, but has label twice")


def test_the_root_must_hold_one_manifest(tmp_path):
    names = "metadata.csv, metadata.jsonl, metadata.parquet"
    assert refused(tmp_path, tmp_path / "data") == f"{tmp_path}: must hold one of {names}, but holds none"
    for kind in ("csv", "parquet"):
        (tmp_path / f"metadata.{kind}").touch()
    message = f"{tmp_path}: must hold one of {names}, but holds metadata.csv and metadata.parquet"
    assert refused(tmp_path, tmp_path / "data") == message
    (tmp_path / "metadata.txt").touch()
    rule = "corpus.root must be a folder, or a metadata file that ends in .csv, .jsonl, .parquet, but is"
    assert refused(tmp_path / "metadata.txt", tmp_path / "data") == f"{rule} '{tmp_path}/metadata.txt'"
    assert refused(tmp_path / "nowhere", tmp_path / "data") == f"{rule} '{tmp_path}/nowhere', which does not exist"


def array(values, **choices):
    return lambda path: save(path, values, **choices)


def content(made: bytes):
    return lambda path: path.write_bytes(made)


def header(shape: tuple, kind: str = "<f4") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


PLAIN = "must be a plain numeric .npy array, but"
SHAPE = "must have the shape [T, F], but has"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (array(np.ones(5)), f"{SHAPE} [5]; an utterance's one vector is saved as [1, F]: array[None]"),
        (
            array(np.ones((1, 4, 3))),
            f"{SHAPE} [1, 4, 3]; one utterance's array is saved without the leading axis of 1: array[0]",
        ),
        (array(np.ones((2, 4, 3))), "must have 2 dimensions, but has shape (2, 4, 3)"),
        (array(np.ones(())), "must have 2 dimensions, but has shape ()"),
        (array(np.ones(0)), "must have 2 dimensions, but has shape (0,)"),
        (array(np.ones((4, 0))), "only the first dimension may be 0, but the shape is (4, 0)"),
        (array([[1, 2, 3], [4, np.nan, 6]]), "utterance 'u3': values must be finite, but frame 1 has nan"),
        (array([[1, -np.inf, 3]]), "utterance 'u3': values must be finite, but frame 0 has -inf"),
        (
            array([[1, 1e39, 3]]),
            "utterance 'u3': values must fit into float32, which ends at 3.4e+38, but frame 0 has 1e+39",
        ),
        (array([["a", "b", "c"]]), f"{PLAIN} holds values of the type dtype('<U1')"),
        (array(np.ones((2, 3), complex)), f"{PLAIN} holds values of the type dtype('complex128')"),
        (array(np.array([[None] * 3])), f"{PLAIN} holds Python objects, which are never loaded"),
        (
            content(b""),
            f"{PLAIN} is damaged: its header cannot be read "
            "(ValueError: EOF: reading magic string, expected 8 bytes got 0)",
        ),
        (
            content(header((10**9, 10**3)) + b"12"),
            f"{PLAIN} is damaged: its header claims (1000000000, 1000) of float32, but 2 bytes follow it",
        ),
    ],
)
def test_mistakes_in_arrays(tmp_path, change, message):
    build(tmp_path / "in", modalities=("text",))
    path = tmp_path / "in/text/u3.npy"
    change(path)
    assert refused(tmp_path / "in", tmp_path / "data") == f"{path}: {message}"


def test_another_width_names_both_files(tmp_path):
    root = tmp_path / "in"
    build(root, modalities=("text",))
    save(root / "text/u3.npy", np.ones((2, 5)))
    message = f"{root}/text/u3.npy: must have 3 columns as {root}/text/u0.npy, but has the shape [2, 5]"
    assert refused(root, tmp_path / "data") == message


def test_a_modality_that_the_corpus_lacks(tmp_path):
    build(tmp_path / "in", modalities=("text",))
    prepare(tmp_path / "in", tmp_path / "data")
    utterances = corpus.read_utterances(tmp_path / "data/corpus")
    utterances["text_file_name"] = ""
    with pytest.raises(
        UserError, match=r"modalities\.text: must have an array for at least one utterance, but has none"
    ):
        arrays.write(options(tmp_path / "in"), "text", utterances, tmp_path / "out")


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_objects_are_never_unpickled(tmp_path):
    build(tmp_path / "in", modalities=("text",))
    trap = np.array([[Trap(tmp_path / "sprung")] * 3])
    assert pickle.loads(pickle.dumps(trap)) is not None
    assert (tmp_path / "sprung").exists()  # the trap works
    (tmp_path / "sprung").unlink()
    path = tmp_path / "in/text/u3.npy"
    for made in (lambda: save(path, trap, allow_pickle=True), lambda: path.write_bytes(pickle.dumps(trap))):
        made()
        refused(tmp_path / "in", tmp_path / "data")
    made = header((1, 3), "|O") + pickle.dumps(trap)
    path.write_bytes(made)
    refused(tmp_path / "in", tmp_path / "data")
    assert not (tmp_path / "sprung").exists()


def test_a_claim_beyond_the_file_allocates_nothing(tmp_path):
    build(tmp_path / "in", modalities=("text",))
    (tmp_path / "in/text/u0.npy").write_bytes(header((10**8, 3)) + bytes(100))
    tracemalloc.start()
    try:
        refused(tmp_path / "in", tmp_path / "data")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """200 arrays of half a MiB, 100 MiB in all."""
    rows = build(tmp_path / "in", 200, modalities=("text",))
    for row in rows:
        save(tmp_path / "in" / row["text_file_name"], np.ones((1 << 10, 1 << 7), np.float32))
    tracemalloc.start()
    try:
        prepare(tmp_path / "in", tmp_path / "data")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_many_rows_take_seconds(tmp_path):
    row = build(tmp_path / "in", 2, modalities=("text", "audio"))[0]
    rows = [row | {"utterance_id": f"u{i}", "label": i % 7, "fold": 1 + i % 5} for i in range(100_000)]
    write_rows(tmp_path / "in", rows)
    begin = time.process_time()
    manifest.read(options(tmp_path / "in")).write(tmp_path / "out")
    assert time.process_time() - begin < 30  # about 5 on one core


def printed(kind: str) -> str:
    """The block of this kind in docs/your-own-corpus.md."""
    (block,) = re.findall(rf"```{kind}\n(.*?)```", (ROOT / "docs/your-own-corpus.md").read_text(), re.DOTALL)
    return block


def test_the_documents_example_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(printed("python"), "your-own-corpus.md", "exec"), {})
    found = prepare(tmp_path / "my_corpus", tmp_path / "data")
    assert_holds(tmp_path / "my_corpus", tmp_path / "data", found)
    assert found.meta.classes == ["angry", "happy", "neutral"]
    assert np.bincount(found.label).tolist() == [40, 40, 40]
    for ragged in found.sequences.values():  # a class's mean frame tells it from the others
        means = np.array([ragged[row].mean(axis=0) for row in range(120)])
        centres = np.array([means[found.label == label].mean(axis=0) for label in range(3)])
        nearest = np.argmin(((means[:, None] - centres) ** 2).sum(axis=-1), axis=1)
        assert np.mean(nearest == found.label) > 0.6


# Random damage.

VALUES = [
    *("", " ", "u1", "c1", "c2", " c1", "1", "0", "-1", "007", "1.0", "train", "val", "Test", "é", "\u202e", "\ud800"),
    *("a\0b", "a\nb", "a\rb", 'a"b', "a,b", "NaN", "nan", "None", "null", "9" * 30, "x" * 200_000, "x" * 300 + ".npy"),
    *("text/u2.npy", "text//u2.npy", "./text/u2.npy", "gaze/u1.npy", "../in/text/u1.npy", "text/../gaze/u1.npy"),
    *("text", ".npy", "..npy", "/", "/etc/passwd", "~/x.npy", "text/u2.npy ", "text/U2.npy"),
]
OTHERS = [None, True, 0, 1, 3, -5, 10**30, 1.0, float("nan"), [], {}, ["u1"], {"a": None}]
COLUMNS = [
    *("utterance_id", "label", "speaker", "session", "fold", "part", "text_file_name", "gaze_file_name"),
    *("new_file_name", "file_name", "_file_name", "A_file_name", "remark", ""),
]
TYPES = ["<f8", ">f4", ">i8", "<u2", "<f2", "<f16", "<c8", "?", "<U3", "S2", "<M8[s]", "f4,i4"]
CHANGES = ["cell", "cell", "cell", "column", "remove", "rename", "repeat", "drop", "swap"]
INSERTED = [b"\0", b"\n", b"\r", b'"', b",", b"\xff", b"{", b"}", "é".encode()]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict:
    """Rows of a small sound corpus, by how its folds are given."""
    root = tmp_path_factory.mktemp("sound") / "in"
    rows = build(root, 6)
    save(root / "text/u2.npy", np.zeros((0, 3)))
    (root / "metadata.csv").unlink()
    parts = ["train", "dev", "test"]
    kinds = {
        "none": rows,
        "part": [row | {"part": parts[i % 3]} for i, row in enumerate(rows)],
        "fold": [row | {"fold": str(1 + i % 3)} for i, row in enumerate(rows)],
        "both": [row | {"fold": str(f), "part": parts[(i + f) % 3]} for f in (1, 2) for i, row in enumerate(rows)],
    }
    return {"root": root, "rows": kinds}


def damage_rows(draw, rows: list[dict], kind: str) -> None:
    change = draw(st.sampled_from(CHANGES), "change")
    row = draw(st.integers(0, len(rows) - 1), "row")
    column = draw(st.sampled_from(COLUMNS), "column")
    values = st.sampled_from(VALUES if kind == "csv" else VALUES + OTHERS) | st.text(max_size=5)
    if change == "cell":
        rows[row][column] = draw(values, "value")
    elif change == "column":
        value = draw(values, "value")
        for own in rows:
            own[column] = value
    elif change == "remove":
        for own in rows if kind != "jsonl" else [rows[row]]:
            own.pop(column, None)
    elif change == "rename":
        other = draw(st.sampled_from(COLUMNS), "other")
        for own in rows:
            own[other] = own.pop(column, "")
    elif change == "repeat":
        rows.insert(draw(st.integers(0, len(rows)), "to"), dict(rows[row]))
    elif change == "drop":
        del rows[row]
        rows or rows.append({})
    else:
        other = draw(st.integers(0, len(rows) - 1), "other")
        rows[row][column], rows[other][column] = rows[other].get(column, ""), rows[row].get(column, "")


def damage_bytes(draw, path: Path) -> None:
    made = bytearray(path.read_bytes())
    at = draw(st.integers(0, max(0, len(made) - 1)), "at")
    change = draw(st.sampled_from(["flip", "cut", "insert", "remove", "replace"]), "bytes")
    if change == "flip" and made:
        made[at] ^= 1 << draw(st.integers(0, 7), "bit")
    elif change == "cut":
        del made[at:]
    elif change == "insert":
        made[at:at] = draw(
            st.sampled_from([b"\0", b"\n", b"\r", b'"', b",", b"\xff", b"{", b"}", "é".encode()]), "inserted"
        )
    elif change == "remove":
        del made[at : at + draw(st.integers(1, 40), "bytes removed")]
    else:
        made = draw(st.binary(max_size=60), "content")
    path.write_bytes(bytes(made))


def damage_array(draw, path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    change = draw(st.sampled_from(["bytes", "shape", "type", "value", "header", "object"]), "array")
    if change == "bytes":
        damage_bytes(draw, path)
    elif change == "shape":
        shape = draw(st.lists(st.integers(0, 4), max_size=4), "shape")
        save(path, np.ones(shape))
    elif change == "type":
        kind = draw(st.sampled_from(TYPES), "type")
        save(path, np.zeros((2, 3), kind) if kind == "f4,i4" else values.astype(kind))
    elif change == "value":
        values.flat[draw(st.integers(0, 5), "at")] = draw(st.floats(), "value")
        save(path, np.asarray(values, order=draw(st.sampled_from("CF"))))
    elif change == "header":
        shape = tuple(draw(st.lists(st.integers(-2, 2**66), min_size=1, max_size=3), "shape"))
        path.write_bytes(header(shape) + draw(st.binary(max_size=30), "values"))
    else:
        save(path, np.array([[Trap(path.with_name("sprung"))] * 3]), allow_pickle=True)


def written(root: Path, rows: list[dict], kind: str) -> bool:
    """Write rows, lone surrogates and mixed types included; whether this format can hold them."""
    if kind == "jsonl":
        write_rows(root, rows, kind)
        return True
    try:
        write_rows(root, rows, kind)
    except (UnicodeError, pa.ArrowException, ValueError, TypeError, OverflowError):
        return False
    return True


@given(data=st.data())
@settings(
    max_examples=int(os.environ.get("MANIFEST_EXAMPLES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_random_damage_is_refused_or_read_as_by_others(sound, data):
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "in"
        shutil.copytree(sound["root"], root)
        kind = data.draw(st.sampled_from(KINDS), "kind")
        rows = [dict(row) for row in sound["rows"][data.draw(st.sampled_from(list(sound["rows"])), "folds")]]
        for _ in range(data.draw(st.integers(0, 2), "damaged rows")):
            damage_rows(data.draw, rows, kind)
        if not written(root, rows, kind):
            return
        what = data.draw(st.sampled_from(["none", "metadata", "array"]), "what")
        if what == "metadata":
            damage_bytes(data.draw, root / f"metadata.{kind}")
        elif what == "array":
            damage_array(data.draw, root / "text" / f"u{data.draw(st.integers(0, 5), 'file')}.npy")
        with suppress(UserError):
            found = prepare(root, Path(scratch) / "data")
            event("accepted")
            assert_holds(root, Path(scratch) / "data", found)
        assert not list(Path(scratch).rglob("sprung"))


# End to end, as a user runs it.

MODALITIES = {
    "text": {"letter": "t"},
    "video": {"letter": "v"},
    "audio": {"letter": "a", "positions": 0.5, "standardise": True},
    "gaze": {"letter": "g", "standardise": True},
}


def run_study(study: Study, root: Path, variants: list[str], names: str, **changes) -> pd.DataFrame:
    """`dvc repro` of a small study of a manifest; its scores, one row a variant and fold."""
    attention, letters = variants[0].split("_")
    study.set(
        corpus__source="manifest",
        corpus__root=str(root),
        modalities={name: MODALITIES[name] for name in names.split()},
        variants=variants,
        headline={"attention": attention, "modalities": letters},
        seeds=[1],
        split__folds=3,
        model__hidden=6,
        train__protocol__patience=2,
        train__protocol__max_epochs=3,
        **changes,
    )
    study.make_repository()
    study.ok("dvc", "repro")
    scores = pd.read_csv(study.folder / "metrics/scores.csv")
    assert scores[["variant", "seed"]].drop_duplicates().values.tolist() == [[variant, 1] for variant in variants]
    table = corpus.read_utterances(study.folder / "data/corpus")
    folds = corpus.read_folds(study.folder / "data/folds.csv", set(table["utterance_id"]))
    label = table.set_index("utterance_id")["label"]
    for variant in variants:
        tested = pd.read_parquet(study.folder / f"runs/{variant}/seed1/predictions.parquet")
        assert sorted(tested["utterance_id"]) == sorted(folds[folds["part"] == "test"]["utterance_id"])
        assert set(label[tested["utterance_id"]]) == set(label)
    headline = json.loads((study.folder / "metrics/headline.json").read_text())
    own = scores[scores["variant"] == variants[0]]
    assert headline["accuracy"]["mean"] == pytest.approx(own["accuracy"].mean())
    return scores


def test_the_documents_params_and_commands(study, tmp_path, monkeypatch):
    """As printed, up to the features; a changed array is taken by the commands that the page names."""
    monkeypatch.chdir(tmp_path)
    exec(compile(printed("python"), "your-own-corpus.md", "exec"), {})
    changes = yaml.safe_load(printed("yaml"))
    study.set(**changes | {"corpus": changes["corpus"] | {"root": str(tmp_path / "my_corpus")}})
    study.make_repository()
    study.ok("dvc", "repro", "plan", "split", "features")
    metas = {name: features.read_modality_meta(name, study.folder / "data/features") for name in MODALITIES}
    save(tmp_path / "my_corpus/gaze/u007.npy", np.ones((5, 4)))
    first, last = printed("sh").splitlines()
    study.ok(*first.split())
    assert last == "dvc repro"
    for name, before in metas.items():
        assert (features.read_modality_meta(name, study.folder / "data/features") == before) == (name != "gaze")


@pytest.mark.long
def test_four_modalities_with_folds_of_their_own_end_to_end(study, tmp_path):
    rows = build(tmp_path / "corpus", 60, 3, ("text", "video", "audio", "gaze"))
    for i, row in enumerate(rows):
        row["fold"] = 1 + i // 3 % 3
        row["gaze_file_name"] = row["gaze_file_name"] if i % 10 else ""
    write_rows(tmp_path / "corpus", rows)
    study.add_readmes_fusion()
    variants = ["self_tvag", "cross_tvag", "gated_tvag", "self_g"]
    scores = run_study(study, tmp_path / "corpus", variants, "text video audio gaze")
    assert scores.groupby("variant")["fold"].apply(list).tolist() == [[1, 2, 3]] * 4
    assert re.findall("Running stage '(.*)'", study.ok("dvc", "repro")) == ["cost"]  # which always runs


@pytest.mark.long
def test_one_modality_end_to_end(study, tmp_path):
    build(tmp_path / "corpus", 45, 3, ("gaze",), "parquet")
    run_study(study, tmp_path / "corpus", ["self_g"], "gaze")


@pytest.mark.long
def test_text_as_frames_and_two_classes_end_to_end(study, tmp_path):
    build(tmp_path / "corpus", 60, 2, ("text", "audio"), "jsonl")
    run_study(study, tmp_path / "corpus", ["cross_ta", "self_t"], "text audio", model__padding="mask")


@pytest.mark.long
def test_thirty_classes_end_to_end(study, tmp_path):
    build(tmp_path / "corpus", 30 * 6, 30, ("audio", "text"))
    run_study(study, tmp_path / "corpus", ["self_ta", "cross_ta"], "text audio")


def test_a_mistake_ends_the_stage_with_one_line(study, tmp_path):
    rows = build(tmp_path / "corpus", 12)
    rows[4]["text_file_name"] = "text/nowhere.npy"
    write_rows(tmp_path / "corpus", rows)
    study.set(corpus__source="manifest", corpus__root=str(tmp_path / "corpus"))
    study.set(
        modalities={"text": {"letter": "t"}}, variants=["self_t"], headline={"attention": "self", "modalities": "t"}
    )
    done = study.stage("corpus")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path}/corpus/metadata.csv: line 6 (utterance 'u4'): text_file_name must be the path of a file "
        "that exists, but is 'text/nowhere.npy'\n"
    )
    assert not (study.folder / "data/corpus").exists()
