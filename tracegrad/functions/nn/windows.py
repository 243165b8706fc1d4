"""Sliding windows over the last axes of a tensor: what convolution and pooling have in common.

A rank is the number of spatial axes. Shapes are (N, C, *spatial), or (C, *spatial) unbatched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ...ir.dtype import int64
from ...ir.ops import movement as ops
from ...ir.ops.source import iota
from ...tracer.tensor.dispatch import bind
from ...tracer.tensor.tensor import Tensor
from ..torch.shape import reshaped, squeeze, unsqueeze

__all__ = []

Ints = tuple[int, ...]


def by_rank(make: Callable[[int], Callable], name: str) -> tuple[Callable, Callable, Callable]:
    """The functions of one, two and three spatial axes that `make` gives, called `name` with the
    rank put in. In their docstrings `{rank}` becomes the rank, and `{,4}` a `, 4` for each axis.
    """

    def of(rank: int) -> Callable:
        function = make(rank)
        function.__name__ = function.__qualname__ = name.format(rank)
        function.__module__ = make.__module__
        if function.__doc__:
            doc = function.__doc__.replace("{rank}", str(rank))
            function.__doc__ = re.sub(r"{,(\w+)}", r", \1" * rank, doc)
        return function

    return of(1), of(2), of(3)


def each(value: Any, rank: int) -> Ints | None:
    """One int for each spatial axis, from an int or a sequence; None where their number is
    wrong.
    """
    if hasattr(value, "__index__"):
        return (value.__index__(),) * rank
    values = tuple(v.__index__() for v in value)
    return values * rank if len(values) == 1 else values if len(values) == rank else None


def batched(x: Tensor, rank: int, function: Callable[[Tensor], Any]) -> Any:
    """`function` of x with a batch axis, which is taken away again if x had none."""
    if x.ndim == rank + 2:
        return function(x)
    y = function(unsqueeze(x, 0))
    return tuple(squeeze(part, 0) for part in y) if type(y) is tuple else squeeze(y, 0)


def spatial_pads(x: Tensor, pads: Sequence[tuple[int, int, int]]) -> Tensor:
    """x with zeros (before, after, between) around its last axes."""
    if not any(any(p) for p in pads):
        return x
    return ops.pad(x, pads=(*((0, 0, 0),) * (x.ndim - len(pads)), *pads))


def windows(x: Tensor, sizes: Ints, steps: Ints, dilations: Ints) -> Tensor:
    """(*rest, *spatial) -> (*rest, *counts, *sizes): a view, no number is copied."""
    first = x.ndim - len(sizes)
    for d, (size, step, dilation) in enumerate(zip(sizes, steps, dilations, strict=True)):
        x = ops.window(x, axis=first + d, size=size, step=step, dilation=dilation)
    return x


def folded(x: Tensor, extents: Ints, steps: Ints, dilations: Ints) -> Tensor:
    """(*rest, *counts, *sizes) -> (*rest, *extents): the adjoint of `windows`."""
    rank = len(extents)
    first = x.ndim - 2 * rank
    for d in reversed(range(rank)):
        x = ops.fold(x, axis=first + d, extent=extents[d], step=steps[d], dilation=dilations[d])
    return x


def reach(size: int, dilation: int) -> int:
    """How many positions a window of `size` numbers, `dilation` apart, spans."""
    return (size - 1) * dilation + 1


def counted(n: int) -> Tensor:
    """0, 1, ..., n - 1."""
    return bind(iota, (), {"shape": (n,), "dtype": int64})


def along(x: Tensor, axis: int, rank: int) -> Tensor:
    """A vector as a tensor of `rank` axes that varies along one of them."""
    return reshaped(x, tuple(x.numel() if d == axis else 1 for d in range(rank)))
