"""Which operands get a gradient, and which values the derivative rules read: only these are saved.

It is found by running each rule once on placeholder nodes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...ir.autodiff import cotangent, rule_of
from ...ir.graph import postorder
from ...ir.node import input_node
from ...ir.op import Kind, OpDef


class Reads(NamedTuple):
    """What the rules of an operation read."""

    wanted: tuple[int, ...]  # the operands that get a gradient
    output: bool
    operands: tuple[tuple[bool, bool], ...]  # of each: does it get a gradient, is it read


# (primitive, which operands require grad, what of the parameters a rule may branch on)
_reads: dict[tuple, Reads] = {}


def reads_of(op: OpDef, inputs: tuple, params: dict, y: Any) -> Reads:
    """What must be saved of `y = op(*inputs, **params)` for its derivative."""
    needs = [x._requires_grad and x._dtype.kind == "float" for x in inputs]
    key: tuple = (op, *needs)
    if params:
        key += tuple([_rule_key(n, v) for n, v in params.items()])
    if op.kind is Kind.LINALG:  # rules of factors differ for tall and wide matrices
        key += tuple(x.shape for x in inputs)
    reads = _reads.get(key)
    if reads is None:
        wanted = tuple(k for k, need in enumerate(needs) if need and rule_of(op, k) is not None)
        try:
            reads = _reads[key] = _find(op, wanted, inputs, params, y)
        except RuntimeError:  # no derivative: backward raises
            operands = tuple((k in wanted, False) for k in range(len(inputs)))
            return Reads(wanted, False, operands)
    return reads


def _rule_key(name: str, value: Any) -> Any:
    """The part of a parameter that a rule may branch on: flag, word, primitive, number of axes."""
    if isinstance(value, (bool, str, OpDef)):
        return name, value
    return (name, len(value)) if isinstance(value, tuple) else name


def _find(op: OpDef, wanted: tuple[int, ...], inputs: tuple, params: dict, y: Any) -> Reads:
    xs = tuple(input_node(tuple(x.shape), x.dtype) for x in inputs)
    output, g = (input_node(tuple(y.shape), y.dtype) for _ in range(2))
    gradients = [cotangent(op, k, g, output, xs, params) for k in wanted]
    read = set(postorder(gx for gx in gradients if gx is not None))
    return Reads(wanted, output in read, tuple((k in wanted, x in read) for k, x in enumerate(xs)))
