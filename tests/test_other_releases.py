"""RAVDESS, CREMA-D and MELD as they are released: what their readers find, and what they say of faults."""

import csv
import io
import os
import re
from collections import Counter
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import corpus as written
from stages.common.errors import UserError
from stages.common.params import Corpus
from stages.corpus import meld, named_files, writer
from tests import other_releases

READERS = {"ravdess": named_files.ravdess, "crema_d": named_files.crema_d, "meld": meld.read}
POINTER = "is a pointer of Git LFS, not the file itself: `git lfs pull` fetches it"


def read(source: str, root: Path, **changes):
    return READERS[source](Corpus(source=source, root=str(root), **changes))


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"media")


def by_name(contents) -> dict[str, dict]:
    return {row["utterance_id"]: row for row in contents.utterances}


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> dict[str, tuple[Path, dict[str, str]]]:
    """Source → the folder of its mini release, and the labels of its utterances."""
    made = {}
    for source in READERS:
        root = tmp_path_factory.mktemp(source)
        made[source] = root, getattr(other_releases, source)(root)
    return made


# All three


@pytest.mark.parametrize(
    ("source", "name", "classes", "first", "media"),
    [
        (
            "ravdess",
            "RAVDESS",
            ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"],
            ["01-01-01-01-01-01", "Actor_01", "", "", "neutral", "Kids are talking by the door"],
            [
                "Audio_Speech_Actors_01-24/Actor_01/03-01-01-01-01-01-01.wav",
                "Video_Speech/Actor_01/01-01-01-01-01-01-01.mp4",
            ],
        ),
        (
            "crema_d",
            "CREMA-D",
            ["angry", "disgust", "fear", "happy", "neutral", "sad"],
            ["1001_DFA_ANG_XX", "1001", "", "", "angry", "Don't forget a jacket"],
            ["AudioWAV/1001_DFA_ANG_XX.wav", "VideoFlash/1001_DFA_ANG_XX.flv"],
        ),
        (
            "meld",
            "MELD",
            ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"],
            [
                *("train_dia0_utt0", "Joey", "", "train_dia0", "anger"),
                "Well, that’s anger, isn’t it? It’s the anger of dialogue 0.",
            ],
            ["MELD.Raw/train/train_splits/dia0_utt0.mp4"] * 2,
        ),
    ],
)
def test_mini_release_is_read_and_can_be_written(releases, tmp_path, source, name, classes, first, media):
    root, labels = releases[source]
    contents = read(source, root)
    assert contents.meta == written.Meta(corpus=name, classes=classes, modalities=["text", "audio", "video"])
    assert {row["utterance_id"]: row["label"] for row in contents.utterances} == labels
    columns = ["utterance_id", "speaker", "session", "dialogue", "label", "transcription"]
    columns += ["audio_file_name", "audio_start", "audio_end"]
    columns += ["video_file_name", "video_start", "video_end", "video_crop"]
    audio, video = media
    assert list(contents.utterances[0].items()) == list(
        zip(columns, [*first, audio, "", "", video, "", "", ""], strict=True)
    )
    for row in contents.utterances:
        assert list(row) == columns
        assert all((root / row[f"{medium}_file_name"]).exists() for medium in ("audio", "video"))
    writer.write(tmp_path / "corpus", meta=contents.meta, utterances=contents.utterances, folds=contents.folds)
    table = written.read_utterances(tmp_path / "corpus")
    assert dict(zip(table["utterance_id"], table["label"], strict=True)) == labels


@pytest.mark.parametrize("source", READERS)
def test_order_of_folders_and_links_change_nothing(releases, tmp_path, monkeypatch, source):
    root, _ = releases[source]
    usual = read(source, root)
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __next__(self):
            return next(self.entries)

    monkeypatch.setattr(os, "scandir", Reversed)
    other = read(source, root)
    monkeypatch.undo()
    (tmp_path / "link").symlink_to(root)
    linked = read(source, tmp_path)
    assert (other.utterances, other.problems, other.notes) == (usual.utterances, usual.problems, usual.notes)
    assert [row["audio_file_name"] for row in linked.utterances] == [
        row["audio_file_name"] and f"link/{row['audio_file_name']}" for row in usual.utterances
    ]


@pytest.mark.parametrize("source", READERS)
def test_labels_are_mapped_left_out_and_ordered(releases, source):
    root, labels = releases[source]
    old = sorted(set(labels.values()))
    mapping = {old[0]: None, old[1]: old[2], old[3]: "another one"}
    contents = read(source, root, labels=mapping)
    expected = {name: mapping.get(label, label) for name, label in labels.items()}
    expected = {name: label for name, label in expected.items() if label}
    assert {row["utterance_id"]: row["label"] for row in contents.utterances} == expected
    assert contents.meta.classes[-1] == "another one"  # those of the release go before
    order = sorted(set(expected.values()), reverse=True)
    assert read(source, root, labels=mapping, classes=order).meta.classes == order
    with pytest.raises(UserError, match="one means"):
        read(source, root, labels=mapping, classes=order[1:])
    with pytest.raises(UserError, match="two or more classes"):
        read(source, root, labels=dict.fromkeys(old[1:]))
    if source == "meld":
        assert set(contents.folds["utterance_id"]) == set(expected)


