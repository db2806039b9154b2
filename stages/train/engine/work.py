"""`.work/`: checkpoints and results of runs, and which process trains what.

A run's files lie in `.work/<digest>/`: `seed<S>_fold<F>.checkpoint` while it is trained, then `seed<S>_fold<F>.result`.
The digest is of all that a run depends on, so that files of other code, params or data are never used. Compiled loops
have digests of their own (`kernels/compiled.py`). Copies that DVC makes for experiments share the project's `.work/`.
`.work/times/` says how long runs took. All of it may be deleted while nothing trains (`make clean-work` leaves the
times); what is old or too much is removed when a training begins (`train.work` in params.yaml).
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from stages.common import corpus, features, files, params, tuning
from stages.common.errors import UserError, restorable
from stages.common.plan import Plan
from stages.common.records import Record, RunId, read_record, write_record
from stages.common.work_folder import OWN, shared

LIBRARIES = ("torch", "numpy", "numba")

TIMES = "times"
"""In `.work/`, the folder of how long runs took, which stays when results go (`make clean-work`)."""

_IN_USE = 3600  # seconds for which a digest's files are never removed after they were last used


class Work:
    """Runs of one variant by the same plan, data and libraries."""

    def __init__(self, variant: str, plan: Plan, data: str):
        """`data`: the `data_digest`."""
        self.variant, self.plan = variant, plan
        self.name = variant
        """For people, with the number of the draw where there are several."""
        sequences = {name: features.read_modality_meta(name) for name in plan.names}
        self.positions = sum(meta.longest for meta in sequences.values())
        """Of the longest sequences of all modalities: what a run's work is about proportional to."""
        self.digest = _digest(plan, data, sequences)
        self.folder = shared() / self.digest

    def unfinished(self, seed: int, folds: list[int]) -> list[RunId]:
        """The runs of a seed that have no results yet; of the others, what a kill has left of checkpoints goes."""
        runs = [RunId(seed, fold) for fold in folds]
        unfinished = [run for run in runs if self.result(run) is None]
        for run in runs:
            if run not in unfinished:
                self._path(run, "checkpoint").unlink(missing_ok=True)
        return unfinished

    def begun(self, run_ids: list[RunId]) -> list[RunId]:
        """Those of the runs that have a checkpoint."""
        return [run for run in run_ids if self._path(run, "checkpoint").exists()]

    def has_result(self, run: RunId) -> bool:
        """Whether there is a file of what a run has left, whole or not."""
        return self._path(run, "result").exists()

    def result(self, run: RunId) -> Record | None:
        """What a run that has ended left, if it is there and whole."""
        return read_record(self._path(run, "result"))

    def write_result(self, run: RunId, result: Record) -> None:
        """Keep what a run that has ended left; its checkpoint goes."""
        write_record(self._path(run, "result"), result)
        self._path(run, "checkpoint").unlink(missing_ok=True)

    def checkpoint(self, run: RunId) -> Record | None:
        """The checkpoint of a run after one of its epochs, if it is there and whole."""
        return read_record(self._path(run, "checkpoint"))

    def write_checkpoint(self, run: RunId, checkpoint: Record) -> None:
        """Keep a run's checkpoint instead of the one before."""
        write_record(self._path(run, "checkpoint"), checkpoint)

    def write_times(self, seed: int, results: dict[int, Record]) -> None:
        """Keep the seconds of each epoch of a seed's runs, fold → result, for as long as `.work/` is there."""
        seconds = {fold: result.values.get("seconds", []) for fold, result in results.items()}
        files.write_text(self._times(seed), json.dumps(seconds) + "\n")

    def times(self, seed: int) -> dict[int, list[float]]:
        """What `write_times` kept, wherever the outputs come from; empty if nothing is there."""
        with suppress(FileNotFoundError, ValueError, TypeError, AttributeError):  # what cannot be read is not there
            return {int(fold): list(own) for fold, own in json.loads(self._times(seed).read_bytes()).items()}
        return {}

    def _path(self, run: RunId, kind: str) -> Path:
        return self.folder / f"seed{run.seed}_fold{run.fold}.{kind}"

    def _times(self, seed: int) -> Path:
        return shared() / TIMES / f"{self.digest}_seed{seed}.json"


