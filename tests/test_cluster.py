"""A Ray cluster of two nodes, each with processes and a loopback address of its own, on this machine."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from stages.common import params
from stages.common.errors import UserError
from stages.plan.__main__ import make
from stages.train.engine import cluster as engine
from stages.train.engine import work
from tests.conftest import Study

pytest.importorskip("ray", reason="Ray is not installed: make ray")

COMMAND = ("python", "-m", "stages.train", "--variant", "cross_tv", "--seed", "1")
HEAD, OTHER = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Study:
    """One variant and seed of the default study, trained by the local engine."""
    study = Study(tmp_path_factory.mktemp("local"))
    study.set(seeds=[1], train__together=1, train__checkpoint_seconds=0.5, train__ray__retries=3)
    study.ok("python", "-m", "stages.corpus")
    for name in ("text", "video", "audio"):
        study.ok("python", "-m", "stages.features", "--modality", name)
    study.ok("python", "-m", "stages.split")
    study.ok("python", "-m", "stages.plan")
    study.ok(*COMMAND)
    study.set(train__engine="ray")
    return study


@pytest.fixture(scope="module")
def environment(local) -> dict[str, str]:
    """Settings of a cluster with a token."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # pytest's names are too long for sockets
    with socket.socket() as free:
        free.bind((HEAD, 0))
        address = f"{HEAD}:{free.getsockname()[1]}"
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = local.environment | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": address,
        "RAY_TMPDIR": str(folder),
    }
    yield environment
    shutil.rmtree(folder)


class Node:
    """A node of the cluster with one CPU."""

    def __init__(self, environment: dict[str, str], ip: str):
        address = environment["RAY_ADDRESS"]
        where = (
            ["--head", f"--port={address.partition(':')[2]}", "--include-dashboard=false"]
            if ip == HEAD
            else [f"--address={address}"]
        )
        size = ["--num-cpus=1", "--num-gpus=0", f"--object-store-memory={100 * 2**20}"]
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("ray"), "start", "--block", f"--node-ip-address={ip}", *where, *size],
            env={name: value for name, value in environment.items() if name != "RAY_ADDRESS"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "Ray runtime started" in line:
                return
        raise AssertionError("".join(lines))

    def kill(self) -> None:
        """Kill all of its processes, as a power cut would."""
        if self.process.poll() is not None:
            return
        for pid in psutil.pids():
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def cluster(environment):
    nodes = [Node(environment, HEAD), Node(environment, OTHER)]
    yield nodes
    for node in reversed(nodes):
        node.kill()


@pytest.fixture
def study(local, environment, tmp_path) -> Study:
    """The same study with nothing trained, in a cluster."""
    study = local.untrained(tmp_path)
    study.environment = environment
    return study


def test_a_cluster_writes_what_one_machine_does(study, local, cluster):
    study.ok(*COMMAND)
    assert study.outputs("cross_tv", 1) == local.outputs("cross_tv", 1)


@pytest.mark.long
def test_a_lost_nodes_runs_resume_elsewhere(study, local, cluster):
    study.set(train__ray__features="shared")
    process = study.start(*COMMAND)
    while len(list(study.folder.glob(".work/*/*.checkpoint"))) < 2:  # so both nodes train
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    cluster[1].kill()
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "5 folds" in output
    assert study.outputs("cross_tv", 1) == local.outputs("cross_tv", 1)


def test_a_stage_that_is_killed_resumes(study, local, cluster):
    process = study.start(*COMMAND)
    while not list(study.folder.glob(".work/*/*.result")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    done = study.run(*COMMAND)
    assert "found in .work/" in done.stdout
    assert study.outputs("cross_tv", 1) == local.outputs("cross_tv", 1)


@pytest.mark.long
def test_draws_are_the_same_in_a_cluster(study, cluster):
    study.set(tune={"draws": 2, "ranges": {"train.protocol.learning_rate": [0.001, 0.01, 0.003, 0.005]}})
    found = []
    for where in ("ray", "local"):
        study.set(train__engine=where)
        study.ok("python", "-m", "stages.plan")
        study.ok(*COMMAND)
        found.append(study.outputs("cross_tv", 1))
        for folder in ("runs", ".work"):
            shutil.rmtree(study.folder / folder)
    assert found[0] == found[1]
    assert "tuning.csv" in found[0]


@pytest.mark.long
def test_mistakes_are_said(study, cluster):
    def errors(**changes) -> str:
        study.set(**changes)
        study.ok("python", "-m", "stages.plan")
        done = study.run(*COMMAND)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "no node of the Ray cluster has the 64 CPUs and 0 GPUs" in errors(train__ray__cpus=64)
    assert "train.device is cuda, but torch finds no CUDA device" in errors(train__ray__cpus=1, train__device="cuda")
    exploding = errors(train__device="cpu", train__protocol__learning_rate=1e30)
    assert "error: cross_tv: seed 1, fold" in exploding
    assert "the loss must be finite" in exploding
    study.environment = study.environment | {"RAY_AUTH_TOKEN": "0" * 64}
    assert "no Ray cluster can be reached" in errors()


@pytest.mark.parametrize("token", [None, "", "empty"], ids=["no file", "no such file", "an empty file"])
def test_a_missing_token_is_said(token, study, cluster, tmp_path):
    (tmp_path / "empty").touch()
    study.environment = study.environment | {"HOME": str(tmp_path)}
    del study.environment["RAY_AUTH_TOKEN_PATH"]
    if token is not None:
        study.environment["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / (token or "none"))
    done = study.run(*COMMAND)
    assert done.returncode == 1
    assert done.stderr.startswith("error: train.engine is ray, but this machine lacks the cluster's token (")
    assert "copy ~/.ray/auth_token from the machine that it was made on, as docs/cluster.md says" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_node_with_other_software_is_refused():
    own = make("cross_tv", params.load())
    with pytest.raises(UserError, match=r"all nodes must have the same software, but .* has torch .* and not 0.1$"):
        engine._check(own, work.versions() | {"torch": "0.1"})
    other = own.model_copy(update={"training_code": own.training_code | {"stages.train.model": "other"}})
    with pytest.raises(UserError, match=r"but .* has stages.train.model [0-9a-f]{16} and not other$"):
        engine._check(other, work.versions())
    engine._check(own, work.versions())


def test_no_cluster_is_said(study):
    done = study.run(*COMMAND)
    assert done.returncode == 1
    assert "train.engine is ray, but no Ray cluster can be reached" in done.stderr
    assert "Traceback" not in done.stderr
