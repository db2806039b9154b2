"""What the writer of features refuses, what readers say of damaged files, and that nothing trains on damaged arrays."""

import copy
import json
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import features
from stages.common.errors import UserError

CLASSES = ["angry", "sad", "so-so"]
LONGEST = {"audio": 7, "video": 5, "text": 11}
WORDS = 13


def corpus() -> dict:
    """What `build` writes: 6 utterances, nothing wrong with them."""
    rng = np.random.default_rng(0)
    names = [("", "", ""), ("s1", "ses1", "d1"), ("s2", "ses1", "d1")]
    return {
        "dimensions": {"audio": 3, "video": 2},
        "utterances": [
            (
                {
                    "utterance_id": f"u{i}",
                    "speaker": names[i % 3][0],
                    "session": names[i % 3][1],
                    "dialogue": names[i % 3][2],
                    "label": CLASSES[i % 3] if i < 4 else i % 3,
                },
                {
                    "audio": rng.standard_normal((1 + i, 3)),
                    "video": rng.standard_normal((5 - i % 2, 2)).astype(np.float32),
                    "text": rng.integers(1, WORDS, 1 + 2 * i),
                },
                {"audio": 1 + i // 2} if i % 2 else None,
            )
            for i in range(6)
        ],
        "meta": {"corpus": "unknown", "classes": list(CLASSES), "longest": dict(LONGEST)},
        "embedding": rng.standard_normal((WORDS, 4)),
        "prosody": rng.standard_normal((6, 2)),
        "folds": pd.DataFrame(
            [(fold, f"u{i}", ["train", "dev", "test"][(i + fold) % 3]) for fold in (1, 2) for i in range(6)],
            columns=["fold", "utterance_id", "part"],
        ),
    }


def build(folder: Path, made: dict) -> None:
    writer = features.Writer(folder, made["dimensions"])
    for utterance in made["utterances"]:
        writer.add(*utterance)
    rest = {name: made[name] for name in ("embedding", "prosody", "folds")}
    writer.close(meta=features.Meta(**made["meta"]), **rest)


def assert_holds(folder: Path, made: dict) -> None:
    """What is read must be what was written."""
    found = features.read(folder)
    assert found.meta.classes == made["meta"]["classes"]
    assert found.meta.longest == made["meta"]["longest"]
    np.testing.assert_array_equal(found.embedding, made["embedding"].astype(np.float32))
    if made["prosody"] is not None:
        np.testing.assert_array_equal(np.load(folder / "prosody.npy"), made["prosody"].astype(np.float32))
    table = features.read_utterances(folder)
    assert len(table) == len(made["utterances"])
    for row, (names, sequences, valid) in enumerate(made["utterances"]):
        label = names["label"] if isinstance(names["label"], str) else CLASSES[names["label"]]
        assert found.utterance_id[row] == names["utterance_id"]
        assert found.meta.classes[found.label[row]] == table["label"][row] == label
        assert [table[name][row] for name in features.NAMES[:-1]] == [names[name] for name in features.NAMES[:-1]]
        for modality, values in sequences.items():
            ragged = found.sequences[modality]
            np.testing.assert_array_equal(ragged[row], values.astype(np.int32 if modality == "text" else np.float32))
            assert len(ragged.valid_only()[row]) == (valid or {}).get(modality, len(values))
    if made["folds"] is not None:
        pd.testing.assert_frame_equal(
            features.read_folds(folder / "folds.csv"),
            made["folds"][["fold", "utterance_id", "part"]],
            check_dtype=False,
        )


def test_what_is_written_is_read(tmp_path):
    build(tmp_path / "c", corpus())
    assert_holds(tmp_path / "c", corpus())


def third(names=None, **sequences):
    """A mistake in the third utterance."""

    def change(made):
        own = made["utterances"][2]
        own[0].update(names or {})
        own[1].update(sequences)

    return change


def setting(**changes):
    return lambda made: made.update(changes)


def lacking(where, key):
    return lambda made: made["utterances"][2][where].pop(key)


def folds(**changes):
    return lambda made: made.update(folds=made["folds"].assign(**changes))


def at(array, index, value):
    array = np.array(array, float)
    array[index] = value
    return array


GOOD = corpus()
OWN = GOOD["utterances"][2][1]
MISTAKES = {
    "real-valued text": (
        third(text=np.full((6, 5), 0.5)),
        r"'u2': text: must have the shape \[words\], but has \[6, 5\]",
    ),
    "real ids": (third(text=np.array([1, 2.5])), r"'u2': text: token ids must be whole numbers .* position 1 has 2.5"),
    "NaN id": (third(text=np.array([np.nan])), r"'u2': text: token ids must be whole numbers .* position 0 has nan"),
    "negative id": (third(text=np.array([3, -1])), r"'u2': text: token ids must be .* position 1 has -1"),
    "id beyond int32": (
        third(text=np.array([2**31])),
        r"whole numbers in 0 … 2147483647 \(those of int32\), but position 0",
    ),
    "id beyond the vocabulary": (
        third(text=np.array([WORDS])),
        r"'u2': text: token ids must be in 0 … 12 \(the rows of the embedding\), but one is 13",
    ),
    "padded text": (third(text=np.array([3, 0])), "'u2': text: must come without padding, but ends with its id, 0"),
    "7 features for 3": (
        third(audio=np.zeros((5, 7))),
        r"'u2': audio: must have the shape \[frames, 3\], but has \[5, 7\]",
    ),
    "one frame without its axis": (
        third(video=np.zeros(2)),
        r"'u2': video: must have the shape \[frames, 2\], but has \[2\]",
    ),
    "NaN": (third(video=at(OWN["video"], (3, 1), np.nan)), "'u2': video: values must be finite, but frame 3 has nan"),
    "infinity": (
        third(audio=at(OWN["audio"], (2, 1), -np.inf)),
        "'u2': audio: values must be finite, but frame 2 has -inf",
    ),
    "1e300": (
        third(audio=at(OWN["audio"], (1, 1), 1e300)),
        r"'u2': audio: values must fit into float32, which ends at 3.4e\+38, but frame 1 has 1e\+300",
    ),
    "objects": (
        third(audio=np.array([[1, 2, "x"]], object)),
        r"audio: must be an array of numbers, but is one of dtype\('O'\)",
    ),
    "text for numbers": (
        third(text=np.array(["hello"])),
        "'u2': text: must be an array of numbers, but is one of dtype",
    ),
    "bool": (third(text=np.array([True])), r"'u2': text: must be an array of numbers, but is one of dtype\('bool'\)"),
    "complex": (
        third(video=np.zeros((2, 2), complex)),
        "'u2': video: must be an array of numbers, but is one of dtype",
    ),
    "a list": (third(text=[1, 2]), r"'u2': text: must be an array of numbers, but is \[1, 2\]"),
    "nothing": (third(audio=None), "'u2': audio: must be an array of numbers, but is None"),
    "a modality is missing": (
        lacking(1, "video"),
        "'u2': sequences must be audio, video, text, but are .*'audio', 'text'",
    ),
    "another modality": (third(smell=np.zeros(3)), "'u2': sequences must be audio, video, text, but are .*'smell'"),
    "too long": (
        third(text=np.full(12, 3)),
        r"'u2': text: must have at most 11 positions \(meta.longest\), but has 12",
    ),
    "valid": (
        lambda made: made["utterances"].__setitem__(2, (*made["utterances"][2][:2], {"video": 6})),
        "'u2': video: its valid positions must be a whole number in 0 … 5, but are 6",
    ),
    "valid of what": (
        lambda made: made["utterances"].__setitem__(2, (*made["utterances"][2][:2], {"vidoe": 6})),
        r"'u2': valid must be of audio, video, text, but is of \['vidoe'\]",
    ),
    "id twice": (third({"utterance_id": "u0"}), "utterance 'u0': utterance_id must be unique, but was added before"),
    "number for an id": (third({"utterance_id": 7}), "utterance 7: utterance_id must be text of printable characters"),
    "empty id": (third({"utterance_id": ""}), "utterance '': utterance_id must not be empty"),
    "line break": (
        third({"utterance_id": "a\nb"}),
        r"utterance 'a\\nb': utterance_id must be text of printable characters",
    ),
    "no speaker": (third({"speaker": None}), "'u2': speaker must be text of printable characters, but is None"),
    "a column is missing": (
        lacking(0, "session"),
        "what names an utterance must be utterance_id, speaker, session, dialogue",
    ),
    "another column": (third({"gender": "f"}), "what names an utterance must be .* but are .*'gender'"),
    "unknown label": (third({"label": "happy"}), "'u2': label must be one of angry, sad, so-so .* but is 'happy'"),
    "label beyond": (third({"label": 3}), "'u2': label must be one of angry, sad, so-so .* but is 3"),
    "label -1": (third({"label": -1}), "'u2': label must be one of angry, sad, so-so .* but is -1"),
    "NaN label": (third({"label": np.nan}), "'u2': label must be a class's name or index, but is nan"),
    "bool label": (third({"label": True}), "'u2': label must be a class's name or index, but is True"),
    "a class without utterances": (
        lambda made: made["meta"]["classes"].append("bored"),
        "every class of meta.classes must have an utterance, but bored has none",
    ),
    "no utterances": (
        setting(utterances=[], prosody=None, folds=None),
        "every class .* but angry, sad, so-so has none",
    ),
    "class twice": (lambda made: made["meta"]["classes"].append("sad"), "classes must be two or more different names"),
    "longest": (lambda made: made["meta"]["longest"].pop("text"), "longest must be audio, video, text, but are"),
    "longest 0": (
        lambda made: made["meta"]["longest"].update(text=0),
        "longest: text must be a whole number from 1, but is 0",
    ),
    "dimensions": (setting(dimensions={"audio": 3}), r"dimensions must be audio, video, but are \['audio'\]"),
    "dimensions 0": (
        setting(dimensions={"audio": 3, "video": 0}),
        "dimensions: video must be a whole number from 1, but is 0",
    ),
    "NaN embedding": (
        setting(embedding=at(GOOD["embedding"], (4, 1), np.nan)),
        "embedding: values must be finite, but row 4 has nan",
    ),
    "flat embedding": (
        setting(embedding=np.zeros(5)),
        r"embedding: must have the shape \[rows, columns\], but has \[5\]",
    ),
    "no embedding": (setting(embedding=None), "embedding: must be an array of numbers, but is None"),
    "prosody": (setting(prosody=np.zeros((5, 2))), r"prosody: must have the shape \[6, columns\], but has \[5, 2\]"),
    "unknown utterance": (
        folds(utterance_id=["u9", *GOOD["folds"]["utterance_id"][1:]]),
        "folds: row 0: utterance_id must be an utterance of the corpus, but is 'u9'",
    ),
    "unknown part": (folds(part="valid"), "folds: row 0: part must be one of train, dev, test, but is 'valid'"),
    "fold 0": (folds(fold=0), "folds: row 0: fold must be a whole number in 1 … 999999, but is 0"),
    "fold by name": (folds(fold="fold01"), "folds: row 0: fold must be a whole number in 1 … 999999, but is 'fold01'"),
    "utterance twice in a fold": (
        folds(fold=1),
        "folds: row 6: an utterance must be in a fold once, but 'u0' is in fold 1",
    ),
    "columns of folds": (folds(seed=1), "columns of the folds must be fold, utterance_id, part, but are"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_utterance_modality_rule_and_value(name, tmp_path):
    made = corpus()
    mistake, message = MISTAKES[name]
    mistake(made)
    with pytest.raises(UserError, match=message):
        build(tmp_path / "c", made)


def test_an_utterance_that_is_refused_leaves_no_trace(tmp_path):
    build(tmp_path / "good", corpus())
    made, writer = corpus(), features.Writer(tmp_path / "c", {"audio": 3, "video": 2})
    for utterance in made["utterances"]:
        bad = copy.deepcopy(utterance)
        bad[1]["text"] = np.array([0.5])
        bad[0]["utterance_id"] += "_bad"
        with pytest.raises(UserError):
            writer.add(*bad)
        writer.add(*utterance)
    writer.close(
        meta=features.Meta(**made["meta"]), embedding=made["embedding"], prosody=made["prosody"], folds=made["folds"]
    )
    for path in (tmp_path / "good").iterdir():
        assert path.read_bytes() == (tmp_path / "c" / path.name).read_bytes()


def test_utterances_without_a_modality_are_counted(tmp_path, capsys):
    made = corpus()
    made["utterances"][1][1]["text"] = np.zeros(0, int)
    made["utterances"][4][1]["text"] = np.zeros(0, int)
    build(tmp_path / "c", made)
    assert_holds(tmp_path / "c", made)
    assert capsys.readouterr().err == "warning: 2 of 6 utterances have no text; models see nothing but padding there\n"


SCALARS = [None, "", "u0", "u5", "angry", "happy", "train", "a\nb", "\ud800", b"x", np.str_("sad")]
SCALARS += [0, 1, 2, 3, 7, 12, -1, 2**70, np.int64(1), True, 1.5, np.nan]
JUNK = [*SCALARS, [], [1, 2], ["angry", "sad"], {}, {"audio": 3}, np.zeros(2), pd.DataFrame()]
NUMBERS = [0, 1, 5, 12, 13, -1, 0.5, 3e38, 1e39, 1e300, np.nan, np.inf]
TYPES = ["f2", "f4", ">f4", "f8", "i1", "u8", ">i8", "?", "c8", "U2", "O", "M8[s]"]
SHAPES = [
    (0,),
    (1,),
    (4,),
    (12,),
    (0, 3),
    (0, 2),
    (2, 3),
    (2, 2),
    (3, 2),
    (8, 3),
    (6, 1),
    (6, 0),
    (13, 4),
    (2, 2, 2),
    (),
]


@st.composite
def arrays(draw):
    with np.errstate(all="ignore"):
        array = np.full(draw(st.sampled_from(SHAPES)), float(draw(st.sampled_from(NUMBERS))))
        if array.size and draw(st.booleans()):
            array = np.ones_like(array)
            array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from(NUMBERS))
        with suppress(ValueError):  # NaN is no whole number
            array = array.astype(draw(st.sampled_from(TYPES)))
        return np.asfortranarray(array) if draw(st.booleans()) else array


@st.composite
def mistakes(draw):
    """`corpus()` with up to three changes of any place."""
    made = corpus()
    for _ in range(draw(st.integers(0, 3))):
        anything = draw(st.one_of(st.sampled_from(JUNK), arrays()))
        where = draw(st.sampled_from(["names", "sequence", "valid", "meta", "rest", "folds", "utterances"]))
        row = draw(st.integers(0, len(made["utterances"]) - 1))
        names, sequences, _ = made["utterances"][row]
        if where == "names":
            names[draw(st.sampled_from([*features.NAMES, "age"]))] = anything
        elif where == "sequence":
            sequences[draw(st.sampled_from([*features.SEQUENCES, "smell"]))] = anything
        elif where == "valid":
            made["utterances"][row] = names, sequences, {draw(st.sampled_from(features.SEQUENCES)): anything}
        elif where == "meta":
            made["meta"][draw(st.sampled_from(["corpus", "classes", "longest"]))] = anything
        elif where == "rest":
            made[draw(st.sampled_from(["dimensions", "embedding", "prosody", "folds"]))] = anything
        elif where == "folds" and isinstance(made["folds"], pd.DataFrame) and len(made["folds"]):
            made["folds"] = made["folds"].astype(object)
            made["folds"].iat[draw(st.integers(0, 11)), draw(st.integers(0, 2))] = draw(st.sampled_from(SCALARS))
        else:
            made["utterances"].insert(row, draw(st.sampled_from(made["utterances"])))
    return made


def whole(value) -> bool:
    return isinstance(value, (int, np.integer)) and type(value) is not bool


def name(value) -> bool:
    return isinstance(value, str) and not any(character in value for character in "\n\ud800")


def keys(value, *expected) -> bool:
    return isinstance(value, dict) and set(value) == set(expected)


def sizes(value, *expected) -> bool:
    return keys(value, *expected) and all(whole(size) and size > 0 for size in value.values())


def numbers(value, *shape) -> bool:
    """Finite numbers of a shape of which None may be anything."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim != len(shape):
        return False
    with np.errstate(all="ignore"):
        finite = np.isfinite(value.astype(np.float32)).all()
    return finite and all(size in (None, own) for size, own in zip(shape, value.shape, strict=True))


def is_right(made: dict) -> bool:
    """Whether a corpus keeps the rules of `features.Writer`."""
    meta, dimensions, utterances = made["meta"], made["dimensions"], made["utterances"]
    classes, longest, embedding, folds = meta["classes"], meta["longest"], made["embedding"], made["folds"]
    if not sizes(dimensions, "audio", "video") or not sizes(longest, "audio", "video", "text"):
        return False
    if not isinstance(meta["corpus"], str) or not isinstance(classes, list) or not all(c and name(c) for c in classes):
        return False
    if len(set(classes)) != len(classes) or len(classes) < 2:
        return False
    if not numbers(embedding, None, None) or not embedding.size:
        return False
    labels, ids = set(), [names.get("utterance_id") for names, _, _ in utterances]
    for names, sequences, valid in utterances:
        if not keys(names, *features.NAMES) or not all(name(names[key]) for key in features.NAMES[:-1]):
            return False
        label = names["label"]
        if isinstance(label, str) and label in classes:
            labels.add(label)
        elif whole(label) and 0 <= label < len(classes):
            labels.add(classes[label])
        else:
            return False
        if not keys(sequences, "audio", "video", "text"):
            return False
        text = sequences["text"]
        if not numbers(text, None) or any(not 0 <= i < len(embedding) or i % 1 for i in text) or not all(text[-1:]):
            return False
        if not all(numbers(sequences[m], None, dimensions[m]) for m in ("audio", "video")):
            return False
        if any(len(sequences[m]) > longest[m] for m in longest):
            return False
        if any(not whole(n) or not 0 <= n <= len(sequences[m]) for m, n in (valid or {}).items()):
            return False
    if "" in ids or len(set(ids)) < len(ids) or labels != set(classes):
        return False
    if made["prosody"] is not None and not (
        isinstance(made["prosody"], np.ndarray)
        and made["prosody"].dtype.kind in "fiu"
        and made["prosody"].ndim == 2
        and len(made["prosody"]) == len(utterances)
        and made["prosody"].size
    ):
        return False
    if folds is None:
        return True
    if not isinstance(folds, pd.DataFrame) or set(folds.columns) != {"fold", "utterance_id", "part"}:
        return False
    rows = [tuple(row) for row in folds[["fold", "utterance_id", "part"]].itertuples(index=False)]
    for fold, utterance, part in rows:
        if not whole(fold) or not 1 <= fold <= 999999 or not isinstance(utterance, str) or utterance not in ids:
            return False
        if not isinstance(part, str) or part not in ("train", "dev", "test"):
            return False
    return len({row[:2] for row in rows}) == len(rows)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(made=mistakes())
def test_only_what_keeps_the_rules_is_written(made):
    with tempfile.TemporaryDirectory() as folder:
        if is_right(made):
            build(Path(folder, "c"), made)
            assert_holds(Path(folder, "c"), made)
        else:
            with pytest.raises(UserError) as refusal:
                build(Path(folder, "c"), made)
            assert len(str(refusal.value).splitlines()) == 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "features"
    build(folder, corpus())
    return folder


def damage_bytes(draw, content: bytes) -> bytes:
    if draw(st.booleans()):
        return content[: draw(st.integers(0, len(content)))]
    damaged, start = bytearray(content), draw(st.integers(0, len(content) - 1))
    put = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b",", b"\n", b"9", b'"'])))
    damaged[start : start + draw(st.integers(0, 3))] = put
    return bytes(damaged)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_files_are_named_where_they_are_read(data, prepared):
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(prepared, Path(parent, "features")))
        path = folder / data.draw(st.sampled_from(sorted(own.name for own in folder.iterdir())))
        damaged = data.draw(st.booleans())
        if damaged:
            path.write_bytes(damage_bytes(data.draw, path.read_bytes()))
        else:
            path.unlink()
        changed = not path.exists() or path.read_bytes() != (prepared / path.name).read_bytes()
        try:
            found, table = features.read(folder), features.read_folds(folder / "folds.csv")
            for fold in features.numbers(table):
                features.fold_rows(found, table, fold)
            for ragged in found.sequences.values():
                assert [len(ragged[row]) for row in range(len(found.label))] == ragged.lengths.tolist()
        except UserError as error:
            refusal = str(error)
            assert changed
            assert re.fullmatch(
                r"\S*(features/\w+\.\w+|data/folds.csv): .*; `dvc repro` or `dvc checkout --force \S+` restores it",
                refusal,
            )
        if path.suffix == ".npy" and changed:
            with pytest.raises(UserError, match=f"{path.name}: (must be what prepare wrote|this file is missing)"):
                features.verify({}, folder)


def test_an_array_is_read_again_only_if_it_was_touched(prepared, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(prepared, tmp_path / "features"))
    verified, read = features.verify({}, folder), []
    monkeypatch.setattr(features, "checksum", lambda path: read.append(path.name) or "of something else")
    assert features.verify(verified, folder) == verified
    assert read == []
    content = (folder / "video.npy").read_bytes()
    (folder / "video.npy").unlink()
    (folder / "video.npy").write_bytes(content)
    with pytest.raises(
        UserError, match=r"video.npy: must be what prepare wrote, but its SHA-256 is not the one in meta"
    ):
        features.verify(verified, folder)
    assert read == ["video.npy"]


def test_nothing_trains_on_damaged_arrays(study):
    train = ("train", "--variant", "self_v", "--seed")
    study.set(seeds=[1], train__protocol__max_epochs=1, split__folds=2)
    assert study.stage("prepare").returncode == study.stage("split").returncode == 0
    video = study.folder / "data/features/video.npy"
    content = video.read_bytes()
    assert study.stage(*train, "1").returncode == 0
    damaged = bytearray(content)
    damaged[-2] ^= 64
    video.write_bytes(damaged)
    done = study.stage(*train, "2")
    assert done.returncode == 1
    assert done.stderr == (
        "error: data/features/video.npy: must be what prepare wrote, but its SHA-256 is not the one in meta.json; `dvc "
        "repro` or `dvc checkout --force data/features/video.npy` restores it\n"
    )
    assert not list(study.folder.glob(".work/*/seed2*"))
    done = study.stage(*train, "1")  # there is nothing to train
    assert "2 of them found in .work/" in done.stdout
    (study.folder / ".work/verified.json").write_text("{")
    video.write_bytes(content)
    assert study.stage(*train, "2").returncode == 0
    assert len(json.loads((study.folder / ".work/verified.json").read_text())) == 4