class Draws:
    """The work of all draws of a variant; that of a variant that is not tuned is one."""

    def __init__(self, variant: str, data: str):
        """`data`: the `data_digest`."""
        self.variant, self.plan, self.data = variant, tuning.read(variant), data
        works = [Work(variant, plan, data) for plan in self.plan.plans()]
        different = {work.digest: work for work in works}
        self.works = list(different.values())
        """The different ones: draws of the same settings are trained once."""
        self.by_draw = [different[work.digest] for work in works]
        if len(self.works) > 1:
            for number, work in enumerate(self.works, start=1):
                work.name = f"{variant} draw {number} of {len(self.works)}"
        self.positions = works[0].positions
        self.digest = works[0].digest if not self.plan.draws else _hash([work.digest for work in works])[:32]

    def note_written(self, seed: int, *, runs: int, seconds: float) -> None:
        """Note that a seed's outputs are written, by a stage that has trained some runs and taken some seconds."""
        note = {"digest": self.digest, "runs": runs, "seconds": round(seconds, 1)}
        files.write_text(self._note(seed), json.dumps(note) + "\n")

    def written(self, seed: int, outputs: Path) -> tuple[int, float] | None:
        """The runs and seconds noted of a seed's outputs, if they were last written here by this same work."""
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # what cannot be read is no note
            note = json.loads(self._note(seed).read_text(encoding="utf-8"))
            if note["digest"] == self.digest and outputs.is_dir():
                return int(note["runs"]), float(note["seconds"])
        return None

    @contextmanager
    def lock(self, seed: int, *, wait: bool) -> Iterator[bool]:
        """Lock a seed for training, for the length of the block; yields False if another process holds a lock.

        With `wait`, say so and wait for its end instead. It may be the child of a DVC that was killed, or train the
        same for another experiment.
        """
        for work in self.works:
            if work.folder.is_dir():
                os.utime(work.folder)  # it is in use
        name = f"{self.variant} seed {seed}"
        waiting = f"{name}: another process ({{owner}}) trains it; waiting for its end" if wait else None
        runs = (shared() / "locks" / f"{digest}_seed{seed}" for digest in sorted(work.digest for work in self.works))
        with ExitStack() as locks:
            paths = (OWN / "locks" / f"{self.variant}_seed{seed}", *runs)
            yield all(locks.enter_context(files.lock(path, waiting)) for path in paths)

    def _note(self, seed: int) -> Path:
        return OWN / "written" / f"{self.variant}_seed{seed}"


def verify_features(modalities: list[str]) -> None:
    """Compare the prepared arrays of some modalities with their checksums, so that no result is of others.

    Raises
    ------
    UserError
        If one is missing or differs, or if features were made for other labels; names the file.
    """
    labels = corpus.labels_digest()
    for modality in modalities:
        path = features.FOLDER / modality / features.LABELS
        with restorable(path):
            if path.read_text(encoding="utf-8").strip() != labels:
                raise UserError(f"must be of the classes and labels in {corpus.FOLDER}, but is of others")
    note = OWN / "verified.json"
    waiting = f"another process ({{owner}}) compares {features.FOLDER} with its checksums; waiting for its end"
    with files.lock(OWN / "locks" / "verified", waiting):
        try:
            before = dict(json.loads(note.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            before = {}
        verified = features.verify(modalities, before)
        if not verified.items() <= before.items():
            files.write_text(note, json.dumps(before | verified))


def versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    return {name: version(name) for name in LIBRARIES}


def remove_old(limits: params.WorkLimits) -> None:
    """Remove the files of digests that were not used for `limits.days`, then the oldest until `limits.gib` are left.

    Those that were used within the hour, or that a process trains now, stay.
    """
    now, kept = time.time(), []
    for folder in (path for path in shared().glob("*") if len(path.name) == 32 and path.is_dir()):
        stats = _stats(folder)
        kept.append((max((s.st_mtime for s in stats), default=now), sum(s.st_size for s in stats), folder))
    total = sum(size for _, size, _ in kept)
    for used, size, folder in sorted(kept):
        too_old, too_much = now - used > 86400 * limits.days, total > 2**30 * limits.gib
        if (too_old or too_much) and now - used > _IN_USE and not _trained_now(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def note_time(seconds: dict[str, str | float]) -> None:
    """Add a line of JSON to `.work/timings.jsonl`: what a worker process spent its time on, in seconds."""
    OWN.mkdir(exist_ok=True)
    with (OWN / "timings.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(seconds) + "\n")


def data_digest() -> str:
    """A hash of what all runs are told of the utterances: their classes, folds and parts."""
    return _hash([corpus.labels_digest(), corpus.FOLDS.read_text(encoding="utf-8")])


def _digest(plan: Plan, data: str, sequences: dict[str, features.ModalityMeta]) -> str:
    """A hash of all that a run depends on, but for seed and fold: of the features only what the variant uses."""
    own = {name: [meta.kind, meta.longest, meta.checksums] for name, meta in sequences.items()}
    return _hash([plan.model_dump(exclude={"output_code"}), data, own, versions()])[:32]


def _hash(content: list) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _stats(folder: Path) -> list[os.stat_result]:
    """Of a folder and its files, but for those that another process removes meanwhile."""
    found = []
    with suppress(FileNotFoundError):
        for path in (folder, *folder.iterdir()):
            with suppress(FileNotFoundError):
                found.append(path.stat())
    return found


def _trained_now(digest: str) -> bool:
    for path in (shared() / "locks").glob(f"{digest}_*"):
        with files.lock(path, None) as free:
            if not free:
                return True
    return False