@pytest.mark.parametrize("source", READERS)
def test_a_folder_without_the_release(tmp_path, source):
    with pytest.raises(UserError, match="must hold"):
        read(source, tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read(source, tmp_path / "nowhere")


@pytest.mark.parametrize("source", ["ravdess", "crema_d"])
def test_label_that_the_release_has_not(releases, source):
    with pytest.raises(UserError, match=r"corpus.labels: keys must be labels of the corpus, .*sad.*, but one is ANG"):
        read(source, releases[source][0], labels={"ANG": None})


# The walk


def test_walk_follows_links_once_and_never_upwards(tmp_path):
    root, disk = tmp_path / "corpus", tmp_path / "disk"
    touch(root, "b/2", "a/1", "a/._1", "B/3", "é/4")
    touch(disk, "deep/5")
    touch(tmp_path, "outside")
    (root / "c").symlink_to(disk)
    for name in "hfdegji":  # all are c/deep
        (root / name).symlink_to(disk / "deep")
    (disk / "deep" / "again").symlink_to(disk)
    (root / "a" / "loop").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (root / "everything").symlink_to("/")
    (root / "self").symlink_to("self")
    (root / "gone").symlink_to("nowhere")
    files, problems = named_files.files_below(root)
    # By bytes, capitals are before the others. Of ways to a folder, the shortest is taken, and of these the first.
    assert files == ["B/3", "a/1", "b/2", "d/5", "gone", "self", "é/4"]
    assert problems == []


def test_folders_that_cannot_be_read_are_reported(tmp_path, monkeypatch):
    touch(tmp_path, "a/1", "locked/2", "new\nline/3")
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH102
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    files, problems = named_files.files_below(tmp_path)
    assert files == ["a/1"]
    assert sorted(problems) == [
        "'caf\\udce9': a folder's name must be of printable characters",
        "'new\\nline': a folder's name must be of printable characters",
        "locked: this folder cannot be read (Permission denied)",
    ]


def test_odd_but_printable_names_of_folders(tmp_path):
    touch(tmp_path, 'mine, "all" of it; #1 = é/03-01-05-01-01-01-01.wav', "-x/03-01-04-01-01-01-01.wav")
    contents = read("ravdess", tmp_path)
    assert [row["audio_file_name"] for row in contents.utterances] == [
        "-x/03-01-04-01-01-01-01.wav",
        'mine, "all" of it; #1 = é/03-01-05-01-01-01-01.wav',
    ]
    assert contents.problems == []


# RAVDESS


def release_of_ravdess() -> list[str]:
    """The fields after the modality of all takes, as corpora.md counts them: 60 or 44 an actor."""
    speech = [
        f"01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"
        for emotion, intensity, statement, repetition, actor in product(
            range(1, 9), (1, 2), (1, 2), (1, 2), range(1, 25)
        )
        if (emotion, intensity) != (1, 2)
    ]
    song = [f"02{take[2:]}" for take in speech if take[3:5] <= "06" and take[-2:] != "18"]
    return speech + song


def test_counts_of_the_whole_of_ravdess(tmp_path, monkeypatch):
    paths = [f"Actor_{take[-2:]}/03-{take}.wav" for take in reversed(release_of_ravdess())]
    monkeypatch.setattr(named_files, "files_below", lambda root: (paths, []))
    monkeypatch.setattr(named_files, "unusable", lambda path: None)
    speech, song, both = (read("ravdess", tmp_path, ravdess={"channel": name}) for name in ("speech", "song", "both"))
    emotions = "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"
    spoken = ", ".join(f"{name} 192 of 192" for name in emotions)
    sung = ", ".join(f"{name} 184 of 184" for name in emotions[:5])
    assert speech.notes == [f"1,440 utterances of the 1,440 that the release has: neutral 96 of 96, {spoken}"]
    assert song.notes == [f"1,012 utterances of the 1,012 that the release has: neutral 92 of 92, {sung}"]
    assert both.notes[0].startswith("2,452 utterances of the 2,452 that the release has: neutral 188 of 188, calm 376")
    assert song.meta.classes == ["neutral", "calm", "happy", "sad", "angry", "fearful"]
    assert speech.problems == song.problems == both.problems == []
    assert len({row["speaker"] for row in speech.utterances}) == 24
    assert {row["speaker"] for row in speech.utterances} - {row["speaker"] for row in song.utterances} == {"Actor_18"}
    assert [row["utterance_id"] for row in both.utterances] == sorted(release_of_ravdess())


def test_which_files_of_a_take_are_used(tmp_path):
    touch(
        tmp_path, *(f"z/0{modality}-01-03-02-02-01-07.{end}" for modality, end in ((1, "mp4"), (2, "mp4"), (3, "wav")))
    )
    touch(tmp_path, "a/01-01-04-02-01-01-07.mp4", "b/01-01-04-02-01-01-07.mp4", "b/02-01-04-02-01-01-07.mp4")
    touch(tmp_path, "02-01-05-02-01-01-08.mp4", "03-01-05-02-01-01-08.WAV")
    touch(tmp_path, "03-01-06-02-01-01-08.wav", "02-01-07-02-01-01-08.mp4", "._03-01-08-02-01-01-08.wav")
    contents = read("ravdess", tmp_path)
    assert {
        name: (row["speaker"], row["transcription"][:4], row["audio_file_name"], row["video_file_name"])
        for name, row in by_name(contents).items()
    } == {
        "01-03-02-02-01-07": ("Actor_07", "Dogs", "z/03-01-03-02-02-01-07.wav", "z/01-01-03-02-02-01-07.mp4"),
        "01-04-02-01-01-07": ("Actor_07", "Kids", "a/01-01-04-02-01-01-07.mp4", "a/01-01-04-02-01-01-07.mp4"),
        "01-05-02-01-01-08": ("Actor_08", "Kids", "03-01-05-02-01-01-08.WAV", "02-01-05-02-01-01-08.mp4"),
        "01-06-02-01-01-08": ("Actor_08", "Kids", "03-01-06-02-01-01-08.wav", ""),
        "01-07-02-01-01-08": ("Actor_08", "Kids", "", "02-01-07-02-01-01-08.mp4"),
    }
    assert contents.problems == [
        "01-07-02-01-01-08: has no file of its audio",
        "01-06-02-01-01-08: has no file of its video",
    ]


@pytest.mark.parametrize(("end", "modalities"), [("wav", ["text", "audio"]), ("mp4", ["text", "video"])])
def test_a_medium_that_no_utterance_has(tmp_path, end, modalities):
    modality = {"wav": "03", "mp4": "02"}[end]
    touch(tmp_path, *(f"{modality}-01-0{emotion}-01-01-01-01.{end}" for emotion in (2, 3)))
    contents = read("ravdess", tmp_path)
    assert contents.meta.modalities == modalities
    medium = modalities[1]
    media = {f"{medium}_file_name", f"{medium}_start", f"{medium}_end"} | ({"video_crop"} if end == "mp4" else set())
    assert set(contents.utterances[0]) == {*written.NAMES, "transcription"} | media
    assert contents.problems == []


def test_broken_files_give_way_to_the_next_best(tmp_path):
    touch(tmp_path, "01-01-03-01-01-01-01.mp4", "02-01-03-01-01-01-01.mp4", "03-01-04-01-01-01-01.wav")
    touch(tmp_path, "01-01-05-01-01-01-01.mp4")
    (tmp_path / "03-01-03-01-01-01-01.wav").touch()
    os.mkfifo(tmp_path / "01-01-04-01-01-01-01.mp4")
    (tmp_path / "03-01-05-01-01-01-01.wav").symlink_to("03-01-05-01-01-01-01.wav")
    (tmp_path / "03-01-06-01-01-01-01.wav").symlink_to("nowhere")
    contents = read("ravdess", tmp_path)
    files = {row["utterance_id"][3:5]: (row["audio_file_name"], row["video_file_name"]) for row in contents.utterances}
    assert files == {
        "03": ("01-01-03-01-01-01-01.mp4",) * 2,
        "04": ("03-01-04-01-01-01-01.wav", ""),
        "05": ("01-01-05-01-01-01-01.mp4",) * 2,
        "06": ("", ""),
    }
    assert contents.problems == [
        "03-01-03-01-01-01-01.wav: is empty",
        "01-01-04-01-01-01-01.mp4: is no file, but a folder or a device",
        "03-01-05-01-01-01-01.wav: cannot be read (Too many levels of symbolic links)",
        "03-01-06-01-01-01-01.wav: is missing",
        "01-06-01-01-01-01: has no file of its video",
    ]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("04-01-01-01-01-01-01.wav", "the name's modality must be one of 01 … 03, but is '04'"),
        ("03-03-01-01-01-01-01.wav", "the name's channel must be one of 01 … 02, but is '03'"),
        ("03-01-00-01-01-01-01.wav", "the name's emotion must be one of 01 … 08, but is '00'"),
        ("03-01-09-01-01-01-01.wav", "the name's emotion must be one of 01 … 08, but is '09'"),
        ("03-02-07-01-01-01-01.wav", "the name's emotion must be one of 01 … 06 where its channel is 02, but is 07"),
        ("03-01-02-03-01-01-01.wav", "the name's intensity must be one of 01 … 02, but is '03'"),
        ("03-01-01-02-01-01-01.wav", "the name's intensity must be 01 where its emotion is 01, but is 02"),
        ("03-01-02-01-03-01-01.wav", "the name's statement must be one of 01 … 02, but is '03'"),
        ("03-01-02-01-01-03-01.wav", "the name's repetition must be one of 01 … 02, but is '03'"),
        ("03-01-02-01-01-01-25.mp4", "the name's actor must be one of 01 … 24, but is '25'"),
        ("03-01-02-01-01-01-1.wav", "the name's actor must be one of 01 … 24, but is '1'"),
        ("03-01-02-01-01-01-001.wav", "the name's actor must be one of 01 … 24, but is '001'"),
        ("03-01-02-01-01-01-01.mp4", "a name of modality 03 must end in .wav, but ends in .mp4"),
        ("01-01-02-01-01-01-01.wav", "a name of modality 01 must end in .mp4, but ends in .wav"),
        ("notes.wav", None),
        ("03-01-02-01-01-01-01.csv", None),
        ("03-01-02-01-01-01.wav", None),
        ("٠٣-01-02-01-01-01-01.wav", None),
    ],
)
def test_impossible_names_of_ravdess(tmp_path, name, complaint):
    touch(tmp_path, "03-01-03-01-01-01-01.wav", "03-01-04-01-01-01-01.wav", f"sub/{name}")
    contents = read("ravdess", tmp_path)
    assert contents.problems == ([f"sub/{name}: {complaint}"] if complaint else [])
    assert len(contents.utterances) == 2


