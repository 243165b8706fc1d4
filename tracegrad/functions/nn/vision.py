"""Images: padding, channels as pixels, images seen through a grid of coordinates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.dtype import bool_, int64
from ...ir.op import ShapeError
from ...ir.ops import movement as ops
from ...ir.ops.elementwise import (
    cast,
    floor,
    fmod,
    logical_and,
    round as nearest_to,
    stop_gradient,
    where,
)
from ...ir.ops.index import index as index_
from ...ir.ops.movement import permute
from ...ir.ops.source import full
from ...tracer.autograd.graph import composite
from ...tracer.autograd.sketches import warn
from ...tracer.tensor.dispatch import bind, number
from ...tracer.tensor.promotion import checked_number
from ...tracer.tensor.tensor import Tensor
from ..arguments import floats_only, no_bools
from ..torch.blas import matmul
from ..torch.creation import held
from ..torch.shape import fresh, reshaped
from ..torch.slicing_joining import cat
from .windows import along, counted

# grid_sampler and its kind are names of tracegrad itself
__all__ = [
    "affine_grid", "channel_shuffle", "grid_sample", "native_channel_shuffle", "pad",
    "pixel_shuffle", "pixel_unshuffle",
]


# ---- padding: all modes are slices, flips and repetitions, joined
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


def _mirrored(x: Tensor, axis: int, lo: int, hi: int) -> list[Tensor]:
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


_AROUND = {"reflect": _mirrored, "replicate": _replicated, "circular": _wrapped}


def _around(x: Tensor, sides: Sides, mode: str) -> Tensor:
    """x continued beyond its ends, one axis after the other. What is taken away goes last, but for
    'circular', where what is left is wrapped.
    """
    given, less = x, tuple((min(lo, 0), min(hi, 0)) for lo, hi in sides)
    if mode == "circular":
        x, less = _cropped(x, less), ()
    for axis, (lo, hi) in enumerate(sides):
        if lo > 0 or hi > 0:
            whole = _AROUND[mode](x, axis, max(lo, 0), max(hi, 0))
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
    if mode != "constant" and mode not in _AROUND:
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


# ---- channels as pixels
# ---- channels and pixels
def _pixels(x: Tensor, function: str) -> None:
    if x.ndim < 3:
        raise ShapeError(
            f"{function} expects input to have at least 3 dimensions, but got input with {x.ndim} "
            "dimension(s)"
        )


@composite("PixelShuffleBackward0")
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C * r * r, H, W) -> (*, C, H * r, W * r).

    Shape: as above. Dtype: that of input. Shi et al. (2016).
    Raises RuntimeError if r * r does not divide the channels, or for fewer than three dimensions.

    >>> x = torch.arange(4).reshape(4, 1, 1)
    >>> F.pixel_shuffle(x, upscale_factor=2)
    tensor([[[0, 1],
             [2, 3]]])
    """
    r = upscale_factor
    _pixels(input, "pixel_shuffle")
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, channels, height, width = input.shape
    if channels % (r * r):
        raise ShapeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}"
        )
    k, c = len(lead), channels // (r * r)
    x = reshaped(input, (*lead, c, r, r, height, width))
    x = permute(x, axes=(*range(k), *(k + d for d in (0, 3, 1, 4, 2))))
    return fresh(reshaped(x, (*lead, c, height * r, width * r)), input)


