"""Small matrix products for compiled loops, whose sums stay in vector registers."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from stages.train.kernels.compiled import njit
from stages.train.kernels.vectors import repeated

ROWS, COLUMNS = 4, 16
"""Of the block that is computed at a time."""
ADDED = 8
"""`add_product` adds so many columns, or two or three times as many, at a time."""


def _block(columns: int, *, height: int = ROWS, terms: int | None = None, adds: bool = False):
    """The product of `height` rows and some columns as vector instructions.

    `terms`: how many each sum has, if `left` always has so many columns; `adds`: to what is there.
    """

    @intrinsic
    def multiply(_, left, right, row, left_column, count, right_column, out, out_column):
        """out[row : row + height, these columns] = left[row : row + height, `count` columns] · right[:count, columns].

        Of contiguous float arrays of two axes; the columns begin at those given, and all must exist.
        """
        return types.void(left, right, *[types.intp] * 4, out, types.intp), generate

    def generate(context, builder, signature, arguments):
        left, right, out = (_Matrix(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 6))
        row, left_column, count, right_column, out_column = (arguments[i] for i in (2, 3, 4, 5, 7))
        rows = [builder.add(row, cgutils.intp_t(i)) for i in range(height)]
        zero = ir.Constant(left.vector, [0.0] * left.lanes)
        outputs = [out.places(own, out_column, columns) for own in rows]
        sums = [[cgutils.alloca_once_value(builder, out.read(x) if adds else zero) for x in own] for own in outputs]
        if terms is not None:
            left.width = cgutils.intp_t(terms)

        def add_term(k: ir.Value) -> None:
            loaded = [right.read(x) for x in right.places(k, right_column, columns)]
            for own_row, own in zip(rows, sums, strict=True):
                factor = builder.load(left.place(own_row, builder.add(left_column, k)))
                factor = repeated(builder, factor, left.vector)
                for total, x in zip(own, loaded, strict=True):
                    product = builder.fmul(factor, x, flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)

        if terms is None:
            with cgutils.for_range(builder, count) as loop:
                add_term(loop.index)
        else:
            for k in range(terms):
                add_term(cgutils.intp_t(k))
        for own, places in zip(sums, outputs, strict=True):
            for total, x in zip(own, places, strict=True):
                builder.store(builder.load(total), x, align=out.align)
        return context.get_dummy_value()

    return multiply


class _Matrix:
    """A contiguous float array of two axes in code that is being generated."""

    def __init__(self, context, builder: ir.IRBuilder, array, value: ir.Value):
        made = context.make_array(array)(context, builder, value)
        self.builder, self.data = builder, made.data
        self.width = cgutils.unpack_tuple(builder, made.shape)[1]
        self.lanes, self.align = 256 // array.dtype.bitwidth, array.dtype.bitwidth // 8
        self.vector = ir.VectorType(context.get_data_type(array.dtype), self.lanes)

    def place(self, row: ir.Value, column: ir.Value) -> ir.Value:
        """The pointer to a number."""
        return self.builder.gep(self.data, [self.builder.add(self.builder.mul(row, self.width), column)])

    def places(self, row: ir.Value, column: ir.Value, columns: int) -> list[ir.Value]:
        """The pointers to the vectors that some columns of a row are."""
        starts = [self.builder.add(column, cgutils.intp_t(start)) for start in range(0, columns, self.lanes)]
        return [self.builder.bitcast(self.place(row, start), self.vector.as_pointer()) for start in starts]

    def read(self, pointer: ir.Value) -> ir.Value:
        """A vector."""
        return self.builder.load(pointer, align=self.align)


_multiply, _multiply_row = _block(COLUMNS), _block(COLUMNS, height=1)
_add, _add_2, _add_3 = (_block(count * ADDED, terms=COLUMNS, adds=True) for count in (1, 2, 3))


@njit
def block_product(left, left_column, terms, right, right_column, out, out_column):
    """Write the product of left[:, `terms` columns] and right[:terms, COLUMNS columns] to `COLUMNS` columns of `out`.

    `..._column` are the first ones. The rows of `left` are a multiple of `ROWS`; all arrays are contiguous.
    """
    for row in range(0, len(left), ROWS):
        _multiply(left, right, row, left_column, terms, right_column, out, out_column)


@njit
def panels(right):
    """A matrix [K, N] as `product` reads it fastest: [N / COLUMNS, K, COLUMNS]; N is a multiple of `COLUMNS`."""
    terms, columns = right.shape
    packed = np.empty((columns // COLUMNS, terms, COLUMNS), right.dtype)
    for panel in range(len(packed)):
        packed[panel] = right[:, panel * COLUMNS : (panel + 1) * COLUMNS]
    return packed


@njit
def product(left, packed, out):
    """out = left · right, of contiguous float arrays [M, K], [K, N] as `panels` and [M, N]."""
    whole, terms = len(left) // ROWS * ROWS, left.shape[1]
    for panel in range(len(packed)):
        column = panel * COLUMNS
        block_product(left[:whole], 0, terms, packed[panel], 0, out, column)
        for row in range(whole, len(left)):
            _multiply_row(left, packed[panel], row, 0, terms, 0, out, column)


@njit
def add_product(left, right, right_column, out):
    """Add to out [M, N] the product of left [M, COLUMNS] and N columns of right [COLUMNS, ...] from `right_column`.

    M is a multiple of `ROWS` and N of `ADDED`; all arrays are contiguous.
    """
    width = out.shape[1]
    whole = width // (3 * ADDED) * (3 * ADDED)
    for row in range(0, len(left), ROWS):
        for column in range(0, whole, 3 * ADDED):
            _add_3(left, right, row, 0, COLUMNS, right_column + column, out, column)
        if width - whole == 2 * ADDED:
            _add_2(left, right, row, 0, COLUMNS, right_column + whole, out, whole)
        elif width - whole == ADDED:
            _add(left, right, row, 0, COLUMNS, right_column + whole, out, whole)
