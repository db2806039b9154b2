"""The engine `ray`: a stage's runs as tasks of a Ray cluster. docs/cluster.md tells how to set one up.

Tasks keep nothing themselves: checkpoints, results and reports go to the ResultServer, an actor beside the stage,
which writes them to `.work/` as the local engine does. So a task whose node is lost resumes elsewhere from its last
checkpoint.
"""

import dataclasses
import os
import platform
import socket
from functools import cache
from pathlib import Path

import pandas as pd

os.environ.setdefault("RAY_AUTH_MODE", "token")  # a cluster without authentication has to be asked for
try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    ray = None

from stages.common import code, corpus, features, params
from stages.common.errors import UserError
from stages.common.plan import Plan
from stages.common.records import Record, RunId
from stages.train import ENVIRONMENT
from stages.train.engine import workers
from stages.train.engine.capacity import runs_per_process
from stages.train.engine.progress import Progress
from stages.train.engine.study import Place
from stages.train.engine.work import Work, versions
from stages.train.run_state import RunProgress


class ResultServer:
    """Hands out checkpoints, keeps what tasks send, and collects what they report."""

    def __init__(self, work: Work):
        self.work, self.reported = work, []

    def checkpoint(self, run: RunId) -> Record | None:
        """`Work.checkpoint`."""
        return self.work.checkpoint(run)

    def write_checkpoint(self, run: RunId, checkpoint: Record) -> None:
        """`Work.write_checkpoint`."""
        self.work.write_checkpoint(run, checkpoint)

    def write_result(self, run: RunId, result: Record) -> None:
        """`Work.write_result`."""
        self.work.write_result(run, result)

    def report(self, run: RunId, progress: RunProgress) -> None:
        """Take note of how far a run is."""
        self.reported.append((run, progress))

    def reports(self) -> list[tuple[RunId, RunProgress]]:
        """What was reported since this was last asked."""
        reported, self.reported = self.reported, []
        return reported


class RemoteWork:
    """A task's view of the ResultServer: what training needs of `Work`."""

    def __init__(self, server, variant: str, plan: Plan):
        self.server, self.variant, self.plan = server, variant, plan

    def checkpoint(self, run: RunId) -> Record | None:
        """`Work.checkpoint`."""
        return ray.get(self.server.checkpoint.remote(run))

    def write_checkpoint(self, run: RunId, checkpoint: Record) -> None:
        """`Work.write_checkpoint`."""
        ray.get(self.server.write_checkpoint.remote(run, checkpoint))

    def write_result(self, run: RunId, result: Record) -> None:
        """`Work.write_result`."""
        ray.get(self.server.write_result.remote(run, result))


def capacity(work: Work, config: params.Train) -> int:
    """How many runs of a variant are trained at a time.

    Raises
    ------
    UserError
        If Ray is not installed, there is no cluster, or none of its nodes is large enough for a task.
    """
    _connect()
    return _slots(config.ray) * _runs_per_task(work, config)


