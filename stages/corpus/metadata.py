"""The rows of a metadata file: `metadata.csv`, `metadata.jsonl` or `metadata.parquet`, as folder datasets have them."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePosixPath

import pyarrow.parquet

from stages.common.corpus import DIMENSIONS, NAMES, PARTS
from stages.common.errors import UserError, short
from stages.corpus.writer import LONGEST_NAME

FILE_COLUMN = re.compile(r"([a-z][a-z0-9_]*)_file_name")
"""A column that names a modality's files; its group is the modality."""
TIMES = ("start", "end")
TRANSCRIPTION = "transcription"
OTHER_NAMES = {"validation": "dev", "valid": "dev", "val": "dev"}  # of parts

_FOLD = re.compile(r"0*[1-9][0-9]{0,5}")
_SECONDS = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_CLOCK = re.compile(r"(?:([0-9]{1,6}) days?)?(?: ?([0-9]{1,3}):([0-9]{1,2}):([0-9]{1,2})(?:[.,]([0-9]+))?)?")
_NO_TIME = ("", "nat", "nan")
_NUMBERS = (*DIMENSIONS, *TIMES)
_READ = (*NAMES, "fold", "part", TRANSCRIPTION, *_NUMBERS)

Record = tuple[str, Iterable[tuple[str, object]]]
"""A row's place in its file, for messages, and its columns with their values."""


@dataclass(frozen=True)
class Row:
    """One row of the metadata."""

    manifest: Path
    place: str
    """`line 3` of a text file, `row 3` of a Parquet file; both count from 1."""
    cells: dict[str, str]
    """Column → text, "" where empty; only columns that mean something here."""

    @property
    def name(self) -> str:
        """The utterance_id."""
        return self.cells["utterance_id"]

    @property
    def fold(self) -> int:
        """The fold's number."""
        if not _FOLD.fullmatch(self.cells["fold"]):
            raise self.error("fold", "a whole number in 1 … 999999")
        return int(self.cells["fold"])

    @property
    def part(self) -> str:
        """`train`, `dev` or `test`."""
        part = OTHER_NAMES.get(self.cells["part"], self.cells["part"])
        if part not in PARTS:
            raise self.error("part", "train, dev (or validation, valid, val) or test")
        return part

    def number(self, column: str) -> float | str:
        """A number; "" where it is unknown."""
        cell = self.cells.get(column, "")
        try:
            value = float(cell or "nan")
        except ValueError:
            value = float("inf")
        if value in (float("inf"), float("-inf")):
            raise self.error(column, "a finite number or empty")
        return "" if value != value else value

    def seconds(self, column: str) -> float | str:
        """A time from the file's beginning; "" where there is none. Text such as `0 days 00:00:01.5` is one, too."""
        cell = self.cells.get(column, "")
        if cell.lower() in _NO_TIME:
            return ""
        value = parse_time(cell)
        if value is None or not 0 <= value < float("inf"):
            raise self.error(column, "seconds from 0, or a time such as 0 days 00:00:01.5")
        return value

    def error(self, column: str, rule: str, found: str | None = None) -> UserError:
        """An error for a column that breaks a rule; `found`: what to say instead of its value."""
        cell, name = self.cells[column], self.cells.get("utterance_id")
        utterance = f" (utterance {short(name)})" if name and column != "utterance_id" else ""
        found = found or f"is {'empty' if cell in (None, '') else short(cell)}"
        return UserError(f"{self.manifest}: {self.place}{utterance}: {column} must be {rule}, but {found}")


def parse_time(text: str) -> float | None:
    """The seconds that a number means, or a time as pandas and subtitles write it; None if it is neither."""
    if _SECONDS.fullmatch(text):
        return float(text)
    clock = text and _CLOCK.fullmatch(text)
    if not clock:
        return None
    days, hours, minutes, whole, decimals = (part or "0" for part in clock.groups())
    return float(f"{((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(whole)}.{decimals}")


def find(root: Path) -> Path:
    """The metadata file that `corpus.root` names: itself, or the one in that folder.

    Raises
    ------
    UserError
        If there is none, or more than one.
    """
    if root.is_file() and root.suffix in READERS:
        return root
    if not root.is_dir():
        raise UserError(
            f"corpus.root must be a folder, or a metadata file that ends in {', '.join(READERS)}, "
            f"but is {short(str(root))}{'' if root.exists() else ', which does not exist'}"
        )
    names = [f"metadata{suffix}" for suffix in READERS]
    there = [name for name in names if (root / name).is_file()]
    if len(there) != 1:
        raise UserError(f"{root}: must hold one of {', '.join(names)}, but holds {' and '.join(there) or 'none'}")
    return root / there[0]


