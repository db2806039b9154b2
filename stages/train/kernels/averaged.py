"""Attention weights averaged over the queries, as compiled loops that keep a tile of them at a time.

    pooled[b, h, s] = mean_t keep[t, s] / (1 - p) · softmax_s(q[b, t, h] · k[b, s, h])

Shapes: R runs of B samples each, N = R · B, T queries, S keys, H heads, D the width of all heads side by side;
T' is T padded to a multiple of `LANES`.
"""

import numpy as np

from stages.train.kernels.attention import (
    columns_of,
    exponentials,
    fill_padding,
    first_lanes,
    matrix,
    padded,
    rows_of,
    transpose,
)
from stages.train.kernels.compiled import njit
from stages.train.kernels.dropout import HALF_WORD, head_seed, kept_of_two, row_seeds
from stages.train.kernels.exponential import exp
from stages.train.kernels.product import ADDED, ROWS, add_product, block_product
from stages.train.kernels.vectors import LANES, choose, filled, lane_sum, load, store


@njit(cache=True, error_model="numpy")
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
    peaks, sums : arrays [N, H, T']
        Outputs, for `backward`: each query's greatest score, and the sum of exp(score - greatest).
    """
    samples_per_run = len(q) // len(seeds)
    for b in range(len(q)):
        head_seeds = seeds[b // samples_per_run], b % samples_per_run * heads
        n = key_lengths[b]
        _forward(q[b, : query_lengths[b]], k[b, :n], drop, head_seeds, pooled[b, :, :n], peaks[b], sums[b])
        pooled[b, :, n:] = 0


@njit
def _forward(q, k, drop, head_seeds, pooled, peaks, sums):
    """`forward` of one sample, all of whose queries [T, D] and keys [S, D] count; pooled [H, S]."""
    heads, n = pooled.shape
    keys, queries = rows_of(k, ROWS, 0), columns_of(q, LANES, 0)
    size, scale = k.shape[1] // heads, q.dtype.type(1 / (len(q) * (1 - drop / HALF_WORD)))
    tile, total = matrix(len(keys), LANES, q), matrix(len(keys), LANES, q)
    for h in range(heads):
        total[:] = 0
        seed = head_seed(head_seeds[0], head_seeds[1] + h)
        for first in range(0, len(q), LANES):
            block_product(keys, h * size, size, queries[h * size :], first, tile, 0)
            peak, amount = exponentials(tile, n)
            store(peaks[h], first, peak)
            store(sums[h], first, amount)
            _pool(tile, first_lanes(len(q) - first, q) / amount, row_seeds(seed, first), drop, total)
        for s in range(n):
            pooled[h, s] = lane_sum(load(total, s * LANES)) * scale


@njit
def _pool(tile, scale, seeds, drop, total):
    """Add a tile's kept weights, times the queries' `scale`, to `total`."""
    zero = filled(tile.dtype.type(0))
    for pair in range(len(tile) // 2):
        kept = kept_of_two(seeds, pair, drop)
        for i in range(2):
            place = (2 * pair + i) * LANES
            store(total, place, load(total, place) + choose(kept[i], load(tile, place) * scale, zero))


@njit(cache=True, error_model="numpy")
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
    peaks, sums : arrays [N, H, T']
        What `forward` computed.
    grad_pooled : array [N, H, S]
        The gradient of `pooled`.
    grad_q, grad_k : arrays [N, T, D] and [N, S, D]
        Outputs: 0 for queries and keys that do not count.
    """
    samples_per_run = len(q) // len(seeds)
    grad_q[:], grad_k[:] = 0, 0
    for b in range(len(q)):
        t, n = query_lengths[b], key_lengths[b]
        head_seeds = seeds[b // samples_per_run], b % samples_per_run * heads
        grads = grad_pooled[b, :, :n], grad_q[b, :t], grad_k[b, :n]
        _backward(q[b, :t], k[b, :n], drop, head_seeds, peaks[b], sums[b], grads)


@njit
def _backward(q, k, drop, head_seeds, peaks, sums, grads):
    """`backward` of one sample, all of whose queries [T, D] and keys [S, D] count."""
    grad_pooled, grad_q, grad_k = grads
    (n, width), heads = k.shape, len(grad_pooled)
    size, scale, zero = width // heads, q.dtype.type(1 / (len(q) * (1 - drop / HALF_WORD))), filled(q.dtype.type(0))
    keys, keys_t, grad_keys = (
        rows_of(k, ROWS, 0),
        columns_of(k, ROWS, ROWS),
        matrix(padded(n, ROWS), padded(size, ADDED), k),
    )
    queries, query_rows = columns_of(q, LANES, 0), rows_of(q, LANES, ADDED)
    grad_queries = matrix(width + ROWS, len(query_rows), q)
    tile, other = matrix(len(keys), LANES, q), matrix(len(keys), LANES, q)
    grad_kept = np.zeros(len(keys), q.dtype)
    for h in range(heads):
        column, end = h * size, h * size + padded(size, ROWS)
        grad_keys[:] = 0
        for s in range(n):
            grad_kept[s] = grad_pooled[h, s] * scale
        seed = head_seed(head_seeds[0], head_seeds[1] + h)
        for first in range(0, len(q), LANES):
            block_product(keys, column, size, queries[column:], first, tile, 0)
            peak, inverse = load(peaks[h], first), first_lanes(len(q) - first, q) / load(sums[h], first)
            fill_padding(tile, n, peak)
            _grad_scores(tile, peak, inverse, grad_kept, row_seeds(seed, first), drop, other)
            fill_padding(tile, n, zero)
            block_product(keys_t[column:end], 0, len(keys), tile, 0, grad_queries[column:end], first)
            add_product(tile, query_rows[first : first + LANES], column, grad_keys)
        grad_k[:, column : column + size] = grad_keys[:n, :size]
    transpose(grad_queries, width, len(q), grad_q)


@njit
def _grad_scores(tile, peak, inverse, grad_kept, seeds, drop, other):
    """Replace a tile's scores by their gradient: weight · (grad_weight - Σ weight · grad_weight)."""
    zero = filled(tile.dtype.type(0))
    dot = zero
    for pair in range(len(tile) // 2):
        kept = kept_of_two(seeds, pair, drop)
        for i in range(2):
            s = 2 * pair + i
            weight = exp(load(tile, s * LANES) - peak) * inverse
            part = choose(kept[i], weight * grad_kept[s], zero)
            store(tile, s * LANES, weight)
            store(other, s * LANES, part)
            dot = dot + part
    for s in range(len(tile)):
        store(tile, s * LANES, load(other, s * LANES) - load(tile, s * LANES) * dot)