def test_channel_without_files(tmp_path):
    touch(tmp_path, "03-01-03-01-01-01-01.wav")
    with pytest.raises(UserError, match=r"of song \(corpus.ravdess.channel\), such as 03-02-05-01-01-01-01.wav, but"):
        read("ravdess", tmp_path, ravdess={"channel": "song"})


# CREMA-D


SENTENCES = """IEO It's eleven o'clock; TIE That is exactly what happened; IOM I'm on my way to the meeting
IWW I wonder what this is about; TAI The airplane is almost full; MTI Maybe tomorrow it will be cold
IWL I would like a new alarm clock; ITH I think I have a doctor's appointment; DFA Don't forget a jacket
ITS I think I've seen this before; TSI The surface is slick; WSI We'll stop in a couple of minutes"""


def test_sentences_levels_and_labels_of_crema_d(tmp_path):
    texts = dict(text.split(" ", 1) for text in re.split("; |\n", SENTENCES))
    assert len(texts) == 12
    levels = dict(zip(texts, 3 * ["LO", "MD", "HI", "XX"], strict=True))
    labels = other_releases.CREMA_D_LABELS
    for sentence, emotion in product(texts, labels):
        touch(tmp_path, f"clean/AudioWAV/1091_{sentence}_{emotion}_{levels[sentence]}.wav")
    contents = read("crema_d", tmp_path)
    assert {(row["utterance_id"], row["transcription"], row["label"]) for row in contents.utterances} == {
        (f"1091_{sentence}_{emotion}_{levels[sentence]}", texts[sentence], labels[emotion])
        for sentence, emotion in product(texts, labels)
    }
    assert contents.meta.modalities == ["text", "audio"]
    assert contents.problems == []
    rest = ", ".join(f"{label} 12 of {1087 if label == 'neutral' else '1,271'}" for label in contents.meta.classes)
    assert contents.notes == [f"72 utterances of the 7,442 that the release has: {rest.replace('1087', '1,087')}"]


