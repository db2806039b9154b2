"""`python -m tools.from_mmsa FILE`: a feature file of MMSA (MOSI, MOSEI, CH-SIMS) as a folder that `corpus.root` takes.

MMSA (https://github.com/thuiar/MMSA) spreads `aligned_50.pkl`, `unaligned_50.pkl` and `unaligned_39.pkl`, which are
pickles. No stage reads a pickle: this tool is the only place that does, once, and never with `pickle.load`
(`tools.pickled_arrays` says how). docs/from-mmsa.md walks through it.
"""

import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.common import cli, files, progress
from stages.common.errors import UserError
from tools import pickled_arrays
from tools.pickled_arrays import described

PARTS = {"train": "train", "valid": "dev", "test": "test"}
"""A part's name in MMSA's file → in the manifest."""
MODALITIES = {"text": "text", "audio": "audio", "video": "vision"}
"""A modality → its key in MMSA's file."""
LABELS: dict[int, Callable[[np.float32], str]] = {
    2: lambda score: "Non-negative" if score >= 0 else "Negative",
    3: lambda score: "Positive" if score > 0 else "Negative" if score < 0 else "Neutral",
    7: lambda score: str(int(np.round(np.clip(score, -3, 3)))),
}
"""Number of classes → the class of a score, as in MMSA's metrics of MOSI and MOSEI (2: Has0_acc_2, 7: Mult_acc_7)."""


def main() -> None:
    """Convert the file that the command line names.

    Raises
    ------
    UserError
        If it is no such file, or the folder is there already; names the part and the key.
    """
    parser = cli.ArgumentParser(prog="python -m tools.from_mmsa", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="a feature file of MMSA (.pkl)")
    parser.add_argument("--out", type=Path, help="folder to write; else the file's name without .pkl, beside it")
    parser.add_argument("--classes", type=int, choices=tuple(LABELS), default=3, help="how many classes of sentiment")
    arguments = parser.parse_args()
    out = arguments.out or arguments.file.with_suffix("")
    if out.exists():
        raise UserError(f"{out}: must not exist yet; remove it, or name another folder with --out")
    parts = read(arguments.file)
    with files.replacing(out) as folder:
        replaced = write(parts, folder, classes=arguments.classes)
    counts = ", ".join(f"{part.name} {len(part.ids)}" for part in parts)
    sizes = ", ".join(f"{modality} {array.shape[2]}" for modality, array in parts[0].features.items())
    print(f"{out}: {sum(len(part.ids) for part in parts)} utterances ({counts}); features: {sizes}")
    if replaced:
        print(f"{out}: {replaced} values of audio were −inf and are 0, as in MMSA", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of MMSA's file, checked; all lists and arrays have N utterances."""

    name: str
    """`train`, `dev` or `test`."""
    place: str
    """The file and the part's key there, for messages."""
    ids: list[str]
    transcriptions: list[str] | None
    annotations: list[str] | None
    scores: np.ndarray | None
    """Sentiment, float32 [N]: −3 … 3 in MOSI and MOSEI, −1 … 1 in CH-SIMS."""
    features: dict[str, np.ndarray]
    """Modality → [N, T, F], padded."""
    lengths: dict[str, np.ndarray]
    """Modality → frames before padding, 1 … T, [N], where the file says it."""

    def label(self, i: int, classes: int) -> str:
        """The class of an utterance; of three, the file's own annotation where it has one."""
        if classes == 3 and self.annotations is not None:
            return self.annotations[i]
        return LABELS[classes](self.scores[i])

    def frames(self, modality: str, i: int) -> np.ndarray:
        """An utterance's features without padding, float32 [T, F]."""
        length = self.lengths[modality][i] if modality in self.lengths else None
        with np.errstate(over="ignore", invalid="ignore"):  # inf and NaN are an error later
            return unpadded(self.features[modality][i].astype(np.float32, order="C"), length)


def read(path: Path) -> list[Part]:
    """The three parts of a feature file.

    Raises
    ------
    UserError
        If the file is damaged, or breaks a rule of its structure; names the part and the key.
    """
    content = pickled_arrays.read(path)
    for key in PARTS:
        if type(content) is not dict or type(content.get(key)) is not dict:
            raise UserError(f"{path}: must be a dictionary with the dictionaries {', '.join(PARTS)}, but has no {key}")
    parts = [_part(f"{path}: {key}", name, content[key]) for key, name in PARTS.items()]
    for part in parts[1:]:
        _check_same(part, parts[0])
    return parts


def write(parts: list[Part], folder: Path, *, classes: int) -> int:
    """Write `metadata.csv` and the arrays it names into `folder`; how many −inf of audio became 0.

    Raises
    ------
    UserError
        If the scores that the classes need are missing, or a feature is not finite.
    """
    lacking = next((part for part in parts if part.scores is None and (classes != 3 or part.annotations is None)), None)
    if lacking:
        raise UserError(f"{lacking.place}: must have regression_labels for {classes} classes, but has none")
    replaced, modalities = 0, list(parts[0].features)
    for modality in modalities:
        (folder / modality).mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        names = [f"{modality}_file_name" for modality in modalities]
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["utterance_id", "label", "part", "dialogue", "transcription", "sentiment", *names])
        for part, i, name in _named(parts):
            paths = [f"{modality}/{part.name}_{i:05d}.npy" for modality in modalities]
            for modality, path in zip(modalities, paths, strict=True):
                frames, found = _finite(part, modality, i)
                np.save(folder / path, frames)
                replaced += found
            spoken = " ".join(part.transcriptions[i].split()) if part.transcriptions else ""
            score = "" if part.scores is None else part.scores[i]
            dialogue = part.ids[i].partition("$_$")[0]
            table.writerow([name, part.label(i, classes), part.name, dialogue, spoken, score, *paths])
    return replaced


