"""Element types: names, storage, promotion. Knows NumPy; knows nothing of tensors or kernels.

A DType separates how a number is stored from how it is computed with: NumPy has no bfloat16, so its
bits live in a uint16 array, and both half types are computed in float32 and rounded once on the way
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .cached import cached_property
from .quiet import quietly

_RANK = {"bool": 0, "uint": 1, "int": 1, "float": 3}


@dataclass(frozen=True, eq=False, repr=False)
class DType:
    """One element type. There is exactly one object per type, so identity is equality.

    Raises AttributeError when assigned to. The dtypes are `torch.float32`, `torch.int64`, ...

    >>> torch.float32.is_floating_point, torch.int8.itemsize, torch.zeros(2).dtype is torch.float32
    (True, 1, True)
    """

    name: str
    kind: str  # 'bool' | 'uint' | 'int' | 'float'
    bits: int
    storage: np.dtype  # of the array that holds it
    compute: np.dtype  # of the arithmetic done with it

    @cached_property
    def is_floating_point(self) -> bool:
        return self.kind == "float"

    @property
    def is_complex(self) -> bool:
        return False

    @property
    def is_signed(self) -> bool:
        return self.kind in ("int", "float")

    @cached_property
    def itemsize(self) -> int:
        return self.storage.itemsize

    @cached_property
    def is_half(self) -> bool:
        return self.kind == "float" and self.bits == 16

    def __repr__(self) -> str:
        return f"tracegrad.{self.name}"

    def __reduce__(self) -> tuple[object, ...]:
        return (named, (self.name,))

    def decode(self, array: np.ndarray) -> np.ndarray:
        """The stored `array` as numbers to compute with."""
        if self is bfloat16:
            return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return array.astype(self.compute) if self.is_half else array

    def encode(self, numbers: Any) -> np.ndarray:
        """Numbers of any type as this type stores them; rounds to nearest even."""
        array = np.asarray(numbers)
        if array.dtype is not self.compute:
            array = quietly(array.astype, self.compute, copy=False)
        if self is bfloat16:
            bits = np.ascontiguousarray(array).view(np.uint32)
            rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
            quiet = np.where(np.isnan(array), np.uint32(0x7FC00000), rounded)
            return (quiet >> np.uint32(16)).astype(np.uint16).reshape(np.shape(array))
        return quietly(array.astype, self.storage) if self.is_half else array


def _dtype(name: str, kind: str, bits: int, storage: str, compute: str | None = None) -> DType:
    return DType(name, kind, bits, np.dtype(storage), np.dtype(compute or storage))


float64 = _dtype("float64", "float", 64, "f8")
float32 = _dtype("float32", "float", 32, "f4")
float16 = _dtype("float16", "float", 16, "f2", "f4")
bfloat16 = _dtype("bfloat16", "float", 16, "u2", "f4")
int64 = _dtype("int64", "int", 64, "i8")
int32 = _dtype("int32", "int", 32, "i4")
int16 = _dtype("int16", "int", 16, "i2")
int8 = _dtype("int8", "int", 8, "i1")
uint8 = _dtype("uint8", "uint", 8, "u1")
bool_ = _dtype("bool", "bool", 8, "?")

ALL = (float64, float32, float16, bfloat16, int64, int32, int16, int8, uint8, bool_)
_NAMES = {d.name: d for d in ALL}
_NUMPY = {d.storage: d for d in ALL if d is not bfloat16}


def named(name: str) -> DType:
    return _NAMES[name]


def of_numpy(dtype: np.dtype) -> DType:
    """The DType of a NumPy dtype. Raises TypeError for one that tensors cannot hold."""
    converted = _NUMPY.get(np.dtype(dtype).newbyteorder("="))
    if converted is None:
        held = ", ".join(d.name for d in ALL if d is not bfloat16)
        raise TypeError(
            f"can't convert np.ndarray of type {dtype}; the supported types are: {held}"
        )
    return converted


def of_scalar(value: bool | int | float, default: DType = float32) -> DType:
    """The type that a Python number stands for where nothing else decides."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    return int64 if isinstance(value, (int, np.integer)) else default


@cache
def promote(a: DType, b: DType) -> DType:
    """The smallest type that holds both, as torch.promote_types has it (int with float gives that
    float).
    """
    if a is b:
        return a
    if _RANK[a.kind] != _RANK[b.kind]:
        return a if _RANK[a.kind] > _RANK[b.kind] else b
    if a.kind == b.kind:
        if a.bits == b.bits:  # float16 with bfloat16
            return float32
        return a if a.bits > b.bits else b
    signed = a if a.kind == "int" else b  # uint8 with a signed integer
    return signed if signed.bits > 8 else int16
