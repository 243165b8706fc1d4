"""torch.overrides: whether an argument is of a class that takes over torch's functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .functions.torch_function import ask, takers, takes_over
from .refusals import refused
from .tracer.tensor.tensor import Tensor

__all__ = [
    "handle_torch_function", "has_torch_function", "has_torch_function_unary",
    "has_torch_function_variadic", "is_tensor_like",
]


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether one of these has a `__torch_function__` that is not Tensor's.

    >>> torch.overrides.has_torch_function([torch.ones(2), 1])
    False
    """
    return any(map(takes_over, relevant_args))


def has_torch_function_unary(x: Any) -> bool:
    """Whether this has a `__torch_function__` that is not Tensor's."""
    return takes_over(x)


def has_torch_function_variadic(*args: Any) -> bool:
    """Whether one of these has a `__torch_function__` that is not Tensor's."""
    return any(map(takes_over, args))


def handle_torch_function(public_api: Callable, relevant_args: Iterable[Any], *args: Any,
                          **kwargs: Any) -> Any:
    """What the first `__torch_function__` among the arguments makes of the call.

    A subclass comes before its base. Raises TypeError if all return NotImplemented.
    """
    return ask(public_api, takers(relevant_args), args, kwargs)


def is_tensor_like(inp: Any) -> bool:
    """Whether this is a tensor, or has a `__torch_function__`."""
    return isinstance(inp, Tensor) or hasattr(inp, "__torch_function__")


globals().update(refused(
    "overrides", "TorchFunctionMode BaseTorchFunctionMode",
    "a mode would have to see every call; classes with `__torch_function__` do",
))
