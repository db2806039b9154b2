"""What compiled loops of attention share: the weights of some queries at a time, in vectors that run over queries.

    weights[t, s] = softmax_s(q[t] · k[s])

of one head of one sample, T queries, S keys, K wide. A tile [S, LANES] has the weights of `LANES` queries, the first
axis the keys: so sums over keys are sums of vectors, one for each lane, whatever the number of keys. Weights are never
stored: the backward pass computes them again.

In a tile keys are padded to a multiple of `ROWS`, where the weights are 0. Queries are padded to a multiple of `LANES`
with zeros.
"""

import numpy as np

from stages.train.kernels.compiled import njit
from stages.train.kernels.exponential import exp
from stages.train.kernels.vectors import BLOCK, LANES, filled, load, store, transpose_block
from stages.train.layers import round_up

_round_up = njit(round_up)


@njit
def space(count, like):
    """A buffer of `count` numbers of an array's type that begins where vectors are read fastest."""
    buffer = np.empty(count + LANES, like.dtype)
    start = -(buffer.ctypes.data // like.itemsize) % LANES
    return buffer[start : start + count]


@njit
def matrix(buffer, rows, columns):
    """The beginning of a buffer as a matrix."""
    return buffer[: rows * columns].reshape(rows, columns)


@njit
def rows_of(x, count, rows):
    """Copy x[:count] [count, D] to rows [>= count, >= D], the rest of which becomes 0."""
    width = x.shape[1]
    for i in range(count):
        for j in range(width):
            rows[i, j] = x[i, j]
        for j in range(width, rows.shape[1]):
            rows[i, j] = 0
    rows[count:] = 0


@njit
def columns_of(x, count, columns):
    """Copy x[:count] [count, D] to columns [>= D, >= count], transposed; the rest becomes 0."""
    width = x.shape[1]
    _transpose(x, count, width, columns)
    for j in range(width):
        for i in range(count, columns.shape[1]):
            columns[j, i] = 0
    columns[width:] = 0


@njit
def from_columns(columns, count, out):
    """Copy columns [>= D, >= count] to out[:count] [count, D], transposed."""
    _transpose(columns, out.shape[1], count, out)


@njit
def _transpose(x, rows, columns, out):
    """out[:columns, :rows] = x[:rows, :columns]ᵀ."""
    blocks = rows // BLOCK * BLOCK
    whole = columns // BLOCK * BLOCK
    for i in range(0, blocks, BLOCK):
        for j in range(0, whole, BLOCK):
            transpose_block(x, i * x.shape[1] + j, x.shape[1], out, j * out.shape[1] + i, out.shape[1])
    for i in range(rows):
        for j in range(whole if i < blocks else 0, columns):
            out[j, i] = x[i, j]


@njit
def padded(n, multiple):
    """n or the next multiple."""
    return _round_up(n, multiple)


@njit
def exponentials(tile, n):
    """Replace a tile's scores by exp(score - the query's greatest score), of n keys.

    Returns two vectors: each query's greatest score, and the sum of its exponentials.
    """
    peak = load(tile, 0)
    for s in range(1, n):
        peak = max(peak, load(tile, s * LANES))
    total = filled(tile.dtype.type(0))
    for s in range(n):
        weight = exp(load(tile, s * LANES) - peak)
        total = total + weight
        store(tile, s * LANES, weight)
    fill_padding(tile, n, filled(tile.dtype.type(0)))
    return peak, total


@njit
def fill_padding(tile, n, x):
    """Set what belongs to no key to a vector."""
    for s in range(n, len(tile)):
        store(tile, s * LANES, x)


@njit
def first_lanes(present, count):
    """1 in the first `count` lanes and 0 in the others; `present`: `LANES` ones, then as many zeros."""
    return load(present, max(0, LANES - count))


@njit
def lane_mask(like):
    """`present` of `first_lanes`, of the type of an array."""
    present = np.zeros(2 * LANES, like.dtype)
    present[:LANES] = 1
    return present
