"""Images of another size: `interpolate` and its older names.

Along an axis every number of the result is a weighted sum of a few of the input's. A kind of
interpolation is a function that tells their positions and weights; these depend on the sizes alone,
so they are constants of a program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...ir.dtype import int32, int64, uint8
from ...ir.op import ShapeError
from ...ir.ops.index import index as index_
from ...ir.ops.movement import expand, slice as slice_
from ...ir.ops.reduce import sum as sum_
from ...tracer.autograd.graph import composite
from ...tracer.autograd.sketches import warn
from ...tracer.tensor.tensor import Tensor
from ..arguments import refuse
from ..torch.creation import held
from ..torch.pointwise import clamp
from ..torch.shape import fresh, reshaped
from . import adaptive_pooling

__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]


class Taps(NamedTuple):
    """Of an axis: which numbers of the input, and how much of each, (out, taps)."""

    positions: np.ndarray
    weights: np.ndarray


class Axis(NamedTuple):
    n: int  # numbers in the input
    out: int
    align: bool  # whether the first and last numbers of both are the same
    factor: float | None  # the scale that was given

    @property
    def step(self) -> float:
        """How far apart neighbours of the output are in the input."""
        if self.align:
            return (self.n - 1) / (self.out - 1) if self.out > 1 else 0.0
        return 1 / self.factor if self.factor else self.n / self.out

    @property
    def places(self) -> np.ndarray:
        """Where the numbers of the output stand in the input."""
        at = np.arange(self.out, dtype=np.float64)
        return at * self.step if self.align else (at + 0.5) * self.step - 0.5


def _nearest(axis: Axis, shift: float) -> np.ndarray:
    step = np.float32(1 / axis.factor if axis.factor else axis.n / axis.out)  # as torch rounds it
    at = (np.arange(axis.out, dtype=np.float32) + np.float32(shift)) * step
    return np.minimum(np.floor(at).astype(np.int64), axis.n - 1)


def _linear(axis: Axis) -> Taps:
    places = np.maximum(axis.places, 0)
    low = np.minimum(np.floor(places).astype(np.int64), axis.n - 1)
    share = np.minimum(places - low, 1)
    positions = np.stack([low, np.minimum(low + 1, axis.n - 1)], 1)
    return Taps(positions, np.stack([1 - share, share], 1))


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel (1981) with the parameter a."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _cubic(axis: Axis) -> Taps:
    low = np.floor(axis.places)
    share = axis.places - low
    taps = np.arange(-1, 3)
    positions = np.clip(low.astype(np.int64)[:, None] + taps, 0, axis.n - 1)
    return Taps(positions, cubic(share[:, None] - taps, -0.75))


# kernel -> (how far it reaches, the kernel), for shrinking without aliasing
_FILTERS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "bilinear": (1, lambda x: np.maximum(1 - np.abs(x), 0)),
    "bicubic": (2, lambda x: cubic(x, -0.5)),
    "lanczos": (3, lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)),
}


def _smooth(axis: Axis, mode: str) -> Taps:
    """The kernel stretched over as many numbers as one of the output stands for."""
    reach, kernel = _FILTERS[mode]
    stretch = max(axis.step, 1.0)
    centre = axis.step * (np.arange(axis.out) + 0.5)
    start = np.maximum((centre - reach * stretch + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + reach * stretch + 0.5).astype(np.int64), axis.n)
    taps = np.arange(max(int((stop - start).max()), 1))
    positions = start[:, None] + taps
    weights = kernel((positions - centre[:, None] + 0.5) / stretch)
    weights = np.where(positions < stop[:, None], weights, 0.0)
    total = weights.sum(1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    return Taps(np.minimum(positions, np.maximum(stop - 1, 0)[:, None]), weights)


# ---- applied to an axis
def _picked(x: Tensor, axis: int, positions: np.ndarray) -> Tensor:
    """The numbers at some positions of an axis; repetition and strides are movement."""
    n, out = x.shape[axis], len(positions)
    if out % n == 0 and np.array_equal(positions, np.repeat(np.arange(n), out // n)):
        lead, rest = tuple(x.shape[: axis + 1]), tuple(x.shape[axis + 1 :])
        x = expand(reshaped(x, (*lead, 1, *rest)), shape=(*lead, out // n, *rest))
        return reshaped(x, (*lead[:-1], out, *rest))
    step = int(positions[1]) if out > 1 else 1
    if step and np.array_equal(positions, np.arange(out) * step):
        here = (
            (0, (out - 1) * step + 1, step) if d == axis else (0, m, 1)
            for d, m in enumerate(x.shape)
        )
        return slice_(x, slices=tuple(here))
    return index_(x, held(positions, int64), axes=(axis,))


def _weighed(x: Tensor, axis: int, taps: Taps) -> Tensor:
    """The weighted sums along an axis."""
    if x.dtype is uint8:
        return _of_bytes(x, axis, taps)
    seen = index_(x, held(taps.positions, int64), axes=(axis,))
    weights = held(x.dtype.encode(taps.weights), x.dtype)
    shape = (*taps.weights.shape, *(1,) * (x.ndim - 1 - axis))
    return sum_(seen * reshaped(weights, shape), dims=(axis + 1,))


def _of_bytes(x: Tensor, axis: int, taps: Taps) -> Tensor:
    """The same of bytes, rounded: as in torch by whole numbers, weights of up to 15 bits."""
    most = taps.weights.max(initial=0.0)
    bits = next((b for b in range(22) if int(0.5 + most * (1 << b + 1)) >= 1 << 15), 22)
    whole = np.trunc(taps.weights * (1 << bits) + np.copysign(0.5, taps.weights))
    wide = _weighed(x.to(int32), axis, Taps(taps.positions, whole))
    return clamp((wide + (1 << bits >> 1)) >> bits, 0, 255).to(uint8)


def _unless_kept(taps: Callable[[Axis], Taps]) -> Callable[[Tensor, int, Axis], Tensor]:
    """The weighted sums; as in torch an axis that keeps its length is left alone."""
    return lambda x, d, axis: x if axis.out == axis.n else _weighed(x, d, taps(axis))


# mode -> (spatial axes or 0 for any, torch's name, what is done along an axis)
_MODES: dict[str, tuple[int, str, Callable[[Tensor, int, Axis], Tensor]]] = {
    "nearest": (0, "Nearest", lambda x, d, axis: _picked(x, d, _nearest(axis, 0))),
    "nearest-exact": (0, "NearestExact", lambda x, d, axis: _picked(x, d, _nearest(axis, 0.5))),
    "linear": (1, "Linear", _unless_kept(_linear)),
    "bilinear": (2, "Bilinear", _unless_kept(_linear)),
    "trilinear": (3, "Trilinear", _unless_kept(_linear)),
    "bicubic": (2, "Bicubic", lambda x, d, axis: _weighed(x, d, _cubic(axis))),
}


def _per_axis(value: Any, x: Tensor, what: str) -> list:
    rank = x.ndim - 2
    if not isinstance(value, (tuple, list)):
        return [value] * rank
    if len(value) == rank:
        return list(value)
    head = (
        "Input and {} must have the same number of spatial dimensions, but got input with spatial "
        f"dimensions of {list(x.shape[2:])} and "
    )
    tail = ". Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
    if what == "size":
        raise ValueError(
            head.format("output") + f"output size of {value}{tail}output size in (o1, o2, ...,oK) "
            "format."
        )
    raise ValueError(
        head.format("scale_factor") + f"scale_factor of shape {value}{tail}scale_factor in (s1, "
        "s2, ...,sK) format."
    )


def _refuse(x: Tensor, mode: str) -> None:
    """Raise what torch raises for a mode that does not go with this many axes."""
    wanted = {"linear": 3, "bilinear": 4, "trilinear": 5}.get(mode)
    if wanted and 3 <= x.ndim <= 5 and (x.ndim, mode) != (5, "bicubic"):
        raise NotImplementedError(f"Got {x.ndim}D input, but {mode} mode needs {wanted}D input")
    raise NotImplementedError(
        "Input Error: Only 3D, 4D and 5D input Tensors supported "
        f"(got {x.ndim}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | "
        f"lanczos | area | nearest-exact (got {mode})"
    )


def _check_size_options(
    size: Any, scale_factor: Any, mode: str, align_corners: bool | None,
    recompute_scale_factor: bool | None,
) -> None:
    """Raise torch's error for ways to say a size that do not go together."""
    if mode in ("nearest", "area", "nearest-exact") and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            "| bicubic | trilinear"
        )
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")


