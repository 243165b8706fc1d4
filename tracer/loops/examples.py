"""A loop or branch inside `vmap` whose derivative is taken outside of it.

There the examples are one tensor with a history, and a body's own derivative is for one example. So
it is applied to one example after the other.
"""

from __future__ import annotations

from collections.abc import Callable

from ...ir.ops.movement import concat, reshape
from ..autograd.batching import BatchTrace
from ..autograd.batching_rules import example
from ..mode import mode
from ..tensor.tensor import Tensor

Tensors = list[Tensor]


def differentiated_outside() -> bool:
    """Whether what is computed now, inside a `vmap`, may be differentiated outside of it."""
    trace = mode.trace
    return bool(mode.grad) and isinstance(trace, BatchTrace) and trace.differentiated_outside


def one_by_one(function: Callable[[Tensors], Tensors], operands: Tensors) -> Tensors | None:
    """The results of a function of tensors outside; None if there are no examples."""
    trace: BatchTrace = mode.trace
    pairs = [trace.value(x) for x in operands]
    if not trace.size:
        return None
    differ = any(mapped for _, mapped in pairs)
    with trace.outside():
        rows = [
            function([example(x, k) if mapped else x for x, mapped in pairs])
            for k in range(trace.size if differ else 1)
        ]
        results = rows[0] if not differ else [
            concat(*(reshape(y, shape=(1, *y.shape)) for y in ys), axis=0)
            for ys in zip(*rows, strict=True)
        ]
    return [trace.example(y, differ) for y in results]