def train(run_ids: list[RunId], config: params.Train, work: Work, place: Place | None) -> float:
    """Train the runs of `run_ids` and write their results to `work`; the seconds that it took to warm up.

    `place`: the stage's, to be shown.

    Raises
    ------
    UserError
        If a training fails, or nodes are lost more often than `train.ray.retries`; results and checkpoints stay in
        `work`.
    """
    _connect()
    at_once = min(_runs_per_task(work, config), -(-len(run_ids) // _slots(config.ray)))
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    server = ray.remote(ResultServer).options(num_cpus=0, scheduling_strategy=here).remote(work)
    data, folds = _data(config.ray.features, tuple(work.plan.names)), corpus.read_folds()
    task = _task(_train, config.ray)
    remote = RemoteWork(server, work.variant, work.plan)
    pending = [
        task.remote(run_ids[start : start + at_once], data, folds, remote, config.checkpoint_seconds, versions())
        for start in range(0, len(run_ids), at_once)
    ]
    with Progress(work.name, run_ids, place) as progress:
        try:
            while pending:
                done, pending = ray.wait(pending, timeout=0.5)
                for report in ray.get(server.reports.remote()):
                    progress.update(*report)
                ray.get(done)
        except ray.exceptions.RayError as error:
            raise UserError(f"{work.variant}: {_explain(error)}") from None
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
            ray.kill(server)
    return progress.warm_up()


def _connect() -> None:
    """Join the cluster that RAY_ADDRESS names or that runs on this machine, and send it the code."""
    if ray is None:
        raise UserError("train.engine is ray, but Ray is not installed: pip install -r requirements-ray.txt")
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        if address != "auto":  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        own_code = {"py_modules": [str(code.PROJECT / "stages")], "excludes": ["**/__pycache__"]}
        ray.init(address, logging_level="ERROR", runtime_env=own_code | {"env_vars": ENVIRONMENT})
    except ray.exceptions.AuthenticationError as error:
        reason = str(error).partition(". ")[0]
        raise UserError(
            f"train.engine is ray, but this machine lacks the cluster's token ({reason}): copy ~/.ray/auth_token from "
            "the machine that it was made on, as docs/cluster.md says, or name its file in RAY_AUTH_TOKEN_PATH"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"train.engine is ray, but no Ray cluster can be reached (RAY_ADDRESS: {address}; {reason})"
        ) from None


def _slots(task: params.Ray) -> int:
    """How many tasks the cluster has room for."""
    wanted = {"CPU": task.cpus, "GPU": task.gpus}
    slots = sum(
        min(int(node["Resources"].get(kind, 0) // number) for kind, number in wanted.items() if number)
        for node in ray.nodes()
        if node["Alive"]
    )
    if not slots:
        raise UserError(
            f"no node of the Ray cluster has the {wanted['CPU']:g} CPUs and {wanted['GPU']:g} GPUs that train.ray asks "
            "for each task"
        )
    return slots


@cache
def _data(how: str, modalities: tuple[str, ...]):
    """What tasks are given of the features: themselves, or the folder of the project (`train.ray.features`)."""
    return Path.cwd() if how == "shared" else ray.put(features.read(modalities))


def _opened(data: features.Features | Path, modalities: list[str]) -> features.Features:
    if isinstance(data, Path):
        if not (data / features.FOLDER).is_dir():
            raise UserError(f"train.ray.features is shared, but {data} has no features on every node: use ship")
        return features.read(modalities, data / features.FOLDER, data / corpus.FOLDER)
    writable = {  # as torch wants embeddings
        name: own if own.embedding is None else dataclasses.replace(own, embedding=own.embedding.copy())
        for name, own in data.sequences.items()
    }
    return dataclasses.replace(data, sequences=writable)


def _task(function, task: params.Ray):
    return ray.remote(function).options(num_cpus=task.cpus, num_gpus=task.gpus, max_retries=task.retries)


def _runs_per_task(work: Work, config: params.Train) -> int:
    """`capacity.runs_per_process` on a node: this machine may lack what the nodes have."""
    count = _task(_count, config.ray)
    try:
        return ray.get(count.remote(work.plan, work.positions, config.together, versions()))
    except ray.exceptions.RayError as error:
        raise UserError(f"{work.variant}: {_explain(error)}") from None


def _count(plan: Plan, positions: int, together: int | str, expected: dict[str, str]) -> int:
    _check(plan, expected)
    return runs_per_process(plan, positions, together)


def _train(
    run_ids: list[RunId],
    data,
    folds: pd.DataFrame,
    work: RemoteWork,
    checkpoint_seconds: float,
    expected: dict[str, str],
) -> None:
    """A task: train the runs of `run_ids` at once."""
    _check(work.plan, expected)
    workers.keep_freed_memory()

    def report(run: RunId, progress: RunProgress) -> None:
        work.server.report.remote(run, progress)

    opened = _opened(data, work.plan.names)
    workers.train_runs(run_ids, opened, folds, work, len(run_ids), checkpoint_seconds, report)


def _check(plan: Plan, expected: dict[str, str]) -> None:
    """A node may have other libraries, or import another copy of `stages` than the one that it was sent."""
    own, expected = versions() | code.hashes(plan.training_code), expected | plan.training_code
    other = {name: value for name, value in expected.items() if own.get(name) != value}
    differ = [f"{name} {own.get(name, 'missing')} and not {value}" for name, value in other.items()]
    if differ:
        raise UserError(f"all nodes must have the same software, but {platform.node()} has {', '.join(differ)}")


def _explain(error: Exception) -> str:
    """What became of a task, and what to do."""
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        while isinstance(cause, ray.exceptions.RayTaskError):  # of the ResultServer
            cause = cause.cause
        if isinstance(cause, UserError):
            return str(cause).removesuffix(f" {workers.SAFE}").removesuffix(".") + f". {workers.SAFE}"
        return f"a task failed with {type(cause).__name__}: {cause}. {workers.SAFE}"
    if isinstance(error, ray.exceptions.ObjectStoreFullError):
        return (
            "the corpus does not fit into Ray's object store: start nodes with a larger --object-store-memory, or use "
            "train.ray.features: shared"
        )
    reason = str(error).strip().partition("\n")[0]
    return (
        f"a task was lost more often than train.ray.retries allows ({type(error).__name__}: {reason}). Out of memory: "
        f"ask for more train.ray.cpus a task. {workers.SAFE}"
    )