def test_faults_of_crema_d(releases):
    root, labels = releases["crema_d"]
    contents = read("crema_d", root)
    rows = by_name(contents)
    assert len(rows) == len(labels) == 5 * 2 * 6 + 1
    odd = rows["1040_ITH_SAD_XX"]  # X in the name of the audio, XX in that of the video
    assert odd["audio_file_name"] == "AudioWAV/1040_ITH_SAD_X.wav"
    assert odd["video_file_name"] == "VideoFlash/1040_ITH_SAD_XX.flv"
    assert rows["1001_IEO_ANG_XX"]["video_file_name"] == ""
    assert contents.problems == [f"VideoFlash/1001_IEO_ANG_XX.flv: {POINTER}"]


@pytest.mark.parametrize("broken", [(), ("AudioWAV/1001_IEO_HAP_XX.wav",)])
def test_one_line_for_all_pointers(tmp_path, broken):
    audio = [f"AudioWAV/1001_IEO_{emotion}_XX.wav" for emotion in other_releases.CREMA_D_LABELS]
    touch(tmp_path, *audio)
    for path in broken:
        (tmp_path / path).write_bytes(b"")
    for path in audio[1:4]:
        video = tmp_path / path.replace("AudioWAV", "VideoFlash").replace(".wav", ".flv")
        video.parent.mkdir(exist_ok=True)
        video.write_text(other_releases.POINTER)
    contents = read("crema_d", tmp_path)
    assert contents.problems == [
        *(f"{path}: is empty" for path in broken),
        f"VideoFlash/1001_IEO_DIS_XX.flv (the first of 3 such files): {POINTER}",
    ]
    assert contents.meta.modalities == ["text", "audio"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("1000_IEO_ANG_XX.wav", "the name's actor must be one of 1001 … 1091, but is 1000"),
        ("1092_IEO_ANG_XX.flv", "the name's actor must be one of 1001 … 1091, but is 1092"),
        ("1001_ABC_ANG_XX.wav", "the name's sentence must be one of IEO, .*, WSI, but is 'ABC'"),
        ("1001_IEO_SUR_XX.wav", "the name's emotion must be one of ANG, DIS, FEA, HAP, NEU, SAD, but is 'SUR'"),
        ("1001_IEO_ANG_UN.wav", "the name's level must be one of LO, MD, HI, XX, X, but is 'UN'"),
        ("1001_IEO_ANG_XX.mp3", None),
        ("1001_IEO_ANG.wav", None),
        ("._1001_IEO_HAP_UN.wav", None),
    ],
)
def test_impossible_names_of_crema_d(tmp_path, name, complaint):
    touch(tmp_path, "1002_IEO_ANG_XX.wav", "1002_IEO_SAD_XX.wav", name)
    contents = read("crema_d", tmp_path)
    assert len(contents.utterances) == 2
    assert len(contents.problems) == bool(complaint)
    assert all(re.fullmatch(f"{re.escape(name)}: {complaint}", line) for line in contents.problems)


