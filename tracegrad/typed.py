"""`FloatTensor`, `LongTensor`, ...: torch's old classes for tensors of one dtype.

A call makes a tensor from data or of a size, `isinstance` tests the dtype, and `x.type(LongTensor)`
converts.
"""

from __future__ import annotations

from typing import Any

from .functions.torch.creation import empty, tensor as from_data
from .ir.dtype import DType
from .tracer.tensor.promotion import SCALAR_TYPE
from .tracer.tensor.tensor import Size, Tensor


class _TypedTensor(type):
    dtype: DType

    def __call__(cls, *args: Any) -> Tensor:
        if len(args) == 1 and not isinstance(args[0], (int, Size)):
            return from_data(args[0], dtype=cls.dtype)
        return empty(*(args or (0,)), dtype=cls.dtype)

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dtype is cls.dtype


def _typed_tensor(dtype: DType, name: str) -> _TypedTensor:
    doc = (
        f"{dtype} tensors by torch's old name: of data or of a size.\n\n"
        "Shape: that of the data, or the numbers. Raises TypeError for other arguments.\n\n"
        f">>> isinstance(torch.{name}([1, 0]), torch.{name}), torch.{name}(2, 3).dtype\n"
        f"(True, {dtype!r})\n"
    )
    return _TypedTensor(name, (), {"dtype": dtype, "__module__": "tracegrad", "__doc__": doc})


TYPES = {
    f"{name}Tensor": _typed_tensor(dtype, f"{name}Tensor") for dtype, name in SCALAR_TYPE.items()
}
