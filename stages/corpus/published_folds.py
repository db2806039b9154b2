"""The arrays that the paper used: folders `fold01` … `fold05`, each with every part's rows.

A fold's folder holds, for `part` in train, dev, test: `{part}_audio_mfcc.npy` [n, 1000, 120], `{part}_audio_seqN.npy`
[n] (older name `{part}_seqN.npy`), `{part}_video.npy` [n, 32, 2048], `{part}_video_seqN.npy` [n],
`{part}_nlp_trans.npy` [n, 128], `{part}_label.npy` [n] and, where there, `{part}_audio_prosody.npy` [n, 35];
`W_embedding.npy` [vocabulary, 300] is beside them or one folder up. Sizes may differ; nothing is ever unpickled.

`seqN` is the length before an utterance was cut to the array, so that it may be larger. Frames beyond it that are not 0
are kept, since the authors' scripts read them, but are not among the valid ones (`features.Ragged`).

The same utterance is in each folder once, with the same numbers and the same label: so a digest of its row finds the
one corpus behind the folders, and what contradicts it. Rows are read in blocks, never whole arrays. What is written
names the place where each utterance was first met, from where `stages/features/published_folds.py` reads it.
"""

import hashlib
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import progress
from stages.common.arrays import Array, open_array, to_float32
from stages.common.corpus import PARTS, Meta
from stages.common.errors import UserError
from stages.common.params import Corpus
from stages.common.sequences import checked_sequence
from stages.corpus.contents import Contents
from stages.corpus.iemocap import CLASS_COUNTS

FILES = {"audio": ("audio_mfcc", 3), "video": ("video", 3), "text": ("nlp_trans", 2), "prosody": ("audio_prosody", 2)}
"""Modality → name and dimensions of its arrays."""
BLOCK_BYTES = 32 << 20  # of one array read at a time
LARGEST = 2**53  # beyond it floats skip whole numbers


@dataclass
class Part:
    """The arrays of one part of one fold; the small ones in memory."""

    folder: Path
    """The fold's folder."""
    name: str
    """One of `PARTS`."""
    arrays: dict[str, Array]
    """Modality → its array: `audio`, `video`, `text` and, where there, `prosody`."""
    label_file: Array
    labels: np.ndarray
    lengths: dict[str, np.ndarray]
    """`seqN` of `audio` and `video`."""

    def file(self, name: str) -> Array:
        """One of the arrays, or the labels."""
        return self.arrays.get(name, self.label_file)

    def place(self, name: str, row: int) -> str:
        """A row of an array or of the labels, to name in messages."""
        return f"{self.folder.name}/{self.file(name).path.name}: row {row}"

    def sequence(self, modality: str, row: int, values: np.ndarray) -> tuple[np.ndarray, int]:
        """The sequence in the `values` of a row, and how many of its positions are valid: those within `seqN`.

        It ends with the last frame or word that is valid or is not 0. Prosody is one frame.
        """
        if modality == "prosody":
            return values[None], 1
        if modality not in self.lengths:
            words = _unpadded(values, 0)
            return words, len(words)
        valid = min(int(self.lengths[modality][row]), len(values))
        return _unpadded(values, valid), valid


@dataclass(frozen=True)
class Row:
    """One row of a part, checked."""

    part: Part
    number: int
    sequences: dict[str, np.ndarray]
    """Those of each of the part's arrays (`Part.sequence`), in the types that are stored."""

    @property
    def label(self) -> int:
        """Index of its class."""
        return int(self.part.labels[self.number])

    def digests(self) -> tuple[bytes, ...]:
        """One for each of the part's arrays, lengths included."""
        lengths = {name: int(own[self.number]) for name, own in self.part.lengths.items()}
        return tuple(_digest(values, lengths.get(name, 0)) for name, values in self.sequences.items())

    def error(self, name: str, message: str) -> UserError:
        """An error about this row of one of the part's files."""
        return self.part.file(name).error(self.number, message)


@dataclass(frozen=True)
class Utterance:
    """One utterance of the corpus behind the folders."""

    name: str
    """utterance_id; empty for one without video, which the paper drops."""
    label: int
    places: list[tuple[Part, int]]
    """Part and row where each fold has it."""

    def row(self) -> dict[str, str | int]:
        """Its row in `utterances.csv`, with the place where it was first met."""
        part, row = self.places[0]
        names = {"utterance_id": self.name, "speaker": "", "session": "", "dialogue": "", "label": self.label}
        return names | {"folder": part.folder.name, "part": part.name, "row": row}