# MELD


def write_tables(root: Path, **tables) -> None:
    """A table with one row of each class for each part, or what is given: bytes, text or rows."""
    for part in written.PARTS:
        table, path = tables.get(part), root / f"{part}_sent_emo.csv"
        if table is None or isinstance(table, list):
            other_releases.write_table(path, table or [other_releases.meld_row(0, number) for number in range(7)])
        else:
            path.write_bytes(table if isinstance(table, bytes) else table.encode())


def row(**changes) -> dict[str, str]:
    return other_releases.meld_row(0, 0) | changes


def test_faults_and_folds_of_meld(releases):
    root, labels = releases["meld"]
    contents = read("meld", root)
    assert contents.problems == [
        "dev: dia1_utt5.mp4 is missing",
        "dev: clips without a row in MELD.Raw/dev_sent_emo.csv: 1 (MELD.Raw/dev/dev_splits_complete/dia66_utt9.mp4)",
    ]
    assert contents.notes == [
        "rows of those that the release has: train 35 of 9,989 in MELD.Raw/train/train_sent_emo.csv; "
        "dev 14 of 1,109 in MELD.Raw/dev_sent_emo.csv; test 21 of 2,610 in MELD.Raw/test_sent_emo.csv"
    ]
    rows = by_name(contents)
    assert rows["dev_dia1_utt5"]["audio_file_name"] == rows["dev_dia1_utt5"]["video_file_name"] == ""
    assert rows["train_dia0_utt3"]["video_file_name"]  # whether it can be decoded is not asked here
    assert list(rows) == list(labels)  # parts and then rows in their order
    pd.testing.assert_frame_equal(
        contents.folds,
        pd.DataFrame({"fold": 1, "utterance_id": list(labels), "part": [name.split("_")[0] for name in labels]}),
    )
    assert Counter(contents.folds["part"]) == {"train": 35, "dev": 14, "test": 21}


@pytest.mark.parametrize("base", ["", "MELD.Raw/"])
@pytest.mark.parametrize(
    ("train_table", "folders"),
    [
        ("train/", ["train/train_splits", "dev/dev_splits_complete", "test/output_repeated_splits_test"]),
        ("", ["train_splits", "dev_splits_complete", "output_repeated_splits_test"]),
        ("", ["train", "dev/clips", "test/a/b"]),
        ("train/", ["train/train_splits", "train/dev_splits_complete", "my test, my dev/Test"]),
    ],
)
def test_layouts_of_meld(tmp_path, base, train_table, folders):
    root = tmp_path / base
    for part, folder in zip(written.PARTS, folders, strict=True):
        rows = [other_releases.meld_row(2, number) for number in range(7)]
        other_releases.write_table(root / (train_table if part == "train" else "") / f"{part}_sent_emo.csv", rows)
        touch(root, *(f"{folder}/dia2_utt{number}.mp4" for number in range(7)))
    contents = read("meld", tmp_path)
    assert contents.problems == []
    assert {name: row["video_file_name"] for name, row in by_name(contents).items()} == {
        f"{part}_dia2_utt{number}": f"{base}{folder}/dia2_utt{number}.mp4"
        for part, folder in zip(written.PARTS, folders, strict=True)
        for number in range(7)
    }


