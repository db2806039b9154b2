"""`python -m stages.ttest --predictions FILE…`: the same comparisons for models that were trained elsewhere."""

import argparse
import codecs
import csv as builtin_csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import csv, parquet
from pydantic import ValidationError

from stages.common import cli, task
from stages.common.errors import UserError, short
from stages.common.metrics import METRICS, PAPERS
from stages.common.params import Compare, explain
from stages.ttest import analysis, answers, design

REQUIRED = ("variant", "fold", "seed", "utterance_id", "actual", "predicted")
OPTIONAL = ("dialogue", "speaker", "session")
PROBABILITY = "probability_"
SCORES = [name for name, metric in METRICS.items() if metric.task == "classes"]
TEXT = pa.dictionary(pa.int32(), pa.string())
ROUNDING = 1e-6
"""By how much float32 may be beyond 1."""


def main(arguments: list[str]) -> None:
    """Read files of predictions, compare their models, write tables and figures."""
    options = _options(arguments)
    settings = _settings(options)
    columns = _mapping(options.columns)
    tables = [read(Path(path), columns) for path in options.predictions]
    joined = _join(tables)
    found = _arrange(joined, options.classes)
    needs = [name for name in settings.metrics if METRICS[name].needs_probabilities]
    if needs and found.probabilities is None:
        raise UserError(f"--metrics: {needs[0]} needs columns {PROBABILITY}<class>, but {joined.files[0][0]} has none")
    pairs = [tuple(pair) for pair in options.pair or []] or list(combinations(found.variants, 2))
    _check_pairs(pairs, found.variants)
    shape = design.of_predictions(_tested(joined), options.test_to_train)
    out = Path(options.out)
    analysis.analyse(found, pairs, settings, shape, options.corpus).write(out, out)
    print(f"{len(pairs)} pairs of {len(found.variants)} models compared: {out / 'ttest.md'}")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = cli.ArgumentParser(prog="python -m stages.ttest", description=__doc__)
    parser.add_argument("--predictions", nargs="+", required=True, metavar="FILE", help="CSV or .parquet")
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="NAME=YOURS", help="what the files call a column: variant=model"
    )
    parser.add_argument("--classes", nargs="+", help="the classes, in order; default: those of the files, sorted")
    parser.add_argument("--pair", nargs=2, action="append", metavar=("A", "B"), help="default: all pairs of models")
    parser.add_argument("--metrics", nargs="+", default=list(PAPERS), help=", ".join(SCORES))
    parser.add_argument("--margin", type=float, default=0.01, help="smaller differences are of no interest (.01)")
    parser.add_argument("--alpha", type=float, default=0.05, help="level of the tests (.05)")
    parser.add_argument(
        "--test-to-train", type=float, default=0.0, help="n_test / n_train of a fold, if above 1 / (folds - 1)"
    )
    parser.add_argument("--corpus", default="unknown", help="its name in tables and figures")
    parser.add_argument("--out", default="comparison", help="the folder to write to (comparison)")
    return parser.parse_args(arguments)


def _settings(options: argparse.Namespace) -> Compare:
    try:
        settings = Compare(metrics=options.metrics, margin=options.margin, alpha=options.alpha)
    except ValidationError as error:
        raise UserError("\n       ".join(f"--{explain(e)}" for e in error.errors())) from None
    if not 0 <= options.test_to_train < np.inf:
        raise UserError(f"--test-to-train must be a number from 0, but is {options.test_to_train}")
    for name in settings.metrics:
        if METRICS[name].task != "classes":
            raise UserError(f"--metrics must be scores of classes, but {name} is one of {METRICS[name].task}")
    return settings


def _mapping(arguments: list[str]) -> dict[str, str]:
    """Our name of a column → the files'."""
    known = (*REQUIRED, *OPTIONAL, PROBABILITY)
    found = {}
    for argument in arguments:
        name, equals, own = argument.partition("=")
        if not (equals and own) or name not in known:
            raise UserError(f"--columns must be NAME=YOURS with a NAME of {', '.join(known)}, but is {short(argument)}")
        if name in found:
            raise UserError(f"--columns must name each column once, but names {name} as {found[name]} and {own}")
        found[name] = own
    return found


