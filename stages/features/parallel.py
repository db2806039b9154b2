"""Jobs of extraction in worker processes; each one's result is kept in `.work/`, and found there the next time.

It is kept under a hash of the job's content, of which parts of it are wanted, and of all that computes it: settings,
weights, code and libraries. So what was killed goes on where it was, and a rerun computes only what differs.
"""

import hashlib
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from stages.common import code, extractors, processes, progress, records, work_folder
from stages.common.errors import UserError
from stages.common.media import MissingLibrary
from stages.corpus.clips import Job
from stages.corpus.contents import unusable
from stages.features import file_digests
from stages.features.encoding import Encoder

FOLDER = Path("features")
"""In `.work/`."""
LIBRARIES = ("numpy", "scipy", "soundfile", "soxr", "av", "opencv-python-headless", "torch", "transformers")
DECIDING = ("stages.features.", "stages.common.media")
"""Modules whose code decides results, of those that an extractor imports."""
KILLED = "a worker process was killed; if by the kernel, out of memory"
SAFE = "What is extracted is safe in .work/: the next dvc repro resumes from it"
KEEP_EVERY = 200  # jobs after which the digests of files are kept


@dataclass(frozen=True, kw_only=True)
class Task:
    """How the jobs of a modality are done; each worker has it."""

    modality: str
    settings: extractors.Section
    made_by: str
    """A hash of all that decides a result but the job itself."""
    digests: dict[str, file_digests.Entry]
    """What is known of files' contents."""
    folder: Path
    """Where results are kept."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a job."""

    record: Path | None = None
    """Where its features are; None if it failed."""
    size: int = 0
    """Features a position; 0 where none of the job's parts has a position."""
    digest: file_digests.Entry | None = None
    """Of its file."""
    error: str = ""


def do(jobs: list[Job], modality: str, settings: extractors.Section, *, skip: bool) -> tuple[Task, list[Done]]:
    """Do all jobs that are not done yet, on every core (on CUDA in one process).

    Raises
    ------
    UserError
        If weights or a library are missing, a worker is killed or, unless `skip`, a file cannot be read. What is done
        by then is kept.
    """
    folder = work_folder.shared() / FOLDER
    index = folder / "files.json"
    digests = file_digests.read(index)
    device = _device(settings, modality)
    task = Task(
        modality=modality,
        settings=settings,
        made_by=_made_by(settings, device, digests),
        digests=digests,
        folder=folder,
    )
    done: dict[int, Done] = {}
    with _pool(task, len(jobs), cuda=device == "cuda") as pool:
        try:
            futures = {pool.submit(_do, job): i for i, job in enumerate(jobs)}
            for future in progress.line(f"features {modality}", "files", as_completed(futures), len(jobs)):
                i = futures[future]
                done[i] = future.result()
                if done[i].digest:
                    digests[str(jobs[i].path)] = done[i].digest
                if done[i].error and not skip:
                    raise UserError(f"{done[i].error}; corpus.on_error: skip leaves its utterances without {modality}")
                if len(done) % KEEP_EVERY == 0:
                    file_digests.write(index, digests)
        except BaseException as error:
            for worker in multiprocessing.active_children():
                worker.terminate()  # rather than wait for the jobs that are left
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                print(f"modalities.{modality}: interrupted. {SAFE}", file=sys.stderr)
            if isinstance(error, BrokenProcessPool):
                raise UserError(f"modalities.{modality}: {KILLED}. {SAFE}") from None
            raise
        finally:
            file_digests.write(index, digests)
    return task, [done[i] for i in range(len(jobs))]


def _pool(task: Task, jobs: int, *, cuda: bool) -> ProcessPoolExecutor:
    """A worker on every core, or one that computes on CUDA, which does not survive a fork."""
    number = 1 if cuda else max(1, min(processes.cores(), jobs))
    context = multiprocessing.get_context("fork" if sys.platform == "linux" and not cuda else "spawn")
    return ProcessPoolExecutor(number, mp_context=context, initializer=_start, initargs=(task,))


def result(task: Task, job: Job, done: Done) -> list[np.ndarray]:
    """The features [T, F] of each of a job's parts; extracted again where their record is damaged."""
    record = records.read_record(done.record)
    if record is None:
        one_thread(task.settings)
        return Encoder(task.settings, task.modality)(job)
    return [record.arrays[str(i)] for i in range(len(job.parts))]


def _made_by(settings: extractors.Section, device: str | None, digests: dict[str, file_digests.Entry]) -> str:
    modules = code.hashes([f"stages.features.{settings.extractor}", "stages.features.encoding"])
    weights = getattr(settings, "weights", None)
    content = {
        "settings": settings.model_dump(exclude={"weights"}),
        "weights": weights,
        "device": device,
        "code": {name: own for name, own in modules.items() if name.startswith(DECIDING)},
        "libraries": [f"{name} {_version(name)}" for name in LIBRARIES],
    }
    if weights and weights != extractors.RANDOM and Path(weights).exists():
        content["weights"] = file_digests.of_weights(Path(weights).absolute(), digests)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _version(library: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(library)
    return "none"


def _device(settings: extractors.Section, modality: str) -> str | None:
    """Where an extractor computes, cpu or cuda; None where it has no choice."""
    if not hasattr(settings, "device"):
        return None
    from stages.features import device

    return device.resolve(settings.device, modality).type


def _start(task: Task) -> None:
    """Make a process a worker of one thread."""
    global _task, _encoder
    _task, _encoder = task, None
    processes.follow_parent()
    one_thread(task.settings)


def one_thread(settings: extractors.Section) -> None:
    """Have libraries compute in one thread: how many there are can change the last bits."""
    if extractors.medium(settings) == "video":
        import cv2

        cv2.setNumThreads(1)
    if hasattr(settings, "device"):
        import torch

        torch.set_num_threads(1)


def _do(job: Job) -> Done:
    """Extract a job, unless its result is there; of a file that cannot be read, say why.

    Raises
    ------
    UserError
        If the extractor, or what reads such files, cannot be had.
    """
    global _encoder
    reason = unusable(job.path) if job.path else None
    if reason:
        return Done(error=f"{job.path}: this file {reason}")
    try:
        digest = file_digests.entry(job.path, _task.digests) if job.path else None
    except OSError as error:
        return Done(error=f"{job.path}: this file cannot be read ({error.strerror})")
    path = _record(job, digest)
    record = records.read_record(path)
    if record is None:
        # made here, so that a rerun that finds everything loads no weights
        _encoder = _encoder or Encoder(_task.settings, _task.modality)
        try:
            parts = _encoder(job)
        except MissingLibrary:
            raise
        except UserError as error:
            return Done(error=str(error), digest=digest)
        size = max((own.shape[1] for own in parts if len(own)), default=0)
        record = records.Record(values={"size": size}, arrays={str(i): own for i, own in enumerate(parts)})
        _keep(path, record)
    return Done(record=path, size=record.values["size"], digest=digest)


def _keep(path: Path, record: records.Record) -> None:
    """Write a record, which another process may be writing too: of a file with the same content, or of a copy."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    records.write_record(own, record)
    own.replace(path)


def _record(job: Job, digest: file_digests.Entry | None) -> Path:
    parts = [asdict(part) if is_dataclass(part) else part for part in job.parts]
    content = json.dumps([_task.made_by, digest and digest[-1], parts], sort_keys=True)
    name = hashlib.sha256(content.encode()).hexdigest()
    return _task.folder / name[:2] / name
