"""Broadcasting by name: dimensions repeated without copying, and summed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.autodiff import unbroadcast
from ...ir.dtype import int64
from ...ir.op import ShapeError, broadcast
from ...ir.ops import movement as ops
from ...tracer.autograd.graph import composite
from ...tracer.tensor.masked_selection import Selection, broadcast_selections
from ...tracer.tensor.tensor import Size, Tensor
from .shape import copying, fresh, ints


@ints("size")
@composite("ExpandBackward0")
def expand(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Dimensions of extent 1 repeated without copying; -1 keeps an extent.

    Shape: extents of 1 become the given ones, and -1 keeps one; more in front add dimensions.
    Dtype: that of input. A view. Raises RuntimeError for an extent that is neither 1 nor the same.

    >>> torch.tensor([[1], [2]]).expand(2, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    old, lead = tuple(input.shape), len(shape) - input.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(tensor{list(old)}, size={list(shape)}): the number of sizes provided "
            f"({len(shape)}) must be greater or "
            f"equal to the number of dimensions in the tensor ({len(old)})"
        )
    full = []
    for d, n in enumerate(shape):
        have = old[d - lead] if d >= lead else None
        if n == -1:
            if have is None:
                raise RuntimeError(
                    f"expand(tensor{list(old)}, size={list(shape)}): The expanded size of the "
                    "tensor (-1) isn't allowed in "
                    f"a leading, non-existing dimension {d}"
                )
            n = have
        if have not in (None, 1, n):
            raise ShapeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                "non-singleton dimension "
                f"{d}.  Target sizes: {list(shape)}.  Tensor sizes: {list(old)}"
            )
        full.append(n)
    return ops.expand(input, shape=tuple(full))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of `other`."""
    return expand(input, tuple(other.shape))


@ints("size")
def sum_to_size(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Summed along what broadcasting would have made of a smaller shape: the reverse of expand."""
    try:
        fits = broadcast("sum_to_size", tuple(input.shape), shape) == tuple(input.shape)
    except ShapeError:
        fits = False
    if not fits:
        raise RuntimeError(
            f"size {{{list(shape)}}} is not expandable to size {{{list(input.shape)}}}."
        )
    if (tuple(input.shape) != tuple(shape) or not shape) and input.dtype.kind != "float":
        input = input.to(int64)  # as sum does
    summed = unbroadcast(input, shape)
    return summed if shape else fresh(summed, input)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """Expanded to a shape.

    Shape: as `expand`. Dtype: that of input. A view.
    Raises RuntimeError if the shape does not broadcast to it.

    >>> torch.broadcast_to(torch.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return expand(input, tuple(size))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to the shape that they have together."""
    if any(isinstance(x, Selection) for x in tensors):
        return tuple(broadcast_selections(tensors))
    shape = broadcast("broadcast_tensors", *(tuple(x.shape) for x in tensors))
    return tuple(x if tuple(x.shape) == shape else expand(x, shape) for x in tensors)


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that these broadcast to."""
    return Size(
        broadcast(
            "broadcast_shapes",
            *(tuple(s) if isinstance(s, (tuple, list)) else (s,) for s in shapes),
        )
    )


expand_copy = copying(expand)

__all__ = ["broadcast_shapes", "broadcast_tensors", "broadcast_to", "expand_copy"]