class Folders:
    """Finds the utterances behind the rows of all folders, and what is not as in the first folder."""

    def __init__(self, first: Path, *, strict: bool):
        """`first`: the first folder; `strict`: whether a contradiction is an error."""
        self.first, self.strict = first, strict
        self.utterances: list[Utterance] = []
        self.folds: list[tuple[int, str, str]] = []
        """fold, utterance_id, part."""
        self.contradiction: UserError | None = None
        """The first, where it is no error."""
        self._same: dict[tuple, list[Utterance]] = defaultdict(list)
        """(digests, label) → utterances, told apart by their order alone."""
        self._alike: dict[tuple[bytes, ...], Utterance] = {}
        """digests → the first utterance that has them."""
        self._fold = 1
        self._seen: Counter = Counter()
        """(digests, label) → rows in this fold so far."""

    def add(self, row: Row) -> None:
        """Find the utterance that a row is; it is a new one if no row before was."""
        digests = row.digests()
        key = digests, row.label
        same, seen = self._same[key], self._seen[key]
        self._seen[key] += 1
        if seen == len(same):
            if row.part.folder != self.first and not self.contradiction:
                self._contradict(self._unlike_first(row, digests, same))
            has_video = row.part.lengths["video"][row.number] > 0
            name = f"utterance_{len(self.utterances):05d}" if has_video else ""
            same.append(Utterance(name, row.label, []))
            self.utterances.append(same[-1])
            self._alike.setdefault(digests, same[-1])
        utterance = same[seen]
        utterance.places.append((row.part, row.number))
        if utterance.name:
            self.folds.append((self._fold, utterance.name, row.part.name))

    def end_fold(self, last: Part) -> None:
        """No utterance may be lacking in the fold that ends with the part `last`."""
        self._fold += 1
        self._seen.clear()
        for utterance in self.utterances:
            part, row = utterance.places[-1]
            if part.folder != last.folder and not self.contradiction:
                where = part.place("label", row)
                self._contradict(
                    UserError(f"{last.folder}: must hold the same utterances as others, but lacks {where}")
                )

    def _contradict(self, error: UserError) -> None:
        if self.strict:
            raise UserError(f"{error}; corpus.strict: false takes the folders as they are")
        self.contradiction = error

    def _unlike_first(self, row: Row, digests: tuple[bytes, ...], same: list[Utterance]) -> UserError:
        """What a row contradicts that the first folder does not have so."""
        if same:
            part, before = same[-1].places[-1]
            rule = f"an utterance must be in each folder as often as in {self.first.name}, {len(same)} times"
            return row.error("label", f"{rule}, but this one is also {part.place('label', before)}")
        if digests in self._alike:
            known = self._alike[digests]
            part, before = known.places[0]
            rule = "an utterance must have the same label in each folder"
            return row.error(
                "label", f"{rule}, but has {row.label} here and {known.label} in {part.place('label', before)}"
            )
        rule = f"an utterance must be the same in each folder, but {self.first.name} has none with this"
        nearest = max(self._alike, key=lambda other: _agreement(digests, other), default=())
        differing = [name for name, own, other in zip(row.part.arrays, digests, nearest, strict=False) if own != other]
        if not 0 < len(differing) < len(digests):
            return row.error("label", f"{rule} {', '.join(row.part.arrays)}")
        part, before = self._alike[nearest].places[0]
        return row.error(
            differing[0],
            f"{rule} {', '.join(differing)} (or length); {part.place(differing[0], before)} is the most like it",
        )


def read(corpus: Corpus) -> Contents:
    """The corpus behind the folders of `corpus.root`, with the published parts as its folds.

    Raises
    ------
    UserError
        If a file is missing, damaged or of another shape, a row breaks a rule, or folders contradict each other (where
        `corpus.strict`); names the file, row and rule.
    """
    paths = find_folders(Path(corpus.root))
    vocabulary = len(read_embedding(paths, strict=corpus.strict))
    parts = [open_part(path, name) for path in paths for name in PARTS]
    _check_same_shapes(parts)
    for part in parts:
        _check_labels(part, corpus.classes)
    folders = Folders(paths[0], strict=corpus.strict)
    _compare(parts, folders, vocabulary)
    classes = _class_names(corpus, folders.utterances)
    name = "IEMOCAP" if set(classes) == set(CLASS_COUNTS) else "unknown"
    _report(folders, len(paths), corpus.root)
    return Contents(
        meta=Meta(corpus=name, classes=classes, modalities=list(parts[0].arrays)),
        utterances=[utterance.row() for utterance in folders.utterances if utterance.name],
        folds=pd.DataFrame(folders.folds, columns=["fold", "utterance_id", "part"]),
    )


