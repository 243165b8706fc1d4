"""Nested tuples, lists and dicts of leaves, by the names of torch.utils._pytree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..tracer.pytree import Structure as TreeSpec, flatten, unflatten

__all__ = [
    "PyTree", "TreeSpec", "tree_all", "tree_any", "tree_flatten", "tree_iter", "tree_leaves",
    "tree_map", "tree_map_", "tree_map_only", "tree_structure", "tree_unflatten",
]
PyTree = Any


def tree_flatten(tree: PyTree, is_leaf: Callable | None = None) -> tuple[list[Any], TreeSpec]:
    """The leaves from left to right, and the structure."""
    if is_leaf is not None:
        raise NotImplementedError("tree_flatten: is_leaf is not part of tracegrad")
    return flatten(tree)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The structure filled with these leaves."""
    return unflatten(leaves, treespec)


def tree_leaves(tree: PyTree, is_leaf: Callable | None = None) -> list[Any]:
    """The leaves from left to right."""
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree: PyTree, is_leaf: Callable | None = None) -> Iterable[Any]:
    """The leaves from left to right."""
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: PyTree, is_leaf: Callable | None = None) -> TreeSpec:
    """The structure."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable, tree: PyTree, *rests: PyTree,
             is_leaf: Callable | None = None) -> PyTree:
    """The tree of `func` of the leaves of trees that are alike."""
    leaves, structure = tree_flatten(tree, is_leaf)
    others = [tree_flatten(rest) for rest in rests]
    if any(other != structure for _, other in others):
        raise ValueError("tree_map: the trees differ in their structure")
    columns = [leaves, *(other for other, _ in others)]
    return unflatten(map(func, *columns), structure)


def tree_map_(func: Callable, tree: PyTree, *rests: PyTree,
              is_leaf: Callable | None = None) -> PyTree:
    """Call `func` for the leaves, and return the tree."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(kind: Any, func: Callable, tree: PyTree,
                  is_leaf: Callable | None = None) -> PyTree:
    """The tree with `func` of the leaves of a class; the other leaves stay."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree, is_leaf=is_leaf)


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable | None = None) -> bool:
    """Whether it holds for one leaf."""
    return any(map(pred, tree_leaves(tree, is_leaf)))


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable | None = None) -> bool:
    """Whether it holds for all leaves."""
    return all(map(pred, tree_leaves(tree, is_leaf)))
