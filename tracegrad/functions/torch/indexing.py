"""x[...] and x[...] = value, what functions that read and write at computed positions are made of,
and whole tensors overwritten: fill, masked_fill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...ir.dtype import DType, bool_, int32, int64, uint8
from ...ir.node import Node
from ...ir.op import ShapeError, broadcast
from ...ir.ops import movement
from ...ir.ops.elementwise import cast, check_index, copy, ne, remainder, where as where_
from ...ir.ops.index import index as index_, index_put as index_put_, result_shape
from ...ir.ops.movement import expand, reshape
from ...ir.strides import contiguous
from ...tracer.autograd.graph import as_one, composite
from ...tracer.autograd.plans import shortcut
from ...tracer.mode import mode, resolve
from ...tracer.tensor.device_memory import host
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.gradient_layout import to_contiguous
from ...tracer.tensor.inplace import apply_inplace, overwrite
from ...tracer.tensor.masked_selection import (
    INSTEAD,
    Selection,
    places,
    select,
    selects,
    write_selection,
)
from ...tracer.tensor.placement import on_device
from ...tracer.tensor.promotion import SCALAR_TYPE, checked_number
from ...tracer.tensor.tensor import Tensor, leaked_tensor_error
from ...tracer.tensor.views import index_view
from .creation import arange, assigned, held, leaf, tensor

__all__ = ["fill", "fill_", "masked_fill", "zero_"]

Pair = tuple[np.ndarray, DType]  # a stored array, and the dtype of what it holds


# ---- whole tensors overwritten
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """The values of `src`, broadcast and converted, written into this tensor.

    Shape: src must broadcast to that of the tensor. Dtype: that of the tensor.
    Raises RuntimeError if it does not broadcast, or for a leaf that requires grad.

    >>> torch.zeros(2).copy_(torch.tensor([1, 2]))
    tensor([1., 2.])
    """
    src = assigned(src, self.dtype)
    if non_blocking and src.device != self.device:
        src = on_device(src, self.device, wait=False)
    if broadcast("copy_", tuple(self.shape), tuple(src.shape)) != tuple(self.shape):
        raise ShapeError(
            f"output with shape {list(self.shape)} doesn't match the broadcast shape "
            f"{list(broadcast('copy_', tuple(self.shape), tuple(src.shape)))}"
        )
    return overwrite(self, src, "CopyBackwards")


def fill_(self: Tensor, value: Any) -> Tensor:
    """Every element becomes `value`.

    Shape: the value is a number or a 0-d tensor. Raises RuntimeError for others.

    >>> torch.zeros(2).fill_(7)
    tensor([7., 7.])
    """
    title = f"FillBackward{3 if isinstance(value, Tensor) else 2}"
    value = assigned(value, self.dtype)
    if value.ndim:
        raise RuntimeError(
            f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} "
            "dimensions."
        )
    return overwrite(self, value, title)


def zero_(self: Tensor) -> Tensor:
    """Every element becomes zero.

    Shape: that of the tensor. Raises RuntimeError for a leaf that requires grad.

    >>> torch.ones(2).zero_()
    tensor([0., 0.])
    """
    return overwrite(self, tensor(0, dtype=self.dtype), "ZeroBackward0")


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """The main diagonal becomes one number; that of a tall matrix begins anew with `wrap`."""
    n = len(set(self.shape))
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.ndim > 2 and n != 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    place = sum(contiguous(tuple(self.shape)))  # how far apart the numbers lie
    rows = self.numel() if wrap else min(self.shape) * place
    at = arange(self.numel())
    on = (remainder(at, place) == 0) & (at < rows)
    return masked_fill_(self, reshape(on, shape=tuple(self.shape)), fill_value)


@composite("MaskedFillBackward0")
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds.

    Shape: two that broadcast -> the shape to which they do. Dtype: that of input; the mask is bool.
    Raises RuntimeError if the mask is not bool or the value has more than zero dimensions.

    >>> torch.masked_fill(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), 0.0)
    tensor([0., 2.])
    """
    if mask.dtype is not bool_:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{SCALAR_TYPE[mask.dtype]}"
        )
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = value if value.dtype is input.dtype else cast(value, dtype=input.dtype)
        return to_contiguous(where_(mask, value, input))
    return to_contiguous(
        where_(mask, number(checked_number(value, input.dtype), input.dtype), input)
    )


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds, in place."""
    return apply_inplace(self, masked_fill, mask, value)


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like this one, every element `value`.

    Shape: (*) -> (*). Dtype: that of input. Raises RuntimeError for a tensor of more than one
    element.

    >>> torch.fill(torch.zeros(2), 3.0)
    tensor([3., 3.])
    """
    return fill_(input.clone(), value)


