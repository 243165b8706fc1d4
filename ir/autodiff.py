"""The one place where derivative rules are applied and broadcasting is undone.

The rules are fields of the primitives. The walk over the operations is that of the autograd graph
(tracer/autograd/backward.py), eagerly and in a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .op import OpDef, Rule
from .ops.elementwise import cast
from .ops.movement import expand, reshape
from .ops.reduce import sum as sum_


def rule_of(op: OpDef, k: int) -> Rule | None:
    """The rule for the cotangent of input k; None if the primitive has no gradient for it."""
    if op.vjp is None:
        return None
    return op.vjp(k) if callable(op.vjp) else op.vjp[k]


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Bring g to the shape of a value that was broadcast: sum over axes that were repeated, and
    expand axes in which g is constant.
    """
    if g.shape == shape:
        return g
    lead = max(len(g.shape) - len(shape), 0)
    ahead = len(shape) - len(g.shape)
    dims = tuple(d for d, n in enumerate(g.shape) if d < lead or (shape[d + ahead] == 1 != n))
    if dims:
        kept = tuple(1 if d in dims else n for d, n in enumerate(g.shape))[lead:]
        g = reshape(sum_(g, dims=dims), shape=kept)
    return g if g.shape == shape else expand(g, shape=shape)


def cotangent(
    rule: Rule, g: Any, y: Any, inputs: Sequence[Any], k: int, params: dict[str, Any]
) -> Any:
    """The cotangent of input k by its rule, from g, the cotangent of y = op(*inputs, **params). It
    has the shape and dtype of the input; None if there is no gradient.
    """
    gx = rule(g, y, *inputs, **params)
    return gx if gx is None or gx is inputs[k] else fitted(gx, inputs[k])


def fitted(gx: Any, x: Any) -> Any:
    """The cotangent of a value that was broadcast or converted to x."""
    gx = unbroadcast(gx, x.shape)
    return gx if gx.dtype is x.dtype else cast(gx, dtype=x.dtype)
