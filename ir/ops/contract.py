"""Contractions: the batched matrix product. Transposes and other dimension orders are permutes
around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtype import DType
from ..op import Kind, Law, OpDef, Refused, ShapeError, Types, register
from .movement import permute


def transpose(x: Any) -> Any:
    """The last two axes exchanged."""
    n = len(x.shape)
    return permute(x, axes=(*range(n - 2), n - 1, n - 2))


def _dot_aval(a: Any, b: Any) -> tuple[tuple[int, ...], DType]:
    left, right = tuple(a.shape), tuple(b.shape)
    if (
        len(left) < 2
        or len(left) != len(right)
        or left[:-2] != right[:-2]
        or left[-1] != right[-2]
    ):
        x, y = ("x".join(map(str, s)) for s in (left, right))
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied ({x} and {y})")
    if a.dtype is not b.dtype:
        raise ShapeError(
            f"expected m1 and m2 to have the same dtype, but got: {a.dtype.name} != {b.dtype.name}"
        )
    return (*left[:-1], right[-1]), a.dtype


PART = 4096  # steps of a product whose sums are made by themselves, so that they keep their digits


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    k = a.shape[-1]
    if k <= 2 * PART or a.dtype.kind != "f":
        return np.matmul(a, b)
    total = np.matmul(a[..., :PART], b[..., :PART, :])
    for at in range(PART, k, PART):
        total += np.matmul(a[..., at : at + PART], b[..., at : at + PART, :])
    return total


# dot(a, b): (*B, M, K) with (*B, K, N) gives (*B, M, N)
dot = register(OpDef(
    "dot", Kind.CONTRACT, _matmul, _dot_aval,
    vjp=(lambda g, y, a, b: dot(g, transpose(b)), lambda g, y, a, b: dot(transpose(a), g)),
    types=Types.FREE, grad_name="MmBackward0",
    law=Law("the operands have one dtype", lambda a, b: a.dtype is b.dtype),
    refused=Refused(("bool",), lambda rank: "addmm_impl_cpu_" if rank == 2 else "bmm"),
))
