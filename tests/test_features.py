"""What the writers of a corpus and its features refuse, what readers say of damaged files, and what verifies arrays."""

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

from stages.common import corpus, features
from stages.common.errors import UserError
from stages.corpus import writer as corpus_writer
from stages.features.writer import Writer

CLASSES = ["angry", "sad", "so-so"]
WORDS = 13
SEQUENCES = ("sound", "face_2", "words")  # modalities may be called anything


def good() -> dict:
    """What `build` writes: 6 utterances, nothing wrong with them."""
    rng = np.random.default_rng(0)
    names = [("", "", ""), ("s1", "ses1", "d1"), ("s2", "ses1", "d1")]
    return {
        "utterances": [
            {
                "utterance_id": f"u{i}",
                "speaker": names[i % 3][0],
                "session": names[i % 3][1],
                "dialogue": names[i % 3][2],
                "label": CLASSES[i % 3] if i < 4 else i % 3,
                "folder": f"fold0{i}",
                "row": i,
            }
            for i in range(6)
        ],
        "meta": {"corpus": "unknown", "classes": list(CLASSES), "modalities": list(SEQUENCES)},
        "folds": pd.DataFrame(
            [(fold, f"u{i}", ["train", "dev", "test"][(i + fold) % 3]) for fold in (1, 2) for i in range(6)],
            columns=["fold", "utterance_id", "part"],
        ),
        "modalities": {
            "sound": {
                "kind": "frames",
                "dimensions": 3,
                "sequences": [(f"u{i}", rng.standard_normal((1 + i, 3)), 1 + i // 2) for i in range(6)],
                "longest": 7,
                "embedding": None,
                "made": {"source": "test"},
            },
            "face_2": {
                "kind": "frames",
                "dimensions": None,
                "sequences": [
                    (f"u{i}", rng.standard_normal((5 - i % 2, 2)).astype(np.float32), None) for i in range(6)
                ],
                "longest": 5,
                "embedding": None,
                "made": {"source": "test", "size": 2},
            },
            "words": {
                "kind": "tokens",
                "dimensions": None,
                "sequences": [(f"u{i}", rng.integers(1, WORDS, 1 + 2 * i), None) for i in range(6)],
                "longest": None,
                "embedding": rng.standard_normal((WORDS, 4)),
                "made": {},
            },
        },
    }


def build(folder: Path, made: dict) -> None:
    corpus_writer.write(
        folder / "corpus",
        meta=corpus.Meta(**made["meta"]),
        utterances=made["utterances"],
        folds=made["folds"],
    )
    for name, own in made["modalities"].items():
        build_modality(folder / "features" / name, own)


def build_modality(folder: Path, own: dict) -> None:
    writer = Writer(folder, own["kind"], own["dimensions"])
    for sequence in own["sequences"]:
        writer.add(*sequence)
    writer.close(longest=own["longest"], embedding=own["embedding"], made=own["made"])


def read(folder: Path, modalities=SEQUENCES) -> features.Features:
    return features.read(modalities, folder / "features", folder / "corpus")


def assert_holds(folder: Path, made: dict) -> None:
    """What is read must be what was written."""
    found = read(folder, made["modalities"])
    assert corpus.read_meta(folder / "corpus") == found.meta == corpus.Meta(**made["meta"])
    table = corpus.read_utterances(folder / "corpus")
    assert list(table) == list(made["utterances"][0])
    assert len(table) == len(made["utterances"])
    for row, utterance in enumerate(made["utterances"]):
        label = utterance["label"] if isinstance(utterance["label"], str) else CLASSES[utterance["label"]]
        assert found.utterance_id[row] == utterance["utterance_id"]
        assert found.meta.classes[found.label[row]] == table["label"][row] == label
        assert [table[name][row] for name in table] == [str(own) for own in (utterance | {"label": label}).values()]
    for name, own in made["modalities"].items():
        assert_modality_holds(found.sequences[name], own)
        assert features.read_modality_meta(name, folder / "features").made == own["made"]
    if made["folds"] is not None:
        pd.testing.assert_frame_equal(
            corpus.read_folds(folder / "corpus/folds.csv"),
            made["folds"][["fold", "utterance_id", "part"]],
            check_dtype=False,
        )


def assert_modality_holds(ragged: features.Ragged, own: dict) -> None:
    assert ragged.kind == own["kind"]
    assert ragged.longest == (own["longest"] or max(len(values) for _, values, _ in own["sequences"]))
    if own["kind"] == "tokens":
        np.testing.assert_array_equal(ragged.embedding, own["embedding"].astype(np.float32))
    assert ragged.dimensions == (own["sequences"][0][1] if own["kind"] == "frames" else own["embedding"]).shape[1]
    assert len(ragged.lengths) == len(own["sequences"])
    for row, (_, values, valid) in enumerate(own["sequences"]):
        np.testing.assert_array_equal(ragged[row], values.astype(np.int32 if own["kind"] == "tokens" else np.float32))
        assert len(ragged.valid_only()[row]) == (len(values) if valid is None else valid)


def test_what_is_written_is_read(tmp_path):
    build(tmp_path, good())
    assert_holds(tmp_path, good())
    assert not (tmp_path / "features/face_2/valid.npy").exists()  # all are


@pytest.mark.parametrize("count", [1, 8])
def test_there_may_be_any_number_of_modalities(count, tmp_path):
    made = good()
    kinds = list(made["modalities"].values())
    made["modalities"] = {f"m{i}": kinds[i % 3] for i in range(count)}
    made["meta"]["modalities"] = list(made["modalities"])
    build(tmp_path, made)
    assert_holds(tmp_path, made)
    assert list(read(tmp_path, ["m0"]).sequences) == ["m0"]


def test_a_modality_that_is_not_there_is_named_with_those_that_are(tmp_path):
    build(tmp_path, good())
    with pytest.raises(UserError, match=r"features/smell: a modality must be one of .*, face_2, sound, words, but is"):
        read(tmp_path, ["sound", "smell"])
    with pytest.raises(UserError, match=r"one of those in \S+nowhere, none, but is sound"):
        features.read(["sound"], tmp_path / "nowhere", tmp_path / "corpus")


@pytest.mark.parametrize("change", ["order", "fewer", "renamed"])
def test_features_of_other_utterances_are_refused(change, tmp_path):
    made = good()
    sequences = made["modalities"]["sound"]["sequences"]
    made["modalities"]["sound"]["sequences"] = {
        "order": sequences[::-1],
        "fewer": sequences[:-1],
        "renamed": [(f"v{name}", *rest) for name, *rest in sequences],
    }[change]
    build(tmp_path, made)
    assert len(read(tmp_path, ["face_2", "words"]).label) == 6
    with pytest.raises(
        UserError, match=r"sound/meta.json: features must be of the utterances of utterances.csv, .* `dvc repro`"
    ):
        read(tmp_path, ["face_2", "sound"])


def third(**changes):
    """A mistake in what is known of the third utterance."""
    return lambda made: made["utterances"][2].update(changes)


def sequence(modality, values, valid=None, utterance_id="u2"):
    """Another sequence of the third utterance."""
    return lambda made: made["modalities"][modality]["sequences"].__setitem__(2, (utterance_id, values, valid))


def of(modality, **changes):
    return lambda made: made["modalities"][modality].update(changes)


def setting(**changes):
    return lambda made: made.update(changes)


def of_meta(**changes):
    return lambda made: made["meta"].update(changes)


def folds(**changes):
    return lambda made: made.update(folds=made["folds"].assign(**changes))


def at(array, index, value):
    array = np.array(array, float)
    array[index] = value
    return array


GOOD = good()
OWN = {name: own["sequences"][2][1] for name, own in GOOD["modalities"].items()}
VECTORS = GOOD["modalities"]["words"]["embedding"]
MISTAKES = {
    "real-valued text": (
        sequence("words", np.full((6, 5), 0.5)),
        r"'u2': must have the shape \[words\], but has \[6, 5\]",
    ),
    "real ids": (
        sequence("words", np.array([1, 2.5])),
        r"'u2': token ids must be whole numbers .* position 1 has 2.5",
    ),
    "NaN id": (
        sequence("words", np.array([np.nan])),
        r"'u2': token ids must be whole numbers .* position 0 has nan",
    ),
    "negative id": (sequence("words", np.array([3, -1])), r"'u2': token ids must be .* position 1 has -1"),
    "id beyond int32": (
        sequence("words", np.array([2**31])),
        r"whole numbers in 0 … 2147483647 \(those of int32\), but position 0",
    ),
    "id beyond the vocabulary": (
        sequence("words", np.array([WORDS])),
        r"'u2': token ids must be in 0 … 12 \(the rows of the embedding\), but one is 13",
    ),
    "padded text": (sequence("words", np.array([3, 0])), "'u2': must come without padding, but ends with its id, 0"),
    "7 features for 3": (
        sequence("sound", np.zeros((5, 7))),
        r"'u2': must have the shape \[frames, 3\], but has \[5, 7\]",
    ),
    "3 features after 2": (
        sequence("face_2", np.zeros((5, 3))),
        r"'u2': must have the shape \[frames, 2\], but has \[5, 3\]",
    ),
    "no features": (
        lambda made: made["modalities"]["face_2"]["sequences"].__setitem__(0, ("u0", np.zeros((5, 0)), None)),
        r"'u0': must have the shape \[frames, features\], but has \[5, 0\]",
    ),
    "one frame without its axis": (
        sequence("face_2", np.zeros(2)),
        r"'u2': must have the shape \[frames, 2\], but has \[2\]",
    ),
    "NaN": (
        sequence("face_2", at(OWN["face_2"], (3, 1), np.nan)),
        "'u2': values must be finite, but frame 3 has nan",
    ),
    "infinity": (
        sequence("sound", at(OWN["sound"], (2, 1), -np.inf)),
        "'u2': values must be finite, but frame 2 has -inf",
    ),
    "1e300": (
        sequence("sound", at(OWN["sound"], (1, 1), 1e300)),
        r"'u2': values must fit into float32, which ends at 3.4e\+38, but frame 1 has 1e\+300",
    ),
    "objects": (
        sequence("sound", np.array([[1, 2, "x"]], object)),
        r"'u2': must be an array of numbers, but is one of dtype\('O'\)",
    ),
    "text for numbers": (
        sequence("words", np.array(["hello"])),
        "'u2': must be an array of numbers, but is one of dtype",
    ),
    "infinite id of a type that ends before those of int32": (
        sequence("words", np.array([np.inf], np.float16)),
        r"'u2': token ids must be whole numbers .* position 0 has inf",
    ),
    "bool": (
        sequence("words", np.array([True])),
        r"'u2': must be an array of numbers, but is one of dtype\('bool'\)",
    ),
    "complex": (
        sequence("face_2", np.zeros((2, 2), complex)),
        "'u2': must be an array of numbers, but is one of dtype",
    ),
    "a list": (sequence("words", [1, 2]), r"'u2': must be an array of numbers, but is \[1, 2\]"),
    "nothing": (sequence("sound", None), "'u2': must be an array of numbers, but is None"),
    "too long": (
        of("words", longest=10),
        r"'u5': must have at most 10 tokens, but has 11",
    ),
    "valid": (
        sequence("face_2", OWN["face_2"], 6),
        "'u2': its valid positions must be a whole number in 0 … 5, but are 6",
    ),
    "sequence twice": (
        sequence("face_2", OWN["face_2"], None, "u0"),
        "'u0': utterance_id must be unique, but was added before",
    ),
    "sequence of a number": (
        sequence("face_2", OWN["face_2"], None, 7),
        "utterance 7: utterance_id must be text of printable characters",
    ),
    "no frames at all": (of("face_2", sequences=[]), "frames must be of at least one utterance, but none was added"),
    "kind": (of("sound", kind="words"), "kind must be one of frames, tokens, but is 'words'"),
    "longest 0": (of("sound", longest=0), "longest must be a whole number from 1, but is 0"),
    "dimensions 0": (of("sound", dimensions=0), "dimensions must be a whole number from 1, but is 0"),
    "dimensions of tokens": (of("words", dimensions=4), "dimensions must be of frames, but 4 is of tokens"),
    "how it was made": (of("sound", made=None), "made must say how the features were made, but is None"),
    "id twice": (third(utterance_id="u0"), "utterance 'u0': utterance_id must be unique, but was there before"),
    "number for an id": (third(utterance_id=7), "utterance 7: utterance_id must be text of printable characters"),
    "empty id": (third(utterance_id=""), "utterance '': utterance_id must have 1 … 1000 characters"),
    "line break": (
        third(utterance_id="a\nb"),
        r"utterance 'a\\nb': utterance_id must be text of printable characters",
    ),
    "no speaker": (third(speaker=None), "'u2': speaker must be text of printable characters, but is None"),
    "number for a speaker": (third(speaker=3), "'u2': speaker must be text of printable characters, but is 3"),
    "line break in a column of the source's own": (third(folder="a\nb"), "'u2': folder must be text of printable"),
    "NaN in a column of the source's own": (third(row=np.nan), "'u2': row must be text of printable .* but is nan"),
    "a column is missing": (
        lambda made: made["utterances"][2].pop("session"),
        "what is known of an utterance must be utterance_id, speaker, session, dialogue, label, folder, row, but is",
    ),
    "another column": (third(gender="f"), "what is known of an utterance must be .* but is .*'gender'"),
    "unknown label": (third(label="happy"), "'u2': label must be one of angry, sad, so-so .* but is 'happy'"),
    "label beyond": (third(label=3), "'u2': label must be one of angry, sad, so-so .* but is 3"),
    "label -1": (third(label=-1), "'u2': label must be one of angry, sad, so-so .* but is -1"),
    "NaN label": (third(label=np.nan), "'u2': label must be a class's name or index, but is nan"),
    "bool label": (third(label=True), "'u2': label must be a class's name or index, but is True"),
    "a class without utterances": (
        lambda made: made["meta"]["classes"].append("bored"),
        "every class of the corpus must have an utterance, but bored has none",
    ),
    "no utterances": (setting(utterances=[], folds=None), "every class .* but angry, sad, so-so has none"),
    "class twice": (lambda made: made["meta"]["classes"].append("sad"), "classes must be two or more different names"),
    "corpus": (of_meta(corpus=3), "corpus must be text, but is 3"),
    "no modality": (of_meta(modalities=[]), r"modalities must be different names of .*, but are \[\]"),
    "modality twice": (of_meta(modalities=["sound", "sound"]), "modalities must be different names of"),
    "modality outside": (of_meta(modalities=["../sound"]), "modalities must be different names of lower-case letters"),
    "modality with a hyphen": (of_meta(modalities=["so-und"]), "modalities must be different names of lower-case"),
    "NaN embedding": (
        of("words", embedding=at(VECTORS, (4, 1), np.nan)),
        "embedding: values must be finite, but row 4 has nan",
    ),
    "flat embedding": (
        of("words", embedding=np.zeros(5)),
        r"embedding: must have the shape \[rows, columns\], but has \[5\]",
    ),
    "no embedding": (of("words", embedding=None), "embedding: must be an array of numbers, but is None"),
    "embedding of frames": (of("sound", embedding=VECTORS), "embedding must be of tokens, but these are frames"),
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
    "columns of folds": (
        folds(seed=1),
        "columns of the folds must be fold, utterance_id, part and perhaps repeat, but are",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_utterance_rule_and_value(name, tmp_path):
    made = good()
    mistake, message = MISTAKES[name]
    mistake(made)
    with pytest.raises(UserError, match=message):
        build(tmp_path, made)


def test_a_sequence_that_is_refused_leaves_no_trace(tmp_path):
    build(tmp_path / "good", good())
    for name, own in good()["modalities"].items():
        writer = Writer(tmp_path / name, own["kind"], own["dimensions"])
        for utterance, values, valid in own["sequences"]:
            with pytest.raises(UserError):
                writer.add(f"{utterance}_bad", np.full((2, 77), np.nan))
            with pytest.raises(UserError):
                writer.add(f"{utterance}_bad", values, len(values) + 1)
            writer.add(utterance, values, valid)
        writer.close(longest=own["longest"], embedding=own["embedding"], made=own["made"])
        for path in (tmp_path / "good/features" / name).iterdir():
            assert path.read_bytes() == (tmp_path / name / path.name).read_bytes()


def test_utterances_without_a_modality_are_counted(tmp_path, capsys):
    made = good()
    for row in (1, 4):
        made["modalities"]["words"]["sequences"][row] = f"u{row}", np.zeros(0, int), None
    build(tmp_path, made)
    assert_holds(tmp_path, made)
    assert capsys.readouterr().err == (
        "warning: 2 of 6 utterances have no tokens; models see nothing but padding there\n"
    )


SCALARS = [None, "", "u0", "u5", "angry", "happy", "train", "a\nb", "\ud800", b"x", np.str_("sad")]
SCALARS += [0, 1, 2, 3, 7, 12, -1, 2**70, np.int64(1), True, 1.5, np.nan]
JUNK = [*SCALARS, [], [1, 2], ["angry", "sad"], ["sound", "x"], {}, {"sound": 3}, np.zeros(2), pd.DataFrame()]
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
    """`good()` with up to three changes of any place."""
    made = good()
    for _ in range(draw(st.integers(0, 3))):
        anything = draw(st.one_of(st.sampled_from(JUNK), arrays()))
        where = draw(st.sampled_from(["names", "sequence", "valid", "meta", "modality", "folds", "table", "twice"]))
        row = draw(st.integers(0, len(made["utterances"]) - 1))
        own = made["modalities"][draw(st.sampled_from(SEQUENCES))]
        utterance, values, valid = own["sequences"][min(row, 5)]
        if where == "names":
            made["utterances"][row][draw(st.sampled_from([*corpus.NAMES, "row", "age"]))] = anything
        elif where == "sequence":
            changed = draw(st.sampled_from([(utterance, anything, valid), (anything, values, valid)]))
            own["sequences"][min(row, 5)] = changed
        elif where == "valid":
            own["sequences"][min(row, 5)] = utterance, values, anything
        elif where == "meta":
            made["meta"][draw(st.sampled_from(["corpus", "classes", "modalities"]))] = anything
        elif where == "modality":
            own[draw(st.sampled_from(["kind", "dimensions", "longest", "embedding"]))] = anything
        elif where == "folds":
            made["folds"] = anything
        elif where == "table" and isinstance(made["folds"], pd.DataFrame) and len(made["folds"]):
            made["folds"] = made["folds"].astype(object)
            made["folds"].iat[draw(st.integers(0, 11)), draw(st.integers(0, 2))] = draw(st.sampled_from(SCALARS))
        else:
            made["utterances"].insert(row, dict(draw(st.sampled_from(made["utterances"]))))
    return made


def whole(value) -> bool:
    return isinstance(value, (int, np.integer)) and type(value) is not bool


def name(value) -> bool:
    return isinstance(value, str) and not any(character in value for character in "\n\ud800")


def numbers(value, *shape) -> bool:
    """Finite numbers of a shape of which None may be anything."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim != len(shape):
        return False
    with np.errstate(all="ignore"):
        finite = np.isfinite(value.astype(np.float32)).all()
    return finite and all(size in (None, own) for size, own in zip(shape, value.shape, strict=True))


def is_right(made: dict) -> bool:
    """Whether a corpus and its features keep the rules of their writers."""
    return is_right_corpus(made) and all(map(is_right_modality, made["modalities"].values()))


def is_right_corpus(made: dict) -> bool:
    meta, utterances, folds = made["meta"], made["utterances"], made["folds"]
    classes, modalities = meta["classes"], meta["modalities"]
    if not isinstance(meta["corpus"], str) or not isinstance(classes, list) or not all(c and name(c) for c in classes):
        return False
    if len(set(classes)) != len(classes) or len(classes) < 2:
        return False
    if not isinstance(modalities, list) or not modalities or not all(name(m) for m in modalities):
        return False
    labels, ids = set(), [utterance.get("utterance_id") for utterance in utterances]
    for utterance in utterances:
        if set(utterance) != {*corpus.NAMES, "folder", "row", *(["age"] if "age" in utterances[0] else [])}:
            return False
        if not all(name(utterance[key]) for key in corpus.NAMES[:-1]):
            return False
        for key in set(utterance) - set(corpus.NAMES):
            number = whole(utterance[key]) or (isinstance(utterance[key], float) and np.isfinite(utterance[key]))
            if not number and not name(utterance[key]):
                return False
        label = utterance["label"]
        if isinstance(label, str) and label in classes:
            labels.add(label)
        elif whole(label) and 0 <= label < len(classes):
            labels.add(classes[label])
        else:
            return False
    if "" in ids or len(set(ids)) < len(ids) or labels != set(classes):
        return False
    return folds is None or are_right_folds(folds, ids)


def are_right_folds(folds, ids: list) -> bool:
    if not isinstance(folds, pd.DataFrame) or set(folds.columns) != {"fold", "utterance_id", "part"}:
        return False
    rows = [tuple(row) for row in folds[["fold", "utterance_id", "part"]].itertuples(index=False)]
    for fold, utterance, part in rows:
        if not whole(fold) or not 1 <= fold <= 999999 or not isinstance(utterance, str) or utterance not in ids:
            return False
        if not isinstance(part, str) or part not in ("train", "dev", "test"):
            return False
    return len({row[:2] for row in rows}) == len(rows)


def is_right_modality(own: dict) -> bool:
    if not isinstance(own["kind"], str) or own["kind"] not in ("frames", "tokens"):
        return False
    if not all(own[key] is None or (whole(own[key]) and own[key] > 0) for key in ("dimensions", "longest")):
        return False
    if own["kind"] == "tokens" and own["dimensions"] is not None:
        return False
    if own["kind"] == "tokens" and not (numbers(own["embedding"], None, None) and own["embedding"].size):
        return False
    if own["kind"] == "frames" and own["embedding"] is not None:
        return False
    for i, (utterance, values, valid) in enumerate(own["sequences"]):
        if not name(utterance) or not utterance or utterance in [other for other, *_ in own["sequences"][:i]]:
            return False
        if own["kind"] == "tokens":
            words = len(own["embedding"])
            if not numbers(values, None) or any(not 0 <= n < words or n % 1 for n in values) or not all(values[-1:]):
                return False
        else:
            first = own["sequences"][0][1]
            if not numbers(first, None, None) or not first.shape[1]:
                return False
            if not numbers(values, None, own["dimensions"] or first.shape[1]):
                return False
        if own["longest"] is not None and len(values) > own["longest"]:
            return False
        if valid is not None and not (whole(valid) and 0 <= valid <= len(values)):
            return False
    return True


@settings(max_examples=400, derandomize=True)
@given(made=mistakes())
def test_only_what_keeps_the_rules_is_written(made):
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        if not is_right(made):
            with pytest.raises(UserError) as refusal:
                build(folder, made)
            assert len(str(refusal.value).splitlines()) == 1
            return
        build(folder, made)
        ids = [utterance["utterance_id"] for utterance in made["utterances"]]
        if all([name for name, *_ in own["sequences"]] == ids for own in made["modalities"].values()):
            assert_holds(folder, made)
        else:
            with pytest.raises(UserError, match=r"features must be of the utterances of utterances\.csv"):
                read(folder)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    build(folder, good())
    return folder


def damage_bytes(draw, content: bytes) -> bytes:
    if draw(st.booleans()):
        return content[: draw(st.integers(0, len(content)))]
    damaged, start = bytearray(content), draw(st.integers(0, len(content) - 1))
    put = draw(st.one_of(st.binary(max_size=3), st.sampled_from([b",", b"\n", b"9", b'"'])))
    damaged[start : start + draw(st.integers(0, 3))] = put
    return bytes(damaged)


@settings(max_examples=400, derandomize=True)
@given(data=st.data())
def test_damaged_files_are_named_where_they_are_read(data, prepared):
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(prepared, Path(parent, "data")))
        files = sorted(own.relative_to(folder) for own in folder.rglob("*") if own.is_file())
        path = folder / data.draw(st.sampled_from(files))
        damaged = data.draw(st.booleans())
        if damaged:
            path.write_bytes(damage_bytes(data.draw, path.read_bytes()))
        else:
            path.unlink()
        changed = not path.exists() or path.read_bytes() != (prepared / path.relative_to(folder)).read_bytes()
        try:
            found, table = read(folder), corpus.read_folds(folder / "corpus/folds.csv")
            for fold in corpus.numbers(table):
                features.fold_rows(found, table, fold)
            for ragged in found.sequences.values():
                assert [len(ragged[row]) for row in range(len(found.label))] == ragged.lengths.tolist()
        except UserError as error:
            refusal = str(error)
            assert changed
            assert re.fullmatch(
                r"\S*(features/\w+/\w+\.\w+|corpus/\w+\.\w+|data/folds.csv): .*; "
                r"`dvc repro` or `dvc checkout --force \S+` restores it",
                refusal,
            )
        if path.suffix == ".npy" and changed:
            with pytest.raises(UserError, match=f"{path.name}: (must be what was written|this file is missing)"):
                features.verify(SEQUENCES, {}, folder / "features")


def test_an_array_is_read_again_only_if_it_was_touched(prepared, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(prepared / "features", tmp_path / "features"))
    verified, read = features.verify(["sound", "face_2"], {}, folder), []
    assert sorted(verified) == [
        *("face_2/frames.npy", "face_2/lengths.npy"),
        *("sound/frames.npy", "sound/lengths.npy", "sound/valid.npy"),
    ]
    monkeypatch.setattr(features, "checksum", lambda path: read.append(path.name) or "of something else")
    assert features.verify(["sound", "face_2"], verified, folder) == verified
    assert read == []
    content = (folder / "face_2/frames.npy").read_bytes()
    (folder / "face_2/frames.npy").unlink()
    (folder / "face_2/frames.npy").write_bytes(content)
    with pytest.raises(
        UserError, match=r"face_2/frames.npy: must be what was written, but its SHA-256 is not the one in meta"
    ):
        features.verify(["sound", "face_2"], verified, folder)
    assert read == ["frames.npy"]
    assert features.verify(["sound"], verified, folder).keys() == {name for name in verified if "sound" in name}


def test_a_modality_that_the_corpus_has_not_is_refused(study):
    assert study.stage("corpus").returncode == 0
    done = study.stage("features", "--modality", "smell")
    assert (done.returncode, done.stderr) == (
        1,
        "error: --modality must be one of text, video, audio, but is smell\n",
    )
    assert not (study.folder / "data/features").exists()


def test_features_of_params_that_are_not_the_corpuss_are_refused(study):
    assert study.stage("corpus").returncode == 0
    study.set(corpus__synthetic__seed=1)
    done = study.stage("features", "--modality", "video")
    assert done.returncode == 1
    assert done.stderr.startswith("error: data/features/video: features must be of the utterances of data/corpus, in")
    assert list((study.folder / "data/features").iterdir()) == []


def test_nothing_trains_on_damaged_arrays(study):
    train = ("train", "--variant", "self_v", "--seed")
    study.set(variants=["self_v"], modalities={"video": {"letter": "v"}}, headline__modalities="v")
    study.set(seeds=[1], train__protocol__max_epochs=1, split__folds=2)
    for stage in (["plan"], ["corpus"], ["features", "--modality", "video"], ["split"]):
        assert study.stage(*stage).returncode == 0
    video = study.folder / "data/features/video/frames.npy"
    content = video.read_bytes()
    assert study.stage(*train, "1").returncode == 0
    damaged = bytearray(content)
    damaged[-2] ^= 64
    video.write_bytes(damaged)
    done = study.stage(*train, "2")
    assert done.returncode == 1
    assert done.stderr == (
        "error: data/features/video/frames.npy: must be what was written, but its SHA-256 is not the one in meta.json; "
        "`dvc repro` or `dvc checkout --force data/features/video/frames.npy` restores it\n"
    )
    assert not list(study.folder.glob(".work/*/seed2*"))
    done = study.stage(*train, "1")  # there is nothing to train
    assert "2 of them found in .work/" in done.stdout
    (study.folder / ".work/verified.json").write_text("{")
    video.write_bytes(content)
    assert study.stage(*train, "2").returncode == 0
    verified = json.loads((study.folder / ".work/verified.json").read_text())
    assert sorted(verified) == ["video/frames.npy", "video/lengths.npy"]


def test_features_change_with_the_labels_that_trainings_read_and_not_with_speakers(study):
    train = ("train", "--variant", "self_v", "--seed", "1")
    study.set(variants=["self_v"], modalities={"video": {"letter": "v"}}, headline__modalities="v")
    study.set(seeds=[1], train__protocol__max_epochs=1, split__folds=2)
    for stage in (["plan"], ["corpus"], ["features", "--modality", "video"], ["split"]):
        assert study.stage(*stage).returncode == 0
    table = pd.read_csv(study.folder / "data/corpus/utterances.csv")
    folder = study.folder / "data/features/video"

    def made() -> dict[str, bytes]:
        assert study.stage("features", "--modality", "video").returncode == 0
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    before = made()
    table["speaker"] = "someone"
    table.to_csv(study.folder / "data/corpus/utterances.csv", index=False)
    assert made() == before
    first, second = table.index[table["label"] == "sad"][0], table.index[table["label"] == "angry"][0]
    table.loc[[first, second], "label"] = ["angry", "sad"]
    table.to_csv(study.folder / "data/corpus/utterances.csv", index=False)
    done = study.stage(*train)
    assert (done.returncode, done.stderr) == (
        1,
        "error: data/features/video/labels.sha256: must be of the classes and labels in data/corpus, but is of others; "
        "`dvc repro` or `dvc checkout --force data/features/video/labels.sha256` restores it\n",
    )
    after = made()
    assert {name for name in before if before[name] != after[name]} == {"labels.sha256"}
    assert study.stage(*train).returncode == 0
