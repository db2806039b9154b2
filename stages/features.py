"""`data/features/` and `data/folds.csv`: what `prepare` and `split` write and the later stages read.

Sequences are ragged: all utterances' frames one after the other in a plain `.npy` that readers open by memory map, with
each utterance's offset and length in `utterances.csv`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from stages import files

FOLDER = Path("data/features")
FOLDS = Path("data/folds.csv")
SEQUENCES = ("audio", "video", "text")
PARTS = ("train", "dev", "test")

_HEADER = 128  # bytes of the .npy header, fixed so that the shape can be filled in at the end


@dataclass(frozen=True, kw_only=True)
class Meta:
    """`meta.json`: what the arrays do not say."""

    corpus: str
    """`synthetic`, `IEMOCAP` or `unknown`."""
    classes: list[str]
    """Class names in the order of their labels."""
    longest: dict[str, int]
    """Modality → positions to which the corpus pads its sequences."""
    checksum: str = ""
    """SHA-256 of all arrays: `Writer` fills it in."""


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

    def __getitem__(self, row: int) -> np.ndarray:
        """The sequence of utterance `row`, without padding: [length, features]."""
        return self.values[self.offsets[row] : self.offsets[row] + self.lengths[row]]


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

    Use it inside `files.replacing`: nothing is complete before `close`.
    """

    def __init__(self, folder: Path, dimensions: dict[str, int]):
        """`dimensions`: features a frame of `audio` and `video`."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._shapes = {"audio": (dimensions["audio"],), "video": (dimensions["video"],), "text": ()}
        self._dtypes = {"audio": "<f4", "video": "<f4", "text": "<i4"}
        self._streams = {name: (folder / f"{name}.npy").open("wb") for name in SEQUENCES}
        self._positions = dict.fromkeys(SEQUENCES, 0)
        self._rows: list[dict] = []
        self._digest = hashlib.sha256()
        for stream in self._streams.values():
            stream.write(b"\0" * _HEADER)

    def add(self, utterance: dict[str, str], sequences: dict[str, np.ndarray]) -> None:
        """Append an utterance (utterance_id, speaker, session, dialogue, label) and its unpadded sequences."""
        row = dict(utterance)
        for name in SEQUENCES:
            values = np.ascontiguousarray(sequences[name], dtype=self._dtypes[name])
            content = values.tobytes()
            self._streams[name].write(content)
            self._digest.update(content)
            row |= {f"{name}_length": len(values), f"{name}_offset": self._positions[name]}
            self._positions[name] += len(values)
        self._rows.append(row)

    def name_labels(self, names: list[str]) -> None:
        """Replace label numbers by names, for a corpus that is read before its classes are known."""
        for row in self._rows:
            row["label"] = names[row["label"]]

    def close(
        self, *, meta: Meta, embedding: np.ndarray, prosody: np.ndarray | None = None, folds: pd.DataFrame | None = None
    ) -> None:
        """Complete the folder; `folds` (fold, utterance_id, part) are those that the corpus brings, if any."""
        for name, stream in self._streams.items():
            with stream:
                stream.seek(0)
                stream.write(_npy_header((self._positions[name], *self._shapes[name]), self._dtypes[name]))
        for name, array in (("embedding", embedding), ("prosody", prosody)):
            if array is not None:
                np.save(self._folder / f"{name}.npy", array.astype("<f4"))
                self._digest.update(array.astype("<f4").tobytes())
        files.write_csv(self._folder / "utterances.csv", pd.DataFrame(self._rows))
        if folds is not None:
            files.write_csv(self._folder / "folds.csv", folds)
        meta = replace(meta, checksum=self._digest.hexdigest())
        files.write_text(self._folder / "meta.json", json.dumps(asdict(meta), indent=1) + "\n")


def read_meta(folder: Path = FOLDER) -> Meta:
    """`meta.json` of a prepared corpus."""
    return Meta(**json.loads((folder / "meta.json").read_text(encoding="utf-8")))


def read_utterances(folder: Path = FOLDER) -> pd.DataFrame:
    """`utterances.csv` of a prepared corpus; names are text, unknown ones are empty."""
    names = ("utterance_id", "speaker", "session", "dialogue", "label")
    return pd.read_csv(folder / "utterances.csv", dtype=dict.fromkeys(names, str), keep_default_na=False)


def read(folder: Path = FOLDER) -> Features:
    """Open a prepared corpus; its sequences stay on disk."""
    meta, utterances = read_meta(folder), read_utterances(folder)
    sequences = {
        name: Ragged(
            # A view of the map: slices of np.memmap itself are slow.
            values=np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)),
            offsets=utterances[f"{name}_offset"].to_numpy(),
            lengths=utterances[f"{name}_length"].to_numpy(),
            longest=meta.longest[name],
        )
        for name in SEQUENCES
    }
    return Features(
        meta=meta,
        utterance_id=utterances["utterance_id"].to_numpy(str),
        label=utterances["label"].map({name: i for i, name in enumerate(meta.classes)}).to_numpy(),
        sequences=sequences,
        embedding=np.load(folder / "embedding.npy", allow_pickle=False),
    )


def read_folds(path: Path = FOLDS) -> pd.DataFrame:
    """A table fold, utterance_id, part; folds count from 1."""
    return pd.read_csv(path, dtype={"fold": int, "utterance_id": str, "part": str}, keep_default_na=False)


def numbers(folds: pd.DataFrame) -> list[int]:
    """The folds' numbers, in order."""
    return sorted(int(fold) for fold in folds["fold"].unique())


def fold_rows(corpus: Features, folds: pd.DataFrame, fold: int) -> dict[str, np.ndarray]:
    """Part → rows of the corpus, in the order of the table of folds."""
    row_of = {name: row for row, name in enumerate(corpus.utterance_id)}
    parts = folds[folds["fold"] == fold].groupby("part")["utterance_id"]
    return {part: np.array([row_of[name] for name in names]) for part, names in parts}


def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """The header of a version 1.0 `.npy` file, `_HEADER` bytes long (numpy.lib.format)."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape})
    size = _HEADER - 10
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1).encode("latin1") + b"\n"
