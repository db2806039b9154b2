"""`make train JOBS=n`: stages side by side come to what `dvc repro` comes to."""

import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.kills import contents
from stages.common.errors import UserError
from tests.conftest import Study
from tools import jobs, status


def repository(folder: Path, **changes) -> Study:
    """A DVC repository with a small study of which nothing was run."""
    folder.mkdir()
    study = Study(folder)
    study.set(
        variants=["self_tva", "cross_tva"],
        seeds=[1, 2],
        corpus__synthetic__utterances=150,
        model__hidden=6,
        train__protocol__patience=1,
        train__together=1,
        **changes,
    )
    study.make_repository()
    return study


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> Study:
    study = repository(tmp_path_factory.mktemp("serial") / "study")
    study.ok("dvc", "repro")
    return study


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Study:
    """One in which all is done that a training needs."""
    study = repository(tmp_path_factory.mktemp("prepared") / "study")
    study.ok("dvc", "repro", "features", "split")
    return study


@pytest.mark.long
def test_two_jobs_write_what_one_does(serial, tmp_path):
    study = repository(tmp_path / "study")
    output = study.ok("python", "-m", "tools.jobs", "2")
    assert "train: 4 of 4 stages done" in output
    study.ok("dvc", "repro")
    assert contents(study.folder) == contents(serial.folder)
    assert "train: 0 of 0 stages done" in study.ok("python", "-m", "tools.jobs", "2")
    more = serial.copied(tmp_path / "serial")
    for repeated in (study, more):  # new stages come after the others in dvc.lock
        repeated.set(seeds=[1, 2, 3])
    assert "train: 2 of 2 stages done" in study.ok("python", "-m", "tools.jobs", "3")
    for stage in ("train@self_tva-3", "train@cross_tva-3"):  # named together, DVC takes them in any order
        more.ok("dvc", "repro", stage)
    assert contents(study.folder) == contents(more.folder)


def test_a_stage_that_fails_does_not_stop_the_others(prepared, tmp_path):
    study = prepared.copied(tmp_path / "study")
    study.set(seeds=[1])
    (study.folder / ".work/locks/cross_tva_seed1").mkdir(parents=True)  # where a file should be
    done = study.run("python", "-m", "tools.jobs", "2")
    assert done.returncode == 1
    assert "train: 1 of 2 stages done" in done.stdout
    assert "train@cross_tva-1 failed:" in done.stderr
    assert "error: .work/locks/cross_tva_seed1: Is a directory" in done.stderr
    assert done.stderr.endswith("error: 1 stages failed: train@cross_tva-1\n")
    said = study.ok("python", "-m", "tools.status")
    assert re.fullmatch(
        r"self_tva   5 of 5 runs done\ncross_tva  0 of 5 runs done\n"
        r"all        5 of 10 runs done; the rest takes about \d+ s\nAfter the trainings: .*aggregate.*\n",
        said,
    )
    (study.folder / ".work/locks/cross_tva_seed1").rmdir()
    assert "train: 1 of 1 stages done" in study.ok("python", "-m", "tools.jobs", "2")
    assert "all        10 of 10 runs done\n" in study.ok("python", "-m", "tools.status")
    study.set(split__seed=2)
    said = study.ok("python", "-m", "tools.status")
    assert said.startswith("Before anything is trained, these stages have to run: plan, split\n")


def test_the_time_left_by_hand():
    def stage(variant: str, positions: int, done: int, noted=None, begun: int = 0) -> status.Stage:
        return status.Stage(variant=variant, done=done, begun=begun, runs=5, positions=positions, noted=noted)

    begun = [stage("self_v", 3, done=2, begun=1), stage("cross_tv", 7, done=0)]
    assert status.seconds_left(begun) is None
    assert status.report(begun) == (
        "self_v    2 of 5 runs done, 1 begun\ncross_tv  0 of 5 runs done\n"
        "all       2 of 10 runs done, 1 begun; none was timed here\n"
    )
    # 10 runs of 2 positions took 40 s, so 2 s each position; the second stage found its runs done by the first.
    timed = [stage("self_t", 2, done=5, noted=(10, 38.0)), stage("self_t", 2, done=5, noted=(0, 2.0))]
    assert status.seconds_left([*timed, *begun]) == pytest.approx((3 * 3 + 5 * 7) * 2)
    assert "all       12 of 20 runs done, 1 begun; the rest takes about 88 s\n" in status.report([*timed, *begun])
    assert status.seconds_left(timed) == 0


ENDLESS = {
    "train__protocol__max_epochs": 10**6,
    "train__protocol__learning_rate": 1e-9,
    "train__protocol__patience": 10**6,
}
"""Trainings that do not end by themselves."""


def started(study: Study, number: int) -> subprocess.Popen:
    """`tools.jobs`, once that many stages train."""
    process = study.start("python", "-m", "tools.jobs", str(number))
    while len(trainings(study)) < number:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_stops_all_jobs(number, prepared, tmp_path):
    study = prepared.copied(tmp_path / "study")
    study.set(**ENDLESS)
    process = started(study, 2)
    time.sleep(3)
    process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        left = trainings(study)
        for training in left:  # which would never end
            training.kill()
    assert (process.returncode, errors, left) == (130, "", [])
    assert not list((study.folder / "runs").glob("*/*"))


@pytest.mark.long
@pytest.mark.parametrize("rerun", ["tools.repair_lock", "tools.jobs"])
def test_what_killed_jobs_left_is_waited_for(rerun, serial, tmp_path):
    study = repository(tmp_path / "study")
    process = started(study, 2)
    process.kill()
    process.communicate()
    again = study.start("python", "-m", rerun, *(["2"] if rerun == "tools.jobs" else []))
    said = again.stderr.readline()
    assert said == f"make train ({process.pid}), or what it left when it was killed, is running; waiting for its end\n"
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert trainings(study) == []
    if rerun == "tools.jobs":
        assert "train: 2 of 2 stages done" in output  # the others were done by what was left
    study.ok("dvc", "repro")
    assert contents(study.folder) == contents(serial.folder)


def trainings(study: Study) -> list[psutil.Process]:
    """Processes of the study's train stages."""
    found = psutil.process_iter(["cmdline", "cwd"])
    return [
        process
        for process in found
        if "stages.train" in " ".join(process.info["cmdline"] or [])
        and process.info["cwd"] == str(study.folder.resolve())
    ]


def test_shares_of_cores():
    assert [jobs._share([3, 5, 7], job, 2) for job in range(2)] == [[3, 7], [5]]
    assert [jobs._share([3, 5], job, 3) for job in range(3)] == [[3], [5], [3]]
    assert jobs._share([], 0, 2) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["0"], "jobs must be at least 1, but is 0"),
        (["-1"], "jobs must be at least 1, but is -1"),
        (["many"], "argument jobs: invalid int value: 'many'"),
        ([], "the following arguments are required: jobs"),
        (["2", "3"], "unrecognized arguments: 3"),
    ],
)
def test_a_number_of_jobs_that_is_none_is_said(arguments, error, monkeypatch):
    monkeypatch.setattr("sys.argv", ["jobs", *arguments])
    with pytest.raises(UserError, match=f"^{re.escape(error)}$"):
        jobs.main()
