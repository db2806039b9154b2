"""What a stage says of its progress, by a made-up clock, and of its place in the study, from made-up notes."""

import re
import sys

import pytest

from stages.common import features, params, plan, predictions
from stages.common.progress import line
from stages.common.records import Record, RunId
from stages.plan.__main__ import make
from stages.train.engine import study, work
from stages.train.engine.progress import Progress
from stages.train.engine.study import Place, about
from stages.train.run_state import RunProgress
from tests.conftest import ROOT


class Clock:
    """Seconds since a stage began."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def followed(clock: Clock, runs: int, place: Place | None = None) -> Progress:
    """The progress of a stage with some folds of seed 1, of which nothing was heard yet."""
    progress = Progress("self_t", [RunId(1, fold) for fold in range(1, runs + 1)], place, clock)
    progress.__enter__()
    return progress


def tell(progress: Progress, clock: Clock, seconds: float, *folds: int, epochs: int, end: int) -> None:
    """At a time, some folds' runs have made some epochs."""
    clock.seconds = seconds
    for fold in folds:
        progress.update(RunId(1, fold), RunProgress(epochs, end, ("accuracy", 0.5) if epochs else None))


def test_a_stages_estimate_leaves_out_its_start_and_compilation(clock):
    progress = followed(clock, 5)
    tell(progress, clock, 7, 1, 2, epochs=0, end=10)
    assert progress.left() is None
    tell(progress, clock, 100, 1, 2, epochs=1, end=11)  # compiled meanwhile
    assert progress.left() is None
    tell(progress, clock, 103, 1, 2, epochs=2, end=12)
    # 10 epochs each of two runs, and 12 each of three that were not begun, two runs at a time, three seconds an epoch.
    assert progress.left() == pytest.approx((2 * 10 + 3 * 12) * 3 / 2)
    assert progress.warm_up() == pytest.approx(93 - 3)
    tell(progress, clock, 133, 1, 2, epochs=12, end=12)
    tell(progress, clock, 134, 3, 4, epochs=0, end=10)
    tell(progress, clock, 137, 3, 4, epochs=1, end=12)
    assert progress.left() == pytest.approx((2 * 11 + 12) * 3 / 2)
    assert progress.warm_up() == pytest.approx(90)
    tell(progress, clock, 170, 3, 4, epochs=12, end=12)
    tell(progress, clock, 173, 5, epochs=0, end=10)
    tell(progress, clock, 176, 5, epochs=1, end=11)
    assert progress.left() == pytest.approx(10 * 3)  # alone
    tell(progress, clock, 206, 5, epochs=11, end=11)
    assert progress.left() == 0


def test_epochs_before_a_checkpoint_take_no_time(clock):
    progress = followed(clock, 1)
    tell(progress, clock, 5, 1, epochs=40, end=50)
    tell(progress, clock, 30, 1, epochs=41, end=51)
    assert progress.left() is None
    tell(progress, clock, 32, 1, epochs=42, end=50)
    assert progress.left() == pytest.approx(8 * 2)
    tell(progress, clock, 60, 1, epochs=30, end=50)  # begun again elsewhere, from an earlier checkpoint
    tell(progress, clock, 70, 1, epochs=31, end=50)
    tell(progress, clock, 74, 1, epochs=32, end=50)
    assert progress.left() == pytest.approx(18 * 4)


def test_the_line_says_the_place_in_the_study(clock):
    place = Place(number=12, stages=42, done=100.0, seconds=300.0, own=20.0, later=40.0)
    progress = followed(clock, 2, place)
    tell(progress, clock, 1, 1, 2, epochs=0, end=10)
    tell(progress, clock, 11, 1, 2, epochs=1, end=11)
    # The other stages took 3 s for each unit of work: this one will take 60 s, of which 11 have passed.
    assert progress.text(RunId(1, 2)) == (
        "train 12 of 42, about 3 min left; self_t: 0 of 2 runs done; "
        "seed 1, fold 2: epoch 1, development accuracy 0.500"
    )
    tell(progress, clock, 13, 1, 2, epochs=2, end=4)
    # Four seconds to come; five that have passed without the 8 of compilation: then 309 s for 120 units.
    assert place.left(5, 4) == pytest.approx(4 + 40 * 309 / 120)
    assert progress.text(RunId(1, 1)).startswith(
        "train 12 of 42, about 2 min left; self_t: 0 of 2 runs done, about 4 s left; "
    )


