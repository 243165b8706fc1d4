"""Primitives that move numbers and do not change them. In kernels they become index arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtype import DType
from ..op import Kind, Law, OpDef, Rule, ShapeError, always, are_axes, movement, register
from ..strides import View, inverse


def _seen(x: np.ndarray, move: Callable[..., Any], **params: Any) -> np.ndarray:
    """The array as a movement of its strides, here in bytes, lets it be seen; it may be written."""
    view = move(View(x.shape, x.strides), **params)
    if x.flags.c_contiguous:  # the same, in a tenth of the time
        return np.ndarray(view.shape, x.dtype, x, 0, view.strides)
    return np.lib.stride_tricks.as_strided(x, view.shape, view.strides)


def _reshaped(shape: tuple[int, ...], *, shape_: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) != math.prod(shape_):
        raise ShapeError(f"shape '{list(shape_)}' is invalid for input of size {math.prod(shape)}")
    return shape_


reshape = movement(
    "reshape", ref=lambda x, *, shape: x.reshape(shape),
    shape=lambda old, *, shape: _reshaped(old, shape_=shape),
    vjp=(lambda g, y, x, *, shape: reshape(g, shape=x.shape),), grad_name="ViewBackward0",
    view=View.reshape, aliases=True,
)

permute = movement(
    "permute", ref=lambda x, *, axes: x.transpose(axes),
    shape=lambda old, *, axes: tuple(old[a] for a in axes),
    vjp=(lambda g, y, x, *, axes: permute(g, axes=inverse(axes)),),
    view=View.permute, aliases=True,
    law=Law("axes is a permutation", lambda x, *, axes: sorted(axes) == list(range(x.ndim))),
)


def _expanded(old: tuple[int, ...], *, shape: tuple[int, ...]) -> tuple[int, ...]:
    lead = len(shape) - len(old)
    if lead < 0 or any(n != m and n != 1 for n, m in zip(old, shape[lead:], strict=True)):
        raise ShapeError(
            f"The expanded size of the tensor {list(shape)} must match the existing size "
            f"{list(old)}"
        )
    return shape


def _expand(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    return _seen(x, View.expand, shape=_expanded(x.shape, shape=shape))


expand = movement(
    "expand", ref=_expand, shape=_expanded,
    vjp=(lambda g, y, x, *, shape: g,),  # the reverse walk undoes broadcasting
    view=View.expand, aliases=True,
)

Slices = tuple[
    tuple[int, int, int], ...
]  # (start, stop, step) per axis, 0 <= start <= stop <= extent, step > 0


def _sliced(old: tuple[int, ...], *, slices: Slices) -> tuple[int, ...]:
    return tuple(len(range(*s)) for s in slices)


def unslice(x: Any, shape: tuple[int, ...], slices: Slices) -> Any:
    """Zeros of a shape, with x where the slices would take it from."""
    pads = []
    for extent, (start, _, step), count in zip(shape, slices, x.shape, strict=True):
        end = start + (count - 1) * step + 1 if count else start
        pads.append((start, extent - end, step - 1))
    return pad(x, pads=tuple(pads))


def _lie_within(slices: Slices, shape: tuple[int, ...]) -> bool:
    return len(slices) == len(shape) and all(
        0 <= start <= stop <= n and step > 0
        for (start, stop, step), n in zip(slices, shape, strict=True)
    )


slice = movement(
    "slice", ref=lambda x, *, slices: x[tuple(np.s_[a:b:c] for a, b, c in slices)],
    shape=_sliced, vjp=(lambda g, y, x, *, slices: unslice(g, x.shape, slices),),
    view=View.slice, aliases=True,
    law=Law("0 <= start <= stop <= extent and step > 0 on each axis",
            lambda x, *, slices: _lie_within(slices, x.shape)),
)

flip = movement(
    "flip", ref=lambda x, *, axes: np.flip(x, axes), shape=lambda old, *, axes: old,
    vjp=(lambda g, y, x, *, axes: flip(g, axes=axes),), view=View.flip,
    law=Law("axes are sorted axes of the input", lambda x, *, axes: are_axes(axes, x.ndim)),
)

Pads = tuple[
    tuple[int, int, int], ...
]  # (before, after, between neighbours) per axis, none negative


def _padded(old: tuple[int, ...], *, pads: Pads) -> tuple[int, ...]:
    return tuple(
        lo + (n + (n - 1) * gap if n else 0) + hi
        for n, (lo, hi, gap) in zip(old, pads, strict=True)
    )


def inner(shape: tuple[int, ...], pads: Pads) -> Slices:
    """Where the numbers of an array of this shape stand inside the padded one."""
    return tuple(
        (lo, lo + (n - 1) * (gap + 1) + 1 if n else lo, gap + 1)
        for n, (lo, _, gap) in zip(shape, pads, strict=True)
    )


def _pad(x: np.ndarray, *, pads: Pads) -> np.ndarray:
    out = np.zeros(_padded(x.shape, pads=pads), x.dtype)
    out[tuple(np.s_[a:b:c] for a, b, c in inner(x.shape, pads))] = x
    return out


pad = movement(  # with zeros
    "pad", ref=_pad, shape=_padded,
    vjp=(lambda g, y, x, *, pads: slice(g, slices=inner(x.shape, pads)),),
    grad_name="ConstantPadNdBackward0",
    law=Law("one triple of non-negative numbers per axis",
            lambda x, *, pads: len(pads) == x.ndim and min(map(min, pads), default=0) >= 0),
)


def _concat_aval(*avals: Any, axis: int) -> tuple[tuple[int, ...], DType]:
    shapes = [tuple(a.shape) for a in avals]
    first = shapes[0]
    rest = (*first[:axis], *first[axis + 1 :])
    if any(len(s) != len(first) or (*s[:axis], *s[axis + 1 :]) != rest for s in shapes):
        raise ShapeError(
            f"Sizes of tensors must match except in dimension {axis}. "
            f"Got {[list(s) for s in shapes]}"
        )
    return (*first[:axis], sum(s[axis] for s in shapes), *first[axis + 1 :]), avals[0].dtype


def _piece(k: int) -> Rule:
    def rule(g: Any, y: Any, *xs: Any, axis: int) -> Any:
        start = sum(x.shape[axis] for x in xs[:k])
        stop = start + xs[k].shape[axis]
        return slice(
            g,
            slices=tuple(
                (start, stop, 1) if d == axis else (0, n, 1) for d, n in enumerate(y.shape)
            ),
        )

    return rule


def _concat(*xs: np.ndarray, axis: int) -> np.ndarray:
    shape = (*xs[0].shape[:axis], sum(x.shape[axis] for x in xs), *xs[0].shape[axis + 1 :])
    return np.concatenate(xs, axis, out=np.empty(shape, xs[0].dtype))  # in the order of the indices


concat = register(OpDef(
    "concat", Kind.MOVEMENT, _concat, _concat_aval, _piece,
    grad_name="CatBackward0",
    law=Law("axis is an axis and the pieces have one dtype", lambda *pieces, axis:
            0 <= axis < pieces[0].ndim and len({x.dtype for x in pieces}) == 1),
))


def span(size: int, dilation: int) -> int:
    """How many positions a window of `size` numbers, `dilation` apart, reaches over."""
    return (size - 1) * dilation + 1


def overlapping(count: int, size: int, step: int, dilation: int) -> bool:
    """Whether some number stands in two of the windows, or twice in one."""
    meet = (k * dilation for k in range(1, size))  # how far apart two numbers of a window may be
    return any(apart % step == 0 and apart // step < count for apart in meet)


def _windowed(
    old: tuple[int, ...], *, axis: int, size: int, step: int, dilation: int
) -> tuple[int, ...]:
    count = (old[axis] - span(size, dilation)) // step + 1
    if count < 1 or size < 1 or step < 1 or dilation < 0:
        raise ShapeError(
            f"windows of {size} numbers, {dilation} apart, one every {step}, do not fit dimension "
            f"{axis} of shape {list(old)}"
        )
    return (*old[:axis], count, *old[axis + 1 :], size)


def _window(x: np.ndarray, *, axis: int, size: int, step: int, dilation: int) -> np.ndarray:
    _windowed(x.shape, axis=axis, size=size, step=step, dilation=dilation)  # which may refuse it
    return _seen(x, View.window, axis=axis, size=size, step=step, dilation=dilation)


def _fold_shape(
    old: tuple[int, ...], *, axis: int, extent: int, step: int, dilation: int
) -> tuple[int, ...]:
    shape = (*old[:axis], extent, *old[axis + 1 : -1])
    count = _windowed(shape, axis=axis, size=old[-1], step=step, dilation=dilation)[axis]
    if old[axis] != count:
        raise ShapeError(
            f"{old[axis]} windows of {old[-1]} numbers, {dilation} apart, one every {step}, do not "
            f"make {extent} numbers along dimension {axis}"
        )
    return shape


def _fold(x: np.ndarray, *, axis: int, extent: int, step: int, dilation: int) -> np.ndarray:
    shape = _fold_shape(x.shape, axis=axis, extent=extent, step=step, dilation=dilation)
    out = np.zeros(shape, x.dtype)
    reach = (x.shape[axis] - 1) * step + 1
    for tap in range(x.shape[-1]):
        at = (*(np.s_[:],) * axis, np.s_[tap * dilation : tap * dilation + reach : step])
        out[at] += x[..., tap]
    return out


# window(x, axis=, size=, step=, dilation=): sliding windows along an axis, which counts them; the
# numbers of each are a new last axis: y[..., i, ..., k] = x[..., i * step + k * dilation, ...]
window = movement(
    "window", ref=_window, shape=_windowed,
    vjp=(lambda g, y, x, *, axis, size, step, dilation: fold(
        g, axis=axis, extent=x.shape[axis], step=step, dilation=dilation),),
    grad_name="UnfoldBackward0", view=View.window, aliases=True,
)

# fold(x, axis=, extent=, step=, dilation=): the adjoint of window; what windows share is summed
fold = movement(
    "fold", ref=_fold, shape=_fold_shape, adds=always,
    vjp=(lambda g, y, x, *, axis, extent, step, dilation: window(
        g, axis=axis, size=x.shape[-1], step=step, dilation=dilation),),
)


def _square(old: tuple[int, ...]) -> tuple[int, ...]:
    if len(old) < 2 or old[-1] != old[-2]:
        raise ShapeError(f"a diagonal is taken of square matrices, not of shape {list(old)}")
    return old[:-1]


def embedded(x: Any) -> Any:
    """Square matrices of zeros with the last axis of x as their diagonals."""
    n = x.shape[-1]
    apart = pad(x, pads=(*((0, 0, 0),) * (len(x.shape) - 1), (0, 0, n)))  # n * n numbers
    return reshape(apart, shape=(*x.shape, n))


# diagonal(x): the diagonals of the square matrices that the last two axes are
diagonal = movement(
    "diagonal", ref=lambda x: np.einsum("...ii->...i", x), shape=_square,
    vjp=(lambda g, y, x: embedded(g),), view=View.diagonal, aliases=True,
)