def read(manifest: Path, columns: Mapping[str, str | None] | None = None) -> list[Row]:
    """All rows, each checked for itself; columns that are empty in every row are left out.

    `columns`: the file's own names of columns → those that they have here (`corpus.columns`), None: not read. If it is
    given and there is no utterance_id, rows are named by their first file and the time in it where they begin.

    Raises
    ------
    UserError
        If the file is damaged or a rule is broken; names the file, the row, the column, the rule and the value.
    """
    left_out = {name for name, own in (columns or {}).items() if own is None}
    columns, content = {name: own for name, own in (columns or {}).items() if own}, manifest.read_bytes()
    _check_columns(columns)
    records = READERS[manifest.suffix](manifest, content, {name for name in columns if _is_read(columns[name])})
    records = ((place, [pair for pair in pairs if pair[0] not in left_out]) for place, pairs in records)
    rows = [_row(manifest, place, pairs, columns) for place, pairs in records]
    if not rows:
        raise UserError(f"{manifest}: must have a row for each utterance, but has none")
    absent = [name for name, own in columns.items() if not any(own in row.cells for row in rows)]
    if absent:
        raise UserError(f"{manifest}: corpus.columns must name columns of this file, but {short(absent[0])} is none")
    rows = _named(rows) if columns else rows
    filled = dict.fromkeys(column for row in rows for column, cell in row.cells.items() if cell)
    if not {"utterance_id", "label"} <= set(filled) or not any(map(_is_content, filled)):
        raise UserError(
            f"{manifest}: must have values in the columns utterance_id, label and <modality>_file_name (or "
            f"transcription), but has {', '.join(filled) or 'none'} of those that are read; corpus.columns maps other "
            "names"
        )
    rows = [replace(row, cells={column: row.cells.get(column, "") for column in filled}) for row in rows]
    for row in rows:
        _check(row)
    return rows


def _check_columns(columns: Mapping[str, str]) -> None:
    """Each name that `corpus.columns` gives must be one that is read, and given once."""
    given: dict[str, str] = {}
    for name, own in columns.items():
        if not _is_read(own):
            raise UserError(
                f"corpus.columns: {short(name)} must be one of {', '.join(_READ)} or <modality>_file_name, "
                f"but is {short(own)}"
            )
        if given.setdefault(own, name) != name:
            raise UserError(
                f"corpus.columns must give each name once, but {short(given[own])} and {short(name)} are {own}"
            )


def _is_content(column: str) -> bool:
    """Whether a modality can be made of a column."""
    return column == TRANSCRIPTION or bool(FILE_COLUMN.fullmatch(column))


def _named(rows: list[Row]) -> list[Row]:
    """The rows, with an utterance_id by their first file and the second in it where they begin, if there is none."""
    columns = dict.fromkeys(column for row in rows for column in row.cells)
    files = [column for column in columns if FILE_COLUMN.fullmatch(column)]
    if "utterance_id" in columns or not files:
        return rows
    named = []
    for row in rows:
        name = PurePosixPath(next((row.cells[column] for column in files if row.cells.get(column)), ""))
        start = parse_time(row.cells.get("start", ""))
        found = f"{name.with_suffix('') if name.name else ''}{'' if start is None else f'@{start:.15g}'}"
        named.append(replace(row, cells={"utterance_id": found} | row.cells))
    return named


def _row(manifest: Path, place: str, pairs: Iterable[tuple[str, object]], columns: Mapping[str, str]) -> Row:
    """A row with its cells as text; columns that mean nothing here are left out, since people's metadata have more.

    So is one that has a name of ours if `columns` gives that name to another.
    """
    cells: dict[str, object] = {}
    for name, value in pairs:
        column = columns.get(name, name)
        if name not in columns and column in columns.values():
            continue
        if not _is_read(column):
            if column.endswith("_file_name"):
                raise UserError(
                    f"{manifest}: the <modality> of a column <modality>_file_name must be a lower-case letter and then "
                    f"a-z, 0-9 or '_', but the column is {short(column)}"
                )
            continue
        if column in cells:
            raise UserError(f"{manifest}: {place}: must have each column once, but has {column} twice")
        cells[column] = value
    row = Row(manifest, place, cells)
    return replace(row, cells={column: _text(row, column) for column in cells})


