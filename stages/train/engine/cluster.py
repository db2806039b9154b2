"""The engine `ray`: a stage's runs as tasks of a Ray cluster. docs/cluster.md tells how to set one up.

Tasks keep nothing themselves: checkpoints, results and reports go to the Desk, an actor beside the stage, which writes
them to `.work/` as the local engine does. So a task whose node is lost goes on elsewhere from its last checkpoint.
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

from stages.common import features, params
from stages.common.errors import UserError
from stages.train import ENVIRONMENT, protocol
from stages.train.engine import workers
from stages.train.engine.progress import Progress
from stages.train.engine.study import Place
from stages.train.engine.work import Key, Record, Work, software
from stages.train.protocol import Standing


class Desk:
    """Hands out checkpoints, keeps what tasks send, and collects what they report."""

    def __init__(self, work: Work):
        self.work, self.reported = work, []

    def checkpoint(self, key: Key) -> Record | None:
        """`Work.checkpoint`."""
        return self.work.checkpoint(key)

    def write_checkpoint(self, key: Key, checkpoint: Record) -> None:
        """`Work.write_checkpoint`."""
        self.work.write_checkpoint(key, checkpoint)

    def write_result(self, key: Key, result: Record) -> None:
        """`Work.write_result`."""
        self.work.write_result(key, result)

    def report(self, key: Key, standing: Standing) -> None:
        """Take note of how far a run is."""
        self.reported.append((key, standing))

    def reports(self) -> list[tuple[Key, Standing]]:
        """What was reported since this was last asked."""
        reported, self.reported = self.reported, []
        return reported


class RemoteWork:
    """A task's view of the Desk: what training needs of `Work`."""

    def __init__(self, desk):
        self.desk = desk

    def checkpoint(self, key: Key) -> Record | None:
        """`Work.checkpoint`."""
        return ray.get(self.desk.checkpoint.remote(key))

    def write_checkpoint(self, key: Key, checkpoint: Record) -> None:
        """`Work.write_checkpoint`."""
        ray.get(self.desk.write_checkpoint.remote(key, checkpoint))

    def write_result(self, key: Key, result: Record) -> None:
        """`Work.write_result`."""
        ray.get(self.desk.write_result.remote(key, result))


def room(variant: str, config: params.Params) -> int:
    """How many runs of a variant are trained at a time.

    Raises
    ------
    UserError
        If Ray is not installed, there is no cluster, or none of its nodes is large enough for a task.
    """
    _connect()
    return _slots(config) * _together(variant, config)


def train(variant: str, keys: list[Key], config: params.Params, work: Work, place: Place | None) -> float:
    """Train the runs of `keys` and write their results to `work`; the seconds that it took to warm up.

    `place`: the stage's, to be shown.

    Raises
    ------
    UserError
        If a training fails, or nodes are lost more often than `train.ray.retries`; results and checkpoints stay in
        `work`.
    """
    _connect()
    together = min(_together(variant, config), -(-len(keys) // _slots(config)))
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote(work)
    task, corpus, folds = _task(_train, config), _corpus(config.train.ray.features), features.read_folds()
    pending = [
        task.remote(variant, keys[start : start + together], corpus, folds, config, desk, software())
        for start in range(0, len(keys), together)
    ]
    with Progress(variant, keys, place) as progress:
        try:
            while pending:
                done, pending = ray.wait(pending, timeout=0.5)
                for key, standing in ray.get(desk.reports.remote()):
                    progress.update(key, standing)
                ray.get(done)
        except ray.exceptions.RayError as error:
            raise UserError(f"{variant}: {_explain(error)}") from None
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
            ray.kill(desk)
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
        code = {"py_modules": [str(Path(features.__file__).parents[1])], "excludes": ["**/__pycache__"]}
        ray.init(address, logging_level="ERROR", runtime_env=code | {"env_vars": ENVIRONMENT})
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


def _slots(config: params.Params) -> int:
    """How many tasks the cluster has room for."""
    wanted = {"CPU": config.train.ray.cpus, "GPU": config.train.ray.gpus}
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
def _corpus(how: str):
    """What tasks are given of the corpus, as `train.ray.features` has it: itself, or where it lies."""
    if how == "shared":
        return features.FOLDER.absolute()
    return ray.put(features.read())


def _opened(corpus: features.Features | Path) -> features.Features:
    if isinstance(corpus, Path):
        if not corpus.is_dir():
            raise UserError(f"train.ray.features is shared, but {corpus} is no folder on every node: use ship")
        return features.read(corpus)
    return dataclasses.replace(corpus, embedding=corpus.embedding.copy())  # torch wants it writable


def _task(function, config: params.Params):
    resources = config.train.ray
    return ray.remote(function).options(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=resources.retries)


def _together(variant: str, config: params.Params) -> int:
    """`protocol.together` on a node: this machine may lack what the nodes have."""
    longest = features.read_meta().longest
    try:
        return ray.get(_task(_count_together, config).remote(variant, longest, config, software()))
    except ray.exceptions.RayError as error:
        raise UserError(f"{variant}: {_explain(error)}") from None


def _count_together(variant: str, longest: dict[str, int], config: params.Params, expected: dict[str, str]) -> int:
    _check(expected)
    return protocol.together(variant, longest, config)


def _train(
    variant: str,
    keys: list[Key],
    corpus,
    folds: pd.DataFrame,
    config: params.Params,
    desk,
    expected: dict[str, str],
) -> None:
    """A task: train the runs of `keys` at once."""
    _check(expected)
    workers.keep_freed_memory()

    def report(key: Key, standing: Standing) -> None:
        desk.report.remote(key, standing)

    workers.train_runs(variant, keys, _opened(corpus), folds, config, RemoteWork(desk), len(keys), report)


def _check(expected: dict[str, str]) -> None:
    """A node may have other libraries, or import another copy of `stages` than the one that it was sent."""
    own = software()
    differ = [f"{name} {own[name][:12]} and not {value[:12]}" for name, value in expected.items() if own[name] != value]
    if differ:
        raise UserError(f"all nodes must have the same software, but {platform.node()} has {', '.join(differ)}")


def _explain(error: Exception) -> str:
    """What became of a task, and what to do."""
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        while isinstance(cause, ray.exceptions.RayTaskError):  # of the Desk
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
