"""The differences that several studies found, read from their `metrics/ttest.csv` and held against strict rules.

The files come from other checkouts and other machines, so nothing about them is taken for granted.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from stages.common.errors import UserError, short
from stages.ttest.student import ROUNDING

FILE = Path("metrics/ttest.csv")
"""Where a study's folder has its tests."""

LARGEST = 1e9
"""No number of such a file is larger."""

COLUMNS = ("a", "b", "score", "folds", "seeds", "difference", "se", "df")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def read(studies: list[str]) -> pd.DataFrame:
    """Read the studies given as `PATH` or `NAME=PATH`, a folder or a file.

    Returns
    -------
    `COLUMNS` and study, its name; one row a study, pair and score. A pair has the direction (a, b) that it has where it
    first comes. What could not be computed is NaN; a standard error that is nothing but rounding is 0.

    Raises
    ------
    UserError
        If two studies have the same name or are the same file, or a file is missing or breaks a rule.
    """
    named = [locate(study) for study in studies]
    for i, (name, path) in enumerate(named):
        for other, its_path in named[:i]:
            if name == other:
                raise UserError(
                    f"studies must have different names, but {its_path} and {path} are both {name!r}: "
                    "write NAME=PATH to name one"
                )
            if path.resolve() == its_path.resolve():
                raise UserError(f"studies must be different files, but {other!r} and {name!r} are both {path}")
    direction: dict[frozenset[str], tuple[str, str]] = {}
    rows = []
    for name, path in named:
        for row in read_file(path):
            own = row["a"], row["b"]
            a, b = direction.setdefault(frozenset(own), own)
            sign = 1 if (a, b) == own else -1
            rows.append(row | {"study": name, "a": a, "b": b, "difference": sign * row["difference"]})
    return pd.DataFrame(rows, columns=["study", *COLUMNS])


def locate(study: str) -> tuple[str, Path]:
    """The name and the file of a study given as `PATH` or `NAME=PATH`; without a name, it is that of its folder.

    Raises
    ------
    UserError
        If the name breaks the rule for names.
    """
    name, given, rest = study.partition("=")
    if not given or "/" in name:  # a path may have a = of its own
        name, rest = "", study
    path = Path(rest)
    folder = path if path.is_dir() else path.parent.parent if path.parent.name == FILE.parent.name else path.parent
    name = name or (folder.resolve() if folder.name in ("", "..") else folder).name
    if not name.strip() or not name.isprintable() or "|" in name or len(name) > 60:
        raise UserError(
            f"a study's name must be 1 to 60 printable characters without |, but is {short(name)}: "
            "write NAME=PATH to name it"
        )
    if not path.is_dir():
        return name, path
    outside = path / FILE.name  # where `stages.ttest --predictions` writes
    return name, outside if outside.exists() else path / FILE


def read_file(path: Path) -> list[dict]:
    """The rows of one `ttest.csv`, `COLUMNS` in each.

    Raises
    ------
    UserError
        If the file is missing or breaks a rule; the message has the line, the rule and the value.
    """
    rows: list[dict] = []
    first: dict[tuple, int] = {}
    for line, cells in _cells(path):
        try:
            row = read_row(cells)
            key = frozenset((row["a"], row["b"])), row["score"]
            if first.setdefault(key, line) != line:
                raise UserError(
                    f"a pair must have one row a score, but {row['a']}, {row['b']} and {short(row['score'])} are in "
                    f"line {first[key]} too"
                )
        except UserError as error:
            raise UserError(f"{path} line {line}: {error}") from None
        rows.append(row)
    return rows


def _cells(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row's last line in the file and its cells by the names of their columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, cells) for cells in reader]
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: STUDY must be the folder of a study that has {FILE}, or its file"
        ) from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} must be a CSV file in UTF-8, but is damaged ({short(error)})") from None
    header = lines[0][1] if lines else []
    for name in COLUMNS:
        if header.count(name) != 1:
            raise UserError(f"{path} must have one column {name}, but has {header.count(name)}")
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise UserError(f"{path} line {line}: must have {len(header)} cells, one a column, but has {len(cells)}")
        yield line, dict(zip(header, cells, strict=True))


def read_row(cells: dict[str, str]) -> dict:
    """`COLUMNS` of one row; what is empty because it could not be computed is NaN.

    Raises
    ------
    UserError
        If a cell breaks a rule.
    """
    for name in ("a", "b"):
        _hold(cells, name, "be 1 to 80 printable characters", lambda text: text.isprintable() and 0 < len(text) <= 80)
    _hold(cells, "b", "be another variant than a", lambda text: text != cells["a"])
    _hold(cells, "score", "be 1 to 80 printable characters", lambda text: text.isprintable() and 0 < len(text) <= 80)
    for name in ("folds", "seeds"):
        _hold(
            cells,
            name,
            f"be a whole number from 0 to {LARGEST:g}",
            lambda text: _within(text, 0) and not _number(text) % 1,
        )
    _hold(cells, "se", f"be a number from 0 to {LARGEST:g}, or empty", lambda text: not text or _within(text, 0))
    se = _number(cells["se"])
    tested = se > ROUNDING
    empty = ", as se is above 0" if tested else ", or empty"
    for name, least in (("difference", -LARGEST), ("df", 1 - ROUNDING if tested else 0)):
        rule = f"be a number from {least:g} to {LARGEST:g}{empty}"
        _hold(cells, name, rule, lambda text, least=least: _within(text, least) or not (text or tested))
    return {name: cells[name] for name in ("a", "b", "score")} | {
        "folds": int(_number(cells["folds"])),
        "seeds": int(_number(cells["seeds"])),
        "difference": _number(cells["difference"]),
        "se": 0.0 if se <= ROUNDING else se,
        "df": _number(cells["df"]),
    }


def _hold(cells: dict[str, str], name: str, rule: str, holds: Callable[[str], object]) -> None:
    """Raise a UserError unless the cell `name` obeys a rule."""
    if not holds(cells[name]):
        raise UserError(f"{name} must {rule}, but is {short(cells[name])}")


def _within(text: str, least: float) -> bool:
    return least <= _number(text) <= LARGEST


def _number(text: str) -> float:
    """The number that `text` writes in decimal, else NaN."""
    return float(text) if _NUMBER.fullmatch(text) else math.nan
