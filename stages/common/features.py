"""`data/features/`, as the later stages read it: a folder a modality, each with one ragged array.

All utterances' sequences lie one after the other in `frames.npy` (vectors) or `tokens.npy` (ids, whose vectors are in
`embedding.npy`), which is opened by memory map; `lengths.npy` divides it, in the order of the corpus's utterances.
All is checked where it is written, and again where it is read, so that a file that was damaged since is named.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import corpus
from stages.common.arrays import checksum, is_integer, open_array
from stages.common.errors import UserError, restorable, short

FOLDER = Path("data/features")
KINDS = ("frames", "tokens")
LABELS = "labels.sha256"
"""A modality's file that holds `corpus.labels_digest`: what depends on features depends on the labels by it."""

_FILES = {"frames": {"frames.npy", "lengths.npy"}, "tokens": {"tokens.npy", "embedding.npy", "lengths.npy"}}


@dataclass(frozen=True, kw_only=True)
class ModalityMeta:
    """A modality's `meta.json`: what the arrays do not say."""

    kind: str
    """One of `KINDS`."""
    longest: int
    """Positions to which sequences are padded."""
    checksums: dict[str, str]
    """An array's file → its SHA-256."""
    utterances: str
    """`names_digest` of the utterances, in the order of the sequences."""
    made: dict
    """How the features were made."""

    def check(self) -> None:
        """Raise a UserError that names the rule and the value if a field breaks one."""
        if self.kind not in KINDS:
            raise UserError(f"kind must be one of {', '.join(KINDS)}, but is {short(self.kind)}")
        if not is_integer(self.longest) or self.longest < 1:
            raise UserError(f"longest must be a whole number from 1, but is {short(self.longest)}")
        files, expected = self.checksums, _FILES[self.kind]
        if not isinstance(files, dict) or set(files) not in (expected, expected | {"valid.npy"}):
            raise UserError(
                f"checksums must be of {', '.join(sorted(expected))} and perhaps valid.npy, but are {short(files)}"
            )
        if not isinstance(self.utterances, str) or not re.fullmatch("[0-9a-f]{64}", self.utterances):
            raise UserError(f"utterances must be a SHA-256, but is {short(self.utterances)}")
        if not isinstance(self.made, dict):
            raise UserError(f"made must say how the features were made, but is {short(self.made)}")


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """One modality's sequences."""

    values: np.ndarray
    """[sum of lengths, features] (tokens: [sum of lengths] ids, 0 = padding), a read-only memory map."""
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
    embedding: np.ndarray | None = None
    """Of tokens, [vocabulary + 1, dimensions]: word vectors; row 0 is the padding token's. Of frames, None."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return "frames" if self.embedding is None else "tokens"

    @property
    def dimensions(self) -> int:
        """Features a position (of tokens: those of a word vector)."""
        return (self.values if self.embedding is None else self.embedding).shape[1]

    def __getitem__(self, row: int) -> np.ndarray:
        """The sequence of utterance `row`, without padding: [length, features] or [length]."""
        return self.values[self.offsets[row] : self.offsets[row] + self.lengths[row]]

    def valid_only(self) -> "Ragged":
        """The same sequences without what lies in their padding."""
        return self if self.valid is None else replace(self, lengths=self.valid, valid=None)


@dataclass(frozen=True, kw_only=True)
class Features:
    """A corpus with some of its modalities."""

    meta: corpus.Meta
    utterance_id: np.ndarray
    """[utterances]: unique names."""
    label: np.ndarray
    """[utterances]: index into `meta.classes`."""
    sequences: dict[str, Ragged]
    """Modality → its sequences."""
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """[utterances, dimensions of `meta`]: between -1, the lowest of a dimension's scale, and 1; NaN where unknown."""


def names_digest(utterance_ids: Iterable[str]) -> str:
    """SHA-256 of the utterances' names, one a line: by it features know the corpus whose they are."""
    return hashlib.sha256("\n".join(utterance_ids).encode()).hexdigest()


def read_modality_meta(modality: str, folder: Path = FOLDER) -> ModalityMeta:
    """`meta.json` of a modality.

    Raises
    ------
    UserError
        If the modality is not there, naming those that are, or the file is missing or damaged.
    """
    if not (folder / modality).is_dir():
        there = sorted(path.parent.name for path in folder.glob("*/meta.json"))
        raise UserError(
            f"{folder / modality}: a modality must be one of those in {folder}, {', '.join(there) or 'none'}, but is "
            f"{modality}; `dvc repro` writes those that params.yaml names"
        )
    path = folder / modality / "meta.json"
    with restorable(path):
        meta = ModalityMeta(**json.loads(path.read_text(encoding="utf-8")))
        meta.check()
        return meta


