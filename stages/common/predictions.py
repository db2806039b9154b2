"""`runs/<variant>/seed<seed>/predictions.parquet`: the primary record, from which every score is computed.

Those of references, which are not trained, lie in `references/` in the same way.
`dev.parquet` beside it holds the same of the development parts, by the same weights: no score of a table is of those.
A file's metadata hold a checksum of its table, so that a damaged file is not read as if it were what was predicted.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from stages.common import corpus
from stages.common.errors import UserError
from stages.common.features import Features
from stages.common.plan import TaskKind
from stages.common.task import Task

RUNS, REFERENCES = Path("runs"), Path("references")
UNTRAINED = ("late", "majority", "prior")
"""The fusions whose models lie in `REFERENCES`. The registry says so too and is held against this, but not read here: a
new fusion or another label changes no code that writes the outputs of trained variants."""
FILES = {"test": "predictions.parquet", "dev": "dev.parquet"}
"""Part of the folds → the file of its predictions."""
COLUMNS = ["fold", "utterance_id"]
"""A file's first columns; then those of the task (`task.py`)."""
CHECKSUM = b"sha256"
"""The checksum's name in the file's metadata."""


def folder(variant: str, seed: int) -> Path:
    """Where a variant's or reference's outputs of a seed lie."""
    root = REFERENCES if variant.partition("_")[0] in UNTRAINED else RUNS
    return root / variant / f"seed{seed}"


def table(
    features: Features, fold: int, rows: np.ndarray, outputs: np.ndarray, kind: TaskKind = "classes"
) -> pd.DataFrame:
    """One fold's predictions for the utterances `rows`, from a model's outputs.

    `outputs`: probabilities [rows, classes], or values [rows, dimensions] between -1 and 1 on the corpus's scale.
    """
    return of_classes(features, fold, rows, outputs) if kind == "classes" else values(features, fold, rows, outputs)


def values(features: Features, fold: int, rows: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """One fold's predictions of dimensions, which are written on the corpus's scale."""
    columns: dict[str, object] = {"fold": fold, "utterance_id": features.utterance_id[rows]}
    for name, own in {"actual": features.values[rows], "predicted": predicted}.items():
        for k, (dimension, scale) in enumerate(features.meta.dimensions.items()):
            columns[f"{name}_{dimension}"] = corpus.on_scale(own[:, k], scale)
    return pd.DataFrame(columns)


def of_classes(
    features: Features, fold: int, rows: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray | None = None
) -> pd.DataFrame:
    """One fold's predictions of classes, from probabilities [rows, classes].

    `predicted`: [rows] numbers of classes; None: the first of the most probable ones.
    """
    classes = features.meta.classes
    predicted = probabilities.argmax(axis=1) if predicted is None else predicted
    names = np.array(classes)
    columns = {
        "fold": fold,
        "utterance_id": features.utterance_id[rows],
        "actual": names[features.label[rows]],
        "predicted": names[predicted],
    }
    columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(classes)}
    return pd.DataFrame(columns)


def write(run_folder: Path, predictions: pd.DataFrame, part: str = "test") -> None:
    """Write one run's predictions of a part, and their checksum, into its folder."""
    write_table(run_folder / FILES[part], predictions)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table and its checksum."""
    content = pyarrow.Table.from_pandas(table, preserve_index=False)
    parquet.write_table(content.replace_schema_metadata({CHECKSUM: checksum(content)}), path)


def checksum(content: pyarrow.Table) -> bytes:
    """The SHA-256, in hexadecimal, of the names, types and values of columns of numbers and text."""
    digest = hashlib.sha256()
    for field, column in zip(content.schema, content.columns, strict=True):
        is_text = field.type in (pyarrow.string(), pyarrow.large_string())
        values = json.dumps(column.to_pylist()).encode() if is_text else column.to_numpy().tobytes()
        digest.update(json.dumps([field.name, str(field.type), len(column), len(values)]).encode() + values)
    return digest.hexdigest().encode()


def read(variant: str, seed: int, task: Task, part: str = "test") -> pd.DataFrame:
    """All folds' predictions of one variant and seed, with columns variant and seed before the others.

    `part`: test or dev, that of the folds whose utterances are predicted.

    Raises
    ------
    UserError
        If the file is missing, its content is not what was written, or not of the task.
    """
    path = folder(variant, seed) / FILES[part]
    predictions = read_table(path)
    columns = [*COLUMNS, *task.columns]
    if list(predictions) != columns:
        raise UserError(
            f"{path} must have the columns {', '.join(columns)}, for the {task.kind} of {corpus.FOLDER / 'meta.json'}, "
            f"but has {', '.join(predictions)}: run dvc repro"
        )
    unknown = {*predictions["actual"], *predictions["predicted"]} - {*task.names} if task.kind == "classes" else ()
    if unknown:
        raise UserError(f"{path}: classes must be {', '.join(task.names)}, but {min(unknown)} is none: run dvc repro")
    predictions.insert(0, "variant", variant)
    predictions.insert(1, "seed", seed)
    return predictions


def read_table(path: Path) -> pd.DataFrame:
    """Read what `write_table` wrote.

    Raises
    ------
    UserError
        If the file is missing, or its content is not what was written.
    """
    try:
        file = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: dvc repro writes what is missing") from None
    again = f"remove {path.parent}, then run dvc repro"
    try:
        content = parquet.ParquetFile(pyarrow.BufferReader(file)).read()
        expected, found = (content.schema.metadata or {}).get(CHECKSUM), checksum(content)
    except (pyarrow.ArrowException, OSError, ValueError):  # what pyarrow has for damaged files
        raise UserError(f"{path} must be a Parquet file, but is damaged: {again}") from None
    if expected is None:
        raise UserError(f"{path} must have a checksum, but has none; an older version wrote it: {again}")
    if expected != found:
        raise UserError(f"{path}: its content must agree with its checksum, but does not; it is damaged: {again}")
    return content.to_pandas()


def read_study(variants: list[str], seeds: list[int], task: Task, part: str = "test") -> pd.DataFrame:
    """The predictions of all seeds of some models, whatever else lies beside them; all are of the same utterances.

    `part`: test or dev, as for `read`.

    Raises
    ------
    UserError
        As `read`, and if two of the files are not of the same folds.
    """
    keys = [(variant, seed) for variant in variants for seed in seeds]
    tables = [read(*key, task, part) for key in keys]
    for key, table in zip(keys, tables, strict=True):
        predicted, expected = (some[[*COLUMNS, *task.actual]] for some in (table, tables[0]))
        if not predicted.equals(expected):
            differ = {*predicted.itertuples(index=False, name=None)} ^ {*expected.itertuples(index=False, name=None)}
            path, first = (folder(*own) / FILES[part] for own in (key, keys[0]))
            raise UserError(
                f"{path} must be of the same folds, utterances and {task.kind} as {first}, but they differ in "
                f"{min(differ, default='their order')}: run dvc repro"
            )
    return pd.concat(tables, ignore_index=True)
