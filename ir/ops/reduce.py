"""Reductions over a sorted tuple `dims`, which they remove."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtype import DType, of_numpy
from ..op import reduction
from ..strides import inverse
from .elementwise import add, cast, eq, maximum, minimum, mul
from .movement import expand, permute, reshape
from .prefix import others
from .summation import total

LONG = 1 << 15  # numbers in one sum; a longer one is made of several


def keepdims(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if d in dims else n for d, n in enumerate(shape))


def spread(g: Any, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    """A value reduced over `dims`, repeated along them again: shape `shape`."""
    return expand(reshape(g, shape=keepdims(shape, dims)), shape=shape)


def _lowest(dtype: DType) -> Any:
    if dtype.kind == "float":
        return -float("inf")
    return False if dtype.kind == "bool" else int(np.iinfo(dtype.storage).min)


def _highest(dtype: DType) -> Any:
    if dtype.kind == "float":
        return float("inf")
    return True if dtype.kind == "bool" else int(np.iinfo(dtype.storage).max)


def _evenly(g: Any, y: Any, x: Any, *, dims: tuple[int, ...]) -> Any:
    """Ties share the gradient, as torch's amax and amin have it."""
    hit = cast(eq(x, spread(y, x.shape, dims)), dtype=x.dtype)
    return hit * spread(g / sum(hit, dims=dims), x.shape, dims)


def _others(g: Any, y: Any, x: Any, *, dims: tuple[int, ...]) -> Any:
    """The product of the other factors."""
    if not dims:
        return g
    kept = tuple(d for d in range(len(x.shape)) if d not in dims)
    last = permute(x, axes=(*kept, *dims))
    flat = reshape(last, shape=(*last.shape[: len(kept)], math.prod(last.shape[len(kept) :])))
    rest = reshape(others(flat, len(kept)), shape=last.shape)
    back = inverse((*kept, *dims))
    return spread(g, x.shape, dims) * permute(rest, axes=back)


FEW, MANY = 9, 1000  # NumPy's reduce is slow for many results of few numbers each


def _reduce(ufunc: np.ufunc, init: Any) -> Callable[..., np.ndarray]:
    def ref(x: np.ndarray, *, dims: tuple[int, ...]) -> np.ndarray:
        x = np.asarray(x)
        window = [x.shape[d] for d in dims]
        if 1 < math.prod(window) <= FEW and x.size >= MANY * math.prod(window):
            taps = np.moveaxis(x, dims, range(len(dims)))
            first, *rest = itertools.product(*map(range, window))
            result = taps[first].copy()
            for tap in rest:
                ufunc(result, taps[tap], out=result)
            return result
        if ufunc is np.add:
            return total(x, dims)
        return ufunc.reduce(x, axis=dims, initial=init(of_numpy(x.dtype)), dtype=x.dtype)

    return ref


sum = reduction(
    "sum",
    init=lambda _: 0,
    combine="{0} + {1}",
    accumulate="sum_up({0}, {1})",
    pair=add,
    ref=_reduce(np.add, lambda _: 0),
    vjp=(lambda g, y, x, *, dims: spread(g, x.shape, dims),),
)
prod = reduction(
    "prod",
    init=lambda _: 1,
    combine="{0} * {1}",
    accumulate="prod_up({0}, {1})",
    pair=mul,
    ref=_reduce(np.multiply, lambda _: 1),
    vjp=(_others,),
    domain=(0.5, 2),
)
max = reduction(
    "max",
    init=_lowest,
    combine="maximum({0}, {1})",
    accumulate="max_up({0}, {1})",
    pair=maximum,
    ref=_reduce(np.maximum, _lowest),
    vjp=(_evenly,),
    grad_name="AmaxBackward0",
)
min = reduction(
    "min",
    init=_highest,
    combine="minimum({0}, {1})",
    accumulate="min_up({0}, {1})",
    pair=minimum,
    ref=_reduce(np.minimum, _highest),
    vjp=(_evenly,),
    grad_name="AminBackward0",
)
