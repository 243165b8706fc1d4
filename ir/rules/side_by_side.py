"""A sum of padded values that meet nowhere, as the gradients of the parts of a value are: it is the
values side by side.
"""

from __future__ import annotations

from ..node import Node, constant
from ..ops.elementwise import add
from ..ops.movement import concat, pad

MOST = 8  # padded values in one sum


def joined_pads(y: Node) -> Node | None:
    """The parts of the sum `y` next to each other, with what is left of the padding."""
    padded = _terms(y)
    if padded is None or (axis := _axis(padded)) is None:
        return None
    padded.sort(key=lambda node: node.params["pads"][axis][0])
    ahead = padded[0].params["pads"][axis][0]
    end = ahead
    for node in padded:
        if node.params["pads"][axis][0] != end:
            return None
        end += node.inputs[0].shape[axis]
    parts = [part for node in padded for part in _parts(node.inputs[0], axis)]
    whole = concat(*map(_plus_zero, parts), axis=axis)
    pads = list(padded[0].params["pads"])
    pads[axis] = (ahead, y.shape[axis] - end, 0)
    return whole if whole.shape == y.shape else pad(whole, pads=tuple(pads))


def _terms(y: Node) -> list[Node] | None:
    """What the additions add up, if that is a few padded values."""
    terms, waiting = [], list(y.inputs)
    while waiting:
        node = waiting.pop()
        if node.op is add:
            waiting += node.inputs
        elif node.op is pad and node.shape == y.shape:
            terms.append(node)
        else:
            return None
        if len(terms) + len(waiting) > MOST:
            return None
    return terms


def _axis(padded: list[Node]) -> int | None:
    """The only axis that the values are padded along in different ways, without gaps."""
    kinds = [set(pads) for pads in zip(*(node.params["pads"] for node in padded), strict=True)]
    differ = [axis for axis, kind in enumerate(kinds) if len(kind) > 1]
    if len(differ) != 1 or any(gap for _, _, gap in kinds[differ[0]]):
        return None
    return differ[0]


def _parts(x: Node, axis: int) -> tuple[Node, ...]:
    return x.inputs if x.op is concat and x.params["axis"] == axis else (x,)


def _plus_zero(x: Node) -> Node:
    """x + 0, which is what adding the padding of the others makes of -0."""
    if x.dtype.kind != "float":
        return x
    zero = constant(0.0, x.dtype, x.shape)
    return x if x.op is add and zero in x.inputs else add(x, zero)