def _check_pairs(pairs: list[tuple[str, str]], variants: list[str]) -> None:
    for pair in pairs:
        for name in pair:
            if name not in variants:
                raise UserError(f"--pair must name two models of {', '.join(variants)}, but {short(name)} is none")
    seen = {frozenset(pair) for pair in pairs}
    if len(seen) < len(pairs) or min(map(len, seen), default=2) < 2:
        raise UserError("--pair must name each pair of two different models once")
    if not pairs:
        raise UserError(f"there must be two models or more, but there is {', '.join(variants)} alone")


@dataclass(frozen=True)
class Table:
    """Rows of one file or several, with our names of columns."""

    files: list[tuple[Path, int]]
    """Each file and how many rows are from it."""
    rows: pd.DataFrame

    def where(self, i: int) -> str:
        """What a user calls a row: its file and its number there, the first below the header being 1."""
        for path, count in self.files:
            if i < count:
                return f"{path}: row {i + 1}"
            i -= count
        raise IndexError(i)


def read(path: Path, columns: dict[str, str]) -> Table:
    """The predictions in one file: text is categorical, probabilities `probability_<class>` are float32.

    `columns`: our name → the file's, where they differ.

    Raises
    ------
    UserError
        If it is no such file, lacks a column, a cell is empty or a probability is none.
    """
    read_file, kind = (_read_parquet, "Parquet") if path.suffix.lower() == ".parquet" else (_read_csv, "CSV")
    try:
        content = read_file(path, columns)
    except OSError as error:
        if error.errno is not None:  # else one of pyarrow's, which does not name the file
            raise
        raise UserError(f"{path} must be a {kind} file, but is not: {short(str(error))}") from None
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"{path} must be a {kind} file, but is not: {short(str(error))}") from None
    if not content.num_rows:
        raise UserError(f"{path} must have predictions, but has no row")
    table = Table([(path, content.num_rows)], content.to_pandas())
    for name in table.rows:
        _check_column(table, name)
    return table


def _own_names(path: Path, names: list[str], columns: dict[str, str]) -> dict[str, str]:
    """The file's names of the columns that are read → ours."""
    own = {}
    _refuse_dimensions(path, names, columns)
    for name in (*REQUIRED, *OPTIONAL):
        theirs = columns.get(name, name)
        if theirs in own:
            raise UserError(
                f"--columns must name each of the files' columns once, but {short(theirs)} is {own[theirs]} and {name}"
            )
        if theirs in names:
            own[theirs] = name
        elif name in REQUIRED or name in columns:
            raise UserError(
                f"{path} must have a column {theirs}, but has {', '.join(map(short, names)) or 'none'}; "
                f"--columns {name}=YOURS names another"
            )
    prefix = columns.get(PROBABILITY, PROBABILITY)
    found = [name for name in names if name.startswith(prefix) and name not in own and len(name) > len(prefix)]
    if PROBABILITY in columns and not found:
        raise UserError(f"{path} must have columns {prefix}<class>, but has {', '.join(map(short, names))}")
    own |= {theirs: PROBABILITY + theirs.removeprefix(prefix) for theirs in found}
    for theirs in own:
        if names.count(theirs) > 1:
            raise UserError(f"{path} must have each column once, but has {short(theirs)} {names.count(theirs)} times")
    return own


def _refuse_dimensions(path: Path, names: list[str], columns: dict[str, str]) -> None:
    """Raise a UserError if a file has values of dimensions, and no class."""
    for theirs in names:
        if theirs.startswith("actual_") and columns.get("actual", "actual") not in names:
            raise UserError(
                f"{path} must have predictions of classes, in columns actual and predicted, but has {theirs}: values "
                "of dimensions are compared within a study alone, with task: dimensions"
            )


