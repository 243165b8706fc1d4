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


def _of(dtype: DType, name: str) -> _OfOneType:
    doc = (
        f"{dtype} tensors by torch's old name: of data or of a size.\n\n"
        f"Shape: that of the data, or the numbers. Raises TypeError for other arguments.\n\n"
        f">>> isinstance(torch.{name}([1, 0]), torch.{name}), torch.{name}(2, 3).dtype\n"
        f"(True, {dtype!r})\n"
    )
    return _OfOneType(name, (), {"dtype": dtype, "__module__": "tracegrad", "__doc__": doc})


TYPES = {f"{name}Tensor": _of(dtype, f"{name}Tensor") for dtype, name in SCALAR_TYPE.items()}
