"""Images seen through a grid of coordinates from -1 to 1: grid_sample and affine_grid."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np

from ...ir.dtype import int64
from ...ir.op import ShapeError
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
from ...tracer.autograd.graph import composite
from ...tracer.tensor.tensor import Tensor
from ..linalg.matmul import matmul
from ..math.scaled_operands import floats_only
from ..tensors.creation import held
from ..tensors.shape import reshaped
from .windows import along, counted

__all__ = ["affine_grid", "grid_sample"]  # the grid_samplers are names of tracegrad itself

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
    warnings.warn(
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
    """`grid_sample` with its modes as numbers."""
    mode, outside = _MODES[interpolation_mode], _OUTSIDE[padding_mode]
    return grid_sample(input, grid, mode, outside, align_corners)


grid_sampler_2d = grid_sampler_3d = grid_sampler


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grid (N, *spatial, coordinates) of affine maps theta (N, rank, rank + 1), for images of
    the size (N, C, *spatial).
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
        base = held(theta.dtype.encode(points.astype(theta.dtype.compute)), theta.dtype)
        grid = matmul(base, permute(theta, axes=(0, 2, 1)))
        return reshaped(grid, (theta.shape[0], *spatial, rank))

    return placed(theta)
