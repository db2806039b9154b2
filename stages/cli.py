"""How a stage ends: an error a user can act on is one line on stderr and a non-zero exit."""

import errno
import sys
from collections.abc import Callable

_FULL = "; nothing half-written is left: make room (`make clean-work` empties .work/), then run again"
_CLOSED = "; nothing half-written is left: let this user write there, then run again"
ADVICE = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EROFS: _CLOSED, errno.EACCES: _CLOSED, errno.EPERM: _CLOSED}
"""What to do about errors of the operating system."""


class UserError(Exception):
    """A mistake in params or data; the message names the file, row or key, the rule and the value."""


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; a mistake, an error of the system or want of memory: one line on stderr, exit status 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        advice = ADVICE.get(error.errno, "")
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror or error}{advice}")
    except MemoryError as error:
        sys.exit(f"error: memory does not suffice ({error or 'no more was to be had'}); nothing half-written is left")
    except KeyboardInterrupt:
        sys.exit(130)
