"""`data/features/` and `data/folds.csv`: what `prepare` and `split` write and the later stages read.

Sequences are ragged: all utterances' frames one after the other in a plain `.npy` that readers open by memory map, with
each utterance's offset and length in `utterances.csv`. All is checked where it is written, and again where it is read,
so that a mistake in a corpus, or a file that was damaged since, is an error that names it.
"""

import hashlib
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import files
from stages.common.errors import UserError

FOLDER = Path("data/features")
FOLDS = Path("data/folds.csv")
SEQUENCES = ("audio", "video", "text")
PARTS = ("train", "dev", "test")
NAMES = ("utterance_id", "speaker", "session", "dialogue", "label")

_ARRAYS = ("audio.npy", "video.npy", "text.npy", "embedding.npy")
_DTYPES = {"audio": "<f4", "video": "<f4", "text": "<i4"}
_HEADER = 128  # bytes of the .npy header, fixed so that the shape can be filled in at the end
_NUMBERS = "fiu"  # kinds of numpy's types
_LARGEST_HEADER = 1 << 16  # bytes of an .npy header that is read at all


@dataclass(frozen=True, kw_only=True)
class Meta:
    """`meta.json`: what the arrays do not say."""

    corpus: str
    """`synthetic`, `IEMOCAP` or `unknown`."""
    classes: list[str]
    """Class names in the order of their labels."""
    longest: dict[str, int]
    """Modality → positions to which the corpus pads its sequences."""
    checksums: dict[str, str] = field(default_factory=dict)
    """An array's file → its SHA-256: `Writer` fills them in."""

    def check(self) -> None:
        """Raise a UserError that names the rule and the value if a field breaks one."""
        if not isinstance(self.corpus, str):
            raise UserError(f"corpus must be text, but is {_short(self.corpus)}")
        names = self.classes if isinstance(self.classes, list) else []
        plain = all(isinstance(name, str) and name and name.isprintable() for name in names)
        if not plain or len(names) < 2 or len(set(names)) < len(names):
            raise UserError(
                f"classes must be two or more different names of printable characters, but are {_short(self.classes)}"
            )
        _check_sizes("longest", self.longest, SEQUENCES)


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """One modality's sequences."""

    values: np.ndarray
    """[sum of lengths, features] (text: [sum of lengths] token ids, 0 = padding), a read-only memory map."""
    offsets: np.ndarray
    """[utterances]: where each sequence begins."""
    lengths: np.ndarray
    """[utterances]: positions of each sequence."""
    longest: int
    """Positions to which sequences are padded."""
    valid: np.ndarray | None = None
    """[utterances]: how many positions of each sequence are its own; None: all.

    Those after them lie in what the corpus calls padding, but are not 0: `model.padding: attend` reads them, like all
    padding, and `mask` does not."""

    def __getitem__(self, row: int) -> np.ndarray:
        """The sequence of utterance `row`, without padding: [length, features]."""
        return self.values[self.offsets[row] : self.offsets[row] + self.lengths[row]]

    def valid_only(self) -> "Ragged":
        """The same sequences without what lies in their padding."""
        return self if self.valid is None else replace(self, lengths=self.valid, valid=None)


@dataclass(frozen=True, kw_only=True)
class Features:
    """A prepared corpus."""

    meta: Meta
    utterance_id: np.ndarray
    """[utterances]: unique names."""
    label: np.ndarray
    """[utterances]: index into `meta.classes`."""
    sequences: dict[str, Ragged]
    """`audio`, `video` and `text`."""
    embedding: np.ndarray
    """[vocabulary + 1, dimensions]: word vectors; row 0 is the padding token's."""

    def dimensions(self, modality: str) -> int:
        """Features a position of `modality` (text: of its word vectors)."""
        return (self.embedding if modality == "text" else self.sequences[modality].values).shape[1]


