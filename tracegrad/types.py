"""torch.types and torch.nn.common_types: names for annotations."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Union

from .ir.dtype import DType
from .tracer.tensor.device import device
from .tracer.tensor.tensor import Size, Tensor

_bool, _bytes, _complex, _float, _int, _str = bool, bytes, complex, float, int, str
_dtype, _device = DType, device
Number = int | float | bool
_Number = (int, float, bool)
Device = device | str | int | None
FileLike = str | os.PathLike
MAP_LOCATION = Union[Callable, device, str, dict[str, str], None]  # noqa: UP007
_size = Size | list[int] | tuple[int, ...]
_TensorOrTensors = Tensor | Sequence[Tensor]

_T = TypeVar("_T")
_scalar_or_tuple_any_t = Union[_T, tuple[_T, ...]]  # noqa: UP007  # with a parameter
_scalar_or_tuple_2_t = Union[_T, tuple[_T, _T]]  # noqa: UP007
_maybe_indices_t = _scalar_or_tuple_2_t[Tensor]
_size_any_t = int | tuple[int, ...]
_ratio_any_t = float | tuple[float, ...]
_tensor_list_t = Tensor | list[Tensor]


def _of_numbers(kind: Any, count: int) -> Any:
    one_each: Any = (kind,) * count
    return kind | tuple.__class_getitem__(one_each)


_size_1_t, _size_2_t, _size_3_t, _size_4_t, _size_5_t, _size_6_t = (
    _of_numbers(int, n) for n in range(1, 7)
)
_ratio_2_t, _ratio_3_t = _of_numbers(float, 2), _of_numbers(float, 3)