# ---- subscripts
# A subscript is a view (integers, slices, None, ...) followed by at most one gather: integers and
# slices become one `slice` and one `reshape`, and what is left, index tensors, becomes the `index`
# primitive with NumPy's placement.
Axes = tuple[int, ...]

class Subscript(NamedTuple):
    """A parsed subscript of a tensor of known shape."""

    slices: tuple[tuple[int, int, int], ...]
    shape: tuple[int, ...]  # after the slices and Nones
    points: tuple[tuple[int, Tensor], ...]  # then: dimensions at which one position is taken
    axes: Axes  # which of the dimensions that remain are indexed by tensors
    indices: tuple[Tensor, ...]
    title: str


def _too_many(key: tuple, rank: int) -> IndexError:
    return IndexError(f"too many indices for tensor of dimension {rank}")


def _as_index(item: Any) -> Any:
    """A list or an array in a subscript, as a tensor."""
    if isinstance(item, Tensor):  # bytes are a mask, as torch still has it
        return resolve(item) if item.dtype is not uint8 else ne(item, 0)
    if isinstance(item, (list, tuple, range)):
        item = list(item)
        return tensor(item) if item else tensor([], dtype=int64)
    if isinstance(item, np.ndarray):
        return tensor(item)
    return item


def _consumed(item: Any) -> int:
    """How many dimensions an item of a subscript stands for."""
    if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
        return 0
    return item.ndim if isinstance(item, Tensor) and item.dtype.kind == "bool" else 1


def positions(mask: Tensor) -> list[Tensor]:
    """Where a mask holds: one index tensor per dimension. Their length depends on values."""
    return computed(places, "indexing with a mask", mask)


def _flag(taken: Any) -> Tensor:
    """The positions along a new dimension of extent 1 that True or False selects."""
    return held(np.zeros(int(taken), np.int64), int64)


def computed(
    function: Callable[..., list[Pair]], what: str, *tensors: Tensor
) -> list[Tensor]:
    """The tensors that `function` gives for the stored arrays of tensors: new arrays, with their
    dtypes. Their shapes may depend on values, so a trace has to be cut here.
    """
    operands = [resolve(t) for t in tensors]
    if all(t._array is not None for t in operands):
        where = operands[0].device
        pairs = function(*(host(t._array) for t in operands))
        return [leaf(held(array, dtype, where), False, where) for array, dtype in pairs]
    if mode.trace is None:
        raise leaked_tensor_error(next(t for t in operands if t._node is not None))
    return mode.trace.computed(function, operands, what, INSTEAD)


def _bounded(s: slice, n: int) -> tuple[int, int, int]:
    step = 1 if s.step is None else _number(s.step)
    if step <= 0:
        raise ValueError("step must be greater than zero")
    start, stop, _ = slice(_number(s.start), _number(s.stop), step).indices(n)
    return start, max(start, stop), step


def _number(x: Any) -> Any:
    return x if x is None or isinstance(x, int) else x.__index__()


def parse(shape: tuple[int, ...], key: Any, points: bool = True) -> Subscript:
    """Take a subscript apart; raises IndexError as torch does. A 0-d tensor is a number, unless
    `points` is False.
    """
    items = [_as_index(k) for k in (key if isinstance(key, tuple) else (key,))]
    used = sum(_consumed(k) for k in items)
    rank = len(shape)
    if used > rank:
        if rank == 0 and not any(isinstance(k, Tensor) for k in items):
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
                "`tensor.item<T>()` in C++ to convert a "
                "0-dim tensor to a number"
            )
        raise _too_many(tuple(items), rank)
    dots = [i for i, k in enumerate(items) if k is Ellipsis]
    while len(dots) > 1 and items[-1] is Ellipsis:  # at the end a second one takes no dimension
        items.pop()
        dots.pop()
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = dots[0] if dots else len(items)
    items[at : at + 1] = [slice(None)] * (rank - used)

    parser = _Parser(shape)
    for item in items:
        parser.take(item, points)
    return parser.subscript()


