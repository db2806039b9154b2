"""A modality of a manifest: the `.npy` arrays [T, F] that its rows name, one after the other."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import progress
from stages.common.arrays import Array, open_array
from stages.common.errors import UserError
from stages.common.params import Corpus
from stages.corpus import clips
from stages.corpus.manifest import ARRAYS
from stages.features.writer import Writer


def write(corpus: Corpus, modality: str, utterances: pd.DataFrame, folder: Path) -> None:
    """Copy the arrays that column `<modality>_file_name` of `utterances` names into `folder`.

    They are read one at a time, so that memory does not grow with the corpus. An empty name is a sequence of length 0.

    Raises
    ------
    UserError
        If a file may not be read, is no array [T, F] of finite numbers, or has another F than the first; names it.
    """
    files = list(clips.paths(corpus, f"{modality}_file_name", utterances))
    first = next((_open(path) for path in files if path), None)
    if first is None:
        raise UserError(f"modalities.{modality}: must have an array for at least one utterance, but has none")
    size = first.shape[1]
    writer = Writer(folder, "frames", size)
    line = progress.line(f"features {modality}", "files", files)
    for name, path in zip(utterances["utterance_id"], line, strict=True):
        frames = _frames(path, first) if path else np.empty((0, size), np.float32)
        try:
            writer.add(name, frames)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    writer.close(longest=None, made={"source": "manifest"})


def _frames(path: Path, first: Array) -> np.ndarray:
    """All of an array, which must have as many columns as the first one."""
    array = _open(path)
    if array.shape[1] != first.shape[1]:
        raise UserError(
            f"{path}: must have {first.shape[1]} columns as {first.path}, but has the shape {list(array.shape)}"
        )
    return array.rows(0, array.shape[0])


def _open(path: Path) -> Array:
    """Check an array's header."""
    if not path.name.lower().endswith(ARRAYS):
        raise UserError(
            f"{path}: must be an .npy array; of sound and video, modalities.<name>.features names what makes features "
            "of it, such as {extractor: mfcc}"
        )
    try:
        return open_array(path, 2)
    except UserError as error:
        raise _shape_error(path) or error from None


def _shape_error(path: Path) -> UserError | None:
    """What to do about a sound array that only lacks an axis, or has one too many."""
    advice = {
        1: "an utterance's one vector is saved as [1, F]: array[None]",
        3: "one utterance's array is saved without the leading axis of 1: array[0]",
    }
    for dimensions, what in advice.items():
        with suppress(UserError):
            shape = list(open_array(path, dimensions).shape)
            if shape[0] == 1 or (dimensions == 1 and shape[0]):
                return UserError(f"{path}: must have the shape [T, F], but has {shape}; {what}")
    return None
