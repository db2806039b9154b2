"""Small releases of the real corpora from their files to the tables, and whom and when a feature of IEMOCAP shows."""

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.common import extractors
from stages.common.params import Corpus
from stages.common.work_folder import shared
from stages.corpus import clips, iemocap
from stages.features.encoding import Encoder
from tests import iemocap_release, other_releases
from tests.conftest import ROOT, Study

MFCC = {"extractor": "mfcc", "coefficients": 5, "mel_bands": 11, "longest": 30}
GLOVE = 7
"""Numbers of a word's vector."""
LETTERS = {"text": "t", "video": "v", "audio": "a"}


def make_study(folder: Path, source: str, features: dict[str, dict], **changes) -> Study:
    """A study of the release in `raw/`, in a repository of its own."""
    study = Study(folder)
    study.environment["NUMBA_CACHE_DIR"] = str(shared(ROOT))  # where tests find what others have compiled
    letters = "".join(LETTERS[name] for name in features)
    study.set(
        corpus__source=source,
        corpus__root="raw",
        modalities={name: {"letter": LETTERS[name], "features": own} for name, own in features.items()},
        variants=[f"self_{letters}"],
        seeds=[1],
        headline__modalities=letters,
        model__hidden=6,
        train__protocol__patience=1,
        train__protocol__max_epochs=2,
        train__workers=1,
        **changes,
    )
    (folder / ".gitignore").write_text((folder / ".gitignore").read_text() + "/raw/\n/glove.txt\n")
    study.make_repository()
    return study


def check_outputs(study: Study, name: str) -> pd.DataFrame:
    """The study is complete, says of which corpus it is, and a second run does nothing; the folds."""
    variant = next((study.folder / "runs").iterdir())
    tested = pd.read_parquet(variant / "seed1/predictions.parquet")
    folds = pd.read_csv(study.folder / "data/folds.csv", dtype={"utterance_id": str})
    test = folds[folds["part"] == "test"]
    assert sorted(zip(tested["fold"], tested["utterance_id"], strict=True)) == sorted(
        zip(test["fold"], test["utterance_id"], strict=True)
    )
    scores = pd.read_csv(study.folder / "metrics/scores.csv")
    assert scores["fold"].tolist() == sorted(set(folds["fold"]))
    for table in ("table1.md", "table2.md"):
        assert name in (study.folder / "metrics" / table).read_text()
    assert (study.folder / "plots/confusion/recall.png").read_bytes().startswith(b"\x89PNG")
    assert (study.folder / "metrics/headline.json").exists()
    study.ok("git", "add", "-A")
    study.ok("git", "commit", "-qm", "study")
    assert re.findall("Running stage '(.*)'", study.ok("dvc", "repro")) == ["cost"]  # which always runs
    assert study.ok("git", "status", "--porcelain") == ""
    return folds


def lengths(study: Study, modality: str) -> dict[str, int]:
    names = pd.read_csv(study.folder / "data/corpus/utterances.csv", dtype=str)["utterance_id"]
    return dict(zip(names, np.load(study.folder / f"data/features/{modality}/lengths.npy").tolist(), strict=True))


def write_glove(path: Path) -> None:
    """Vectors of some of the words that the release speaks."""
    rng = np.random.default_rng(3)
    words = ["it", "is", "we", "won", "she", "the", "table", "'s", "!", "?", "...", "."]
    path.write_text("".join(f"{word} {' '.join(f'{x:.5f}' for x in rng.standard_normal(GLOVE))}\n" for word in words))