def test_the_studys_time_by_hand():
    first = Place(number=1, stages=3, done=0.0, seconds=0.0, own=10.0, later=30.0)
    assert first.left(5.0, None) is None
    assert first.left(5.0, 15.0) == pytest.approx(15 + 30 * 2)
    second = Place(number=2, stages=3, done=10.0, seconds=20.0, own=10.0, later=20.0)
    assert second.left(5.0, None) == pytest.approx(15 + 20 * 2)
    assert second.left(50.0, None) == pytest.approx(0 + 20 * (20 + 50) / 20)
    between = Place(number=2, stages=3, done=20.0, seconds=70.0, own=0.0, later=20.0)
    assert between.text(between.left()) == "train 2 of 3, about 70 s left"
    last = Place(number=3, stages=3, done=40.0, seconds=70.0, own=0.0, later=0.0)
    assert last.text(last.left()) == "train 3 of 3"
    unknown = Place(number=1, stages=3, done=0.0, seconds=0.0, own=0.0, later=30.0)
    assert unknown.text(unknown.left()) == "train 1 of 3"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "about 0 s"),
        (99.4, "about 99 s"),
        (100, "about 2 min"),
        (1751, "about 29 min"),
        (6000, "about 1.7 h"),
        (400000, "about 111.1 h"),
    ],
)
def test_times_are_short(seconds, text):
    assert about(seconds) == text


def test_a_place_comes_from_what_stages_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    longest = {"audio": 100, "video": 7, "text": 20}

    def meta(modality: str) -> features.ModalityMeta:
        return features.ModalityMeta(kind="frames", longest=longest[modality], checksums={}, utterances="", made={})

    monkeypatch.setattr(features, "read_modality_meta", meta)
    config = params.load(ROOT / "params.yaml").model_copy(
        update={"variants": ["self_t", "cross_tv"], "seeds": [1, 2, 3]}
    )
    for variant in config.variants:
        plan.path(variant).parent.mkdir(parents=True, exist_ok=True)
        plan.path(variant).write_text(make(variant, config).as_json())
    cross, text = (work.Draws(name, "data") for name in ("cross_tv", "self_t"))
    for seed in (1, 2):
        predictions.folder("self_t", seed).mkdir(parents=True)
    text.note_written(1, runs=10, seconds=4.0)
    text.note_written(2, runs=0, seconds=1.0)
    text.note_written(3, runs=5, seconds=2.0)  # whose outputs have gone
    cross.works[0].write_result(RunId(3, 5), Record(values={}, arrays={}))
    run_ids = [RunId(seed, fold) for seed in (1, 2) for fold in range(1, 6)]
    assert study.place(cross, 1, {cross.digest: run_ids}, [1, 2, 3, 4, 5], config) == Place(
        number=4, stages=6, done=10 * 20.0, seconds=5.0, own=10 * 27.0, later=5 * 20.0 + 4 * 27.0
    )
    assert study.place(cross, 9, {cross.digest: run_ids}, [1, 2, 3, 4, 5], config) is None
    for note in (tmp_path / ".work/written").iterdir():
        note.write_text(note.read_text()[: 50 if "seed1" in note.name else 0])
    assert study.place(text, 1, {}, [1], config).done == 0


def test_a_line_of_any_stage_is_for_terminals(monkeypatch, capsys):
    assert list(line("evaluate", "runs", range(7))) == list(range(7))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(line("evaluate", "runs", iter(range(7)), 7)) == list(range(7))
    shown = capsys.readouterr().err
    first, *_, last = re.findall(r"[^\r\n]+", shown)
    assert re.fullmatch(r"evaluate: 0 of 7 runs done, \S+ left", first)
    assert last == "evaluate: 7 of 7 runs done, 00:00 left"
    assert list(line("tuning", "variants", [])) == []
    assert capsys.readouterr().err == ""