def _report(folders: Folders, folds: int, root: str) -> None:
    """Say what was found."""
    kept = sum(bool(utterance.name) for utterance in folders.utterances)
    print(f"{kept} utterances in {folds} folds; {len(folders.utterances) - kept} without video were dropped")
    if folders.contradiction:
        count = sum(len(utterance.places) < folds for utterance in folders.utterances)
        print(
            f"warning: {root}: folders contradict each other: {count} of {len(folders.utterances)} utterances are not "
            f"in all of them; the first: {folders.contradiction}",
            file=sys.stderr,
        )


def find_folders(root: Path) -> list[Path]:
    """The folds' folders, in the order of their numbers.

    Raises
    ------
    UserError
        If there are fewer than two, or their numbers are not clear.
    """
    if not root.is_dir():
        raise UserError(
            f"{root}: corpus.root must be a folder, but {'is a file' if root.exists() else 'does not exist'}"
        )
    found = [path for path in root.iterdir() if re.fullmatch("fold[0-9]+", path.name) and path.is_dir()]
    paths = sorted(found, key=lambda path: (_number(path), path.name))
    if len(paths) < 2:
        raise UserError(f"{root}: corpus.root must hold at least two folders fold01, fold02, …, but has {len(paths)}")
    if len(set(map(_number, paths))) < len(paths):
        raise UserError(f"{root}: folders' numbers must differ, but are {', '.join(path.name for path in paths)}")
    return paths


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("fold"))


def _compare(parts: list[Part], folders: Folders, vocabulary: int) -> None:
    """Read and check every row once, and hold the folders against each other."""
    total = sum(len(part.labels) for part in parts)
    with progress.line("corpus", "rows", total=total) as line:
        for part in parts:
            for row in _rows(part, vocabulary):
                folders.add(row)
                line.update()
            if part.name == PARTS[-1]:
                folders.end_fold(part)


def _rows(part: Part, vocabulary: int) -> Iterator[Row]:
    """Each row of a part, as it is stored."""
    block = min(rows_in_a_block(array) for array in part.arrays.values())
    for start in range(0, len(part.labels), block):
        stop = min(start + block, len(part.labels))
        values = {name: array.rows(start, stop) for name, array in part.arrays.items()}
        for i in range(stop - start):
            yield _row(part, start + i, {name: own[i] for name, own in values.items()}, vocabulary)


def _row(part: Part, number: int, values: dict[str, np.ndarray], vocabulary: int) -> Row:
    """One row without padding, checked and in the types that are stored."""
    sequences = {}
    for name, own in values.items():
        sequence, _ = part.sequence(name, number, own)
        if name == "prosody":  # checked where somebody asks for it, since that of some utterances is NaN
            sequences[name] = to_float32(sequence)[0]
            continue
        kind, size = ("tokens", vocabulary) if name == "text" else ("frames", own.shape[1])
        try:
            sequences[name] = checked_sequence(kind, sequence, size)
        except UserError as error:
            raise part.arrays[name].error(number, str(error)) from None
    return Row(part, number, sequences)


