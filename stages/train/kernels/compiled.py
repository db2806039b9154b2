"""numba's `njit`, with one cache of compiled loops for all copies of the same code: `.work/<digest>/`.

numba's own cache belongs to one path, does not notice that a function of another module has changed, and fails where a
file is damaged. The digest here is of the function's module, of all that it imports from this project, and of the
versions of numba, LLVM and Python; the file's name has the types and the processor. NUMBA_CACHE_DIR names another
folder than `.work/`. These files are machine code: whoever can write them decides what runs, as with the code itself.
"""

import functools
import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps, loads

from stages.common import code, files
from stages.common.records import Record, read_record, write_record
from stages.common.work_folder import shared

_CONTENT = "content"


def njit(function=None, *, cache: bool = False, **options):
    """`numba.njit`; with `cache`, what it compiles is kept for other processes and copies of the project."""
    if function is None:
        return functools.partial(njit, cache=cache, **options)
    dispatcher = numba.njit(function, **options)
    if cache:
        dispatcher._cache = Cache(function)  # as its `enable_caching` does with numba's own
    return dispatcher


class Cache(NullCache):
    """Where numba's dispatcher of one function looks for compiled code and leaves it."""

    def __init__(self, function):
        self.function = function

    def load_overload(self, signature, context) -> CompileResult | None:
        """The code for arguments of these types, if it is there and whole."""
        context.refresh()
        path, record = self._path(signature, context.codegen()), None
        with _unavailable(path.parent):
            record = read_record(path)
        if record is None:
            return None
        with suppress(OSError):
            os.utime(path)  # what was not used for long is removed
        return CompileResult._rebuild(context, *loads(record.arrays[_CONTENT].tobytes()))

    def save_overload(self, signature, result: CompileResult) -> None:
        """Keep code; where that cannot be, say so."""
        if result.lifted or result.library.has_dynamic_globals:  # it is of use to this process alone
            return
        content = np.frombuffer(dumps(result._reduce()), np.uint8)
        path = self._path(signature, result.library.codegen)
        with _unavailable(path.parent), files.lock(path.with_suffix(".lock"), None) as alone:
            if alone:  # else another process is writing the same
                write_record(path, Record(values={}, arrays={_CONTENT: content}))

    def _path(self, signature, codegen) -> Path:
        types = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()[:16]
        function = f"{self.function.__module__}.{self.function.__qualname__}"
        folder = Path(numba.config.CACHE_DIR) if numba.config.CACHE_DIR else shared(code.PROJECT)
        return folder / _digest(self.function.__module__) / f"{function}-{types}.compiled"


@functools.cache
def _digest(module: str) -> str:
    """A hash of all that decides what a module's functions are compiled to, but for the processor."""
    versions = [platform.python_version(), version("numba"), version("llvmlite")]
    return hashlib.sha256(repr((versions, code.hashes([module]))).encode()).hexdigest()[:32]


@contextmanager
def _unavailable(folder: Path) -> Iterator[None]:
    """Say that a folder cannot be used, and go on without it."""
    try:
        yield
    except OSError as error:
        _say(f"{folder}: {error.strerror}; compiled loops are not kept there: every process compiles its own")


@functools.cache
def _say(text: str) -> None:
    print(text, file=sys.stderr)
