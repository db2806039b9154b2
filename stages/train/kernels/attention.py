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
from stages.train.kernels.vectors import BLOCK, LANE, LANES, choose, filled, load, store, transpose_block
from stages.train.layers import round_up

padded = njit(round_up)
"""n or the next of a multiple."""


@njit
def matrix(rows, columns, like):
    """A matrix of an array's type, not filled, that begins where vectors are read fastest."""
    buffer = np.empty(rows * columns + LANES, like.dtype)
    start = -(buffer.ctypes.data // like.itemsize) % LANES
    return buffer[start : start + rows * columns].reshape(rows, columns)


@njit
def zeros(rows, columns, like):
    """A `matrix` of zeros."""
    filled_matrix = matrix(rows, columns, like)
    filled_matrix[:] = 0
    return filled_matrix


@njit
def rows_of(x, multiple, more):
    """A copy of x [T, D], padded with zeros: [T or the next `multiple`, D + `more`]."""
    count, width = x.shape
    rows = zeros(padded(count, multiple), width + more, x)
    for i in range(count):
        for j in range(width):
            rows[i, j] = x[i, j]
    return rows


@njit
def columns_of(x, multiple, more):
    """As `rows_of`, but transposed: [D + `more`, T or the next `multiple`]."""
    count, width = x.shape
    columns = zeros(width + more, padded(count, multiple), x)
    transpose(x, count, width, columns)
    return columns


@njit
def transpose(x, rows, columns, out):
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
def first_lanes(count, like):
    """A vector of an array's type: 1 in the first `count` lanes and 0 in the others."""
    one = like.dtype.type(1)
    return choose(load(LANE, 0) >= np.uint32(max(0, count)), filled(one - one), filled(one))
