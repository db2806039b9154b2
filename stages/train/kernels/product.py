"""A small matrix product for compiled loops, whose sums stay in vector registers."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS, COLUMNS = 4, 16
"""Of the block that is computed at a time."""


@intrinsic
def multiply(_, left, right, first, out):
    """out[:, first : first + COLUMNS] = left · right[:, first : first + COLUMNS], of contiguous float arrays.

    left [ROWS, K], right [K, N], out [ROWS, N']; all of these columns must exist.
    """

    def generate(context, builder, signature, arguments):
        arrays = [context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 1, 3)]
        (_, left_row), (terms, right_row), (_, out_row) = (cgutils.unpack_tuple(builder, x.shape) for x in arrays)
        left, right, out = (x.data for x in arrays)
        number, element = signature.args[0].dtype, context.get_data_type(signature.args[0].dtype)
        lanes = 256 // number.bitwidth
        vector, starts = ir.VectorType(element, lanes), range(0, COLUMNS, lanes)

        def place(array, row, width, column):
            return builder.gep(array, [builder.add(builder.mul(row, width), column)])

        def vectors(array, row, width):
            columns = [builder.add(arguments[2], terms.type(start)) for start in starts]
            return [builder.bitcast(place(array, row, width, c), vector.as_pointer()) for c in columns]

        zero = ir.Constant(vector, [0.0] * lanes)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in starts] for _ in range(ROWS)]
        with cgutils.for_range(builder, terms) as loop:
            loaded = [builder.load(x, align=number.bitwidth // 8) for x in vectors(right, loop.index, right_row)]
            for row in range(ROWS):
                factor = builder.load(place(left, terms.type(row), left_row, loop.index))
                factor = _repeated(builder, factor, vector)
                for total, x in zip(sums[row], loaded, strict=True):
                    product = builder.fmul(factor, x, flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        for row in range(ROWS):
            for total, x in zip(sums[row], vectors(out, terms.type(row), out_row), strict=True):
                builder.store(builder.load(total), x, align=number.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(left, right, types.intp, out), generate


@njit
def product(left, right, out):
    """out = left · right, of contiguous float arrays [M, K], [K, N] and [M, N]; N is a multiple of `COLUMNS`."""
    whole = len(left) // ROWS * ROWS
    for column in range(0, right.shape[1], COLUMNS):
        for row in range(0, whole, ROWS):
            multiply(left[row : row + ROWS], right, column, out[row : row + ROWS])
    if whole < len(left):
        np.dot(left[whole:], right, out[whole:])


def _repeated(builder: ir.IRBuilder, number: ir.Value, vector: ir.VectorType) -> ir.Value:
    """A number in all places of a vector."""
    word = ir.IntType(32)
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, number, word(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(word, vector.count), [0] * vector.count))
