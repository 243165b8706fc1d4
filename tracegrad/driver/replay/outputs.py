"""The outputs of a call: the tensors it returns, with their history, and its effects."""

from __future__ import annotations

from array import array
from collections import deque
from copy import copy
from threading import get_ident
from typing import Any

import numpy as np

from ...tracer.capture.inputs import Input
from ...tracer.capture.scalar import Scalar
from ...tracer.capture.signature import parts
from ...tracer.tensor.tensor import wrap
from ..backward_nodes import CompiledCall, FreedOutput, Output, stand_in, take_over
from ..outputs import Aliased, Gradient, PassedThrough, Returned, outputs_of
from .bindings import location_writer
from .memory import computed, encoded, to_host
from .source import Source, generator_state, grad_before

silent: set[int] = set()  # threads whose calls print nothing
_COPIED = (set, deque, bytearray, array)  # each call returns a new one


def write_outputs(s: Source) -> None:
    """Make the result, give its tensors their history, and perform the effects."""
    results = outputs_of(s.entry.result)
    made: dict[Any, str] = {k: f"y{k}" for k in results}
    for k in sorted(results):
        _tensor(s, k, results[k])
    _history(s)
    for k, output in results.items():
        if output.grad is not None:
            s.add(f"y{k}._grad = {_expression(s, output.grad, made)}")
    result, values, printed = s.entry.result
    s.add(f"result = {_expression(s, result, made)}")
    for location, value in zip(s.entry.effects, values, strict=True):
        s.add(f"{s.name('put', location_writer(location))}({_expression(s, value, made)})")
    for function, args, kwargs in printed:
        call, kwargs = s.name("print", function), _expression(s, kwargs, made)
        s.names |= {"silent": silent, "me": get_ident}
        s.add(f"if me() not in silent: {call}(*{_expression(s, args, made)}, **{kwargs})")
    s.add("if stopped is not None: raise stopped")
    s.add("return result")


def _tensor(s: Source, k: int, output: Returned) -> None:
    """A new tensor for an output, without a history."""
    dtype, array = s.name("dtype", s.entry.outputs[k].dtype), s.outputs[k]
    if output.to_host:
        array = f"{to_host(s)}({array})"
    s.add(
        f"y{k} = new(Tensor); y{k}._array = {array}; "
        f"y{k}._dtype = {dtype}; y{k}._version = [0]"
    )
    s.add(
        f"y{k}._node = y{k}._grad = y{k}._base = y{k}._view = y{k}._hooks = "
        f"y{k}._accumulator = y{k}._memory_location = None; y{k}._ptr = 0"
    )
    derivative = s.entry.derivative
    if k in s.entry.freed:
        s.add(f"y{k}._grad_fn = {_freed(s, k)}; y{k}._requires_grad = True")
    elif derivative is None or k not in derivative.outputs:
        s.add(f"y{k}._grad_fn = None; y{k}._requires_grad = {output.is_grad_leaf}")


def _history(s: Source) -> None:
    """The autograd nodes of differentiable outputs, and of inputs that were changed in place."""
    entry = s.entry
    gaining = {k: s.tensor(i) for k, i in entry.gaining_history.items()}
    if (d := entry.derivative) is not None:
        sources = ", ".join(s.tensor(i) for i in d.wanted)
        kept = ", ".join(_kept(s, i) for i in d.kept_inputs)
        saved = "saved" if d.saved else "[]"
        s.names |= {"CompiledCall": CompiledCall, "Output": Output, "derivative": d}
        s.add(
            f"call = CompiledCall(derivative, [{sources}], {saved}, pointers, [{kept}], "
            "args, numbers, snapshot)"
        )
        for index, k in enumerate(d.outputs):
            node = "call" if len(d.outputs) == 1 else f"Output(call, {index})"
            if k in gaining:
                s.add(f"{s.name('take_over', take_over)}({gaining[k]}, {node})")
            else:
                s.add(f"y{k}._grad_fn = {node}; y{k}._requires_grad = True")
    for k in entry.freed.keys() & gaining.keys():
        s.add(f"{s.name('take_over', take_over)}({gaining[k]}, {_freed(s, k)})")


def _freed(s: Source, k: int) -> str:
    """The autograd node of an output that backward cannot go through. If all inputs are captured
    leaves, calls share one, because making it takes as long as a small program.
    """
    title, why, inputs = s.entry.freed[k]
    if all(i.kind == "tensor" and i.tensor._grad_fn is None for i in inputs):
        return s.name("freed", FreedOutput(title, why, [i.tensor for i in inputs]))
    sources = ", ".join(s.tensor(i) for i in inputs)
    return f"{s.name('freed', FreedOutput)}({title!r}, {why!r}, [{sources}])"


def _kept(s: Source, i: Input) -> str:
    array = _kept_number(s, i)
    if array:
        array = f"{s.name('place', s.entry.low.place.from_host)}({array})"
        return f"{s.name('wrap', wrap)}({array}, {s.name('dtype', i.node.dtype)})"
    if i.kind == "export":  # the next call writes there
        j, number = i.key
        array = s.name("array", s.entry.stages[j].segment.exported(number))
        return f"{s.name('wrap', wrap)}({array}.copy(), {s.name('dtype', i.node.dtype)})"
    if i.kind == "computed":
        return f"{s.name('wrap', wrap)}({computed(s, i)}, {s.name('dtype', i.node.dtype)})"
    if copy := s.copied(i):
        return f"{s.name('stand_in', stand_in)}({s.tensor(i)}, {copy})"
    return s.tensor(i)


def _kept_number(s: Source, i: Input) -> str:
    """The array of a number that backward reads; empty if the input is none."""
    if i.kind == "hyper":
        group, key = i.key
        number = f"float({s.name('group', group)}[{key!r}])"
        return f"{s.name('asarray', np.asarray)}({number})"
    if i.kind == "scalar":
        return encoded(s, i, s.scalars[id(i.key)])
    return generator_state(i) if i.kind == "random" else ""


def _expression(s: Source, value: Any, made: dict[Any, str]) -> str:
    """The expression for a structure of the result."""
    if isinstance(value, Returned):
        return made[value.index]
    if isinstance(value, Gradient):
        return grad_before(value.owner) if value.before_call else f"{s.tensor(value.owner)}._grad"
    if isinstance(value, Aliased):
        if value not in made:
            root = _expression(s, value.root, made)
            made[value] = name = f"alias{len(made)}"
            s.add(f"{name} = {s.name('look', value)}({root})")
        return made[value]
    if isinstance(value, PassedThrough):
        return s.tensor(value.source)
    if type(value) is Scalar:
        return s.scalars[id(value)]
    if type(value) is tuple:
        return "(" + "".join(_expression(s, a, made) + ", " for a in value) + ")"
    if (structure := parts(value)) is None:
        constant = s.name("constant", value)
        return f"{s.name('copy', copy)}({constant})" if isinstance(value, _COPIED) else constant
    items = ", ".join(_expression(s, a, made) for a in structure.inside)
    constructor = "" if type(value) is list else s.name("filled", structure.filled)
    return f"{constructor}([{items}])" if constructor else f"[{items}]"
