"""Attention weights averaged over the queries, as compiled loops that keep a few rows of them at a time.

    pooled[b, h, s] = mean_t keep[t, s] / (1 - p) · softmax_s(q[b, t, h] · k[b, s, h])

A row is the weights of one query. Rows are never stored: the backward pass computes them again. Which weights are kept
is decided by a counter-based generator, a hash of (seed, sample, head, row, column), so it is the same in both passes
and does not depend on what else is computed.

Shapes: R runs of B samples each, N = R · B, T queries, S keys, H heads, D the width of all heads side by side.
"""

import numpy as np
from numba import types
from numba.extending import overload

from stages.train.kernels.compiled import njit
from stages.train.kernels.exponential import exp, float32_of_bits
from stages.train.kernels.product import COLUMNS, ROWS, multiply
from stages.train.layers import round_up

_HALF_WORD = 2**16
"""How many values 16 random bits have."""

_round_up = njit(round_up)


def threshold(dropout: float) -> np.uint32:
    """The 16-bit number below which 16 random bits drop a weight: the probability to the nearest of 2**-16."""
    return np.uint32(round(dropout * _HALF_WORD))


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def forward(
    q,
    k,
    heads,
    query_lengths,
    key_lengths,
    drop,
    seeds,
    pooled,
    peaks,
    sums,
):
    """Average the attention weights over the queries.

    Parameters
    ----------
    q, k : arrays [N, T, D] and [N, S, D]
        Queries, scaled, and keys.
    heads : int
        H.
    query_lengths, key_lengths : int arrays [N]
        How many queries and keys of a sample count, at least 1.
    drop : uint32
        `threshold` of the dropout's probability.
    seeds : uint32 array [R]
        One for each run's random numbers.
    pooled : array [N, H, S]
        Output: the averages, 0 for keys that do not count.
    peaks, sums : arrays [N, H, T]
        Outputs, for `backward`: each row's greatest score, and the sum of exp(score - greatest).
    """
    batch, _, width = q.shape
    samples_per_run = batch // len(seeds)
    size = width // heads
    padded = _round_up(k.shape[1], COLUMNS)
    k_t, rows = np.zeros((size, padded), q.dtype), np.empty((ROWS, size), q.dtype)
    scores, total = np.empty((ROWS, padded), q.dtype), np.empty(k.shape[1], q.dtype)
    for b in range(batch):
        n = key_lengths[b]
        for h in range(heads):
            _transpose(k[b], h * size, size, n, k_t)
            total[:] = 0
            head_seed = _head_seed(seeds[b // samples_per_run], b % samples_per_run * heads + h)
            for first in range(0, query_lengths[b], ROWS):
                count = min(ROWS, query_lengths[b] - first)
                _scores(q[b], first, count, h * size, k_t, n, rows, scores)
                for i in range(count):
                    peak, row = _greatest(scores[i], n), scores[i]
                    amount = q.dtype.type(0)
                    for s in range(n):
                        row[s] = exp(row[s] - peak)
                        amount += row[s]
                    peaks[b, h, first + i], sums[b, h, first + i] = peak, amount
                    _pool(row, n, q.dtype.type(1) / amount, drop, _row_seed(head_seed, first + i), total)
            scale = q.dtype.type(1 / (query_lengths[b] * (1 - drop / _HALF_WORD)))
            for s in range(n):
                pooled[b, h, s] = total[s] * scale
            for s in range(n, k.shape[1]):
                pooled[b, h, s] = 0


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def backward(
    q,
    k,
    heads,
    query_lengths,
    key_lengths,
    drop,
    seeds,
    peaks,
    sums,
    grad_pooled,
    grad_q,
    grad_k,
):
    """Compute the gradients of q and k.

    Parameters
    ----------
    q, k, heads, query_lengths, key_lengths, drop, seeds
        As given to `forward`.
    peaks, sums : arrays [N, H, T]
        What `forward` computed.
    grad_pooled : array [N, H, S]
        The gradient of `pooled`.
    grad_q, grad_k : arrays [N, T, D] and [N, S, D]
        Outputs: 0 for queries and keys that do not count.
    """
    batch, _, width = q.shape
    samples_per_run = batch // len(seeds)
    size = width // heads
    padded = _round_up(k.shape[1], COLUMNS)
    k_t, grad_k_t = np.zeros((size, padded), q.dtype), np.empty((size, padded), q.dtype)
    rows, grad_rows = np.empty((ROWS, size), q.dtype), np.empty((ROWS, size), q.dtype)
    scores = np.empty((ROWS, padded), q.dtype)
    grad_kept, grad_weight = np.empty(k.shape[1], q.dtype), np.empty(k.shape[1], q.dtype)
    grad_q[:], grad_k[:] = 0, 0
    for b in range(batch):
        n = key_lengths[b]
        scale = q.dtype.type(1 / (query_lengths[b] * (1 - drop / _HALF_WORD)))
        for h in range(heads):
            _transpose(k[b], h * size, size, n, k_t)
            grad_k_t[:] = 0
            for s in range(n):
                grad_kept[s] = grad_pooled[b, h, s] * scale
            head_seed = _head_seed(seeds[b // samples_per_run], b % samples_per_run * heads + h)
            for first in range(0, query_lengths[b], ROWS):
                count = min(ROWS, query_lengths[b] - first)
                _scores(q[b], first, count, h * size, k_t, n, rows, scores)
                for i in range(count):
                    _drop_gradients(grad_kept, n, drop, _row_seed(head_seed, first + i), grad_weight)
                    inverse = q.dtype.type(1) / sums[b, h, first + i]
                    _grad_row(n, peaks[b, h, first + i], inverse, grad_weight, scores[i])
                scores[count:] = 0
                _grad_scores(scores, k_t, n, rows, grad_rows, grad_k_t)
                for i in range(count):
                    for j in range(size):
                        grad_q[b, first + i, h * size + j] = grad_rows[i, j]
            for s in range(n):
                for j in range(size):
                    grad_k[b, s, h * size + j] = grad_k_t[j, s]


@njit
def _transpose(k, column, size, n, k_t):
    """Copy one head's first n keys, k[:n, column : column + size], to k_t [size, S]."""
    for s in range(n):
        for j in range(size):
            k_t[j, s] = k[s, column + j]


@njit(error_model="numpy")
def _scores(q, first, count, column, k_t, n, rows, scores):
    """Fill `scores` [ROWS, S] for the `count` queries from `first`, with 0 beyond; copies these queries to `rows`."""
    rows[count:] = 0
    for i in range(count):
        for j in range(len(k_t)):
            rows[i, j] = q[first + i, column + j]
    for s in range(0, n, COLUMNS):
        multiply(rows, k_t, s, scores)


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _grad_row(n, peak, inverse, grad_weight, row):
    """Replace a row's scores by their gradient: weight · (grad_weight - Σ weight · grad_weight)."""
    dot = row.dtype.type(0)
    for s in range(n):
        row[s] = exp(row[s] - peak) * inverse
        dot += row[s] * grad_weight[s]
    for s in range(n):
        row[s] *= grad_weight[s] - dot


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _grad_scores(grad_scores, k_t, n, rows, grad_rows, grad_k_t):
    """Compute the gradients of ROWS queries, `grad_rows` [ROWS, size], and add theirs of the keys to `grad_k_t`."""
    s0, s1, s2, s3 = grad_scores[0], grad_scores[1], grad_scores[2], grad_scores[3]
    for j in range(k_t.shape[0]):
        k, out = k_t[j], grad_k_t[j]
        q0, q1, q2, q3 = rows[0, j], rows[1, j], rows[2, j], rows[3, j]
        g0 = g1 = g2 = g3 = grad_scores.dtype.type(0)
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
    # As integers of the same order, whose maximum compilers compute by vector instructions.
    bits, greatest = row.view(np.int32), np.int32(-(2**31))
    for s in range(n):
        ordered = np.int32(bits[s] ^ ((bits[s] >> np.int32(31)) & np.int32(0x7FFFFFFF)))
        greatest = ordered if ordered > greatest else greatest
    return float32_of_bits(np.int32(greatest ^ ((greatest >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _pool(row, n, scale, drop, row_seed, total):
    """Add a row's kept weights to `total`; the 32 bits of one hash decide for two columns."""
    if drop == 0:
        for s in range(n):
            total[s] += row[s] * scale
        return
    half, zero = n // 2, row.dtype.type(0)
    for s in range(half):
        bits = _random_bits(row_seed, s)
        total[s] += row[s] * scale if np.uint32(bits & np.uint32(0xFFFF)) >= drop else zero
        total[half + s] += row[half + s] * scale if np.uint32(bits >> np.uint32(16)) >= drop else zero
    if n % 2 and np.uint32(_random_bits(row_seed, half) >> np.uint32(16)) >= drop:
        total[n - 1] += row[n - 1] * scale


@njit(error_model="numpy")
def _drop_gradients(grad_kept, n, drop, row_seed, grad_weight):
    """Fill `grad_weight` with the gradients of the weights that `_pool` keeps, and 0 for the others."""
    half, zero = n // 2, grad_kept.dtype.type(0)
    for s in range(half):
        bits = _random_bits(row_seed, s)
        grad_weight[s] = grad_kept[s] if np.uint32(bits & np.uint32(0xFFFF)) >= drop else zero
        grad_weight[half + s] = grad_kept[half + s] if np.uint32(bits >> np.uint32(16)) >= drop else zero
    if n % 2:
        bits = _random_bits(row_seed, half)
        grad_weight[n - 1] = grad_kept[n - 1] if np.uint32(bits >> np.uint32(16)) >= drop else zero


@njit
def _head_seed(seed, number):
    """The seed of one head of one sample, `number` among those of its run."""
    return _mix(seed ^ np.uint32(number * 0x9E3779B9))


@njit
def _row_seed(head_seed, row):
    """The seed of one row of a head."""
    return _mix(head_seed + np.uint32(row))


@njit
def _random_bits(row_seed, number):
    """The `number`-th 32 random bits of a row."""
    return _mix(np.uint32(row_seed + np.uint32(number) * np.uint32(0x9E3779B9)))


@njit
def _mix(x):
    """Hash 32 bits so that every input bit changes each output bit with probability one half.

    C. Wellons's lowbias32, public domain.
    """
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))
