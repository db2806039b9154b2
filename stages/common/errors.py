"""The one error that a user can act on, and the parts that its messages are made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake in params or data; the message names the file, row or key, the rule and the value."""


def short(value: object) -> str:
    """A value or an exception on one line of at most 120 characters, for a message."""
    text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else repr(value)
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:119]}…"


@contextmanager
def restorable(path: Path) -> Iterator[None]:
    """Turn what goes wrong in reading `path`, which a stage has written, into a UserError that says how to get it back.

    Raises
    ------
    UserError
        If the file is missing or damaged, or breaks a rule.
    """
    try:
        yield
        return
    except FileNotFoundError:
        reason = "this file is missing"
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # of the parsers of JSON and CSV
        reason = f"this file is damaged ({short(error)})"
    raise UserError(f"{path}: {reason}; `dvc repro` or `dvc checkout --force {path}` restores it")
