"""The published layout: one corpus is recovered from five folders, and what is wrong with it is said."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.published_corpus import Corpus, Sizes, parts, write
from stages.common import corpus as corpora
from stages.common import features, params
from stages.common.arrays import Array
from stages.common.errors import UserError
from stages.corpus import published_folds
from stages.corpus.iemocap import CLASS_COUNTS
from stages.features import published_folds as published_features
from stages.train import data
from tests.conftest import SMALL, UTTERANCES

CORPUS = params.load().corpus
SEQUENCES = ("audio", "video", "text")


def prepare(root, folder, classes=None, *, strict=True, modalities=SEQUENCES) -> features.Features:
    """What the stages `corpus` and `features` make of folders, and `read` gives."""
    config = CORPUS.model_copy(
        update={"source": "published_folds", "root": str(root), "classes": classes, "strict": strict}
    )
    published_folds.read(config).write(folder / "corpus")
    for modality in modalities:
        extract(root, folder, modality)
    return features.read(modalities, folder / "features", folder / "corpus")


def extract(root, folder, modality) -> features.Ragged:
    """One modality of what `prepare` found."""
    config = CORPUS.model_copy(update={"source": "published_folds", "root": str(root)})
    utterances = corpora.read_utterances(folder / "corpus")
    published_features.write(config, modality, utterances, folder / "features" / modality)
    return features.read([modality], folder / "features", folder / "corpus").sequences[modality]


def folds_of(folder) -> pd.DataFrame:
    return corpora.read_folds(folder / "corpus/folds.csv")


PUBLISHED = {"audio": "audio_mfcc", "video": "video", "text": "nlp_trans", "prosody": "audio_prosody"}


def read_part(folder: Path, part: str) -> list[dict]:
    """The rows of one part as the published format has them, in float32 and without padding."""
    arrays = {name: np.load(folder / f"{part}_{stem}.npy", mmap_mode="r") for name, stem in PUBLISHED.items()}
    older, newer = folder / f"{part}_seqN.npy", folder / f"{part}_audio_seqN.npy"
    seq_n = {"audio": np.load(newer if newer.exists() else older), "video": np.load(folder / f"{part}_video_seqN.npy")}
    rows = []
    for i, label in enumerate(np.load(folder / f"{part}_label.npy")):
        row = {"label": int(label), "prosody": arrays["prosody"][i].astype(np.float32)}
        for name in ("audio", "video", "text"):
            values = arrays[name][i].astype(np.int64 if name == "text" else np.float32)
            not_zero = [t for t in range(len(values)) if np.any(values[t] != 0)]
            own = min(int(seq_n[name][i]), len(values)) if name in seq_n else 0
            row[name] = values[: max([own, *(t + 1 for t in not_zero)])]
            if name in seq_n:
                row[f"{name}_seqN"], row[f"{name}_valid"] = int(seq_n[name][i]), own
        rows.append(row)
    return rows


def assert_same_corpus(prepared: features.Features, folder: Path, root: Path, folders: list[str]) -> None:
    """What was prepared must be what the folders hold, row by row in each of them."""
    table, prosody = folds_of(folder), {}
    row_of = {name: row for row, name in enumerate(prepared.utterance_id)}
    kept = 0
    for fold, name in enumerate(folders, start=1):
        for part in ("train", "dev", "test"):
            found = table[(table["fold"] == fold) & (table["part"] == part)]["utterance_id"]
            expected = [row for row in read_part(root / name, part) if row["video_seqN"] > 0]
            assert len(found) == len(expected)
            kept += len(found)
            for utterance, own in zip(found, expected, strict=True):
                row = row_of[utterance]
                assert prepared.label[row] == own["label"]
                prosody[row] = own["prosody"]
                for modality in ("audio", "video", "text"):
                    ragged = prepared.sequences[modality]
                    np.testing.assert_array_equal(ragged[row], own[modality])
                    valid = own.get(f"{modality}_valid", len(own[modality]))
                    np.testing.assert_array_equal(ragged.valid_only()[row], own[modality][:valid])
    assert kept == len(folders) * len(prepared.label)
    assert_same_prosody(prosody, folder, root)


def assert_same_prosody(prosody: dict[int, np.ndarray], folder: Path, root: Path) -> None:
    """It is one frame an utterance, and refused if one is not finite."""
    finite = [bool(np.isfinite(prosody[row]).all()) for row in sorted(prosody)]
    if not all(finite):
        place = corpora.read_utterances(folder / "corpus").iloc[finite.index(False)]
        file, name = f"{place['folder']}/{place['part']}_audio_prosody.npy", place["utterance_id"]
        with pytest.raises(UserError, match=rf"{file}: row {place['row']}: utterance '{name}': values must"):
            extract(root, folder, "prosody")
        return
    ragged = extract(root, folder, "prosody")
    assert (ragged.longest, set(ragged.lengths)) == (1, {1})
    np.testing.assert_array_equal(ragged.values, [prosody[row] for row in sorted(prosody)])


def test_one_corpus_is_recovered_with_its_folds(published, tmp_path):
    prepared = prepare(published, tmp_path / "out", modalities=(*SEQUENCES, "prosody"))
    assert prepared.meta.modalities == ["audio", "video", "text", "prosody"]
    source = Corpus(np.arange(UTTERANCES) % 7, SMALL, without_video=(0, 77))
    assert len(prepared.label) == UTTERANCES - 2
    # Utterances are found again by their first audio frame, which no two share.
    row_of = {prepared.sequences["audio"][row][0].tobytes(): row for row in range(len(prepared.label))}
    name_of = {}
    for i in set(range(UTTERANCES)) - {0, 77}:
        expected = source.sequences(i)
        row = row_of[expected["audio"][0].tobytes()]
        name_of[prepared.utterance_id[row]] = i
        assert prepared.label[row] == i % 7
        for name in ("audio", "video", "text"):
            np.testing.assert_array_equal(prepared.sequences[name][row], expected[name])
        np.testing.assert_array_equal(prepared.sequences["prosody"][row], expected["prosody"][None])
    np.testing.assert_array_equal(prepared.sequences["text"].embedding, source.embedding)
    longest = {name: ragged.longest for name, ragged in prepared.sequences.items()}
    assert longest == {"audio": 19, "video": 7, "text": 13, "prosody": 1}
    folds = folds_of(tmp_path / "out")
    for number, fold in enumerate(parts(UTTERANCES, 5, seed=3), start=1):
        for part, members in fold.items():
            rows = folds[(folds["fold"] == number) & (folds["part"] == part)]
            assert [name_of[name] for name in rows["utterance_id"]] == [i for i in members if i not in (0, 77)]


def test_only_row_0_without_video_is_dropped(tmp_path):
    write(tmp_path / "in", Corpus(np.arange(70) % 7, SMALL, without_video=(0,)), parts(70, 2, seed=0))
    without = [np.flatnonzero(np.load(path) == 0).tolist() for path in tmp_path.glob("in/*/train_video_seqN.npy")]
    assert [0] in without
    assert len(prepare(tmp_path / "in", tmp_path / "out").label) == 69


def test_the_older_name_of_the_lengths(published, tmp_path):
    for path in published.glob("fold*/*_audio_seqN.npy"):
        path.rename(path.with_name(path.name.replace("_audio", "")))
    assert len(prepare(published, tmp_path / "out").label) == UTTERANCES - 2


@pytest.mark.parametrize("warts", [{}, {"older_names": True}, {"fortran_order": True}])
def test_what_is_prepared_is_what_the_folders_hold(warts, tmp_path, capsys):
    odd = {"without_video": (0, 77), "frames_beyond": (0, 3, 41, 90), "nan_prosody": () if warts else (0, 5, 90)}
    corpus = Corpus(np.arange(UTTERANCES) % 7, SMALL, **odd)
    write(tmp_path / "in", corpus, parts(UTTERANCES, 5, seed=3), **warts)
    prepared = prepare(tmp_path / "in", tmp_path / "out")
    assert_same_corpus(prepared, tmp_path / "out", tmp_path / "in", [f"fold0{i}" for i in range(1, 6)])
    output = capsys.readouterr()
    kept = sorted(set(range(UTTERANCES)) - {0, 77})
    for name in ("audio", "video"):
        longest = getattr(SMALL, name)[0]
        cut = sum(corpus.lengths(i)[name] > longest for i in kept)
        assert cut
        assert f"{cut} utterances have more {name} frames (seqN) than the {longest} of the arrays" in output.out
        beyond = sum(len(corpus.sequences(i)[name]) > corpus.lengths(i)[name] for i in kept)
        assert beyond == 3
        assert f"3 utterances have {name} frames after the last of seqN" in output.out


def test_utterances_name_the_row_where_they_were_first_met(published, tmp_path):
    published_folds.read(CORPUS.model_copy(update={"root": str(published)})).write(tmp_path / "corpus")
    table = corpora.read_utterances(tmp_path / "corpus")
    assert set(table["folder"]) == {"fold01"}
    for part in ("train", "dev", "test"):
        kept = np.flatnonzero(np.load(published / f"fold01/{part}_video_seqN.npy") > 0)
        assert table[table["part"] == part]["row"].astype(int).tolist() == kept.tolist()
    assert list(table["part"]) == sorted(table["part"], key=["train", "dev", "test"].index)


@pytest.mark.parametrize("block", [1, 1000, 1 << 20])
def test_features_read_no_rows_but_those_that_utterances_name(block, published, tmp_path, monkeypatch):
    copy_row(published, "fold03", 2, "train", "test")
    prepared = prepare(published, tmp_path / "out", strict=False)
    rows, read = Array.rows, []
    monkeypatch.setattr(published_folds, "BLOCK_BYTES", block)
    monkeypatch.setattr(
        Array,
        "rows",
        lambda array, start, stop: read.extend((array.path, i) for i in range(start, stop)) or rows(array, start, stop),
    )
    shutil.rmtree(tmp_path / "out/features/video")
    again = extract(published, tmp_path / "out", "video")
    np.testing.assert_array_equal(again.values, prepared.sequences["video"].values)
    table = corpora.read_utterances(tmp_path / "out/corpus")
    places = zip(table["folder"], table["part"], table["row"].astype(int), strict=True)
    expected = [(published / folder / f"{part}_video.npy", row) for folder, part, row in places]
    assert [own for own in read if own[0].name.endswith("_video.npy")] == expected
    assert expected[-1] == (published / "fold03/test_video.npy", 21)
    small = {"label", "audio_seqN", "video_seqN"}
    assert {path.stem.partition("_")[2] for path, _ in read} == {"video", *small}


def test_arrays_that_changed_since_the_corpus_was_written_are_named(published, tmp_path):
    prepare(published, tmp_path / "out", modalities=())
    rows("fold01", "train", lambda a: a[:3])(published)
    with pytest.raises(UserError, match=r"fold01/train_video.npy: must have the row \d+ of utterances.csv, but has 3"):
        extract(published, tmp_path / "out", "video")
    (published / "fold01/train_audio_prosody.npy").unlink()
    with pytest.raises(UserError, match=r"fold01/train_audio_prosody.npy: this array is missing"):
        extract(published, tmp_path / "out", "prosody")


def test_frames_beyond_their_length_are_read_where_padding_is_and_nowhere_else(tmp_path):
    import torch

    corpus = Corpus(np.arange(70) % 7, SMALL, frames_beyond=tuple(range(0, 70, 2)))
    write(tmp_path / "in", corpus, parts(70, 2, seed=0))
    prepared = prepare(tmp_path / "in", tmp_path / "out")
    audio, rows = prepared.sequences["audio"], np.arange(70)
    assert (audio.valid < audio.lengths).sum() == 35
    own = np.concatenate([audio[row][: audio.valid[row]] for row in rows]).astype(np.float64)
    scaler = data.scaler(audio, rows)
    np.testing.assert_allclose(scaler[0], own.mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(scaler[1], own.std(axis=0), rtol=1e-5)
    for attends, lengths in ((True, audio.lengths), (False, audio.valid)):
        batches = data.Batches(
            prepared,
            ["audio"],
            prepared.label,
            size=70,
            padding_is_data=attends,
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
        values, found = batches([rows], [{"audio": scaler}]).sequences["audio"]
        assert found[0, :70].tolist() == lengths.tolist()
        for row in rows:
            expected = (audio[row][: lengths[row]] - scaler[0]) / scaler[1]
            np.testing.assert_array_equal(values[0, : lengths[row], row].numpy(), expected)
            assert not values[0, lengths[row] :, row].any()


def test_identical_utterances_stay_apart(tmp_path):
    corpus = Corpus(np.arange(70) % 7, SMALL)
    corpus.sequences = lambda i, made=corpus.sequences: made(3 if i == 10 else i)  # labels of 3 and 10 are the same
    write(tmp_path / "in", corpus, parts(70, 5, seed=0))
    prepared = prepare(tmp_path / "in", tmp_path / "out")
    folds = folds_of(tmp_path / "out")
    assert len(prepared.label) == 70
    assert (folds.groupby("fold")["utterance_id"].nunique() == 70).all()


def test_the_papers_classes_are_recognised_by_their_counts(tmp_path):
    counts = dict(sorted(CLASS_COUNTS.items()))
    labels = np.repeat(np.arange(7), list(counts.values()))
    write(
        tmp_path / "in",
        Corpus(labels, Sizes(audio=(2, 2), video=(2, 2), text=2, vocabulary=9, embedding=2, prosody=1)),
        parts(len(labels), 2, seed=0),
    )
    meta = prepare(tmp_path / "in", tmp_path / "out").meta
    assert meta.classes == list(counts)
    assert meta.corpus == "IEMOCAP"


def test_unknown_counts_give_plain_names_and_a_warning(published, tmp_path, capsys):
    meta = prepare(published, tmp_path / "out").meta
    assert meta.classes == [f"class_{i}" for i in range(7)]
    assert meta.corpus == "unknown"
    assert "corpus.classes can name them" in capsys.readouterr().err


def test_classes_can_be_named(published, tmp_path):
    names = ["a", "b", "c", "d", "e", "f", "g"]
    prepare(published, tmp_path / "out", classes=names)
    labels = corpora.read_utterances(tmp_path / "out/corpus")["label"]
    assert set(labels) == set(names)


def edit(name, change):
    """A damage: replace an array by what `change` makes of it."""

    def damage(root):
        path = root / name
        np.save(path, change(np.load(path)))

    return damage


def at(index, value):
    def change(array):
        array = array.astype(float) if isinstance(value, float) else array
        array[index] = value
        return array

    return change


def rows(folder, part, change):
    """A damage: apply `change` to all arrays of a part, so that rows stay rows."""

    def damage(root):
        for path in (root / folder).glob(f"{part}_*.npy"):
            np.save(path, change(np.load(path)))

    return damage


def copy_row(root, fold, row, source, target):
    """Append a row of one part to another, a leak if that is the test part."""
    for path in (root / fold).glob(f"{target}_*.npy"):
        own = np.load(path.with_name(path.name.replace(target, source)))[row]
        np.save(path, np.concatenate([np.load(path), own[None]]))


def npy(array, old=b"", new=b"") -> bytes:
    """The bytes of an array's file, with another text in its header."""
    file = io.BytesIO()
    np.save(file, array)
    header, values = file.getvalue()[:128], file.getvalue()[128:]
    assert old in header
    return header.replace(old, new, 1).rstrip().ljust(127) + b"\n" + values