def _check_mode_options(
    input: Tensor, mode: str, align_corners: bool | None, antialias: bool
) -> None:
    """Raise torch's error for options that a mode does not have."""
    if antialias and not (mode in _FILTERS and input.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires "
            "a 4-D tensor as input"
        )
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError(
            "Lanczos mode does not support align_corners=True" if align_corners
            else "Lanczos mode requires antialias=True"
        )


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images (N, C, *spatial) at another size, or larger by a factor.

    Shape: (N, C, *spatial) -> (N, C, *size), size or floor(spatial * scale_factor).
    Dtype: that of input, floating point, or uint8 for some modes.
    Raises ValueError unless exactly one of size and scale_factor is given; NotImplementedError for
    a mode that does not fit the rank.

    >>> F.interpolate(torch.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    _check_size_options(size, scale_factor, mode, align_corners, recompute_scale_factor)
    spatial = tuple(input.shape[2:])
    factors: list = [None] * len(spatial)
    if size is not None:
        out = [n.__index__() for n in _per_axis(size, input, "size")]
    else:
        factors = _per_axis(scale_factor, input, "scale_factor")
        out = [math.floor(n * f) for n, f in zip(spatial, factors, strict=True)]
        if recompute_scale_factor or mode == "area":
            factors = [None] * len(spatial)
    _check_mode_options(input, mode, align_corners, antialias)
    if mode == "area" and 3 <= input.ndim <= 5:
        return getattr(adaptive_pooling, f"adaptive_avg_pool{len(spatial)}d")(input, out)
    along: Any
    if mode == "nearest" and len(spatial) == 2:  # torch's axes that keep their length or double it
        factors = [
            None if o in (n, 2 * n) else f for n, o, f in zip(spatial, out, factors, strict=True)
        ]
    rank, name, along = _MODES.get(mode, (2 if antialias else -1, mode.title(), None))
    if not 3 <= input.ndim <= 5 or rank not in (0, len(spatial)):
        _refuse(input, mode)
    _refuse_empty(spatial, tuple(out))
    if 0 in input.shape[1:]:
        raise ShapeError(
            f"Non-empty {input.ndim}D data tensor expected but got a tensor with sizes "
            f"{list(input.shape)}"
        )
    if antialias:
        name, along = f"{name}2DAa", _unless_kept(lambda axis: _smooth(axis, mode))
    else:
        name = f"{name}{len(spatial)}D"

    of_bytes = ("nearest", "nearest-exact", "bilinear", "bicubic", "lanczos")
    if not input.is_floating_point() and not (input.dtype is uint8 and mode in of_bytes):
        raise refuse(f"upsample_{mode}{len(spatial)}d", input.dtype)

    @composite(f"Upsample{name}Backward0")
    def resampled(input: Tensor) -> Tensor:
        x, axes = input, list(enumerate(zip(spatial, out, factors, strict=True), 2))
        for d, (n, o, factor) in axes if x.dtype is not uint8 else reversed(axes):
            x = along(x, d, Axis(n, o, bool(align_corners), factor))
        return fresh(x, input)

    return resampled(input)


def _refuse_empty(spatial: tuple[int, ...], out: tuple[int, ...]) -> None:
    if min(spatial) < 1 or min(out) < 1:
        sides = ("D", "H", "W")[3 - len(spatial) :]
        before, after = (
            ", ".join(f"{s}: {n}" for s, n in zip(sides, part, strict=True))
            for part in (spatial, out)
        )
        raise ShapeError(
            f"Input and output sizes should be greater than 0, but got input ({before}) output "
            f"({after})"
        )


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate`, by its older name.

    Shape and dtype: as for `interpolate`.

    >>> F.upsample(torch.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2,
    )
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` to the nearest number.

    Shape and dtype: as for `interpolate`.

    >>> F.upsample_nearest(torch.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` linearly along two axes, with corners aligned.

    Shape and dtype: as for `interpolate`.

    >>> F.upsample_bilinear(torch.tensor([[[[1.0, 2.0]]]]), size=(1, 3))
    tensor([[[[1.0000, 1.5000, 2.0000]]]])
    """
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
