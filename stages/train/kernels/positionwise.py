"""Attention's outputs at every query, as compiled loops that keep a tile of its weights at a time.

    output[b, t, h] = Σ_s keep[t, s] / (1 - p) · softmax_s(q[b, t, h] · k[b, s, h]) · v[b, s, h]

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
    v,
    heads,
    key_lengths,
    drop,
    seeds,
    output,
    peaks,
    sums,
):
    """Compute the outputs.

    Parameters
    ----------
    q, k, v : arrays [N, T, D], [N, S, D] and [N, S, D]
        Queries, scaled, keys and values.
    heads : int
        H.
    key_lengths : int array [N]
        How many keys of a sample count, at least 1.
    drop : uint32
        `threshold` of the dropout's probability.
    seeds : uint32 array [R]
        One for each run's random numbers.
    output : array [N, T, D]
        Output: the heads' side by side.
    peaks, sums : arrays [N, H, T']
        Outputs, for `backward`: each query's greatest score, and the sum of exp(score - greatest).
    """
    batch, longest, width = k.shape
    samples_per_run, size = batch // len(seeds), width // heads
    most, time, share = padded(longest, ROWS), padded(q.shape[1], LANES), q.dtype.type(1 - drop / HALF_WORD)
    key_space, value_t_space, tile_space = (
        space(most * width, q),
        space(most * (width + ROWS), q),
        space(most * LANES, q),
    )
    queries, outputs = (
        matrix(space(time * width, q), width, time),
        matrix(space(time * (width + ROWS), q), width + ROWS, time),
    )
    for b in range(batch):
        n = key_lengths[b]
        m = padded(n, ROWS)
        keys, values_t, tile = (
            matrix(key_space, m, width),
            matrix(value_t_space, width + ROWS, m),
            matrix(tile_space, m, LANES),
        )
        rows_of(k[b], n, keys)
        columns_of(v[b], n, values_t)
        columns_of(q[b], q.shape[1], queries)
        for h in range(heads):
            column, end = h * size, h * size + padded(size, ROWS)
            head = head_seed(seeds[b // samples_per_run], b % samples_per_run * heads + h)
            for first in range(0, time, LANES):
                block_product(keys, column, size, queries[column:], first, tile, 0)
                peak, amount = exponentials(tile, n)
                store(peaks[b, h], first, peak)
                store(sums[b, h], first, amount)
                if drop > 0:
                    _drop(tile, row_seeds(head, first), drop)
                block_product(values_t[column:end], 0, m, tile, 0, outputs[column:end], first)
                scale = filled(q.dtype.type(1)) / (amount * share)
                for j in range(column, column + size):
                    store(outputs, j * time + first, load(outputs, j * time + first) * scale)
        from_columns(outputs, q.shape[1], output[b])


@njit
def _drop(tile, seeds, drop):
    """Set the weights of a tile that are not kept to 0."""
    zero = filled(tile.dtype.type(0))
    for pair in range(len(tile) // 2):
        first, second = 2 * pair * LANES, (2 * pair + 1) * LANES
        first_kept, second_kept = kept_of_two(seeds, pair, drop)
        store(tile, first, choose(first_kept, load(tile, first), zero))
        store(tile, second, choose(second_kept, load(tile, second), zero))


@njit(cache=True, error_model="numpy")
def backward(
    q,
    k,
    v,
    heads,
    key_lengths,
    drop,
    seeds,
    output,
    peaks,
    sums,
    grad,
    grad_q,
    grad_k,
    grad_v,
):
    """Compute the gradients of q, k and v.

    Parameters
    ----------
    q, k, v, heads, key_lengths, drop, seeds
        As given to `forward`.
    output, peaks, sums
        What `forward` computed.
    grad : array [N, T, D]
        The gradient of `output`.
    grad_q, grad_k, grad_v : arrays [N, T, D], [N, S, D] and [N, S, D]
        Outputs: 0 for keys that do not count.
    """
    batch, longest, width = k.shape
    samples_per_run, size = batch // len(seeds), width // heads
    most, time, wide = padded(longest, ROWS), padded(q.shape[1], LANES), padded(size, ADDED)
    key_space, value_space, key_t_space = (
        space(most * width, q),
        space(most * width, q),
        space(most * (width + ROWS), q),
    )
    grad_key_space, grad_value_space = space(most * wide, q), space(most * wide, q)
    tile_space, other_space = space(most * LANES, q), space(most * LANES, q)
    queries, query_rows = (
        matrix(space(time * width, q), width, time),
        matrix(space(time * (width + ADDED), q), time, width + ADDED),
    )
    grads, grad_rows = (
        matrix(space(time * width, q), width, time),
        matrix(space(time * (width + ADDED), q), time, width + ADDED),
    )
    outputs, grad_queries = (
        matrix(space(time * width, q), width, time),
        matrix(space(time * (width + ROWS), q), width + ROWS, time),
    )
    present, share, zero = lane_mask(q), q.dtype.type(1 / (1 - drop / HALF_WORD)), filled(q.dtype.type(0))
    grad_k[:], grad_v[:] = 0, 0
    for b in range(batch):
        n = key_lengths[b]
        m = padded(n, ROWS)
        keys, values, keys_t = (
            matrix(key_space, m, width),
            matrix(value_space, m, width),
            matrix(key_t_space, width + ROWS, m),
        )
        tile, other = matrix(tile_space, m, LANES), matrix(other_space, m, LANES)
        grad_keys, grad_values = matrix(grad_key_space, m, wide), matrix(grad_value_space, m, wide)
        rows_of(k[b], n, keys)
        columns_of(k[b], n, keys_t)
        rows_of(v[b], n, values)
        rows_of(q[b], q.shape[1], query_rows)
        columns_of(q[b], q.shape[1], queries)
        rows_of(grad[b], q.shape[1], grad_rows)
        columns_of(grad[b], q.shape[1], grads)
        columns_of(output[b], q.shape[1], outputs)
        for h in range(heads):
            column, end = h * size, h * size + padded(size, ROWS)
            grad_keys[:], grad_values[:] = 0, 0
            head = head_seed(seeds[b // samples_per_run], b % samples_per_run * heads + h)
            for first in range(0, time, LANES):
                dot = zero
                for j in range(column, column + size):
                    dot = dot + load(grads, j * time + first) * load(outputs, j * time + first)
                block_product(keys, column, size, queries[column:], first, tile, 0)
                block_product(values, column, size, grads[column:], first, other, 0)
                peak = load(peaks[b, h], first)
                inverse = first_lanes(present, q.shape[1] - first) / load(sums[b, h], first)
                fill_padding(tile, n, peak)
                _grad_scores(tile, peak, inverse, dot, share, row_seeds(head, first), drop, other)
                fill_padding(tile, n, zero)
                fill_padding(other, n, zero)
                block_product(keys_t[column:end], 0, m, tile, 0, grad_queries[column:end], first)
                add_product(tile, query_rows[first : first + LANES], column, grad_keys)
                add_product(other, grad_rows[first : first + LANES], column, grad_values)
            for s in range(n):
                for j in range(size):
                    grad_k[b, s, column + j] = grad_keys[s, j]
                    grad_v[b, s, column + j] = grad_values[s, j]
        from_columns(grad_queries, q.shape[1], grad_q[b])


@njit
def _grad_scores(tile, peak, inverse, dot, share, seeds, drop, other):
    """Replace a tile's scores by their gradient, and in `other` the gradients of kept weights by these weights.

    The former is weight · (grad_weight - `dot`), where `dot` is Σ weight · grad_weight; a kept weight is one divided by
    the `share` of weights that are kept, `share` here being 1 over it.
    """
    zero = filled(tile.dtype.type(0))
    for pair in range(len(tile) // 2):
        kept = kept_of_two(seeds, pair, drop)
        for i in range(2):
            place = (2 * pair + i) * LANES
            weight = exp(load(tile, place) - peak) * inverse
            of_kept = choose(kept[i], filled(share), zero)
            store(tile, place, weight * (load(other, place) * of_kept - dot))
            store(other, place, weight * of_kept)
