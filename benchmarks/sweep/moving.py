"""What only moves numbers: gathers, scatters, transposes, joins and cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .cell import Cell, normal, one

SHAPES = {
    "32 x 32": (32, 32), "256 x 256": (256, 256), "2048 x 2048": (2048, 2048),
    "1021 x 509": (1021, 509), "100,000 x 8": (100_000, 8), "8 x 100,000": (8, 100_000),
}
CUBES = {
    "8 x 8 x 8 x 8": (8, 8, 8, 8), "8 x 32 x 32 x 16": (8, 32, 32, 16),
    "32 x 64 x 32 x 32": (32, 64, 32, 32), "7 x 13 x 31 x 29": (7, 13, 31, 29),
}
# of torch's namespace, a matrix, as many places as it has rows, and a place for each number;
# the same of jax; whether there is a gradient
MOVES: dict[str, tuple[Callable, Callable, bool]] = {
    "clone": (lambda T, x, r, p: x.clone(), lambda j, x, r, p: x.copy(), False),
    "rows by index": (lambda T, x, r, p: x[r], lambda j, x, r, p: x[r], True),
    "columns by index": (lambda T, x, r, p: x[:, p[0]],
                         lambda j, x, r, p: x[:, p[0]], True),
    "gather along rows": (lambda T, x, r, p: T.gather(x, 1, p),
                          lambda j, x, r, p: j.numpy.take_along_axis(x, p, 1), True),
    "scatter_add along rows": (lambda T, x, r, p: T.zeros_like(x).scatter_add(1, p, x),
                               lambda j, x, r, p: scattered(j, x, p), True),
    "rows added by index": (lambda T, x, r, p: T.zeros_like(x).index_add(0, r, x),
                            lambda j, x, r, p: j.numpy.zeros_like(x).at[r].add(x), True),
    "rows put by mask": (lambda T, x, r, p: T.where((r % 2 == 0)[:, None], x, 0.0),
                         lambda j, x, r, p: j.numpy.where((r % 2 == 0)[:, None], x, 0.0), True),
    "flip": (lambda T, x, r, p: x.flip(1), lambda j, x, r, p: j.numpy.flip(x, 1), False),
    "roll": (lambda T, x, r, p: T.roll(x, 3, 0), lambda j, x, r, p: j.numpy.roll(x, 3, 0), False),
    "every second column": (lambda T, x, r, p: x[:, ::2].contiguous(),
                            lambda j, x, r, p: x[:, ::2], True),
    "cat": (lambda T, x, r, p: T.cat([x, x], 1), lambda j, x, r, p: j.numpy.concatenate([x, x], 1),
            True),
    "pad": (lambda T, x, r, p: T.nn.functional.pad(x, (1, 1)),
            lambda j, x, r, p: j.numpy.pad(x, ((0, 0), (1, 1))), True),
    "transposed": (lambda T, x, r, p: x.t().contiguous(), lambda j, x, r, p: x.T.copy(), False),
    "tril": (lambda T, x, r, p: T.tril(x), lambda j, x, r, p: j.numpy.tril(x), False),
}
ORDERS = {"0213": (0, 2, 1, 3), "0231": (0, 2, 3, 1), "0312": (0, 3, 1, 2), "3210": (3, 2, 1, 0)}


def scattered(jax: Any, x: Any, p: Any) -> Any:
    rows = jax.numpy.arange(x.shape[0])[:, None]
    return jax.numpy.zeros_like(x).at[rows, p].add(x)


def arrays(shape: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [normal(*shape), rng.integers(0, shape[0], shape[0]), rng.integers(0, shape[1], shape)]


def cells() -> Iterator[Cell]:
    for name, (torch, jax, smooth) in MOVES.items():
        for gradient in (False, True)[: 1 + smooth]:
            for size, shape in SHAPES.items():
                yield Cell(f"{name}{' gradient' * gradient}", size, torch, jax,
                           partial(arrays, shape), wrt=int(gradient))
    for name, order in ORDERS.items():
        f: Callable = lambda T, x, order=order: x.permute(order).contiguous()
        g: Callable = lambda j, x, order=order: j.numpy.transpose(x, order).copy()
        for size, cube in CUBES.items():
            yield Cell(f"permuted {name}", size, f, g, one(*cube))