def test_the_nearest_table_is_read(tmp_path):
    write_tables(tmp_path)
    other_releases.write_table(tmp_path / "a/train_sent_emo.csv", [row()])
    assert len(read("meld", tmp_path).utterances) == 21


def test_text_alone_and_parts_without_clips(tmp_path):
    write_tables(tmp_path)
    contents = read("meld", tmp_path)
    assert contents.meta.modalities == ["text"]
    assert set(contents.utterances[0]) == {*written.NAMES, "transcription"}
    assert contents.problems == []
    assert contents.notes[1:] == ["no clips: there is text alone"]
    touch(tmp_path, *(f"dev/dia0_utt{number}.mp4" for number in range(1, 7)))
    contents = read("meld", tmp_path)
    assert contents.meta.modalities == ["text", "audio", "video"]
    assert contents.problems == [
        "train: none of its 7 clips is there",
        "dev: dia0_utt0.mp4 is missing",
        "test: none of its 7 clips is there",
    ]


def test_clips_that_cannot_be_used_or_placed(tmp_path):
    write_tables(tmp_path)
    touch(tmp_path, *(f"{part}/dia0_utt{number}.mp4" for part in written.PARTS for number in range(3, 7)))
    touch(tmp_path, "train/dia9_utt1.mp4", "train/dia9_utt2.mp4", "train/dia9_utt3.mp4", "train/dia9_utt4.mp4")
    touch(tmp_path, "elsewhere/dia0_utt0.mp4", "dia0_utt1.mp4", "train-and-dev/dia0_utt1.mp4")
    touch(tmp_path, "test/final_videos_testdia0_utt0.mp4", "test/._dia7_utt0.mp4", "test/dia7_utt0.mp4.part")
    os.mkfifo(tmp_path / "train/dia0_utt0.mp4")
    (tmp_path / "train/dia0_utt1.mp4").touch()
    (tmp_path / "train/dia0_utt2.mp4").symlink_to("nowhere")
    (tmp_path / "dev/dia0_utt0.mp4").mkdir()
    for part, number in (("dev", 1), ("dev", 2), ("test", 0), ("test", 1), ("test", 2)):
        (tmp_path / f"{part}/dia0_utt{number}.mp4").write_text(other_releases.POINTER)
    contents = read("meld", tmp_path)
    assert contents.problems == [
        "train/dia0_utt0.mp4: is no file, but a folder or a device",
        "train/dia0_utt1.mp4: is empty",
        "train/dia0_utt2.mp4: is missing",
        f"dev/dia0_utt1.mp4 (the first of 5 such files): {POINTER}",
        "dev: dia0_utt0.mp4 is missing",
        "train: clips without a row in train_sent_emo.csv: 4 (train/dia9_utt1.mp4, train/dia9_utt2.mp4, "
        "train/dia9_utt3.mp4, …)",
        "clips in no folder of train, dev, test: 3 (dia0_utt1.mp4, elsewhere/dia0_utt0.mp4, "
        "train-and-dev/dia0_utt1.mp4)",
    ]
    assert sum(row["audio_file_name"] == "" for row in contents.utterances) == 9


def test_utterances_that_are_left_out_need_no_clip(tmp_path):
    write_tables(tmp_path)
    touch(tmp_path, *(f"{part}/dia0_utt{number}.mp4" for part in written.PARTS for number in range(1, 7)))
    touch(tmp_path, "dev/dia0_utt0.mp4")
    contents = read("meld", tmp_path, labels={"anger": None})  # that of utterance 0
    assert contents.problems == []
    assert len(contents.utterances) == len(contents.folds) == 18


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "mojibake"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_encodings_of_tables(tmp_path, encoding, end):
    lines = ["Utterance_ID,Dialogue_ID,Extra,Emotion,Speaker,Utterance,Extra"]
    lines += ['3,5,,joy,  Dr.  Zeiß ,"“Isn’t it…”, he\tsaid – caf\xe9",x', "4,5,,fear,,,x", ""]
    content = end.join(lines).encode("cp1252" if encoding == "mojibake" else encoding)
    write_tables(tmp_path, dev=content.decode("latin-1").encode() if encoding == "mojibake" else content)
    rows = by_name(read("meld", tmp_path))
    first, second = rows["dev_dia5_utt3"], rows["dev_dia5_utt4"]
    assert first["transcription"] == "“Isn’t it…”, he said – café"
    assert (first["speaker"], first["label"], first["dialogue"]) == ("Dr. Zeiß", "joy", "dev_dia5")
    assert (second["speaker"], second["transcription"], second["label"]) == ("", "", "fear")


