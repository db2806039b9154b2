"""Writes one modality of `data/features/`, utterance by utterance, so that it never has to fit in memory."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from stages.common.arrays import checksum, is_integer, to_float32
from stages.common.errors import UserError, short
from stages.common.features import KINDS, ModalityMeta, names_digest
from stages.common.sequences import check_numbers, checked_sequence

__all__ = ["Writer", "checked_sequence"]

_DTYPES = {"frames": "<f4", "tokens": "<i4"}
_HEADER = 128  # bytes of the .npy header, fixed so that the shape can be filled in at the end


class Writer:
    """Writes a modality's sequences one after the other.

    Use it inside `files.replacing`: nothing is complete before `close`. A sequence that is refused leaves no trace.
    """

    def __init__(self, folder: Path, kind: str, dimensions: int | None = None):
        """`kind`: frames or tokens; `dimensions`: features a frame, None: as many as the first sequence has.

        Raises
        ------
        UserError
            If one of them is no kind, or no number of features.
        """
        if not isinstance(kind, str) or kind not in KINDS:
            raise UserError(f"kind must be one of {', '.join(KINDS)}, but is {short(kind)}")
        if dimensions is not None and not (is_integer(dimensions) and dimensions > 0):
            raise UserError(f"dimensions must be a whole number from 1, but is {short(dimensions)}")
        if dimensions is not None and kind == "tokens":
            raise UserError(f"dimensions must be of frames, but {short(dimensions)} is of tokens")
        folder.mkdir(parents=True)
        self._folder, self._kind, self._dimensions = folder, kind, dimensions
        self._lengths: dict[str, int] = {}
        self._valid: list[int] = []
        self._largest_id = 0, ""  # and the first utterance that has it
        self._stream = (folder / f"{kind}.npy").open("wb")
        self._stream.write(b"\0" * _HEADER)

    def add(self, utterance_id: str, values: np.ndarray, valid: int | None = None) -> None:
        """Append an utterance's sequence without padding: frames [frames, features], or token ids [words].

        `valid`: how many positions are the sequence's own, where not all are (`features.Ragged.valid`).

        Raises
        ------
        UserError
            If a rule is broken; names the utterance, the rule and the value.
        """
        if not isinstance(utterance_id, str) or not utterance_id or not utterance_id.isprintable():
            raise UserError(f"utterance {short(utterance_id)}: utterance_id must be text of printable characters")
        if utterance_id in self._lengths:
            raise UserError(f"utterance {utterance_id!r}: utterance_id must be unique, but was added before")
        try:
            values = checked_sequence(self._kind, values, self._dimensions)
            own = _checked_valid(len(values) if valid is None else valid, len(values))
        except UserError as error:
            raise UserError(f"utterance {utterance_id!r}: {error}") from None
        self._stream.write(values.tobytes())
        self._lengths[utterance_id] = len(values)
        self._valid.append(own)
        if self._kind == "frames":
            self._dimensions = values.shape[1]
        else:
            largest = int(values.max(initial=0)), utterance_id
            self._largest_id = max(self._largest_id, largest, key=lambda pair: pair[0])

    def close(self, *, longest: int | None, embedding: np.ndarray | None = None, made: dict) -> None:
        """Complete the folder.

        `longest`: positions to which sequences are padded; None: those of the longest. `embedding`: of tokens,
        [vocabulary + 1, dimensions]. `made`: how the features were made, as JSON can hold it.

        Raises
        ------
        UserError
            If one of them breaks a rule, or a sequence does not agree with it.
        """
        lengths = np.array(list(self._lengths.values()), np.int64)
        longest = max(1, int(lengths.max(initial=0))) if longest is None else longest
        self._check_lengths(longest)
        arrays = {"lengths": lengths}
        if self._kind == "tokens":
            arrays["embedding"] = self._checked_embedding(embedding)
        elif embedding is not None:
            raise UserError("embedding must be of tokens, but these are frames")
        if self._valid != lengths.tolist():
            arrays["valid"] = np.array(self._valid, np.int64)
        self._close_stream()
        for name, array in arrays.items():
            np.save(self._folder / f"{name}.npy", array)
        names = [f"{name}.npy" for name in (self._kind, *arrays)]
        meta = ModalityMeta(
            kind=self._kind,
            longest=int(longest),
            checksums={name: checksum(self._folder / name) for name in names},
            utterances=names_digest(self._lengths),
            made=made,
        )
        meta.check()
        (self._folder / "meta.json").write_text(json.dumps(asdict(meta), indent=1) + "\n", encoding="utf-8")

    def _close_stream(self) -> None:
        """Fill in the header of the sequences' file."""
        if self._kind == "frames" and self._dimensions is None:
            raise UserError("frames must be of at least one utterance, but none was added")
        shape = (sum(self._lengths.values()), *([self._dimensions] if self._kind == "frames" else []))
        with self._stream:
            self._stream.seek(0)
            self._stream.write(_npy_header(shape, _DTYPES[self._kind]))

    def _check_lengths(self, longest: int) -> None:
        if not is_integer(longest) or longest < 1:
            raise UserError(f"longest must be a whole number from 1, but is {short(longest)}")
        for name, length in self._lengths.items():
            if length > longest:
                raise UserError(f"utterance {name!r}: must have at most {longest} {self._kind}, but has {length}")
        empty = list(self._lengths.values()).count(0)
        if empty:
            print(
                f"warning: {empty} of {len(self._lengths)} utterances have no {self._kind}; models see nothing but "
                "padding there",
                file=sys.stderr,
            )

    def _checked_embedding(self, embedding: np.ndarray | None) -> np.ndarray:
        """The word vectors in float32; each token must have one."""
        try:
            check_numbers(embedding)
        except UserError as error:
            raise UserError(f"embedding: {error}") from None
        if embedding.ndim != 2 or not embedding.size:
            raise UserError(f"embedding: must have the shape [rows, columns], but has {list(embedding.shape)}")
        values, misfit = to_float32(embedding)
        if misfit:
            raise UserError(f"embedding: values must {misfit.rule}, but row {misfit.position} has {misfit.value}")
        largest, name = self._largest_id
        if largest >= len(values):
            raise UserError(
                f"utterance {name!r}: token ids must be in 0 … {len(values) - 1} (the rows of the embedding), but one "
                f"is {largest}"
            )
        return values


def _checked_valid(valid: int, length: int) -> int:
    if not is_integer(valid) or not 0 <= valid <= length:
        raise UserError(f"its valid positions must be a whole number in 0 … {length}, but are {short(valid)}")
    return int(valid)


def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """The header of a version 1.0 `.npy` file, `_HEADER` bytes long (numpy.lib.format)."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape})
    size = _HEADER - 10
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1).encode("latin1") + b"\n"