class Writer:
    """Writes `data/features/` utterance by utterance, so that a corpus never has to fit in memory.

    Use it inside `files.replacing`: nothing is complete before `close`. An utterance that is refused leaves no trace.
    """

    def __init__(self, folder: Path, dimensions: dict[str, int]):
        """`dimensions`: features a frame of `audio` and `video`."""
        _check_sizes("dimensions", dimensions, ("audio", "video"))
        folder.mkdir(parents=True)
        self._folder, self._dimensions = folder, dimensions
        self._streams = {name: (folder / f"{name}.npy").open("wb") for name in SEQUENCES}
        self._positions = dict.fromkeys(SEQUENCES, 0)
        self._rows: dict[str, dict] = {}
        self._largest_id = 0, ""  # and the first utterance that has it
        for stream in self._streams.values():
            stream.write(b"\0" * _HEADER)

    def add(
        self, utterance: dict[str, str | int], sequences: dict[str, np.ndarray], valid: dict[str, int] | None = None
    ) -> None:
        """Append an utterance and its unpadded sequences.

        `utterance`: utterance_id; speaker, session and dialogue, empty where unknown; label, a class's name or its
        index in `Meta.classes`. `sequences`: audio and video [frames, features]; text [words], token ids, 0 = padding.
        `valid`: modality → positions that are the sequence's own, where not all are (`Ragged.valid`).

        Raises
        ------
        UserError
            If a rule is broken; names the utterance, the modality, the rule and the value.
        """
        name = _checked_name(utterance)
        if name in self._rows:
            raise UserError(f"utterance {name!r}: utterance_id must be unique, but was added before")
        _check_keys(f"utterance {name!r}: sequences", sequences, SEQUENCES)
        arrays, row, valid = {}, {key: utterance[key] for key in NAMES}, valid or {}
        if not set(valid) <= set(SEQUENCES):
            raise UserError(
                f"utterance {name!r}: valid must be of {', '.join(SEQUENCES)}, but is of {_short(list(valid))}"
            )
        for modality in SEQUENCES:
            try:
                values = checked_sequence(modality, sequences[modality], self._dimensions.get(modality))
                own = _checked_valid(valid.get(modality, len(values)), len(values))
            except UserError as error:
                raise UserError(f"utterance {name!r}: {modality}: {error}") from None
            arrays[modality], offset = values, self._positions[modality]
            row |= {f"{modality}_length": len(values), f"{modality}_offset": offset, f"{modality}_valid": own}
        for modality, values in arrays.items():
            self._streams[modality].write(values.tobytes())
            self._positions[modality] += len(values)
        self._rows[name] = row
        self._largest_id = max(self._largest_id, (int(arrays["text"].max(initial=0)), name), key=lambda pair: pair[0])

    def close(
        self, *, meta: Meta, embedding: np.ndarray, prosody: np.ndarray | None = None, folds: pd.DataFrame | None = None
    ) -> None:
        """Complete the folder.

        `embedding`: [vocabulary + 1, dimensions]. `prosody`: [utterances, features]; no model reads it, so that it may
        hold NaN. `folds`: those that the corpus brings, if any (`check_folds`).

        Raises
        ------
        UserError
            If one of them breaks a rule, or an utterance does not agree with `meta` or `embedding`.
        """
        meta.check()
        arrays = {"embedding": _checked_matrix("embedding", embedding)}
        if prosody is not None:
            arrays["prosody"] = _checked_matrix("prosody", prosody, rows=len(self._rows), may_hold_nan=True)
        self._check_ids(len(embedding))
        self._check_lengths(meta.longest)
        table = self._table(meta.classes)
        if folds is not None:
            check_folds(folds, set(self._rows))
        for name, stream in self._streams.items():
            shape = (self._positions[name], *([self._dimensions[name]] if name in self._dimensions else []))
            with stream:
                stream.seek(0)
                stream.write(_npy_header(shape, _DTYPES[name]))
        for name, array in arrays.items():
            np.save(self._folder / f"{name}.npy", array)
        files.write_csv(self._folder / "utterances.csv", table)
        if folds is not None:
            files.write_csv(self._folder / "folds.csv", folds)
        names = [f"{name}.npy" for name in (*SEQUENCES, *arrays)]
        meta = replace(meta, checksums={name: checksum(self._folder / name) for name in names})
        files.write_text(self._folder / "meta.json", json.dumps(asdict(meta), indent=1, default=int) + "\n")

    def _check_ids(self, vocabulary: int) -> None:
        largest, name = self._largest_id
        if largest >= vocabulary:
            raise UserError(
                f"utterance {name!r}: text: token ids must be in 0 … {vocabulary - 1} (the rows of the embedding), "
                f"but one is {largest}"
            )

    def _check_lengths(self, longest: dict[str, int]) -> None:
        empty = Counter()
        for name, row in self._rows.items():
            for modality in SEQUENCES:
                length = row[f"{modality}_length"]
                if length > longest[modality]:
                    raise UserError(
                        f"utterance {name!r}: {modality}: must have at most {longest[modality]} positions "
                        f"(meta.longest), but has {length}"
                    )
                empty[modality] += not length
        for modality in +empty:
            print(
                f"warning: {empty[modality]} of {len(self._rows)} utterances have no {modality}; "
                "models see nothing but padding there",
                file=sys.stderr,
            )

    def _table(self, classes: list[str]) -> pd.DataFrame:
        """`utterances.csv`: labels as names, and how many positions are valid only where not all are."""
        rows = []
        for name, row in self._rows.items():
            label = row["label"]
            if _is_integer(label) and 0 <= label < len(classes):
                label = classes[label]
            if label not in classes:
                raise UserError(
                    f"utterance {name!r}: label must be one of {', '.join(classes)} (meta.classes) or an index of "
                    f"these, but is {label!r}"
                )
            rows.append(row | {"label": label})
        missing = [name for name in classes if name not in {row["label"] for row in rows}]
        if missing:
            raise UserError(f"every class of meta.classes must have an utterance, but {', '.join(missing)} has none")
        table = pd.DataFrame(rows)
        all_valid = [name for name in SEQUENCES if table[f"{name}_valid"].equals(table[f"{name}_length"])]
        return table.drop(columns=[f"{name}_valid" for name in all_valid])


