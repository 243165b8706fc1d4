"""The dtypes of torch that no tensor here has: packages compare with them and list their sizes.

They are equal to no dtype of a tensor, and nothing can be made with them.
"""

from __future__ import annotations

_SIZES = {
    "complex32": 4, "complex64": 8, "complex128": 16, "float8_e4m3fn": 1, "float8_e4m3fnuz": 1,
    "float8_e5m2": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1,
    "uint16": 2, "uint32": 4, "uint64": 8,
}


class UnsupportedDType:
    """A dtype that no tensor has."""

    def __init__(self, name: str, itemsize: int):
        self.name, self.itemsize = name, itemsize

    @property
    def is_complex(self) -> bool:
        return self.name.startswith("complex")

    @property
    def is_floating_point(self) -> bool:
        return self.name.startswith("float")

    @property
    def is_signed(self) -> bool:
        return not self.name.startswith("uint")

    def __repr__(self) -> str:
        return f"tracegrad.{self.name}"


globals().update({name: UnsupportedDType(name, size) for name, size in _SIZES.items()})
chalf, cfloat, cdouble = (globals()[f"complex{bits}"] for bits in (32, 64, 128))
