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
    matrix,
    padded,
    rows_of,
    transpose,
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
    samples_per_run = len(q) // len(seeds)
    for b in range(len(q)):
        n, head_seeds = key_lengths[b], (seeds[b // samples_per_run], b % samples_per_run * heads)
        _forward(q[b], k[b, :n], v[b, :n], drop, head_seeds, output[b], peaks[b], sums[b])


@njit
def _forward(q, k, v, drop, head_seeds, output, peaks, sums):
    """`forward` of one sample, all of whose keys [S, D] count; q and output [T, D]."""
    heads, width = len(peaks), q.shape[1]
    keys, values_t, queries = rows_of(k, ROWS, 0), columns_of(v, ROWS, ROWS), columns_of(q, LANES, 0)
    outputs, tile = matrix(width + ROWS, queries.shape[1], q), matrix(len(keys), LANES, q)
    size, share = width // heads, q.dtype.type(1 - drop / HALF_WORD)
    for h in range(heads):
        column, end = h * size, h * size + padded(size, ROWS)
        seed = head_seed(head_seeds[0], head_seeds[1] + h)
        for first in range(0, len(q), LANES):
            block_product(keys, column, size, queries[column:], first, tile, 0)
            peak, amount = exponentials(tile, len(k))
            store(peaks[h], first, peak)
            store(sums[h], first, amount)
            if drop > 0:
                _drop(tile, row_seeds(seed, first), drop)
            block_product(values_t[column:end], 0, len(keys), tile, 0, outputs[column:end], first)
            scale = q.dtype.type(1) / (amount * share)
            for j in range(column, column + size):
                place = j * outputs.shape[1] + first
                store(outputs, place, load(outputs, place) * scale)
    transpose(outputs, width, len(q), output)


@njit
def _drop(tile, seeds, drop):
    """Set the weights of a tile that are not kept to 0."""
    zero = filled(tile.dtype.type(0))
    for pair in range(len(tile) // 2):
        kept = kept_of_two(seeds, pair, drop)
        for i in range(2):
            place = (2 * pair + i) * LANES
            store(tile, place, choose(kept[i], load(tile, place), zero))


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
    samples_per_run = len(q) // len(seeds)
    grad_k[:], grad_v[:] = 0, 0
    for b in range(len(q)):
        n, head_seeds = key_lengths[b], (seeds[b // samples_per_run], b % samples_per_run * heads)
        saved, grads = (output[b], peaks[b], sums[b]), (grad[b], grad_q[b], grad_k[b, :n], grad_v[b, :n])
        _backward(q[b], k[b, :n], v[b, :n], drop, head_seeds, saved, grads)


@njit
def _backward(q, k, v, drop, head_seeds, saved, grads):
    """`backward` of one sample, all of whose keys [S, D] count; q and output [T, D]."""
    (output, peaks, sums), (grad, grad_q, grad_k, grad_v) = saved, grads
    n, width, size = len(k), k.shape[1], k.shape[1] // len(peaks)
    keys, keys_t, values = rows_of(k, ROWS, 0), columns_of(k, ROWS, ROWS), rows_of(v, ROWS, 0)
    queries, query_rows = columns_of(q, LANES, 0), rows_of(q, LANES, ADDED)
    grads_t, grad_rows, outputs = columns_of(grad, LANES, 0), rows_of(grad, LANES, ADDED), columns_of(output, LANES, 0)
    grad_queries = matrix(width + ROWS, len(query_rows), q)
    grad_keys, grad_values = (matrix(len(keys), padded(size, ADDED), q), matrix(len(keys), padded(size, ADDED), q))
    tile, other = matrix(len(keys), LANES, q), matrix(len(keys), LANES, q)
    share, zero = q.dtype.type(1 / (1 - drop / HALF_WORD)), filled(q.dtype.type(0))
    for h in range(len(peaks)):
        column, end = h * size, h * size + padded(size, ROWS)
        grad_keys[:], grad_values[:] = 0, 0
        seed = head_seed(head_seeds[0], head_seeds[1] + h)
        for first in range(0, len(q), LANES):
            block_product(keys, column, size, queries[column:], first, tile, 0)
            block_product(values, column, size, grads_t[column:], first, other, 0)
            peak, inverse = load(peaks[h], first), first_lanes(len(q) - first, q) / load(sums[h], first)
            fill_padding(tile, n, peak)
            dot = _dot(grads_t[column : column + size], outputs[column : column + size], first)
            _grad_scores(tile, peak, inverse, dot, share, row_seeds(seed, first), drop, other)
            fill_padding(tile, n, zero)
            fill_padding(other, n, zero)
            block_product(keys_t[column:end], 0, len(keys), tile, 0, grad_queries[column:end], first)
            add_product(tile, query_rows[first : first + LANES], column, grad_keys)
            add_product(other, grad_rows[first : first + LANES], column, grad_values)
        grad_k[:, column : column + size] = grad_keys[:n, :size]
        grad_v[:, column : column + size] = grad_values[:n, :size]
    transpose(grad_queries, width, len(q), grad_q)


@njit
def _dot(a, b, first):
    """The sums over the rows of a · b, in each of `LANES` columns from the first."""
    total = filled(a.dtype.type(0))
    for j in range(len(a)):
        place = j * a.shape[1] + first
        total = total + load(a, place) * load(b, place)
    return total


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
