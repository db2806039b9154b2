"""The corpus that espeak-ng speaks is one that the reader of IEMOCAP's release takes."""

import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile

from benchmarks import spoken_corpus
from benchmarks.spoken_corpus import CORPUS, PROGRAM, VECTORS, build, set_params, write_vectors
from stages.common import media
from stages.common.errors import UserError
from stages.common.params import Corpus
from stages.corpus import iemocap
from stages.features.glove import tokenise

pytestmark = pytest.mark.skipif(not shutil.which(PROGRAM), reason=f"{PROGRAM} is not on PATH")
UTTERANCES = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("spoken") / CORPUS
    build(root, sessions=(2, 5), dialogues=1, utterances=UTTERANCES)
    write_vectors(root.parent / VECTORS)
    return root


@pytest.fixture(scope="module")
def read(root):
    return iemocap.read(Corpus(source="iemocap", root=str(root.parent), classes="four"))


def test_the_reader_finds_every_utterance_with_all_its_media(read):
    assert read.problems == []
    assert read.meta.modalities == ["text", "audio", "video"]
    assert read.meta.classes == ["angry", "happy", "sad", "neutral"]
    # the cycle's first labels in each of two dialogues: neu ang hap sad neu
    assert Counter(own["label"] for own in read.utterances) == {"angry": 2, "happy": 2, "sad": 2, "neutral": 4}


def test_a_sound_is_as_long_as_its_label_says_and_utterances_follow_each_other(root, read):
    ends = {}
    for own in sorted(read.utterances, key=lambda own: own["video_start"]):
        info = soundfile.info(root.parent / own["audio_file_name"])
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert info.duration == pytest.approx(own["video_end"] - own["video_start"], abs=2e-4)
        assert own["video_start"] > ends.get(own["dialogue"], 0)
        ends[own["dialogue"]] = own["video_end"]


def test_only_the_speakers_half_moves_its_mouth(root, read):
    for path in {root.parent / own["video_file_name"] for own in read.utterances}:
        with media.Video(path) as video:
            assert video.info.rate == pytest.approx(29.97)
            frames = [frame for _, frame in video.frames(range(video.info.frames))]
        assert frames[0].shape == (480, 720, 3)
        assert max(frame[rows].max() for frame in frames[::10] for rows in (slice(104), slice(376, None))) < 20
        reds = np.array([red_of_halves(frame) for frame in frames])
        for own in (own for own in read.utterances if root.parent / own["video_file_name"] == path):
            first, last = (int(own[f"video_{what}"] * 29.97) for what in ("start", "end"))
            assert last < len(frames)
            assert ("left", "right")[reds[first + 3 : last].std(axis=0).argmax()] == own["video_crop"]


def red_of_halves(frame):
    """How many pixels are the mouth's red: more while it is open."""
    red = frame[..., 0] > frame[..., 1].astype(int) + 60
    return [red[:, :360].sum(), red[:, 360:].sum()]


def test_every_word_has_a_vector(root, read):
    lines = (root.parent / VECTORS).read_text().splitlines()
    words = {line.split(" ")[0] for line in lines}
    assert len(words) == len(lines)
    assert all(set(tokenise(own["transcription"])) <= words for own in read.utterances)


def test_the_same_seed_gives_the_same_bytes(root, tmp_path):
    build(tmp_path, sessions=(5,), dialogues=1, utterances=UTTERANCES)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(files) == UTTERANCES + 3
    assert all(path.read_bytes() == (root / path.relative_to(tmp_path)).read_bytes() for path in files)


def test_check_finds_no_problem(root, study):
    shutil.copytree(root, study.folder / CORPUS)
    shutil.copy(root.parent / VECTORS, study.folder)
    set_params(study.folder / "params.yaml")
    done = study.stage("corpus", "--check")
    assert done.returncode == 0, done.stderr
    assert "problems: none" in done.stdout


def test_without_the_program_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_corpus, "PROGRAM", "no-such-program")
    with pytest.raises(UserError, match="no-such-program: must be on PATH, but is not"):
        build(tmp_path)