def checked_sequence(modality: str, values: np.ndarray, size: int | None) -> np.ndarray:
    """A modality's sequence as it is stored: audio and video float32 [frames, `size`], text int32 [words].

    `size`: of text the vocabulary, padding included; None: not known yet.

    Raises
    ------
    UserError
        If it breaks a rule; names the rule and the value.
    """
    expected = ("words",) if modality == "text" else ("frames", size)
    _check_numbers(values)
    if values.ndim != len(expected) or values.shape[1:] != expected[1:]:
        raise UserError(f"must have the shape [{', '.join(map(str, expected))}], but has {list(values.shape)}")
    if modality == "text":
        return _checked_ids(values, size)
    cast, misfit = to_float32(values)
    if misfit:
        raise UserError(f"values must {misfit.rule}, but frame {misfit.position} has {misfit.value}")
    return cast


@dataclass(frozen=True)
class Misfit:
    """A value that float32 cannot hold."""

    position: int
    """On the array's first axis."""
    rule: str
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


def check_folds(folds: pd.DataFrame, known: set[str] | None = None) -> None:
    """Check a table fold (from 1), utterance_id, part: each utterance at most once in a fold, and `known` if given.

    Raises
    ------
    UserError
        If it breaks a rule; names the row, counted from 0, the rule and the value.
    """
    _check_keys("columns of the folds", folds, ("fold", "utterance_id", "part"))
    rules = {
        "fold": ("a whole number in 1 … 999999", lambda value: _is_integer(value) and 0 < value < 10**6),
        "utterance_id": (
            "text" if known is None else "an utterance of the corpus",
            lambda value: isinstance(value, str) and (known is None or value in known),
        ),
        "part": (f"one of {', '.join(PARTS)}", lambda value: isinstance(value, str) and value in PARTS),
    }
    for column, (rule, holds) in rules.items():
        for row, value in enumerate(folds[column]):
            if not holds(value):
                raise UserError(f"folds: row {row}: {column} must be {rule}, but is {_short(value)}")
    repeated = folds.duplicated(["fold", "utterance_id"]).to_numpy()
    if repeated.any():
        row = int(np.argmax(repeated))
        fold, name = folds.iloc[row][["fold", "utterance_id"]]
        raise UserError(f"folds: row {row}: an utterance must be in a fold once, but {name!r} is in fold {fold} twice")


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        raise UserError(f"{rule} is damaged: its header cannot be read ({_short(error)})") from None
    if dtype.kind not in _NUMBERS:
        what = "Python objects, which are never loaded" if dtype.hasobject else f"values of the type {_short(dtype)}"
        raise UserError(f"{rule} holds {what}")
    if len(shape) != dimensions:
        raise UserError(f"{path}: must have {dimensions} dimensions, but has shape {shape}")
    if not all(type(n) is int and n >= (axis > 0) for axis, n in enumerate(shape)):
        raise UserError(f"{path}: only the first dimension may be 0, but the shape is {shape}")
    offset = start.tell()
    claimed, there = dtype.itemsize * math.prod(shape), path.stat().st_size - offset
    if claimed != there:
        raise UserError(f"{rule} is damaged: its header claims {_short(shape)} of {dtype}, but {there} bytes follow it")
    return Array(path, shape, dtype, fortran and dimensions > 1, offset)