def read(modalities: Collection[str], folder: Path = FOLDER, corpus_folder: Path = corpus.FOLDER) -> Features:
    """Open a corpus with the named modalities; sequences stay on disk.

    Raises
    ------
    UserError
        If a modality is not there, its features are of other utterances, or a file is missing or damaged.
    """
    meta, utterances = corpus.read_meta(corpus_folder), corpus.read_utterances(corpus_folder)
    label = utterances["label"].map({name: i for i, name in enumerate(meta.classes)})
    with restorable(corpus_folder / "utterances.csv"):
        if label.isna().any():
            raise UserError(f"labels must be among {', '.join(meta.classes)}")
        digest = names_digest(utterances["utterance_id"])
    return Features(
        meta=meta,
        utterance_id=utterances["utterance_id"].to_numpy(str),
        label=label.to_numpy(np.int64),
        values=corpus.values(utterances, meta),
        sequences={name: _read_sequences(folder, name, digest, len(utterances)) for name in modalities},
    )


def fold_rows(features: Features, folds: pd.DataFrame, fold: int) -> dict[str, np.ndarray]:
    """Part → rows of the corpus, in the order of the table of folds.

    Raises
    ------
    UserError
        If the fold names an utterance that the corpus has not, or one of its parts is empty.
    """
    row_of = {name: row for row, name in enumerate(features.utterance_id)}
    rows = {part: [] for part in corpus.PARTS}
    with restorable(corpus.FOLDS):
        for name, part in folds.loc[folds["fold"] == fold, ["utterance_id", "part"]].itertuples(index=False):
            if name not in row_of:
                raise UserError(f"fold {fold} must name utterances of the corpus, but names {name!r}")
            rows[part].append(row_of[name])
        empty = [part for part in corpus.PARTS if not rows[part]]
        if empty:
            raise UserError(f"fold {fold} must have utterances in each part, but has none in {', '.join(empty)}")
    return {part: np.array(own) for part, own in rows.items()}


def verify(modalities: Collection[str], verified: dict[str, list], folder: Path = FOLDER) -> dict[str, list]:
    """Compare the arrays of some modalities with the checksums in their `meta.json`.

    `verified`: what this returned the last time, `<modality>/<file>` → its checksum, size, time and inode; an array
    that is still so is not read again.

    Raises
    ------
    UserError
        If an array is missing or differs; names it.
    """
    now = {}
    for modality in modalities:
        for file, expected in read_modality_meta(modality, folder).checksums.items():
            name, path = f"{modality}/{file}", folder / modality / file
            with restorable(path):
                status = path.stat()
                now[name] = [expected, status.st_size, status.st_mtime_ns, status.st_ino]
                if verified.get(name) != now[name] and checksum(path) != expected:
                    raise UserError("must be what was written, but its SHA-256 is not the one in meta.json")
    return now


def _read_sequences(folder: Path, modality: str, utterances: str, count: int) -> Ragged:
    """A modality of the `count` utterances whose `names_digest` is `utterances`."""
    meta, own = read_modality_meta(modality, folder), folder / modality
    with restorable(own / "meta.json"):
        if meta.utterances != utterances:
            raise UserError("features must be of the utterances of utterances.csv, in its order, but are of others")
    values = _read_array(own / f"{meta.kind}.npy", *((2, "<f4") if meta.kind == "frames" else (1, "<i4")))
    lengths = _read_array(own / "lengths.npy", 1, "<i8").copy()
    with restorable(own / "lengths.npy"):
        _check_lengths(lengths, count, meta.longest, len(values))
    valid = _read_array(own / "valid.npy", 1, "<i8").copy() if "valid.npy" in meta.checksums else None
    with restorable(own / "valid.npy"):
        if valid is not None and (len(valid) != count or not ((valid >= 0) & (valid <= lengths)).all()):
            raise UserError(f"must be {count} numbers, each from 0 to the sequence's length")
    embedding = _read_array(own / "embedding.npy", 2, "<f4").copy() if meta.kind == "tokens" else None
    return Ragged(
        values=values,
        offsets=np.cumsum(lengths) - lengths,
        lengths=lengths,
        longest=meta.longest,
        valid=valid,
        embedding=embedding,
    )


def _check_lengths(lengths: np.ndarray, count: int, longest: int, positions: int) -> None:
    if len(lengths) != count or not ((lengths >= 0) & (lengths <= longest)).all():
        raise UserError(f"must be {count} numbers in 0 … {longest}, but are {len(lengths)}: {short(lengths.tolist())}")
    if sum(lengths.tolist()) != positions:  # as Python's integers, which do not overflow
        raise UserError(f"must add up to the {positions} positions of all sequences, but do to {sum(lengths.tolist())}")


def _read_array(path: Path, dimensions: int, dtype: str) -> np.ndarray:
    with restorable(path):
        array = open_array(path, dimensions)
        if array.dtype != dtype or array.fortran:
            raise UserError(f"{path}: must be {np.dtype(dtype)} in C order, but is {array.dtype}")
        return array.map()