def test_text_of_several_lines_becomes_one(tmp_path):
    odd = "  one\r\ntwo\u2028three\xa0four\x00\x81 five\x07six "
    write_tables(tmp_path, train=[row(Utterance=odd), row(Utterance_ID="1", Emotion="joy")])
    assert by_name(read("meld", tmp_path))["train_dia0_utt0"]["transcription"] == "one two three four five six"


HEADER = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID"


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (f"{HEADER}\r\nHi,Joey,joy,one,0\r\n", "line 2: Dialogue_ID must be a whole number .* but is 'one'"),
        (f"{HEADER}\nHi,Joey,joy,1,0\n\nHi,Joey,joy,1,1.0\n", "line 4: Utterance_ID must be .* but is '1.0'"),
        (f"{HEADER}\nHi,Joey,joy,1,\n", "line 2: Utterance_ID must be .* but is ''"),
        (f"{HEADER}\nHi,Joey,joy,-1,1\n", "line 2: Dialogue_ID must be .* but is '-1'"),
        (f"{HEADER}\nHi,Joey,joy,{'9' * 10},1\n", "line 2: Dialogue_ID must be .* 9 digits"),
        (f"{HEADER}\nHi,Joey,joy,²,1\n", "line 2: Dialogue_ID must be .* but is '²'"),
        (f'{HEADER}\n"Hi\nyou",Joey,joy,1,1\nHi,Joey,bored,1,2\n', "line 4: Emotion must be one of .* but is 'bored'"),
        (f"{HEADER}\nHi,Joey,,1,2\n", "line 2: Emotion must be one of anger, .*, surprise, or .* but is ''"),
        (f"{HEADER}\nHi,Joey,joy,1\n", "line 2: must have 5 cells as the header, but has 4"),
        (f"{HEADER}\nHi,Joey,joy,1,1,9\n", "line 2: must have 5 cells as the header, but has 6"),
        (f"{HEADER}\nHi,Joey,joy,1,1\nHo,Joey,fear,01,1\n", "line 3: .* must together be unique, but 1 and 1 were"),
        (HEADER.replace("Speaker", "speaker"), "line 1: the header must have the column Speaker, but lacks it"),
        (f"{HEADER},Emotion", "line 1: the header must have the column Emotion, but has it more than once"),
        (HEADER, "must have a row for each utterance, but has none"),
        ("", "is empty"),
        ("\n\n", "must have a row for each utterance, but has none"),
        (f'{HEADER}\nHi,Joey,joy,1,1\n"{"x" * 200_000}",Joey,joy,1,2\n', r"line 3: must be CSV, but .*field limit"),
        (other_releases.POINTER, "is a pointer of Git LFS"),
        (f"{HEADER}\n".encode("utf-16"), "line 1: the header must have the column Utterance, but lacks it"),
    ],
)
def test_bad_tables(tmp_path, table, complaint):
    write_tables(tmp_path, dev=table)
    with pytest.raises(UserError) as error:
        read("meld", tmp_path)
    prefix = re.escape(f"{tmp_path}/dev_sent_emo.csv: ")
    assert re.match(prefix + complaint, str(error.value)), str(error.value)


def test_tables_that_are_missing_or_no_files(tmp_path, monkeypatch):
    write_tables(tmp_path)
    monkeypatch.setattr(meld, "LARGEST_TABLE", 101)
    with pytest.raises(UserError, match=r"train_sent_emo.csv: must have at most 101 bytes, but has more"):
        read("meld", tmp_path)
    monkeypatch.undo()
    (tmp_path / "test_sent_emo.csv").unlink()
    (tmp_path / "._test_sent_emo.csv").touch()
    with pytest.raises(UserError, match=r"must hold test_sent_emo.csv, in this folder or below it, but does not"):
        read("meld", tmp_path)
    os.mkfifo(tmp_path / "test_sent_emo.csv")
    with pytest.raises(UserError, match=r"test_sent_emo.csv: is no file, but a folder or a device"):
        read("meld", tmp_path)


def test_emotions_beyond_the_seven_can_be_mapped(tmp_path):
    rows = [row(Utterance_ID=str(number), Emotion=name) for number, name in enumerate(["joy", "bored", "tired"])]
    write_tables(tmp_path, test=rows)
    with pytest.raises(UserError, match="line 3: Emotion must be"):
        read("meld", tmp_path)
    contents = read("meld", tmp_path, labels={"bored": "neutral", "tired": None})
    assert [row["label"] for row in contents.utterances if row["utterance_id"].startswith("test")] == ["joy", "neutral"]


def outcome(root: Path) -> tuple:
    """What MELD's reader finds, or the user's error."""
    try:
        return read("meld", root), None
    except UserError as error:
        return None, str(error)


