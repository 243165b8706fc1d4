"""Functions that compute in a wider type than they answer in.

A primitive computes halves in float32 and rounds its answer. A function of several primitives
would round, and overflow, after each of them: these marks let it do so once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ...ir.dtype import DType, float32
from ...tracer.mode import get_default_dtype
from ...tracer.tensor.promotion import common_dtype
from ...tracer.tensor.tensor import Tensor


def _mark(function: Callable, floats: bool) -> Callable:
    @wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        dtype = common_dtype([x for x in (*args, *kwargs.values()) if _is_number(x)])
        if floats and not dtype.is_floating_point:
            dtype = get_default_dtype()
        elif not floats and not dtype.is_half:
            return function(*args, **kwargs)
        wide = float32 if dtype.is_half else dtype

        def widened(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return (x.to(dtype) if x.ndim or floats else x).to(wide)  # a 0-d one is a factor here

        y = function(*map(widened, args), **{name: widened(x) for name, x in kwargs.items()})
        return tuple(_to(x, dtype) for x in y) if isinstance(y, tuple) else _to(y, dtype)

    return computed


def _is_number(x: Any) -> bool:
    return isinstance(x, (Tensor, float, int))


def _to(x: Any, dtype: DType) -> Any:
    return x.to(dtype) if isinstance(x, Tensor) else x


def rounded_once(function: Callable) -> Callable:
    """Halves among the tensors are computed in float32, and the answers rounded."""
    return _mark(function, floats=False)


def of_floats(function: Callable) -> Callable:
    """The same, and integers are taken as numbers of the default type."""
    return _mark(function, floats=True)
