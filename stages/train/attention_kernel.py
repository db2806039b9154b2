"""Attention weights averaged over the queries, as compiled loops that keep a few rows of them at a time.

    pooled[b, h, s] = mean_t keep[t, s] / (1 - p) · softmax_s(q[b, t, h] · k[b, s, h])

Rows are never stored: the backward pass computes them again, and the kept ones come from a counter-based generator, a
hash of (key, sample, head, row, column), so that they are the same in both passes and whatever else is computed.
"""

import numpy as np
from numba import njit

from stages.train.exponential import exp

ROWS = 4
"""Queries that are worked on together, and the multiple to which a head's width is filled up with zeros."""

_WORD = 2**32


def threshold(dropout: float) -> np.uint32:
    """The hash below which a weight is dropped."""
    return np.uint32(round(dropout * _WORD))


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def forward(q, k, heads, queries, keys, drop, words, pooled, peaks, sums):
    """Fill `pooled` [N, H, S] and, for `backward`, each row's greatest score and sum: `peaks`, `sums` [N, H, T].

    q [N, T, D] (scaled) and k [N, S, D], heads side by side, of N = R · B samples; `queries` and `keys` [N]: how many
    of them count (at least 1); `drop`: `threshold`; `words` [R]: keys of the runs' generators.
    """
    batch, _, width = q.shape
    alike = batch // len(words)
    size = width // heads
    padded = -(-size // ROWS) * ROWS
    across, rows = np.zeros((padded, k.shape[1]), q.dtype), np.zeros((ROWS, padded), q.dtype)
    scores, total = np.empty((ROWS, k.shape[1]), q.dtype), np.empty(k.shape[1], q.dtype)
    for b in range(batch):
        n = keys[b]
        for h in range(heads):
            _transpose(k[b], h * size, size, n, across)
            total[:] = 0
            sample = _mix(words[b // alike] ^ np.uint32((b % alike * heads + h) * 0x9E3779B9))
            for first in range(0, queries[b], ROWS):
                count = min(ROWS, queries[b] - first)
                _scores(q[b], first, count, h * size, size, across, n, rows, scores)
                for i in range(count):
                    peak, row = scores[i, 0], scores[i]
                    for s in range(n):
                        peak = max(peak, row[s])
                    amount = q.dtype.type(0)
                    for s in range(n):
                        row[s] = exp(row[s] - peak)
                        amount += row[s]
                    peaks[b, h, first + i], sums[b, h, first + i] = peak, amount
                    _pool(row, n, q.dtype.type(1) / amount, drop, _mix(sample + np.uint32(first + i)), total)
            kept = 1 - drop / _WORD
            share = q.dtype.type(1 / (queries[b] * kept))
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
    padded = -(-size // ROWS) * ROWS
    across, grad_across = np.zeros((padded, k.shape[1]), q.dtype), np.zeros((padded, k.shape[1]), q.dtype)
    rows, grad_rows = np.zeros((ROWS, padded), q.dtype), np.zeros((ROWS, padded), q.dtype)
    scores = np.empty((ROWS, k.shape[1]), q.dtype)
    shares, kept = np.empty(k.shape[1], q.dtype), np.empty(k.shape[1], q.dtype)
    grad_q[:], grad_k[:] = 0, 0
    for b in range(batch):
        n = keys[b]
        share = q.dtype.type(1 / (queries[b] * (1 - drop / _WORD)))
        for h in range(heads):
            _transpose(k[b], h * size, size, n, across)
            grad_across[:] = 0
            for s in range(n):
                shares[s] = grad[b, h, s] * share
            sample = _mix(words[b // alike] ^ np.uint32((b % alike * heads + h) * 0x9E3779B9))
            for first in range(0, queries[b], ROWS):
                count = min(ROWS, queries[b] - first)
                _scores(q[b], first, count, h * size, size, across, n, rows, scores)
                for i in range(count):
                    _grad_row(
                        scores[i],
                        n,
                        peaks[b, h, first + i],
                        q.dtype.type(1) / sums[b, h, first + i],
                        shares,
                        kept,
                        drop,
                        _mix(sample + np.uint32(first + i)),
                    )
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


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _scores(q, first, count, column, size, across, n, rows, scores):
    """Scores [ROWS, S] of the queries from `first`; of missing ones 0. Also copies these queries to `rows`."""
    rows[:] = 0
    for i in range(count):
        for j in range(size):
            rows[i, j] = q[first + i, column + j]
    s0, s1, s2, s3 = scores[0], scores[1], scores[2], scores[3]
    for j in range(0, across.shape[0], 4):
        k0, k1, k2, k3 = across[j], across[j + 1], across[j + 2], across[j + 3]
        a0, a1, a2, a3 = rows[0, j], rows[0, j + 1], rows[0, j + 2], rows[0, j + 3]
        b0, b1, b2, b3 = rows[1, j], rows[1, j + 1], rows[1, j + 2], rows[1, j + 3]
        c0, c1, c2, c3 = rows[2, j], rows[2, j + 1], rows[2, j + 2], rows[2, j + 3]
        d0, d1, d2, d3 = rows[3, j], rows[3, j + 1], rows[3, j + 2], rows[3, j + 3]
        if j == 0:
            for s in range(n):
                s0[s] = a0 * k0[s] + a1 * k1[s] + a2 * k2[s] + a3 * k3[s]
                s1[s] = b0 * k0[s] + b1 * k1[s] + b2 * k2[s] + b3 * k3[s]
                s2[s] = c0 * k0[s] + c1 * k1[s] + c2 * k2[s] + c3 * k3[s]
                s3[s] = d0 * k0[s] + d1 * k1[s] + d2 * k2[s] + d3 * k3[s]
        else:
            for s in range(n):
                s0[s] += a0 * k0[s] + a1 * k1[s] + a2 * k2[s] + a3 * k3[s]
                s1[s] += b0 * k0[s] + b1 * k1[s] + b2 * k2[s] + b3 * k3[s]
                s2[s] += c0 * k0[s] + c1 * k1[s] + c2 * k2[s] + c3 * k3[s]
                s3[s] += d0 * k0[s] + d1 * k1[s] + d2 * k2[s] + d3 * k3[s]


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _pool(row, n, scale, drop, key, total):
    """Add a row's kept weights to `total`."""
    if drop == 0:
        for s in range(n):
            total[s] += row[s] * scale
    else:
        for s in range(n):
            total[s] += row[s] * scale if _word(key, s) >= drop else row.dtype.type(0)


@njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _grad_row(row, n, peak, scale, shares, kept, drop, key):
    """Replace a row's scores by their gradient: weight · (own - Σ weight · own), own = kept share of the gradient."""
    inner = row.dtype.type(0)
    if drop == 0:
        for s in range(n):
            row[s] = exp(row[s] - peak) * scale
            inner += row[s] * shares[s]
        for s in range(n):
            row[s] *= shares[s] - inner
    else:
        for s in range(n):
            row[s] = exp(row[s] - peak) * scale
            kept[s] = shares[s] if _word(key, s) >= drop else row.dtype.type(0)
            inner += row[s] * kept[s]
        for s in range(n):
            row[s] *= kept[s] - inner


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
    """The random 32 bits of column `s`."""
    return _mix(np.uint32(key + np.uint32(s) * np.uint32(0x9E3779B9)))