def read_meta(folder: Path = FOLDER) -> Meta:
    """`meta.json` of a prepared corpus.

    Raises
    ------
    UserError
        If it is missing or damaged, as all readers below.
    """
    path = folder / "meta.json"
    with _restorable(path):
        meta = Meta(**json.loads(path.read_text(encoding="utf-8")))
        meta.check()
        if not isinstance(meta.checksums, dict) or not set(_ARRAYS) <= set(meta.checksums):
            raise UserError(f"checksums must name {', '.join(_ARRAYS)}, but are {_short(meta.checksums)}")
        return meta


def verify(verified: dict[str, list], folder: Path = FOLDER) -> dict[str, list]:
    """Compare the arrays with the checksums of `meta.json`.

    `verified`: what this returned the last time, array → its checksum, size, time and inode; an array that is still so
    is not read again.

    Raises
    ------
    UserError
        If an array is missing or differs; names it.
    """
    now = {}
    for name, expected in read_meta(folder).checksums.items():
        with _restorable(folder / name):
            status = (folder / name).stat()
            now[name] = [expected, status.st_size, status.st_mtime_ns, status.st_ino]
            if verified.get(name) != now[name] and checksum(folder / name) != expected:
                raise UserError("must be what prepare wrote, but its SHA-256 is not the one in meta.json")
    return now


def read_utterances(folder: Path = FOLDER) -> pd.DataFrame:
    """`utterances.csv` of a prepared corpus; names are text, unknown ones are empty."""
    path = folder / "utterances.csv"
    with _restorable(path):
        table = pd.read_csv(path, dtype=dict.fromkeys(NAMES, str), keep_default_na=False)
        numbers = [f"{name}_{what}" for name in SEQUENCES for what in ("length", "offset")]
        missing = [name for name in (*NAMES, *numbers) if name not in table]
        if missing:
            raise UserError(f"must have the columns {', '.join(missing)}")
        if not table["utterance_id"].is_unique:
            raise UserError("utterance_id must be unique")
        for name in table.columns.difference(NAMES):
            if table[name].dtype != np.int64:
                raise UserError(f"{name} must be whole numbers")
        return table