class _Parser:
    """Takes the items of a subscript from the left; what it has so far is what a Subscript has."""

    def __init__(self, shape: tuple[int, ...]):
        self.whole = shape
        self.slices: list[tuple[int, int, int]] = []
        self.shape: list[int] = []
        self.points: list[tuple[int, Tensor]] = []
        self.axes: list[int] = []
        self.indices: list[Tensor] = []
        self.title = "AliasBackward0"

    def subscript(self) -> Subscript:
        return Subscript(
            tuple(self.slices), tuple(self.shape), tuple(self.points), tuple(self.axes),
            tuple(self.indices), self.title,
        )

    def take(self, item: Any, points: bool) -> None:
        number = points and isinstance(item, Tensor) and not item.ndim and item.dtype.kind == "int"
        if number and item._array is not None:
            item, number = item.item(), False
        if item is None:
            self.shape.append(1)
            self.title = "UnsqueezeBackward0"
        elif isinstance(item, (bool, np.bool_)):
            self.gather([_flag(item)], (1,))
        elif isinstance(item, slice):
            self.span(item)
        elif number:
            self.point(item)
        elif isinstance(item, Tensor):
            self.tensor(item)
        elif hasattr(item, "__index__"):
            self.number(item.__index__())
        else:
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables "
                f"are valid indices (got {type(item).__name__})"
            )

    def span(self, item: slice) -> None:
        start, stop, step = _bounded(item, self.whole[len(self.slices)])
        self.slices.append((start, stop, step))
        self.shape.append(len(range(start, stop, step)))
        if item != slice(None):
            self.title = "SliceBackward0"

    def number(self, i: int) -> None:
        d = len(self.slices)
        n = self.whole[d]
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of bounds for dimension {d} with size {n}")
        self.slices.append((i % n, i % n + 1, 1))
        self.title = "SelectBackward0"

    def point(self, item: Tensor) -> None:
        """A position that is only known when the program runs."""
        d = len(self.slices)
        n = self.whole[d]
        self.points.append((len(self.shape), checked(item, n, d)))
        self.slices.append((0, n, 1))
        self.shape.append(n)
        self.title = "SelectBackward0"

    def tensor(self, item: Tensor) -> None:
        d = len(self.slices)
        over = self.whole[d : d + _consumed(item)]
        if item.dtype not in (int64, int32, bool_):
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        if item.dtype is not bool_:
            found = [checked(item, self.whole[d], d)]
        else:
            self.refuse_mask(item, d)
            found = positions(item) if item.ndim else [_flag(bool(item))]
        self.gather(found, over or (1,))
        self.slices.extend((0, n, 1) for n in over)

    def gather(self, indices: Sequence[Tensor], over: Sequence[int]) -> None:
        """Index tensors for the dimensions that follow, of extents `over`."""
        first = len(self.shape) - len(self.points)
        self.axes.extend(range(first, first + len(indices)))
        self.indices.extend(indices)
        self.shape.extend(over)

    def refuse_mask(self, mask: Tensor, d: int) -> None:
        if tuple(mask.shape) != tuple(self.whole[d : d + mask.ndim]):
            wrong = next(i for i, n in enumerate(mask.shape) if n != self.whole[d + i])
            raise IndexError(
                f"The shape of the mask {list(mask.shape)} at index {wrong} does not match the "
                f"shape of the indexed tensor {list(self.whole)} at index {d + wrong}"
            )


def checked(i: Tensor, size: int, dim: int) -> Tensor:
    """Indices as int64, counted from the front; one out of range is an IndexError."""
    i = i if i.dtype is int64 else cast(i, dtype=int64)
    return check_index(i, size=size, dim=dim)


def _viewed(x: Tensor, s: Subscript) -> Tensor:
    """The part that a subscript's integers, slices and Nones select, as a view."""
    part = x
    if s.slices and s.slices != tuple((0, n, 1) for n in x.shape):
        part = movement.slice(x, slices=s.slices)
    if tuple(part.shape) != s.shape or part is x:
        part = reshape(part, shape=s.shape)
    if s.points:
        axes, indices = zip(*s.points, strict=True)
        part = index_view(part, axes=axes, indices=indices)
    return part


@shortcut
def getitem(self: Tensor, key: Any) -> Tensor:
    """x[key]."""
    x = resolve(self)
    if isinstance(x._node, Node) and (masked := _under_mask(x, key)) is not None:
        return as_one("IndexBackward0", select, *masked)
    s = parse(tuple(x.shape), key)
    if not s.axes:
        return as_one(s.title, _viewed, x, s)
    _index_shape(s.indices)
    return as_one("IndexBackward0", lambda x: index_(_viewed(x, s), *s.indices, axes=s.axes), x)


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """x[key] = value."""
    x = resolve(self)
    value = assigned(value, x.dtype)
    if _write_under_mask(x, key, value):
        return
    s = parse(tuple(x.shape), key)
    part = _viewed(x, s)
    if s.axes:
        apply_inplace(part, *writing(part, s, value, accumulate=False))
    else:
        copy_(part, _fitting(value, tuple(part.shape)))