def rows_in_a_block(array: Array) -> int:
    """How many rows of an array are read at a time."""
    return max(1, BLOCK_BYTES // (array.dtype.itemsize * math.prod(array.shape[1:])))


def _unpadded(values: np.ndarray, valid: int) -> np.ndarray:
    """What precedes the zeros at the end; `valid` positions at least."""
    beyond = values[valid:]
    if not beyond.any():  # most often, and fast
        return values[:valid]
    last = np.flatnonzero(beyond.reshape(len(beyond), -1).any(axis=1))[-1]
    return values[: valid + int(last) + 1]


def _digest(values: np.ndarray, length: int) -> bytes:
    digest = hashlib.blake2b(np.ascontiguousarray(values), digest_size=16)
    digest.update(f"{len(values)} {length}".encode())
    return digest.digest()


def _agreement(first: tuple[bytes, ...], second: tuple[bytes, ...]) -> int:
    return sum(a == b for a, b in zip(first, second, strict=True))


def open_part(folder: Path, name: str, modalities: Collection[str] | None = None) -> Part:
    """Open the arrays of a part and check what can be checked without reading the large ones.

    `modalities`: those to open; None: all, with prosody where it is there.

    Raises
    ------
    UserError
        If an array is missing, damaged or of another number of rows, or a label or length is no whole number.
    """
    label_file = open_array(folder / f"{name}_label.npy", 1)
    if modalities is None:
        has_prosody = (folder / f"{name}_audio_prosody.npy").exists()
        modalities = [modality for modality in FILES if modality != "prosody" or has_prosody]
    arrays = {
        modality: open_array(folder / f"{name}_{FILES[modality][0]}.npy", FILES[modality][1]) for modality in modalities
    }
    older, audio_lengths = folder / f"{name}_seqN.npy", folder / f"{name}_audio_seqN.npy"
    length_files = {
        "audio": open_array(older if older.exists() and not audio_lengths.exists() else audio_lengths, 1),
        "video": open_array(folder / f"{name}_video_seqN.npy", 1),
    }
    for array in (*arrays.values(), *length_files.values()):
        if array.shape[0] != label_file.shape[0]:
            raise UserError(
                f"{array.path}: must have as many rows as {label_file.path.name}, {label_file.shape[0]}, "
                f"but has {array.shape[0]}"
            )
    labels, lengths = _integers(label_file), {modality: _integers(array) for modality, array in length_files.items()}
    for modality, array in length_files.items():
        if (lengths[modality] < 0).any():
            row = int(np.argmax(lengths[modality] < 0))
            raise array.error(row, f"a length must be at least 0, but is {lengths[modality][row]}")
    return Part(folder=folder, name=name, arrays=arrays, label_file=label_file, labels=labels, lengths=lengths)


def _integers(array: Array) -> np.ndarray:
    """A small array's values, which must be whole numbers."""
    values = array.rows(0, array.shape[0])
    whole = (values >= -LARGEST) & (values <= LARGEST) & (values == np.floor(values))
    if not whole.all():
        row = int(np.argmin(whole))
        raise array.error(row, f"must be a whole number up to {LARGEST}, but is {values[row]}")
    return values.astype(np.int64)


def read_embedding(folders: list[Path], *, strict: bool = True) -> np.ndarray:
    """`W_embedding.npy`, beside the arrays or one folder up; where copies differ, the first, with a warning.

    Raises
    ------
    UserError
        If it is missing, damaged or not finite, or copies differ (in shape only, where not `strict`).
    """
    first = None
    for folder in folders:
        path = folder / "W_embedding.npy"
        array = open_array(path if path.is_file() else folder.parent / path.name, 2)
        values, misfit = to_float32(array.rows(0, array.shape[0]))
        if misfit:
            raise array.error(misfit.position, f"values must {misfit.rule}, but one is {misfit.value}")
        if first is None:
            first = values
        elif not np.array_equal(first, values):
            same_shape = first.shape == values.shape
            differing = "other numbers" if same_shape else f"shape {values.shape} and not {first.shape}"
            message = f"{array.path}: must equal the first fold's, but has {differing}"
            if strict or not same_shape:
                raise UserError(f"{message}; corpus.strict: false takes the first fold's for numbers that differ")
            print(f"warning: {message}; the first fold's is used", file=sys.stderr)
    return first


def _check_same_shapes(parts: list[Part]) -> None:
    first = parts[0]
    for part in parts:
        if ("prosody" in part.arrays) != ("prosody" in first.arrays):
            raise UserError(
                f"{part.folder}: {part.name}_audio_prosody.npy must be there for all parts of all folds or for none"
            )
        for name, array in part.arrays.items():
            expected = first.arrays[name].shape[1:]
            if array.shape[1:] != expected:
                raise UserError(
                    f"{array.path}: a row must have the shape {expected} as in "
                    f"{first.arrays[name].path}, but has {array.shape[1:]}"
                )


def _check_labels(part: Part, names: list[str] | None) -> None:
    classes = len(names) if names else len(CLASS_COUNTS)
    bad = (part.labels < 0) | (part.labels >= classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise part.label_file.error(
            row,
            f"a label must be in 0 … {classes - 1} "
            f"({'corpus.classes names' if names else 'without corpus.classes there are'} "
            f"{classes} classes), but is {part.labels[row]}",
        )


def _class_names(corpus: Corpus, utterances: list[Utterance]) -> list[str]:
    """The names of labels 0, 1, …: `corpus.classes`, or IEMOCAP's recognised by their counts, or `class_0`, …"""
    kept = Counter(utterance.label for utterance in utterances if utterance.name)
    names = corpus.classes or [None] * len(CLASS_COUNTS)
    for label, name in enumerate(names):
        if not kept[label]:
            raise UserError(f"{corpus.root}: class {name or label} has no utterance with video in any fold")
    if corpus.classes:
        return corpus.classes
    known = {count: name for name, count in CLASS_COUNTS.items()}
    for counts in (Counter(utterance.label for utterance in utterances), kept):
        recognised = [known.get(counts[label]) for label in range(len(names))]
        if None not in recognised and len(set(recognised)) == len(recognised):
            return recognised
    print(
        "warning: the classes' sizes are not those of the paper's corpus, so the classes are called class_0, "
        "class_1, …; corpus.classes can name them",
        file=sys.stderr,
    )
    return [f"class_{label}" for label in range(len(names))]
