"""Attention weights averaged over the queries, as compiled loops that keep a few rows of them at a time.

    pooled[b, h, s] = mean_t keep[t, s] / (1 - p) · softmax_s(q[b, t, h] · k[b, s, h])

Rows are never stored: the backward pass computes them again, and the kept ones come from a counter-based generator, a
hash of (key, sample, head, row, column), so that they are the same in both passes and whatever else is computed.
"""

import numpy as np
from numba import types
from numba.extending import overload

from stages.train.kernels.compiled import njit
from stages.train.kernels.exponential import exp, float32_of_bits
from stages.train.kernels.product import COLUMNS, ROWS, multiply

_HALF_WORD = 2**16


def threshold(dropout: float) -> np.uint32:
    """The half word below which a weight is dropped: the probability to the nearest of 2**-16."""
    return np.uint32(round(dropout * _HALF_WORD))


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def forward(q, k, heads, queries, keys, drop, words, pooled, peaks, sums):
    """Fill `pooled` [N, H, S] and, for `backward`, each row's greatest score and sum: `peaks`, `sums` [N, H, T].

    q [N, T, D] (scaled) and k [N, S, D], heads side by side, of N = R · B samples; `queries` and `keys` [N]: how many
    of them count (at least 1); `drop`: `threshold`; `words` [R]: keys of the runs' generators.
    """
    batch, _, width = q.shape
    alike = batch // len(words)
    size = width // heads
    filled = -(-k.shape[1] // COLUMNS) * COLUMNS
    across, rows = np.zeros((size, filled), q.dtype), np.empty((ROWS, size), q.dtype)
    scores, total = np.empty((ROWS, filled), q.dtype), np.empty(k.shape[1], q.dtype)
    for b in range(batch):
        n = keys[b]
        for h in range(heads):
            _transpose(k[b], h * size, size, n, across)
            total[:] = 0
            sample = _mix(words[b // alike] ^ np.uint32((b % alike * heads + h) * 0x9E3779B9))
            for first in range(0, queries[b], ROWS):
                count = min(ROWS, queries[b] - first)
                _scores(q[b], first, count, h * size, across, n, rows, scores)
                for i in range(count):
                    peak, row = _greatest(scores[i], n), scores[i]
                    amount = q.dtype.type(0)
                    for s in range(n):
                        row[s] = exp(row[s] - peak)
                        amount += row[s]
                    peaks[b, h, first + i], sums[b, h, first + i] = peak, amount
                    _pool(row, n, q.dtype.type(1) / amount, drop, _mix(sample + np.uint32(first + i)), total)
            share = q.dtype.type(1 / (queries[b] * (1 - drop / _HALF_WORD)))
            for s in range(n):
                pooled[b, h, s] = total[s] * share
            for s in range(n, k.shape[1]):
                pooled[b, h, s] = 0


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def backward(q, k, heads, queries, keys, drop, words, peaks, sums, grad, grad_q, grad_k):
    """Fill the gradients of q and k, given that of `pooled`: `grad` [N, H, S]."""
    batch, _, width = q.shape
    alike = batch // len(words)
    size = width // heads
    filled = -(-k.shape[1] // COLUMNS) * COLUMNS
    across, grad_across = np.zeros((size, filled), q.dtype), np.empty((size, filled), q.dtype)
    rows, grad_rows = np.empty((ROWS, size), q.dtype), np.empty((ROWS, size), q.dtype)
    scores = np.empty((ROWS, filled), q.dtype)
    shares, kept = np.empty(k.shape[1], q.dtype), np.empty(k.shape[1], q.dtype)
    grad_q[:], grad_k[:] = 0, 0
    for b in range(batch):
        n = keys[b]
        share = q.dtype.type(1 / (queries[b] * (1 - drop / _HALF_WORD)))
        for h in range(heads):
            _transpose(k[b], h * size, size, n, across)
            grad_across[:] = 0
            for s in range(n):
                shares[s] = grad[b, h, s] * share
            sample = _mix(words[b // alike] ^ np.uint32((b % alike * heads + h) * 0x9E3779B9))
            for first in range(0, queries[b], ROWS):
                count = min(ROWS, queries[b] - first)
                _scores(q[b], first, count, h * size, across, n, rows, scores)
                for i in range(count):
                    _keep(shares, n, drop, _mix(sample + np.uint32(first + i)), kept)
                    _grad_row(scores[i], n, peaks[b, h, first + i], q.dtype.type(1) / sums[b, h, first + i], kept)
                scores[count:] = 0
                _grad_scores(scores, across, n, rows, grad_rows, grad_across)
                for i in range(count):
                    for j in range(size):
                        grad_q[b, first + i, h * size + j] = grad_rows[i, j]
            for s in range(n):
                for j in range(size):
                    grad_k[b, s, h * size + j] = grad_across[j, s]


@njit
def _transpose(k, column, size, n, across):
    """One head's keys [S, size] → across [size, S]."""
    for s in range(n):
        for j in range(size):
            across[j, s] = k[s, column + j]


@njit(error_model="numpy")
def _scores(q, first, count, column, across, n, rows, scores):
    """Scores [ROWS, S] of the queries from `first`; of missing ones 0. Also copies these queries to `rows`."""
    rows[count:] = 0
    for i in range(count):
        for j in range(len(across)):
            rows[i, j] = q[first + i, column + j]
    for s in range(0, n, COLUMNS):
        multiply(rows, across, s, scores)


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _grad_row(row, n, peak, scale, own):
    """Replace a row's scores by their gradient: weight · (own - Σ weight · own), own = kept share of the gradient."""
    inner = row.dtype.type(0)
    for s in range(n):
        row[s] = exp(row[s] - peak) * scale
        inner += row[s] * own[s]
    for s in range(n):
        row[s] *= own[s] - inner


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _grad_scores(scores, across, n, rows, grad_rows, grad_across):
    """Gradients of ROWS queries, and what they add to that of the keys."""
    s0, s1, s2, s3 = scores[0], scores[1], scores[2], scores[3]
    for j in range(across.shape[0]):
        k, out = across[j], grad_across[j]
        q0, q1, q2, q3 = rows[0, j], rows[1, j], rows[2, j], rows[3, j]
        g0 = g1 = g2 = g3 = scores.dtype.type(0)
        for s in range(n):
            g0 += s0[s] * k[s]
            g1 += s1[s] * k[s]
            g2 += s2[s] * k[s]
            g3 += s3[s] * k[s]
            out[s] += q0 * s0[s] + q1 * s1[s] + q2 * s2[s] + q3 * s3[s]
        grad_rows[0, j], grad_rows[1, j], grad_rows[2, j], grad_rows[3, j] = g0, g1, g2, g3


def _greatest(row, n):
    """The greatest of a row's first n values."""
    return row[:n].max()


@overload(_greatest)
def _vectorised_greatest(row, n):
    if row.dtype != types.float32:
        return lambda row, n: row[:n].max()
    return _greatest_float32


def _greatest_float32(row, n):
    # As integers in the floats' order, whose maximum compilers can compute by vectors.
    bits, greatest = row.view(np.int32), np.int32(-(2**31))
    for s in range(n):
        ordered = np.int32(bits[s] ^ ((bits[s] >> np.int32(31)) & np.int32(0x7FFFFFFF)))
        greatest = ordered if ordered > greatest else greatest
    return float32_of_bits(np.int32(greatest ^ ((greatest >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _pool(row, n, scale, drop, key, total):
    """Add a row's kept weights to `total`; one hash decides for two columns."""
    if drop == 0:
        for s in range(n):
            total[s] += row[s] * scale
        return
    half, zero = n // 2, row.dtype.type(0)
    for s in range(half):
        word = _word(key, s)
        total[s] += row[s] * scale if np.uint32(word & np.uint32(0xFFFF)) >= drop else zero
        total[half + s] += row[half + s] * scale if np.uint32(word >> np.uint32(16)) >= drop else zero
    if n % 2 and np.uint32(_word(key, half) >> np.uint32(16)) >= drop:
        total[n - 1] += row[n - 1] * scale


@njit(error_model="numpy")
def _keep(shares, n, drop, key, kept):
    """Fill `kept` with the shares of the columns that `_pool` keeps, and 0 for the others."""
    half, zero = n // 2, shares.dtype.type(0)
    for s in range(half):
        word = _word(key, s)
        kept[s] = shares[s] if np.uint32(word & np.uint32(0xFFFF)) >= drop else zero
        kept[half + s] = shares[half + s] if np.uint32(word >> np.uint32(16)) >= drop else zero
    if n % 2:
        kept[n - 1] = shares[n - 1] if np.uint32(_word(key, half) >> np.uint32(16)) >= drop else zero


@njit
def _mix(x):
    """A hash of 32 bits whose every input bit changes each output bit with probability one half (C. Wellons's
    lowbias32, public domain)."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@njit
def _word(key, s):
    """The random 32 bits that are the generator's `s`-th."""
    return _mix(np.uint32(key + np.uint32(s) * np.uint32(0x9E3779B9)))
