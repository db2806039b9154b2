"""Attention at every position by compiled loops, against torch's own operations."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.train.fusions import transformer_layers
from stages.train.kernels import attention as tiles
from stages.train.kernels import dropout as random
from stages.train.kernels.product import add_product, block_product, panels, product
from tests.test_model import dropout, one_thread, stacked  # noqa: F401 (a fixture)

RUNS, BATCH = 2, 3
SHAPES = [(37, 41, 5, 2), (16, 4, 1, 7), (5, 31, 3, 20), (1, 1, 2, 4), (33, 25, 2, 11)]
"""Queries, keys, heads and their width."""


def inputs(time: int, keys: int, width: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """q, k and v, whose scores differ by hundreds."""
    generator = torch.Generator().manual_seed(3)
    return [
        (4 * torch.randn(RUNS, BATCH, steps, width, generator=generator, dtype=dtype)).requires_grad_()
        for steps in (time, keys, keys)
    ]


def some_lengths(keys: int) -> Tensor:
    return torch.tensor([[keys, 1, max(1, keys // 2)], [max(1, keys - 1), min(keys, 3), keys]])


def outputs_and_gradients(function, tensors: list[Tensor], weight: Tensor, *rest) -> list[Tensor]:
    output = function(*tensors, *rest)
    return [output, *torch.autograd.grad((output * weight).sum(), tensors)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("time", "keys", "heads", "size"), SHAPES)
def test_outputs_and_gradients_are_torchs(time, keys, heads, size, masked):
    tensors, lengths = inputs(time, keys, heads * size), some_lengths(keys) if masked else None
    weight = torch.randn(RUNS, BATCH, time, heads * size, dtype=torch.float64)
    expected, actual = (
        outputs_and_gradients(function, tensors, weight, heads, dropout(0.0), lengths)
        for function in (transformer_layers.attended, transformer_layers.compiled_attended)
    )
    for theirs, ours in zip(expected, actual, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    single = [x.detach().float().requires_grad_() for x in tensors]
    close = outputs_and_gradients(
        transformer_layers.compiled_attended, single, weight.float(), heads, dropout(0.0), lengths
    )
    for theirs, ours in zip(expected, close, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=2e-3)


def test_padded_keys_get_no_gradient_and_are_not_read():
    q, k, v = inputs(7, 11, 6)
    lengths = some_lengths(11)
    padding = torch.arange(11) >= lengths[..., None]
    with torch.no_grad():
        k[padding], v[padding] = torch.nan, torch.inf
    output, *gradients = outputs_and_gradients(
        transformer_layers.compiled_attended, [q, k, v], torch.tensor(1.0), 2, dropout(0.3), lengths
    )
    for x in (output, *gradients):
        assert x.isfinite().all()
    for gradient in gradients[1:]:
        assert (gradient[padding] == 0).all()


def test_the_backward_pass_drops_what_the_forward_pass_dropped():
    tensors = [(x / 8).detach().requires_grad_() for x in inputs(17, 7, 6)]

    def attend(q, k, v):
        return transformer_layers.compiled_attended(q, k, v, 2, dropout(0.3), some_lengths(7))

    assert torch.autograd.gradcheck(attend, tensors, fast_mode=True)


def kept_weights(p: float, time: int, keys: int, runs: int = RUNS) -> Tensor:
    """Dropped weights [R, 5 samples, T, S]: the keys' values are the unit vectors."""
    q, k = torch.zeros(runs, 5, time, keys), torch.zeros(runs, 5, keys, keys)
    values = torch.eye(keys).expand(runs, 5, -1, -1)
    return transformer_layers.compiled_attended(q, k, values, 1, dropout(p, runs), None) * keys


def test_each_weight_is_0_or_its_share_of_the_kept_ones():
    kept = kept_weights(0.25, 67, 101) * 0.75
    torch.testing.assert_close(kept, kept.round(), rtol=0, atol=1e-5)
    assert kept.mean().item() == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / kept.numel()) ** 0.5)
    for axes in ((0, 1, 2), (0, 1, 3), (2, 3)):  # neither columns nor rows nor samples go together
        means, count = kept.mean(dim=axes), np.prod([kept.shape[axis] for axis in axes])
        assert means.std().item() == pytest.approx((0.75 * 0.25 / count) ** 0.5, rel=0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("width", "heads", "time", "keys"), [(10, 5, 11, 25), (10, 2, 25, 3), (40, 10, 7, 16)])
def test_a_run_is_the_same_to_the_last_bit_whatever_is_beside_it(width, heads, time, keys, dtype):
    torch.manual_seed(3)
    modules = [transformer_layers.PositionwiseAttention(width, heads, 0.2).to(dtype) for _ in range(3)]
    target, source = (torch.randn(3, 16, steps, width, dtype=dtype) for steps in (time, keys))
    lengths = torch.randint(1, keys + 1, (3, 16))

    def gradients(runs: slice) -> list[Tensor]:
        network = stacked(*copy.deepcopy(modules[runs]))
        network.dropout.generators = tuple(torch.Generator().manual_seed(run) for run in range(3))[runs]
        own = [x[runs].clone().requires_grad_() for x in (target, source)]
        output = network(*own, lengths[runs])
        output.square().sum().backward()
        return [output, *(x.grad for x in (*own, *network.parameters()))]

    together = gradients(slice(0, 3))
    for run in range(3):
        for beside, alone in zip(together, gradients(slice(run, run + 1)), strict=True):
            assert torch.equal(beside[run], alone[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [8, 16, 24, 32, 40, 48])
def test_block_products_are_numpys(width, dtype):
    rng = np.random.default_rng(5)
    left, right, out = (rng.standard_normal(shape).astype(dtype) for shape in ((12, 23), (7, 53), (12, 67)))
    expected = out.copy()
    expected[:, 31:47] = left[:, 13:20] @ right[:, 29:45]
    block_product(left, 13, 7, right, 29, out, 31)
    np.testing.assert_allclose(out, expected, rtol=1e-4)
    left, right, out = (rng.standard_normal(shape).astype(dtype) for shape in ((12, 16), (16, 61), (12, width)))
    expected = out + left @ right[:, 3 : 3 + width]
    add_product(left, right, 3, out)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 3, 4, 11])
def test_products_of_packed_matrices_are_numpys(rows, dtype):
    rng = np.random.default_rng(5)
    left, right = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, 7), (7, 48)))
    out = np.empty((rows, 48), dtype)
    product(left, panels(right), out)
    np.testing.assert_allclose(out, left @ right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 8, 19])
@pytest.mark.parametrize("columns", [5, 16, 23])
def test_transposed_copies_are_numpys(rows, columns):
    x = np.random.default_rng(5).standard_normal((rows, columns))
    expected = np.pad(x, [(0, -rows % 4), (0, 3)])
    np.testing.assert_array_equal(tiles.rows_of(x, 4, 3), expected)
    np.testing.assert_array_equal(tiles.columns_of(x, 4, 3), expected.T)
    part = np.full((columns - 1, rows + 2), 7.0)
    tiles.transpose(x, rows, columns - 1, part)
    np.testing.assert_array_equal(part, np.pad(x[:, :-1].T, [(0, 0), (0, 2)], constant_values=7))


def test_the_threshold_of_a_probability_is_of_16_bits():
    assert [random.threshold(p) for p in (0.0, 0.25, 1 - 2**-16)] == [0, 2**14, 2**16 - 1]
