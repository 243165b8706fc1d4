"""`torch.relu_(x)` and its like: methods that work in place, as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracer.tensor.tensor import Tensor


def _function(name: str) -> Callable:
    def function(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(
                f"{name}(): argument 'input' (position 1) must be Tensor, not "
                f"{type(input).__name__}"
            )
        return getattr(input, name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`input.{name}(...)`: in place. Raises TypeError without a tensor."
    return function


def __getattr__(name: str) -> Callable:  # for the names in the table of torch_modules.py
    if name.startswith("__"):
        raise AttributeError(name)
    return _function(name)
