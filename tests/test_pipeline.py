"""A study of a corpus in the published layout, end to end through DVC, as a user runs it."""

import json
import re
import shutil
import subprocess
import time
from contextlib import suppress

import pandas as pd
import pytest

from benchmarks.published_corpus import Corpus, parts, write
from tests.conftest import SMALL, UTTERANCES, Study


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Study:
    """A git and DVC repository whose study has been run once and committed."""
    base = tmp_path_factory.mktemp("pipeline")
    labels = pd.Series(range(UTTERANCES)) % 7
    write(base / "corpus", Corpus(labels.to_numpy(), SMALL, without_video=(0, 77)), parts(UTTERANCES, 5, seed=3))
    study = Study(base)
    study.set(
        corpus__source="published_folds",
        corpus__root=str(base / "corpus"),
        variants=["self_tva", "cross_tva"],
        references=["prior_tva"],
        seeds=[1],
        model__hidden=6,
        train__protocol__patience=1,
    )
    (base / ".gitignore").write_text((base / ".gitignore").read_text() + "/corpus/\n")
    study.make_repository()
    study.ok("dvc", "repro")
    commit(study)
    return study


def commit(study: Study) -> None:
    study.ok("git", "add", "-A")
    study.ok("git", "commit", "-qm", "study")


def ran(output: str) -> list[str]:
    """The stages that an output of DVC says it ran."""
    return re.findall(r"Running stage '([^']+)'", output)


def test_everything_is_written(repository):
    scores = pd.read_csv(repository.folder / "metrics/scores.csv")
    assert scores[["variant", "fold", "seed"]].values.tolist() == [
        [variant, fold, 1] for variant in ("self_tva", "cross_tva", "prior_tva") for fold in range(1, 6)
    ]
    for name in ("table1.md", "table2.md", "ttest.md"):
        assert "T+V+A" in (repository.folder / "metrics" / name).read_text() or name == "table2.md"
    headline = json.loads((repository.folder / "metrics/headline.json").read_text())
    own = scores[scores["variant"] == "self_tva"]["accuracy"]
    assert headline["accuracy"]["mean"] == pytest.approx(own.mean())
    assert headline["accuracy"]["std"] == pytest.approx(own.std())
    for name in ("confusion/recall.png", "differences.png", "runs.png", "confusion/tva.png", "confusion/tva_fold1.png"):
        assert (repository.folder / "plots" / name).read_bytes().startswith(b"\x89PNG")
    tested = pd.read_parquet(repository.folder / "runs/cross_tva/seed1/predictions.parquet")
    folds = pd.read_csv(repository.folder / "data/folds.csv")
    assert sorted(tested["utterance_id"]) == sorted(folds[folds["part"] == "test"]["utterance_id"])


def test_a_second_repro_runs_nothing(repository):
    assert ran(repository.ok("dvc", "repro")) == ["cost"]  # which writes no outputs, but times


def test_from_nothing_the_same_bytes_come_out(repository):
    for name in ("data", "runs", "references", "metrics", "plots", ".work", ".dvc/cache"):
        shutil.rmtree(repository.folder / name)
    again = ran(repository.ok("dvc", "repro"))
    # Not split: its folds are the corpus's own, a file that DVC has again by then.
    prepared = {"plan", "corpus", "features@text", "features@video", "features@audio"}
    scored = {"references", "aggregate", "ttest", "confusion", "gates", "tuning", "evaluate", "attention", "headline"}
    assert set(again) == prepared | {"train@self_tva-1", "train@cross_tva-1"} | scored | {"cost", "report"}
    assert repository.ok("git", "status", "--porcelain") == ""


def test_another_seed_trains_only_that_seed_and_can_be_taken_back(repository):
    before = (repository.folder / "metrics/scores.csv").read_text()
    repository.set(seeds=[1, 2])
    trained = [name for name in ran(repository.ok("dvc", "repro", "aggregate")) if name.startswith("train")]
    assert trained == ["train@self_tva-2", "train@cross_tva-2"]
    assert set(pd.read_csv(repository.folder / "metrics/scores.csv")["seed"]) == {1, 2}
    repository.set(seeds=[1])
    assert not [name for name in ran(repository.ok("dvc", "repro", "aggregate")) if name.startswith("train")]
    assert (repository.folder / "metrics/scores.csv").read_text() == before
    repository.ok("git", "checkout", "-q", ".")
    shutil.rmtree(repository.folder / "runs/self_tva/seed2")
    shutil.rmtree(repository.folder / "runs/cross_tva/seed2")


def test_experiments_compare_headlines_without_training(repository):
    for attention in ("self", "cross"):
        output = repository.ok(
            "dvc", "exp", "run", "-n", attention, "-S", f"headline.attention={attention}", "headline"
        )
        assert not [name for name in ran(output) if name.startswith("train")]
    difference = json.loads(repository.ok("dvc", "metrics", "diff", "--json", "self", "cross"))
    accuracy = difference["metrics/headline.json"]["accuracy.mean"]
    scores = pd.read_csv(repository.folder / "metrics/scores.csv").groupby("variant")["accuracy"].mean()
    assert (accuracy["old"], accuracy["new"]) == pytest.approx((scores["self_tva"], scores["cross_tva"]))
    repository.ok("dvc", "plots", "diff", "self", "cross")
    assert (repository.folder / "dvc_plots/index.html").exists()


def test_queued_experiments_run_side_by_side_and_share_what_is_trained(repository):
    repository.ok("git", "checkout", "-q", "--", "params.yaml")
    before = set(repository.folder.glob(".work/*/*.result"))
    settings = ["-S", "train.protocol.learning_rate=0.002", "-S", "train.protocol.patience=5"]
    for name, margin in (("one", 0.02), ("two", 0.03)):  # what differs is nothing to the training
        own = ["-n", name, "-S", f"compare.margin={margin}"]
        repository.ok("dvc", "exp", "run", "--queue", *own, *settings, "train@self_tva-1")
    workers = repository.start("dvc", "queue", "start", "-j", "2")
    for _ in range(300):
        time.sleep(1)
        if not re.search("Queued|Running", repository.ok("dvc", "queue", "status")):
            break
    repository.ok("dvc", "queue", "stop")  # DVC's workers may miss that there is nothing left to do
    with suppress(subprocess.TimeoutExpired):
        workers.communicate(timeout=60)
    assert repository.ok("dvc", "queue", "status").count("Success") == 2
    trained = set(repository.folder.glob(".work/*/*.result")) - before
    assert sorted(path.name for path in trained) == [f"seed1_fold{fold}.result" for fold in range(1, 6)]
    assert not list(repository.folder.glob(".dvc/tmp/exps/**/*.result"))
    said = repository.ok("dvc", "exp", "run", "--temp", "-n", "three", *settings, "train@cross_tva-1")
    assert "Ran experiment(s): three" in said
    assert len(set(repository.folder.glob(".work/*/*.result")) - before) == 10


def test_a_bad_override_is_said_before_any_work(repository):
    repository.ok("git", "checkout", "-q", "--", "params.yaml")
    done = repository.run("dvc", "exp", "run", "-n", "bad", "-S", "model.heads=7")
    assert done.returncode != 0
    assert "heads must divide the model width 2 × hidden = 12, but is 7" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
