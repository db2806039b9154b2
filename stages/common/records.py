"""Files of JSON values and arrays that guard themselves by a checksum: checkpoints, results, compiled loops."""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from stages.common import files

WEIGHTS = "weights/"
"""Before the names of weights among the arrays of a result."""

OUTPUTS = "outputs/"
"""Before the parts, dev and test, whose predictions are among the arrays of a result: probabilities of classes, or
values of dimensions."""

SHARES = "shares/"
"""Before the names of what a fusion's gate lets through among the arrays of a result."""

_VALUES = "values.json"
"""The name, among the arrays, of the JSON."""


class RunId(NamedTuple):
    """Which of a variant's runs a checkpoint or a result is of."""

    seed: int
    fold: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """The content of one file."""

    values: dict
    """What is written as JSON."""
    arrays: dict[str, np.ndarray]
    """Name → array, of any shape and numeric type."""


def write_record(path: Path, record: Record) -> None:
    """Write a record all at once: the SHA-256 of all that follows it, then arrays and JSON as safetensors."""
    text = np.frombuffer(json.dumps(record.values).encode(), np.uint8)
    content = safetensors.save(record.arrays | {_VALUES: text})
    with files.replacing(path) as partial, partial.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)


def read_record(path: Path) -> Record | None:
    """Read what `write_record` wrote; None if there is no file. A damaged file is reported, removed and gives None."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, content = content[:32], content[32:]
    try:
        if hashlib.sha256(content).digest() != checksum:
            raise ValueError
        arrays = safetensors.load(content)
        return Record(values=json.loads(arrays.pop(_VALUES).tobytes()), arrays=arrays)
    except (ValueError, KeyError, SafetensorError):
        print(f"{path}: its content does not agree with its checksum; removed, not used", file=sys.stderr)
        path.unlink(missing_ok=True)
        return None
