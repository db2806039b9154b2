"""Attention weights averaged over the queries, as compiled loops that keep a tile of them at a time.

    pooled[b, h, s] = mean_t keep[t, s] / (1 - p) · softmax_s(q[b, t, h] · k[b, s, h])

Shapes: R runs of B samples each, N = R · B, T queries, S keys, H heads, D the width of all heads side by side;
T' is T padded to a multiple of `LANES`.
"""

from stages.train.kernels.attention import (
    columns_of,
    exponentials,
    fill_padding,
    first_lanes,
    from_columns,
    lane_mask,
    matrix,
    padded,
    rows_of,
    space,
)
from stages.train.kernels.compiled import njit
from stages.train.kernels.dropout import HALF_WORD, head_seed, kept_of_two, row_seeds
from stages.train.kernels.exponential import exp
from stages.train.kernels.product import ADDED, ROWS, add_product, block_product
from stages.train.kernels.vectors import LANES, choose, filled, load, store


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
    batch, longest, width = k.shape
    samples_per_run, size = batch // len(seeds), width // heads
    most, time = padded(longest, ROWS), padded(q.shape[1], LANES)
    key_space, queries = space(most * width, q), matrix(space(time * width, q), width, time)
    tile_space, total_space, present = space(most * LANES, q), space(most * LANES, q), lane_mask(q)
    for b in range(batch):
        n = key_lengths[b]
        m = padded(n, ROWS)
        keys, tile, total = matrix(key_space, m, width), matrix(tile_space, m, LANES), matrix(total_space, m, LANES)
        rows_of(k[b], n, keys)
        columns_of(q[b], query_lengths[b], queries)
        for h in range(heads):
            total[:] = 0
            head = head_seed(seeds[b // samples_per_run], b % samples_per_run * heads + h)
            for first in range(0, query_lengths[b], LANES):
                block_product(keys, h * size, size, queries[h * size :], first, tile, 0)
                peak, amount = exponentials(tile, n)
                store(peaks[b, h], first, peak)
                store(sums[b, h], first, amount)
                _pool(
                    tile, first_lanes(present, query_lengths[b] - first) / amount, row_seeds(head, first), drop, total
                )
            scale = q.dtype.type(1 / (query_lengths[b] * (1 - drop / HALF_WORD)))
            for s in range(n):
                pooled[b, h, s] = total[s].sum() * scale
            for s in range(n, longest):
                pooled[b, h, s] = 0


@njit
def _pool(tile, scale, seeds, drop, total):
    """Add a tile's kept weights, times the queries' `scale`, to `total`."""
    zero = filled(tile.dtype.type(0))
    for pair in range(len(tile) // 2):
        first, second = 2 * pair * LANES, (2 * pair + 1) * LANES
        first_kept, second_kept = kept_of_two(seeds, pair, drop)
        store(total, first, load(total, first) + choose(first_kept, load(tile, first) * scale, zero))
        store(total, second, load(total, second) + choose(second_kept, load(tile, second) * scale, zero))


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
    batch, longest, width = k.shape
    samples_per_run, size = batch // len(seeds), width // heads
    most, time, wide = padded(longest, ROWS), padded(q.shape[1], LANES), padded(size, ADDED)
    key_space, key_t_space, grad_space = space(most * width, q), space(most * (width + ROWS), q), space(most * wide, q)
    tile_space, other_space, grad_kept = space(most * LANES, q), space(most * LANES, q), space(most, q)
    queries, query_rows = (
        matrix(space(time * width, q), width, time),
        matrix(space(time * (width + ADDED), q), time, width + ADDED),
    )
    grad_queries, present = matrix(space(time * (width + ROWS), q), width + ROWS, time), lane_mask(q)
    zero = filled(q.dtype.type(0))
    grad_q[:], grad_k[:] = 0, 0
    for b in range(batch):
        n = key_lengths[b]
        m = padded(n, ROWS)
        keys, keys_t, grad_keys = (
            matrix(key_space, m, width),
            matrix(key_t_space, width + ROWS, m),
            matrix(grad_space, m, wide),
        )
        tile, other = matrix(tile_space, m, LANES), matrix(other_space, m, LANES)
        rows_of(k[b], n, keys)
        columns_of(k[b], n, keys_t)
        rows_of(q[b], query_lengths[b], query_rows)
        columns_of(q[b], query_lengths[b], queries)
        scale = q.dtype.type(1 / (query_lengths[b] * (1 - drop / HALF_WORD)))
        for h in range(heads):
            column, end = h * size, h * size + padded(size, ROWS)
            grad_keys[:] = 0
            for s in range(n):
                grad_kept[s] = grad_pooled[b, h, s] * scale
            grad_kept[n:] = 0
            head = head_seed(seeds[b // samples_per_run], b % samples_per_run * heads + h)
            for first in range(0, query_lengths[b], LANES):
                block_product(keys, column, size, queries[column:], first, tile, 0)
                peak = load(peaks[b, h], first)
                inverse = first_lanes(present, query_lengths[b] - first) / load(sums[b, h], first)
                fill_padding(tile, n, peak)
                _grad_scores(tile, peak, inverse, grad_kept, row_seeds(head, first), drop, other)
                fill_padding(tile, n, zero)
                block_product(keys_t[column:end], 0, m, tile, 0, grad_queries[column:end], first)
                add_product(tile, query_rows[first : first + LANES], column, grad_keys)
            for s in range(n):
                for j in range(size):
                    grad_k[b, s, column + j] = grad_keys[s, j]
        from_columns(grad_queries, query_lengths[b], grad_q[b])


@njit
def _grad_scores(tile, peak, inverse, grad_kept, seeds, drop, other):
    """Replace a tile's scores by their gradient: weight · (grad_weight - Σ weight · grad_weight)."""
    zero = filled(tile.dtype.type(0))
    dot = zero
    for pair in range(len(tile) // 2):
        first, second = 2 * pair * LANES, (2 * pair + 1) * LANES
        first_kept, second_kept = kept_of_two(seeds, pair, drop)
        weight = exp(load(tile, first) - peak) * inverse
        part = choose(first_kept, weight * grad_kept[2 * pair], zero)
        store(tile, first, weight)
        store(other, first, part)
        dot = dot + part
        weight = exp(load(tile, second) - peak) * inverse
        part = choose(second_kept, weight * grad_kept[2 * pair + 1], zero)
        store(tile, second, weight)
        store(other, second, part)
        dot = dot + part
    for s in range(len(tile)):
        store(tile, s * LANES, load(other, s * LANES) - load(tile, s * LANES) * dot)