def read(folder: Path = FOLDER) -> Features:
    """Open a prepared corpus; its sequences stay on disk."""
    meta, utterances = read_meta(folder), read_utterances(folder)
    label = utterances["label"].map({name: i for i, name in enumerate(meta.classes)})
    with _restorable(folder / "utterances.csv"):
        if label.isna().any():
            raise UserError(f"labels must be among {', '.join(meta.classes)}")
    return Features(
        meta=meta,
        utterance_id=utterances["utterance_id"].to_numpy(str),
        label=label.to_numpy(np.int64),
        sequences={name: _read_sequences(folder, name, utterances, meta.longest[name]) for name in SEQUENCES},
        embedding=_read_array(folder / "embedding.npy", 2, "<f4").copy(),
    )


def _read_sequences(folder: Path, modality: str, utterances: pd.DataFrame, longest: int) -> Ragged:
    values = _read_array(folder / f"{modality}.npy", 1 if modality == "text" else 2, _DTYPES[modality])
    offsets, lengths = (utterances[f"{modality}_{what}"].to_numpy() for what in ("offset", "length"))
    valid = utterances[f"{modality}_valid"].to_numpy() if f"{modality}_valid" in utterances else None
    with _restorable(folder / "utterances.csv"):
        if not ((lengths >= 0) & (lengths <= longest)).all():
            raise UserError(
                f"{modality}_length must be in 0 … {longest}, but is from {lengths.min()} to {lengths.max()}"
            )
        if not np.array_equal(offsets, np.cumsum(lengths) - lengths) or lengths.sum() != len(values):
            raise UserError(f"{modality}_length and {modality}_offset must divide the {len(values)} of {modality}.npy")
        if valid is not None and not ((valid >= 0) & (valid <= lengths)).all():
            raise UserError(f"{modality}_valid must be in 0 … {modality}_length")
    return Ragged(values=values, offsets=offsets, lengths=lengths, longest=longest, valid=valid)


def _read_array(path: Path, dimensions: int, dtype: str) -> np.ndarray:
    with _restorable(path):
        array = open_array(path, dimensions)
        if array.dtype != dtype or array.fortran:
            raise UserError(f"{path}: must be {np.dtype(dtype)} in C order, but is {array.dtype}")
        return array.map()


def read_folds(path: Path = FOLDS, known: Collection[str] | None = None) -> pd.DataFrame:
    """A table fold, utterance_id, part as `check_folds` has it; folds count from 1."""
    with _restorable(path):
        folds = pd.read_csv(path, dtype={"fold": int, "utterance_id": str, "part": str}, keep_default_na=False)
        check_folds(folds, known)
    return folds


def numbers(folds: pd.DataFrame) -> list[int]:
    """The folds' numbers, in order."""
    return sorted(int(fold) for fold in folds["fold"].unique())


def fold_rows(corpus: Features, folds: pd.DataFrame, fold: int) -> dict[str, np.ndarray]:
    """Part → rows of the corpus, in the order of the table of folds.

    Raises
    ------
    UserError
        If the fold names an utterance that the corpus has not, or one of its parts is empty.
    """
    row_of = {name: row for row, name in enumerate(corpus.utterance_id)}
    rows = {part: [] for part in PARTS}
    with _restorable(FOLDS):
        for name, part in folds.loc[folds["fold"] == fold, ["utterance_id", "part"]].itertuples(index=False):
            if name not in row_of:
                raise UserError(f"fold {fold} must name utterances of the corpus, but names {name!r}")
            rows[part].append(row_of[name])
        empty = [part for part in PARTS if not rows[part]]
        if empty:
            raise UserError(f"fold {fold} must have utterances in each part, but has none in {', '.join(empty)}")
    return {part: np.array(own) for part, own in rows.items()}


@contextmanager
def _restorable(path: Path) -> Iterator[None]:
    """Say of a file that a stage has written, and that cannot be read, how to get it back."""
    try:
        yield
        return
    except FileNotFoundError:
        reason = "this file is missing"
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # of the parsers of JSON and CSV
        reason = f"this file is damaged ({_short(error)})"
    raise UserError(f"{path}: {reason}; `dvc repro` or `dvc checkout --force {path}` restores it")