def unpadded(frames: np.ndarray, length: int | None) -> np.ndarray:
    """The frames [T, F] without padding; at least one is kept.

    `length`: how many come before the padding. Without it, all frames of zeros at both ends are padding: MMSA pads
    at the end, and its data_loader.py skips zeros in front too where it cuts sequences.
    """
    if length is not None:
        return frames[:length]
    filled = np.flatnonzero(frames.any(axis=1))
    return frames[filled[0] : filled[-1] + 1] if len(filled) else frames[:1]


def _finite(part: Part, modality: str, i: int) -> tuple[np.ndarray, int]:
    """An utterance's frames, and how many −inf of audio became 0 (logarithms of silence; MMSA's data_loader.py)."""
    frames = part.frames(modality, i)
    infinite = np.isneginf(frames) & (modality == "audio")
    frames[infinite] = 0
    if not np.isfinite(frames).all():
        row, column = np.argwhere(~np.isfinite(frames))[0]
        raise UserError(
            f"{part.place}: {MODALITIES[modality]}: must be finite in float32, but utterance {i} (counted from 0) "
            f"has {frames[row, column]} in frame {row}, feature {column}"
        )
    return frames, int(infinite.sum())


def _named(parts: list[Part]) -> Iterator[tuple[Part, int, str]]:
    """Each utterance and its unique name: its id, after the part's name if parts have ids in common."""
    every = Counter(name for part in parts for name in part.ids)
    shared = any(count > 1 for count in every.values())
    rows = [(part, i, f"{part.name}_{name}" if shared else name) for part in parts for i, name in enumerate(part.ids)]
    yield from progress.line("from_mmsa", "utterances", rows)


def _part(place: str, name: str, content: dict) -> Part:
    """A part's content, checked."""
    ids = _texts(place, content, "id", None)
    if ids is None:
        raise UserError(f"{place}: must have the key id, but has none")
    twice = next((name for name, count in Counter(ids).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{place}: id: must be unique, but {described(twice)} is there twice")
    number = len(ids)
    features = {modality: _features(place, content, key, number) for modality, key in MODALITIES.items()}
    features = {modality: array for modality, array in features.items() if array is not None}
    if not features:
        raise UserError(f"{place}: must have one or more of {', '.join(MODALITIES.values())}, but has none")
    lengths = {modality: _numbers(place, content, f"{MODALITIES[modality]}_lengths", number) for modality in features}
    return Part(
        name=name,
        place=place,
        ids=ids,
        transcriptions=_texts(place, content, "raw_text", number),
        annotations=_texts(place, content, "annotations", number),
        scores=_numbers(place, content, "regression_labels", number),
        features=features,
        lengths={
            modality: np.clip(own, 1, features[modality].shape[1]).astype(int)
            for modality, own in lengths.items()
            if own is not None
        },
    )


def _texts(place: str, content: dict, key: str, number: int | None) -> list[str] | None:
    """The texts under a key; None if it is absent. All but transcriptions become names, so must be printable."""
    texts = content.get(key)
    if texts is None:
        return None
    if type(texts) is not list or not texts or not all(type(text) is str for text in texts):
        raise UserError(f"{place}: {key}: must be a list or an array of texts, but is {described(texts)}")
    _check_number(place, key, len(texts), number)
    for i, text in enumerate(texts):
        if key != "raw_text" and not (text.isprintable() and text and text == text.strip()):
            raise UserError(
                f"{place}: {key}: must be printable text without spaces around it, but is {described(text)} in row {i}"
            )
    return texts


def _numbers(place: str, content: dict, key: str, number: int) -> np.ndarray | None:
    """The numbers under a key, float32 [N]; None if it is absent."""
    numbers = content.get(key)
    if numbers is None:
        return None
    if type(numbers) is list and all(type(item) in (int, float) for item in numbers):
        numbers = np.array(numbers, dtype=float)
    if not isinstance(numbers, np.ndarray) or numbers.ndim == 0 or numbers.size != len(numbers):
        raise UserError(f"{place}: {key}: must be a list or an array [N] of numbers, but is {described(numbers)}")
    _check_number(place, key, len(numbers), number)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = numbers.reshape(-1).astype(np.float32)
    if not np.isfinite(numbers).all():
        i = np.flatnonzero(~np.isfinite(numbers))[0]
        raise UserError(f"{place}: {key}: must be finite, but is {numbers[i]} in row {i}")
    return numbers


def _features(place: str, content: dict, key: str, number: int) -> np.ndarray | None:
    """The features [N, T, F] under a key; None if it is absent."""
    array = content.get(key)
    if array is None:
        return None
    if not isinstance(array, np.ndarray) or array.ndim != 3:
        found = f"has the shape {list(array.shape)}" if isinstance(array, np.ndarray) else f"is {described(array)}"
        raise UserError(f"{place}: {key}: must be an array [N, T, F], but {found}")
    _check_number(place, key, len(array), number)
    return array


def _check_number(place: str, key: str, found: int, number: int | None) -> None:
    if number is not None and found != number:
        raise UserError(f"{place}: {key}: must have {number} rows as id, but has {found}")


def _check_same(part: Part, first: Part) -> None:
    """All parts must have the same modalities, each with the same number of features."""
    for modality, key in MODALITIES.items():
        own, other = (each.features.get(modality) for each in (part, first))
        if (own is None) != (other is None):
            raise UserError(f"{part.place}: {key}: must be in all parts or in none")
        if own is not None and own.shape[2] != other.shape[2]:
            raise UserError(
                f"{part.place}: {key}: must have {other.shape[2]} features as {first.place}, but has {own.shape[2]}"
            )


if __name__ == "__main__":
    cli.run(main)
