"""Which weights dropout keeps: a counter-based generator, a hash of (seed, sample and head, row, column).

So it is the same in both passes and does not depend on what else is computed. All of it is computed in vectors, each
lane another row.
"""

import numpy as np

from stages.train.kernels.compiled import njit
from stages.train.kernels.vectors import LANE, filled, load

HALF_WORD = 2**16
"""How many values 16 random bits have."""
_STEP = np.uint32(0x9E3779B9)


def threshold(dropout: float) -> np.uint32:
    """The 16-bit number below which 16 random bits drop a weight: the probability to the nearest of 2**-16."""
    return np.uint32(round(dropout * HALF_WORD))


@njit
def head_seed(seed, number):
    """The seed of one head of one sample, `number` among those of its run, in all lanes."""
    return _mix(filled(np.uint32(seed ^ np.uint32(number * _STEP))))


@njit
def row_seeds(head, first):
    """The seeds of rows `first`, `first` + 1, … of a head, one in each lane."""
    return _mix(head + load(LANE, 0) + np.uint32(first))


@njit
def kept_of_two(seeds, pair, drop):
    """Whether the weights of columns 2 · `pair` and 2 · `pair` + 1 are kept: two vectors of one hash's bits."""
    bits = _mix(seeds + np.uint32(pair * _STEP))
    return (bits & np.uint32(0xFFFF)) >= drop, (bits >> np.uint32(16)) >= drop


@njit
def _mix(x):
    """Hash 32 bits so that every input bit changes each output bit with probability one half.

    C. Wellons's lowbias32, public domain.
    """
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
