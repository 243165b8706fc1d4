"""Questions about numbers, whose answers are bool."""

from __future__ import annotations

import math

from ...ir.ops import elementwise as ops
from ...tracer.tensor.tensor import Tensor

__all__ = [
    "allclose", "equal", "is_complex", "is_floating_point", "is_nonzero", "isclose", "isfinite",
    "isinf", "isneginf", "isposinf", "isreal", "signbit",
]


def isinf(input: Tensor) -> Tensor:
    """True for the infinities.

    Shape: (*) -> (*). Dtype: bool. Raises TypeError without a tensor.

    >>> torch.isinf(torch.tensor([1.0, float("inf"), float("nan")]))
    tensor([False,  True, False])
    """
    return ops.eq(ops.abs(input), math.inf) if input.is_floating_point() else ops.ne(input, input)


def isfinite(input: Tensor) -> Tensor:
    """True for neither an infinity nor NaN.

    Shape: (*) -> (*). Dtype: bool. Raises TypeError without a tensor.

    >>> torch.isfinite(torch.tensor([1.0, float("inf"), float("nan")]))
    tensor([ True, False, False])
    """
    return ops.lt(ops.abs(input), math.inf) if input.is_floating_point() else ops.eq(input, input)


def isposinf(input: Tensor) -> Tensor:
    """True for positive infinity."""
    return ops.eq(input, math.inf) if input.is_floating_point() else ops.ne(input, input)


def isneginf(input: Tensor) -> Tensor:
    """True for negative infinity."""
    return ops.eq(input, -math.inf) if input.is_floating_point() else ops.ne(input, input)


def isreal(input: Tensor) -> Tensor:
    """True everywhere: there are no complex tensors."""
    return ops.logical_or(ops.eq(input, input), True)


def signbit(input: Tensor) -> Tensor:
    """True where the sign is minus, as it is of -0.0."""
    return ops.lt(ops.copysign(1.0, input) if input.is_floating_point() else input, 0)


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|.

    Shape: two that broadcast -> the shape to which they do. Dtype: bool.
    Raises RuntimeError if the dtypes differ or the shapes do not broadcast.

    >>> torch.isclose(torch.tensor([1.0, 2.0]), torch.tensor([1.0 + 1e-7, 2.1]))
    tensor([ True, False])
    """
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    near = ops.eq(input, other)
    if input.is_floating_point():
        near = near | (
            isfinite(other) & ops.le(ops.abs(input - other), atol + rtol * ops.abs(other))
        )
    elif input.dtype.kind != "bool":
        a, b = input.double(), other.double()
        near = near | ops.le(ops.abs(a - b), atol + rtol * ops.abs(b))
    return near | (ops.isnan(input) & ops.isnan(other)) if equal_nan else near


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close.

    Shape: two that broadcast -> a bool of Python. NaN is close to NaN only with `equal_nan`.
    Raises RuntimeError if the dtypes differ or the shapes do not broadcast.

    >>> torch.allclose(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are equal.

    Shape: any two -> a bool of Python. NaN is not equal to itself.
    Raises TypeError if an argument is no tensor.

    >>> torch.equal(torch.tensor([1, 2]), torch.tensor([1, 2]))
    True
    """
    return tuple(input.shape) == tuple(other.shape) and bool(ops.eq(input, other).all())


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating point type."""
    return input.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is a complex type."""
    return False


def is_nonzero(input: Tensor) -> bool:
    """The truth of a tensor of one element."""
    return bool(input)
