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


def _reduction(name: str, neutral: Any) -> Callable:
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

    reduction.__name__ = reduction.__qualname__ = name
    reduction.__doc__ = f"`{name}` of the elements where the mask is True."
    return reduction


def _scan(function: Callable, name: str, neutral: Any) -> Callable:
    def scan(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
        x = _to(input, dtype)
        if x.dtype is bool_:
            raise refuse(f"{name}_out_cpu", bool_)
        y = function(_where(mask, x, neutral), dim)
        return y if x.is_floating_point() else y.to(x.dtype)

    scan.__name__ = scan.__qualname__ = name
    scan.__doc__ = f"`{name}` of the elements where the mask is True."
    return scan


sum = _reduction("sum", 0)
prod = _reduction("prod", 1)
amax = _reduction("amax", -math.inf)
amin = _reduction("amin", math.inf)
argmax = _reduction("argmax", -math.inf)
argmin = _reduction("argmin", math.inf)
cumsum = _scan(all_.cumsum, "cumsum", 0)
cumprod = _scan(all_.cumprod, "cumprod", 1)
softmax = _scan(all_.softmax, "softmax", -math.inf)
log_softmax = _scan(all_.log_softmax, "log_softmax", -math.inf)
softmin = _scan(F.softmin, "softmin", math.inf)


def _count(x: Tensor, dim: Any, keepdim: bool, mask: Tensor | None) -> Tensor:
    return sum(x.detach() * 0 + 1 if mask is None else _where(mask, x.new_ones(x.shape), 0),
               dim, keepdim=keepdim)


def mean(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
         mask: Tensor | None = None) -> Tensor:
    """The mean of the elements where the mask is True."""
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
    """The median of the elements where the mask is True."""
    x = _to(input, dtype)
    if not x.is_floating_point():
        return all_.median(x, dim, keepdim).values
    return all_.nanmedian(_where(mask, x, math.nan), dim, keepdim).values


def logsumexp(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
              mask: Tensor | None = None) -> Tensor:
    """log(sum(exp(input))) over the elements where the mask is True."""
    return all_.logsumexp(_where(mask, _to(input, dtype), -math.inf), dim, keepdim)


def logaddexp(input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Tensor | None = None,
              other_mask: Tensor | None = None) -> Tensor:
    """log(exp(input) + exp(other)), each where its mask is True."""
    a = _where(input_mask, _to(input, dtype), -math.inf)
    return all_.logaddexp(a, _where(other_mask, _to(other, dtype), -math.inf))


def norm(input: Tensor, ord: float | None = 2.0, dim: Any = None, *, keepdim: bool = False,
         dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The norm of the elements where the mask is True."""
    p = 2.0 if ord is None else ord
    x = _where(mask, _to(input, dtype), math.inf if p < 0 else 0)
    return vector_norm(x, p, dim, keepdim)


def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None,
              mask: Tensor | None = None) -> Tensor:
    """The elements where the mask is True, divided by their norm."""
    x = _to(input, dtype)
    length = norm(x, ord, dim, keepdim=True, mask=mask)
    return _where(mask, x, 0) / ops.maximum(length, eps)


def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None,
    keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None,
) -> Tensor:
    """The variance of the elements where the mask is True."""
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
    """The standard deviation of the elements where the mask is True."""
    spread = var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype,
                 mask=mask)
    return ops.sqrt(spread)


__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp",
    "logsumexp", "mean", "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum",
    "var",
]