@cache
def _is_read(column: str) -> bool:
    return column in _READ or bool(FILE_COLUMN.fullmatch(column))


def _text(row: Row, column: str) -> str:
    value, may_be_number = row.cells[column], column in (*NAMES, "fold", *_NUMBERS)
    if value is None or isinstance(value, str):
        return one_line(value) if value and column == TRANSCRIPTION else value or ""
    if may_be_number and type(value) is int:
        return str(value)
    if column in TIMES and isinstance(value, timedelta):
        return repr(value.total_seconds())
    if column in _NUMBERS:
        return str(value)  # checked as a number where it is used: a start may mean something else beside arrays
    raise row.error(column, "text or a whole number" if may_be_number else "text")


def one_line(text: str) -> str:
    """A transcript with one space for each run of blanks and of characters that cannot be printed."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _check(row: Row) -> None:
    """Check what concerns this row alone."""
    for column, cell in row.cells.items():
        if not cell.isprintable() and column not in _NUMBERS:
            raise row.error(column, "text of printable characters")
    for column in ("utterance_id", "label"):
        if not row.cells[column]:
            raise row.error(column, "text or a whole number")
    if len(row.name) > LONGEST_NAME:
        raise row.error("utterance_id", f"text of at most {LONGEST_NAME} characters")
    if row.cells["label"] != row.cells["label"].strip():  # else 'sad' and ' sad' would be two classes
        raise row.error("label", "without spaces around it")


def _read_csv(manifest: Path, content: bytes, also: set[str]) -> Iterator[Record]:
    lines = csv.reader(io.StringIO(_decoded(manifest, content), newline=""), strict=True)
    header, start = None, 1
    try:
        for cells in lines:
            place, start = f"line {start}", lines.line_num + 1  # a quoted cell may have several lines
            if not cells:  # an empty line
                continue
            header = header or cells
            if len(cells) != len(header):
                raise UserError(
                    f"{manifest}: {place}: must have {len(header)} cells as the header, but has {len(cells)}"
                )
            if cells is not header:
                yield place, zip(header, cells, strict=True)
    except csv.Error as error:
        raise UserError(f"{manifest}: line {start}: must be CSV, but cannot be read ({short(error)})") from None


class _Object(list):
    """The keys and values of a JSON object, with keys that are repeated."""


def _read_jsonl(manifest: Path, content: bytes, also: set[str]) -> Iterator[Record]:
    for number, line in enumerate(_decoded(manifest, content).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=_Object)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{manifest}: line {number}: must be a JSON object, but cannot be read ({short(error)})"
            ) from None
        if not isinstance(pairs, _Object):
            raise UserError(f"{manifest}: line {number}: must be a JSON object, but is {short(pairs)}")
        yield f"line {number}", pairs


def _read_parquet(manifest: Path, content: bytes, also: set[str]) -> Iterator[Record]:
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
        names = file.schema_arrow.names
        read = [name for name in dict.fromkeys(names) if _is_read(name) or name in also]
        columns = {name: [values.to_pylist() for values in file.read([name]).columns] for name in read}
        rows = file.metadata.num_rows if read else min(file.metadata.num_rows, 1)  # a damaged one may be huge
        if any(len(values) != rows for own in columns.values() for values in own):
            raise ValueError(f"a column does not have {rows} rows")
    except Exception as error:  # damage comes out of pyarrow as nearly anything
        raise UserError(f"{manifest}: must be a Parquet file, but cannot be read ({short(error)})") from None
    ignored = [(name, None) for name in names if name not in columns]
    for row in range(rows):
        yield f"row {row + 1}", [(name, values[row]) for name in read for values in columns[name]] + ignored


def _decoded(manifest: Path, content: bytes) -> str:
    """The text of a file in UTF-8, without its byte order mark."""
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise UserError(f"{manifest}: line {line}: must be UTF-8, but has the byte 0x{byte:02x}") from None


READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
"""How a metadata file's name ends → reader of its rows; `also`: columns to read beside those that have our names."""
