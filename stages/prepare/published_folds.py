"""The arrays that the paper used: five folders `fold01` … `fold05`, each with every part's rows.

A fold's folder holds, for `part` in train, dev, test: `{part}_audio_mfcc.npy` [n, 1000, 120], `{part}_audio_seqN.npy`
[n] (older name `{part}_seqN.npy`), `{part}_video.npy` [n, 32, 2048], `{part}_video_seqN.npy` [n],
`{part}_nlp_trans.npy` [n, 128], `{part}_label.npy` [n] and, where there, `{part}_audio_prosody.npy` [n, 35];
`W_embedding.npy` [vocabulary, 300] is beside them or one folder up. Sizes may differ; nothing is ever unpickled.

The same utterance is byte-identical wherever it appears, so that a digest of its row finds the one corpus behind the
five folders. Rows are read in blocks, never whole arrays.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.cli import UserError
from stages.features import PARTS, Meta, Writer
from stages.params import Corpus
from stages.prepare.iemocap import CLASS_COUNTS

BLOCK_BYTES = 32 << 20  # of one array read at a time


@dataclass(frozen=True)
class Array:
    """A plain `.npy` file whose header was checked and whose rows can be read in blocks."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`, read from disk."""
        count = int(np.prod(self.shape[1:], dtype=np.int64))
        with self.path.open("rb") as file:
            file.seek(self.offset + start * count * self.dtype.itemsize)
            values = np.fromfile(file, dtype=self.dtype, count=(stop - start) * count)
        return values.reshape(stop - start, *self.shape[1:])

    def error(self, row: int, message: str) -> UserError:
        """An error about one row."""
        return UserError(f"{self.path}: row {row}: {message}")


@dataclass
class Part:
    """The arrays of one part of one fold; the small ones in memory."""

    fold: int
    name: str
    sequences: dict[str, Array]
    label_file: Array
    labels: np.ndarray
    lengths: dict[str, np.ndarray]
    prosody: Array | None


@dataclass
class Found:
    """What the walk over all rows gathers."""

    rows: dict[tuple[bytes, int], str] = field(default_factory=dict)
    """(digest, how often it came before in the same folder) → utterance_id, empty for one without video."""
    labels: dict[str, int] = field(default_factory=dict)
    """utterance_id → label."""
    folds: list[tuple[int, str, str]] = field(default_factory=list)
    all_labels: Counter = field(default_factory=Counter)
    """Label → utterances, those without video too."""
    prosody: list[np.ndarray] = field(default_factory=list)


def write(corpus: Corpus, folder: Path) -> None:
    """Write the corpus under `corpus.root` to `folder`, with the published parts as its folds.

    Raises
    ------
    UserError
        If a file is missing, truncated or of another shape, or a row breaks a rule; names the file, row and rule.
    """
    root = Path(corpus.root)
    folders = sorted(path for path in root.glob("fold*") if path.is_dir())
    if len(folders) < 2:
        raise UserError(f"{root}: corpus.root must hold at least two folders fold01, fold02, …, but has {len(folders)}")
    embedding = _embedding(folders)
    parts = [_open_part(i, path, name) for i, path in enumerate(folders, start=1) for name in PARTS]
    _check_same_shapes(parts)
    for part in parts:
        _check_labels(part, corpus.classes)
    shapes = {name: array.shape for name, array in parts[0].sequences.items()}
    writer = Writer(folder, {"audio": shapes["audio"][2], "video": shapes["video"][2]})
    found = _walk(parts, writer, vocabulary=len(embedding))
    classes = _class_names(corpus, found)
    meta = Meta(
        corpus="IEMOCAP" if set(classes) == set(CLASS_COUNTS) else "unknown",
        classes=classes,
        longest={name: shape[1] for name, shape in shapes.items()},
    )
    writer.name_labels(classes)
    writer.close(
        meta=meta,
        embedding=embedding,
        prosody=np.stack(found.prosody) if found.prosody else None,
        folds=pd.DataFrame(found.folds, columns=["fold", "utterance_id", "part"]),
    )
    dropped = sum(found.all_labels.values()) - len(found.labels)
    print(f"{len(found.labels)} utterances in {len(folders)} folds; {dropped} without video were dropped")


def _walk(parts: list[Part], writer: Writer, *, vocabulary: int) -> Found:
    """Read, check and digest every row once; add each utterance to `writer` where it is first met."""
    found = Found()
    total = sum(len(part.labels) for part in parts)
    with tqdm(total=total, unit="row", desc="prepare", disable=not sys.stderr.isatty()) as progress:
        seen: Counter = Counter()
        for part in parts:
            if part.name == PARTS[0]:
                seen.clear()
            for row, values, prosody in _rows(part, vocabulary):
                digest = _digest(values, part.labels[row], prosody)
                key = (digest, seen[digest])
                seen[digest] += 1
                _note(found, key, part, row, values, prosody, writer)
                progress.update()
    return found


