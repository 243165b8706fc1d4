"""Primitives that move numbers and do not change them. In kernels they become index arithmetic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtype import DType
from ..op import Kind, OpDef, ShapeError, movement, register


def _reshaped(shape: tuple[int, ...], *, shape_: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) != math.prod(shape_):
        raise ShapeError(f"shape '{list(shape_)}' is invalid for input of size {math.prod(shape)}")
    return shape_


reshape = movement(
    "reshape", ref=lambda x, *, shape: x.reshape(shape),
    shape=lambda old, *, shape: _reshaped(old, shape_=shape),
    vjp=(lambda g, y, x, *, shape: reshape(g, shape=x.shape),), grad_name="ViewBackward0",
)  # fmt: skip

permute = movement(
    "permute", ref=lambda x, *, axes: x.transpose(axes),
    shape=lambda old, *, axes: tuple(old[a] for a in axes),
    vjp=(lambda g, y, x, *, axes: permute(g, axes=tuple(int(a) for a in np.argsort(axes))),),
)  # fmt: skip


def _expanded(old: tuple[int, ...], *, shape: tuple[int, ...]) -> tuple[int, ...]:
    lead = len(shape) - len(old)
    if lead < 0 or any(n != m and n != 1 for n, m in zip(old, shape[lead:], strict=True)):
        raise ShapeError(
            f"The expanded size of the tensor {list(shape)} must match the existing size "
            f"{list(old)}"
        )
    return shape


expand = movement(
    "expand", ref=lambda x, *, shape: np.broadcast_to(x, shape), shape=_expanded,
    vjp=(lambda g, y, x, *, shape: g,),  # the reverse walk undoes broadcasting
)  # fmt: skip

Slices = tuple[
    tuple[int, int, int], ...
]  # (start, stop, step) per axis, 0 <= start <= stop <= extent, step > 0


def _sliced(old: tuple[int, ...], *, slices: Slices) -> tuple[int, ...]:
    return tuple(len(range(*s)) for s in slices)


def _unslice(g: Any, y: Any, x: Any, *, slices: Slices) -> Any:
    pads = []
    for extent, (start, _, step), count in zip(x.shape, slices, y.shape, strict=True):
        end = start + (count - 1) * step + 1 if count else start
        pads.append((start, extent - end, step - 1))
    return pad(g, pads=tuple(pads))


slice = movement(
    "slice", ref=lambda x, *, slices: x[tuple(np.s_[a:b:c] for a, b, c in slices)],
    shape=_sliced, vjp=(_unslice,),
)  # fmt: skip

flip = movement(
    "flip", ref=lambda x, *, axes: np.flip(x, axes), shape=lambda old, *, axes: old,
    vjp=(lambda g, y, x, *, axes: flip(g, axes=axes),),
)  # fmt: skip

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
)  # fmt: skip


def _concat_aval(*avals: Any, axis: int) -> tuple[tuple[int, ...], DType]:
    first = avals[0].shape
    for a in avals:
        if len(a.shape) != len(first) or any(
            n != m for d, (n, m) in enumerate(zip(a.shape, first, strict=True)) if d != axis
        ):
            raise ShapeError(
                f"Sizes of tensors must match except in dimension {axis}. "
                f"Got {[list(a.shape) for a in avals]}"
            )
    return (*first[:axis], sum(a.shape[axis] for a in avals), *first[axis + 1 :]), avals[0].dtype


def _piece(k: int):
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


concat = register(OpDef(
    "concat", Kind.MOVEMENT, lambda *xs, axis: np.concatenate(xs, axis), _concat_aval, _piece,
    grad_name="CatBackward0",
))  # fmt: skip
