"""Tensors and dtypes: extents, memory, kind, limits. Only `is_nonzero` looks at an element."""

from __future__ import annotations

import math
from typing import Any

from ...ir.node import user_site
from ...tracer.mode import mode, resolve
from ...tracer.tensor.device_memory import address, placement
from ...tracer.tensor.memory_order import strides_of
from ...tracer.tensor.promotion import as_dtype
from ...tracer.tensor.tensor import Tensor
from ...tracer.tensor.views import base_and_path, memory_offset

__all__ = [
    "finfo", "get_device", "iinfo", "is_complex", "is_conj", "is_floating_point",
    "is_inference", "is_neg", "is_nonzero", "is_same_size", "is_signed", "is_tensor", "numel",
]


def _size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or one extent.

    Raises IndexError for a dimension out of range. Shape: any -> a Size, or an int.

    >>> torch.ones(2, 3).size(), torch.ones(2, 3).size(1)
    (tracegrad.Size([2, 3]), 3)
    """
    if dim is None:
        return self.shape
    span = self.ndim or 1
    if not -span <= dim < span:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got "
            f"{dim})"
        )
    return self.shape[dim]


def numel(input: Tensor) -> int:
    """The number of elements.

    Shape: any -> an int. Raises TypeError without a tensor.

    >>> torch.ones(2, 3).numel()
    6
    """
    return input.shape.numel()


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor.

    >>> torch.is_tensor(torch.tensor(1)), torch.is_tensor(1)
    (True, False)
    """
    return isinstance(obj, Tensor)


def dim(self: Tensor) -> int:
    """The number of dimensions.

    Shape: any -> an int. Raises TypeError without a tensor.

    >>> torch.ones(2, 3).dim()
    2
    """
    return self.ndim


def stride(self: Tensor, dim: int | None = None) -> Any:
    """How many elements of memory lie between neighbours, along each dimension.

    Shape: any -> an int for each dimension, or that of `dim`. Raises IndexError for a dimension out
    of range.

    >>> torch.ones(2, 3).stride()
    (3, 1)
    """
    strides = tuple(strides_of(resolve(self)))
    return strides if dim is None else strides[dim]


def element_size(self: Tensor) -> int:
    """The bytes of one element."""
    return self.dtype.itemsize


def data_ptr(self: Tensor) -> int:
    """The address of the first element."""
    return address(values_array(self))


def values_array(self: Tensor) -> Any:
    t = resolve(self)
    if t._array is None:
        raise RuntimeError(
            "a traced tensor has no memory yet: data_ptr() is not known while a function is "
            f"compiled (line {user_site()})"
        )
    return t._array


def storage_offset(self: Tensor) -> int:
    """Where in its memory the first element lies."""
    t = resolve(self)
    offset, root = memory_offset(t), resolve(base_and_path(t)[0])
    if mode.trace is not None and (outside := mode.trace.original(root)) is not None:
        begin = memory_offset(outside)
        mode.trace.guard_attribute(root, "offset", begin)
        return offset + begin
    return offset


def get_device(self: Tensor) -> int:
    """The number of the GPU that the tensor is on, -1 for the CPU.

    >>> torch.get_device(torch.zeros(1))
    -1
    """
    where = self.device
    return -1 if where.type == "cpu" else where.index or 0


def _is_view(self: Tensor) -> bool:
    return resolve(self)._view is not None


def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers.

    >>> torch.is_signed(torch.tensor([1], dtype=torch.uint8))
    False
    """
    return input.dtype.is_signed


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape.

    >>> torch.is_same_size(torch.ones(2), torch.ones(3))
    False
    """
    return tuple(input.shape) == tuple(other.shape)


def is_inference(input: Tensor) -> bool:
    """False: tensors made in `inference_mode` are ordinary ones.

    >>> torch.is_inference(torch.zeros(1))
    False
    """
    return False


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether two tensors are the same elements of the same memory."""
    a, b = (values_array(t) for t in (self, tensor))
    return placement(a) == placement(b)


def dim_order(self: Tensor) -> tuple[int, ...]:
    """The dimensions, from the one whose neighbours lie farthest apart to the closest."""
    strides = strides_of(resolve(self))
    return tuple(sorted(range(len(strides)), key=lambda d: -strides[d]))


is_conj = is_neg = is_inference
ndimension, nelement = dim, numel


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating point type.

    >>> torch.is_floating_point(torch.tensor([1.0])), torch.is_floating_point(torch.tensor([1]))
    (True, False)
    """
    return input.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is a complex type.

    False: there are no complex tensors.

    >>> torch.is_complex(torch.tensor([1.0]))
    False
    """
    return False


def is_nonzero(input: Tensor) -> bool:
    """The truth of a tensor of one element.

    Raises RuntimeError for a tensor of more elements, or of none.

    >>> torch.is_nonzero(torch.tensor([2]))
    True
    """
    return bool(input)


# ---- the limits of dtypes
class finfo:
    """The limits of a floating point type.

    `eps`, `max`, `min`, `tiny`, `bits` and others. Raises TypeError for other types.

    >>> torch.finfo(torch.float32).max
    3.4028234663852886e+38
    """

    def __init__(self, type: Any = None):
        d = as_dtype(float if type is None else type)
        if not d.is_floating_point:
            raise TypeError(f"finfo expects a floating point type, got {d}; use iinfo for integers")
        digits, exponent = {
            "float64": (52, 1023),
            "float32": (23, 127),
            "float16": (10, 15),
            "bfloat16": (7, 127),
        }[d.name]
        self.bits, self.dtype = d.bits, d.name
        self.eps, self.max = 2.0**-digits, (2 - 2.0**-digits) * 2.0**exponent
        self.min, self.tiny = -self.max, 2.0 ** (1 - exponent)
        self.smallest_normal, self.resolution = (
            self.tiny,
            10.0 ** -math.floor(digits * math.log10(2)),
        )


class iinfo:
    """The limits of an integer type.

    `max`, `min` and `bits`. Raises TypeError for other types.

    >>> torch.iinfo(torch.int8).max
    127
    """

    def __init__(self, type: Any):
        d = as_dtype(type)
        if d.kind not in ("int", "uint"):
            raise TypeError(
                f"iinfo expects an integer type, got {d}; use finfo for floating point types"
            )
        self.bits, self.dtype = d.bits, d.name
        self.min = -(2 ** (d.bits - 1)) if d.kind == "int" else 0
        self.max = 2 ** (d.bits - (d.kind == "int")) - 1
