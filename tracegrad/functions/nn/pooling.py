"""Pooling: windows of the input, reduced.

All kinds look at the input through `Seen`: a view of sliding windows or, where an adaptive pooling
has windows of different sizes, numbers gathered by position. Which of them is the maximum is told
by its tap, its number within the window.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...ir.dtype import int32, int64
from ...ir.op import ShapeError
from ...ir.ops.elementwise import (
    cast,
    eq,
    isnan,
    logical_and,
    logical_or,
    maximum as larger,
    minimum as smaller,
    stop_gradient,
    where,
)
from ...ir.ops.reduce import _lowest, max as max_, min as min_, spread, sum as sum_
from ...ir.ops.source import iota
from ...tracer.autograd.graph import composite
from ...tracer.mode import mode
from ...tracer.tensor.dispatch import bind
from ...tracer.tensor.tensor import Tensor
from ..arguments import no_bools, refuse, rounded_once
from ..torch.pointwise import div, relu, sign
from ..torch.pointwise_primitives import abs as abs_
from ..torch.shape import reshaped
from .windows import Ints, along, batched, by_rank, counted, each, reach, spatial_pads, windows

__all__ = [
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool2d_with_indices",
    "max_pool3d", "max_pool3d_with_indices",
]

_WORDS = {1: "one int", 2: "two ints", 3: "three ints"}


class Seen(NamedTuple):
    """An input (N, C, *spatial) as windows."""

    values: Tensor  # (N, C, *out, *size)
    valid: Tensor | None  # (*out, *size) broadcast: which of them are numbers of the input
    starts: tuple[Tensor, ...]  # of each axis, broadcast (N, C, *out): where the windows begin
    dilations: Ints
    spatial: Ints  # the input's

    @property
    def rank(self) -> int:
        return len(self.spatial)

    @property
    def dims(self) -> Ints:
        """The axes of the taps."""
        return tuple(range(2 + self.rank, 2 + 2 * self.rank))

    def filled(self, value: float) -> Tensor:
        """The values, with a number where there is none."""
        return self.values if self.valid is None else where(self.valid, self.values, value)


def inside_of(
    starts: tuple[Tensor, ...], sizes: Ints, dilations: Ints, stops: Any
) -> Tensor | None:
    """Which taps stand in [0, stop) of every axis whose stop is not None."""
    rank, inside = len(sizes), None
    for d, stop in enumerate(stops):
        if stop is None:
            continue
        at = along(starts[d], d, 2 * rank) + along(
            counted(sizes[d]) * dilations[d], rank + d, 2 * rank
        )
        if isinstance(stop, Tensor):
            here = at < along(stop, d, 2 * rank)
        else:
            here = logical_and(at >= 0, at < stop)
        inside = here if inside is None else logical_and(inside, here)
    return inside


def slide(x: Tensor, sizes: Ints, steps: Ints, pads: Ints, dilations: Ints, out: Ints) -> Seen:
    spatial = tuple(x.shape[2:])
    spans = [reach(k, d) for k, d in zip(sizes, dilations, strict=True)]
    after = [
        max((o - 1) * s + r - n - p, 0)
        for o, s, r, n, p in zip(out, steps, spans, spatial, pads, strict=True)
    ]
    starts = tuple(counted(o) * s - p for o, s, p in zip(out, steps, pads, strict=True))
    stops = [n if p or a else None for n, p, a in zip(spatial, pads, after, strict=True)]
    padded = spatial_pads(x, [(p, a, 0) for p, a in zip(pads, after, strict=True)])
    valid = inside_of(starts, sizes, dilations, stops)
    starts = spread_out(starts)
    return Seen(windows(padded, sizes, steps, dilations), valid, starts, dilations, spatial)


def spread_out(starts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A vector for each axis, as tensors that vary along it."""
    return tuple(along(start, d, len(starts)) for d, start in enumerate(starts))


# ---- maxima
def maximum_of(seen: Seen, indices: bool) -> Tensor | tuple[Tensor, Tensor]:
    """The first maximum of each window and, if wanted, its position in the input."""
    x, dims = seen.filled(_lowest(seen.values.dtype)), seen.dims
    if not indices and not (mode.grad and x.requires_grad):
        return max_(x, dims=dims)
    sizes = tuple(x.shape[d] for d in dims)
    count = math.prod(sizes)
    taps = bind(iota, (), {"shape": (math.prod(sizes),), "dtype": int32})
    taps = reshaped(taps, sizes)
    still = stop_gradient(x)
    hit = logical_or(eq(still, spread(max_(still, dims=dims), x.shape, dims)), isnan(still))
    if seen.valid is not None:
        hit = logical_and(hit, seen.valid)
    first = min_(where(hit, taps, count), dims=dims)
    y = sum_(where(eq(taps, spread(first, x.shape, dims)), x, 0), dims=dims)
    if seen.valid is not None and max(seen.dilations) > 1:  # all taps of a window may miss
        y = where(eq(first, count), _lowest(x.dtype), y)
    if not indices:
        return y
    position: Any = 0
    tap = cast(first, dtype=int64)
    for d in reversed(range(seen.rank)):
        at = seen.starts[d] + tap % sizes[d] * seen.dilations[d]
        position = position + at * math.prod(seen.spatial[d + 1 :])
        tap = tap // sizes[d]
    return y, position


