"""torch.ops: the operators that `torch.library` made, and `aten`'s under the names of functions."""

from __future__ import annotations

from typing import Any

from .library import operators

loaded_libraries: set[str] = set()


def load_library(path: str) -> None:
    """Raises OSError: operators in C++ are torch's own."""
    raise OSError(f"Could not load this library: {path} (operators in C++ need torch itself)")


class _OpNamespace:
    """The operators of a namespace."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (self.name, name) not in operators:
            raise AttributeError(f"'_OpNamespace' '{self.name}' object has no attribute '{name}'")
        return operators[self.name, name]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _OpNamespace(name)
