"""`.work/`: runs that are trained but not yet in a stage's outputs, and who is at work on what.

A run's results lie in `.work/<digest>/seed<S>_fold<F>/`. The digest is of all that a run depends on, so that results of
other code, params or data are never used. A stage that has written its outputs removes what it took from here. All of
`.work/` may be deleted while nothing trains.
"""

import fcntl
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from stages import features, files, params

FOLDER = Path(".work")
LIBRARIES = ("torch", "numpy", "numba")


class Work:
    """Runs of one variant by the same code, params and data."""

    def __init__(self, variant: str, config: params.Params):
        self.variant, self.digest = variant, _digest(variant, config)

    def run_folder(self, seed: int, fold: int) -> Path:
        """Where a run's results lie; whoever finds it finds it whole."""
        return FOLDER / self.digest / f"seed{seed}_fold{fold}"

    def unfinished(self, seed: int, folds: list[int]) -> list[tuple[int, int]]:
        """The runs (seed, fold) that have no results yet."""
        return [(seed, fold) for fold in folds if not self.run_folder(seed, fold).is_dir()]

    @contextmanager
    def writing(self, seed: int, fold: int, probabilities: np.ndarray, epochs: list[dict]) -> Iterator[Path]:
        """Write a run's results; further files may be put into the folder that is yielded."""
        with files.replacing(self.run_folder(seed, fold)) as folder:
            folder.mkdir()
            np.save(folder / "probabilities.npy", probabilities)
            files.write_text(folder / "epochs.json", json.dumps(epochs))
            yield folder

    def read(self, seed: int, fold: int) -> tuple[np.ndarray, list[dict]]:
        """A run's probabilities [test utterances, classes] and epochs."""
        folder = self.run_folder(seed, fold)
        epochs = json.loads((folder / "epochs.json").read_text(encoding="utf-8"))
        return np.load(folder / "probabilities.npy", allow_pickle=False), epochs

    def taken(self, seed: int, folds: list[int]) -> None:
        """Note that a seed's outputs are written, and remove its runs."""
        files.write_text(self._note(seed), self.digest + "\n")
        for fold in folds:
            shutil.rmtree(self.run_folder(seed, fold), ignore_errors=True)
        if not any((FOLDER / self.digest).iterdir()):
            (FOLDER / self.digest).rmdir()

    def is_current(self, seed: int, outputs: Path) -> bool:
        """Whether the outputs of a seed were last written here by this same work."""
        return outputs.is_dir() and self._note(seed).is_file() and self._note(seed).read_text().strip() == self.digest

    def _note(self, seed: int) -> Path:
        return FOLDER / "written" / f"{self.variant}_seed{seed}"


@contextmanager
def claim(variant: str, seed: int, *, wait: bool) -> Iterator[bool]:
    """Be the only process that trains a variant and seed, for the length of the block; whether that was granted.

    If another process, say the child of a DVC that was killed, is at it, say so and wait for its end, or yield False.
    """
    path = FOLDER / "locks" / f"{variant}_seed{seed}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            print(f"{variant} seed {seed}: another process trains it; waiting for its end", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield True


def note_time(seconds: dict[str, str | float]) -> None:
    """Add a line of JSON to `.work/timings.jsonl`: what a worker process spent its time on, in seconds."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "timings.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(seconds) + "\n")


def _digest(variant: str, config: params.Params) -> str:
    """A hash of all that a run depends on, but for seed and fold."""
    depends = {
        "variant": variant,
        "features": config.features.model_dump(),
        "model": config.model.model_dump(),
        "train": config.train.model_dump(exclude={"workers", "together"}),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode())
    code = Path(__file__).parents[1]
    read = [*sorted(code.glob("*.py")), *sorted((code / "train").glob("*.py"))]
    for path in [*read, features.FOLDER / "meta.json", features.FOLDER / "utterances.csv", features.FOLDS]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:32]
