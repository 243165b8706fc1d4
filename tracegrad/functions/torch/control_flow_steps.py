"""What the functions of control flow do with the functions of a user: nested arguments as lists of
tensors, and checks of what comes back.

A Step calls a user's function with lists of tensors and gives lists of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...tracer.pytree import Leaf, Structure, children, flatten, unflatten
from ...tracer.tensor.tensor import Tensor
from .creation import as_tensor

__all__: list[str] = []


class Tree:
    """A nested value: its leaves but for None, and how to fill its structure with others."""

    def __init__(self, value: Any):
        leaves, self.structure = flatten(value)
        self.places = [k for k, x in enumerate(leaves) if x is not None]
        self.count = len(leaves)
        self.leaves = [leaves[k] for k in self.places]

    def filled(self, leaves: Sequence[Any]) -> Any:
        full = [None] * self.count
        for k, x in zip(self.places, leaves, strict=True):
            full[k] = x
        return unflatten(full, self.structure)

    def names(self, what: str) -> list[str]:
        """What each leaf is called in messages."""
        every = list(_names(self.structure, what))
        return [every[k] for k in self.places]


def _names(structure: Structure, path: str) -> list[str]:
    if isinstance(structure, Leaf):
        return [path]
    keys = range(len(structure.children)) if structure.keys is None else structure.keys
    pairs = zip(keys, structure.children, strict=True)
    return [name for k, child in pairs for name in _names(child, f"{path}[{k!r}]")]


def where(function: Callable) -> str:
    """The function and the line that defines it, for messages."""
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", type(function).__name__)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def type_of(x: Any) -> str:
    if not isinstance(x, Tensor):
        return f"of type {type(x).__name__}"
    return f"{x.dtype.name}{list(x.shape)}"


class Step:
    """A function `name` calls `function`, whose results must keep to what they were at first."""

    def __init__(self, name: str, function: Callable, role: str):
        self.name, self.function, self.role = name, function, role
        self.outputs: dict[str, Tree] = {}
        self.reason = "it must keep its shape and dtype"

    def error(self, text: str) -> RuntimeError:
        return RuntimeError(f"{self.name}: {self.role} {where(self.function)} {text}")

    def like(self, tree: Tree, value: Any, what: str) -> list[Tensor]:
        """The leaves of a result that must have the structure and types of a tree."""
        leaves = self._in_order(value, tree.structure, what)
        for k in set(range(tree.count)).difference(tree.places):
            if leaves[k] is not None:
                raise self.error(f"returned a value for {what} in the place of None")
        new = [leaves[k] for k in tree.places]
        for x, y, name in zip(tree.leaves, new, tree.names(what), strict=True):
            if not isinstance(y, Tensor) or y.dtype is not x.dtype or y.shape != x.shape:
                raise self.error(f"returned {name} {type_of(y)}, where {type_of(x)} is expected: "
                                 f"{self.reason}")
        return new

    def _in_order(self, value: Any, like: Structure, path: str) -> list:
        """The leaves of a value in the order of a structure that it must have."""
        below: Any = children(value)
        kind: Any = type(value)
        if isinstance(like, Leaf):
            if below is None:
                return [value]
            raise self._differs(value, like, path)
        if below is None or kind is not like.kind or len(below) != len(like.children):
            raise self._differs(value, like, path)
        keys: Any = range(len(below)) if like.keys is None else tuple(value)
        by_key = dict(zip(keys, below, strict=True))
        keys = keys if like.keys is None else like.keys
        if set(by_key) != set(keys):
            raise self._differs(value, like, path)
        below = [by_key[k] for k in keys]
        parts = zip(keys, below, like.children, strict=True)
        return [x for k, part, s in parts for x in self._in_order(part, s, f"{path}[{k!r}]")]

    def _differs(self, value: Any, like: Structure, path: str) -> RuntimeError:
        return self.error(f"returned {path} of the structure {flatten(value)[1]}, where {like} is "
                          f"expected: {self.reason}")

    def output(self, value: Any, what: str) -> list[Tensor]:
        """The leaves of a result that is free at first, and the same from then on. Numbers become
        tensors.
        """
        tree = Tree(value)
        for k, x in enumerate(tree.leaves):
            if isinstance(x, (bool, int, float)):
                tree.leaves[k] = x = as_tensor(x)
            if not isinstance(x, Tensor):
                raise self.error(f"returned {tree.names(what)[k]} {type_of(x)}, not a Tensor")
        first = self.outputs.setdefault(what, tree)
        return self.like(first, tree.filled(tree.leaves), what)

    def pair(self, value: Any, parts: str) -> tuple[Any, Any]:
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise self.error(f"must return a tuple ({parts}), got {type_of(value)}")
        return value[0], value[1]


def checked_tensors(name: str, values: Sequence[Any], what: str) -> None:
    for x in values:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{name}: All {what} leaves must be a Tensor but got {x!r}")


