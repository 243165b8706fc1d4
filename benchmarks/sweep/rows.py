"""Reductions, and functions of rows, by the axes that are reduced and by shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from .cell import Cell, normal, one

SHAPES = {
    "32 x 32": (32, 32), "256 x 256": (256, 256), "2048 x 2048": (2048, 2048),
    "100,000 x 8": (100_000, 8), "8 x 100,000": (8, 100_000), "1021 x 509": (1021, 509),
}
CUBES = {
    "16 x 16 x 16": (16, 16, 16), "64 x 128 x 96": (64, 128, 96),
    "32 x 64 x 1024": (32, 64, 1024),
}
AXES: dict[str, tuple[Any, Mapping[str, tuple[int, ...]]]] = {
    "all": (None, SHAPES), "along rows": (1, SHAPES), "down columns": (0, SHAPES),
    "middle axis": (1, CUBES), "outer axes": ((0, 2), CUBES),
}
# of torch's namespace, a tensor and axes; the same of jax; whether it takes several axes; gradient
Reduction = tuple[Callable, Callable, bool, bool]
REDUCTIONS: dict[str, Reduction] = {
    "sum": (lambda T, x, d: x.sum(d), lambda j, x, d: x.sum(d), True, True),
    "mean": (lambda T, x, d: x.mean(d), lambda j, x, d: x.mean(d), True, False),
    "amax": (lambda T, x, d: x.amax(every(x, d)), lambda j, x, d: x.max(d), True, True),
    "var": (lambda T, x, d: x.var(d), lambda j, x, d: x.var(d, ddof=1), True, True),
    "norm": (lambda T, x, d: T.linalg.vector_norm(x, dim=d),
             lambda j, x, d: j.numpy.sqrt((x * x).sum(d)), True, True),
    "logsumexp": (lambda T, x, d: T.logsumexp(x, every(x, d)),
                  lambda j, x, d: j.scipy.special.logsumexp(x, d), True, True),
    "any": (lambda T, x, d: T.any(x > 3, every(x, d)), lambda j, x, d: (x > 3).any(d), True, False),
    "argmax": (lambda T, x, d: x.argmax(d), lambda j, x, d: x.argmax(d), False, False),
}
# functions of a matrix and of as many vectors, scales and shifts, as they have parameters
ROWS: dict[str, tuple[Callable, Callable, int]] = {
    "softmax": (lambda T, x: T.softmax(x, 1), lambda j, x: j.nn.softmax(x, 1), 0),
    "log_softmax": (lambda T, x: T.log_softmax(x, 1), lambda j, x: j.nn.log_softmax(x, 1), 0),
    "softmax down columns": (lambda T, x: T.softmax(x, 0), lambda j, x: j.nn.softmax(x, 0), 0),
    "layer_norm": (lambda T, x, w, b: T.nn.functional.layer_norm(x, w.shape, w, b),
                   lambda j, x, w, b: layer_norm(j, x, w, b), 2),
    "layer_norm + gelu": (
        lambda T, x, w, b: T.nn.functional.gelu(T.nn.functional.layer_norm(x, w.shape, w, b)),
        lambda j, x, w, b: j.nn.gelu(layer_norm(j, x, w, b), approximate=False), 2),
    "batch_norm": (
        lambda T, x, w, b: T.nn.functional.batch_norm(x, None, None, w, b, training=True),
        lambda j, x, w, b: layer_norm(j, x, w, b, axis=0), 2),
    "cross_entropy": (
        lambda T, x: T.nn.functional.cross_entropy(x, places(T, x)),
        lambda j, x: -j.numpy.take_along_axis(
            j.nn.log_softmax(x, 1), places(j.numpy, x)[:, None], 1).mean(), 0),
}


def every(x: Any, axes: Any) -> Any:
    """Where torch wants axes for all of them."""
    return tuple(range(x.ndim)) if axes is None else axes


def places(library: Any, x: Any) -> Any:
    return library.arange(x.shape[0]) % x.shape[1]


def layer_norm(jax: Any, x: Any, w: Any, b: Any, axis: int = 1) -> Any:
    centred = x - x.mean(axis, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(axis, keepdims=True) + 1e-5) * w + b


def matrix_and_vectors(shape: tuple[int, int], vectors: int) -> list[np.ndarray]:
    return [normal(*shape), *(normal(shape[1], seed=k + 1) for k in range(vectors))]


def cells() -> Iterator[Cell]:
    for name, (torch, jax, several, smooth) in REDUCTIONS.items():
        for pattern, (axes, shapes) in AXES.items():
            if isinstance(axes, tuple) and not several:
                continue
            f: Callable = lambda T, x, torch=torch, axes=axes: torch(T, x, axes)
            g: Callable = lambda j, x, jax=jax, axes=axes: jax(j, x, axes)
            for gradient in (False, True)[: 1 + smooth]:
                for size, shape in shapes.items():
                    yield Cell(f"{name} {pattern}{' gradient' * gradient}", size, f, g,
                               one(*shape), wrt=int(gradient))
    for name, (torch, jax, vectors) in ROWS.items():
        for gradient in (False, True):
            for size, shape in SHAPES.items():
                arrays = partial(matrix_and_vectors, shape, vectors)
                yield Cell(f"{name}{' gradient' * gradient}", size, torch, jax, arrays,
                           wrt=(1 + vectors) * gradient)