def test_iemocap_end_to_end(tmp_path):
    spoken = iemocap_release.build(tmp_path / "raw/IEMOCAP_full_release", sessions=2, dialogues=1, utterances=14)
    write_glove(tmp_path / "glove.txt")
    features = {
        "text": {"extractor": "glove", "weights": "glove.txt"},
        "video": {"extractor": "resnet101", "weights": "random", "longest": 1},
        "audio": MFCC,
    }
    study = make_study(tmp_path, "iemocap", features)
    said = study.ok("dvc", "repro")
    folds = check_outputs(study, "not real: random weights for video")
    table = pd.read_csv(tmp_path / "metrics/table1.csv")
    assert not {"paper_mean", "difference"} & set(table)
    assert "paper's number" not in (tmp_path / "metrics/table1.md").read_text()
    kept = [own for own in spoken if own.label not in iemocap_release.OTHERS]
    assert len(kept) == 28
    contents = iemocap.read(Corpus(source="iemocap", root=str(tmp_path / "raw")))
    assert folds.values.tolist() == contents.folds.values.tolist()
    assert folds.groupby("fold").size().tolist() == [28] * 5
    by_name = {own.name: own for own in kept}
    for name, length in lengths(study, "audio").items():
        samples = round((by_name[name].end - by_name[name].start) * iemocap_release.RATE)
        assert length == min(30, 1 + (samples - 400) // 160)
    assert set(lengths(study, "video").values()) <= {0, 1}
    assert np.load(tmp_path / "data/features/video/frames.npy").shape[1] == 2048
    assert np.load(tmp_path / "data/features/text/embedding.npy").shape[1] == GLOVE
    made = json.loads((tmp_path / "data/features/video/meta.json").read_text())["made"]
    assert made["weights"] == "random"
    assert str(tmp_path) not in said + "".join(p.read_text() for p in (tmp_path / "data").rglob("meta.json"))


class Reader:
    """An extractor that reads the coded colours: each picture's frame number and side, 0 for left."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.array([[iemocap_release.decode(own), iemocap_release.side(own) == "right"] for own in frames])


def test_each_utterance_of_iemocap_shows_its_own_speaker_at_its_own_time(tmp_path, monkeypatch):
    spoken = iemocap_release.build(tmp_path, sessions=[2], dialogues=2, utterances=17, media=("text", "video"))
    corpus = Corpus(source="iemocap", root=str(tmp_path))
    table = pd.DataFrame(iemocap.read(corpus).utterances)
    module = type(sys)("stages.features.resnet101")
    module.make = lambda *_: Reader()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings = extractors.Resnet101(extractor="resnet101", longest=3)
    jobs, places = clips.jobs(corpus, clips.column_of("video", settings, table), table)
    found = [Encoder(settings, "video")(job) for job in jobs]
    by_name, sides = {own.name: own for own in spoken}, set()
    for name, (job, part) in zip(table["utterance_id"], places, strict=True):
        own = by_name[name]
        speaker, marked = name.split("_")[-1][0], name[5]
        right = speaker != marked  # who wears the markers sits on the left
        written = int(
            (max(other.end for other in spoken if other.dialogue == own.dialogue) - 0.2)
            * iemocap_release.FRAMES_PER_SECOND
        )
        end = min(own.end, written / iemocap_release.FRAMES_PER_SECOND)
        times = [own.start + i / 3 for i in range(3) if own.start + i / 3 < end - 1e-6]
        expected = [[math.floor(time * iemocap_release.FRAMES_PER_SECOND + 1e-6), right] for time in times]
        assert found[job][part].tolist() == expected, name
        sides.add((marked, right))
    assert sides == {("F", True), ("F", False), ("M", True), ("M", False)}
    assert sum(len(own) for parts in found for own in parts) > 60


@pytest.mark.long
def test_ravdess_end_to_end(tmp_path):
    made = other_releases.ravdess(tmp_path / "raw", actors=5)
    video = {"extractor": "resnet101", "weights": "random", "resize": 224, "longest": 1}
    study = make_study(tmp_path, "ravdess", {"video": video, "audio": MFCC}, split__scheme="leave_speaker_out")
    study.ok("dvc", "repro")
    folds = check_outputs(study, "RAVDESS")
    assert sorted(set(folds["utterance_id"])) == sorted(made)
    test = folds[folds["part"] == "test"]
    for fold, own in test.groupby("fold"):
        assert len({name[-2:] for name in own["utterance_id"]}) == 1, fold
    assert set(lengths(study, "video").values()) == {1}


@pytest.mark.long
def test_crema_d_end_to_end(tmp_path):
    made = other_releases.crema_d(tmp_path / "raw", actors=5)
    video = {"extractor": "resnet101", "weights": "random", "resize": 224, "longest": 1}
    study = make_study(tmp_path, "crema_d", {"video": video, "audio": MFCC})
    said = study.ok("dvc", "repro")
    folds = check_outputs(study, "CREMA-D")
    assert set(folds["utterance_id"]) == set(made)
    assert "warning" in said
    assert "1001_IEO_ANG_XX.flv" in said
    assert [name for name, length in lengths(study, "video").items() if not length] == ["1001_IEO_ANG_XX"]


@pytest.mark.long
def test_meld_end_to_end(tmp_path):
    pytest.importorskip("av")
    made = other_releases.meld(tmp_path / "raw", sound=True)
    study = make_study(tmp_path, "meld", {"audio": MFCC})
    said = study.ok("dvc", "repro")
    folds = check_outputs(study, "MELD")
    assert set(folds["fold"]) == {1}
    assert dict(zip(folds["utterance_id"], folds["part"], strict=True)) == {name: name.split("_")[0] for name in made}
    assert re.search(r"warning: .*dia0_utt3\.mp4", said)
    assert sorted(name for name, length in lengths(study, "audio").items() if not length) == [
        "dev_dia1_utt5",
        "train_dia0_utt3",
    ]
