"""Read a pickle of dictionaries, lists, texts, numbers and NumPy arrays without running anything that it names.

A pickle is a program for a stack machine, whose instructions (opcodes) the module `pickletools` describes.
`pickle.load` imports and calls whatever that program names. This reader has the opcodes that build plain values, and of
functions it knows the names of those five by which NumPy and Python write arrays; it runs code of its own in their
place, which checks each argument. Any other opcode or name is an error before anything is built.

Arrays are views of the file, which is mapped and not loaded, so that it may be larger than the memory. (Protocol 2
writes arrays as text: those are decoded into memory.) The rest is bounded: every text is part of the file, and
`MOST_OPCODES` bounds the number of values.
"""

import math
import mmap
import pickletools
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.common.errors import UserError, short

MOST_OPCODES = 5_000_000
"""A feature file of 23 000 utterances, the largest of the field, has about a million."""

_OPCODES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_DTYPE = re.compile(r"f[248]|[iu][1248]|U[1-9][0-9]{0,5}|O8?")
_LONGEST_NAME = 200  # bytes of a line that names a function


def read(path: Path) -> object:
    """The value that a pickle of protocol 2 … 5 holds, built of dict, list, tuple, str, int, float, bool, None, array.

    A one-dimensional array of texts comes as a list. Numeric arrays cannot be written to. Keys of dictionaries are str.

    Raises
    ------
    UserError
        If the file is damaged or holds anything else; names the file, the byte and what is there.
    """
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise UserError(f"{path}: must be a pickle, but is empty") from None
    machine = _Machine(memoryview(content))
    try:
        return machine.run()
    except UserError as error:
        reason = str(error)
    except (ValueError, TypeError, LookupError, OverflowError) as error:  # damage shows as nearly any of them
        reason = f"must be a pickle of NumPy arrays, but is damaged ({short(error)})"
    raise UserError(f"{path}: byte {machine.start}: {reason}")


def described(value: object) -> str:
    """A value for a message: a container only by its type, since a small file may hold one whose text is endless."""
    return short(value) if isinstance(value, str | int | float | None) else f"of type {type(value).__name__}"


class _Name:
    """What stands on the stack for a function or a type that the pickle names."""

    def __init__(self, text: str):
        self.text = text


class _Dtype:
    """A dtype: `code` as `f4`, then its byte order."""

    def __init__(self, code: str):
        self.code, self.order = code, "="

    def build(self, state: tuple) -> None:
        """Take NumPy's state: version, byte order, subarray, names and fields (both only of records), sizes."""
        _, order, subarray, names, fields, *_ = state
        if order not in ("<", ">", "|", "=") or any(part is not None for part in (subarray, names, fields)):
            raise UserError("a dtype must be of plain numbers or texts, but is one of records or of an unknown order")
        self.order = order


class _Array:
    """An array, which NumPy writes without content first."""

    def __init__(self):
        self.value: np.ndarray | list[str] | None = None

    def build(self, state: tuple) -> None:
        """Take NumPy's state: version, shape, dtype, whether in Fortran's order, content."""
        _, shape, dtype, is_fortran, content = state
        if type(content) is list:
            self.value = _object_array(shape, dtype, content)
        else:
            self.value = _array(content, dtype, shape, "F" if is_fortran else "C")


def _array(content: object, dtype: object, shape: object, order: str) -> np.ndarray | list[str]:
    """An array that is a view of its bytes; a list if it is one of texts."""
    if type(dtype) is not _Dtype or dtype.code.startswith("O") or not isinstance(content, memoryview | bytes):
        raise UserError("an array must have a dtype of numbers or texts and its content as bytes")
    if type(shape) is not tuple:
        raise UserError(f"an array's shape must be a tuple, but is {described(shape)}")
    for size in shape:
        if type(size) is not int or size < 1:
            raise UserError(f"the sizes of an array must be positive whole numbers, but one is {described(size)}")
    kind = np.dtype(dtype.order + dtype.code)
    if math.prod(shape) * kind.itemsize != len(content):
        raise UserError(f"an array of the shape {list(shape)} and {kind} must not have {len(content)} bytes")
    array = np.frombuffer(content, kind).reshape(shape, order=order)
    if kind.kind != "U":
        return array
    if np.frombuffer(content, dtype.order + "u4").max() > sys.maxunicode:
        raise UserError("an array of texts must have characters of Unicode")
    if not shape:
        return array
    if len(shape) != 1:
        raise UserError(f"an array of texts must have one dimension, but has the shape {list(shape)}")
    return array.tolist()


