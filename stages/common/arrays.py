"""Plain `.npy` files of numbers: opened only after their header was checked, read in blocks or by memory map."""

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.common.errors import UserError, short

NUMBERS = "fiu"
"""Kinds of numpy's types that are numbers."""

_LARGEST_HEADER = 1 << 16  # bytes of an .npy header that is read at all


def is_integer(value: object) -> bool:
    """Whether a value is a whole number, which True and False are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Misfit:
    """A value that float32 cannot hold."""

    position: int
    """On the array's first axis."""
    rule: str
    """What the value must do, and does not."""
    value: float


def to_float32(values: np.ndarray) -> tuple[np.ndarray, Misfit | None]:
    """The same numbers in float32, and the first that is not finite there, if any."""
    with np.errstate(over="ignore"):  # it is said by the misfit
        cast = np.ascontiguousarray(values, dtype="<f4")
    finite = np.isfinite(cast)
    if finite.all():
        return cast, None
    index = np.unravel_index(np.argmin(finite), finite.shape)
    value = values[index]
    rule = f"fit into float32, which ends at {np.finfo('f4').max:.1e}" if np.isfinite(value) else "be finite"
    return cast, Misfit(int(index[0]), rule, value)


@dataclass(frozen=True)
class Array:
    """A plain `.npy` file of numbers whose header agrees with its size; its rows are read in blocks."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    """Whether the first axis varies fastest."""
    offset: int
    """Bytes before the values."""

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`, read from disk."""
        if self.fortran:
            return np.load(self.path, mmap_mode="r", allow_pickle=False)[start:stop].copy(order="C")
        count = math.prod(self.shape[1:])
        with self.path.open("rb") as file:
            file.seek(self.offset + start * count * self.dtype.itemsize)
            values = np.fromfile(file, dtype=self.dtype, count=(stop - start) * count)
        return values.reshape(stop - start, *self.shape[1:])

    def map(self) -> np.ndarray:
        """All values, as a read-only memory map."""
        # A view of the map: slices of np.memmap itself are slow.
        return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False))

    def error(self, row: int, message: str) -> UserError:
        """An error about one row."""
        return UserError(f"{self.path}: row {row}: {message}")


def open_array(path: Path, dimensions: int) -> Array:
    """Check the header of a `.npy` file, before anything is allocated for its values.

    Raises
    ------
    UserError
        If the file is missing, does not hold the plain numbers that its header claims, or has another number of
        dimensions.
    """
    if not path.is_file():
        raise UserError(f"{path}: this array is missing")
    rule = f"{path}: must be a plain numeric .npy array, but"
    with path.open("rb") as file:
        start = io.BytesIO(file.read(_LARGEST_HEADER))
    try:
        version = np.lib.format.read_magic(start)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](start)
    except Exception as error:  # numpy reads the header as Python, so that damage comes out as nearly anything
        raise UserError(f"{rule} is damaged: its header cannot be read ({short(error)})") from None
    if dtype.kind not in NUMBERS:
        what = "Python objects, which are never loaded" if dtype.hasobject else f"values of the type {short(dtype)}"
        raise UserError(f"{rule} holds {what}")
    if len(shape) != dimensions:
        raise UserError(f"{path}: must have {dimensions} dimensions, but has shape {shape}")
    if not all(type(n) is int and n >= (axis > 0) for axis, n in enumerate(shape)):
        raise UserError(f"{path}: only the first dimension may be 0, but the shape is {shape}")
    offset = start.tell()
    claimed, there = dtype.itemsize * math.prod(shape), path.stat().st_size - offset
    if claimed != there:
        raise UserError(f"{rule} is damaged: its header claims {short(shape)} of {dtype}, but {there} bytes follow it")
    return Array(path, shape, dtype, fortran and dimensions > 1, offset)
