"""The builtins of kernel source in plain Python, on NumPy scalars over raw memory: what each means,
without Numba. Every access is checked against the buffer it goes to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import c_int64, c_ubyte, memmove
from typing import Any, NamedTuple

import numpy as np
import scipy

from ...ir.dtype import DType, bfloat16
from .special import hurwitz

STORED = {
    "f8": np.float64, "f4": np.float32, "f2": np.float16, "bf": np.uint16, "b1": np.bool_,
    "i8": np.int64, "i4": np.int32, "i2": np.int16, "i1": np.int8, "u1": np.uint8,
}


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


def pointer(args: Sequence[Any], k: int) -> Pointer:
    return args[k]


def load_of(code: str) -> Callable[[Pointer, int, int], Any]:
    dtype = np.dtype(STORED[code])

    def load(pointer: Pointer, position: int, scope: int) -> Any:
        raw = (c_ubyte * dtype.itemsize).from_address(pointer.cell(position, dtype.itemsize))
        if code == "b1":
            return np.bool_(raw[0] != 0)
        value = np.frombuffer(bytes(raw), dtype)[0]
        if code == "bf":
            return bfloat16.decode(value)
        return np.float32(value) if code == "f2" else value

    return load


def store_of(code: str) -> Callable[[Pointer, int, Any, int], None]:
    dtype = np.dtype(STORED[code])

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


def modulo(a: Any, b: Any) -> Any:
    y = np.remainder(a, b)
    return np.copysign(y, a) if y == 0 and y.dtype.kind == "f" else y


def power(a: Any, b: Any) -> Any:
    return np.power([a], [b])[0]  # of a number alone NumPy takes the root, NaN for -inf ** 0.5


def lgamma(x: Any) -> Any:
    return scipy.special.gammaln(np.abs(x) if np.isinf(x) else x)


def erfinv(x: Any) -> Any:
    return np.copysign(scipy.special.erfinv(x), x)


def of_scipy(name: str) -> Callable[..., Any]:
    # `scipy.special` is loaded when it is first used
    return lambda *x: x[-1].dtype.type(getattr(scipy.special, name)(*x))


def sign(x: Any) -> Any:
    return type(x)(0) if x != x else np.sign(x)


def rint(x: Any) -> Any:
    return np.rint(x) if isinstance(x, np.floating) else x


def exponent(x: Any) -> Any:
    return np.frexp(x)[1] if np.isfinite(x) else 0


def ldexp(x: Any, k: Any) -> Any:
    return k if k != k else np.ldexp(x, np.int32(min(max(k, -4000), 4000)))


def zeta(s: Any, q: Any) -> Any:
    return q.dtype.type(hurwitz(np.float64(s), np.float64(q)))


def bits(x: Any, like: Any) -> Any:
    return np.asarray(x).view(type(like))[()]


def rounded_to(dtype: DType) -> Callable[[Any], Any]:
    return lambda x: dtype.decode(dtype.encode(x))[()]


def apart(x: Any, start: Any) -> Any:
    return x


def number_of(code: str) -> Callable[[Any], Any]:
    return lambda value: np.asarray(value).astype(STORED[code])[()]
