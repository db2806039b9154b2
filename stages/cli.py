"""How a stage ends: an error a user can act on is one line on stderr and a non-zero exit."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake in params or data; the message names the file, row or key, the rule and the value."""


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; a `UserError` or an `OSError` becomes one line on stderr and exit status 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)
