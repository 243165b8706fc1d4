"""What stands in the answer of a traced function where a call puts a tensor of its own.

A tensor computed by the program is `Returned`; one that eagerly is somebody else's memory, or
another tensor's `.grad`, is that at every call too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

from ..tracer.autograd.graph import GradFn
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.signature import leaves
from ..tracer.capture.trace import Input
from ..tracer.mode import GradMode, mode
from ..tracer.tensor.masked_selection import Selection
from ..tracer.tensor.tensor import Tensor
from ..tracer.tensor.views import Path, apply_path, index_view


class Returned:
    """Output number `index` of the program, what stands for its `.grad`, if it has one, whether it
    is a leaf that requires grad, and its `axes` from the outermost in memory to the innermost, in
    whose order the program writes it; None for the usual one.
    """

    def __init__(self, index: int, grad: Any, begins: bool, axes: tuple[int, ...] | None):
        self.index, self.grad, self.begins, self.axes = index, grad, begins, axes


class Given:
    """A tensor that the function was given, or found, itself."""

    def __init__(self, source: Input):
        self.source = source


class Gradient:
    """The `.grad` of an input: what the call leaves there, or what it found."""

    def __init__(self, owner: Input, found: bool):
        self.owner, self.found = owner, found


class Aliased:
    """A view of another tensor in the answer, or of one that the function was given: looking at
    `root` through each path, recorded or not.
    """

    def __init__(self, root: Any, steps: tuple[tuple[Path, bool], ...], t: Tensor):
        self.root, self.steps, self.multi_view_function = root, steps, t._view.multi_view_function
        self.title = "" if t._grad_fn is None else t._grad_fn.title
        self.begins = t._requires_grad and t._grad_fn is None
        self.graded = t._requires_grad

    def __call__(self, t: Tensor) -> Tensor:
        for path, recorded in self.steps:
            if not path:
                t = t.detach()
            elif mode.grad is recorded:
                t = apply_path(t, path)
            else:
                with GradMode(recorded):
                    t = apply_path(t, path)
        if t._grad_fn is not None:
            t._grad_fn.title = self.title
        if t._view is not None:
            t._view.multi_view_function = self.multi_view_function
        if self.begins:
            t.requires_grad_()
        elif not self.graded:  # the root may have come to require it since
            t._grad_fn, t._requires_grad = None, False
        return t


def aliased(t: Tensor) -> tuple[Tensor, tuple[tuple[Path, bool], ...]]:
    """What `t` is a view of in the end, and the way there, as far as values do not decide it."""
    steps: list[tuple[Path, bool]] = []
    base: Any = t
    while base._view is not None and all(op is not index_view for op, _ in base._view.path):
        view, base = base._view, base._base
        # not recorded either: a view that keeps its history after a detach_() of its base
        recorded = view.differentiable and view.base_fn is base._grad_fn
        steps.append((view.path, recorded))
    return base, tuple(reversed(steps))


def _roots(answer: Any) -> list:
    """What stands in an answer, and what its views look at and its outputs have as `.grad`."""
    found = leaves(answer)
    for leaf in found:  # it grows
        if isinstance(leaf, Aliased):
            found.append(leaf.root)
        elif isinstance(leaf, Returned) and leaf.grad is not None:
            found.append(leaf.grad)
    return found


def gradients_found(answer: Any) -> set[Input]:
    """The inputs whose `.grad` from before the call is in its answer."""
    return {r.owner for r in _roots(answer) if isinstance(r, Gradient) and r.found}


def outputs_of(answer: Any) -> dict[int, Returned]:
    """The outputs that an answer needs, by number."""
    return {r.index: r for r in _roots(answer) if isinstance(r, Returned)}


def refuse_hidden(answer: Any, who: str) -> None:
    """Raise for what a call could not make again: an iterator, and objects that hold tensors of the
    trace.
    """
    for leaf in leaves(answer):
        if isinstance(leaf, Selection):
            leaf.refuse()
        if isinstance(leaf, (Tensor, type)) or type(leaf) is Scalar:
            continue
        if isinstance(leaf, (Iterator, AsyncIterator, Awaitable)):
            raise RuntimeError(
                f"{who} a {type(leaf).__name__}, which runs once, and only "
                "later; compile what it calls, and return a list"
            )
        bag = isinstance(leaf, (set, frozenset, deque))
        held = leaf if bag else getattr(leaf, "__dict__", {}).values()
        if any(isinstance(t, Tensor) and t._node is not None for t in held):
            raise RuntimeError(
                f"{who} an object of type {type(leaf).__name__} that holds "
                "tensors it computed; return them in tuples, lists, dicts or dataclasses"
            )


def listened(fn: GradFn | None) -> bool:
    """Whether somebody waits for what arrives at a record."""
    return fn is not None and bool(fn.prehooks or fn.posthooks or fn.retainers)
