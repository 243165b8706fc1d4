"""Pooling to a given size, with regular windows or with random ones, and back from the positions of
maxima.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import int64
from ...ir.op import ShapeError
from ...ir.ops.elementwise import cast, floor, minimum as smaller
from ...ir.ops.index import index as index_
from ...ir.ops.movement import concat, expand, permute
from ...ir.ops.reduce import sum as sum_
from ...ir.ops.source import full
from ...tracer.autograd.graph import composite
from ...tracer.tensor.dispatch import bind
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..arguments import floats_only, refuse
from ..torch.creation import zeros
from ..torch.random_sampling import rand
from ..torch.scatter import scatter
from ..torch.shape import reshaped
from .pooling import Seen, divided, inside_of, maximum_of, sizes_of, slide, spread_out, title
from .windows import Ints, along, batched, by_rank, counted, each

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices", "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "max_unpool1d", "max_unpool2d", "max_unpool3d",
]


def _divide(x: Tensor, out: Ints) -> Seen:
    """Windows of an adaptive pooling: from floor(i * n / out) to ceil((i + 1) * n / out)."""
    spatial, rank = tuple(x.shape[2:]), len(out)
    ones = (1,) * rank
    if all(n % o == 0 and n for n, o in zip(spatial, out, strict=True)):
        sizes = tuple(n // o for n, o in zip(spatial, out, strict=True))
        return slide(x, sizes, sizes, (0,) * rank, ones, out)
    extents, starts, stops = [], [], []
    for d, (n, o) in enumerate(zip(spatial, out, strict=True)):
        size = max(-(-(i + 1) * n // o) - i * n // o for i in range(o))
        start, stop = counted(o) * n // o, -(-(counted(o) + 1) * n // o)
        at = smaller(along(start, 0, 2) + along(counted(size), 1, 2), n - 1)
        axis = 2 + 2 * d  # behind the axes (out, size) of those before
        x = index_(x, at, axes=(axis,))
        extents.append(size)
        starts.append(start)
        stops.append(stop if o * size != n else None)
    order = (*range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2))
    inside = inside_of(tuple(starts), tuple(extents), ones, stops)
    return Seen(permute(x, axes=(0, 1, *order)), inside, spread_out(tuple(starts)), ones, spatial)


def _target(x: Tensor, output_size: Any, function: str, rank: int, axes_free: bool) -> Ints:
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{function}(): Expected {rank + 1}D or {rank + 2}D tensor, but got: {list(x.shape)}"
        )
    given = tuple(x.shape[x.ndim - rank :])
    if axes_free and isinstance(output_size, (tuple, list)) and len(output_size) == rank:
        output_size = [n if o is None else o for o, n in zip(output_size, given, strict=True)]
    out = each(output_size, rank)
    if out is None:
        raise RuntimeError(f"{function}: output_size must be {rank}")
    if min(out) < 0:
        shown = ", ".join(map(str, out))
        raise RuntimeError(
            f"{function}: elements of output_size must be greater than or equal to 0 but received "
            f"{{{shown}}}"
        )
    if 0 in x.shape[x.ndim - rank if rank < 3 and function.startswith("adaptive_avg") else 1 :]:
        raise ShapeError(
            f"{function}(): Expected input to have non-zero size for non-batch dimensions, but "
            f"input has sizes {list(x.shape)}"
        )
    return out


def _nothing(x: Tensor, out: Ints) -> Tensor:
    return zeros(*x.shape[:2], *out, dtype=x.dtype)


def _mean_title(out: Ints) -> str:
    """torch takes a mean where one window is everything."""
    rank = len(out)
    if rank > 1 and out == (1,) * rank:
        return "MeanBackward1"
    return title("AdaptiveAvgPool{}DBackward0", rank)


def _adaptive_mean(rank: int) -> Any:
    def adaptive_avg_pool(input: Tensor, output_size: Any) -> Tensor:
        """The means of windows that divide {rank} spatial axes into `output_size` parts.

        Shape: (N, C, *spatial) -> (N, C, *output_size), or without N; None keeps an extent.
        Dtype: that of input, which must be floating point.
        Raises NotImplementedError for integers; ValueError or RuntimeError for a wrong rank.

        >>> x = torch.ones(1, 1{,5})
        >>> F.adaptive_avg_pool{rank}d(x, output_size=2).shape
        tracegrad.Size([1, 1{,2}])
        """
        out = _target(input, output_size, f"adaptive_avg_pool{rank}d", rank, True)
        if not input.is_floating_point():
            raise refuse(f"adaptive_avg_pool{max(rank, 2)}d", input.dtype)

        def pooled(x: Tensor) -> Tensor:
            if 0 in out:
                return _nothing(x, out)
            seen = _divide(x, out)
            counts: list[int | Tensor] = []
            for n, o in zip(seen.spatial, out, strict=True):
                start, stop = counted(o) * n // o, -(-(counted(o) + 1) * n // o)
                counts.append(n // o if n % o == 0 else stop - start)
            return divided(sum_(seen.filled(0), dims=seen.dims), counts)

        return composite(_mean_title(out))(batched)(input, rank, pooled)

    return adaptive_avg_pool


def _adaptive_with_indices(rank: int) -> Any:
    def adaptive_max_pool(input: Tensor, output_size: Any, return_indices: bool = True) -> Any:
        """(maxima of windows that divide {rank} spatial axes, their positions in the input).

        Shape: (N, C, *spatial) -> (N, C, *output_size), or without N; None keeps an extent.
        Dtype: that of input, which must be floating point.
        Raises NotImplementedError for integers; ValueError or RuntimeError for a wrong rank.

        >>> values, indices = F.adaptive_max_pool{rank}d_with_indices(torch.ones(1, 1{,5}), 2)
        >>> indices.shape
        tracegrad.Size([1, 1{,2}])
        """
        out = _target(input, output_size, f"adaptive_max_pool{rank}d", rank, True)
        floats_only(f"adaptive_max_pool{max(rank, 2)}d", input)

        def pooled(x: Tensor) -> Any:
            if 0 in out:
                y = _nothing(x, out)
                return (y, y.long()) if return_indices else y
            return maximum_of(_divide(x, out), return_indices)

        name = title("AdaptiveMaxPool{}DBackward0", rank)
        return composite(name)(batched)(input, rank, pooled)

    return adaptive_max_pool


def _adaptive_max(rank: int) -> Any:
    with_indices = _ADAPTIVE[rank - 1]

    def adaptive_max_pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        """The maxima of windows that divide {rank} spatial axes into `output_size` parts.

        Shape: (N, C, *spatial) -> (N, C, *output_size), or without N; None keeps an extent.
        Dtype: that of input, which must be floating point.
        Raises NotImplementedError for integers; ValueError or RuntimeError for a wrong rank.

        >>> x = torch.ones(1, 1{,5})
        >>> F.adaptive_max_pool{rank}d(x, output_size=2).shape
        tracegrad.Size([1, 1{,2}])
        """
        return with_indices(input, output_size, return_indices)

    return adaptive_max_pool


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = by_rank(
    _adaptive_mean, "adaptive_avg_pool{}d"
)
_ADAPTIVE = by_rank(_adaptive_with_indices, "adaptive_max_pool{}d_with_indices")
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, \
    adaptive_max_pool3d_with_indices = _ADAPTIVE
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = by_rank(
    _adaptive_max, "adaptive_max_pool{}d"
)


# ---- back to where the maxima stood
def _unpool(rank: int) -> Any:
    def max_unpool(
        input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
        output_size: Any = None,
    ) -> Tensor:
        """Zeros with the input's numbers at the positions that a max_pool{rank}d answered.

        Shape: (N, C, *pooled), the same -> (N, C, *out), or without N. An extent of out is
        (pooled - 1) stride - 2 padding + kernel, or that of output_size.
        Dtype: that of input; positions int64.
        Raises RuntimeError for a position out of range; ValueError for an impossible size.

        >>> values, indices = F.max_pool{rank}d(torch.ones(1, 1{,4}), 2, return_indices=True)
        >>> F.max_unpool{rank}d(values, indices, 2).sum() == values.numel()
        tensor(True)
        """
        function = f"max_unpool{rank}d"
        sizes = sizes_of(kernel_size, "kernel_size", rank, function)
        steps = sizes if stride is None else sizes_of(stride, "stride", rank, function)
        pads = sizes_of(padding, "padding", rank, function)
        if indices.dtype is not int64:
            raise RuntimeError(
                f"elements in indices should be type int64 but got: {SCALAR_TYPE[indices.dtype]}"
            )
        if indices.shape != input.shape:
            raise ShapeError(
                "Expected shape of indices to be same as that of the input tensor "
                f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}"
            )
        floats_only(f"max_unpool{max(rank, 2)}d", input)
        spatial = input.shape[input.ndim - rank :]
        usual = tuple(
            (n - 1) * s + k - 2 * p for n, s, k, p in zip(spatial, steps, sizes, pads, strict=True)
        )
        out = usual if output_size is None else _near(output_size, usual, steps, rank)
        lead = tuple(input.shape[: input.ndim - rank])
        flat = zeros(*lead, math.prod(out), dtype=input.dtype)
        at, values = (reshaped(t, (*lead, math.prod(spatial))) for t in (indices, input))
        return reshaped(scatter(flat, -1, at, values), (*lead, *out))

    return composite(title("MaxUnpool{}DBackward0", rank))(max_unpool)


def _near(output_size: Any, usual: Ints, steps: Ints, rank: int) -> Ints:
    """An output size that the pooling could have come from."""
    wanted = tuple(output_size)
    out = wanted[2:] if len(wanted) == rank + 2 else wanted
    if len(out) != rank:
        raise ValueError(
            f"output_size should be a sequence containing {rank} or {rank + 2} elements, but it "
            f"has a length of '{len(wanted)}'"
        )
    for d, (n, u, s) in enumerate(zip(out, usual, steps, strict=True)):
        if not u - s < n < u + s:
            raise ValueError(
                f'invalid output_size "{out}" (dim {d} must be between {u - s} and {u + s})'
            )
    return out


max_unpool1d, max_unpool2d, max_unpool3d = by_rank(_unpool, "max_unpool{}d")


# ---- fractional max pooling: windows at random places that divide the input evenly (Graham 2014)
def _starts(sample: Tensor, n: int, out: int, size: int) -> Tensor:
    """Where the windows of an axis begin, (N, C, out): steps of n / out, rounded down after a
    random shift (N, C); the last window ends where the input does.
    """
    lead = tuple(sample.shape)
    shape = (*lead, 1)
    last = expand(bind(full, (), {"value": n - size, "shape": (), "dtype": int64}), shape=shape)
    if out == 1:
        return last
    step = (n - size) / (out - 1)
    shift = reshaped(sample, shape)
    at = along(cast(counted(out - 1), dtype=sample.dtype), 2, 3)
    places = floor((at + shift) * step) - floor(shift * step)
    return concat(cast(places, dtype=int64), last, axis=2)


def _gathered(x: Tensor, samples: Tensor, sizes: Ints, out: Ints) -> Seen:
    spatial, rank = tuple(x.shape[2:]), len(sizes)
    total = 2 + 2 * rank
    # torch draws the shifts of an image's columns before those of its rows, of volumes in order
    order = (1, 0) if rank == 2 else (0, 1, 2)
    starts, places = [], []
    for d, (n, o, k) in enumerate(zip(spatial, out, sizes, strict=True)):
        start = _starts(samples[..., order[d]], n, o, k)
        ahead = (*x.shape[:2], *(o if e == d else 1 for e in range(rank)))
        starts.append(reshaped(start, ahead))
        tap = along(counted(k), 2 + rank + d, total)
        places.append(reshaped(start, (*ahead, *(1,) * rank)) + tap)
    images = (along(counted(x.shape[d]), d, total) for d in (0, 1))
    seen = index_(x, *images, *places, axes=tuple(range(2 + rank)))
    return Seen(seen, None, tuple(starts), (1,) * rank, spatial)


def _with_indices(rank: int) -> Any:
    function = f"fractional_max_pool{rank}d"

    def pool(
        input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{function} requires specifying either an output_size or an output_ratio"
            )
        if input.ndim not in (rank + 1, rank + 2) or 0 in input.shape[-rank - 1 :]:
            raise ShapeError(
                f"{function}(): Expected {rank + 1}D or {rank + 2}D tensor, but got: "
                f"{list(input.shape)}"
            )
        spatial = tuple(input.shape[-rank:])
        if output_size is None:
            ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else [output_ratio]
            if len(ratios) not in (1, rank):
                raise ValueError(
                    f"{function} requires output_ratio to either be a single Int or tuple of Ints."
                )
            ratios = list(ratios) * (rank if len(ratios) == 1 else 1)
            output_size = [int(n * r) for n, r in zip(spatial, ratios, strict=True)]
        sizes = sizes_of(kernel_size, "kernel_size", rank, function)
        out = sizes_of(output_size, "output_size", rank, function)
        for n, k, o in zip(spatial, sizes, out, strict=True):
            if min(k, o) < 1 or o + k - 1 > n:
                raise ShapeError(
                    f"{function}(): pool size {k} too large relative to input size {n} for an "
                    f"output of {o}"
                )
        channels = input.shape[-rank - 1]
        samples = _random_samples
        if samples is None:
            batch = 1 if input.ndim == rank + 1 else input.shape[0]
            samples = rand(batch, channels, rank, dtype=input.dtype)
        pooled = composite(f"FractionalMaxPool{rank}DBackward0")(batched)
        return pooled(
            input, rank, lambda x: maximum_of(_gathered(x, samples, sizes, out), True)
        )

    return pool


def _public(name: str, function: Any, doc: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _maxima(with_indices: Any) -> Any:
    def pool(
        input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ) -> Any:
        both = with_indices(input, kernel_size, output_size, output_ratio, True, _random_samples)
        return both if return_indices else both[0]

    return pool


_TERMS = """
Graham (2014).

Shape: (N, C, *spatial) -> (N, C, *output_size), or without N.
Dtype: that of input, which must be floating point; positions int64.
Raises ValueError unless one of output_size and output_ratio is given; RuntimeError for windows
that do not fit.

>>> x = torch.ones(1, 1{space})
>>> F.fractional_max_pool{n}d(x, kernel_size=2, output_size=3).shape
tracegrad.Size([1, 1{size}])
"""


def _doc(n: int, summary: str) -> str:
    return summary.format(n) + _TERMS.format(n=n, space=", 7" * n, size=", 3" * n)


_BOTH = "(maxima of windows at random places over {} spatial axes, their positions in the input)."
_ONE = "The maxima of windows at random places over {} spatial axes."
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = (
    _public(f"fractional_max_pool{n}d_with_indices", _with_indices(n), _doc(n, _BOTH))
    for n in (2, 3)
)
fractional_max_pool2d = _public(
    "fractional_max_pool2d", _maxima(fractional_max_pool2d_with_indices), _doc(2, _ONE)
)
fractional_max_pool3d = _public(
    "fractional_max_pool3d", _maxima(fractional_max_pool3d_with_indices), _doc(3, _ONE)
)
