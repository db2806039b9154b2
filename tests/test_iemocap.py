"""IEMOCAP is read as its release is described, with all that is odd in it."""

import random
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.corpus import check_folds
from stages.common.errors import UserError
from stages.common.params import Corpus
from stages.corpus import iemocap, iemocap_folds, writer
from stages.corpus.contents import Contents
from stages.corpus.iemocap_labels import LABELS, read_labels, read_transcript
from tests import iemocap_release
from tests.iemocap_release import build

HEAD = "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]"
FIRST = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
SPOKEN = "Session1/dialog/transcriptions/Ses01F_impro01.txt"
SEEN = "Session1/dialog/avi/DivX/Ses01F_impro01.avi"
HEARD = "Session1/sentences/wav/Ses01F_impro01"


def read(root, **settings) -> Contents:
    return iemocap.read(Corpus(source="iemocap", root=str(root), **settings))


def label_file(folder, text: str | bytes, name="Ses01F_impro01"):
    path = folder / f"{name}.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def sham(root, sessions=2, utterances=24, **sizes):
    """A release whose media are not media, which reading does not open."""
    spoken = build(root, sessions=sessions, utterances=utterances, media=("text",), **sizes)
    for own in spoken:
        session = root / f"Session{own.dialogue[4]}"
        for path in (
            session / "sentences/wav" / own.dialogue / f"{own.name}.wav",
            session / "dialog/avi/DivX" / f"{own.dialogue}.avi",
        ):
            iemocap_release.write(path, "sound and pictures")
    return spoken


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release with sound and pictures, and what is spoken in it."""
    root = tmp_path_factory.mktemp("iemocap") / "IEMOCAP_full_release"
    return root, build(root, sessions=[3], utterances=7)


# ---- what is read


def test_every_utterance_with_what_the_release_says_of_it(tmp_path):
    spoken = sham(tmp_path)
    contents = read(tmp_path)
    names = {"ang": "angry", "hap": "happy", "exc": "excited", "sad": "sad", "neu": "neutral"}
    names |= {"fru": "frustrated", "sur": "surprise"}
    kept = sorted((own for own in spoken if own.label in names), key=lambda own: own.name)
    texts = iemocap_release.WORDS | {"neu": "Yes"}  # cut at its colon
    assert len(spoken) == 96
    assert contents.utterances == [
        {
            "utterance_id": own.name,
            "speaker": own.name[:5] + own.name.split("_")[-1][0],
            "session": f"Session{own.name[4]}",
            "dialogue": own.dialogue,
            "label": names[own.label],
            "valence": own.ratings[0],
            "activation": own.ratings[1],
            "dominance": own.ratings[2],
            "transcription": texts[own.label],
            "audio_file_name": f"Session{own.name[4]}/sentences/wav/{own.dialogue}/{own.name}.wav",
            "audio_start": "",
            "audio_end": "",
            "video_file_name": f"Session{own.name[4]}/dialog/avi/DivX/{own.dialogue}.avi",
            "video_start": own.start,
            "video_end": own.end,
            "video_crop": "left" if own.name[5] == own.name.split("_")[-1][0] else "right",
        }
        for own in kept
    ]
    assert {row["valence"] == "" for row in contents.utterances} == {True, False}
    assert Counter(row["label"] for row in contents.utterances) == dict.fromkeys(iemocap.CLASS_COUNTS, 12)
    assert contents.meta.corpus == "IEMOCAP (sessions 1, 2)"
    assert contents.meta.classes == list(iemocap.CLASS_COUNTS)
    assert contents.meta.modalities == ["text", "audio", "video"]
    assert contents.problems == []


def test_what_is_read_can_be_written(tmp_path):
    sham(tmp_path / "release")
    contents = read(tmp_path / "release")
    writer.write(tmp_path / "corpus", meta=contents.meta, utterances=contents.utterances, folds=contents.folds)
    assert (tmp_path / "corpus/folds.csv").read_text().count("\n") == 1 + 5 * 84


def test_the_times_and_halves_show_the_speaker(release):
    root, spoken = release
    for row in read(root).utterances:
        own = next(own for own in spoken if own.name == row["utterance_id"])
        video = cv2.VideoCapture(str(root / row["video_file_name"]))
        assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(29.97)
        number = round(row["video_start"] * 29.97)
        for _ in range(number + 1):
            frame = video.read()[1][..., ::-1]
        halves = {"left": frame[:, :360], "right": frame[:, 360:]}
        half = halves[row["video_crop"]]
        assert iemocap_release.decode(half) == iemocap_release.decode(half[128:352, 68:292]) == number
        assert iemocap_release.side(half) == ("left" if own.name[5] == own.name[-4] else "right")
        assert frame[:110].max() < 30
        sound, rate = soundfile.read(root / row["audio_file_name"])
        assert (rate, sound.ndim) == (16_000, 1)
        assert len(sound) == round((row["video_end"] - row["video_start"]) * 16_000)


def test_the_release_ends_its_videos_before_the_last_utterance(release):
    root, spoken = release
    for dialogue in {own.dialogue for own in spoken}:
        video = cv2.VideoCapture(str(root / f"Session3/dialog/avi/DivX/{dialogue}.avi"))
        length = video.get(cv2.CAP_PROP_FRAME_COUNT) / 29.97
        assert length < max(own.end for own in spoken if own.dialogue == dialogue)
    with pytest.raises(ValueError, match="not half a picture"):
        iemocap_release.decode(iemocap_release.picture(5))


def test_dialogues_are_in_the_order_of_their_paths_and_utterances_of_their_names(tmp_path):
    spoken = sham(tmp_path, sessions=[5, 2], dialogues=6, utterances=11)
    random.Random(0).shuffle(spoken)
    names = [row["utterance_id"] for row in read(tmp_path, labels={"xxx": "none"}).utterances]
    paths = {own.dialogue: f"Session{own.name[4]}/{own.dialogue}.txt".encode() for own in spoken}
    kept = [own for own in spoken if own.label not in ("fea", "dis", "oth")]
    assert names == [own.name for own in sorted(kept, key=lambda own: (paths[own.dialogue], own.name.encode()))]
    assert names.index("Ses02F_script01_1b_F000") < names.index("Ses02M_impro05a_F000") < names.index(names[-1])


def test_the_same_release_gives_the_same_contents_wherever_it_lies(tmp_path):
    sham(tmp_path / "IEMOCAP_full_release")
    shutil.copytree(tmp_path / "IEMOCAP_full_release", tmp_path / "other" / "name")
    first, second = read(tmp_path / "IEMOCAP_full_release"), read(tmp_path / "other" / "name")
    assert (first.meta, first.utterances, first.problems, first.notes) == (
        second.meta,
        second.utterances,
        second.problems,
        second.notes,
    )
    assert first.folds.equals(second.folds)
    above = read(tmp_path)
    for row in above.utterances:
        assert (tmp_path / row["audio_file_name"]).is_file()
        assert (tmp_path / row["video_file_name"]).is_file()
    assert [row | {"audio_file_name": "", "video_file_name": ""} for row in above.utterances] == [
        row | {"audio_file_name": "", "video_file_name": ""} for row in first.utterances
    ]


# ---- classes


def test_the_four_classes_have_happy_and_excited_as_one(tmp_path):
    sham(tmp_path)
    contents = read(tmp_path, classes="four")
    assert contents.meta.classes == ["angry", "happy", "sad", "neutral"]
    assert contents.meta.corpus == "IEMOCAP (4 classes; sessions 1, 2)"
    assert Counter(row["label"] for row in contents.utterances) == {"angry": 12, "happy": 24, "sad": 12, "neutral": 12}


def test_seven_is_what_null_means(tmp_path):
    sham(tmp_path)
    null, seven = read(tmp_path), read(tmp_path, classes="seven")
    assert (null.meta, null.utterances) == (seven.meta, seven.utterances)


def test_a_list_of_classes_and_labels_of_ones_own(tmp_path):
    spoken = sham(tmp_path)
    labels = {"xxx": "unclear", "exc": "happy", "fru": None, "sur": None}
    contents = read(tmp_path, labels=labels, classes=["sad", "unclear", "happy", "angry", "neutral"])
    assert contents.meta.classes == ["sad", "unclear", "happy", "angry", "neutral"]
    assert contents.meta.corpus == "IEMOCAP (5 classes; sessions 1, 2)"
    counts = Counter(row["label"] for row in contents.utterances)
    assert counts == {"sad": 12, "unclear": 8, "happy": 24, "angry": 12, "neutral": 12}
    assert len(contents.utterances) == sum(own.label in ("sad", "xxx", "hap", "exc", "ang", "neu") for own in spoken)


def test_classes_beyond_the_papers_come_last(tmp_path):
    sham(tmp_path)
    contents = read(tmp_path, labels={"xxx": "a new one"})
    assert contents.meta.classes == [*iemocap.CLASS_COUNTS, "a new one"]
    assert contents.meta.corpus == "IEMOCAP (8 classes; sessions 1, 2)"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"classes": list(iemocap.CLASS_COUNTS)[::-1]}, "IEMOCAP"),
        ({"labels": {"ang": "angry", "xxx": None}}, "IEMOCAP"),
        ({"labels": {"ang": "sad", "sad": "angry"}}, "IEMOCAP (7 classes)"),
        ({"labels": {"sur": None, "xxx": "surprise"}}, "IEMOCAP (7 classes)"),
        ({"labels": {"sur": None}}, "IEMOCAP (6 classes)"),
    ],
)
def test_only_the_papers_classes_are_called_iemocap(tmp_path, settings, name):
    sham(tmp_path, sessions=5)
    assert read(tmp_path, **settings).meta.corpus == name


def test_labels_must_be_the_releases(tmp_path):
    sham(tmp_path)
    with pytest.raises(UserError, match=r"corpus\.labels must map IEMOCAP's labels ang, .*, xxx, but has 'joy'"):
        read(tmp_path, labels={"ang": "angry", "joy": "happy"})


def test_fewer_than_two_classes(tmp_path):
    sham(tmp_path)
    with pytest.raises(UserError, match="two or more classes, but has angry"):
        read(tmp_path, labels=dict.fromkeys(("hap", "exc", "sad", "neu", "fru", "sur")))
    with pytest.raises(UserError, match=r"corpus\.classes.*excited.*can leave it out"):
        read(tmp_path, classes=["angry", "happy", "sad", "frustrated", "surprise", "neutral"])


# ---- folds


@pytest.mark.parametrize(
    ("utterances", "sizes"),
    [
        (7487, [(6058, 404, 1025), (5934, 497, 1056), (5975, 483, 1029), (5962, 474, 1051), (6019, 428, 1040)]),
        (5531, [(4445, 313, 773), (4374, 386, 771), (4399, 353, 779), (4432, 343, 756), (4474, 307, 750)]),
    ],
)
def test_the_folds_have_the_sizes_that_the_authors_printed(utterances, sizes):
    folds = iemocap_folds.folds([f"u{number}" for number in range(utterances)])
    check_folds(folds)
    counts = folds.groupby(["fold", "part"]).size()
    assert [tuple(int(counts[fold, part]) for part in ("train", "dev", "test")) for fold in range(1, 6)] == sizes


def test_the_folds_are_what_the_authors_draws_give():
    ids = [f"u{number}" for number in range(131)]
    random.seed(337)
    drawn = [random.random() for _ in ids]
    limits = [(0.8, 2), (0.6, 0.8), (0.4, 0.6), (0.2, 0.4), (-1, 0.2)]
    expected = []
    for fold, (low, high) in enumerate(limits, start=1):
        random.seed(3372)
        for name, value in zip(ids, drawn, strict=True):
            dev = random.random() > 0.70
            part = ("dev" if dev else "test") if low < value <= high else "train"
            expected.append((fold, name, part))
    assert list(iemocap_folds.folds(ids).itertuples(index=False, name=None)) == expected


def test_the_folds_leave_pythons_own_draws_alone():
    random.seed(5)
    first = random.random()
    random.seed(5)
    iemocap_folds.folds(["a", "b"])
    assert random.random() == first


def test_the_folds_are_of_the_utterances_that_are_kept(tmp_path):
    sham(tmp_path)
    for classes in ("seven", "four"):
        contents = read(tmp_path, classes=classes)
        names = [row["utterance_id"] for row in contents.utterances]
        assert contents.folds.equals(iemocap_folds.folds(names))


# ---- notes


def test_the_full_releases_counts_are_recognised(tmp_path):
    spoken = full(tmp_path)
    assert len(spoken) == 10_039
    contents = read(tmp_path)
    assert len(contents.utterances) == 7487
    assert contents.notes[:2] == [
        "7487 utterances of 151 dialogues: angry 1103, excited 1041, happy 595, sad 1084, frustrated 1849, surprise "
        "107, neutral 1708: the counts of the full release",
        "2552 utterances with other labels are left out",
    ]
    assert (
        read(tmp_path, classes="four")
        .notes[0]
        .startswith("5531 utterances of 151 dialogues: angry 1103, happy 1636, sad 1084, neutral 1708: the counts")
    )
    counts = contents.folds.query("fold == 1")["part"].value_counts()
    assert (counts["train"], counts["dev"], counts["test"]) == (6058, 404, 1025)


def full(root) -> list[str]:
    """Label files of 151 dialogues with as many utterances of each label as the release has; no media."""
    labels = [label for label, count in LABELS.items() for _ in range(count)]
    dialogues = [
        f"Ses0{session}{letter}_script{number:02d}_1"
        for session, count in enumerate((28, 30, 32, 30, 31), start=1)
        for number in range(1, 17)
        for letter in "FM"
        if 2 * number - (letter == "F") <= count
    ]
    for position, dialogue in enumerate(dialogues):
        path = root / f"Session{dialogue[4]}/dialog/EmoEvaluation/{dialogue}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        own = labels[position :: len(dialogues)]
        path.write_text(
            "\n".join(f"[{n}.0 - {n}.9]\t{dialogue}_F{n:03d}\t{label}\t[1, 2, 3]" for n, label in enumerate(own))
        )
        (root / f"Session{dialogue[4]}/dialog/transcriptions").mkdir(exist_ok=True)
    return labels


def test_sessions_that_are_missing_are_named(tmp_path):
    sham(tmp_path, sessions=[2, 5])
    note = read(tmp_path).notes[0]
    assert note.startswith("84 utterances of 4 dialogues: angry 12, excited 12,")
    assert note.endswith("; of the five sessions only 2, 5 are there")


def test_five_sessions_with_other_counts_are_warned_of(tmp_path):
    sham(tmp_path, sessions=5, dialogues=1)
    notes = read(tmp_path, classes="four").notes
    assert notes[0] == (
        "warning: 75 utterances of 5 dialogues: angry 15, happy 30, sad 15, neutral 15; the full release has 5531 of "
        "151: angry 1103, happy 1636, neutral 1708, sad 1084"
    )
    assert notes[1] == "45 utterances with other labels are left out"


# ---- label files


@pytest.mark.parametrize(
    "line",
    [
        HEAD,
        HEAD + "\r",
        HEAD + " \t ",
        "  " + HEAD,
        HEAD.replace("\t", "  "),
        HEAD.replace("\t", " \t"),
        HEAD.replace("[6.2901 - 8.2357]", "[ 6.2901-8.2357 ]"),
        HEAD.replace(", ", ",  "),
    ],
)
def test_blanks_in_a_head_mean_nothing(tmp_path, line):
    (utterance,) = read_labels(label_file(tmp_path, f"% header\n\n{line}\nC-E2:\tNeutral;\t()\n"))
    assert (utterance.name, utterance.start, utterance.end) == ("Ses01F_impro01_F000", 6.2901, 8.2357)
    assert (utterance.label, utterance.ratings) == ("neu", (2.5, 2.5, 2.5))


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ("\t[2.5, 3, 4.25]", (2.5, 3.0, 4.25)),
        ("\t[, 3.0000, ]", ("", 3.0, "")),
        ("\t[NaN, inf, 1e400]", ("", "", "")),
        ("\t[2.5, 3.0]", ("", "", "")),
        ("\t[]", ("", "", "")),
        ("", ("", "", "")),
    ],
)
def test_ratings_that_are_no_numbers_are_unknown(tmp_path, ratings, expected):
    path = label_file(tmp_path, HEAD.rpartition("\t")[0] + ratings)
    assert read_labels(path)[0].ratings == expected


def test_what_raters_say_is_not_read(tmp_path):
    lines = [
        HEAD,
        "C-F1:\tFrustration; Anger; Other;\t([1.0 - 2.0]\tSes01F_impro01_F009\tang)",
        "A-E3:\tval  ; act ; dom  3;\t()",
        "caf\xe9 \x85 \x92 \x81 \x0c[1",
        "[comment]",
        "",
        HEAD.replace("F000", "M000"),
    ]
    path = label_file(tmp_path, "\r\n".join(lines).encode("latin-1"))
    assert [utterance.name[-4:] for utterance in read_labels(path)] == ["F000", "M000"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_any_encoding_of_comments(tmp_path, encoding):
    path = label_file(tmp_path, f"{HEAD}\nC-E2:\tNeutral;\t(naïve – “so”)\n".encode(encoding))
    assert len(read_labels(path)) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (HEAD.replace("]\tSes", "\tSes"), "a line of this kind must be"),
        (HEAD.replace("6.2901", "6.29.01"), "a line of this kind must be"),
        (HEAD.replace("6.2901", "-6.2901"), "a line of this kind must be"),
        (HEAD.replace("6.2901", "٦"), None),
        (HEAD.replace("8.2357", "٨"), "a line of this kind must be"),
        (HEAD.replace("neu", "neutral"), "a line of this kind must be"),
        (HEAD[:-1], "a line of this kind must be"),
        (HEAD.replace("neu", "joy"), "the label must be one of ang, .* but is joy"),
        (HEAD.replace("8.2357", "6.2901"), "the end must be after the start"),
        (HEAD.replace("Ses01F_impro01_F000", "Ses01F_impro01_F00"), "Ses01F_impro01_ with F or M and three digits"),
        (HEAD.replace("Ses01F_impro01_F000", "Ses01F_impro02_F000"), "Ses01F_impro01_ with F or M and three digits"),
        (HEAD.replace("Ses01F_impro01_F000", "Ses01F_impro01_F٠٠٠"), "Ses01F_impro01_ with F or M and three digits"),
        (HEAD.replace("Ses01F_impro01_F000", "Ses01F_impro01_X000"), "Ses01F_impro01_ with F or M and three digits"),
        (HEAD.replace("Ses01F_impro01_F000", "../../../etc_F000"), "Ses01F_impro01_ with F or M and three digits"),
        (HEAD.replace("Ses01F_impro01_F000", "Ses01F_impro01_F000/"), "Ses01F_impro01_ with F or M and three digits"),
        (HEAD.replace("F000", "M007"), "must be there once, but Ses01F_impro01_M007 is in line 3 too"),
    ],
)
def test_a_head_that_breaks_a_rule(tmp_path, wrong, message):
    path = label_file(tmp_path, f"% header\n\n{HEAD.replace('F000', 'M007')}\nC-E2:\tNeutral;\t()\n\n{wrong}\n")
    if message is None:  # no line of a head's kind
        assert len(read_labels(path)) == 1
        return
    with pytest.raises(UserError, match=rf"Ses01F_impro01\.txt: line 6: .*{message}"):
        read_labels(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"% header\n\n", r"must have a line \[start - end\].* but has none"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    ],
)
def test_a_label_file_without_labels(tmp_path, content, message):
    sham(tmp_path)
    (tmp_path / FIRST).write_bytes(content)
    with pytest.raises(UserError, match=rf"Ses01F_impro01\.txt: .*{message}"):
        read(tmp_path)


def test_a_label_file_in_another_sessions_folder(tmp_path):
    sham(tmp_path)
    shutil.copy(tmp_path / FIRST, tmp_path / "Session2/dialog/EmoEvaluation/Ses01F_impro01.txt")
    with pytest.raises(UserError, match=r"Session2.*Ses01F_impro01\.txt: must be of session 2.* but is of session 1"):
        read(tmp_path)


def test_other_files_and_folders_among_the_labels_are_left_alone(tmp_path):
    spoken = sham(tmp_path)
    folder = tmp_path / "Session1/dialog/EmoEvaluation"
    for name in ("notes.txt", "Ses01F_impro01 (copy).txt", "Ses01F_impro01.txt~", "Ses06F_impro01.txt"):
        (folder / name).write_text("[1 is no head")
    (folder / "Ses01F_impro09.txt").mkdir()
    assert len(read(tmp_path).utterances) == sum(own.label in iemocap.SEVEN for own in spoken)


# ---- transcripts


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.", "Excuse me."),
        ("Ses01F_impro01_F000 [006.2901-008.2357]: Yeah:  so what: no", "Yeah"),
        ("Ses01F_impro01_F000 [006.2901-008.2357]:[LAUGHTER] a\tb  c \r", "[LAUGHTER] a b c"),
        ("  Ses01F_impro01_F000  [6.2-8]:\xa0a\x00\x1bb\u2028c\x85", "ab c"),
        ("Ses01F_impro01_F000[6.2-8] : don\u2019t", "don\u2019t"),
        ("Ses01F_impro01_F000 [6.2-8]:", ""),
        ("M: [LAUGHTER] no: yes", None),
        ("Ses01F_impro01_F000: no", None),
        ("Ses01F_impro01_F000 no time", None),
    ],
)
def test_lines_of_transcripts(tmp_path, line, text):
    path = label_file(tmp_path, f"F: x\n{line}\nSes01F_impro01_M000 [1.0-2.0]: other\n")
    transcript = read_transcript(path)
    assert transcript.get("Ses01F_impro01_F000") == text
    assert transcript["Ses01F_impro01_M000"] == "other"


def test_of_several_lines_of_an_utterance_the_last_counts(tmp_path):
    assert read_transcript(label_file(tmp_path, "a [1-2]: first\na [1-2]: second\n")) == {"a": "second"}


def test_utterances_without_a_text_are_named(tmp_path):
    sham(tmp_path)
    path = tmp_path / SPOKEN
    name = read(tmp_path).utterances[2]["utterance_id"]
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith(name)))
    contents = read(tmp_path)
    assert contents.problems == [f"{SPOKEN} has no text of {name}"]
    assert [row["utterance_id"] for row in contents.utterances if not row["transcription"]] == [name]


# ---- media


def test_a_file_that_is_unusable_is_named_once(tmp_path):
    sham(tmp_path)
    row = read(tmp_path).utterances[3]
    (tmp_path / row["audio_file_name"]).unlink()
    (tmp_path / SEEN).write_bytes(b"")
    (tmp_path / SPOKEN).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    contents = read(tmp_path)
    assert contents.problems == [
        f"{SPOKEN} is a pointer of Git LFS, not the file itself: `git lfs pull` fetches it: 21 utterances are without "
        "text",
        f"{row['audio_file_name']} is missing: 1 utterance is without audio",
        f"{SEEN} is empty: 21 utterances are without video",
    ]
    first = [own for own in contents.utterances if own["dialogue"] == "Ses01F_impro01"]
    assert {own["video_file_name"] for own in first} == {own["transcription"] for own in first} == {""}
    assert [own["utterance_id"] for own in contents.utterances if not own["audio_file_name"]] == [row["utterance_id"]]
    assert sum(not own["video_file_name"] for own in contents.utterances) == 21
    writer.write(tmp_path / "corpus", meta=contents.meta, utterances=contents.utterances, folds=contents.folds)


def test_a_folder_that_is_missing_is_named_once(tmp_path):
    sham(tmp_path / "IEMOCAP_full_release")
    release = tmp_path / "IEMOCAP_full_release"
    shutil.rmtree(release / HEARD)
    shutil.rmtree(release / "Session2/dialog/avi")
    shutil.rmtree(release / "Session2/dialog/transcriptions")
    contents = read(tmp_path)
    assert contents.problems == [
        "IEMOCAP_full_release/Session2/dialog/transcriptions is missing: 42 utterances are without text",
        f"IEMOCAP_full_release/{HEARD} is missing: 21 utterances are without audio",
        "IEMOCAP_full_release/Session2/dialog/avi is missing: 42 utterances are without video",
    ]
    assert contents.meta.modalities == ["text", "audio", "video"]


@pytest.mark.parametrize(
    ("place", "column", "modality"),
    [
        ("dialog/transcriptions", "transcription", "text"),
        ("sentences", "audio_file_name", "audio"),
        ("dialog/avi", "video_file_name", "video"),
    ],
)
def test_a_modality_that_no_session_has_is_left_out(tmp_path, place, column, modality):
    sham(tmp_path)
    columns = set(read(tmp_path).utterances[0])
    for session in (1, 2):
        shutil.rmtree(tmp_path / f"Session{session}" / place)
    contents = read(tmp_path)
    assert contents.meta.modalities == [name for name in ("text", "audio", "video") if name != modality]
    gone = {name for name in columns if name == column or name.startswith(modality)}
    assert {column} <= gone
    assert set(contents.utterances[0]) == columns - gone
    assert contents.problems == []
    assert contents.notes[-1].endswith(f": there is no {modality}")


def test_a_release_of_labels_alone(tmp_path):
    build(tmp_path, media=())
    with pytest.raises(UserError, match="must hold one of dialog/transcriptions, sentences/wav, dialog/avi/DivX"):
        read(tmp_path)


def test_links_are_followed(tmp_path):
    sham(tmp_path / "disk")
    (tmp_path / "release").mkdir()
    for session in (1, 2):
        (tmp_path / f"release/Session{session}").symlink_to(tmp_path / f"disk/Session{session}")
    assert read(tmp_path / "release").utterances == read(tmp_path / "disk").utterances


# ---- the wrong folder


@pytest.mark.parametrize(
    ("root", "other"),
    [
        (".", "corpora"),
        ("corpora/Session1", "corpora"),
        ("corpora/Session1/dialog/EmoEvaluation", "corpora"),
        ("corpora/Session2/dialog", "corpora"),
    ],
)
def test_another_folder_of_the_release_is_recognised(tmp_path, root, other):
    build(tmp_path / "corpora", utterances=3, media=("text",))
    with pytest.raises(UserError, match=r"must be the folder IEMOCAP_full_release.*none of them; .*") as error:
        read(tmp_path / root)
    assert str(error.value).endswith(f"; {tmp_path / other} does")


def test_folders_without_a_release(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"but holds none of them$"):
        read(tmp_path / "empty")
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "absent")
    (tmp_path / "Session4/dialog").mkdir(parents=True)
    with pytest.raises(UserError, match=r"must hold label files such as .* but has none in Session4"):
        read(tmp_path)


# ---- any damage


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    build(root, sessions=1, dialogues=1, utterances=7, media=("text",))
    return root, (root / FIRST).read_bytes(), (root / SPOKEN).read_bytes()


PIECES = st.one_of(
    st.binary(max_size=7),
    st.sampled_from(
        [b"[", b"]", b"\t", b"\n", b"\r", b"\n[1", b"\n[1 - 2]\t", b":", b",", b"-", b"\x00", b"\xef\xbb\xbf"]
    ),
    st.sampled_from([b"Ses01F_impro01_F000", b"../", b"1e999", b"nan", b"xxx", "٣".encode(), b"9" * 400]),
)
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 41), PIECES), min_size=1, max_size=3)


def damaged(content: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    for where, length, piece in damage:
        start = int(where * len(content))
        content = content[:start] + piece + content[start + length :]
    return content


@given(labels=DAMAGE, transcript=DAMAGE)
@settings(max_examples=100)
def test_damaged_files_are_read_or_named(small, labels, transcript):
    root, first, spoken = small
    (root / FIRST).write_bytes(damaged(first, labels))
    (root / SPOKEN).write_bytes(damaged(spoken, transcript))
    try:
        contents = read(root)
    except UserError as error:
        message = str(error)
        assert "Ses01F_impro01.txt: line " in message or "but has none" in message or "classes" in message
        assert "\n" not in message
        return
    contents.meta.check()
    check_folds(contents.folds, {row["utterance_id"] for row in contents.utterances})
    for row in contents.utterances:
        assert row["transcription"].isprintable()
        assert row["utterance_id"].startswith("Ses01F_impro01_")
        assert all(value == "" or np.isfinite(value) for value in (row["valence"], row["dominance"]))
