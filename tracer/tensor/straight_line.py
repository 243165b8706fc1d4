"""Nodes as one Python function of arrays: their primitives, computed by NumPy one after the other,
as dispatch.py computes them for tensors, with the same numbers. It makes no tensors in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir.graph import postorder
from ...ir.node import Node
from ...ir.op import Kind, evaluate
from ...ir.ops.movement import reshape
from ...ir.ops.source import input as input_
from ...ir.quiet import quiet_context
from .memory_order import in_torch_order

# One step of a function: {y} is the result, {args} the operands, {k} the number of the step
_PLAIN = (
    "    {y} = enter().run(f{k}, {args})\n"
    "    if type({y}) is not ndarray or {y}.dtype is not d{k}:\n"
    "        {y} = encode{k}({y})\n"
)
_MOVED = "    {y} = f{k}({args})\n"
_MOVED_POINT = "    {y} = asarray(f{k}({args}))\n"  # NumPy may give a scalar
_HALVES = "    {y} = evaluate(op{k}, [{args}], types{k}, out{k}, p{k})\n"


MOST_CONSTANT = 4096  # elements of a constant that is kept


class Unsuitable(Exception):
    """The nodes cannot be computed this way."""


def straight_line(
    inputs: Sequence[Node], outputs: Sequence[Node], checks: Sequence[Node], strided: set[Node]
) -> Callable[..., tuple[np.ndarray, ...]]:
    """The function from the arrays of `inputs` to those of `outputs`, which makes the `checks`.

    `strided` are the inputs whose arrays are not contiguous.
    """
    names = {x: f"x{k}" for k, x in enumerate(inputs)}
    inside = set(inputs)
    order = [n for n in postorder([*outputs, *checks], stop=inside.__contains__) if n not in inside]
    last = {x: k for k, node in enumerate(order) for x in node.inputs}  # who reads it last
    kept, strided = {*outputs, *inputs}, set(strided)
    constants: set[Node] = set()
    space: dict[str, Any] = {
        "enter": quiet_context, "ndarray": np.ndarray, "evaluate": evaluate,
        "ordered": in_torch_order, "contiguous": np.ascontiguousarray,
        "asarray": np.asarray,
    }
    lines = [f"def run({', '.join(names.values())}):\n"]
    for k, node in enumerate(order):
        names[node] = f"t{k}"
        if node.op.kind is Kind.SOURCE and node.op is not input_ and node.size <= MOST_CONSTANT:
            if node not in kept:
                space[names[node]] = node.dtype.encode(node.op.ref(**node.params))
                space[names[node]].flags.writeable = False
                constants.add(node)
                continue
        lines.append(_step(node, k, names, strided, space))
        dead = [names[x] for x in dict.fromkeys(node.inputs)
                if last[x] == k and x not in kept and x not in constants]
        if dead:
            lines.append(f"    del {', '.join(dead)}\n")
    lines.append(f"    return ({''.join(names[y] + ', ' for y in outputs)})\n")
    exec("".join(lines), space)
    return space["run"]


def _step(
    node: Node, k: int, names: dict[Node, str], strided: set[Node], space: dict[str, Any]
) -> str:
    """The lines that compute one node."""
    op, params = node.op, node.params
    if op.bodies or op is input_:
        raise Unsuitable
    y, read = names[node], ", ".join(names[x] for x in node.inputs)
    args = ", ".join(filter(None, [read, *(f"{name}=p{k}[{name!r}]" for name in params)]))
    space.update({f"f{k}": op.ref, f"p{k}": params})
    if op.only_moves:
        text = _MOVED if node.shape else _MOVED_POINT
    elif node.dtype.is_half or any(x.dtype.is_half for x in node.inputs):
        space.update({f"op{k}": op, f"out{k}": node.dtype})
        space[f"types{k}"] = tuple(x.dtype for x in node.inputs)
        text, args = _HALVES, read
    else:
        space.update({f"d{k}": node.dtype.storage, f"encode{k}": node.dtype.encode})
        text = _PLAIN
    line = text.format(y=y, k=k, args=args)
    layout = not strided.isdisjoint(node.inputs)
    if op.is_elementwise:
        if layout and len(node.shape) > 1:
            line += f"    {y} = ordered({y}, [{read}])\n"
            strided.add(node)
    elif op.kind is Kind.IMPLICIT:
        line += f"    {y} = ordered({y}, [{names[node.inputs[0]]}])\n"
        if layout:
            strided.add(node)
    elif op.aliases:
        if layout or op is not reshape:
            strided.add(node)
    elif op.kind is not Kind.SOURCE:
        line += f"    if not {y}.flags.c_contiguous:\n        {y} = contiguous({y})\n"
    return line
