"""The builtins of kernels on a GPU that read and write memory, as device functions: the argument
block, buffers, checks; and half types, which are float32 in registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types

from . import memory, numba_cuda
from .builtins import KINDS
from .numba_cuda import device

cuda = numba_cuda.cuda()
libdevice, extending = cuda.libdevice, cuda.extending


# ---- half types
@device
def widened_half(bits: Any) -> Any:
    return libdevice.half2float(bits)


@device
def half(x: Any) -> Any:
    return libdevice.float2half_rn(np.float32(x))


@device
def widened_bfloat(bits: Any) -> Any:
    return libdevice.int_as_float(np.int32(np.int32(bits) << 16))


@device
def bfloat(x: Any) -> Any:
    """The upper half of a float32, rounded to nearest, ties to even."""
    word = np.int64(libdevice.float_as_int(np.float32(x)))
    rounded = (word + 0x7FFF + ((word >> 16) & 1)) >> 16
    return np.int16(rounded if x == x else 0x7FC0)


# ---- memory
_STORED = {
    "f8": types.float64, "f4": types.float32, "i8": types.int64, "i4": types.int32,
    "i2": types.int16, "i1": types.int8, "u1": types.uint8,
}
_LOADS = {code: memory.load_of(extending, types, kind) for code, kind in _STORED.items()}
_STORES = {code: memory.store_of(extending, types, kind) for code, kind in _STORED.items()}
_claim = memory.claim_of(extending, types)
load_word, store_word = _LOADS["i8"], _STORES["i8"]
# code -> what it is in memory, how it is read and how it is written
_PACKED: dict[str, tuple[str, Any, Any]] = {
    "f2": ("i2", widened_half, half), "bf": ("i2", widened_bfloat, bfloat),
    "b1": ("u1", device(lambda x: x != 0), device(lambda x: np.uint8(1 if x else 0))),
}


def _load_of(code: str) -> Any:
    stored, unpack, _ = _PACKED.get(code, (code, None, None))
    load = _LOADS[stored]
    if unpack is None:
        return device(lambda pointer, position, scope: load(pointer, position))
    return device(lambda pointer, position, scope: unpack(load(pointer, position)))


def _store_of(code: str) -> Any:
    stored, _, pack = _PACKED.get(code, (code, None, None))
    store = _STORES[stored]
    if pack is None:
        kind = KINDS[code]
        return device(
            lambda pointer, position, value, scope: store(pointer, position, kind(value))
        )
    return device(lambda pointer, position, value, scope: store(pointer, position, pack(value)))


def _load4_of(code: str) -> Any:
    stored, unpack, _ = _PACKED.get(code, (code, None, None))
    load = memory.load4_of(extending, types, _STORED[stored])
    if unpack is None:
        return device(lambda pointer, position, scope: load(pointer, position))

    @device
    def load4(pointer: Any, position: Any, scope: Any) -> Any:
        a, b, c, d = load(pointer, position)
        return unpack(a), unpack(b), unpack(c), unpack(d)

    return load4


def _store4_of(code: str) -> Any:
    stored, _, pack = _PACKED.get(code, (code, None, KINDS.get(code)))
    store = memory.store4_of(extending, types, _STORED[stored])

    @device
    def store4(pointer: Any, position: Any, a: Any, b: Any, c: Any, d: Any, scope: Any) -> None:
        store(pointer, position, pack(a), pack(b), pack(c), pack(d))

    return store4


@device
def extent(args: Any, k: Any) -> Any:
    return load_word(args, k)


@device
def number(args: Any, k: Any) -> Any:
    return libdevice.longlong_as_double(load_word(args, k))


@device
def pointer(args: Any, k: Any) -> Any:
    """The argument is the address of a table entry; the entry is the pointer."""
    return load_word(load_word(args, k), 0)


@device
def report(status: Any, least: Any, most: Any, size: Any, dim: Any) -> None:
    low = 0 if dim < 0 else -size
    if most >= size or least < low:
        if _claim(status):
            store_word(status, 1, np.int64(most if most >= size else least))
            store_word(status, 2, np.int64(size))
            store_word(status, 3, np.int64(dim))


# ---- checks
@device
def within(index: Any, size: Any, dim: Any) -> Any:
    low = 0 if dim < 0 else -size
    at = index + size if index < 0 else index
    return type(index)(at if index >= low and index < size else 0)


MEMORY: dict[str, Any] = {
    "extent": extent, "number": number, "within": within, "report": report,
    "aligned": device(lambda pointer, nbytes: pointer & (nbytes - 1) == 0),
    **{f"pointer_{code}": pointer for code in (*_STORED, *_PACKED)},
    **{f"load_{code}": _load_of(code) for code in (*_STORED, *_PACKED)},
    **{f"load4_{code}": _load4_of(code) for code in (*_STORED, *_PACKED)},
    **{f"store_{code}": _store_of(code) for code in (*_STORED, *_PACKED)},
    **{f"store4_{code}": _store4_of(code) for code in (*_STORED, *_PACKED)},
}
