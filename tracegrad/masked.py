"""torch.masked: functions of the elements where a mask is True.

The other elements are replaced by the neutral element of the function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .functions import namespace as all_
from .functions.arguments import refuse
from .functions.torch.reduction_statistics import vector_norm
from .ir.dtype import bool_
from .ir.ops import elementwise as ops
from .nn import functional as F
from .tracer.tensor.promotion import SCALAR_TYPE, as_dtype
from .tracer.tensor.tensor import Tensor


def _where(mask: Tensor | None, x: Tensor, other: Any) -> Tensor:
    if mask is None:
        return x
    if mask.ndim > x.ndim:
        raise IndexError(
            "_input_mask expected broadcastable mask (got mask dimensionality higher than of the "
            "input)"
        )
    if isinstance(other, float) and math.isinf(other) and not x.dtype.is_floating_point:
        info = all_.iinfo(x.dtype)
        other = info.max if other > 0 else info.min
    return ops.where(mask.bool().expand(x.shape), x, other)


def _to(x: Tensor, dtype: Any) -> Tensor:
    return x if dtype is None else x.to(as_dtype(dtype))


_SHAPES = {
    "reduction": "(*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1",
    "scan": "(*) -> (*)",
}


def _document(function: Any, name: str, kind: str, result: str) -> None:
    """The documentation, with the example of the vector (1, 2, 3) without its 2."""
    along = ", 0" if kind == "scan" else ""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""`{name}` of the elements where the mask is True; all of them without one.

    Shape: {_SHAPES[kind]}. The mask broadcasts to the input.
    Dtype: as of `torch.{name}`, after input is cast to `dtype`; of positions, that of input.
    Raises IndexError for a dimension out of range, or a mask of more dimensions than input.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.{name}(x{along}, mask=mask)
    {result}
    """


def _reduction(name: str, neutral: Any, result: str) -> Callable:
    function = getattr(all_, name)

    def reduction(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
                  mask: Tensor | None = None) -> Tensor:
        x = _where(mask, _to(input, dtype), neutral)
        dim = None if dim == () else dim
        if isinstance(dim, (tuple, list)) and name == "prod":
            for d in sorted((d % x.ndim for d in dim), reverse=True):
                x = function(x, d, keepdim)
            return x
        if dim is None and keepdim and name == "prod":
            return function(x).reshape((1,) * x.ndim)
        every = tuple(range(x.ndim)) if dim is None and name in ("amax", "amin") else dim
        y = function(x, every, keepdim)
        return y.to(x.dtype) if name in ("argmax", "argmin") else y  # as in torch

    _document(reduction, name, "reduction", result)
    return reduction


def _scan(function: Callable, name: str, neutral: Any, result: str) -> Callable:
    def scan(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
        x = _to(input, dtype)
        if x.dtype is bool_:
            raise refuse(f"{name}_out_cpu", bool_)
        y = function(_where(mask, x, neutral), dim)
        return y if x.is_floating_point() else y.to(x.dtype)

    _document(scan, name, "scan", result)
    return scan


sum = _reduction("sum", 0, "tensor(4.)")
prod = _reduction("prod", 1, "tensor(3.)")
amax = _reduction("amax", -math.inf, "tensor(3.)")
amin = _reduction("amin", math.inf, "tensor(1.)")
argmax = _reduction("argmax", -math.inf, "tensor(2.)")
argmin = _reduction("argmin", math.inf, "tensor(0.)")
cumsum = _scan(all_.cumsum, "cumsum", 0, "tensor([1., 1., 4.])")
cumprod = _scan(all_.cumprod, "cumprod", 1, "tensor([1., 1., 3.])")
softmax = _scan(all_.softmax, "softmax", -math.inf, "tensor([0.1192, 0.0000, 0.8808])")
log_softmax = _scan(
    all_.log_softmax, "log_softmax", -math.inf, "tensor([-2.1269,    -inf, -0.1269])"
)
softmin = _scan(F.softmin, "softmin", math.inf, "tensor([0.8808, 0.0000, 0.1192])")


def _count(x: Tensor, dim: Any, keepdim: bool, mask: Tensor | None) -> Tensor:
    return sum(x.detach() * 0 + 1 if mask is None else _where(mask, x.new_ones(x.shape), 0),
               dim, keepdim=keepdim)


def mean(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
         mask: Tensor | None = None) -> Tensor:
    """The mean of the elements where the mask is True.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, or `dtype`.
    Raises ValueError if the dtype, or `dtype`, is not floating point.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.mean(x, mask=mask)
    tensor(2.)
    """
    x = _to(input, dtype)
    if not x.is_floating_point():
        raise ValueError(
            "mean(): Could not infer output dtype. Input dtype must be either a floating point or "
            f"complex dtype. Got: {SCALAR_TYPE[x.dtype]}"
        )
    if mask is None:
        return all_.mean(x, dim, keepdim)
    return sum(x, dim, keepdim=keepdim, mask=mask) / _count(x, dim, keepdim, mask)


def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None,
           mask: Tensor | None = None) -> Tensor:
    """The median of the elements where the mask is True.

    Shape: (*) -> without `dim`; `keepdim` leaves it with extent 1.
    Dtype: that of input, or `dtype`.
    Raises IndexError for a dimension out of range.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.median(x, mask=mask)
    tensor(1.)
    """
    x = _to(input, dtype)
    if not x.is_floating_point():
        return all_.median(x, dim, keepdim).values
    return all_.nanmedian(_where(mask, x, math.nan), dim, keepdim).values


