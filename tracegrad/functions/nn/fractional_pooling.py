"""Fractional max pooling: windows at random places that divide the input evenly (Graham 2014)."""

from __future__ import annotations

from typing import Any

from ...ir.dtype import int64
from ...ir.op import ShapeError
from ...ir.ops.elementwise import cast, floor
from ...ir.ops.index import index as index_
from ...ir.ops.movement import concat, expand
from ...ir.ops.source import full
from ...tracer.autograd.graph import composite
from ...tracer.tensor.dispatch import bind
from ...tracer.tensor.tensor import Tensor
from ..random.distributions import rand
from ..tensors.shape import reshaped
from .pooling import Seen, maximum_of, sizes_of
from .windows import Ints, along, batched, counted

__all__ = [
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
]


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