def _checked_name(utterance: dict[str, str | int]) -> str:
    """The utterance_id of an utterance whose names keep the rules."""
    _check_keys("what names an utterance", utterance, NAMES)
    where = f"utterance {_short(utterance['utterance_id'])}"
    for key in NAMES[:-1]:
        if not isinstance(utterance[key], str) or not utterance[key].isprintable():
            raise UserError(f"{where}: {key} must be text of printable characters, but is {_short(utterance[key])}")
    if not utterance["utterance_id"]:
        raise UserError(f"{where}: utterance_id must not be empty")
    if not isinstance(utterance["label"], str) and not _is_integer(utterance["label"]):
        raise UserError(f"{where}: label must be a class's name or index, but is {_short(utterance['label'])}")
    return str(utterance["utterance_id"])


def _checked_valid(valid: int, length: int) -> int:
    if not _is_integer(valid) or not 0 <= valid <= length:
        raise UserError(f"its valid positions must be a whole number in 0 … {length}, but are {_short(valid)}")
    return int(valid)


def _checked_ids(values: np.ndarray, vocabulary: int | None) -> np.ndarray:
    largest = np.iinfo(_DTYPES["text"]).max if vocabulary is None else vocabulary - 1
    bad = ~((values >= 0) & (values <= largest) & (values == np.floor(values)))
    if bad.any():
        position = int(np.argmax(bad))
        raise UserError(
            f"token ids must be whole numbers in 0 … {largest} "
            f"({'those of int32' if vocabulary is None else 'the rows of the embedding'}), "
            f"but position {position} has {values[position]}"
        )
    if len(values) and not values[-1]:
        raise UserError("must come without padding, but ends with its id, 0")
    return values.astype(_DTYPES["text"])


def _checked_matrix(
    name: str, values: np.ndarray, *, rows: int | None = None, may_hold_nan: bool = False
) -> np.ndarray:
    """A matrix in float32, [`rows`, any] where given."""
    try:
        _check_numbers(values)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    if values.ndim != 2 or not values.size or rows not in (None, len(values)):
        raise UserError(f"{name}: must have the shape [{rows or 'rows'}, columns], but has {list(values.shape)}")
    cast, misfit = to_float32(values)
    if misfit and not may_hold_nan:
        raise UserError(f"{name}: values must {misfit.rule}, but row {misfit.position} has {misfit.value}")
    if misfit:
        count = int((~np.isfinite(cast)).any(axis=1).sum())
        print(
            f"warning: {name}: {count} of {len(cast)} rows have a NaN or infinity; no model reads it", file=sys.stderr
        )
    return cast


def _check_numbers(values: np.ndarray) -> None:
    if not isinstance(values, np.ndarray):
        raise UserError(f"must be an array of numbers, but is {_short(values)}")
    if values.dtype.kind not in _NUMBERS:
        raise UserError(f"must be an array of numbers, but is one of {_short(values.dtype)}")


def _check_keys(what: str, found: object, expected: Collection[str]) -> None:
    keys = list(found.keys()) if hasattr(found, "keys") else found
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(expected):
        raise UserError(f"{what} must be {', '.join(expected)}, but are {_short(keys)}")


def _check_sizes(what: str, sizes: object, expected: Collection[str]) -> None:
    _check_keys(what, sizes, expected)
    for name, size in sizes.items():
        if not _is_integer(size) or size < 1:
            raise UserError(f"{what}: {name} must be a whole number from 1, but is {_short(size)}")


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _short(value: object) -> str:
    """A value or an error on one line."""
    text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else repr(value)
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:119]}…"


def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """The header of a version 1.0 `.npy` file, `_HEADER` bytes long (numpy.lib.format)."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape})
    size = _HEADER - 10
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1).encode("latin1") + b"\n"
