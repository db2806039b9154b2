"""e^x for compiled loops: in float32 a polynomial, which compilers turn into vector instructions."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1, _P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_LEAST, _GREATEST = np.float32(-87.0), np.float32(88.0)
_ONE, _HALF = np.float32(1), np.float32(0.5)


def exp(x: float) -> float:
    """e^x, of numbers or vectors; in float32 Cephes's expf (S. Moshier), within 1e-7 relative, x cut to [-87, 88]."""
    return np.exp(x)


@overload(exp)
def _exp(x):
    return _exp_float32 if getattr(x, "dtype", x) == types.float32 else lambda x: np.exp(x)


def _exp_float32(x):
    x = min(max(x, _LEAST), _GREATEST)
    n = np.floor(x * _LOG2E + _HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((r * _P0 + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    p = p * r * r + r + _ONE
    return p * _power_of_two(n)


@intrinsic
def _power_of_two(_, x):
    """2^x of a whole float32 from -126 to 127, or of a vector of them."""

    def generate(context, builder, signature, arguments):
        result = context.get_value_type(signature.return_type)
        word, lanes = ir.IntType(32), getattr(result, "count", None)
        integers = ir.VectorType(word, lanes) if lanes else word
        bias, shift = (ir.Constant(integers, [n] * lanes if lanes else n) for n in (127, 23))
        exponent = builder.add(builder.fptosi(arguments[0], integers), bias)
        return builder.bitcast(builder.shl(exponent, shift), result)

    return x(x), generate
