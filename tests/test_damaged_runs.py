"""Damaged, missing and foreign files in `runs/` and `metrics/` are said in one line and never become a score."""

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.aggregate import __main__ as aggregate
from stages.common import corpus, predictions, scores, task
from stages.common.errors import UserError
from stages.confusion import __main__ as confusion
from stages.headline import __main__ as headline
from stages.ttest import __main__ as ttest
from stages.ttest import power
from tests.conftest import make_up

CLASSES = ["angry", "sad", "neutral"]
STAGES = {"aggregate": aggregate, "headline": headline, "ttest": ttest, "confusion": confusion}
RUN = Path("runs/self_tva/seed2")
PREDICTIONS, DEVELOPMENT, CURVES = RUN / "predictions.parquet", RUN / "dev.parquet", RUN / "curves.csv"


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    """A study of two variants and seeds with two folds of five test utterances, as if trained, and its scores."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tested = {1: np.arange(0, 5), 2: np.arange(11, 16)}
        developed = {1: np.arange(5, 9), 2: np.arange(0, 4)}
        make_up(CLASSES, tested, developed, variants=["self_tva", "cross_tva"], seeds=[1, 2])
        aggregate.main()
    return folder


@pytest.fixture
def study(made_up, enter_copy) -> Path:
    """A copy of it, as the current folder."""
    return enter_copy(made_up)


def rewrite(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[], None]:
    """Write other predictions with a checksum of their own."""
    return lambda: predictions.write(RUN, change(pd.read_parquet(PREDICTIONS)))


def flip() -> None:
    """Flip a bit of a probability, so that the file is still one that can be read."""
    content = bytearray(PREDICTIONS.read_bytes())
    stored = pd.read_parquet(PREDICTIONS)["probability_neutral"].to_numpy()
    content[content.index(stored[3].tobytes())] ^= 1
    PREDICTIONS.write_bytes(content)
    assert (pd.read_parquet(PREDICTIONS)["probability_neutral"].to_numpy() != stored).sum() == 1


DAMAGED = "must be a Parquet file, but is damaged: remove runs/self_tva/seed2, then run dvc repro"
OTHERS = (
    r"runs/self_tva/seed2/predictions.parquet must be of the same folds, utterances and classes as runs/self_tva/seed1"
)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "its content must agree with its checksum, but does not; it is damaged: remove runs/self_tva/seed2"),
        (lambda: PREDICTIONS.write_bytes(PREDICTIONS.read_bytes()[:-50]), DAMAGED),
        (lambda: PREDICTIONS.write_bytes(b""), DAMAGED),
        (lambda: PREDICTIONS.write_text("no parquet at all"), DAMAGED),
        (lambda: PREDICTIONS.unlink(), "predictions.parquet is missing: dvc repro writes what is missing"),
        (lambda: shutil.rmtree(RUN), "seed2/predictions.parquet is missing: dvc repro writes what is missing"),
        (
            lambda: pd.read_parquet(PREDICTIONS).to_parquet(PREDICTIONS),
            "must have a checksum, but has none; an older version wrote it: remove runs/self_tva/seed2",
        ),
        (
            rewrite(lambda table: table.rename(columns={"probability_sad": "probability_glad"})),
            "must have the columns .*, for the classes of data/corpus/meta.json, but has .* probability_glad",
        ),
        (
            rewrite(lambda table: table.drop(columns="actual")),
            "must have the columns fold, utterance_id, actual, .*, but has fold, utterance_id, predicted",
        ),
        (
            rewrite(lambda table: table.replace({"predicted": {"sad": "glad"}})),
            "classes must be angry, sad, neutral, but glad is none: run dvc repro",
        ),
        (rewrite(lambda table: table[table["fold"] == 1]), OTHERS + r".*, but they differ in \(2, 'u11', 'neutral'\)"),
        (
            rewrite(lambda table: table.replace({"utterance_id": {"u03": "x"}})),
            OTHERS + r".*, but they differ in \(1, 'u03', 'angry'\): run dvc repro",
        ),
        (rewrite(lambda table: table.iloc[::-1]), OTHERS + ".*, but they differ in their order"),
    ],
)
def test_predictions_that_are_not_the_studys_are_said(name, damage, said, study):
    damage()
    refused(STAGES[name].main, said)


def test_the_tests_are_of_the_predictions_alone(study, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["power"])
    ttest.main()
    before = Path("metrics/ttest.csv").read_bytes()
    scores.FILE.unlink()
    ttest.main()
    power.main()
    assert Path("metrics/ttest.csv").read_bytes() == before
    assert "# Power: UWA (accuracy)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "damage", "said"),
    [
        (corpus.FOLDS, lambda text: text.replace("1,u03,test", "1,u03,train"), "fold 1 has a prediction of u03"),
        (corpus.FOLDS, lambda text: text.replace("2,u20,train", "2,u20,test"), "fold 2 has no prediction of u20"),
        (corpus.FOLDER / "utterances.csv", lambda text: text.replace("u12", "x"), "but has one of u12"),
    ],
)
def test_predictions_of_other_utterances_are_said(path, damage, said, study):
    path.write_text(damage(path.read_text()))
    refused(ttest.main, rf"^runs/ must hold predictions of .*{said}: run dvc repro$")


@pytest.mark.parametrize(("path", "part"), [(PREDICTIONS, "test"), (DEVELOPMENT, "dev")])
def test_no_damage_changes_what_is_read(path, part, study):
    """Seeded random damage: bits, cuts and other bytes, at the table and at the metadata at the file's end."""
    whole, rng, said = path.read_bytes(), random.Random(7), []
    expected = predictions.read("self_tva", 2, task.classes(CLASSES), part)

    def read() -> None:
        pd.testing.assert_frame_equal(
            predictions.read("self_tva", 2, task.classes(CLASSES), part), expected, check_exact=True
        )

    for _ in range(1500):
        path.write_bytes(damaged(whole, rng))
        said += error(read)
    assert 500 < len(said) < 1500
    assert [line for line in said if not re.fullmatch(rf"{path}:? .*: remove {RUN}, then run dvc repro", line)] == []


