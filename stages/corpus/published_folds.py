"""The arrays that the paper used: folders `fold01` … `fold05`, each with every part's rows.

A fold's folder holds, for `part` in train, dev, test: `{part}_audio_mfcc.npy` [n, 1000, 120], `{part}_audio_seqN.npy`
[n] (older name `{part}_seqN.npy`), `{part}_video.npy` [n, 32, 2048], `{part}_video_seqN.npy` [n],
`{part}_nlp_trans.npy` [n, 128], `{part}_label.npy` [n] and, where there, `{part}_audio_prosody.npy` [n, 35];
`W_embedding.npy` [vocabulary, 300] is beside them or one folder up. Sizes may differ; nothing is ever unpickled.

`seqN` is the length before an utterance was cut to the array, so that it may be larger. Frames beyond it that are not 0
are kept, since the authors' scripts read them, but are not among the valid ones (`features.Ragged`).

The same utterance is in each folder once, with the same numbers and the same label: so a digest of its row finds the
one corpus behind the folders, and what contradicts it. Rows are read in blocks, never whole arrays.
"""

import hashlib
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.common.errors import UserError
from stages.common.features import PARTS, SEQUENCES, Array, Meta, Writer, checked_sequence, open_array, to_float32
from stages.common.params import Corpus
from stages.corpus.iemocap import CLASS_COUNTS

BLOCK_BYTES = 32 << 20  # of one array read at a time
LARGEST = 2**53  # beyond it floats skip whole numbers


@dataclass
class Part:
    """The arrays of one part of one fold; the small ones in memory."""

    fold: int
    name: str
    arrays: dict[str, Array]
    """`audio`, `video`, `text` and, where there, `prosody`."""
    label_file: Array
    labels: np.ndarray
    lengths: dict[str, np.ndarray]
    """`seqN` of `audio` and `video`."""

    @property
    def folder(self) -> Path:
        """The fold's folder."""
        return self.label_file.path.parent

    def file(self, name: str) -> Array:
        """One of the arrays, or the labels."""
        return self.arrays.get(name, self.label_file)

    def place(self, name: str, row: int) -> str:
        """A row of an array or of the labels, to name in messages."""
        return f"{self.folder.name}/{self.file(name).path.name}: row {row}"


@dataclass(frozen=True)
class Row:
    """One row of a part, checked."""

    part: Part
    number: int
    sequences: dict[str, np.ndarray]
    """`audio`, `video` and `text`, up to the last frame or word that is not 0."""
    valid: dict[str, int]
    """Frames of `audio` and `video` within `seqN`."""
    prosody: np.ndarray | None

    @property
    def label(self) -> int:
        """Index of its class."""
        return int(self.part.labels[self.number])

    def digests(self) -> tuple[bytes, ...]:
        """One for each of the part's arrays, lengths included."""
        lengths = {name: int(own[self.number]) for name, own in self.part.lengths.items()}
        values = self.sequences | ({} if self.prosody is None else {"prosody": self.prosody})
        return tuple(_digest(values[name], lengths.get(name, 0)) for name in self.part.arrays)

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
        self._seen: Counter = Counter()
        """(digests, label) → rows in this fold so far."""

    def find(self, row: Row) -> Utterance:
        """The utterance that a row is; a new one, with this place alone, if no row before was."""
        digests = row.digests()
        key = digests, row.label
        same, seen = self._same[key], self._seen[key]
        self._seen[key] += 1
        if seen == len(same):
            if row.part.fold > 1 and not self.contradiction:
                self._contradict(self._unlike_first(row, digests, same))
            name = f"utterance_{len(self.utterances):05d}" if row.valid["video"] else ""
            same.append(Utterance(name, row.label, []))
            self.utterances.append(same[-1])
            self._alike.setdefault(digests, same[-1])
        utterance = same[seen]
        utterance.places.append((row.part, row.number))
        if utterance.name:
            self.folds.append((row.part.fold, utterance.name, row.part.name))
        return utterance

    def end_fold(self, last: Part) -> None:
        """No utterance may be lacking in the fold that ends with the part `last`."""
        self._seen.clear()
        for utterance in self.utterances:
            part, row = utterance.places[-1]
            if part.fold != last.fold and not self.contradiction:
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


def write(corpus: Corpus, folder: Path) -> None:
    """Write the corpus under `corpus.root` to `folder`, with the published parts as its folds.

    Raises
    ------
    UserError
        If a file is missing, damaged or of another shape, a row breaks a rule, or folders contradict each other (where
        `corpus.strict`); names the file, row and rule.
    """
    paths = _folders(Path(corpus.root))
    embedding = _embedding(paths, strict=corpus.strict)
    parts = [_open_part(i, path, name) for i, path in enumerate(paths, start=1) for name in PARTS]
    _check_same_shapes(parts)
    for part in parts:
        _check_labels(part, corpus.classes)
    shapes = {name: array.shape for name, array in parts[0].arrays.items()}
    writer = Writer(folder, {"audio": shapes["audio"][2], "video": shapes["video"][2]})
    folders, prosody, oddities = Folders(paths[0], strict=corpus.strict), [], Counter()
    for name, row in _new_utterances(parts, folders, vocabulary=len(embedding)):
        names = {"utterance_id": name, "speaker": "", "session": "", "dialogue": "", "label": row.label}
        writer.add(names, row.sequences, row.valid)
        oddities.update(_oddities(row))
        if row.prosody is not None:
            prosody.append(row.prosody)
    classes = _class_names(corpus, folders.utterances)
    writer.close(
        meta=Meta(
            corpus="IEMOCAP" if set(classes) == set(CLASS_COUNTS) else "unknown",
            classes=classes,
            longest={name: shapes[name][1] for name in SEQUENCES},
        ),
        embedding=embedding,
        prosody=np.stack(prosody) if prosody else None,
        folds=pd.DataFrame(folders.folds, columns=["fold", "utterance_id", "part"]),
    )
    _report(folders, oddities, len(paths), corpus.root)


