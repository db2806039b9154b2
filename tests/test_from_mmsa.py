"""Feature files of MMSA: every array against the original, and pickles that mean harm."""

import _codecs
import csv
import io
import os
import pickle
import random
import re
import struct
import sys
import tracemalloc

import numpy as np
import pytest

from stages.common.errors import UserError
from stages.corpus import metadata
from tools import from_mmsa, pickled_arrays

NUMBERS = {"train": 7, "valid": 3, "test": 5}
SIZES = {"text": (5, 13), "audio": (11, 2), "vision": (7, 3)}  # T, F
SCORES = [-3.2, -1.5, -0.4, 0.0, 0.6, 2.5, 3.0]


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def sample(seed: int = 0) -> tuple[dict, dict]:
    """A file's content as MMSA has it, and the sequences [T, F] before padding: (part, key, number) → frames."""
    rng, content, originals = np.random.default_rng(seed), {}, {}
    for part, number in NUMBERS.items():
        own = {
            "id": [f"{part}{i // 2}$_$../{i}" for i in range(number)],
            "raw_text": np.array([f"words, {i}\n“{part}”" for i in range(number)]),
            "annotations": [["Negative", "Neutral", "Positive"][int(np.sign(SCORES[i])) + 1] for i in range(number)],
            "classification_labels": np.array([float(np.sign(SCORES[i]) + 1) for i in range(number)]),
            "regression_labels": np.array(SCORES[:number], np.float32),
        }
        for key, (longest, size) in SIZES.items():
            own[key] = np.zeros((number, longest, size), np.float32)
            for i in range(number):
                frames = rng.standard_normal((1 + (i * 3) % longest, size)).astype(np.float32)
                own[key][i, : len(frames)] = originals[part, key, i] = frames
        content[part] = own
    return content, originals


def dump(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def convert(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["from_mmsa", *map(str, arguments)])
    from_mmsa.main()


def table(folder) -> list[dict]:
    return list(csv.DictReader(io.StringIO((folder / "metadata.csv").read_text(encoding="utf-8"), newline="")))


def rewritten(content: dict, how: str) -> dict:
    """The same content in other types that real files and their copies have."""
    for own in content.values():
        for key, value in own.items():
            if how == "float64" and key in SIZES:
                own[key] = value.astype(np.float64)
            if how == "fortran" and key in SIZES:
                own[key] = np.asfortranarray(value)
            if how == "transposed" and key in SIZES:
                own[key] = value.transpose(1, 0, 2).copy().transpose(1, 0, 2)
            if how == "big-endian" and key in SIZES:
                own[key] = value.astype(">f4")
            if how == "arrays of str" and isinstance(value, list):
                own[key] = np.array(value)
            if how == "arrays of objects" and key not in SIZES and not key.endswith("_labels"):
                own[key] = np.array(list(value), dtype=object)
            if how == "lists" and key not in SIZES:
                own[key] = list(value)
    return content


HOWS = ["as is", "float64", "fortran", "transposed", "big-endian", "arrays of str", "arrays of objects", "lists"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("how", HOWS)
def test_every_array_is_as_the_original(protocol, how, tmp_path):
    content, originals = sample()
    path = dump(tmp_path / "aligned_50.pkl", rewritten(content, how), protocol)
    from_mmsa.write(from_mmsa.read(path), tmp_path / "aligned_50", classes=3)
    rows = table(tmp_path / "aligned_50")
    parts = [(part, i) for part, number in NUMBERS.items() for i in range(number)]
    assert len(rows) == len(parts) == len(metadata.read(tmp_path / "aligned_50" / "metadata.csv"))
    for row, (part, i) in zip(rows, parts, strict=True):
        assert row["utterance_id"] == f"{part}{i // 2}$_$../{i}"
        assert row["dialogue"] == f"{part}{i // 2}"
        assert row["part"] == {"valid": "dev"}.get(part, part)
        assert row["transcription"] == f"words, {i} “{part}”"
        assert row["label"] == ["Negative", "Negative", "Negative", "Neutral", "Positive", "Positive", "Positive"][i]
        assert row["sentiment"] == str(SCORES[i])
        for modality, key in {"text": "text", "audio": "audio", "video": "vision"}.items():
            array = np.load(tmp_path / "aligned_50" / row[f"{modality}_file_name"])
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, originals[part, key, i])


def test_old_numpy_names(tmp_path):
    """NumPy 1 wrote `numpy.core`; text protocols leave the name readable."""
    content, _ = sample()
    raw = pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path = tmp_path / "old.pkl"
    path.write_bytes(raw)
    assert [len(part.ids) for part in from_mmsa.read(path)] == [7, 3, 5]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (2, ["Negative", "Negative", "Negative", "Non-negative", "Non-negative", "Non-negative", "Non-negative"]),
        (3, ["Negative", "Negative", "Negative", "Neutral", "Positive", "Positive", "Positive"]),
        (7, ["-3", "-2", "0", "0", "1", "2", "3"]),  # −3.2 is clipped; halves go to the even number
    ],
)
def test_classes_from_scores(classes, expected, tmp_path, monkeypatch):
    content, _ = sample()
    for own in content.values():
        del own["annotations"]
    convert(monkeypatch, dump(tmp_path / "a.pkl", content), "--out", tmp_path / "out", "--classes", classes)
    assert [row["label"] for row in table(tmp_path / "out")][:7] == expected