def _under_mask(x: Tensor, key: Any) -> tuple[Tensor, Tensor, int] | None:
    """Of a subscript with one mask, and no other positions: the view that the rest of it selects,
    the mask, and from which dimension of the view on it stands.
    """
    items = [_as_index(k) for k in (key if isinstance(key, tuple) else (key,))]
    found = [
        k for k, item in enumerate(items)
        if isinstance(item, (bool, np.bool_))
        or isinstance(item, Tensor) and (item.ndim or item.dtype is bool_)
    ]
    if len(found) != 1 or not isinstance(mask := items[found[0]], Tensor):
        return None
    if mask.dtype is not bool_:
        return None
    before, after = items[: found[0]], items[found[0] + 1 :]
    rest = (*before, *(slice(None),) * mask.ndim, *after)
    used = sum(_consumed(k) for k in rest)
    dots = [k is Ellipsis for k in before]
    if used > x.ndim or any(dots) and any(k is Ellipsis for k in after):
        return None
    at = sum(k is None or isinstance(k, slice) for k in before)
    at += (x.ndim - used) * any(dots)
    part = _viewed(x, parse(tuple(x.shape), rest))
    fits = tuple(mask.shape) == tuple(part.shape[at : at + mask.ndim])
    return (part, mask, at) if fits else None


def _write_under_mask(x: Tensor, key: Any, value: Any) -> bool:
    """Write a value that is the same wherever the one mask in a subscript holds: that needs no
    positions, so it traces and fuses. False where the subscript or the value is another.
    """
    found = _under_mask(x, key)
    if found is None:
        return False
    part, mask, at = found
    if isinstance(value, Selection) and selects(part, mask, at, value):
        apply_inplace(
            part, composite("IndexPutBackward0")(write_selection), _of_one_dtype(part, value)
        )
        return True
    shape = tuple(part.shape)
    trail = len(shape) - at - mask.ndim
    if 1 != value.numel() and value.ndim > trail:
        return False
    if value.numel() == 1:
        value = cast(reshape(value, shape=()), dtype=x.dtype)
    else:
        value = _of_one_dtype(part, _fitting(value, shape[len(shape) - trail :]))
    if not mask.ndim and mode.grad:  # which may change before backward, as in torch
        mask = copy(mask)
    mask = reshape(mask, shape=(*mask.shape, *(1,) * trail))
    apply_inplace(
        part, composite("IndexPutBackward0")(lambda old, new: where_(mask, new, old)), value
    )
    return True


def _fitting(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Leading dimensions of extent 1 that the target lacks are dropped, as torch does in
    assignments.
    """
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshape(value, shape=tuple(value.shape[1:]))
    try:
        if broadcast("copy_", shape, tuple(value.shape)) == shape:
            return value
    except ShapeError:
        pass
    raise ShapeError(
        f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to "
        f"indexing result of shape {list(shape)}"
    )


def _index_shape(indices: Sequence[Tensor]) -> tuple[int, ...]:
    """The shape that index tensors are broadcast to."""
    shapes = [tuple(i.shape) for i in indices]
    try:
        return broadcast("index", *shapes)
    except ShapeError:
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            f"{', '.join(str(list(s)) for s in shapes)}"
        ) from None


def _of_one_dtype(x: Tensor, value: Tensor) -> Tensor:
    """`value`, if it can be written into x without a conversion."""
    if value.dtype is not x.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{SCALAR_TYPE[x.dtype]} for the destination and {SCALAR_TYPE[value.dtype]} for the "
            "source."
        )
    return value


def writing(
    part: Tensor, s: Subscript, value: Tensor, accumulate: bool
) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """The function of a tensor and a value that writes at the positions of a subscript, and the
    value in the shape and dtype that it wants.
    """
    indices = s.indices
    shape = result_shape(tuple(part.shape), s.axes, _index_shape(indices))
    value = expand(_of_one_dtype(part, _fitting(value, shape)), shape=shape)
    write = composite("IndexPutBackward0")(
        lambda x, v: index_put_(x, v, *indices, axes=s.axes, accumulate=accumulate)
    )
    return write, value