def _report(folders: Folders, oddities: Counter[str], folds: int, root: str) -> None:
    """Say what was found."""
    kept = sum(bool(utterance.name) for utterance in folders.utterances)
    print(f"{kept} utterances in {folds} folds; {len(folders.utterances) - kept} without video were dropped")
    for oddity, count in sorted(oddities.items()):
        print(f"{count} utterances have {oddity}")
    if folders.contradiction:
        count = sum(len(utterance.places) < folds for utterance in folders.utterances)
        print(
            f"warning: {root}: folders contradict each other: {count} of {len(folders.utterances)} utterances are not "
            f"in all of them; the first: {folders.contradiction}",
            file=sys.stderr,
        )


def _folders(root: Path) -> list[Path]:
    """The folds' folders, in the order of their numbers."""
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


def _new_utterances(parts: list[Part], folders: Folders, *, vocabulary: int) -> Iterator[tuple[str, Row]]:
    """Read and check every row once; name and row of each utterance with video, where it is first met."""
    total = sum(len(part.labels) for part in parts)
    with tqdm(total=total, unit="row", desc="prepare", disable=not sys.stderr.isatty()) as progress:
        for part in parts:
            for row in _rows(part, vocabulary):
                utterance = folders.find(row)
                if utterance.name and len(utterance.places) == 1:
                    yield utterance.name, row
                progress.update()
            if part.name == PARTS[-1]:
                folders.end_fold(part)


def _rows(part: Part, vocabulary: int) -> Iterator[Row]:
    """Each row of a part, as it is stored."""
    widest = max(array.dtype.itemsize * math.prod(array.shape[1:]) for array in part.arrays.values())
    block = max(1, BLOCK_BYTES // widest)
    for start in range(0, len(part.labels), block):
        stop = min(start + block, len(part.labels))
        values = {name: array.rows(start, stop) for name, array in part.arrays.items()}
        for i in range(stop - start):
            yield _row(part, start + i, {name: own[i] for name, own in values.items()}, vocabulary)


def _row(part: Part, number: int, values: dict[str, np.ndarray], vocabulary: int) -> Row:
    """One row without padding, checked and in the types that are stored."""
    valid = {name: min(int(own[number]), len(values[name])) for name, own in part.lengths.items()}
    sequences = {}
    for name in SEQUENCES:
        size = vocabulary if name == "text" else values[name].shape[1]
        try:
            sequences[name] = checked_sequence(name, _unpadded(values[name], valid.get(name, 0)), size)
        except UserError as error:
            raise part.arrays[name].error(number, str(error)) from None
    prosody = to_float32(values["prosody"])[0] if "prosody" in values else None
    return Row(part, number, sequences, valid, prosody)


def _unpadded(values: np.ndarray, valid: int) -> np.ndarray:
    """What precedes the zeros at the end; `valid` positions at least."""
    beyond = values[valid:]
    if not beyond.any():  # most often, and fast
        return values[:valid]
    last = np.flatnonzero(beyond.reshape(len(beyond), -1).any(axis=1))[-1]
    return values[: valid + int(last) + 1]


def _oddities(row: Row) -> Iterator[str]:
    """What is not as described, but read like the authors' scripts read it."""
    for name, valid in row.valid.items():
        longest = row.part.arrays[name].shape[1]
        if row.part.lengths[name][row.number] > longest:
            yield f"more {name} frames (seqN) than the {longest} of the arrays, to which they were cut"
        if len(row.sequences[name]) > valid:
            yield f"{name} frames after the last of seqN: model.padding: attend reads them, mask does not"


def _digest(values: np.ndarray, length: int) -> bytes:
    digest = hashlib.blake2b(np.ascontiguousarray(values), digest_size=16)
    digest.update(f"{len(values)} {length}".encode())
    return digest.digest()


def _agreement(first: tuple[bytes, ...], second: tuple[bytes, ...]) -> int:
    return sum(a == b for a, b in zip(first, second, strict=True))


def _open_part(fold: int, folder: Path, name: str) -> Part:
    """Open the arrays of a part and check what can be checked without reading the large ones."""
    label_file = open_array(folder / f"{name}_label.npy", 1)
    arrays = {
        "audio": open_array(folder / f"{name}_audio_mfcc.npy", 3),
        "video": open_array(folder / f"{name}_video.npy", 3),
        "text": open_array(folder / f"{name}_nlp_trans.npy", 2),
    }
    prosody = folder / f"{name}_audio_prosody.npy"
    if prosody.exists():
        arrays["prosody"] = open_array(prosody, 2)
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
    return Part(fold=fold, name=name, arrays=arrays, label_file=label_file, labels=labels, lengths=lengths)


def _integers(array: Array) -> np.ndarray:
    """A small array's values, which must be whole numbers."""
    values = array.rows(0, array.shape[0])
    whole = (values >= -LARGEST) & (values <= LARGEST) & (values == np.floor(values))
    if not whole.all():
        row = int(np.argmin(whole))
        raise array.error(row, f"must be a whole number up to {LARGEST}, but is {values[row]}")
    return values.astype(np.int64)


def _embedding(folders: list[Path], *, strict: bool) -> np.ndarray:
    """`W_embedding.npy`, beside the arrays or one folder up; where copies differ, the first, with a warning."""
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
