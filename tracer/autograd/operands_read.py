"""Which operands get a gradient, and which values the derivative rules read: only these are saved.

It is found by running each rule once on placeholder nodes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...ir.autodiff import cotangent, rule_of
from ...ir.graph import postorder
from ...ir.node import input_node
from ...ir.op import Kind, OpDef, Rule


class Reads(NamedTuple):
    """What the rules of an operation read."""

    rules: tuple[tuple[int, Rule], ...]  # of the operands that get a gradient, by their numbers
    output: bool
    operands: tuple[tuple[bool, bool], ...]  # of each: does it get a gradient, is it read
    saves: bool  # whether anything is read
    lines: dict[tuple, Any]  # the rules as functions of arrays (rule_lines.py)


# (primitive, which operands require grad, what of the parameters a rule may branch on)
_reads: dict[tuple, Reads] = {}
_LINALG = Kind.LINALG  # as a name of the module it takes less time
_BRANCHED_ON = (bool, str, OpDef)  # flag, word, primitive


def reads_of(op: OpDef, inputs: tuple, params: dict, y: Any) -> Reads:
    """What must be saved of `y = op(*inputs, **params)` for its derivative."""
    if len(inputs) == 2:
        key: tuple = (op, inputs[0]._requires_grad, inputs[1]._requires_grad)
    else:
        key = (op, *[x._requires_grad for x in inputs])
    if params:  # of a tuple a rule may branch on the length, the number of axes
        key += (*params, *[
            len(v) if isinstance(v, tuple) else v if isinstance(v, _BRANCHED_ON) else None
            for v in params.values()
        ])
    if op.kind is _LINALG:  # rules of factors differ for tall and wide matrices
        key += tuple(x.shape for x in inputs)
    return _reads.get(key) or _find(key, op, inputs, params, y)


def _find(key: tuple, op: OpDef, inputs: tuple, params: dict, y: Any) -> Reads:
    xs = tuple(input_node(tuple(x.shape), x.dtype) for x in inputs)
    output, g = (input_node(tuple(y.shape), y.dtype) for _ in range(2))
    rules = tuple(
        (k, rule) for k, x in enumerate(inputs)
        if x._requires_grad and (rule := rule_of(op, k)) is not None
    )
    wanted = {k for k, _ in rules}
    try:
        gradients = [cotangent(rule, g, output, xs, k, params) for k, rule in rules]
    except RuntimeError:  # no derivative: backward raises
        return Reads(rules, False, tuple((k in wanted, False) for k in range(len(xs))), False, {})
    read = set(postorder(gx for gx in gradients if gx is not None))
    operands = tuple((k in wanted, x in read) for k, x in enumerate(xs))
    reads = Reads(rules, output in read, operands, not read.isdisjoint((output, *xs)), {})
    return _reads.setdefault(key, reads)
