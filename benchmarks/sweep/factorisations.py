"""Factorisations and solutions of systems of equations, by the size of the matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .cell import Cell, normal

SIZES: dict[str, tuple[int, ...]] = {
    **{str(n): (n, n) for n in (4, 16, 64, 256, 512)},
    "100 x 8": (100, 8, 8), "16 x 32": (16, 32, 32),
}
# of torch's linalg, a positive definite matrix and a right side; the same of jax.numpy.linalg;
# whether there is a gradient
FACTORISATIONS: dict[str, tuple[Callable, Callable | None, bool]] = {
    "cholesky": (lambda L, a, b: L.cholesky(a), lambda L, a, b: L.cholesky(a), True),
    "qr": (lambda L, a, b: L.qr(a)[1].abs(), lambda L, a, b: abs(L.qr(a)[1]), True),
    "svdvals": (lambda L, a, b: L.svdvals(a),
                lambda L, a, b: L.svd(a, compute_uv=False), True),
    "eigvalsh": (lambda L, a, b: L.eigvalsh(a), lambda L, a, b: L.eigvalsh(a), True),
    "solve": (lambda L, a, b: L.solve(a, b), lambda L, a, b: L.solve(a, b), True),
    "inv": (lambda L, a, b: L.inv(a), lambda L, a, b: L.inv(a), True),
    "slogdet": (lambda L, a, b: L.slogdet(a)[1], lambda L, a, b: L.slogdet(a)[1], True),
    "solve_triangular": (lambda L, a, b: L.solve_triangular(a, b, upper=False), None, True),
}


def positive(shape: tuple[int, ...]) -> list[np.ndarray]:
    a, n = normal(*shape, dtype="float64"), shape[-1]
    side = normal(*shape[:-1], 4, dtype="float64", seed=1)
    return [a @ a.swapaxes(-1, -2) / n + 2 * np.eye(n), side]


def cells() -> Iterator[Cell]:
    for name, (torch, jax, smooth) in FACTORISATIONS.items():
        f: Callable = lambda T, a, b, torch=torch: torch(T.linalg, a, b)
        g: Any = jax and (lambda j, a, b, jax=jax: jax(j.numpy.linalg, a, b))
        for gradient in (False, True)[: 1 + smooth]:
            for size, shape in SIZES.items():
                yield Cell(f"{name}{' gradient' * gradient}", size, f, g,
                           partial(positive, shape), wrt=int(gradient))
