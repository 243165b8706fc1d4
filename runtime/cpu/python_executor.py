"""The vocabulary of kernel source in plain Python: the rung between the interpreter and Numba.

Takes a Program and arrays, runs the generated kernels as the Python that they are, on NumPy scalars
over raw memory, and answers with the outputs. Slow and careful: every access is checked against the
buffer it goes to, fresh memory is filled with nonsense, and a loop that may be split over threads
is run in pieces, last piece first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from ctypes import CFUNCTYPE, addressof, c_int64, c_ubyte, c_void_p, memmove
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds
from scipy import special

from ...codegen.program import Kernel, Program, Slot, as_word, fault
from ...ir.dtype import bfloat16, float16
from .compiler import address_of
from .lapack import PLAIN as LAPACK
from .philox import plain as philox
from .special import hurwitz

_NONSENSE = 0xB5  # fresh memory: a strange number in every type
_STORED = {
    "f8": np.float64, "f4": np.float32, "f2": np.float16, "bf": np.uint16, "b1": np.bool_,
    "i8": np.int64, "i4": np.int32, "i2": np.int16, "i1": np.int8, "u1": np.uint8,
}  # fmt: skip


class Pointer(NamedTuple):
    """An address, and the memory around it that it may be used to reach."""

    address: int
    low: int
    high: int

    def cell(self, position: int, size: int) -> int:
        at = self.address + int(position) * size
        if not self.low <= at <= self.high - size:
            held = (self.high - self.low) // size
            raise MemoryError(f"a kernel reaches element {position} of a buffer of {held}")
        return at


def _pointer(args: Sequence[Any], k: int) -> Pointer:
    return args[k]


def _load(code: str) -> Callable[[Pointer, int, int], Any]:
    dtype = np.dtype(_STORED[code])

    def load(pointer: Pointer, position: int, scope: int) -> Any:
        raw = (c_ubyte * dtype.itemsize).from_address(pointer.cell(position, dtype.itemsize))
        if code == "b1":
            return np.bool_(raw[0] != 0)
        value = np.frombuffer(bytes(raw), dtype)[0]
        if code == "bf":
            return bfloat16.decode(value)
        return np.float32(value) if code == "f2" else value

    return load


def _store(code: str) -> Callable[[Pointer, int, Any, int], None]:
    dtype = np.dtype(_STORED[code])

    def store(pointer: Pointer, position: int, value: Any, scope: int) -> None:
        number = np.asarray(value)
        stored = bfloat16.encode(number) if code == "bf" else number.astype(dtype)
        memmove(pointer.cell(position, dtype.itemsize), stored.tobytes(), dtype.itemsize)

    return store


def cast(x: Any, like: Any) -> Any:
    """x as the type of `like`; a float outside of the range of a wide integer becomes its least."""
    to = type(like)
    if not (issubclass(to, np.integer) and isinstance(x, (float, np.floating))):
        return np.asarray(x).astype(to)[()]
    wide = np.iinfo(np.int64 if to is np.int64 else np.int32)
    whole = int(x) if np.isfinite(x) else wide.min
    return np.asarray(whole if wide.min <= whole <= wide.max else wide.min).astype(to)[()]


def within(index: Any, size: int, dim: int) -> Any:
    if (-size if dim >= 0 else 0) <= index < size:
        return type(index)(index + size if index < 0 else index)
    return type(index)(0)


def report(status: Pointer, least: Any, most: Any, size: int, dim: int) -> None:
    if most >= size or least < (-size if dim >= 0 else 0):
        bad = most if most >= size else least
        for k, word in enumerate((1, int(bad), size, dim)):
            c_int64.from_address(status.cell(k, 8)).value = word


def _modulo(a: Any, b: Any) -> Any:
    y = np.remainder(a, b)
    return np.copysign(y, a) if y == 0 and y.dtype.kind == "f" else y


def _power(a: Any, b: Any) -> Any:
    return np.power([a], [b])[0]  # of a number alone NumPy takes the root, NaN for -inf ** 0.5


def _lgamma(x: Any) -> Any:
    return special.gammaln(np.abs(x) if np.isinf(x) else x)


def _of_scipy(name: str) -> Callable[..., Any]:
    return lambda *x: x[-1].dtype.type(getattr(special, name)(*x))


def _number(code: str) -> Callable[[Any], Any]:
    return lambda value: np.asarray(value).astype(_STORED[code])[()]


VOCABULARY: dict[str, Any] = {
    **{code: _number(code) for code in ("f8", "f4", "i8", "i4", "i2", "i1", "u1", "b1")},
    "inf": math.inf, "nan": math.nan, "range": range,
    "extent": lambda args, k: args[k], "number": lambda args, k: args[k],
    "select": lambda condition, a, b: a if condition else b,
    "wrapped_add": np.add, "wrapped_sub": np.subtract, "wrapped_mul": np.multiply,
    "sum_up": np.add, "prod_up": np.multiply, "max_up": np.maximum, "min_up": np.minimum,
    "at_least": np.maximum, "at_most": np.minimum,
    "maximum": np.maximum, "minimum": np.minimum, "absolute": np.abs, "invert": np.invert,
    "sign": lambda x: type(x)(0) if x != x else np.sign(x),
    "cast": cast, "canonicalize": lambda x: x, "within": within, "report": report, "philox": philox,
    "bits": lambda x, like: np.asarray(x).view(type(like))[()],
    "round_f2": lambda x: float16.decode(float16.encode(x))[()],
    "round_bf": lambda x: bfloat16.decode(bfloat16.encode(x))[()],
    "floor_div": np.floor_divide, "remainder": _modulo, "power": _power,
    "shift_left": np.left_shift, "shift_right": np.right_shift, "atan2": np.arctan2,
    "fmod": np.fmod, "copysign": np.copysign, "nextafter": np.nextafter, "hypot": np.hypot,
    "gcd": np.gcd, "exponent": lambda x: np.frexp(x)[1] if np.isfinite(x) else 0,
    **{name: _of_scipy(name)
       for name in ("erfinv", "erfcx", "ndtri")},
    "ldexp": lambda x, k: k if k != k else np.ldexp(x, np.int32(min(max(k, -4000), 4000))),
    "hurwitz": lambda s, q: q.dtype.type(hurwitz(np.float64(s), np.float64(q))),
    **{f"bessel_{name}": _of_scipy(name) for name in ("i0", "i0e", "i1", "i1e", "j0", "j1")},
    "digamma": _of_scipy("psi"),
    "igamma": _of_scipy("gammainc"), "igammac": _of_scipy("gammaincc"),
    "sigmoid": special.expit, "erf": special.erf, "erfc": special.erfc, "lgamma": _lgamma,
    **{name: getattr(np, name) for name in (
        "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "sinh", "cosh",
        "tanh", "sqrt", "floor", "ceil", "trunc")},
    "rint": lambda x: np.rint(x) if isinstance(x, np.floating) else x,
    **{f"a{name}": getattr(np, f"arc{name}")
       for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **LAPACK,
}  # fmt: skip
for _code in _STORED:
    VOCABULARY[f"pointer_{_code}"] = _pointer
    VOCABULARY[f"load_{_code}"] = _load(_code)
    VOCABULARY[f"store_{_code}"] = _store(_code)


@cache
def function(kernel: Kernel) -> Callable[[Sequence[Any], int, int, int], None]:
    """A kernel as a function of its launch's arguments, pointers and numbers."""
    if kernel.llvm:
        return _native(address_of(kernel))
    namespace = dict(VOCABULARY)
    exec(compile(kernel.text, f"<plain {kernel.name}>", "exec"), namespace)
    return namespace[kernel.name]


