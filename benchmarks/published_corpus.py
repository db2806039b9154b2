"""Writes made-up corpora in the layout of the arrays that the paper used (`stages/corpus/published_folds.py`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Shapes of one utterance; the defaults are the paper's."""

    audio: tuple[int, int] = (1000, 120)
    video: tuple[int, int] = (32, 2048)
    text: int = 128
    vocabulary: int = 3000
    embedding: int = 300
    prosody: int = 35


class Corpus:
    """Utterances that are made anew, always alike, whenever they are asked for, so that none need be kept."""

    def __init__(
        self,
        labels: np.ndarray,
        sizes: Sizes,
        *,
        without_video: tuple[int, ...] = (),
        frames_beyond: tuple[int, ...] = (),
        nan_prosody: tuple[int, ...] = (),
        seed: int = 0,
    ):
        """`frames_beyond`: utterances with frames that are not 0 beyond their `seqN`."""
        self.labels, self.sizes, self.seed = labels, sizes, seed
        self.without_video, self.frames_beyond, self.nan_prosody = without_video, frames_beyond, nan_prosody
        rng = np.random.default_rng(seed)
        classes = int(labels.max()) + 1
        self.level = {
            name: rng.standard_normal((classes, size[1])).astype(np.float32)
            for name, size in (("audio", sizes.audio), ("video", sizes.video))
        }
        self.embedding = rng.standard_normal((sizes.vocabulary, sizes.embedding)).astype(np.float32)
        self.embedding[0] = 0

    def lengths(self, i: int) -> dict[str, int]:
        """`seqN` of utterance `i`: frames of `audio` and `video` before they were cut to the arrays."""
        duration = _duration(np.random.default_rng([self.seed, i])) / (2 if i in self.frames_beyond else 1)
        lengths = {name: max(1, int(duration * getattr(self.sizes, name)[0])) for name in ("audio", "video")}
        return lengths | ({"video": 0} if i in self.without_video else {})

    def sequences(self, i: int) -> dict[str, np.ndarray]:
        """Utterance `i`: `audio` and `video` [length, features], `text` [length], `prosody` [size]."""
        rng = np.random.default_rng([self.seed, i])
        duration, sizes, label = _duration(rng), self.sizes, self.labels[i]
        arrays = {}
        for name in ("audio", "video"):
            longest, features = getattr(sizes, name)
            length = 0 if name == "video" and i in self.without_video else int(np.clip(duration * longest, 1, longest))
            arrays[name] = rng.standard_normal((length, features), dtype=np.float32) + self.level[name][label]
        words = int(np.clip(duration * sizes.text * 0.3, 1, sizes.text))
        arrays["text"] = 1 + (label + 7 * rng.integers(0, 1000, words)) % (sizes.vocabulary - 1)
        arrays["prosody"] = rng.standard_normal(sizes.prosody, dtype=np.float32)
        if i in self.nan_prosody:
            arrays["prosody"][0] = np.nan
        return arrays


def _duration(rng: np.random.Generator) -> float:
    """Of an utterance, as a share of the longest sequence: most are short, one in sixteen is cut."""
    return np.exp(rng.normal(np.log(0.4), 0.6))


def parts(utterances: int, folds: int, seed: int) -> list[dict[str, np.ndarray]]:
    """For each fold, part → utterances: random folds, each held-out one divided 25 : 75 into dev and test."""
    order = np.random.default_rng(seed).permutation(utterances)
    divided = []
    for held_out in np.array_split(order, folds):
        dev = len(held_out) // 4
        divided.append({"train": np.setdiff1d(order, held_out), "dev": held_out[:dev], "test": held_out[dev:]})
    return divided


def write(
    root: Path,
    corpus: Corpus,
    divided: list[dict[str, np.ndarray]],
    *,
    older_names: bool = False,
    fortran_order: bool = False,
) -> None:
    """Write the five (or more) folders under `root`, row by row."""
    for number, fold in enumerate(divided, start=1):
        folder = root / f"fold{number:02d}"
        folder.mkdir(parents=True)
        for part, members in fold.items():
            _write_part(folder, part, corpus, members, older_names, fortran_order)
    np.save(root / "W_embedding.npy", corpus.embedding)


def size_in_bytes(utterances: int, folds: int, sizes: Sizes) -> int:
    """Bytes that `write` takes on disk."""
    row = 4 * (np.prod(sizes.audio) + np.prod(sizes.video) + sizes.prosody) + 8 * (sizes.text + 3)
    return int(folds * utterances * row + 4 * sizes.vocabulary * sizes.embedding)


def _write_part(
    folder: Path, part: str, corpus: Corpus, members: np.ndarray, older_names: bool, fortran_order: bool
) -> None:
    sizes, n = corpus.sizes, len(members)
    names = {"audio": "audio_mfcc", "video": "video", "text": "nlp_trans", "prosody": "audio_prosody"}
    shapes = {"audio": sizes.audio, "video": sizes.video, "text": (sizes.text,), "prosody": (sizes.prosody,)}
    arrays = {
        name: open_memmap(
            folder / f"{part}_{names[name]}.npy",
            "w+",
            shape=(n, *shape),
            dtype=np.int64 if name == "text" else np.float32,
            fortran_order=fortran_order,
        )
        for name, shape in shapes.items()
    }
    lengths = {"audio": np.zeros(n, np.int64), "video": np.zeros(n, np.int64)}
    for row, i in enumerate(members):
        for name, values in corpus.sequences(int(i)).items():
            arrays[name][row, : len(values)] = values
        for name, length in corpus.lengths(int(i)).items():
            lengths[name][row] = length
    np.save(folder / (f"{part}_seqN.npy" if older_names else f"{part}_audio_seqN.npy"), lengths["audio"])
    np.save(folder / f"{part}_video_seqN.npy", lengths["video"])
    np.save(folder / f"{part}_label.npy", corpus.labels[members])
