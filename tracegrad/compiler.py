"""torch.compiler: what code that is compiled asks and declares. Compilation itself is `compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .tracer.mode import mode

__all__ = [
    "allow_in_graph", "assume_constant_result", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends",
    "nested_compile_region", "reset",
]
_T = TypeVar("_T", bound=Callable)


def is_compiling() -> bool:
    """Whether a compiled function is being traced.

    >>> torch.compiler.is_compiling()
    False
    """
    return mode.trace is not None


is_dynamo_compiling = is_compiling


def is_exporting() -> bool:
    """False: there is no export of torch's kind."""
    return False


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself, or a decorator.

    Inside a compiled function it is traced like the rest. What cannot be compiled is refused with
    its line, so the results are those of Python in any case.
    """
    return (lambda f: f) if fn is None else fn


def allow_in_graph(fn: _T) -> _T:
    """The function itself: all functions are traced."""
    return fn


assume_constant_result = nested_compile_region = allow_in_graph


def reset() -> None:
    """Nothing: a compiled function has its own programs, and they go with it."""


def cudagraph_mark_step_begin() -> None:
    """Nothing: outputs are not overwritten by a later call."""


def list_backends(exclude_tags: Any = ()) -> list[str]:
    """The backends that `compile` has.

    >>> torch.compiler.list_backends()
    ['tracegrad']
    """
    return ["tracegrad"]