def _object_array(shape: object, dtype: object, content: list) -> list[str]:
    """An array of Python objects, all of which must be texts."""
    if type(dtype) is not _Dtype or not dtype.code.startswith("O") or shape != (len(content),):
        raise UserError("an array of Python objects must be a list of texts of one dimension")
    if not all(type(item) is str for item in content):
        raise UserError("an array of Python objects must hold texts only")
    return list(content)


def _call_dtype(machine: "_Machine", code: object, *_: object) -> _Dtype:
    if type(code) is not str or not _DTYPE.fullmatch(code):
        raise UserError(f"a dtype must be of plain numbers or texts, but is {described(code)}")
    return _Dtype(code)


def _call_reconstruct(machine: "_Machine", kind: object, *_: object) -> _Array:
    if type(kind) is not _Name or kind.text != "numpy.ndarray":
        raise UserError("an array must be a plain numpy.ndarray")
    return _Array()


def _call_frombuffer(
    machine: "_Machine", content: object, dtype: object, shape: object, order: object, axes: object = None
) -> _Array:
    """An array as protocol 5 writes it; with `axes`, in C order before they are transposed so."""
    if order not in ("C", "F", "K") or (order == "K") != (type(axes) is tuple and len(axes) > 1):
        raise UserError(f"an array's order must be C, F, or K with axes, but is {described(order)}")
    array = _Array()
    array.value = _array(content, dtype, shape, "F" if order == "F" else "C")
    if order == "K":
        array.value = np.transpose(array.value, axes)
    return array


def _call_scalar(machine: "_Machine", dtype: object, content: object) -> object:
    return _array(content, dtype, (), "C").item()


def _call_encode(machine: "_Machine", text: object, codec: object) -> bytes:
    """Bytes, which protocol 2 writes as text."""
    if type(text) is not str or codec != "latin1":
        raise UserError(f"bytes must be written in latin1, but are in {described(codec)}")
    machine.encoded += len(text)
    if machine.encoded > len(machine.content):  # the same text again and again
        raise UserError("the arrays must be no larger than the file")
    return text.encode("latin1")


_CALLS: dict[str, Callable] = {
    "numpy.dtype": _call_dtype,
    "_codecs.encode": _call_encode,
    # NumPy 2 writes `_core`, NumPy 1 `core`
    **{f"numpy.{core}.multiarray._reconstruct": _call_reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _call_scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _call_frombuffer for core in ("core", "_core")},
}
_NAMES = {*_CALLS, "numpy.ndarray"}


