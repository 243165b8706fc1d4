"""Padding. All modes are movement: slices, flips and repetitions put one behind the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...ir.dtype import bool_
from ...ir.op import ShapeError
from ...ir.ops import movement as ops
from ...ir.ops.elementwise import where
from ...ir.ops.source import full
from ...tracer.autograd.graph import composite
from ...tracer.tensor.dispatch import bind, number
from ...tracer.tensor.promotion import checked_number
from ...tracer.tensor.tensor import Tensor
from ..math.scaled_operands import no_bools
from ..tensors.joining import cat
from ..tensors.shape import fresh

__all__ = ["pad"]

Sides = tuple[tuple[int, int], ...]  # (before, after) for each axis of the tensor


def _part(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """What stands at [start, stop) along an axis."""
    here = ((start, stop, 1) if d == axis else (0, n, 1) for d, n in enumerate(x.shape))
    return ops.slice(x, slices=tuple(here))


def _cropped(x: Tensor, sides: Sides) -> Tensor:
    """x without what negative padding takes away."""
    for axis, (lo, hi) in enumerate(sides):
        start, stop = max(-lo, 0), x.shape[axis] - max(-hi, 0)
        if stop < start:
            raise RuntimeError("narrow(): length must be non-negative.")
        if (start, stop) != (0, x.shape[axis]):
            x = _part(x, axis, start, stop)
    return x


def _constant(x: Tensor, sides: Sides, value: float) -> Tensor:
    x = _cropped(x, sides)
    wider = tuple((max(lo, 0), max(hi, 0), 0) for lo, hi in sides)
    if not any(lo or hi for lo, hi, _ in wider):
        return x.clone() if not any(map(any, sides)) else x
    padded = ops.pad(x, pads=wider)
    if value == 0 and math.copysign(1, value) > 0:
        return padded
    ones = bind(full, (), {"value": True, "shape": tuple(x.shape), "dtype": bool_})
    return where(ops.pad(ones, pads=wider), padded, number(checked_number(value, x.dtype), x.dtype))


def _reflected(x: Tensor, axis: int, lo: int, hi: int) -> list[Tensor]:
    n = x.shape[axis]
    before, after = _part(x, axis, 1, lo + 1), _part(x, axis, n - 1 - hi, n - 1)
    return [ops.flip(before, axes=(axis,)), x, ops.flip(after, axes=(axis,))]


def _replicated(x: Tensor, axis: int, lo: int, hi: int) -> list[Tensor]:
    n = x.shape[axis]
    ends = ((_part(x, axis, 0, 1), lo), (_part(x, axis, n - 1, n), hi))
    shapes = (tuple(k if d == axis else m for d, m in enumerate(x.shape)) for _, k in ends)
    before, after = (ops.expand(e, shape=s) for (e, _), s in zip(ends, shapes, strict=True))
    return [before, x, after]


def _wrapped(x: Tensor, axis: int, lo: int, hi: int) -> list[Tensor]:
    n = x.shape[axis]
    return [_part(x, axis, n - lo, n), x, _part(x, axis, 0, hi)]


_MODES = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}


def _around(x: Tensor, sides: Sides, mode: str) -> Tensor:
    """x continued beyond its ends, one axis after the other. What is taken away goes last, but for
    'circular', where what is left is wrapped.
    """
    given, less = x, tuple((min(lo, 0), min(hi, 0)) for lo, hi in sides)
    if mode == "circular":
        x, less = _cropped(x, less), ()
    for axis, (lo, hi) in enumerate(sides):
        if lo > 0 or hi > 0:
            whole = _MODES[mode](x, axis, max(lo, 0), max(hi, 0))
            x = cat([part for part in whole if part.shape[axis]], axis)
    return fresh(_cropped(x, less), given)


def _check(x: Tensor, pad: Sequence[int], sides: Sides, mode: str) -> None:
    rank = len(pad) // 2
    if len(pad) % 2 or x.ndim not in (rank + 1, rank + 2) or rank > 3 or not rank:
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {x.ndim}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    if mode != "circular" and 0 in x.shape[x.ndim - rank - 1 :]:
        raise ShapeError(
            f"Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with possibly 0 batch size "
            f"and other non-zero dimensions for input, but got: {list(x.shape)}"
        )
    for axis, (lo, hi) in enumerate(sides):
        n = x.shape[axis]
        if not (lo or hi):
            continue
        if mode == "reflect" and max(lo, hi) >= n > 0:
            which = 4 + 2 * (x.ndim - 1 - axis)
            raise ShapeError(
                f"Argument #{which}: Padding size should be less than the corresponding input "
                f"dimension, but got: padding ({lo}, {hi}) at dimension {axis} of input "
                f"{list(x.shape)}"
            )
        if mode == "circular" and max(lo, hi) > max(n + min(lo, 0) + min(hi, 0), 0):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if n + lo + hi < (mode != "circular") or n == 0:
            raise ShapeError(
                f"input (size: {n}) of dimension {axis} is too small for the padding ({lo}, {hi})"
            )


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Tensor:
    """More at the ends of the last axes, (before, after) from the last axis on; negative numbers
    take away. What is added is `value`, or the tensor reflected, its end repeated ('replicate'), or
    the tensor again ('circular').

    Shape: each padded extent grows by before + after; negative numbers take away.
    Dtype: that of input.
    Raises RuntimeError for an odd number of ends or too many; NotImplementedError for another mode.

    >>> F.pad(torch.tensor([1, 2]), (1, 2), value=9)
    tensor([9, 1, 2, 9, 9])
    """
    pad = [p.__index__() for p in pad]
    if mode != "constant" and mode not in _MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if mode != "constant" and value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode == "constant" and len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if mode == "constant" and len(pad) // 2 > input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(pad)} and input of dimension {input.ndim}"
        )
    pairs = list(zip(pad[::2], pad[1::2], strict=False))[::-1]
    sides = (*((0, 0),) * (input.ndim - len(pairs)), *pairs)
    if mode == "constant":
        value = 0 if value is None else value
        return composite("ConstantPadNdBackward0")(_constant)(input, sides, value)
    if mode != "circular":
        no_bools(f"{mode[:-1] if mode == 'replicate' else mode}ion_pad{len(pairs)}d", input)
    _check(input, pad, sides, mode)
    return composite(_title(mode, len(pairs), sides))(_around)(input, sides, mode)


def _title(mode: str, rank: int, sides: Sides) -> str:
    if mode == "circular":  # which torch makes by copying
        return "CopySlices"
    return f"{'Reflection' if mode == 'reflect' else 'Replication'}Pad{rank}DBackward0"
