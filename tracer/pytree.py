"""Nested tuples, lists and dicts of leaves: flatten and unflatten.

Named tuples and OrderedDicts keep their class. Everything else, None included, is a leaf.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple


class Leaf:
    """The structure of a leaf."""

    def __repr__(self) -> str:
        return "*"


LEAF = Leaf()


class Branch(NamedTuple):
    """The structure of a tuple, list or dict. `keys` is None for a tuple or list."""

    kind: type
    keys: tuple | None
    children: tuple

    def __repr__(self) -> str:
        below = [repr(c) for c in self.children]
        if self.keys is not None:
            return f"{{{', '.join(f'{k!r}: {c}' for k, c in zip(self.keys, below, strict=True))}}}"
        inside = ", ".join(below)
        if self.kind is list:
            return f"[{inside}]"
        if self.kind is tuple:
            return f"({inside},)" if len(below) == 1 else f"({inside})"
        return f"{self.kind.__name__}({inside})"


Structure = Leaf | Branch
_DICTS = (dict, OrderedDict, defaultdict)


def children(tree: Any) -> tuple | None:
    """The children of a branch; None for a leaf."""
    if isinstance(tree, (tuple, list)):
        return tuple(tree)
    return tuple(tree.values()) if type(tree) in _DICTS else None


def flatten(tree: Any) -> tuple[list, Structure]:
    """The leaves from left to right, and the structure."""
    leaves: list = []

    def visit(part: Any) -> Structure:
        below = children(part)
        if below is None:
            leaves.append(part)
            return LEAF
        keys = tuple(part) if isinstance(part, dict) else None
        return Branch(type(part), keys, tuple(visit(p) for p in below))

    structure = visit(tree)
    return leaves, structure


def unflatten(leaves: Iterable, structure: Structure) -> Any:
    """The structure filled with these leaves."""
    waiting = iter(leaves)

    def build(part: Structure) -> Any:
        if isinstance(part, Leaf):
            return next(waiting)
        below = [build(p) for p in part.children]
        if part.keys is not None:
            pairs = zip(part.keys, below, strict=True)
            return OrderedDict(pairs) if part.kind is OrderedDict else dict(pairs)
        return part.kind(*below) if hasattr(part.kind, "_fields") else part.kind(below)

    return build(structure)


def map_leaves(function: Callable, tree: Any) -> Any:
    """The same structure with `function` applied to each leaf."""
    leaves, structure = flatten(tree)
    return unflatten([function(leaf) for leaf in leaves], structure)


def broadcast_prefix(prefix: Any, structure: Structure) -> list | None:
    """One value for each leaf of the structure. A leaf of `prefix` applies to the whole subtree
    below it.

    None if `prefix` does not match the structure.
    """

    def visit(part: Any, like: Structure) -> Iterator:
        below, kind = children(part), type(part)
        if below is None or isinstance(like, Leaf):
            if below is not None:
                raise ValueError
            yield from [part] * count(like)
            return
        keys = tuple(part) if isinstance(part, dict) else None
        if len(below) != len(like.children) or kind is not like.kind:
            raise ValueError
        if keys is not None:
            if set(keys) != set(like.keys or ()):
                raise ValueError
            below = tuple(part[k] for k in like.keys or ())
        for p, s in zip(below, like.children, strict=True):
            yield from visit(p, s)

    try:
        return list(visit(prefix, structure))
    except ValueError:
        return None


def count(structure: Structure) -> int:
    """The number of leaves."""
    return 1 if isinstance(structure, Leaf) else sum(count(c) for c in structure.children)
