"""Sorts, selections and running sums, along rows and down columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .cell import Cell

SHAPES = {
    "1 x 100": (1, 100), "1 x 10,000": (1, 10_000), "1 x 1,000,000": (1, 1_000_000),
    "256 x 64": (256, 64), "256 x 256": (256, 256), "2048 x 2048": (2048, 2048),
    "20,000 x 10": (20_000, 10),
}
# of torch's namespace, a matrix and an axis; the same of jax; whether there is a gradient
ORDERINGS: dict[str, tuple[Callable, Callable, bool]] = {
    "sort": (lambda T, x, d: T.sort(x, d)[0], lambda j, x, d: j.numpy.sort(x, d), True),
    "argsort": (lambda T, x, d: T.argsort(x, d), lambda j, x, d: j.numpy.argsort(x, d), False),
    "top-5": (lambda T, x, d: T.topk(x, 5, d), lambda j, x, d: top(j, x, 5, d), True),
    "top half": (lambda T, x, d: T.topk(x, x.shape[d] // 2, d),
                 lambda j, x, d: top(j, x, x.shape[d] // 2, d), False),
    "median": (lambda T, x, d: T.median(x, d)[0],
               lambda j, x, d: j.numpy.take(j.numpy.sort(x, d), (x.shape[d] - 1) // 2, d), False),
    "cumsum": (lambda T, x, d: T.cumsum(x, d), lambda j, x, d: j.numpy.cumsum(x, d), True),
    "cummax": (lambda T, x, d: T.cummax(x, d)[0], lambda j, x, d: j.lax.cummax(x, d), False),
    "logcumsumexp": (lambda T, x, d: T.logcumsumexp(x, d),
                     lambda j, x, d: j.lax.cumlogsumexp(x, d), True),
}


def distinct(shape: tuple[int, int]) -> list[np.ndarray]:
    """Numbers without ties, so that there is one order."""
    size = shape[0] * shape[1]
    numbers = np.random.default_rng(0).permutation(size) - size / 2
    return [(4 * numbers / size).astype(np.float32).reshape(shape)]


def top(jax: Any, x: Any, k: int, axis: int) -> Any:
    return jax.lax.top_k(x, k, axis=axis)


def cells() -> Iterator[Cell]:
    for name, (torch, jax, smooth) in ORDERINGS.items():
        for pattern, axis in (("along rows", 1), ("down columns", 0)):
            f: Callable = lambda T, x, torch=torch, axis=axis: torch(T, x, axis)
            g: Callable = lambda j, x, jax=jax, axis=axis: jax(j, x, axis)
            for gradient in (False, True)[: 1 + smooth]:
                for size, shape in SHAPES.items():
                    if shape[axis] >= 5:
                        yield Cell(f"{name} {pattern}{' gradient' * gradient}", size, f, g,
                                   partial(distinct, shape), wrt=int(gradient))
