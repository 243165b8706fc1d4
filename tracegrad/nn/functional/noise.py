"""Noise that keeps a network from leaning on single features."""

from __future__ import annotations

from ...ir.ops.elementwise import ge
from ...tracer.inplace import update
from ...tracer.random import rand_like
from ...tracer.tape import composite
from ...tracer.tensor import Tensor

__all__ = ["dropout"]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training, zero with probability p, and what is kept grows by 1 / (1 - p)."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    return update(input, _dropped, p) if inplace else _dropped(input, p)


@composite("MulBackward0")
def _dropped(x: Tensor, p: float) -> Tensor:
    if p == 1:
        return x * 0
    kept = ge(rand_like(x), p)
    return x * (kept.to(x.dtype) / (1 - p))