EDITS = st.lists(
    st.tuples(
        st.integers(0, 700),
        st.integers(0, 7),
        st.binary(max_size=3)
        | st.sampled_from([b'"', b",", b"\r\n", b"\n", b"\x92", b"\xff", b"\0", b"1", b'""', b"\r"]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=100)
@given(edits=EDITS)
def test_any_damage_to_a_table_is_an_error_of_the_user_or_harmless(tmp_path_factory, edits):
    root = tmp_path_factory.getbasetemp() / "damaged tables"
    root.mkdir(exist_ok=True)
    write_tables(root)
    path = root / "dev_sent_emo.csv"
    content = path.read_bytes()
    for place, length, inserted in edits:
        content = content[:place] + inserted + content[place + length :]
    path.write_bytes(content)
    contents, error = outcome(root)
    if error:
        whole = "must have a row for each utterance|is empty"
        assert re.match(f"{re.escape(str(path))}: (line [0-9]+: |{whole})", error), error
        assert error.isprintable()
        return
    for part in ("train", "test"):
        assert sum(row["utterance_id"].startswith(part) for row in contents.utterances) == 7
    for row in contents.utterances:
        assert all(value.isprintable() for value in row.values())
    writer._table(contents.utterances, contents.meta.classes)
    written.check_folds(contents.folds, {row["utterance_id"] for row in contents.utterances})


@settings(max_examples=50)
@given(texts=st.lists(st.text('aé’“- \t\r\n",\0\x1b\xa0\xad\u2028\U0001f600', max_size=30), min_size=2, max_size=5))
def test_any_utterance_that_csv_can_hold_is_read(tmp_path_factory, texts):
    root = tmp_path_factory.getbasetemp() / "any text"
    root.mkdir(exist_ok=True)
    table = io.StringIO()
    lines = csv.writer(table)
    lines.writerow(HEADER.split(","))
    lines.writerows([text, text, "joy" if i else "fear", 0, i] for i, text in enumerate(texts))
    write_tables(root, dev=table.getvalue())
    rows = by_name(read("meld", root))
    for i, text in enumerate(texts):
        found = rows[f"dev_dia0_utt{i}"]["transcription"]
        assert found == rows[f"dev_dia0_utt{i}"]["speaker"]
        kept = [char for char in text if char.isprintable() and char != " "]
        assert [char for char in found if char in kept] == kept


# The mini releases themselves


def mean_picture(path: Path) -> np.ndarray:
    """Frames of a video, and their mean colour."""
    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = video.read()
        if not there:
            return np.mean(frames, axis=(0, 1, 2)), len(frames)
        frames.append(frame)


def pitch(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return spectrum.argmax() * rate / len(samples)


def test_media_tell_the_class(releases):
    for source in ("ravdess", "crema_d"):
        root, labels = releases[source]
        rows = by_name(read(source, root))
        classes = list(dict.fromkeys(labels.values()))
        for name in list(labels)[7::7]:
            kind = classes.index(labels[name])
            samples, rate = soundfile.read(root / rows[name]["audio_file_name"])
            assert len(samples) == rate / 2
            assert pitch(samples, rate) == pytest.approx(150 * 1.25**kind, rel=0.05)
            colour, frames = mean_picture(root / rows[name]["video_file_name"])
            assert frames == 5
            hue = cv2.cvtColor(np.uint8([[colour]]), cv2.COLOR_BGR2HSV)[0, 0, 0]
            assert abs(int(hue) - 20 * kind) < 5


def test_clips_can_have_sound(tmp_path):
    av = pytest.importorskip("av")
    other_releases.meld(tmp_path, dialogues={"train": 1, "dev": 2, "test": 1}, sound=True)
    for number in (0, 5):
        path = tmp_path / f"MELD.Raw/train/train_splits/dia0_utt{number}.mp4"
        with av.open(str(path)) as container:
            rate = container.streams.audio[0].rate
            samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        assert abs(len(samples) / rate - 0.5) < 0.1
        assert pitch(samples, rate) == pytest.approx(150 * 1.25**number, rel=0.05)
        assert mean_picture(path)[1] == 5


def test_corrupt_clip_cannot_be_decoded(releases):
    root, _ = releases["meld"]
    rows = by_name(read("meld", root))
    assert not cv2.VideoCapture(str(root / rows["train_dia0_utt3"]["video_file_name"])).read()[0]
    assert cv2.VideoCapture(str(root / rows["train_dia0_utt4"]["video_file_name"])).read()[0]


@pytest.mark.parametrize("source", READERS)
def test_each_class_has_enough_utterances_for_a_study(releases, source):
    contents = read(source, releases[source][0])
    if source == "meld":
        table = pd.DataFrame(contents.utterances).merge(contents.folds, on="utterance_id")
        assert (table.groupby(["part", "label"]).size().unstack() >= 2).all(axis=None)
    else:
        assert min(Counter(row["label"] for row in contents.utterances).values()) >= 10
        assert len({row["speaker"] for row in contents.utterances}) >= 5