def test_lengths_of_the_file_win_over_zeros(tmp_path, monkeypatch):
    content, _ = sample()
    for own in content.values():
        number = len(own["id"])
        own["audio_lengths"] = [0, 4, 99, *[11] * (number - 3)]  # 0 and 99 as MMSA has them of lost and cut sequences
        own["vision_lengths"] = np.arange(1, number + 1)
    original = content["train"]["audio"].copy()
    convert(monkeypatch, dump(tmp_path / "a.pkl", content))
    rows = table(tmp_path / "a")[:7]
    lengths = [len(np.load(tmp_path / "a" / row["audio_file_name"])) for row in rows]
    assert lengths == [1, 4, 11, 11, 11, 11, 11]
    assert [len(np.load(tmp_path / "a" / row["video_file_name"])) for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(np.load(tmp_path / "a" / rows[2]["audio_file_name"]), original[2])


@pytest.mark.parametrize(
    ("filled", "kept"), [([0, 1], [0, 1]), ([2, 4], [2, 3, 4]), ([4], [4]), ([], [0]), ([0, 1, 2, 3, 4], range(5))]
)
def test_zeros_at_both_ends_are_padding(filled, kept):
    frames = np.zeros((5, 3), np.float32)
    frames[filled, 1] = np.arange(1, len(filled) + 1)
    np.testing.assert_array_equal(from_mmsa.unpadded(frames, None), frames[list(kept)])


def test_minus_infinity_of_audio_becomes_0_and_is_counted(tmp_path, monkeypatch, capsys):
    content, _ = sample()
    content["train"]["audio"][2, 0, 1] = content["test"]["audio"][0, 0, 0] = -np.inf
    convert(monkeypatch, dump(tmp_path / "a.pkl", content))
    assert "2 values of audio were −inf" in capsys.readouterr().err
    frames = np.load(tmp_path / "a/audio/train_00002.npy")
    assert frames[0, 1] == 0
    assert frames[0, 0] == content["train"]["audio"][2, 0, 0]


def test_ids_of_several_parts_get_the_parts_name(tmp_path, monkeypatch):
    content, _ = sample()
    content["test"]["id"][1] = content["train"]["id"][4]
    convert(monkeypatch, dump(tmp_path / "a.pkl", content))
    names = [row["utterance_id"] for row in table(tmp_path / "a")]
    assert names[4] == "train_train2$_$../4"
    assert names[11] == "test_train2$_$../4"
    assert len(set(names)) == 15
    assert table(tmp_path / "a")[11]["dialogue"] == "train2"


def test_same_bytes_again_and_an_existing_folder_stays(tmp_path, monkeypatch):
    content, _ = sample()
    path = dump(tmp_path / "a.pkl", content)
    for name in ("one", "two"):
        convert(monkeypatch, path, "--out", tmp_path / name)
    one, two = (sorted((tmp_path / name).rglob("*.*")) for name in ("one", "two"))
    assert len(one) == 1 + 3 * 15
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
    with pytest.raises(UserError, match="must not exist yet"):
        convert(monkeypatch, path, "--out", tmp_path / "one")


def without(key):
    return lambda own: own.pop(key)


def having(key, value):
    return lambda own: own.__setitem__(key, value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("id"), "valid: must have the key id"),
        (without("audio"), "valid: audio: must be in all parts or in none"),
        (having("id", ["a", "a", "b"]), "valid: id: must be unique, but 'a'"),
        (having("id", ["a", "b\n", "c"]), "valid: id: must be printable"),
        (having("id", [1, 2, 3]), "valid: id: must be a list or an array of texts"),
        (having("raw_text", ["a", "b"]), "valid: raw_text: must have 3 rows as id, but has 2"),
        (having("annotations", ["a", "b", ""]), "valid: annotations: must be printable"),
        (having("audio", np.ones((2, 11, 2))), "valid: audio: must have 3 rows as id, but has 2"),
        (having("audio", np.ones((3, 2))), re.escape("valid: audio: must be an array [N, T, F], but has the shape [3")),
        (having("audio", [[[1.0]]] * 3), re.escape("valid: audio: must be an array [N, T, F], but is of type list")),
        (having("audio", np.ones((3, 11, 7))), "valid: audio: must have 2 features as .*train, but has 7"),
        (having("audio", np.full((3, 11, 2), np.nan)), "valid: audio: must be finite .*utterance 0 .*nan in frame 0"),
        (having("audio", np.full((3, 11, 2), np.inf)), "valid: audio: must be finite"),
        (having("vision", np.full((3, 7, 3), -np.inf)), "valid: vision: must be finite"),
        (having("text", np.full((3, 5, 13), 1e39)), "valid: text: must be finite in float32"),
        (having("regression_labels", np.array([0, np.nan, 1])), "valid: regression_labels: must be finite"),
        (having("regression_labels", np.ones((3, 2))), "valid: regression_labels: must be a list or an array"),
        (having("vision_lengths", ["1", "2", "3"]), "valid: vision_lengths: must be a list or an array"),
        (having("text", np.ones((0, 5, 13))), "sizes of an array must be positive whole numbers, but one is 0"),
    ],
)
def test_wrong_structure(damage, message, tmp_path, monkeypatch):
    content, _ = sample()
    damage(content["valid"])
    with pytest.raises(UserError, match=message):
        convert(monkeypatch, dump(tmp_path / "a.pkl", content))
    assert [file.name for file in tmp_path.iterdir()] == ["a.pkl"]


