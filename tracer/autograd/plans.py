"""Operations that are made of several primitives, by their plans.

An eager function of primitives is traced when it was called some times with arguments of the same
shapes, dtypes and numbers (sketches.py). From then on it is one Python function of arrays, without
tensors and autograd nodes in between; its derivative is another one. Both compute the same numbers
as the primitives one by one. What cannot be traced, or makes a view, is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy import ndarray

from ...ir.dtype import DType
from ..mode import get_default_dtype, mode, sequence_numbers
from ..tensor.data_changes import OUTPUT_READ_BY_TORCH, READ_BY_TORCH, refuse_changed_data
from ..tensor.device import CPU
from ..tensor.device_memory import address
from ..tensor.tensor import Size, Tensor, wrap
from ..tensor.views import set_view
from . import graph
from .graph import Composite, as_one, edge
from .node_classes import FREED
from .recording import OpBackward, Saved
from .rule_lines import wrapped
from .sketches import Plan, sketched

MOST = 2000  # plans that are kept
CALLS = 12  # the call at which a plan is made, which takes as long as some tens of calls
PLAIN: set[type] = {Tensor}  # classes of tensors without a `__torch_function__` of their own
_SIMPLE = frozenset((bool, int, str, type(None), DType))
_plans: dict[tuple, Plan | None] = {}  # None: there is none
_calls: dict[tuple, int] = {}  # how many, of those that have no plan yet
_fit: set[Callable] = set()  # functions that had a plan
_failures: dict[Callable, int] = {}  # how many times one of the others could have none
_hopeless: set[Callable] = set()  # those for which that happened TRIES times
TRIES = 4


class PlannedBackward(OpBackward):
    """The node of an operation that has a plan. `inputs` are the saved arguments; `own` are the
    nodes of all tensors among the arguments.
    """

    __slots__ = ("arguments", "intermediates", "own", "plan")

    def __init__(
        self, plan: Plan, title: str, tensors: list[Tensor], y: Tensor,
        intermediates: tuple[ndarray, ...],
    ):
        start = next(sequence_numbers)
        self.own = own = [t._grad_fn or edge(t) for t in tensors]
        self.title, self.edges, self.sequence = title, tuple([own[k] for k in plan.to]), start
        self.composite = self.prehooks = self.posthooks = self.metadata_ = None
        if title in READ_BY_TORCH:
            versions = [t._version for t in tensors]
            self.composite = Composite(own, versions, [y._version], start)
        self.retainers, self.freed, self.plan = (), False, plan
        self.y = Saved(y) if -1 in plan.read else y._dtype
        self.inputs = tuple([Saved(tensors[k]) for k in plan.read if k >= 0])
        self.intermediates = intermediates
        # the arguments from which intermediates are computed again, for second derivatives
        self.arguments = tuple([Saved(tensors[k]) for k in plan.origins])

    @property
    def next_functions(self) -> tuple:
        edges = self.own if self.composite is None else self.composite.edges
        return tuple((None if e is None else e.shown(), 0) for e in edges)

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        if self.freed:
            raise RuntimeError(FREED)
        if self.composite is not None:
            refuse_changed_data(self.title, *self.composite[1:])
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
            inputs = zip(self.arguments, [own[k] for k in plan.origins], strict=True)
            return tuple(plan.replay(g, values, [s.unpack(e, e) for s, e in inputs]))
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
            if type(array) is not ndarray:
                return False
            for t in tensors:
                if t is a:
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
        elif kind is tuple or kind is list or kind is Size:
            parts += (kind, len(a))
            if not _describe(a, parts, tensors):
                return False
        elif kind is slice:
            parts.append(kind)
            if not _describe((a.start, a.stop, a.step), parts, tensors):
                return False
        else:
            return False
    return True


def planned(title: str, function: Callable, args: tuple, kwargs: dict) -> Any:
    """The result of `function`, by its plan; NotImplemented if it must be called as it is."""
    now = mode.__dict__
    if now["trace"] is not None or function in _hopeless:
        return NotImplemented
    grad = now["grad"]
    if type(grad) is not bool or now["autocast"] is not None or not now["planning"]:
        return NotImplemented
    if now["edges_only"] or now["make_saved"] is not None or now["device"] not in (None, CPU):
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
    plan: Any = _plans.get(key, key)
    if plan is key:
        calls = _calls[key] = _calls.get(key, 0) + 1
        if calls >= CALLS:
            return _first(key, title, function, args, kwargs, tensors)
        if len(_calls) > MOST:
            _calls.clear()
        return NotImplemented
    return NotImplemented if plan is None else _run(plan, title, tensors, grad)


def _run(plan: Plan, title: str, tensors: list[Tensor], grad: bool) -> Any:
    try:
        arrays = plan.forward(*[t._array for t in tensors])
    except (ValueError, TypeError):
        return NotImplemented  # which raises what it is called for
    y = wrap(arrays[0], plan.dtype)
    if plan.path:
        set_view(tensors[plan.base], plan.path, y)
    if plan.to and grad:
        y._grad_fn = PlannedBackward(plan, title or plan.title, tensors, y, arrays[1:])
        y._requires_grad = True
    return y


def _first(
    key: tuple, title: str, function: Callable, args: tuple, kwargs: dict, tensors: list[Tensor]
) -> Any:
    """Make a plan, and keep it if its result is that of the function."""
    if len(_plans) > MOST:
        _plans.clear()
    _plans[key] = None
    _calls.pop(key, None)  # another thread may have been here
    try:
        plan = sketched(function, args, kwargs, tensors, title in OUTPUT_READ_BY_TORCH)
        mine = plan.forward(*[t._array for t in tensors])
    except Exception:  # whatever a function does that only works with values
        _failed(function)
        return NotImplemented
    whole = as_one if title else _call
    result = whole(title, function, *args, **kwargs)
    if _same(result, mine, plan, tensors):
        _plans[key] = plan
        _fit.add(function)
    else:
        _failed(function)
    return result


def _failed(function: Callable) -> None:
    _failures[function] = times = _failures.get(function, 0) + 1
    if times >= TRIES and function not in _fit:
        _hopeless.add(function)


def _call(title: str, function: Callable, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _same(result: Any, arrays: tuple[ndarray, ...], plan: Plan, tensors: list[Tensor]) -> bool:
    """Whether the result of a function, and what a plan has computed, are the same."""
    if type(result) is not Tensor or result._dtype is not plan.dtype:
        return False
    mine, array = arrays[0], result._array
    if array.shape != mine.shape or array.strides != mine.strides:
        return False
    if result._requires_grad is not bool(plan.to):
        return False
    fn = result._grad_fn
    if fn is not None:  # it must be one node
        own = [edge(t) for t in tensors]
        if any(e is not None and e not in own for e in (fn.composite or fn).edges):
            return False
    if plan.path:
        if plan.base < 0 or result._version is not tensors[plan.base]._version:
            return False
        return address(array) == address(mine)
    if result._view is not None or result._memory_location is not None:
        return False
    if any(np.may_share_memory(a, t._array) for a in (array, *arrays[1:]) for t in tensors):
        return False  # nobody would see that it is changed
    if -1 not in plan.read and any(np.may_share_memory(mine, a) for a in arrays[1:]):
        return False
    return array.tobytes() == mine.tobytes()


def shortcut(function: Callable) -> Callable:
    """Let a function be computed by plans that is not one operation of several, but takes time to
    look at its arguments.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = planned("", function, args, kwargs)
        return function(*args, **kwargs) if result is NotImplemented else result

    return call


graph.planned = planned
