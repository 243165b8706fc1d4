"""Numbers that scale an operand, `alpha`, `beta` and `value`: which torch takes for which dtype."""

from __future__ import annotations

from typing import Any

from ...ir.dtype import DType, bool_, float32
from ...ir.ops import elementwise as ops
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.promotion import SCALAR_TYPE, checked_number, common_dtype
from ...tracer.tensor.tensor import Tensor
from .upcast import rounded_once


def refuse(kernel: str, dtype: DType) -> NotImplementedError:
    """torch's error for a dtype that a function does not take."""
    return NotImplementedError(f"\"{kernel}\" not implemented for '{SCALAR_TYPE[dtype]}'")


def floats_only(kernel: str, *operands: Tensor) -> None:
    """Raise torch's error for what a function of floating point numbers does not take."""
    dtype = common_dtype(operands)
    if dtype.kind != "float":
        raise refuse(kernel, dtype)


def no_bools(kernel: str, *operands: Any) -> None:
    """The same of a function that takes all dtypes but bool."""
    if common_dtype(operands) is bool_:
        raise refuse(kernel, bool_)


def as_factor(value: Any, dtype: DType) -> Any:
    """A factor of numbers of this dtype, if it fits; halves are scaled as float32, and a factor of
    integers is cut off.
    """
    if isinstance(value, Tensor):
        return value
    factor = checked_number(value, float32 if dtype.is_half else dtype)
    return factor if dtype.kind == "float" else number(factor, dtype)


def check_alpha(alpha: Any, dtype: DType) -> None:
    """Raise what torch raises for a factor that does not go with this dtype."""
    if isinstance(alpha, bool) and dtype is not bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    kind = alpha.dtype.kind if isinstance(alpha, Tensor) else type(alpha).__name__
    if kind == "float" and dtype.kind != "float":
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    if not isinstance(alpha, Tensor):
        checked_number(alpha, dtype)


def times(x: Tensor, alpha: Any) -> Tensor:
    """x * alpha, in x's dtype."""
    if x.dtype is bool_:
        return ops.logical_and(x, alpha)
    if not isinstance(alpha, Tensor):
        alpha = checked_number(alpha, x.dtype)
    return x * as_factor(alpha, x.dtype)


def plus(a: Any, b: Any, alpha: Any) -> Tensor:
    """a + alpha * b, in the dtype that a and b have together."""
    dtype = common_dtype((a, b))
    check_alpha(alpha, dtype)
    if dtype is bool_:
        return ops.logical_or(a, ops.logical_and(b, alpha))
    if dtype.is_half:  # torch rounds alpha, and then the answer
        alpha = alpha.to(dtype) if isinstance(alpha, Tensor) else number(alpha, dtype)
    a, b = (x.to(dtype) if isinstance(x, Tensor) else number(x, dtype) for x in (a, b))
    return _beside(a, b, as_factor(alpha, dtype))


@rounded_once
def _beside(a: Tensor, b: Tensor, alpha: Any) -> Tensor:
    return ops.add(a, b * alpha)
