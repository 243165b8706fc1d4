"""Matrix products by shape and by how the operands lie: N as stored, T transposed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .cell import Cell, normal

SQUARES = sorted([2**k for k in range(2, 13)] + [100, 509, 1000])
# rows, depth, columns, and how the operands lie: those of the MLP 784-256-256-10 with batch 512
NETWORK = [
    (512, 784, 256, "NT"), (512, 256, 256, "NT"), (512, 256, 256, "NN"), (256, 512, 784, "TN"),
    (256, 512, 256, "TN"), (256, 4096, 1024, "NN"), (64, 1024, 4096, "NN"),
]
# rows, depth, columns as multiples of n
SHAPES: dict[str, tuple[Callable[[int], tuple[int, int, int]], tuple[int, ...]]] = {
    "tall n x 64 @ 64 x 64": (lambda n: (n, 64, 64), (64, 512, 4096, 32_768)),
    "tall n x 8 @ 8 x 8": (lambda n: (n, 8, 8), (64, 512, 4096, 32_768)),
    "wide 64 x 64 @ 64 x n": (lambda n: (64, 64, n), (64, 512, 4096, 32_768)),
    "deep 64 x n @ n x 64": (lambda n: (64, n, 64), (64, 512, 4096, 32_768)),
    "matrix times vector n x n": (lambda n: (n, n, 1), (64, 512, 2048)),
    "outer product n": (lambda n: (n, 1, n), (64, 512, 2048)),
}
BATCHES = {"batched 64 of n": 64, "batched 1000 of n": 1000}


def multiply(left: bool, right: bool, library: Any, a: Any, b: Any) -> Any:
    return (a.swapaxes(-1, -2) if left else a) @ (b.swapaxes(-1, -2) if right else b)


def operands(batch: tuple[int, ...], shape: tuple[int, int, int], left: bool, right: bool
             ) -> list[np.ndarray]:
    m, k, n = shape
    a = normal(*batch, *((k, m) if left else (m, k)))
    return [a, normal(*batch, *((n, k) if right else (k, n)), seed=1)]


def cell(
    row: str, n: int, batch: tuple[int, ...], shape: tuple[int, int, int],
    left: bool = False, right: bool = False, wrt: int = 0,
) -> Cell:
    f = partial(multiply, left, right)
    return Cell(row, f"{n:,}", f, f, partial(operands, batch, shape, left, right), wrt, rtol=3e-3)


def cells() -> Iterator[Cell]:
    for left, right in ((False, False), (False, True), (True, False), (True, True)):
        for n in SQUARES:
            yield cell(f"{'NT'[left]}{'NT'[right]}", n, (), (n, n, n), left, right)
    for n in SQUARES:
        yield cell("NN gradient", n, (), (n, n, n), wrt=2)
    for m, k, n, lie in NETWORK:
        yield cell(f"{m} x {k} @ {k} x {n} {lie}", n, (), (m, k, n), lie[0] == "T", lie[1] == "T")
    for name, (shape, sizes) in SHAPES.items():
        for n in sizes:
            for wrt in (0, 2):
                yield cell(f"{name}{' gradient' * (wrt > 0)}", n, (), shape(n), wrt=wrt)
    for name, batch in BATCHES.items():
        for n in (4, 16, 32, 64):
            for wrt in (0, 2):
                yield cell(f"{name}{' gradient' * (wrt > 0)}", n, (batch,), (n, n, n), wrt=wrt)