def _note(
    found: Found,
    key: tuple[bytes, int],
    part: Part,
    row: int,
    values: dict[str, np.ndarray],
    prosody: np.ndarray | None,
    writer: Writer,
) -> None:
    """Record one row: a new utterance, or one that an earlier fold brought."""
    label = int(part.labels[row])
    if key not in found.rows:
        found.all_labels[label] += 1
        has_video = len(values["video"]) > 0  # the paper drops utterances without video
        found.rows[key] = f"utterance_{len(found.rows):05d}" if has_video else ""
        if has_video:
            name = found.rows[key]
            found.labels[name] = label
            writer.add({"utterance_id": name, "speaker": "", "session": "", "dialogue": "", "label": label}, values)
            if prosody is not None:
                found.prosody.append(prosody)
    if found.rows[key]:
        found.folds.append((part.fold, found.rows[key], part.name))


def _rows(part: Part, vocabulary: int) -> Iterator[tuple[int, dict[str, np.ndarray], np.ndarray | None]]:
    """Each row of a part: its number, its sequences without padding, its prosody."""
    arrays = list(part.sequences.values()) + ([part.prosody] if part.prosody else [])
    widest = max(array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays)
    block = max(1, BLOCK_BYTES // widest)
    for start in range(0, len(part.labels), block):
        stop = min(start + block, len(part.labels))
        values = {name: array.rows(start, stop) for name, array in part.sequences.items()}
        prosody = part.prosody.rows(start, stop) if part.prosody else None
        for name in ("audio", "video"):
            _check_frames(part.sequences[name], values[name], part.lengths[name][start:stop], start)
        _check_words(part.sequences["text"], values["text"], vocabulary, start)
        for i in range(stop - start):
            row = start + i
            if prosody is not None and not np.isfinite(prosody[i]).all():
                raise part.prosody.error(row, "values must be finite, but one is NaN or infinite")
            words = np.flatnonzero(values["text"][i])
            yield (
                row,
                {
                    "audio": values["audio"][i, : part.lengths["audio"][row]],
                    "video": values["video"][i, : part.lengths["video"][row]],
                    "text": values["text"][i, : words[-1] + 1 if len(words) else 0].astype(np.int32),
                },
                None if prosody is None else prosody[i],
            )


def _digest(values: dict[str, np.ndarray], label: int, prosody: np.ndarray | None) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in (*values.values(), prosody):
        if array is not None:
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array))
    digest.update(int(label).to_bytes(8, "little"))
    return digest.digest()


def _check_frames(array: Array, values: np.ndarray, lengths: np.ndarray, start: int) -> None:
    """Frames must be finite, and zero beyond their length: what lies there would enter the model."""
    finite = np.isfinite(values).all(axis=(1, 2))
    if not finite.all():
        i = int(np.argmin(finite))
        frame = int(np.argmin(np.isfinite(values[i]).all(axis=1)))
        raise array.error(start + i, f"values must be finite, but frame {frame} has a NaN or infinity")
    padding = np.arange(values.shape[1]) >= lengths[:, None]
    stray = padding & values.any(axis=2)
    if stray.any():
        i, frame = (int(x) for x in np.argwhere(stray)[0])
        raise array.error(start + i, f"frames beyond the length {lengths[i]} must be 0, but frame {frame} is not")


def _check_words(array: Array, values: np.ndarray, vocabulary: int, start: int) -> None:
    bad = ~((values >= 0) & (values < vocabulary) & (values == np.floor(values)))
    if bad.any():
        i, position = (int(x) for x in np.argwhere(bad)[0])
        raise array.error(
            start + i,
            f"token ids must be whole numbers in 0 … {vocabulary - 1} (the rows of W_embedding.npy), "
            f"but position {position} has {values[i, position]}",
        )


