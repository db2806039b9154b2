"""Vectors of `LANES` numbers for compiled loops, with operators that each become vector instructions.

A compiler finds such instructions by itself only where a loop's numbers lie one after the other and none is kept from
one pass to the next; a vector can be a running sum or maximum, one of each lane.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
LANE = np.arange(LANES, dtype=np.uint32)
"""Each lane's number."""
BLOCK = 8
"""Rows and columns of what `transpose_block` transposes."""


class Vector(types.Type):
    """numba's type of a vector of one type of numbers."""

    def __init__(self, dtype: types.Type):
        self.dtype = dtype
        super().__init__(f"vector({dtype})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, ir.VectorType(manager.lookup(vector.dtype).get_value_type(), LANES))


@intrinsic
def load(_, array, start):
    """The numbers from place `start` of a contiguous array, counted through all its axes."""

    def generate(context, builder, signature, arguments):
        return builder.load(_place(context, builder, signature.args[0], arguments), align=_bytes(array))

    return Vector(array.dtype)(array, types.intp), generate


@intrinsic
def store(_, array, start, x):
    """Put a vector where `load` would read it."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _place(context, builder, signature.args[0], arguments), align=_bytes(array))
        return context.get_dummy_value()

    return types.void(array, types.intp, x), generate


@intrinsic
def filled(_, number):
    """A vector of one number in all lanes."""

    def generate(context, builder, signature, arguments):
        return repeated(builder, arguments[0], context.get_value_type(signature.return_type))

    return Vector(number)(number), generate


@intrinsic
def choose(_, condition, x, y):
    """x where the condition holds, elsewhere y."""
    return x(condition, x, y), lambda _context, builder, _signature, arguments: builder.select(*arguments)


@intrinsic
def lane_sum(_, x):
    """The sum of a vector's lanes."""

    def generate(context, builder, signature, arguments):
        vector, number = arguments[0].type, context.get_value_type(signature.return_type)
        kind = ir.FunctionType(number, [number, vector])
        name = f"llvm.vector.reduce.fadd.v{LANES}f{x.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(number, 0.0), arguments[0]], fastmath=("reassoc", "nsz"))

    return x.dtype(x), generate


@intrinsic
def transpose_block(_, x, x_start, x_width, out, out_start, out_width):
    """Transpose `BLOCK` rows of as many numbers from place `x_start` of x, whose rows have `x_width` numbers, to `out`.

    Both arrays are contiguous.
    """

    def generate(context, builder, signature, arguments):
        x_start, x_width, out_start, out_width = (arguments[i] for i in (1, 2, 4, 5))
        vector, numbers = (
            ir.VectorType(context.get_data_type(x.dtype), BLOCK),
            [cgutils.intp_t(i) for i in range(BLOCK)],
        )

        def pointers(position, start, width):
            data = context.make_array(signature.args[position])(context, builder, arguments[position]).data
            starts = [builder.add(start, builder.mul(number, width)) for number in numbers]
            return [builder.bitcast(builder.gep(data, [own]), vector.as_pointer()) for own in starts]

        def interleaved(a, b, first):
            lanes = [half + lane for lane in range(first, first + BLOCK // 2) for half in (0, BLOCK)]
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), lanes))

        rows, half = [builder.load(place, align=_bytes(x)) for place in pointers(0, x_start, x_width)], BLOCK // 2
        for _ in range(BLOCK.bit_length() - 1):
            pairs = list(zip(rows[:half], rows[half:], strict=True))
            rows = [interleaved(a, b, first) for a, b in pairs for first in (0, half)]
        for row, place in zip(rows, pointers(3, out_start, out_width), strict=True):
            builder.store(row, place, align=_bytes(x))
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, out, types.intp, types.intp), generate


def _function(name: str, symbol) -> None:
    """Let a numpy function of a vector be LLVM's."""

    @intrinsic
    def apply(_, x):
        def generate(context, builder, signature, arguments):
            vector = context.get_value_type(signature.return_type)
            full = f"{name}.v{LANES}f{x.dtype.bitwidth}"
            function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), full)
            return builder.call(function, arguments)

        return x(x), generate

    @overload(symbol)
    def choose_overload(x):
        if isinstance(x, Vector):
            return lambda x: apply(x)
        return None


_function("llvm.floor", np.floor)
_function("llvm.exp", np.exp)


def _operation(floats: str | None, integers: str):
    """A binary operation by LLVM's names for it."""

    @intrinsic
    def apply(_, x, y):
        def generate(_context, builder, _signature, arguments):
            if isinstance(x.dtype, types.Float):
                return getattr(builder, floats)(*arguments, flags=("contract", "nsz"))
            return getattr(builder, integers)(*arguments)

        return x(x, y), generate

    return apply


def _comparison(sign: str):
    @intrinsic
    def apply(_, x, y):
        def generate(_context, builder, _signature, arguments):
            compare = builder.fcmp_ordered if isinstance(x.dtype, types.Float) else builder.icmp_unsigned
            return compare(sign, *arguments)

        return Vector(types.boolean)(x, y), generate

    return apply


def _define(symbol, apply) -> None:
    """Let a Python operator of two vectors, or of one and a number, be `apply`."""

    @overload(symbol)
    def choose_overload(x, y):
        if isinstance(x, Vector) and isinstance(y, Vector):
            return lambda x, y: apply(x, y)
        if isinstance(x, Vector) and isinstance(y, types.Number):
            return lambda x, y: apply(x, filled(y))
        if isinstance(x, types.Number) and isinstance(y, Vector):
            return lambda x, y: apply(filled(x), y)
        return None


_greater = _comparison(">")
for _symbol, _apply in {
    operator.add: _operation("fadd", "add"),
    operator.sub: _operation("fsub", "sub"),
    operator.mul: _operation("fmul", "mul"),
    operator.truediv: _operation("fdiv", "udiv"),
    operator.xor: _operation(None, "xor"),
    operator.and_: _operation(None, "and_"),
    operator.rshift: _operation(None, "lshr"),
    operator.gt: _greater,
    operator.ge: _comparison(">="),
}.items():
    _define(_symbol, _apply)


@overload(max)
def _max(x, y):
    if isinstance(x, Vector) and isinstance(y, Vector):
        return lambda x, y: choose(_greater(x, y), x, y)
    if isinstance(x, Vector):
        return lambda x, y: max(x, filled(y))
    return None


@overload(min)
def _min(x, y):
    if isinstance(x, Vector):
        return lambda x, y: choose(_greater(x, filled(y)), filled(y), x)
    return None


def repeated(builder: ir.IRBuilder, number: ir.Value, vector: ir.VectorType) -> ir.Value:
    """A number in all places of a vector."""
    word = ir.IntType(32)
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, number, word(0))
    return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(word, vector.count), [0] * vector.count))


def _place(context, builder, array, arguments) -> ir.Value:
    """The pointer to a vector's place in an array."""
    data = context.make_array(array)(context, builder, arguments[0]).data
    vector = ir.VectorType(context.get_data_type(array.dtype), LANES)
    return builder.bitcast(cgutils.gep(builder, data, arguments[1]), vector.as_pointer())


def _bytes(array) -> int:
    return array.dtype.bitwidth // 8