def sizes_of(value: Any, name: str, rank: int, function: str) -> Ints:
    found = each(value, rank)
    if found is None:
        raise RuntimeError(
            f"{function}: {name} must either be a single int, or a tuple of {_WORDS[rank]}"
        )
    return found


def _geometry(
    x: Tensor, function: str, rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool,
) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """(kernel, stride, padding, dilation, output) of each axis, checked."""
    if x.ndim not in (rank + 1, rank + 2) or 0 in x.shape[x.ndim - rank - 1 :]:
        raise ShapeError(
            f"{function}: Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with optional 0 "
            f"dim batch size for input, but got:{list(x.shape)}"
        )
    sizes = sizes_of(kernel, "kernel_size", rank, function)
    absent = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    steps = sizes if absent else sizes_of(stride, "stride", rank, function)
    pads = sizes_of(padding, "padding", rank, function)
    gaps = sizes_of(dilation, "dilation", rank, function)
    if 0 in steps:
        raise RuntimeError("stride should not be zero")
    for values, name in ((sizes, "kernel size"), (steps, "stride"), (gaps, "dilation")):
        if min(values) < 1:
            raise RuntimeError(f"{name} should be greater than zero, but got {list(values)}")
    for p, k, d in zip(pads, sizes, gaps, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > reach(k, d) // 2:
            raise RuntimeError(
                "pad should be at most half of effective kernel size, but got "
                f"pad={p}, kernel_size={k} and dilation={d}"
            )
    spatial = tuple(x.shape[x.ndim - rank :])
    out = []
    for n, k, s, p, d in zip(spatial, sizes, steps, pads, gaps, strict=True):
        count = (n + 2 * p - reach(k, d) + (s - 1 if ceil_mode else 0)) // s + 1
        # a window must begin in the input or in the padding before it
        out.append(count - 1 if ceil_mode and (count - 1) * s >= n + p else count)
    if min(out) < 1:
        channels = x.shape[x.ndim - rank - 1]
        before, after = ("x".join(map(str, (channels, *part))) for part in (spatial, out))
        raise ShapeError(
            f"Given input size: ({before}). Calculated output size: ({after}). Output size is too "
            "small"
        )
    return sizes, steps, pads, gaps, tuple(out)


def title(name: str, rank: int) -> str:
    """torch computes one axis as two."""
    return "SqueezeBackward1" if rank == 1 else name.format(rank)


def _max_with_indices(rank: int) -> Any:
    def max_pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = True,
    ) -> Any:
        """(maxima, their positions in the input, counted through its {rank} spatial axes).

        Shape: (N, C, *spatial) -> (N, C, *out), or without N. An extent of out is
        (spatial + 2 padding - dilation (kernel - 1) - 1) // stride + 1.
        Dtype: that of input, and int64.
        Raises RuntimeError for windows that do not fit.

        >>> values, indices = F.max_pool{rank}d_with_indices(torch.ones(1, 1{,4}), 2)
        >>> indices.shape
        tracegrad.Size([1, 1{,2}])
        """
        axes = _geometry(
            input, f"max_pool{rank}d", rank, kernel_size, stride, padding, dilation, ceil_mode
        )
        no_bools(f"max_pool{max(rank, 2)}d", input)
        pooled = composite(title("MaxPool{}DWithIndicesBackward0", rank))(batched)
        return pooled(input, rank, lambda x: maximum_of(slide(x, *axes), return_indices))

    return max_pool


def _max(rank: int) -> Any:
    with_indices = _MAX[rank - 1]

    def max_pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:
        """The maximum of each window over {rank} spatial axes. Padding counts as -inf; NaN wins;
        the gradient goes to the first maximum. With `return_indices` their positions too.

        Shape: (N, C, *spatial) -> (N, C, *out), or without N. An extent of out is
        (spatial + 2 padding - dilation (kernel - 1) - 1) // stride + 1.
        Dtype: that of input.
        Raises RuntimeError for windows that do not fit.

        >>> x = torch.ones(1, 1{,4})
        >>> F.max_pool{rank}d(x, kernel_size=2).shape
        tracegrad.Size([1, 1{,2}])
        """
        return with_indices(
            input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )

    return max_pool


