"""The published layout: one corpus is recovered from five folders, and what is wrong with it is said."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.published_corpus import Corpus, Sizes, parts, write
from stages import features, params
from stages.cli import UserError
from stages.prepare import published_folds
from stages.prepare.iemocap import CLASS_COUNTS
from tests.conftest import SMALL, UTTERANCES


def prepare(root, folder, classes=None) -> features.Features:
    corpus = params.load().corpus.model_copy(
        update={"source": "published_folds", "root": str(root), "classes": classes}
    )
    published_folds.write(corpus, folder)
    return features.read(folder)


def test_one_corpus_is_recovered_with_its_folds(published, tmp_path):
    prepared = prepare(published, tmp_path / "out")
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
        np.testing.assert_array_equal(np.load(tmp_path / "out/prosody.npy")[row], expected["prosody"])
    np.testing.assert_array_equal(prepared.embedding, source.embedding)
    assert prepared.meta.longest == {"audio": 19, "video": 7, "text": 13}
    folds = features.read_folds(tmp_path / "out/folds.csv")
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


def test_identical_utterances_stay_apart(tmp_path):
    corpus = Corpus(np.arange(70) % 7, SMALL)
    corpus.sequences = lambda i, made=corpus.sequences: made(3 if i == 10 else i)  # labels of 3 and 10 are the same
    write(tmp_path / "in", corpus, parts(70, 5, seed=0))
    prepared = prepare(tmp_path / "in", tmp_path / "out")
    folds = features.read_folds(tmp_path / "out/folds.csv")
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
    labels = pd.read_csv(tmp_path / "out/utterances.csv")["label"]
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
    "NaN prosody": (
        edit("fold01/test_audio_prosody.npy", at((1, 1), np.nan)),
        "fold01/test_audio_prosody.npy: row 1: values must be finite",
    ),
    "NaN embedding": (edit("W_embedding.npy", at((4, 1), np.nan)), "W_embedding.npy: row 4: values must be finite"),
    "stray frame": (edit("fold01/train_audio_mfcc.npy", lambda a: np.where(a == 0, 1, a)), "frames beyond the length"),
    "label": (edit("fold02/train_label.npy", at(6, 7)), "fold02/train_label.npy: row 6: a label must be in 0 … 6"),
    "label -1": (edit("fold02/train_label.npy", at(6, -1)), "fold02/train_label.npy: row 6: a label .* but is -1"),
    "label 1.5": (edit("fold02/train_label.npy", at(6, 1.5)), "fold02/train_label.npy: row 6: must be a whole number"),
    "length": (
        edit("fold01/train_video_seqN.npy", at(3, 8)),
        r"fold01/train_video_seqN.npy: row 3: a length must be in 0 … 7 \(the frames of train_video.npy\), but is 8",
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
    "Fortran order": (edit("fold05/dev_video.npy", np.asfortranarray), "must be numbers in C order"),
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
        done = study.stage("prepare")
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
