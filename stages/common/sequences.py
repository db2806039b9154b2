"""The rules of one utterance's sequence, for those who read corpora and those who write features."""

import numpy as np

from stages.common.arrays import NUMBERS, to_float32
from stages.common.errors import UserError, short


def checked_sequence(kind: str, values: np.ndarray, size: int | None) -> np.ndarray:
    """A sequence as it is stored: frames as float32 [frames, `size`], tokens as int32 [words].

    `size`: features a frame, or, of tokens, the vocabulary with its padding; None: not known yet.

    Raises
    ------
    UserError
        If it breaks a rule; names the rule and the value.
    """
    check_numbers(values)
    if kind == "tokens":
        fits, expected = values.ndim == 1, "words"
    else:
        fits = values.ndim == 2 and values.shape[1] > 0 and size in (None, values.shape[1])
        expected = f"frames, {size or 'features'}"
    if not fits:
        raise UserError(f"must have the shape [{expected}], but has {list(values.shape)}")
    if kind == "tokens":
        return _checked_ids(values, size)
    cast, misfit = to_float32(values)
    if misfit:
        raise UserError(f"values must {misfit.rule}, but frame {misfit.position} has {misfit.value}")
    return cast


def check_numbers(values: np.ndarray) -> None:
    """Raise a UserError if `values` is no array of numbers."""
    if not isinstance(values, np.ndarray):
        raise UserError(f"must be an array of numbers, but is {short(values)}")
    if values.dtype.kind not in NUMBERS:
        raise UserError(f"must be an array of numbers, but is one of {short(values.dtype)}")


def _checked_ids(values: np.ndarray, vocabulary: int | None) -> np.ndarray:
    largest = np.iinfo("<i4").max if vocabulary is None else vocabulary - 1
    numbers = values.astype(np.float64)  # in which, unlike in float16, `largest` is finite
    bad = ~((numbers >= 0) & (numbers <= largest) & (numbers == np.floor(numbers)))
    if bad.any():
        position = int(np.argmax(bad))
        raise UserError(
            f"token ids must be whole numbers in 0 … {largest} "
            f"({'those of int32' if vocabulary is None else 'the rows of the embedding'}), "
            f"but position {position} has {values[position]}"
        )
    if len(values) and not values[-1]:
        raise UserError("must come without padding, but ends with its id, 0")
    return values.astype("<i4")