@pytest.mark.parametrize("content", [[], 1, {}, {"train": {}, "valid": {}}, {"train": [], "valid": {}, "test": {}}])
def test_no_parts(content, tmp_path):
    with pytest.raises(UserError, match="must be a dictionary with the dictionaries train, valid, test"):
        from_mmsa.read(dump(tmp_path / "a.pkl", content))


def test_only_token_numbers_of_bert_are_no_features(tmp_path):
    content, _ = sample()
    for own in content.values():
        for key in SIZES:
            del own[key]
        own["text_bert"] = np.ones((len(own["id"]), 3, 5))
    with pytest.raises(UserError, match="must have one or more of text, audio, vision"):
        from_mmsa.read(dump(tmp_path / "a.pkl", content))


def test_seven_classes_need_scores(tmp_path, monkeypatch):
    content, _ = sample()
    del content["test"]["regression_labels"]
    path = dump(tmp_path / "a.pkl", content)
    with pytest.raises(UserError, match="test: must have regression_labels for 7 classes"):
        convert(monkeypatch, path, "--classes", 7)
    convert(monkeypatch, path)
    assert table(tmp_path / "a")[-1]["sentiment"] == ""


# pickles that mean harm


def reconstructed(shape: bytes, content: bytes, dtype: bytes = b"f4") -> bytes:
    """An array of this shape, written by hand."""
    return (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\nX" + struct.pack("<I", len(dtype)) + dtype + b"\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff"
        b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + content + b"tb."
    )  # fmt: skip