def npz(array) -> bytes:
    file = io.BytesIO()
    np.savez(file, array)
    return file.getvalue()


ZEROS = np.zeros((21, 7, 11), np.float32)
DAMAGED = {
    "empty file": (b"", "is damaged: its header cannot be read"),
    "npz": (npz(ZEROS), "is damaged: its header cannot be read .*magic string"),
    "shape of 10^26": (npy(ZEROS, b"(21,", b"(1" + b"0" * 26 + b","), "is damaged: its header claims"),
    "many rows": (npy(ZEROS, b"(21,", b"(99999999999,"), r"is damaged: its header claims"),
    "one row more": (
        npy(ZEROS, b"(21, 7, 11)", b"(22, 7, 11)"),
        r"header claims \(22, 7, 11\) of float32, but 6468 bytes",
    ),
    "negative": (npy(ZEROS, b"(21, 7, 11)", b"(21, 7,-11)"), "only the first dimension may be 0"),
    "broken header": (npy(ZEROS, b"{'descr'", b"{'des{r'"), "is damaged: its header cannot be read"),
    "open bracket": (npy(ZEROS, b"(21, 7, 11)", b"((((((((((("), "is damaged: its header cannot be read"),
    "no text": (npy(ZEROS, b"{'descr'", b"{'d\xff\xfecr'"), "is damaged: its header cannot be read"),
    "newest format": (npy(ZEROS, b"NUMPY\x01", b"NUMPY\x03"), "is damaged: its header cannot be read"),
    "structured": (npy(np.zeros((21, 7, 11), [("a", "<f4")])), "holds values of the type"),
    "complex": (npy(ZEROS.astype(complex)), r"holds values of the type dtype\('complex128'\)"),
    "bool": (npy(ZEROS.astype(bool)), "holds values of the type dtype"),
    "text": (npy(ZEROS.astype(str)), "holds values of the type dtype"),
    "no frames": (npy(ZEROS[:, :0]), r"only the first dimension may be 0, but the shape is \(21, 0, 11\)"),
    "cut": (npy(ZEROS)[:-1], "is damaged: its header claims"),
    "longer": (npy(ZEROS) + b"0", "is damaged: its header claims"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_npy_file_is_named(name, published, tmp_path):
    content, message = DAMAGED[name]
    (published / "fold02/test_video.npy").write_bytes(content)
    with pytest.raises(UserError, match=f"fold02/test_video.npy: .*{message}"):
        prepare(published, tmp_path / "out")


def test_other_types_of_the_same_numbers_are_the_same(published, tmp_path):
    prepare(published, tmp_path / "before")
    for path in published.glob("fold02/*.npy"):
        np.save(path, np.load(path).astype(">f8"))
    prepare(published, tmp_path / "after")
    for path in (own for own in (tmp_path / "before").rglob("*") if own.is_file()):
        assert path.read_bytes() == (tmp_path / "after" / path.relative_to(tmp_path / "before")).read_bytes()


DAMAGES = {
    "missing array": (
        lambda root: (root / "fold02/dev_video.npy").unlink(),
        "fold02/dev_video.npy: this array is missing",
    ),
    "missing embedding": (lambda root: (root / "W_embedding.npy").unlink(), "W_embedding.npy: this array is missing"),
    "truncated": (
        lambda root: (root / "fold01/train_video.npy").write_bytes((root / "fold01/train_video.npy").read_bytes()[:-4]),
        "fold01/train_video.npy: must be a plain numeric .npy array",
    ),
    "no npy": (
        lambda root: (root / "fold01/test_label.npy").write_bytes(b"hello"),
        "fold01/test_label.npy: must be a plain",
    ),
    "objects": (
        lambda root: np.save(root / "fold01/test_label.npy", np.array([{}, 1]), allow_pickle=True),
        "fold01/test_label.npy: must be a plain numeric .npy array, but holds Python objects",
    ),
    "other rows": (
        edit("fold03/test_nlp_trans.npy", lambda a: a[:-1]),
        "fold03/test_nlp_trans.npy: must have as many rows as test_label.npy, 21, but has 20",
    ),
    "other frame size": (
        edit("fold03/test_video.npy", lambda a: a[:, :, :-1].copy()),
        r"fold03/test_video.npy: a row must have the shape \(7, 11\)",
    ),
    "dimensions": (edit("fold03/test_video.npy", lambda a: a[0]), "fold03/test_video.npy: must have 3 dimensions"),
    "NaN": (
        edit("fold01/dev_audio_mfcc.npy", at((2, 0, 4), np.nan)),
        "fold01/dev_audio_mfcc.npy: row 2: values must be finite, but frame 0",
    ),
    "infinity": (
        edit("fold04/test_video.npy", at((5, 0, 3), np.inf)),
        "fold04/test_video.npy: row 5: values must be finite",
    ),
    "NaN embedding": (edit("W_embedding.npy", at((4, 1), np.nan)), "W_embedding.npy: row 4: values must be finite"),
    "1e300": (
        edit("fold02/test_video.npy", at((4, 0, 3), 1e300)),
        r"fold02/test_video.npy: row 4: values must fit into float32, which ends at 3.4e\+38, but frame 0 has 1e\+300",
    ),
    "prosody in one fold": (
        edit("fold02/test_audio_prosody.npy", at((1, 1), np.nan)),
        "fold02/test_audio_prosody.npy: row 1: an utterance must be the same in each folder, but fold01 has none with "
        r"this prosody \(or length\); fold01/train_audio_prosody.npy: row \d+ is the most like it",
    ),
    "frames beyond the length in one fold": (
        edit("fold03/dev_audio_mfcc.npy", lambda a: np.where(a == 0, 1, a)),
        r"fold03/dev_audio_mfcc.npy: row \d+: an utterance must be the same in each folder, but fold01 has none with "
        "this audio",
    ),
    "label in one fold": (
        edit("fold02/train_label.npy", lambda a: np.where(np.arange(len(a)) == 6, (a + 1) % 7, a)),
        r"fold02/train_label.npy: row 6: an utterance must have the same label in each folder, but has (\d) here and "
        r"(?!\1)\d in fold01/train_label.npy: row \d+",
    ),
    "other float type in one fold": (
        edit("fold04/dev_audio_mfcc.npy", lambda a: a.astype(np.float16)),
        "fold04/dev_audio_mfcc.npy: row 0: an utterance must be the same in each folder, but fold01 has none with this "
        "audio",
    ),
    "label": (edit("fold02/train_label.npy", at(6, 7)), "fold02/train_label.npy: row 6: a label must be in 0 … 6"),
    "label -1": (edit("fold02/train_label.npy", at(6, -1)), "fold02/train_label.npy: row 6: a label .* but is -1"),
    "label 1.5": (edit("fold02/train_label.npy", at(6, 1.5)), "fold02/train_label.npy: row 6: must be a whole number"),
    "label 1e300": (
        edit("fold02/train_label.npy", at(6, 1e300)),
        "row 6: must be a whole number up to 9007199254740992",
    ),
    "length": (
        edit("fold01/train_video_seqN.npy", at(3, -8)),
        r"fold01/train_video_seqN.npy: row 3: a length must be at least 0, but is -8",
    ),
    "length in one fold": (
        edit("fold02/train_video_seqN.npy", at(3, 50)),
        r"fold02/train_video.npy: row 3: .* but fold01 has none with this video \(or length\)",
    ),
    "token": (
        edit("fold05/dev_nlp_trans.npy", at((1, 2), 29)),
        r"fold05/dev_nlp_trans.npy: row 1: token ids must be whole numbers in 0 … 28 .* position 2 has 29",
    ),
    "token -1": (edit("fold05/dev_nlp_trans.npy", at((1, 2), -1)), "fold05/dev_nlp_trans.npy: row 1: token ids"),
    "token 1.5": (edit("fold05/dev_nlp_trans.npy", at((1, 2), 1.5)), "dev_nlp_trans.npy: row 1: token ids .* has 1.5"),
    "token NaN": (
        edit("fold05/dev_nlp_trans.npy", at((1, 2), np.nan)),
        "dev_nlp_trans.npy: row 1: token ids .* has nan",
    ),
    "leak": (
        lambda root: copy_row(root, "fold03", 2, "train", "test"),
        "fold03/test_label.npy: row 21: an utterance must be in each folder as often as in fold01, 1 times, but this "
        "one is also fold03/train_label.npy: row 2; corpus.strict: false takes the folders as they are",
    ),
    "row lacking in one fold": (
        rows("fold04", "dev", lambda a: a[:-1]),
        r"fold04: must hold the same utterances as others, but lacks fold03/train_label.npy: row \d+",
    ),
    "row lacking in the first fold": (
        rows("fold01", "dev", lambda a: a[:-1]),
        r"fold02/train_audio_mfcc.npy: row \d+: an utterance must be the same in each folder, but fold01 has none with "
        "this audio, video",
    ),
    "some prosody": (
        lambda root: (root / "fold01/test_audio_prosody.npy").unlink(),
        "test_audio_prosody.npy must be there",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_nothing_is_written(name, published, study):
    damage, message = DAMAGES[name]
    damage(published)
    study.set(corpus__source="published_folds", corpus__root=str(published))
    with pytest.raises(UserError, match=message):
        prepare(published, study.folder / "out")
    if name in ("NaN", "objects"):  # as a user meets it: one line, no traceback, nothing left behind
        done = study.stage("corpus")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
        assert list((study.folder / "data").glob("**/*")) == []


def test_an_empty_class(tmp_path):
    labels = np.arange(70) % 7
    labels[labels == 3] = 4
    write(tmp_path / "in", Corpus(labels, SMALL), parts(70, 5, seed=0))
    with pytest.raises(UserError, match="class 3 has no utterance"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_no_folders(tmp_path):
    with pytest.raises(UserError, match="must hold at least two folders fold01"):
        prepare(tmp_path, tmp_path / "out")


def test_a_root_that_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"nowhere: corpus.root must be a folder, but does not exist"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match=r"file: corpus.root must be a folder, but is a file"):
        prepare(tmp_path / "file", tmp_path / "out")


def test_only_folders_with_numbers_are_folds(published, tmp_path):
    for name in ("folds", "foldoops_backup", "fold02_old", "oldfold03"):
        shutil.copytree(published / "fold02", published / name)
    (published / "fold06").touch()
    prepare(published, tmp_path / "out")
    assert corpora.numbers(folds_of(tmp_path / "out")) == [1, 2, 3, 4, 5]
    shutil.copytree(published / "fold02", published / "fold2")
    with pytest.raises(UserError, match="folders' numbers must differ, but are fold01, fold02, fold2, fold03"):
        prepare(published, tmp_path / "again")


def test_ten_folds_are_in_the_order_of_their_numbers(tmp_path):
    divided = parts(70, 10, seed=1)
    write(tmp_path / "in", Corpus(np.arange(70) % 7, SMALL), divided)
    for i in range(1, 10):
        (tmp_path / f"in/fold0{i}").rename(tmp_path / f"in/fold{i}")
    prepared = prepare(tmp_path / "in", tmp_path / "out")
    assert_same_corpus(prepared, tmp_path / "out", tmp_path / "in", [f"fold{i}" for i in range(1, 11)])


def test_one_content_may_have_two_labels_if_all_folders_agree(tmp_path):
    corpus = Corpus(np.arange(70) % 7, SMALL)
    corpus.sequences = lambda i, made=corpus.sequences: made(3 if i == 11 else i)  # labels of 3 and 11 differ
    corpus.lengths = lambda i, made=corpus.lengths: made(3 if i == 11 else i)
    write(tmp_path / "in", corpus, parts(70, 5, seed=0))
    prepared = prepare(tmp_path / "in", tmp_path / "out")
    assert len(prepared.label) == 70
    assert_same_corpus(prepared, tmp_path / "out", tmp_path / "in", [f"fold0{i}" for i in range(1, 6)])


def test_contradictions_are_counted_where_they_are_no_errors(published, tmp_path, capsys):
    edit("fold02/train_label.npy", lambda a: np.where(np.arange(len(a)) == 6, (a + 1) % 7, a))(published)
    copy_row(published, "fold03", 2, "train", "test")
    prepared = prepare(published, tmp_path / "out", strict=False)
    assert len(prepared.label) == UTTERANCES - 2 + 2
    # A utterance of fold02's label, the one that it lacks for that, and a second one of fold03's.
    assert (
        f"warning: {published}: folders contradict each other: 3 of 142 utterances are not in all of them; the first: "
        f"{published}/fold02/train_label.npy: row 6: an utterance must have the same label in each folder"
    ) in capsys.readouterr().err


def test_word_vectors_of_the_folds_that_differ(published, tmp_path, capsys):
    vectors = np.load(published / "W_embedding.npy")
    for folder in published.glob("fold*"):
        np.save(folder / "W_embedding.npy", vectors + (folder.name == "fold03"))
    with pytest.raises(UserError, match=r"fold03/W_embedding.npy: must equal the first fold's, but has other numbers"):
        prepare(published, tmp_path / "out")
    prepared = prepare(published, tmp_path / "out", strict=False)
    np.testing.assert_array_equal(prepared.sequences["text"].embedding, vectors)
    assert "fold03/W_embedding.npy: must equal the first fold's, but has other numbers; the first fold's is used" in (
        capsys.readouterr().err
    )
    np.save(published / "fold03/W_embedding.npy", vectors[:-1])
    with pytest.raises(UserError, match=r"but has shape \(28, 3\) and not \(29, 3\)"):
        prepare(published, tmp_path / "out", strict=False)
