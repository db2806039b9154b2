"""What a kill, a damaged file, a full disk or want of memory leaves behind, and that the next run goes on from it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
import zc.lockfile

from benchmarks import kills
from stages.common import files, params
from stages.common.errors import UserError
from stages.plan.__main__ import make
from stages.train.engine import work, workers
from tests.conftest import ROOT, Study
from tools import repair_lock

COMMAND = ("python", "-m", "stages.train", "--variant", "self_tva", "--seed", "1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Study:
    """A small study whose only run took its time without harm."""
    study = Study(tmp_path_factory.mktemp("undisturbed"))
    study.set(
        variants=["self_tva", "cross_tva"],
        seeds=[1],
        corpus__synthetic__utterances=150,
        model__hidden=6,
        train__protocol__patience=20,
        train__checkpoint_seconds=0,
        train__workers=2,
        train__together=2,
    )
    study.prepare()
    study.ok(*COMMAND)
    return study


@pytest.fixture
def study(undisturbed, tmp_path) -> Study:
    """The same study with nothing trained."""
    return undisturbed.untrained(tmp_path)


def kept(study: Study, kind: str) -> list[Path]:
    """The checkpoints or results in `.work/`."""
    return sorted((study.folder / ".work").glob(f"*/seed1_*.{kind}"))


def interrupted(study: Study) -> None:
    """Train until there are two checkpoints and a result, then kill all of it."""
    process = study.start(*COMMAND)
    while len(kept(study, "checkpoint")) < 2 or not kept(study, "result"):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_killed_training_goes_on(study, undisturbed):
    interrupted(study)
    assert not (study.folder / "runs").exists()
    # As a kill leaves it that comes after a result is written, before its checkpoint goes:
    kept(study, "result")[0].with_suffix(".checkpoint").write_bytes(kept(study, "checkpoint")[0].read_bytes())
    done = study.run(*COMMAND)
    assert "runs resume from checkpoints" in done.stderr
    assert "found in .work/" in done.stdout
    assert study.outputs("self_tva", 1) == undisturbed.outputs("self_tva", 1)
    assert kept(study, "checkpoint") == []


def test_damaged_files_are_said_and_not_used(study, undisturbed):
    interrupted(study)
    cut, flipped, result = *kept(study, "checkpoint")[:2], kept(study, "result")[0]
    cut.write_bytes(cut.read_bytes()[:-1])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    result.write_bytes(b"")
    done = study.run(*COMMAND)
    assert done.returncode == 0
    for path in (cut, flipped, result):
        assert f"{path.name}: its content does not agree with its checksum; removed, not used" in done.stderr
    assert study.outputs("self_tva", 1) == undisturbed.outputs("self_tva", 1)


def test_what_a_run_depends_on_decides_what_is_used(study, monkeypatch):
    monkeypatch.chdir(study.folder)
    config = params.load()

    def folder(variant: str = "self_tva", **changes) -> Path:
        train = config.train.model_copy(update=changes)
        plan = make(variant, config.model_copy(update={"train": train}))
        return work.Work(variant, plan, work.data_digest()).folder

    own, of_text = folder(), folder("self_t")
    assert folder(workers=7, together=3, checkpoint_seconds=1.0, engine="ray") == own
    assert folder(precision="float64") != own
    assert folder("cross_tva") != own
    for path, before, after in (
        ("data/folds.csv", "train", "dev"),
        ("data/corpus/utterances.csv", ",sad,", ",angry,"),
        ("data/corpus/meta.json", "neutral", "changed"),
        ("data/features/audio/meta.json", '"longest": 4', '"longest": 5'),
        ("data/features/audio/meta.json", '"frames.npy": "', '"frames.npy": "f'),
    ):
        whole = Path(path).read_text()
        Path(path).write_text(whole.replace(before, after, 1))
        assert Path(path).read_text() != whole
        assert folder() != own, path
        assert (folder("self_t") == of_text) == ("audio" in path)
        Path(path).write_text(whole)
    speakers = Path("data/corpus/utterances.csv")
    speakers.write_text(speakers.read_text().replace("ses1F", "ses1X"))
    assert folder() == own
    code = make("self_tva", config)
    for name, same in (("training_code", False), ("output_code", True)):
        changed = code.model_copy(update={name: {"stages.other": "0"}})
        assert (work.Work("self_tva", changed, work.data_digest()).folder == own) == same, name
    monkeypatch.setattr(work, "versions", lambda: {"torch": "other"})
    assert folder() != own


def test_experiments_in_copies_share_the_projects_folder(tmp_path, monkeypatch):
    for copy in (".dvc/tmp/exps/tmpabc", ".dvc/tmp/exps/standalone/tmpabc"):
        (tmp_path / copy).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / copy)
        assert work.shared() == tmp_path / ".work"
    monkeypatch.chdir(tmp_path)
    assert work.shared() == tmp_path / ".work"


def test_old_and_large_work_is_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, "_trained_now", lambda digest: digest[0] == "d")
    days = {"a": 40, "b": 9, "c": 5, "d": 50, "e": 0}
    for name, age in days.items():
        path = tmp_path / ".work" / (name * 32) / "seed1_fold1.result"
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(2**30)
        for changed in (path, path.parent):
            os.utime(changed, (time.time() - 86400 * age,) * 2)
    (tmp_path / ".work/locks").mkdir()

    def left() -> str:
        return "".join(sorted(path.name[0] for path in (tmp_path / ".work").glob("?" * 32)))

    work.remove_old(params.WorkLimits(days=30.0, gib=10.0))
    assert left() == "bcde"
    work.remove_old(params.WorkLimits(days=30.0, gib=3.5))
    assert left() == "cde"
    work.remove_old(params.WorkLimits(days=30.0, gib=0.5))
    assert left() == "de"  # one is trained now, the other was used within the hour


def test_work_that_another_process_removes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, files_left = tmp_path / ".work" / ("a" * 32), Path.iterdir
    folder.mkdir(parents=True)
    (folder / "seed1_fold1.checkpoint").write_text("x")
    gone = folder / ".seed1_fold2.checkpoint.partial"
    monkeypatch.setattr(Path, "iterdir", lambda path: [gone, *files_left(path)])
    work.remove_old(params.WorkLimits(days=30.0, gib=10.0))
    assert folder.is_dir()
    shutil.rmtree(folder)
    monkeypatch.setattr(Path, "glob", lambda *_: [folder])
    monkeypatch.setattr(Path, "is_dir", lambda path: path == folder)
    work.remove_old(params.WorkLimits(days=30.0, gib=10.0))


def test_a_lock_is_held_by_the_living_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, "_digest", lambda *_: "0" * 32)
    monkeypatch.setattr(
        work.tuning, "read", lambda _: SimpleNamespace(draws=[], plans=lambda: [SimpleNamespace(names=[])])
    )
    own = work.Draws("self_t", "")
    with own.lock(1, wait=False) as granted:
        assert granted
        with own.lock(1, wait=False) as again, own.lock(2, wait=False) as other:
            assert (again, other) == (False, True)
    assert not work._trained_now("0" * 32)
    with own.lock(1, wait=False) as granted:
        assert granted
        assert work._trained_now("0" * 32)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])  # dash stays between DVC and the stage, bash does not
def test_what_a_killed_dvc_leaves_is_waited_for(study, undisturbed, shell):
    study.environment["SHELL"] = shell
    study.make_repository()
    study.ok("dvc", "repro", "plan", "split")
    dvc = study.start("dvc", "repro", "-s", "train@self_tva-1")
    while not kept(study, "checkpoint"):
        assert dvc.poll() is None
        time.sleep(0.02)
    dvc.kill()
    dvc.wait()
    os.killpg(dvc.pid, signal.SIGSTOP)  # what it left is slower than the next DVC
    again, said = study.start("dvc", "repro", "-s", "train@self_tva-1"), ""
    try:
        while "train@self_tva-1: another process" not in said:
            said = again.stderr.readline()
            assert said
    finally:
        os.killpg(dvc.pid, signal.SIGCONT)
    assert "5 of them found in .work/" in again.communicate()[0]
    assert again.returncode == 0
    assert "the DVC that began this has ended; the results stay in .work/" in dvc.stderr.read()
    assert study.outputs("self_tva", 1) == undisturbed.outputs("self_tva", 1)


@pytest.fixture
def small_disk(study):
    """Makes a folder of the study a file system of its own; which options `mount` takes."""
    mounted = []

    def mount(name: str, options: str) -> None:
        folder = study.folder / name
        folder.mkdir(exist_ok=True)
        again = ["-o", f"remount,{options}"] if folder in mounted else ["-t", "tmpfs", "-o", options, "tmpfs"]
        done = subprocess.run(["mount", *again, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system of its own needs root: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("name", "sizes"), [(".work", ["20k", "400k"]), ("runs", ["4k"])], ids=[".work", "runs"])
def test_a_full_disk_loses_nothing(name, sizes, study, undisturbed, small_disk):
    for size in sizes:
        small_disk(name, f"size={size}")
        done = study.run(*COMMAND)
        assert done.returncode == 1
        assert "No space left on device; nothing half-written is left: make room" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(study.folder.rglob("*.partial"))
        assert not (study.folder / "runs/self_tva/seed1").exists()
    before = len(kept(study, "result")), len(kept(study, "checkpoint"))
    small_disk(name, "size=50m")
    done = study.run(*COMMAND)
    assert done.returncode == 0
    assert ("found in .work/" in done.stdout) == (before[0] > 0)
    assert ("resume from checkpoints" in done.stderr) == (before[1] > 0)
    assert study.outputs("self_tva", 1) == undisturbed.outputs("self_tva", 1)


def test_a_full_disk_stops_the_preparation_cleanly(study, small_disk):
    shutil.rmtree(study.folder / "data")
    for name, arguments, size in (("corpus", [], "4k"), ("features", ["--modality", "audio"], "40k")):
        small_disk("data", f"size={size}")
        before = sorted((study.folder / "data").rglob("*"))
        done = study.stage(name, *arguments)
        place = "/".join(["data", name, *arguments[1:]])
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {place}: No space left on device; nothing half-written is left")
        assert len(done.stderr.splitlines()) == 1
        left = set((study.folder / "data").rglob("*")) - set(before)
        assert not [path for path in left if path.is_file()]
        small_disk("data", "size=50m")
        assert study.stage(name, *arguments).returncode == 0


def test_folders_that_cannot_be_written_are_said(study, undisturbed, small_disk):
    for name in (".work", "runs"):
        small_disk(name, "size=50m,ro")
        done = study.run(*COMMAND)
        assert done.returncode == 1
        assert "Read-only file system; nothing half-written is left: let this user write there" in done.stderr
        assert "Traceback" not in done.stderr
        small_disk(name, "size=50m,rw")
    study.ok(*COMMAND)
    assert study.outputs("self_tva", 1) == undisturbed.outputs("self_tva", 1)


def test_want_of_memory_and_a_lost_device_are_said():
    def too_much() -> None:
        torch.empty(2**60, dtype=torch.uint8)

    def too_much_for_numpy() -> None:
        np.empty(2**60, np.uint8)

    def lost_device() -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might be …")

    for failing, said in (
        (too_much, "out of memory; fewer train.workers"),
        (too_much_for_numpy, "out of memory; fewer train.workers"),
        (lost_device, r"CUDA failed; .* \(CUDA error: unspecified launch failure\)"),
    ):
        with (
            pytest.raises(UserError, match=rf"self_t: {said}.*checkpoints are safe in .work/"),
            workers.failures("self_t"),
        ):
            failing()
    with pytest.raises(RuntimeError, match="a mistake of ours"), workers.failures("self_t"):
        raise RuntimeError("a mistake of ours")


def test_a_lock_file_cut_short_is_repaired(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole = (ROOT / "dvc.lock").read_text()
    lock = Path("dvc.lock")
    lock.write_text(whole)
    repair_lock.main()
    assert (lock.read_text(), capsys.readouterr().err) == (whole, "")
    _, second, *_ = (stage.start() for stage in re.finditer(r"^  \S", whole, re.MULTILINE))
    for size in [0, 10, *range(second - 40, len(whole), 997), len(whole) - 1]:
        lock.write_text(whole[:size])
        repair_lock.main()
        if size < second:
            assert not lock.exists()
        else:  # the stages before the cut one; or that too, without some of its outs
            left = lock.read_text()
            assert whole.startswith(left)
            rest = whole[len(left) :]
            assert re.match(r"    - path: |    (outs|params):\n|  \S", rest), rest[:50]
            assert len(re.findall(r"^  \S", rest[: size - len(left)], re.MULTILINE)) <= 1


def test_a_list_of_files_in_use_that_a_killed_dvc_left_is_repaired(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rwlock = Path(".dvc/tmp/rwlock")
    rwlock.parent.mkdir(parents=True)
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    living, dead = {"pid": os.getpid(), "cmd": sys.argv[-1]}, {"pid": ended.pid, "cmd": "dvc repro"}
    reused = {"pid": os.getpid(), "cmd": "/usr/bin/dvc repro train@x-1"}
    monkeypatch.setattr(psutil.Process, "cmdline", lambda self, own=psutil.Process.cmdline: [*own(self), sys.argv[-1]])
    for text in ("", '{"read": {', "[]", '{"a": {}}', '{"write": {"x": [1]}}'):
        rwlock.write_text(text)
        repair_lock.main()
        assert not rwlock.exists()
        assert capsys.readouterr().err == f"{rwlock} was cut short when DVC was killed: removed\n"
    for before, after in (
        ({}, None),
        ({"write": {"x": living}, "read": {"y": [living]}}, None),
        ({"write": {"x": dead, "z": reused}, "read": {"y": [dead, reused]}}, {"write": {}, "read": {}}),
        ({"write": {"x": living}, "read": {"y": [dead, living]}}, {"write": {"x": living}, "read": {"y": [living]}}),
    ):
        rwlock.write_text(json.dumps(before))
        repair_lock.main()
        assert json.loads(rwlock.read_text()) == (after or before)
        assert capsys.readouterr().err == (
            f"{rwlock} named a DVC that is no longer running: repaired\n" if after else ""
        )
    ended.wait()


def test_a_lock_file_that_dvc_is_writing_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whole, lock, dvc_lock = (ROOT / "dvc.lock").read_text(), Path("dvc.lock"), Path(".dvc/tmp/lock")
    dvc_lock.parent.mkdir(parents=True)
    with closing(zc.lockfile.LockFile(dvc_lock)):  # as DVC does
        lock.write_text(whole[:5000])
        repairing = threading.Thread(target=repair_lock.main)
        repairing.start()
        time.sleep(0.5)
        assert lock.read_text() == whole[:5000]
        lock.write_text(whole)
    repairing.join()
    assert capsys.readouterr().err == f"another DVC ({os.getpid()}) is running; waiting for it\n"
    assert lock.read_text() == whole


def test_a_stage_that_a_killed_dvc_left_is_waited_for(study):
    study.environment["DVC_STAGE"] = "split"
    before = (study.folder / "data/folds.csv").read_bytes()
    with files.lock(study.folder / ".work/locks/split", None):
        process = study.start("python", "-m", "stages.split")
        said = process.stderr.readline()
        (study.folder / "data/folds.csv").write_text("of the one that was left\n")
    assert said == f"split: another process ({os.getpid()}) runs it; waiting for its end\n"
    process.communicate()
    assert process.returncode == 0
    assert (study.folder / "data/folds.csv").read_bytes() == before


@pytest.mark.parametrize("limit", [21, 25])  # of open files: it fails with no worker started, and with some
def test_too_few_open_files_end_the_stage(study, limit):
    study.set(train__workers=5)
    study.environment["LIMIT"] = str(limit)
    done = study.run("bash", "-c", f'ulimit -n "$LIMIT"; {" ".join(COMMAND)}')
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*: Too many open files; allow this process more .*, then run again\n", done.stderr)


def test_closed_streams_lead_nowhere(study, undisturbed):
    assert study.run("bash", "-c", f"{' '.join(COMMAND)} >&- 2>&- <&-").returncode == 0
    assert study.outputs("self_tva", 1) == undisturbed.outputs("self_tva", 1)
    assert study.run("bash", "-c", "python -m stages.train --variant none --seed 1 2>&-").returncode == 1
    numbers = "import stages, os; f = open('file', 'w'); os.write(2, b'lost'); print(f.fileno())"
    assert int(study.ok("bash", "-c", f'python -c "{numbers}" 2>&-')) > 2
    assert (study.folder / "file").read_text() == ""


def test_an_experiment_that_was_killed_is_warned_of(study):
    study.set(train__protocol__patience=200)
    study.make_repository()
    study.ok("git", "add", ".")
    study.ok("git", "commit", "-qm", "study")
    study.ok("dvc", "repro", "-q", "split")

    def warned() -> bool:
        said = study.ok("python", "-m", "tools.repair_lock")
        return "warning: a dvc exp run was killed" in said

    experiment = study.start("dvc", "exp", "run", "-S", "model.hidden=12")
    while not kept(study, "checkpoint"):
        assert experiment.poll() is None, experiment.stderr.read()
        time.sleep(0.02)
    assert not warned()
    os.killpg(experiment.pid, signal.SIGKILL)
    experiment.communicate()
    assert warned()
    study.ok("git", "checkout", "-q", "-")
    assert not warned()
    study.ok("git", "checkout", "-q", "HEAD", "params.yaml")
    study.ok("git", "checkout", "-q", "--detach")
    study.set(model__hidden=18)
    assert not warned()


@pytest.mark.long
def test_twenty_signals_change_nothing(tmp_path):
    study = Study(tmp_path)
    study.make_repository()
    counts = kills.disturb(tmp_path, study.environment, kills=20, seed=5)
    sent = {what: count for what, count in counts.items() if what.startswith("SIG")}
    assert sum(sent.values()) == 20
    for part in (*kills.VICTIMS, *{number.name for number in kills.SIGNALS}):
        assert any(part in what.split() for what in sent), part
    assert counts["runs that found checkpoints"] > 0
    assert counts["studies completed, all equal to the undisturbed one"] > 0
