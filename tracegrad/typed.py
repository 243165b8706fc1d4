"""`FloatTensor`, `LongTensor`, ...: torch's old names for tensors of one dtype. Calling one makes a
tensor of data or of a size, `isinstance` asks for the dtype, and `x.type(LongTensor)` converts.
"""

from __future__ import annotations

from typing import Any

from .functions.tensors.creation import empty, tensor as from_data
from .ir.dtype import DType
from .tracer.tensor.promotion import SCALAR_TYPE
from .tracer.tensor.tensor import Size, Tensor


class _OfOneType(type):
    dtype: DType

    def __call__(cls, *args: Any) -> Tensor:
        if len(args) == 1 and not isinstance(args[0], (int, Size)):
            return from_data(args[0], dtype=cls.dtype)
        return empty(*(args or (0,)), dtype=cls.dtype)

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dtype is cls.dtype


TYPES = {
    f"{name}Tensor": _OfOneType(f"{name}Tensor", (), {"dtype": dtype, "__module__": "tracegrad"})
    for dtype, name in SCALAR_TYPE.items()
}
