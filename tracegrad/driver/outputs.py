"""What stands for a tensor in the result of a traced function.

A tensor that the program computes is `Returned`. One that eagerly is an argument, a view, or the
`.grad` of another tensor is that at every call, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Container, Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from ..tracer.autograd.graph import GradFn
from ..tracer.capture.inputs import Input
from ..tracer.capture.locations import Location
from ..tracer.capture.object_kinds import (
    attributes_of,
    is_atom,
    is_users,
    parts_of,
    slots_of,
)
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.signature import leaves
from ..tracer.mode import FixedGradMode, mode
from ..tracer.tensor.tensor import Tensor
from ..tracer.tensor.views import Path, apply_path, index_view


class Returned:
    """Output number `index` of the program.

    grad: what stands for its `.grad`, or None; is_grad_leaf: whether it is a leaf that requires
    grad; axes: its axes in memory order, outermost first, or None for the usual order; to_host:
    whether a program on a GPU hands it to the CPU.
    """

    def __init__(self, index: int, grad: Any, is_grad_leaf: bool, axes: tuple[int, ...] | None,
                 to_host: bool):
        self.index, self.grad, self.is_grad_leaf, self.axes = index, grad, is_grad_leaf, axes
        self.to_host = to_host


class PassedThrough:
    """An input itself: an argument or a captured tensor."""

    def __init__(self, source: Input):
        self.source = source


class Gradient:
    """The `.grad` of an input: that from before the call, or that which the call sets."""

    def __init__(self, owner: Input, before_call: bool):
        self.owner, self.before_call = owner, before_call


class Aliased:
    """A view of another tensor in the result, or of an input. `steps` are the paths from `root` to
    it, each with whether it is recorded for autograd.
    """

    def __init__(self, root: Any, steps: tuple[tuple[Path, bool], ...], t: Tensor):
        self.root, self.steps, self.multi_view_function = root, steps, t._view.multi_view_function
        self.title = "" if t._grad_fn is None else t._grad_fn.title
        self.is_grad_leaf = t._requires_grad and t._grad_fn is None
        self.requires_grad = t._requires_grad

    def __call__(self, t: Tensor) -> Tensor:
        for path, recorded in self.steps:
            if not path:
                t = t.detach()
            elif mode.grad is recorded:
                t = apply_path(t, path)
            else:
                with FixedGradMode(recorded):
                    t = apply_path(t, path)
        if t._grad_fn is not None:
            t._grad_fn.title = self.title
        if t._view is not None:
            t._view.multi_view_function = self.multi_view_function
        if self.is_grad_leaf:
            t.requires_grad_()
        elif not self.requires_grad:  # though the root requires grad
            t._grad_fn, t._requires_grad = None, False
        return t


def aliased(t: Tensor) -> tuple[Tensor, tuple[tuple[Path, bool], ...]]:
    """The tensor that `t` is a view of, and the steps to `t`. A view by indices ends the search,
    because values decide where it lies.
    """
    steps: list[tuple[Path, bool]] = []
    base: Any = t
    while base._view is not None and all(op is not index_view for op, _ in base._view.path):
        view, base = base._view, base._base
        # base_fn: a view keeps its history after a detach_() of its base
        recorded = view.differentiable and view.base_fn is base._grad_fn
        steps.append((view.path, recorded))
    return base, tuple(reversed(steps))


def _roots(result: Any) -> list:
    """What is in a result, with the roots of its views and the `.grad` of its outputs."""
    roots = leaves(result)
    for leaf in roots:  # it grows
        if isinstance(leaf, Aliased):
            roots.append(leaf.root)
        elif isinstance(leaf, Returned) and leaf.grad is not None:
            roots.append(leaf.grad)
    return roots


def gradients_before_call(result: Any) -> set[Input]:
    """The inputs whose `.grad` from before the call is in the result."""
    return {r.owner for r in _roots(result) if isinstance(r, Gradient) and r.before_call}


def outputs_of(result: Any) -> dict[int, Returned]:
    """The outputs of the program that are in a result, by number."""
    return {r.index: r for r in _roots(result) if isinstance(r, Returned)}


def refuse_hidden(
    result: Any, subject: str, arguments: Iterable[Tensor] = (), outside: Container[int] = ()
) -> None:
    """Raise for what a replay cannot make: iterators, and other objects that hold traced tensors
    or arguments of the call. Objects from `outside`, by id, may hold arguments: they stay.
    """
    for leaf in leaves(result):
        if isinstance(leaf, (Tensor, type)) or type(leaf) is Scalar:
            continue
        if isinstance(leaf, (Iterator, AsyncIterator, Awaitable)):
            raise RuntimeError(
                f"{subject} a {type(leaf).__name__}, which runs once, and only "
                "later; compile what it calls, and return a list"
            )
        held = list(_held(leaf, outside))
        if any(t._node is not None for t in held):
            what = "tensors it computed: hand them on"
        elif id(leaf) not in outside and any(t is x for t in held for x in arguments):
            what = "a tensor argument: hand it on"
        else:
            continue
        raise RuntimeError(
            f"{subject} an object of type {type(leaf).__name__} that holds {what} in tuples, "
            "lists, dicts or dataclasses"
        )


def _held(value: Any, outside: Container[int]) -> Iterator[Tensor]:
    """The tensors that an object refers to, but for what others from outside refer to."""
    queue, met = [value], {id(value)}
    for holder in queue:  # it grows
        for x in _inside(holder):
            if is_atom(x):  # first: to ask for another class would be a use of an Unread
                continue
            if isinstance(x, Tensor):
                yield x
            elif id(x) not in met and id(x) not in outside:
                met.add(id(x))
                queue.append(x)


def _inside(value: Any) -> list:
    """What an object refers to, if it is no tool of a library."""
    cls = type(value)
    if is_atom(value) or isinstance(value, (type, ModuleType)):
        return []
    if isinstance(value, dict):
        return list(dict.values(value))
    if isinstance(value, (list, tuple, deque, set, frozenset)):
        return list(value)
    if isinstance(value, FunctionType):
        cells = (Location("", "cell", c).now() for c in value.__closure__ or ())
        return [*cells, value.__defaults__, value.__kwdefaults__]
    if (parts := parts_of(value)) is not None:
        return list(parts)
    if not is_users(value, cls, cls.__module__.split(".")[0], ()):
        return []
    slots = (Location("", "slot", value, descriptor).now() for _, descriptor in slots_of(cls))
    return [attributes_of(value), *slots]


def has_listeners(fn: GradFn | None) -> bool:
    """Whether an autograd node has hooks or retains its gradient."""
    return fn is not None and bool(fn.prehooks or fn.posthooks or fn.retainers)
