"""The derivative rules of a primitive as one function of arrays, which makes no tensors in between.

It is made when the rules were applied some times to operands of the same shapes and dtypes, and
gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from numpy import ndarray

from ...ir.autodiff import cotangent
from ...ir.dtype import DType
from ...ir.node import Node, input_node
from ...ir.ops.elementwise import stop_gradient
from ..tensor.straight_line import Unsuitable, straight_line
from ..tensor.tensor import Tensor, wrap
from .operands_read import Reads

CALLS = 8  # the call after which it is made
MOST = 200  # functions of one primitive that are kept


class Line(NamedTuple):
    """The rules for operands of certain shapes: `run` gives the gradients of operands `to`."""

    run: Callable[..., tuple[ndarray, ...]]
    dtypes: tuple[DType, ...]
    to: tuple[int, ...]

    def gradients(self, g: Tensor, arrays: Sequence[ndarray], count: int) -> tuple:
        """The gradients of `count` operands."""
        grads: list[Tensor | None] = [None] * count
        for k, t in zip(self.to, wrapped(g, self.run(*arrays), self.dtypes)):  # noqa: B905
            grads[k] = t
        return tuple(grads)


def wrapped(g: Tensor, arrays: Sequence[ndarray], dtypes: Sequence[DType]) -> list[Tensor]:
    """Gradients as tensors; an array that is there twice, or the one of `g`, is one tensor."""
    seen, grads = {id(g._array): g}, []
    for array, dtype in zip(arrays, dtypes):  # noqa: B905  # `strict` takes time
        t = seen.get(id(array))
        if t is None:
            t = seen[id(array)] = wrap(array, dtype)
        grads.append(t)
    return grads


def new_line(
    reads: Reads, key: tuple, avals: Sequence[Any], g: Tensor, arrays: Sequence[ndarray],
    want: tuple,
) -> None:
    """Make the function of a key, and keep it if it gives the gradients `want`.

    avals: of the output and the operands: the shape and dtype, or None if it is like the output.
    """
    reads.lines[key] = None
    try:
        line = _line(reads, avals, g, arrays)
    except (Unsuitable, TypeError, ValueError, RuntimeError):
        return
    if line is not None and _same(line.gradients(g, arrays, len(want)), want):
        reads.lines[key] = line


def _line(
    reads: Reads, avals: Sequence[Any], g: Tensor, arrays: Sequence[ndarray]
) -> Line | None:
    root = input_node(g._array.shape, g._dtype)
    output, *operands = avals
    y = root if output is None else input_node(*output)
    xs = [y if x is None else input_node(*x) for x in operands]
    saved = [x for x, (_, is_read) in zip(xs, reads.operands, strict=True) if is_read]
    inputs: list[Node] = [root, *[y] * reads.output, *saved]
    if any(x.dtype.is_half for x in inputs):
        return None  # a number beside halves is not rounded
    found = [(k, cotangent(rule, root, y, xs, k, {})) for k, rule in reads.rules]
    pairs = [(k, n) for k, n in found if n is not None]
    nodes = [n for _, n in pairs]
    if any((n in inputs and n is not root) or n.op is stop_gradient for n in nodes):
        return None  # memory that is not the gradient's own
    strided = {n for n, a in zip(inputs, arrays, strict=True) if not a.flags.c_contiguous}
    run = straight_line(inputs, nodes, (), strided)
    return Line(run, tuple(n.dtype for n in nodes), tuple(k for k, _ in pairs))


def _same(grads: Sequence[Any], want: Sequence[Any]) -> bool:
    return all(
        (a is None) is (b is None)
        and (a is None or a._dtype is b._dtype and a._array.shape == b._array.shape
             and a._array.strides == b._array.strides and a._array.tobytes() == b._array.tobytes())
        for a, b in zip(grads, want, strict=True)
    )
