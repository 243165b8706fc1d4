"""How the replay function of replay.py spells its inputs, and what it returns."""

from __future__ import annotations

from array import array
from collections import deque
from copy import copy
from typing import Any

import numpy as np

from ..tracer.capture.locations import Place
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.signature import parts
from ..tracer.capture.trace import Input
from ..tracer.tensor.tensor import wrap
from .argument_checks import placer
from .backward_nodes import CompiledCall, Output, take_over
from .entry import Entry
from .outputs import Aliased, Given, Gradient, Returned, outputs_of

_BAGS = (set, deque, bytearray, array)  # of Python's own, new ones at every call


class Writer:
    """Collects the lines of the function and the names it refers to."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []
        self.scalars: dict[int, str] = {}  # by id: the variable that holds the number

    def name(self, prefix: str, value: Any) -> str:
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def guard(self, line: str) -> None:
        self.add(line, 4)

    def add(self, line: str, depth: int = 1) -> None:
        self.lines.append("    " * depth + line)


def tensor(w: Writer, i: Input) -> str:
    """The tensor that is this input at the call."""
    if i.kind == "grad":
        return found(i.key)
    if i.kind == "place":
        return placed(i)
    return f"a{i.key}" if i.kind == "argument" else w.name("tensor", i.tensor)


def found(owner: Input) -> str:
    """The `.grad` that a call finds."""
    return f"found{id(owner)}"


def placed(i: Input) -> str:
    """The tensor that a call finds at a place."""
    return f"placed{id(i)}"


def drawn(source: Input) -> str:
    """What backward keeps of a generator: its state at this call."""
    return f"drawn{id(source)}"


def look(w: Writer, place: Place) -> str:
    """What is at a settable place."""
    holder = w.name("h", place.holder)
    if place.how == "item":
        return f"{holder}[{literal(w, place.key)}]"
    if place.how == "cell":
        return f"{holder}.cell_contents"
    return f"{w.name('slot', place.now)}()"


def literal(w: Writer, key: Any) -> str:
    return repr(key) if isinstance(key, (str, int)) else w.name("key", key)


def scalar(w: Writer, s: Any) -> str:
    """The variable that holds a number; what it is computed from comes before."""
    waiting = [s]
    while waiting:
        one = waiting[-1]
        operands = [x for x in one._operands if type(x) is Scalar and id(x) not in w.scalars]
        if id(one) in w.scalars or not operands:
            waiting.pop()
        if id(one) not in w.scalars and not operands:
            spelt = [
                w.scalars[id(x)] if type(x) is Scalar else w.name("c", x) for x in one._operands
            ]
            name = f"v{len(w.scalars)}"
            w.guard(f"{name} = {w.name('f', one._function)}({', '.join(spelt)})")
            w.scalars[id(one)] = name
        waiting.extend(operands)
    return w.scalars[id(s)]


def write_answer(w: Writer, entry: Entry, outputs: dict[int, str]) -> None:
    d = entry.derivative
    made: dict[Any, str] = {}
    results = outputs_of(entry.answer)
    for k in sorted(results):
        dtype = w.name("dtype", entry.graph.outputs[k].dtype)
        w.add(
            f"y{k} = new(Tensor); y{k}._array = {outputs[k]}; "
            f"y{k}._dtype = {dtype}; y{k}._version = [0]"
        )
        w.add(
            f"y{k}._node = y{k}._grad = y{k}._base = y{k}._view = y{k}._hooks = "
            f"y{k}._accumulator = y{k}._within = None; y{k}._ptr = 0"
        )
        if k not in entry.spent and (d is None or k not in d.outputs):
            w.add(f"y{k}._grad_fn = None; y{k}._requires_grad = {results[k].begins}")
        made[k] = f"y{k}"
        if k in entry.spent:
            w.add(f"y{k}._grad_fn = {w.name('spent', entry.spent[k])}; y{k}._requires_grad = True")
    if d is not None:
        sources = ", ".join(tensor(w, i) for i in d.wanted)
        kept = ", ".join(_kept(w, i) for i in d.kept_inputs)
        first = len(entry.graph.outputs) - len(d.saved)
        saved = ", ".join(outputs[first + j] for j in range(len(d.saved)))
        w.names |= {"CompiledCall": CompiledCall, "Output": Output, "derivative": d}
        w.add(
            f"call = CompiledCall(derivative, [{sources}], [{saved}], pointers, [{kept}], "
            "args, numbers)"
        )
        for index, k in enumerate(d.outputs):
            record = "call" if len(d.outputs) == 1 else f"Output(call, {index})"
            if k in entry.rooted:
                where = tensor(w, entry.rooted[k])
                w.add(f"{w.name('take_over', take_over)}({where}, {record})")
            else:
                w.add(f"y{k}._grad_fn = {record}; y{k}._requires_grad = True")
    for k in entry.spent.keys() & entry.rooted.keys():
        where = tensor(w, entry.rooted[k])
        w.add(f"{w.name('take_over', take_over)}({where}, {w.name('spent', entry.spent[k])})")
    for k, result in results.items():
        if result.grad is not None:
            w.add(f"y{k}._grad = {_expression(w, result.grad, made)}")
    answer, values, printed = entry.answer
    w.add(f"answer = {_expression(w, answer, made)}")
    for place, value in zip(entry.effects, values, strict=True):
        w.add(f"{w.name('put', placer(place))}({_expression(w, value, made)})")
    for args, kwargs in printed:
        w.add(f"print(*{_expression(w, args, made)}, **{_expression(w, kwargs, made)})")
    w.add("if stopped is not None: raise stopped")
    w.add("return answer")


def encoded(w: Writer, i: Input, value: str) -> str:
    """A number as an array of the dtype of an input."""
    dtype = i.node.dtype

    def encoded(value: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(dtype.encode(np.asarray(value).astype(dtype.compute)))

    return f"{w.name('encoded', encoded)}({value})"


def _kept(w: Writer, i: Input) -> str:
    if i.kind == "hyper":
        group, key = i.key
        number = f"float({w.name('group', group)}[{key!r}])"
        array = f"{w.name('asarray', np.asarray)}({number})"
        return f"{w.name('wrap', wrap)}({array}, {w.name('dtype', i.node.dtype)})"
    if i.kind == "scalar":
        array = encoded(w, i, w.scalars[id(i.key)])
        return f"{w.name('wrap', wrap)}({array}, {w.name('dtype', i.node.dtype)})"
    if i.kind == "random":
        return f"{w.name('wrap', wrap)}({drawn(i)}, {w.name('dtype', i.node.dtype)})"
    return tensor(w, i)


def _expression(w: Writer, answer: Any, made: dict[Any, str]) -> str:
    """The returned structure as text."""
    if isinstance(answer, Returned):
        return made[answer.index]
    if isinstance(answer, Gradient):
        return found(answer.owner) if answer.found else f"{tensor(w, answer.owner)}._grad"
    if isinstance(answer, Aliased):
        if answer not in made:
            root = _expression(w, answer.root, made)
            made[answer] = name = f"alias{len(made)}"
            w.add(f"{name} = {w.name('look', answer)}({root})")
        return made[answer]
    if isinstance(answer, Given):
        return tensor(w, answer.source)
    if type(answer) is Scalar:
        return w.scalars[id(answer)]
    if type(answer) is tuple:
        return "(" + "".join(_expression(w, a, made) + ", " for a in answer) + ")"
    if (taken := parts(answer)) is None:
        constant = w.name("constant", answer)
        return f"{w.name('copy', copy)}({constant})" if isinstance(answer, _BAGS) else constant
    inside = ", ".join(_expression(w, a, made) for a in taken.inside)
    made_by = "" if type(answer) is list else w.name("filled", taken.filled)
    return f"{made_by}([{inside}])" if made_by else f"[{inside}]"