def _native(address: int) -> Callable[[Sequence[Any], int, int, int], None]:
    """A kernel that has no Python text: its machine code, behind an argument block of its own."""
    entry = CFUNCTYPE(None, c_void_p, c_int64, c_int64, c_int64)(address)

    def call(args: Sequence[Any], start: int, stop: int, worker: int) -> None:
        table = (c_int64 * len(args))(*(a.address if isinstance(a, Pointer) else 0 for a in args))
        block = (c_int64 * len(args))(
            *(
                addressof(table) + 8 * k if isinstance(a, Pointer) else as_word(a)
                for k, a in enumerate(args)
            )
        )
        entry(addressof(block), start, stop, worker)

    return call


def _nonsense(nbytes: int) -> np.ndarray:
    return np.full(nbytes, _NONSENSE, np.uint8)


def execute(program: Program, inputs: Sequence[np.ndarray], pieces: int = 3) -> list[np.ndarray]:
    """The outputs of the program for these inputs, which it may write to.

    Raises what a kernel reports, and MemoryError where one leaves its buffers.
    """
    status, arena = np.zeros(4, np.int64), _nonsense(program.arena_bytes)
    arrays: dict[int, np.ndarray] = {0: status, **dict(zip(program.inputs, inputs, strict=True))}
    for slot, buffer in enumerate(program.buffers):
        if buffer.kind == "arena":
            arrays[slot] = arena[buffer.offset : buffer.offset + buffer.nbytes]
        elif buffer.kind == "output":
            fresh = _nonsense(buffer.nbytes).view(buffer.dtype.storage)
            arrays[slot] = fresh.reshape(buffer.shape)
    pointers = {k: Pointer(a.ctypes.data, *byte_bounds(a)) for k, a in arrays.items()}
    with np.errstate(all="ignore"):
        for launch in program.launches:
            args = [pointers[a.index] if isinstance(a, Slot) else a for a in launch.args]
            parts = min(pieces, launch.extent) if launch.grain else 1
            for part in reversed(range(parts)):
                span = (launch.extent * part // parts, launch.extent * (part + 1) // parts)
                function(launch.kernel)(args, *span, part)
            if status[0]:
                raise fault(*(int(word) for word in status))
    return [arrays[slot] for slot in program.outputs]
