"""Writing a stage's outputs whole or not at all, and locks between processes."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or a folder to; it takes `path`'s place only if the block succeeds.

    All is on the disk by then, so that a power cut leaves the old or the new.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        yield partial
        for written in (partial, *(partial.rglob("*") if partial.is_dir() else ())):
            _flush(written)
        if path.is_dir():
            _remove(path)
        partial.replace(path)
        _flush(path.parent)
    except BaseException as error:
        with suppress(OSError):  # the error that led here says more
            _remove(partial)
        if isinstance(error, OSError) and (error.filename is None or str(error.filename).startswith(str(partial))):
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` to `path` as CSV without its index; floats keep all their digits."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


@contextmanager
def lock(path: Path, waiting: str | None, *, inherited: bool = False) -> Iterator[bool]:
    """Hold a lock that ends with its process, for the length of the block; whether that was granted.

    If another process holds it, print `waiting`, with its process id for `{owner}`, and wait, or yield False without.
    Child processes that are started with `close_fds=False` hold an `inherited` lock too, until the last of them ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as held:
        os.set_inheritable(held.fileno(), inherited)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                yield False
                return
            held.seek(0)
            print(waiting.format(owner=held.read().strip()), file=sys.stderr)
            fcntl.flock(held, fcntl.LOCK_EX)
        held.truncate(0)
        held.write(f"{os.getpid()}\n")
        held.flush()
        yield True


def _flush(path: Path) -> None:
    """Have the content of a file or a folder written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