def logsumexp(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
              mask: Tensor | None = None) -> Tensor:
    """log(sum(exp(input))) over the elements where the mask is True.

    Shape: (*) -> without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, or `dtype`.
    Raises IndexError for a dimension out of range.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.logsumexp(x, 0, mask=mask)
    tensor(3.1269)
    """
    return all_.logsumexp(_where(mask, _to(input, dtype), -math.inf), dim, keepdim)


def logaddexp(input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Tensor | None = None,
              other_mask: Tensor | None = None) -> Tensor:
    """log(exp(input) + exp(other)), each where its mask is True.

    Shape: two that broadcast -> the shape to which they do.
    Dtype: that of input, or `dtype`.
    Raises NotImplementedError for integers.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.logaddexp(x, x, input_mask=mask)
    tensor([1.6931, 2.0000, 3.6931])
    """
    a = _where(input_mask, _to(input, dtype), -math.inf)
    return all_.logaddexp(a, _where(other_mask, _to(other, dtype), -math.inf))


def norm(input: Tensor, ord: float | None = 2.0, dim: Any = None, *, keepdim: bool = False,
         dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The norm of the elements where the mask is True.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, or `dtype`.
    Raises RuntimeError for integers.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.norm(x, mask=mask)
    tensor(3.1623)
    """
    p = 2.0 if ord is None else ord
    x = _where(mask, _to(input, dtype), math.inf if p < 0 else 0)
    return vector_norm(x, p, dim, keepdim)


def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None,
              mask: Tensor | None = None) -> Tensor:
    """The elements where the mask is True, divided by their norm.

    Shape: (*) -> (*).
    Dtype: that of input, or `dtype`.
    Raises IndexError for a dimension out of range.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.normalize(x, 2.0, 0, mask=mask)
    tensor([0.3162, 0.0000, 0.9487])
    """
    x = _to(input, dtype)
    length = norm(x, ord, dim, keepdim=True, mask=mask)
    return _where(mask, x, 0) / ops.maximum(length, eps)


def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None,
    keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None,
) -> Tensor:
    """The variance of the elements where the mask is True.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, or `dtype`.
    `correction` is taken off the number of elements, 1 by default. Raises IndexError for a
    dimension out of range.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.var(x, mask=mask)
    tensor(2.)
    """
    if unbiased is not None:
        correction = int(unbiased)
    correction = 1 if correction is None else correction
    x = _to(input, dtype)
    count = _count(x, dim, True, mask)
    deviation = x - sum(x, dim, keepdim=True, mask=mask) / count
    divisor = _count(x, dim, keepdim, mask) - correction
    return sum(deviation * deviation, dim, keepdim=keepdim, mask=mask) / all_.clamp_min(divisor, 0)


def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None,
    keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None,
) -> Tensor:
    """The standard deviation of the elements where the mask is True.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, or `dtype`.
    `correction` is taken off the number of elements, 1 by default. Raises IndexError for a
    dimension out of range.

    >>> x, mask = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    >>> torch.masked.std(x, mask=mask)
    tensor(1.4142)
    """
    spread = var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype,
                 mask=mask)
    return ops.sqrt(spread)


__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp",
    "logsumexp", "mean", "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum",
    "var",
]
