"""The answer of a call: the tensors it returns, with their history, and the effects after it."""

from __future__ import annotations

from array import array
from collections import deque
from copy import copy
from typing import Any

import numpy as np

from ...tracer.capture.scalar import Scalar
from ...tracer.capture.signature import parts
from ...tracer.capture.trace import Input
from ...tracer.tensor.tensor import wrap
from ..backward_nodes import CompiledCall, FreedOutput, Output, take_over
from ..outputs import Aliased, Given, Gradient, Returned, outputs_of
from .bindings import placer
from .memory import encoded
from .source import Source, drawn, found

_BAGS = (set, deque, bytearray, array)  # of Python's own, new ones at every call


def write_answer(s: Source) -> None:
    """Make the answer, give its tensors their history, and do what the function does outside."""
    entry, outputs = s.entry, s.outputs
    d = entry.derivative
    made: dict[Any, str] = {}
    results = outputs_of(entry.answer)
    for k in sorted(results):
        dtype = s.name("dtype", entry.graph.outputs[k].dtype)
        s.add(
            f"y{k} = new(Tensor); y{k}._array = {outputs[k]}; "
            f"y{k}._dtype = {dtype}; y{k}._version = [0]"
        )
        s.add(
            f"y{k}._node = y{k}._grad = y{k}._base = y{k}._view = y{k}._hooks = "
            f"y{k}._accumulator = y{k}._memory_location = None; y{k}._ptr = 0"
        )
        if k not in entry.freed and (d is None or k not in d.outputs):
            s.add(f"y{k}._grad_fn = None; y{k}._requires_grad = {results[k].begins}")
        made[k] = f"y{k}"
        if k in entry.freed:
            s.add(f"y{k}._grad_fn = {_freed(s, k)}; y{k}._requires_grad = True")
    if d is not None:
        sources = ", ".join(s.tensor(i) for i in d.wanted)
        kept = ", ".join(_kept(s, i) for i in d.kept_inputs)
        first = len(entry.graph.outputs) - len(d.saved)
        saved = ", ".join(outputs[first + j] for j in range(len(d.saved)))
        s.names |= {"CompiledCall": CompiledCall, "Output": Output, "derivative": d}
        s.add(
            f"call = CompiledCall(derivative, [{sources}], [{saved}], pointers, [{kept}], "
            "args, numbers, at_call)"
        )
        for index, k in enumerate(d.outputs):
            record = "call" if len(d.outputs) == 1 else f"Output(call, {index})"
            if k in entry.gaining_history:
                where = s.tensor(entry.gaining_history[k])
                s.add(f"{s.name('take_over', take_over)}({where}, {record})")
            else:
                s.add(f"y{k}._grad_fn = {record}; y{k}._requires_grad = True")
    for k in entry.freed.keys() & entry.gaining_history.keys():
        where = s.tensor(entry.gaining_history[k])
        s.add(f"{s.name('take_over', take_over)}({where}, {_freed(s, k)})")
    for k, result in results.items():
        if result.grad is not None:
            s.add(f"y{k}._grad = {_expression(s, result.grad, made)}")
    answer, values, printed = entry.answer
    s.add(f"answer = {_expression(s, answer, made)}")
    for location, value in zip(entry.effects, values, strict=True):
        s.add(f"{s.name('put', placer(location))}({_expression(s, value, made)})")
    for act, args, kwargs in printed:
        do, kwargs = s.name("act", act), _expression(s, kwargs, made)
        s.add(f"{do}(*{_expression(s, args, made)}, **{kwargs})")
    s.add("if stopped is not None: raise stopped")
    s.add("return answer")


def _freed(s: Source, k: int) -> str:
    """The record of an output that backward cannot go through. That of captured leaves is one for
    all calls, because making it takes as long as a small program.
    """
    title, why, inputs = s.entry.freed[k]
    if all(i.kind == "tensor" and i.tensor._grad_fn is None for i in inputs):
        return s.name("freed", FreedOutput(title, why, [i.tensor for i in inputs]))
    sources = ", ".join(s.tensor(i) for i in inputs)
    return f"{s.name('freed', FreedOutput)}({title!r}, {why!r}, [{sources}])"


def _kept(s: Source, i: Input) -> str:
    if i.kind == "hyper":
        group, key = i.key
        number = f"float({s.name('group', group)}[{key!r}])"
        array = f"{s.name('asarray', np.asarray)}({number})"
        return f"{s.name('wrap', wrap)}({array}, {s.name('dtype', i.node.dtype)})"
    if i.kind == "scalar":
        array = encoded(s, i, s.scalars[id(i.key)])
        return f"{s.name('wrap', wrap)}({array}, {s.name('dtype', i.node.dtype)})"
    if i.kind == "random":
        return f"{s.name('wrap', wrap)}({drawn(i)}, {s.name('dtype', i.node.dtype)})"
    return s.tensor(i)


def _expression(s: Source, answer: Any, made: dict[Any, str]) -> str:
    """The returned structure as text."""
    if isinstance(answer, Returned):
        return made[answer.index]
    if isinstance(answer, Gradient):
        return found(answer.owner) if answer.found else f"{s.tensor(answer.owner)}._grad"
    if isinstance(answer, Aliased):
        if answer not in made:
            root = _expression(s, answer.root, made)
            made[answer] = name = f"alias{len(made)}"
            s.add(f"{name} = {s.name('look', answer)}({root})")
        return made[answer]
    if isinstance(answer, Given):
        return s.tensor(answer.source)
    if type(answer) is Scalar:
        return s.scalars[id(answer)]
    if type(answer) is tuple:
        return "(" + "".join(_expression(s, a, made) + ", " for a in answer) + ")"
    if (taken := parts(answer)) is None:
        constant = s.name("constant", answer)
        return f"{s.name('copy', copy)}({constant})" if isinstance(answer, _BAGS) else constant
    inside = ", ".join(_expression(s, a, made) for a in taken.inside)
    made_by = "" if type(answer) is list else s.name("filled", taken.filled)
    return f"{made_by}([{inside}])" if made_by else f"[{inside}]"