def _open_part(fold: int, folder: Path, name: str) -> Part:
    """Open the arrays of a part and check what can be checked without reading the large ones."""
    label_file = _open(folder / f"{name}_label.npy", 1)
    sequences = {
        "audio": _open(folder / f"{name}_audio_mfcc.npy", 3),
        "video": _open(folder / f"{name}_video.npy", 3),
        "text": _open(folder / f"{name}_nlp_trans.npy", 2),
    }
    older = folder / f"{name}_seqN.npy"
    audio_lengths = folder / f"{name}_audio_seqN.npy"
    length_files = {
        "audio": _open(older if older.exists() and not audio_lengths.exists() else audio_lengths, 1),
        "video": _open(folder / f"{name}_video_seqN.npy", 1),
    }
    prosody_file = folder / f"{name}_audio_prosody.npy"
    prosody = _open(prosody_file, 2) if prosody_file.exists() else None
    for array in (*sequences.values(), *length_files.values(), *([prosody] if prosody else [])):
        if array.shape[0] != label_file.shape[0]:
            raise UserError(
                f"{array.path}: must have as many rows as {label_file.path.name}, {label_file.shape[0]}, "
                f"but has {array.shape[0]}"
            )
    lengths = {}
    for modality, array in length_files.items():
        lengths[modality], longest = _integers(array), sequences[modality].shape[1]
        bad = (lengths[modality] < 0) | (lengths[modality] > longest)
        if bad.any():
            row = int(np.argmax(bad))
            raise array.error(
                row,
                f"a length must be in 0 … {longest} (the frames of "
                f"{sequences[modality].path.name}), but is {lengths[modality][row]}",
            )
    return Part(
        fold=fold,
        name=name,
        sequences=sequences,
        label_file=label_file,
        labels=_integers(label_file),
        lengths=lengths,
        prosody=prosody,
    )


def _open(path: Path, dimensions: int) -> Array:
    """Check a `.npy` file's header and size.

    Raises
    ------
    UserError
        If the file is missing, holds objects, is truncated, or has another number of dimensions.
    """
    if not path.is_file():
        raise UserError(f"{path}: this array is missing")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        # numpy: "Array can't be memory-mapped: Python objects in dtype", "mmap length is greater than file size" …
        reason = "holds Python objects, which are never loaded" if "object" in str(error) else f"is damaged: {error}"
        raise UserError(f"{path}: must be a plain numeric .npy array, but {reason}") from None
    if array.ndim != dimensions:
        raise UserError(f"{path}: must have {dimensions} dimensions, but has shape {array.shape}")
    if array.dtype.kind not in "fiu" or not array.flags.c_contiguous:
        raise UserError(
            f"{path}: must be numbers in C order, but is {array.dtype}"
            f"{'' if array.flags.c_contiguous else ' in Fortran order'}"
        )
    return Array(path, array.shape, array.dtype, array.offset)


def _integers(array: Array) -> np.ndarray:
    """A small array's values, which must be whole numbers."""
    values = array.rows(0, array.shape[0])
    whole = np.isfinite(values) & (values == np.floor(values))
    if not whole.all():
        row = int(np.argmin(whole))
        raise array.error(row, f"must be a whole number, but is {values[row]}")
    return values.astype(np.int64)


def _embedding(folders: list[Path]) -> np.ndarray:
    """`W_embedding.npy`, beside the arrays or one folder up; all copies must agree."""
    first = None
    for folder in folders:
        path = folder / "W_embedding.npy"
        array = _open(path if path.is_file() else folder.parent / path.name, 2)
        values = array.rows(0, array.shape[0])
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise array.error(int(np.argmin(finite)), "values must be finite, but one is NaN or infinite")
        if first is None:
            first = values
        elif not np.array_equal(first, values):
            raise UserError(f"{array.path}: must equal the first fold's, but differs")
    return first


def _check_same_shapes(parts: list[Part]) -> None:
    first = parts[0]
    for part in parts:
        for name, array in part.sequences.items():
            expected = first.sequences[name].shape[1:]
            if array.shape[1:] != expected:
                raise UserError(
                    f"{array.path}: a row must have the shape {expected} as in "
                    f"{first.sequences[name].path}, but has {array.shape[1:]}"
                )
        prosody = [p.prosody.shape[1:] if p.prosody else None for p in (part, first)]
        if prosody[0] != prosody[1]:
            raise UserError(
                f"{part.label_file.path.parent}: {part.name}_audio_prosody.npy must be there, "
                "with rows of one length, for all parts of all folds or for none"
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


def _class_names(corpus: Corpus, found: Found) -> list[str]:
    """The names of labels 0, 1, …: `corpus.classes`, or IEMOCAP's recognised by their counts, or `class_0`, …"""
    kept = Counter(found.labels.values())
    names = corpus.classes or [None] * len(CLASS_COUNTS)
    for label, name in enumerate(names):
        if not kept[label]:
            raise UserError(f"{corpus.root}: class {name or label} has no utterance with video in any fold")
    if corpus.classes:
        return corpus.classes
    known = {count: name for name, count in CLASS_COUNTS.items()}
    for counts in (found.all_labels, kept):
        recognised = [known.get(counts[label]) for label in range(len(names))]
        if None not in recognised and len(set(recognised)) == len(recognised):
            return recognised
    print(
        "warning: the classes' sizes are not those of the paper's corpus, so the classes are called class_0, "
        "class_1, …; corpus.classes can name them",
        file=sys.stderr,
    )
    return [f"class_{label}" for label in range(len(names))]