@composite("PixelUnshuffleBackward0")
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H * r, W * r) -> (*, C * r * r, H, W).

    Shape: as above. Dtype: that of input.
    Raises RuntimeError if r does not divide the height and the width.

    >>> x = torch.arange(4).reshape(1, 2, 2)
    >>> F.pixel_unshuffle(x, downscale_factor=2).flatten()
    tensor([0, 1, 2, 3])
    """
    r = downscale_factor
    _pixels(input, "pixel_unshuffle")
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, channels, height, width = input.shape
    for side, n, at in (("height", height, -2), ("width", width, -1)):
        if n % r:
            raise ShapeError(
                f"pixel_unshuffle expects {side} to be divisible by downscale_factor, but "
                f"input.size({at})={n} is not divisible by {r}"
            )
    k = len(lead)
    x = reshaped(input, (*lead, channels, height // r, r, width // r, r))
    x = permute(x, axes=(*range(k), *(k + d for d in (0, 2, 4, 1, 3))))
    return fresh(reshaped(x, (*lead, channels * r * r, height // r, width // r)), input)


@composite("ChannelShuffleBackward0")
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, *) dealt out: the first of each group, then the second of each.

    Shape: (N, C, *) -> (N, C, *). Dtype: that of input. Zhang et al. (2018).
    Raises RuntimeError if `groups` does not divide the channels.

    >>> x = torch.arange(4).reshape(1, 4, 1)
    >>> F.channel_shuffle(x, groups=2).flatten()
    tensor([0, 2, 1, 3])
    """
    if input.ndim <= 2:
        raise ShapeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    n, channels, *rest = input.shape
    if channels % groups:
        raise ShapeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} "
            "groups."
        )
    x = reshaped(input, (n, groups, channels // groups, *rest))
    x = permute(x, axes=(0, 2, 1, *range(3, 3 + len(rest))))
    return fresh(reshaped(x, tuple(input.shape)), input)


native_channel_shuffle = channel_shuffle


# ---- images seen through a grid of coordinates from -1 to 1
_MODES = ("bilinear", "nearest", "bicubic")
_OUTSIDE = ("zeros", "border", "reflection")


def _clipped(at: Tensor, n: int) -> Tensor:
    """Coordinates within the image; no gradient where they were not, nor at the ends."""
    return where(at > 0, where(at < n - 1, at, n - 1), 0)


def _reflected(at: Tensor, low: float, high: float) -> Tensor:
    """Coordinates mirrored at both ends until they lie between."""
    if low == high:
        return at * 0
    span = high - low
    away = where(at < low, low - at, at - low)
    turns = stop_gradient(floor(away / span))
    rest = fmod(away, span)
    return where(turns % 2 == 0, rest + low, high - rest)


def _brought_in(at: Tensor, n: int, outside: str, align: bool) -> Tensor:
    if outside == "reflection":
        at = _reflected(at, 0, n - 1) if align else _reflected(at, -0.5, n - 0.5)
    return at if outside == "zeros" else _clipped(at, n)


def _pixel(grid: Tensor, n: int, align: bool) -> Tensor:
    """Coordinates from -1 to 1 as positions along n pixels."""
    return (grid + 1) / 2 * (n - 1) if align else ((grid + 1) * n - 1) / 2


def _fetch(x: Tensor, places: list[Tensor]) -> Tensor:
    """The pixels at whole positions (N, *out) as (N, C, *out), zeros outside the image."""
    spatial = x.shape[2:]
    inside: Any = None
    for at, n in zip(places, spatial, strict=True):
        here = logical_and(at >= 0, at <= n - 1)
        inside = here if inside is None else logical_and(inside, here)
    indices = [cast(where(inside, at, 0), dtype=int64) for at in places]
    image = along(counted(x.shape[0]), 0, places[0].ndim)
    seen = index_(x, image, *indices, axes=(0, *range(2, x.ndim)))  # (N, *out, C)
    rank = len(spatial)
    seen = permute(seen, axes=(0, rank + 1, *range(1, rank + 1)))
    return where(reshaped(inside, (x.shape[0], 1, *inside.shape[1:])), seen, 0)


def _channelled(weight: Tensor) -> Tensor:
    return reshaped(weight, (weight.shape[0], 1, *weight.shape[1:]))


def _cubic(share: Tensor) -> list[Tensor]:
    """Keys' kernel (1981), a = -0.75, at the four taps around a place."""
    a = -0.75
    out = []
    for x, near in ((share + 1, 0), (share, 1), (1 - share, 1), (2 - share, 0)):
        if near:
            out.append(((a + 2) * x - (a + 3)) * x * x + 1)
        else:
            out.append(((a * x - 5 * a) * x + 8 * a) * x - 4 * a)
    return out


def _sampled(x: Tensor, grid: Tensor, mode: str, outside: str, align: bool) -> Tensor:
    spatial = tuple(x.shape[2:])
    places = [  # the last coordinate is that of the first axis
        _pixel(grid[..., len(spatial) - 1 - d], n, align) for d, n in enumerate(spatial)
    ]
    if mode != "bicubic":
        places = [_brought_in(at, n, outside, align) for at, n in zip(places, spatial, strict=True)]
    if mode == "nearest":
        y = _fetch(x, [nearest_to(at) for at in places])
        return where(False, _channelled(places[0]), y)  # the grid's gradient is zero, not absent
    taps = []  # for each axis: (position, weight) pairs
    for at, n in zip(places, spatial, strict=True):
        low = stop_gradient(floor(at))
        share = at - low
        if mode == "bilinear":
            taps.append([(low, 1 - share), (low + 1, share)])
        else:
            whole = [_brought_in(low + k, n, outside, align) for k in (-1, 0, 1, 2)]
            taps.append(list(zip(whole, _cubic(share), strict=True)))
    total: Any = None
    for corner in itertools.product(*taps):
        weight = corner[0][1]
        for _, factor in corner[1:]:
            weight = weight * factor
        part = _fetch(x, [at for at, _ in corner]) * _channelled(weight)
        total = part if total is None else total + part
    return total


def _warn_of_corners(function: str) -> None:
    warn(
        "Default grid_sample and affine_grid behavior has changed to align_corners=False since "
        f"1.3.0. Please specify align_corners=True if the old behavior is desired. See the "
        f"documentation of {function} for details.",
        stacklevel=3,
    )


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Images (N, C, *spatial) at the places (N, *out, coordinates) of a grid, the coordinate of the
    last axis first.

    Dtype: that of both. Shape: (N, C, H, W), (N, h, w, 2) -> (N, C, h, w), and so in three
    dimensions.
    Raises RuntimeError if dtypes or shapes do not fit; ValueError for another mode.

    >>> F.grid_sample(torch.ones(1, 1, 4, 4), torch.zeros(1, 2, 2, 2), align_corners=False).shape
    tracegrad.Size([1, 1, 2, 2])
    """
    for name, value, known in (
        ("mode", mode, _MODES), ("padding_mode", padding_mode, _OUTSIDE),
    ):
        if value not in known:
            raise ValueError(
                f"nn.functional.grid_sample(): expected {name} to be '{known[0]}', '{known[1]}'"
                f"{',' if name == 'padding_mode' else ''} or '{known[2]}', but got: '{value}'"
            )
    if align_corners is None:
        _warn_of_corners("grid_sample")
    x, rank = input, input.ndim - 2
    sizes = f"got input with sizes {list(x.shape)} and grid with sizes {list(grid.shape)}"
    if x.shape[0] != grid.shape[0]:
        raise ShapeError(
            f"grid_sampler(): expected grid and input to have same batch size, but {sizes}"
        )
    if grid.shape[-1] != rank:
        raise ShapeError(
            f"grid_sampler(): expected grid to have size {rank} in last dimension, but got grid "
            f"with sizes {list(grid.shape)}"
        )
    if rank not in (2, 3) or grid.ndim != x.ndim:
        raise ShapeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"{sizes}"
        )
    if 0 in x.shape[2:]:
        raise ShapeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has "
            f"sizes {list(x.shape)}"
        )
    if x.dtype is not grid.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has "
            f"{x.dtype} and grid has {grid.dtype}"
        )
    if mode == "bicubic" and rank == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    floats_only(f"grid_sampler_{rank}d_cpu", x)
    sample = composite(f"GridSampler{rank}DBackward0")(_sampled)
    return sample(x, grid, mode, padding_mode, bool(align_corners))


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sample` with its modes as numbers.

    Modes: bilinear, nearest, bicubic; padding: zeros, border, reflection.

    >>> image, grid = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[-1.0, 0.0]]]])
    >>> torch.grid_sampler(image, grid, 0, 0, True)
    tensor([[[[1.]]]])
    """
    mode, outside = _MODES[interpolation_mode], _OUTSIDE[padding_mode]
    return grid_sample(input, grid, mode, outside, align_corners)


grid_sampler_2d = grid_sampler_3d = grid_sampler


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grid (N, *spatial, coordinates) of affine maps theta (N, rank, rank + 1), for images of
    the size (N, C, *spatial).

    Dtype: that of theta. Raises ValueError if theta does not fit.

    >>> theta = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> F.affine_grid(theta, (1, 1, 1, 2), align_corners=True)
    tensor([[[[-1.,  0.],
              [ 1.,  0.]]]])
    """
    if not theta.dtype.is_floating_point:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    size = tuple(n.__index__() for n in size)
    rank = len(size) - 2
    if rank not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {size}."
        )
    if tuple(theta.shape[1:]) != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size "
            f"{size}. Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    if align_corners is None:
        _warn_of_corners("affine_grid")
    spatial = size[2:]
    axes = []
    for n in spatial:
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        axes.append(line if align_corners else line * (n - 1) / n)
    mesh = np.meshgrid(*axes, indexing="ij")[::-1]
    points = np.stack([*mesh, np.ones(spatial)], -1).reshape(-1, rank + 1)

    @composite("AffineGridGeneratorBackward0")
    def placed(theta: Tensor) -> Tensor:
        base = held(theta.dtype.encode(points), theta.dtype)
        grid = matmul(base, permute(theta, axes=(0, 2, 1)))
        return reshaped(grid, (theta.shape[0], *spatial, rank))

    return placed(theta)
