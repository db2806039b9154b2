"""What a source finds in a corpus, before any of it is written; and what releases of media have in common."""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from stages.common.corpus import Meta
from stages.common.errors import UserError, short
from stages.common.params import Corpus
from stages.corpus import writer

POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git LFS left in place of the real one."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A corpus as its source finds it."""

    meta: Meta
    utterances: list[dict]
    """As `writer.write` takes them. Of files: `<medium>_file_name` (from the corpus's folder, empty where missing),
    `<medium>_start` and `<medium>_end` (seconds, empty: all of the file), `video_crop` (left or right half, or empty),
    `transcription`; of dimensions: `valence`, `activation`, `dominance` (numbers, empty where
    unknown)."""
    folds: pd.DataFrame | None = None
    """Those that the corpus brings (`corpus.check_folds`)."""
    problems: list[str] = field(default_factory=list)
    """What is missing or broken, a line each that names it; `corpus.on_error` says what follows."""
    notes: list[str] = field(default_factory=list)
    """Lines that tell what was found."""

    def write(self, folder: Path) -> None:
        """Write `data/corpus/` into `folder` (`writer.write`)."""
        writer.write(folder, meta=self.meta, utterances=self.utterances, folds=self.folds)


def find_root(corpus: Corpus) -> Path:
    """The corpus's folder.

    Raises
    ------
    UserError
        If it is no folder.
    """
    root = Path(corpus.root)
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise UserError(f"{root}: corpus.root must be a folder, but {found}")
    return root


def unusable(path: Path) -> str | None:
    """Why a media file cannot be one, without opening it as media; None if it may be.

    Links are followed: people keep large files on other disks.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "is no file, but a folder or a device"
        if not status.st_size:
            return "is empty"
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                return "is a pointer of Git LFS, not the file itself: `git lfs pull` fetches it"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:  # a loop of links, no right to read
        return f"cannot be read ({error.strerror})"
    return None


def class_of(label: str, corpus: Corpus, known: Mapping[str, str | None]) -> str | None:
    """The class that a release's own label means, None if its utterances are left out.

    `known`: what the corpus's labels mean; `corpus.labels` goes before it.
    """
    return (corpus.labels or {}).get(label, known.get(label))


def ordered_classes(found: Iterable[str], corpus: Corpus, order: Iterable[str], place: Path) -> list[str]:
    """The classes in the order of `corpus.classes` if it is a list, else in `order`, and those beyond it sorted.

    Raises
    ------
    UserError
        If there are fewer than two, or `corpus.classes` is a list and has not the same.
    """
    there = set(found)
    if isinstance(corpus.classes, list):
        beyond, missing = sorted(there - set(corpus.classes)), [name for name in corpus.classes if name not in there]
        if beyond:
            raise UserError(
                f"{place}: labels must mean one of {', '.join(corpus.classes)} (corpus.classes), but one means "
                f"{short(beyond[0])}; corpus.labels can leave it out (a label: null)"
            )
        if missing:
            raise UserError(f"{place}: every class of corpus.classes must have an utterance, but {missing[0]} has none")
        return corpus.classes
    known = [name for name in dict.fromkeys(order) if name in there]
    classes = known + sorted(there - set(known))
    if len(classes) < 2:
        raise UserError(f"{place}: must have utterances of two or more classes, but has {', '.join(classes) or 'none'}")
    return classes
