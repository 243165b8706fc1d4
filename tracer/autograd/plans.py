"""Operations that are made of several primitives, by their plans.

An eager function of primitives is traced when it is called a second time with arguments of the same
shapes, dtypes and numbers (sketches.py). From then on it is one Python function of arrays, without
tensors and autograd nodes in between; its derivative is another one. Both compute the same numbers
as the primitives one by one. What cannot be traced, or makes a view, is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from ...ir.dtype import DType
from ..mode import get_default_dtype, mode, sequence_numbers
from ..tensor.data_changes import refuse_changed_data
from ..tensor.tensor import Tensor, wrap
from . import graph
from .graph import Composite, as_one, edge
from .node_classes import FREED
from .recording import OpBackward, Saved
from .rule_lines import wrapped
from .sketches import Plan, sketched

MOST = 2000  # plans that are kept
PLAIN: set[type] = {Tensor}  # classes of tensors without a `__torch_function__` of their own
_SIMPLE = frozenset((bool, int, str, type(None), DType))
_plans: dict[tuple, Any] = {}  # None: there is none; 1: it was called once
_hopeless: dict[Callable, int] = {}  # functions of which no plan could be made, how often
_TRIES = 4


class PlannedBackward(OpBackward):
    """The node of an operation that has a plan. `inputs` are the saved arguments; `own` are the
    nodes of all tensors among the arguments.
    """

    __slots__ = ("arguments", "intermediates", "own", "plan")

    def __init__(
        self, plan: Plan, title: str, tensors: list[Tensor], y: Tensor,
        intermediates: tuple[ndarray, ...], start: int,
    ):
        own = [t._grad_fn or edge(t) for t in tensors]
        versions = [t._version for t in tensors]
        self.title, self.edges, self.sequence = title, tuple([own[k] for k in plan.to]), start
        self.own, self.composite = own, Composite(own, versions, [y._version], start)
        self.prehooks = self.posthooks = self.metadata_ = None
        self.retainers, self.freed, self.plan = (), False, plan
        self.y = Saved(y) if -1 in plan.read else y._dtype
        self.inputs = tuple([Saved(tensors[k]) for k in plan.read if k >= 0])
        self.intermediates = intermediates
        # the arguments from which intermediates are computed again, for second derivatives
        self.arguments = tuple([Saved(t) for t in tensors]) if intermediates else ()

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        if self.freed:
            raise RuntimeError(FREED)
        refuse_changed_data(self.title, *self.composite[1:])  # type: ignore[index]
        plan, saved, own, keep = self.plan, iter(self.inputs), self.own, mode.grad
        values = [
            self.y.unpack(self if keep else None, self, output=True) if k < 0
            else next(saved).unpack(own[k] if keep else None, own[k])
            for k in plan.read
        ]
        array = g._array
        plain = type(array) is ndarray and g._dtype is plan.dtype
        if keep or mode.trace is not None or not plain:
            if not keep:
                made = zip(self.intermediates, plan.made, strict=True)
                return tuple(plan.replay(g, [*values, *(wrap(a, n.dtype) for a, n in made)], []))
            inputs = [s.unpack(e, e) for s, e in zip(self.arguments, own, strict=False)]
            return tuple(plan.replay(g, values, inputs))
        backward = plan.backward[array.flags.c_contiguous]
        arrays = backward(array, *[v._array for v in values], *self.intermediates)
        return tuple(wrapped(g, arrays, plan.dtypes))

    def has_saved_values(self) -> bool:
        return bool(self.plan.read or self.intermediates) and not self.freed

    def release(self) -> None:
        if self.has_saved_values():
            self.freed, self.y = True, None
            self.inputs = self.arguments = self.intermediates = ()


def _describe(values: Any, parts: list, tensors: list[Tensor]) -> bool:
    """Add to `parts` what a plan depends on, and to `tensors` the tensors among the arguments.
    Returns whether there may be a plan.
    """
    for a in values:
        kind = type(a)
        if kind in PLAIN:
            if a._view is not None:
                a._view.refresh(a)
            array = a._array
            if type(array) is not ndarray or any(a is t for t in tensors):
                return False
            tensors.append(a)
            parts += (array.shape, a._dtype, a._requires_grad)
            if not array.flags.c_contiguous:
                parts.append(array.strides)
        elif kind in _SIMPLE:
            parts += (kind, a)
        elif kind is float:
            if a != a:
                return False
            parts += (kind, a or repr(a))  # 0.0 and -0.0 are equal
        elif kind is tuple or kind is list:
            parts += (kind, len(a))
            if not _describe(a, parts, tensors):
                return False
        else:
            return False
    return True


def planned(title: str, function: Callable, args: tuple, kwargs: dict) -> Any:
    """The result of `function`, by its plan; NotImplemented if it must be called as it is."""
    now = mode.__dict__
    if now["trace"] is not None or _hopeless.get(function, 0) >= _TRIES:
        return NotImplemented
    grad = now["grad"]
    if type(grad) is not bool or now["autocast"] is not None or not now["planning"]:
        return NotImplemented
    if now["edges_only"] or now["make_saved"] is not None or now["device"] is not None:
        return NotImplemented
    tensors: list[Tensor] = []
    parts: list = [function, grad, get_default_dtype()]
    if not _describe(args, parts, tensors):
        return NotImplemented
    if kwargs:
        parts.append(tuple(kwargs))
        if not _describe(kwargs.values(), parts, tensors):
            return NotImplemented
    key = tuple(parts)
    plan = _plans.get(key, 0)
    if plan is None:
        return NotImplemented
    if type(plan) is int:
        if len(_plans) > MOST:
            _plans.clear()
        _plans[key] = 1
        return _first(key, title, function, args, kwargs, tensors) if plan else NotImplemented
    return _run(plan, title, tensors, grad)


def _run(plan: Plan, title: str, tensors: list[Tensor], grad: bool) -> Any:
    try:
        arrays = plan.forward(*[t._array for t in tensors])
    except (ValueError, TypeError):
        return NotImplemented  # which raises what it is called for
    y = wrap(arrays[0], plan.dtype)
    if plan.to and grad:
        start = next(sequence_numbers)
        y._grad_fn = PlannedBackward(plan, title, tensors, y, arrays[1:], start)
        y._requires_grad = True
    return y


def _first(
    key: tuple, title: str, function: Callable, args: tuple, kwargs: dict, tensors: list[Tensor]
) -> Any:
    """Make a plan, and keep it if its result is that of the function."""
    _plans[key] = None
    result = as_one(title, function, *args, **kwargs)
    try:
        plan = sketched(function, args, kwargs, tensors)
        mine = plan.forward(*[t._array for t in tensors])
    except Exception:  # whatever a function does that only works with values
        mine = None
    if mine is not None and _same(result, mine, plan, tensors):
        _plans[key] = plan
        _hopeless.pop(function, None)
    else:
        _hopeless[function] = _hopeless.get(function, 0) + 1
    return result


def _same(result: Any, arrays: tuple[ndarray, ...], plan: Plan, tensors: list[Tensor]) -> bool:
    if type(result) is not Tensor or result._view is not None or result._dtype is not plan.dtype:
        return False
    mine, array = arrays[0], result._array
    if array.shape != mine.shape or array.strides != mine.strides:
        return False
    if result._requires_grad is not bool(plan.to):
        return False
    if any(np.may_share_memory(a, t._array) for a in (array, *arrays[1:]) for t in tensors):
        return False  # nobody would see that it is changed
    return array.tobytes() == mine.tobytes()


graph.planned = planned
