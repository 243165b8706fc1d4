"""Matrix products in the forms that kernels take: what a stack of matrices is in memory, and what
becomes of products that are none.
"""

from __future__ import annotations

import math

from ...ir.dtype import float32
from ...ir.node import Node, intern
from ...ir.ops.contract import dot
from ...ir.ops.elementwise import cast, mul
from ...ir.ops.movement import permute, reshape
from ...ir.ops.reduce import sum as sum_
from ...ir.strides import View


def matrix_layout(view: View) -> tuple[bool, int, int] | None:
    """(transposed, leading dimension, batch stride) of a stack of matrices, or None where strides
    cannot say so.
    """
    *batch, m, n = view.shape
    *outer, sm, sn = view.strides
    flat = (
        View(tuple(batch), tuple(outer)).reshape((math.prod(batch),)) if batch else View((1,), (0,))
    )
    if flat is None or min(outer, default=0) < 0:
        return None
    if sn == 1 and sm >= n:
        return False, sm, flat.strides[0]
    if sm == 1 and sn >= m:
        return True, sn, flat.strides[0]
    return None


def legal_dot(a: Node, b: Node) -> Node:
    """A matrix product in a form that the contract template takes, or as a reduction where that is
    what it is.
    """
    *batch, m, k = a.shape
    n = b.shape[-1]
    if a.dtype.is_half:
        return cast(legal_dot(cast(a, dtype=float32), cast(b, dtype=float32)), dtype=a.dtype)
    if a.dtype.kind == "float" and min(m, n, k) > 1:
        return intern(dot, (a, b), {})
    if 0 in (*a.shape, *b.shape) or k == 1:
        product = mul(reshape(a, shape=(*batch, m, k, 1)), reshape(b, shape=(*batch, 1, k, n)))
        return sum_(product, dims=(len(batch) + 1,))
    if m == 1 and n > 1:  # a row times a matrix: sums down its columns
        column = permute(a, axes=(*range(len(batch)), len(batch) + 1, len(batch)))
        return reshape(sum_(mul(column, b), dims=(len(batch),)), shape=(*batch, 1, n))
    turned = permute(b, axes=(*range(len(batch)), len(batch) + 1, len(batch)))
    product = mul(reshape(a, shape=(*batch, m, 1, k)), reshape(turned, shape=(*batch, 1, n, k)))
    return sum_(product, dims=(len(batch) + 2,))