def test_development_predictions_that_are_not_the_studys_are_said(study):
    def read() -> pd.DataFrame:
        return predictions.read_study(["self_tva", "cross_tva"], [1, 2], task.classes(CLASSES), part="dev")

    rows = {1: ["u05", "u06", "u07", "u08"], 2: ["u00", "u01", "u02", "u03"]}
    assert {fold: list(own["utterance_id"].unique()) for fold, own in read().groupby("fold")} == rows
    table = pd.read_parquet(DEVELOPMENT)
    predictions.write(RUN, table.iloc[1:], "dev")
    with pytest.raises(
        UserError, match=r"^runs/self_tva/seed2/dev.parquet must be of the same folds, .* as runs/\S*dev"
    ):
        read()
    DEVELOPMENT.unlink()
    with pytest.raises(UserError, match=r"^runs/self_tva/seed2/dev.parquet is missing: dvc repro writes"):
        read()


@pytest.mark.parametrize("path", [PREDICTIONS, CURVES], ids=["predictions", "curves"])
def test_no_damage_changes_a_score(path, study):
    headline.main()
    whole, before, rng, said = path.read_bytes(), written(study), random.Random(11), []
    for _ in range(30):
        path.write_bytes(damaged(whole, rng))
        said += error(aggregate.main) + error(headline.main)
        after = written(study)
        assert {name for name in after if after[name] != before.get(name)} <= {study / "plots/headline/curves.csv"}
    assert said
    assert [line for line in said if not re.fullmatch(rf"{path}:? .*run dvc repro", line)] == []


def error(action: Callable[[], None]) -> list[str]:
    """What an action says if it refuses; nothing if it does not."""
    try:
        action()
    except UserError as said:
        return [str(said)]
    return []


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Some bits flipped, or cut short, or some bytes replaced: half of it in the last eighth."""
    changed = bytearray(content)
    place = rng.choice([rng.randrange(len(changed)), rng.randrange(len(changed) * 7 // 8, len(changed))])
    how = rng.choice(["bit", "bit", "bits", "cut", "bytes"])
    if how == "cut":
        return content[:place]
    if how == "bytes":
        changed[place : place + 20] = rng.randbytes(20)
        return bytes(changed)
    for at in [place, *(rng.randrange(len(changed)) for _ in range(5 if how == "bits" else 0))]:
        changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def refused(main: Callable[[], None], said: str) -> None:
    """A stage must end with one line and write nothing."""
    before = written(Path())
    with pytest.raises(UserError, match=said) as error:
        main()
    assert "\n" not in str(error.value)
    assert written(Path()) == before


def written(study: Path) -> dict[Path, bytes]:
    """All that the stages after the training have written."""
    paths = (path for name in ("metrics", "plots") for path in study.glob(f"{name}/**/*"))
    return {path: path.read_bytes() for path in paths if path.is_file()}