def _read_csv(path: Path, columns: dict[str, str]) -> pa.Table:
    """Its columns by our names."""
    header = next(_records(path), [])
    try:
        names = [name.encode("latin-1").decode() for name in header]
    except UnicodeDecodeError:
        raise UserError(f"{path}: the header must be UTF-8, but is {short(','.join(header))}") from None
    own = _own_names(path, names, columns)
    options = csv.ConvertOptions(
        include_columns=list(own),
        column_types={theirs: pa.float32() if name.startswith(PROBABILITY) else TEXT for theirs, name in own.items()},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    quoted = csv.ParseOptions(newlines_in_values=True)
    try:
        with path.open("rb") as file:
            parsed = csv.read_csv(file, parse_options=quoted, convert_options=options)
    except pa.ArrowInvalid:
        _find_wrong_row(path, names, own)
        raise
    return parsed.rename_columns(list(own.values()))


def _records(path: Path) -> Iterator[list[str]]:
    """The rows of a CSV file whose bytes each stand for a character."""
    with path.open(encoding="latin-1", newline="") as file:
        if file.read(3) != codecs.BOM_UTF8.decode("latin-1"):
            file.seek(0)
        try:
            yield from filter(None, builtin_csv.reader(file))
        except builtin_csv.Error as error:
            raise UserError(f"{path} must be a CSV file, but is not: {error}") from None


def _find_wrong_row(path: Path, names: list[str], own: dict[str, str]) -> None:
    """Raise a UserError for the first row that breaks a rule of the format."""
    rows = _records(path)
    next(rows)
    for i, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise UserError(f"{path}: row {i}: must have {len(names)} cells as the header, but has {len(row)}")
        for theirs, cell in zip(names, row, strict=True):
            if theirs not in own:
                continue
            try:
                cell.encode("latin-1").decode()
                if own[theirs].startswith(PROBABILITY) and cell:
                    pa.scalar(cell.strip()).cast(pa.float32())
            except UnicodeDecodeError:
                raise UserError(f"{path}: row {i}: {own[theirs]} must be UTF-8, but is {short(cell)}") from None
            except pa.ArrowInvalid:
                raise UserError(f"{path}: row {i}: {own[theirs]} must be a number, but is {short(cell)}") from None


def _read_parquet(path: Path, columns: dict[str, str]) -> pa.Table:
    """Its columns by our names."""
    with path.open("rb") as opened:
        file = parquet.ParquetFile(opened)
        own = _own_names(path, file.schema_arrow.names, columns)
        content = file.read(columns=list(own)).select(list(own))
    return pa.table(
        {name: _converted(path, name, column) for name, column in zip(own.values(), content.columns, strict=True)}
    )


def _converted(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a Parquet file as numbers, if it is of probabilities, or as text."""
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if name.startswith(PROBABILITY):
            return column.cast(pa.float32(), safe=False)
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        return column.cast(pa.string()).dictionary_encode()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        kind = "numbers" if name.startswith(PROBABILITY) else "text or numbers"
        raise UserError(f"{path}: {name} must be {kind}, but is {short(str(column.type))}") from None


def _check_column(table: Table, name: str) -> None:
    """Raise a UserError for the first cell that is empty, has spaces around it or is no probability."""
    column = table.rows[name]
    if name.startswith(PROBABILITY):
        numbers = column.to_numpy()
        wrong, rule = ~((numbers >= 0) & (numbers <= 1 + ROUNDING)), "be a probability, 0 to 1"
    else:
        odd = [not text.isprintable() or text != text.strip() for text in column.cat.categories]
        codes = column.cat.codes.to_numpy()
        wrong, rule = np.array([*odd, True])[codes], "be printable text without spaces around it"  # -1: empty
    if wrong.any():
        i = int(wrong.argmax())
        value = column[i]
        value = "empty" if pd.isna(value) else short(value) if isinstance(value, str) else f"{value:.6g}"
        raise UserError(f"{table.where(i)}: {name} must {rule}, but is {value}")


def _join(tables: list[Table]) -> Table:
    """All files' rows, one after the other."""
    first = tables[0]
    for table in tables[1:]:
        if set(table.rows) != set(first.rows):
            odd = min(set(table.rows) ^ set(first.rows))
            raise UserError(
                f"{table.files[0][0]} must have the same columns as {first.files[0][0]}, but only one has {odd}"
            )
    joined = {}
    for name in first.rows:
        columns = [table.rows[name] for table in tables]
        text = not name.startswith(PROBABILITY)
        joined[name] = pd.api.types.union_categoricals(columns) if text and len(columns) > 1 else pd.concat(columns)
    rows = pd.DataFrame(
        {
            name: column.reset_index(drop=True) if isinstance(column, pd.Series) else column
            for name, column in joined.items()
        }
    )
    return Table([file for table in tables for file in table.files], rows)


def _arrange(table: Table, classes: list[str] | None) -> answers.Answers:
    """The answers of all models, checked."""
    rows = table.rows
    for name in ("fold", "seed"):
        rows[name] = _as_numbers(rows[name])
    named = [name.removeprefix(PROBABILITY) for name in rows if name.startswith(PROBABILITY)]
    if classes is None:
        classes = named or sorted(rows["actual"].cat.categories)
    elif named and set(named) != set(classes):
        raise UserError(
            f"--classes must be those of the probabilities, {', '.join(named)}, but are {', '.join(classes)}"
        )
    if len(set(classes)) < max(2, len(classes)):
        raise UserError(
            f"there must be two or more different classes, but there are {', '.join(classes)}; see --classes"
        )
    for name in ("actual", "predicted"):
        wrong = ~rows[name].isin(classes).to_numpy()
        if wrong.any():
            i = int(wrong.argmax())
            raise UserError(
                f"{table.where(i)}: {name} must be one of the classes {', '.join(classes)}, but is {rows[name][i]}; "
                "--classes names others"
            )
    if named:
        _normalise(table, [PROBABILITY + name for name in classes])
    return answers.arrange(rows, task.classes(classes), where=table.where)


def _normalise(table: Table, names: list[str]) -> None:
    """Make probabilities that were rounded to two digits or more sum to 1."""
    total = sum(table.rows[name].to_numpy(np.float64) for name in names)
    wrong = np.abs(total - 1) > 0.005 * len(names) + ROUNDING
    if wrong.any():
        i = int(wrong.argmax())
        raise UserError(f"{table.where(i)}: probabilities must sum to 1, but sum to {total[i]:.4g}")
    for name in names:
        table.rows[name] = (table.rows[name] / total).astype(np.float32)


def _as_numbers(column: pd.Series) -> pd.Series:
    """The column as whole numbers, if all of it is."""
    values = list(column.cat.categories)
    if all(value.isascii() and value.isdigit() and str(int(value[:18])) == value for value in values):
        return pd.Series(np.array([int(value) for value in values])[column.cat.codes])
    return column


def _tested(table: Table) -> pd.DataFrame:
    """A row an utterance that a fold tests: fold, utterance_id, and the optional columns that are there.

    Raises
    ------
    UserError
        If an utterance is of two speakers, sessions or dialogues.
    """
    rows = table.rows
    names = [name for name in OPTIONAL if name in rows]
    utterance, values = pd.factorize(rows["utterance_id"])
    for name in names:
        codes = rows[name].cat.codes.to_numpy()
        first = np.empty(len(values), codes.dtype)
        first[utterance[::-1]] = codes[::-1]
        wrong = codes != first[utterance]
        if wrong.any():
            i = int(wrong.argmax())
            other = rows[name].cat.categories[first[utterance[i]]]
            raise UserError(
                f"{table.where(i)}: an utterance must have one {name}, but {rows['utterance_id'][i]} has "
                f"{rows[name][i]} here and {other} before"
            )
    kept = rows[["fold", "utterance_id", *names]].drop_duplicates(["fold", "utterance_id"])
    return kept.astype(dict.fromkeys(("utterance_id", *names), str))
