"""Reductions and contractions: fewer axes, fewer numbers, or none at all.

The order in which numbers are reduced is free. A sum begins with 0, and so is never -0.0.
"""

from __future__ import annotations

import math

from ..node import Node, constant
from ..ops.contract import dot
from ..ops.movement import expand, permute, reshape
from ..ops.reduce import LONG, max, min, sum
from ..rewrite import Table, any_of
from ..value import REGISTRY
from .movement import ones_ahead
from .wildcards import c, i, number, value, x

ALL = tuple(op for op in REGISTRY.values() if op.reduction is not None)


def of_nothing(y: Node) -> Node | None:
    """A reduction of no numbers is its neutral element."""
    assert y.op.reduction is not None
    return None if y.inputs[0].size else constant(y.op.reduction.init(y.dtype), y.dtype, y.shape)


def over_ones(y: Node) -> Node | None:
    x, dims = y.inputs[0], y.params["dims"]
    if any(x.shape[axis] != 1 for axis in dims):
        return None
    alone = reshape(x, shape=y.shape)
    return added_to_zero(alone) if y.op is sum else alone


def added_to_zero(x: Node) -> Node:
    """A sum of x alone."""
    return x + 0.0 if x.dtype.kind == "float" else x


def of_itself(y: Node) -> Node | None:
    """sum(sum(x)) = sum(x) over the axes of both; not where it would have to be taken apart again,
    and the first of the two may share its loop with others; nor in half precision, which rounds
    the first.
    """
    within = y.inputs[0]
    if within.op is not y.op or within.inputs[0].size > LONG * y.size or rounds(y):
        return None
    x, gone = within.inputs[0], within.params["dims"]
    left = [axis for axis in range(x.ndim) if axis not in gone]
    return y.op(x, dims=tuple(sorted((*gone, *(left[axis] for axis in y.params["dims"])))))


def rounds(y: Node) -> bool:
    """Whether a reduction rounds its result as it does not round while it reduces."""
    return y.dtype.is_half and not y.op.exact


def of_permute(y: Node) -> Node | None:
    """Reduced where it stands; what is left is permuted."""
    moved = y.inputs[0]
    if moved.op is not permute:
        return None
    axes, dims = moved.params["axes"], y.params["dims"]
    left = [axis for k, axis in enumerate(axes) if k not in dims]
    out = y.op(moved.inputs[0], dims=tuple(sorted(axes[k] for k in dims)))
    return permute(out, axes=tuple(sorted(left).index(axis) for axis in left))


def of_all_of_reshape(y: Node) -> Node | None:
    """The order of the numbers does not matter where all of them are reduced."""
    x = y.inputs[0]
    if x.op is not reshape or y.shape:
        return None
    return y.op(x.inputs[0], dims=tuple(range(x.inputs[0].ndim)))


def of_expand(y: Node, x: Node) -> Node | None:
    """Equal numbers are reduced by counting them."""
    wide, dims = y.inputs[0].shape, y.params["dims"]
    narrow = ones_ahead(x.shape, len(wide))
    repeated = tuple(axis for axis in dims if narrow[axis] == 1 != wide[axis])
    if not repeated:
        return None
    once = expand(x, shape=tuple(1 if axis in repeated else n for axis, n in enumerate(wide)))
    if rounds(y) and math.prod(once.shape[axis] for axis in dims) > 1:
        return None
    out = y.op(once, dims=dims)
    if y.op is not sum:
        return out
    count = math.prod(wide[axis] for axis in repeated)
    return (
        out * number(count, x)
        if count == value(number(count, x)) or x.dtype.kind == "bool"
        else None
    )


def of_constant(y: Node, c: Node) -> Node | None:
    if y.op is not sum or y.dtype.kind != "float":
        return constant(value(c), y.dtype, y.shape) if y.op in (max, min) else None
    count = math.prod(y.inputs[0].shape[axis] for axis in y.params["dims"])
    return constant(value(c) * count + 0.0, y.dtype, y.shape)


def scaled(y: Node, x: Node, c: Node) -> Node | None:
    """sum(x * c) = c * sum(x)"""
    if x.shape != y.inputs[0].shape:
        return None
    return sum(x, dims=y.params["dims"]) * number(value(c), y)


def dot_of_nothing(y: Node) -> Node | None:
    return None if y.inputs[0].shape[-1] and y.size else constant(0, y.dtype, y.shape)


def outer(y: Node) -> Node | None:
    """Columns times rows: one product per number, which fuses with what surrounds it."""
    a, b = y.inputs
    return added_to_zero(a * b) if a.shape[-1] == 1 else None


reductions = Table("reductions", [
    *((any_of(op), rule) for op in ALL
      for rule in (of_nothing, over_ones, of_itself, of_permute, of_all_of_reshape)),
    *((op(c), of_constant) for op in (sum, max, min)),
    *((op(expand(x)), of_expand) for op in (sum, max, min)),
    (sum(-x), lambda y, x: 0 - sum(x, dims=y.params["dims"])),
    (sum(i * c), lambda y, i, c: None if y.dtype.kind == "bool" else scaled(y, i, c)),
    (any_of(dot), dot_of_nothing),
    (any_of(dot), outer),
])