HUGE = b"\x8a\x08" + (2**40).to_bytes(8, "little")
EMPTY = b"C\x00"


def short_text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def doubled(depth: int) -> list:
    """A small pickle whose text would have 2**depth elements."""
    value = []
    for _ in range(depth):
        value = [value, value]
    return value


IMPORT, OPCODE, SIZES_RULE = "asks to import", "has the opcode", "sizes of an array must be positive"
STRUCTURE, NUMBERS_OR_TEXTS = "must be a dictionary with", "dtype must be of plain numbers or texts"


def hostile(canary) -> dict[str, tuple[str, bytes]]:
    """Name → what must be said of it, and the pickle."""
    touch, code, dumps = f"touch {canary}", f"open({str(canary)!r}, 'w')", pickle.dumps
    array = np.empty(3, object)
    array[:] = [Call(os.system, touch), "a", "b"]
    parts = {"valid": {}, "test": {}}
    string = short_text(code)
    return {
        **{f"system {protocol}": (IMPORT, dumps(Call(os.system, touch), protocol=protocol)) for protocol in range(6)},
        "eval": (IMPORT, dumps(Call(eval, code))),
        "exec in an array": (IMPORT, dumps({"train": {"text": array}}, protocol=4)),
        "in a list": (IMPORT, dumps({"train": {"id": ["a", Call(exec, code)]}}, protocol=2)),
        "np.load": (IMPORT, dumps(Call(np.load, str(canary)))),
        "np.fromfile": (IMPORT, dumps(Call(np.fromfile, str(canary)))),
        "np.save": (IMPORT, dumps(Call(np.save, str(canary), 1))),
        "fromstring": (IMPORT, b"\x80\x04cnumpy.core.multiarray\nfromstring\n" + short_text("a") + b"\x85R."),
        "dotted": (IMPORT, b"\x80\x04" + short_text("numpy") + short_text("ndarray.tofile") + b"\x93N\x85R."),
        "deep name": (IMPORT, b"\x80\x04)" + b"\x85" * 50_000 + b"\x8c\x01a\x93."),
        "endless name": (IMPORT, b"\x80\x04)" + b"q\x00h\x00\x86" * 60 + b"\x8c\x01a\x93."),
        "line without end": ("name of fewer than 200 bytes", b"\x80\x04c" + b"numpy" * 100),
        "codec": ("written in latin1", dumps(Call(_codecs.encode, "x", "rot13"))),
        "decode": (IMPORT, dumps(Call(_codecs.decode, b"x", "zlib"))),
        "records": (NUMBERS_OR_TEXTS, dumps(np.zeros(3, [("a", "f4")]), protocol=4)),
        "void": (NUMBERS_OR_TEXTS, dumps(np.zeros(3, "V8"), protocol=4)),
        "empty texts": (NUMBERS_OR_TEXTS, reconstructed(HUGE + b"\x85", EMPTY, b"U0")),
        "deep dtype": (NUMBERS_OR_TEXTS, b"\x80\x04cnumpy\ndtype\n)" + b"\x85" * 50_000 + b"\x85R."),
        "endless dtype": (NUMBERS_OR_TEXTS, b"\x80\x04cnumpy\ndtype\n)" + b"q\x00h\x00\x86" * 60 + b"\x85R."),
        "subclass": (IMPORT, dumps(np.ma.zeros(3), protocol=4)),
        "array of arrays": ("must hold texts only", dumps(np.array([np.ones(2), "a"], object), protocol=4)),
        "huge shape": ("must not have 0 bytes", reconstructed(HUGE + b"\x85", EMPTY)),
        "huge without content": (SIZES_RULE, reconstructed(HUGE + b"K\x00" + HUGE + b"\x87", EMPTY)),
        "negative shape": (SIZES_RULE, reconstructed(b"J\xff\xff\xff\xff\x85", EMPTY)),
        "shape true": (SIZES_RULE, reconstructed(b"\x88\x85", b"C\x041234")),
        "wide texts": ("must not have 0 bytes", reconstructed(b"K\x01\x85", EMPTY, b"U999999")),
        "code points": ("characters of Unicode", reconstructed(b"K\x01\x85", b"C\x04\xff\xff\xff\xff", b"U1")),
        "addresses": ("dtype of numbers or texts", reconstructed(b"K\x01\x85", b"C\x08" + b"\x01" * 8, b"O8")),
        "list for bytes": ("must be a list of texts", reconstructed(b"K\x01\x85", b"]K\x01a")),
        "list of lists": ("must hold texts only", reconstructed(b"K\x01\x85", b"]]a", b"O8")),
        "INST": (f"{OPCODE} INST", b"\x80\x02(" + string + b"i__builtin__\neval\n."),
        "OBJ": (IMPORT, b"\x80\x02(c__builtin__\neval\n" + string + b"o."),
        "NEWOBJ": (f"{OPCODE} NEWOBJ", b"\x80\x02cnumpy\nndarray\n" + HUGE + b"\x85\x81."),
        "NEWOBJ_EX": (f"{OPCODE} NEWOBJ_EX", b"\x80\x04cnumpy\nndarray\n)}\x92."),
        "EXT1": (f"{OPCODE} EXT1", b"\x80\x02\x82\x01."),
        "EXT4": (f"{OPCODE} EXT4", b"\x80\x02\x84\x01\x00\x00\x00."),
        "PERSID": (f"{OPCODE} PERSID", b"Pfile\n."),
        "BINPERSID": (f"{OPCODE} BINPERSID", b"\x80\x02\x8c\x01aQ."),
        "NEXT_BUFFER": (f"{OPCODE} NEXT_BUFFER", b"\x80\x05\x97."),
        "LONG": (f"{OPCODE} LONG", b"L" + b"9" * 100_000 + b"L\n."),
        "LONG4": (f"{OPCODE} LONG4", b"\x80\x02\x8b\xff\xff\xff\x7f."),
        "LONG1": ("at most 64 bits", b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b"."),
        "memo index": (STRUCTURE, b"\x80\x02}r\xff\xff\xff\xff."),
        "long text": ("the file ends before", b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0f."),
        "long bytes": ("the file ends before", b"\x80\x05\x96" + b"\x00" * 5 + b"\x01\x00\x00."),
        "long frame": (STRUCTURE, b"\x80\x04\x95" + b"\xff" * 8 + b"N."),
        "deep lists": (STRUCTURE, b"\x80\x04" + b"]" * 100_001 + b"a" * 100_000 + b"."),
        "deep tuples": (STRUCTURE, b"\x80\x04)" + b"\x85" * 100_000 + b"."),
        "list of itself": (STRUCTURE, b"\x80\x04]\x94h\x00a."),
        "endless id": ("list or an array of texts", dumps({"train": {"id": doubled(60)}, **parts})),
        "endless numbers": (
            "regression_labels: must be",
            dumps({"train": {"id": ["a"], "text": np.ones((1, 1, 1)), "regression_labels": doubled(60)}, **parts}),
        ),
        "one text again and again": (
            "no larger than the file",
            b"\x80\x02X\x00\x00\x01\x00" + b"a" * (1 << 16) + b"q\x00X\x06\x00\x00\x00latin1q\x01"
            + b"c_codecs\nencode\nq\x02" + b"h\x02h\x00h\x01\x86R" * 9000 + b".",
        ),
        "no values": ("more values on the stack", b"\x80\x02a."),
        "no mark": ("is damaged", b"\x80\x02t."),
        "build of a list": ("complete an array or a dtype", b"\x80\x02]}b."),
        "unbuilt": ("complete arrays", b"\x80\x03]cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85Ra."),
        "tuple as key": ("keys are texts", b"\x80\x02})Ns."),
        "empty": ("is empty", b""),
        "text": ("is damaged", b"hello"),
    }  # fmt: skip


@pytest.mark.parametrize("name", hostile("canary"))
def test_nothing_runs(name, tmp_path):
    reason, raw = hostile(tmp_path / "canary")[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(raw)
    with pytest.raises(UserError, match=reason) as caught:
        from_mmsa.read(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pkl"]
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    ["huge shape", "huge without content", "wide texts", "empty texts", "LONG4", "memo index", "long text",
     "long bytes", "long frame", "endless id", "endless numbers", "endless name", "one text again and again"],
)  # fmt: skip
def test_memory_is_bounded(name, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(hostile("canary")[name][1])
    tracemalloc.start()
    try:
        with pytest.raises(UserError):
            from_mmsa.read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_the_hostile_pickles_would_run(tmp_path):
    """`pickle.load` falls for them: the canary is a real one."""
    for i, name in enumerate(("system 2", "eval", "exec in an array", "INST", "OBJ")):
        canary = tmp_path / str(i)
        pickle.loads(hostile(canary)[name][1])
        assert canary.exists(), name


def test_names_that_are_refused_are_said(tmp_path):
    with pytest.raises(UserError, match=r"byte \d+: .* asks to import 'posix.system'; nothing was imported"):
        pickled_arrays.read(dump(tmp_path / "a.pkl", Call(os.system, "true")))


def test_too_many_opcodes(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled_arrays, "MOST_OPCODES", 100)
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04" + b"]" * 97 + b"N.")  # 100 opcodes
    assert pickled_arrays.read(path) is None
    path.write_bytes(b"\x80\x04" + b"]" * 98 + b"N.")
    with pytest.raises(UserError, match="at most 100 opcodes"):
        pickled_arrays.read(path)


@pytest.mark.parametrize("protocol", [2, 5])
def test_truncated_anywhere(protocol, tmp_path):
    content, _ = sample()
    whole = pickle.dumps(
        {part: {"id": own["id"], "text": own["text"][:, :1]} for part, own in content.items()}, protocol
    )
    path = tmp_path / "a.pkl"
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError):
            from_mmsa.read(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_random_damage(protocol, tmp_path):
    """Damage is a UserError, or it has hit values only: the structure is still whole."""
    content, _ = sample()
    small = {part: {key: own[key][:2] for key in ("id", "text", "raw_text")} for part, own in content.items()}
    whole, rng, path = pickle.dumps(small, protocol), random.Random(protocol), tmp_path / "a.pkl"
    structure = [i for i, byte in enumerate(whole) if byte < 128]
    read = 0
    for _ in range(250):
        raw = bytearray(whole)
        for at in rng.sample(structure, rng.randint(1, 3)):
            raw[at] = rng.choice([rng.randrange(256), *b"c\x93Rb(0.2hqtue\x94"])
        path.write_bytes(raw)
        try:
            parts = from_mmsa.read(path)
        except UserError:
            continue
        read += 1
        assert all(array.ndim == 3 for part in parts for array in part.features.values())
    assert [file.name for file in tmp_path.iterdir()] == ["a.pkl"]
    assert 0 < read < 250
