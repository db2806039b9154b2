"""How a stage begins and ends: alone, and an error a user can act on is one line on stderr and a non-zero exit."""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn

from stages.common import files
from stages.common.errors import UserError

_FULL = "; nothing half-written is left: make room (`make clean-work` empties .work/), then run again"
_CLOSED = "; nothing half-written is left: let this user write there, then run again"
_FILES = "; allow this process more (`ulimit -n`), then run again"
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _CLOSED),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
}
"""What to do about errors of the operating system."""


class ArgumentParser(argparse.ArgumentParser):
    """One whose errors are a `UserError`: one line."""

    def error(self, message: str) -> NoReturn:  # noqa: D102
        raise UserError(message)


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; a mistake, an error of the system or no more memory: one line on stderr, exit status 1."""
    try:
        with _alone():
            main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        advice = ADVICE.get(error.errno, "")
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror or error}{advice}")
    except MemoryError as error:
        sys.exit(f"error: out of memory ({error or 'no more was to be had'}); nothing half-written is left")
    except KeyboardInterrupt:
        sys.exit(130)


def _alone() -> AbstractContextManager[bool]:
    """Wait until no other process runs the stage that DVC has begun: a DVC that was killed leaves its stage running."""
    stage = os.environ.get("DVC_STAGE")
    if stage is None:
        return nullcontext(True)
    name = stage.replace("/", "_")  # of params that nobody has checked, if `plan` was passed over
    return files.lock(Path(".work/locks") / name, f"{stage}: another process ({{owner}}) runs it; waiting for its end")