class _Machine:
    """The stack machine of a pickle: its state, and what the opcodes do to it."""

    def __init__(self, content: memoryview):
        self.content = content
        self.start = self.at = 0  # of the opcode that runs; of the next byte
        self.encoded = 0
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        """Run all opcodes; the value that they leave."""
        for _ in range(MOST_OPCODES):
            self.start = self.at
            code = self.take(1)[0]
            name = _OPCODES.get(code, f"{code:#04x}")
            if name == "STOP":
                return _stored(self.stack.pop())
            step = _STEPS.get(name)
            if step is None:
                raise UserError(f"must be a pickle of NumPy arrays of protocol 2 … 5, but has the opcode {name}")
            step(self)
        raise UserError(f"must have at most {MOST_OPCODES} opcodes")

    def take(self, size: int) -> memoryview:
        """The next bytes of the file."""
        if size > len(self.content) - self.at:
            raise UserError(f"must be followed by {size} bytes, but the file ends before")
        self.at += size
        return self.content[self.at - size : self.at]

    def number(self, layout: str) -> int | float:
        """The next bytes as a number that `struct` describes."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def sized(self, layout: str) -> memoryview:
        """As many bytes as the number before them says."""
        return self.take(self.number(layout))

    def text(self, layout: str) -> None:
        """Push a text."""
        self.stack.append(str(self.sized(layout), "utf-8", "surrogatepass"))

    def long(self) -> None:
        """Push a whole number of up to 64 bits."""
        digits = self.sized("<B")
        if len(digits) > 9:  # an unsigned one may need a ninth byte for its sign
            raise UserError(f"a whole number must have at most 64 bits, but has {8 * len(digits)}")
        self.stack.append(int.from_bytes(digits, "little", signed=True))

    def line(self) -> str:
        """The text up to the end of the line."""
        text, end, _ = bytes(self.content[self.at : self.at + _LONGEST_NAME]).partition(b"\n")
        if not end:
            raise UserError(f"must be followed by a name of fewer than {_LONGEST_NAME} bytes")
        self.at += len(text) + 1
        return text.decode()

    def pop(self, count: int) -> list:
        """The uppermost values of the stack, taken off."""
        if count > len(self.stack):
            raise UserError("must find more values on the stack than there are")
        kept = len(self.stack) - count
        values = self.stack[kept:]
        del self.stack[kept:]
        return values

    def pop_mark(self) -> list:
        """The values above the last mark, taken off with it."""
        return self.pop(len(self.stack) - self.marks.pop())

    def name(self, module: object, name: object) -> None:
        """Push what a pickle names, if it is known here."""
        text = f"{module}.{name}" if type(module) is type(name) is str else "something without a name"
        if text not in _NAMES:
            raise UserError(f"must be a pickle of NumPy arrays, but asks to import {short(text)}; nothing was imported")
        self.stack.append(_Name(text))

    def call(self) -> None:
        """Run our own code for the function that is named."""
        function, arguments = self.pop(2)
        if type(function) is not _Name or function.text not in _CALLS or type(arguments) is not tuple:
            raise UserError("must call one of NumPy's functions with a tuple")
        self.stack.append(_CALLS[function.text](self, *arguments))

    def build(self) -> None:
        """Complete an array or a dtype."""
        target, state = self.pop(2)
        if not isinstance(target, _Array | _Dtype) or type(state) is not tuple:
            raise UserError("must complete an array or a dtype with a tuple")
        target.build(state)
        self.stack.append(target)

    def extend(self, values: list) -> None:
        """Append to the list on the stack."""
        if type(self.stack[-1]) is not list:
            raise UserError("must append to a list")
        self.stack[-1].extend(map(_stored, values))

    def update(self, values: list) -> None:
        """Set items of the dictionary on the stack: key, value, key, value, …"""
        keys = values[::2]
        if type(self.stack[-1]) is not dict or not all(type(key) is str for key in keys):
            raise UserError("must set items of a dictionary whose keys are texts")
        self.stack[-1].update(zip(keys, map(_stored, values[1::2]), strict=True))

    def put(self, index: int) -> None:
        """Remember the uppermost value."""
        self.memo[index] = self.stack[-1]


def _stored(value: object) -> object:
    """A value as it is kept: an array instead of what stood for it."""
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, _Array | _Dtype | _Name):
        raise UserError("must store plain values and complete arrays")
    return value


_STEPS: dict[str, Callable[[_Machine], object]] = {
    "PROTO": lambda machine: machine.number("<B"),
    "FRAME": lambda machine: machine.number("<Q"),  # says how much a reader may buffer
    "NONE": lambda machine: machine.stack.append(None),
    "NEWTRUE": lambda machine: machine.stack.append(True),
    "NEWFALSE": lambda machine: machine.stack.append(False),
    "BININT": lambda machine: machine.stack.append(machine.number("<i")),
    "BININT1": lambda machine: machine.stack.append(machine.number("<B")),
    "BININT2": lambda machine: machine.stack.append(machine.number("<H")),
    "LONG1": _Machine.long,
    "BINFLOAT": lambda machine: machine.stack.append(machine.number(">d")),
    "SHORT_BINUNICODE": lambda machine: machine.text("<B"),
    "BINUNICODE": lambda machine: machine.text("<I"),
    "BINUNICODE8": lambda machine: machine.text("<Q"),
    "SHORT_BINBYTES": lambda machine: machine.stack.append(machine.sized("<B")),
    "BINBYTES": lambda machine: machine.stack.append(machine.sized("<I")),
    "BINBYTES8": lambda machine: machine.stack.append(machine.sized("<Q")),
    "BYTEARRAY8": lambda machine: machine.stack.append(machine.sized("<Q")),
    "EMPTY_TUPLE": lambda machine: machine.stack.append(()),
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "EMPTY_DICT": lambda machine: machine.stack.append({}),
    "MARK": lambda machine: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine: machine.stack.append(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine: machine.stack.append(tuple(machine.pop(1))),
    "TUPLE2": lambda machine: machine.stack.append(tuple(machine.pop(2))),
    "TUPLE3": lambda machine: machine.stack.append(tuple(machine.pop(3))),
    "APPEND": lambda machine: machine.extend(machine.pop(1)),
    "APPENDS": lambda machine: machine.extend(machine.pop_mark()),
    "SETITEM": lambda machine: machine.update(machine.pop(2)),
    "SETITEMS": lambda machine: machine.update(machine.pop_mark()),
    "MEMOIZE": lambda machine: machine.put(len(machine.memo)),
    "BINPUT": lambda machine: machine.put(machine.number("<B")),
    "LONG_BINPUT": lambda machine: machine.put(machine.number("<I")),
    "BINGET": lambda machine: machine.stack.append(machine.memo[machine.number("<B")]),
    "LONG_BINGET": lambda machine: machine.stack.append(machine.memo[machine.number("<I")]),
    "GLOBAL": lambda machine: machine.name(machine.line(), machine.line()),
    "STACK_GLOBAL": lambda machine: machine.name(*machine.pop(2)),
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