_MAX = by_rank(_max_with_indices, "max_pool{}d_with_indices")
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = _MAX
max_pool1d, max_pool2d, max_pool3d = by_rank(_max, "max_pool{}d")


# ---- means
def _counts(n: int, size: int, step: int, pad: int, out: int, padded: bool) -> int | Tensor:
    """How many numbers the windows of an axis have: one count where all are equal."""
    begins = [i * step - pad for i in range(out)]
    ends = [min(b + size, n + pad) for b in begins]
    if not padded:
        begins, ends = [max(b, 0) for b in begins], [min(e, n) for e in ends]
    counts = {e - b for b, e in zip(begins, ends, strict=True)}
    if len(counts) == 1:
        return counts.pop()
    begin = counted(out) * step - pad
    end = smaller(begin + size, n + pad)
    return end - begin if padded else smaller(end, n) - larger(begin, 0)


def _mean(rank: int) -> Any:
    def avg_pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
        ceil_mode: bool = False, count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        """The mean of each window over {rank} spatial axes, or its sum divided by
        `divisor_override`.

        Shape: (N, C, *spatial) -> (N, C, *out), or without N. An extent of out is
        (spatial + 2 padding - kernel) // stride + 1.
        Dtype: that of input.
        Raises RuntimeError for windows that do not fit.

        >>> x = torch.ones(1, 1{,4})
        >>> F.avg_pool{rank}d(x, kernel_size=2).shape
        tracegrad.Size([1, 1{,2}])
        """
        sizes, steps, pads, gaps, out = _geometry(
            input, f"avg_pool{rank}d", rank, kernel_size, stride, padding, 1, ceil_mode
        )
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        if not input.is_floating_point() and input.dtype is not int64:
            raise refuse(f"avg_pool{max(rank, 2)}d", input.dtype)

        @rounded_once
        def pooled(x: Tensor) -> Tensor:
            seen = slide(x, sizes, steps, pads, gaps, out)
            total = sum_(seen.values, dims=seen.dims)
            if divisor_override is not None:
                return divided(total, [divisor_override])
            each_axis = zip(seen.spatial, sizes, steps, pads, out, strict=True)
            return divided(total, [_counts(*row, count_include_pad) for row in each_axis])

        return composite(title("AvgPool{}DBackward0", rank))(batched)(input, rank, pooled)

    return avg_pool


def divided(total: Tensor, counts: list[int | Tensor]) -> Tensor:
    """Each number divided by how many it is the sum of, given for each axis."""
    number, array = 1, None
    for d, count in enumerate(counts):
        if isinstance(count, Tensor):
            count = along(count, d, len(counts))
            array = count if array is None else array * count
        else:
            number *= count
    by = number if array is None else cast(array * number, dtype=total.dtype)
    return div(total, by, rounding_mode=None if total.is_floating_point() else "trunc")


_avg_pool1d, avg_pool2d, avg_pool3d = by_rank(_mean, "avg_pool{}d")


def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window over one spatial axis.

    Shape: (N, C, L) -> (N, C, out), or without N; out is (L + 2 padding - kernel) // stride + 1.
    Dtype: that of input, floating point or int64. Raises RuntimeError for windows that do not fit.

    >>> x = torch.tensor([[[1.0, 3.0, 5.0, 7.0]]])
    >>> F.avg_pool1d(x, kernel_size=2)
    tensor([[[2., 6.]]])
    """
    return _avg_pool1d(input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def _power(rank: int) -> Any:
    def lp_pool(
        input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None,
        ceil_mode: bool = False,
    ) -> Tensor:
        """The p-norm of each window over {rank} spatial axes, p = norm_type.

        Shape: (N, C, *spatial) -> (N, C, *out), or without N. An extent of out is
        (spatial - kernel) // stride + 1.
        Dtype: that of input, which must be floating point.
        Raises RuntimeError for windows that do not fit.

        >>> x = torch.ones(1, 1{,4})
        >>> F.lp_pool{rank}d(x, norm_type=2, kernel_size=2).shape
        tracegrad.Size([1, 1{,2}])
        """
        largest = (max_pool1d, max_pool2d, max_pool3d)[rank - 1]
        mean = (avg_pool1d, avg_pool2d, avg_pool3d)[rank - 1]
        if math.isinf(norm_type):
            if norm_type > 0:
                return largest(abs_(input), kernel_size, stride, 0, 1, ceil_mode)
            return -largest(-abs_(input), kernel_size, stride, 0, 1, ceil_mode)
        total = mean(input**norm_type, kernel_size, stride, 0, ceil_mode)
        sizes = sizes_of(kernel_size, "kernel_size", rank, f"lp_pool{rank}d")
        return (sign(total) * relu(abs_(total)) * math.prod(sizes)) ** (1 / norm_type)

    return lp_pool


lp_pool1d, lp_pool2d, lp_pool3d = by_rank(_power, "lp_pool{}d")
