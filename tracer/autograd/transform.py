"""The basis of function transforms: run a function, and pull gradients back through it, at any
depth.

This module works on flat lists of tensors. It does not know arguments, structures and names. All
levels of differentiation share one autograd graph. A level differentiates down to its own Origins,
so perturbations are not confused. An Origin has an edge to the tensor that it was made from, so the
result of one level can be differentiated by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from ...ir.ops.movement import reshape
from ..mode import FixedGradMode, Forward, forward_mode, mode, resolve
from ..tensor.masked_selection import settle
from ..tensor.placement import on_device
from ..tensor.tensor import Tensor, fill_slots
from ..tensor.views import Path, alias_memory, apply_path
from .backward import backpropagate, filled_like
from .graph import AccumulateGrad, GradFn, edge

STOPPED = (
    "no_grad stops the reverse mode but not the forward mode: a function that uses it cannot be "
    "differentiated in both. Detach the tensors instead."
)


class Origin(GradFn):
    """An input of a level of differentiation: the identity, with an autograd node of its own."""

    __slots__ = ()

    def __init__(self, x: Tensor):
        super().__init__("OriginBackward", (edge(x),))

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        return (g,)


def detached_alias(t: Tensor) -> Tensor:
    """The same value in the same memory, without autograd history at this level."""
    y: Tensor = fill_slots(object.__new__(Tensor), t._array, t._node, t._dtype)
    y._version = t._version
    alias_memory(t, y)
    return y


def origin(x: Tensor, kind: type[Origin] = Origin) -> Tensor:
    """`x` with an Origin of its own."""
    t = settle(x)
    if not t._dtype.is_floating_point:
        raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
    y = detached_alias(t)
    y._grad_fn, y._requires_grad = kind(t), True
    return y


def reaches_outer_history(fns: Iterable[GradFn | None], own: set[GradFn]) -> bool:
    """Whether a gradient from `fns` reaches a leaf, or an Origin of an outer level.

    `own` are the Origins of this level. Origins of outer levels are older. Younger Origins belong
    to inner levels, which are finished.
    """
    stack, seen = list(fns), set()
    first = min((fn.sequence for fn in own), default=inf)
    while stack:
        fn = stack.pop()
        if fn is None or fn in seen:
            continue
        seen.add(fn)
        if isinstance(fn, AccumulateGrad) or (isinstance(fn, Origin) and fn.sequence < first):
            return True
        stack.extend(fn.edges)
    return False


class Pullback:
    """A function at one point: its result, and how gradients go back through it. `forward` says
    that they are wanted for a pushforward only, whose formulas are others at kinks.
    """

    def __init__(self, function: Callable, primals: Sequence[Tensor], forward: bool = False):
        self.primals = [settle(x) for x in primals]
        self.inputs = inputs = [origin(x) for x in self.primals]
        self.origins: list[GradFn] = [x._grad_fn for x in inputs]
        self.recording = mode.grad
        stopped, mode.stopped = mode.stopped, False
        edges_only, mode.edges_only = mode.edges_only, False  # in a checkpoint, too
        try:
            with FixedGradMode(Forward.ON if forward else True):
                self.result = function(inputs)
        finally:
            mode.edges_only = edges_only
        self.stopped, mode.stopped = mode.stopped, stopped or mode.stopped
        self.forward, self.mixed = forward, forward or forward_mode()

    def set_outputs(self, outputs: Sequence[Tensor], inner: Iterable[GradFn] = ()) -> None:
        """Set the tensors of the result whose gradients will be given.

        `inner` are further Origins of this level.
        """
        self.outputs = [settle(y) for y in outputs]
        self.roots = [y._grad_fn if y._requires_grad else None for y in self.outputs]
        self.outer_history = reaches_outer_history(self.roots, {*self.origins, *inner})
        if self.stopped and self.mixed and self.outer_history:
            raise NotImplementedError(STOPPED)

    def detached_outside(self, t: Any) -> Any:
        """A tensor of the result for the caller.

        It keeps its history only if that leads to an outer level. A view of a primal is one for
        the caller, too.
        """
        if not isinstance(t, Tensor) or not resolve(t)._requires_grad:
            return t
        t = resolve(t)
        if (view := self._view_of_primal(t)) is not None:
            return view
        on = self.recording and reaches_outer_history([edge(t)], set(self.origins))
        return t if on else detached_alias(t)

    def _view_of_primal(self, t: Tensor) -> Tensor | None:
        """`t` as a view of the primal itself, if it is one and the function has not written to it.
        """
        places = {id(x): k for k, x in enumerate(self.inputs)}
        root: Any = t
        path: Path = ()
        while id(root) not in places:
            if root._view is None or not root._view.differentiable:
                return None
            root, path = root._base, (*root._view.path, *path)
        if root._grad_fn not in self.origins:
            return None
        primal = self.primals[places[id(root)]]
        if self.forward and not path:  # another tensor object, as in torch
            path = ((reshape, {"shape": tuple(primal.shape)}),)
        view: Tensor = apply_path(primal, path)
        if view._view is not None and t._view is not None:
            view._view.multi_view_function = t._view.multi_view_function
        return view

    def needs_graph(self, cotangents: Iterable[Tensor | None] = ()) -> bool:
        """Whether the gradients may be differentiated again."""
        outside = mode.trace is not None and mode.trace.differentiated_outside
        differentiable = any(g is not None and g._requires_grad for g in cotangents)
        return mode.grad and (self.outer_history or outside or differentiable)

    def __call__(
        self, cotangents: Sequence[Tensor | None], create: bool | None = None, keep: bool = True
    ) -> list[Tensor]:
        """The gradients of the primals; zeros for a primal that none reaches."""
        resolved = [None if g is None else settle(g) for g in cotangents]
        create = self.needs_graph(resolved) if create is None else create
        roots = [
            (fn, g)
            for fn, g in zip(self.roots, resolved, strict=True)
            if fn is not None and g is not None
        ]
        gradients = backpropagate(roots, self.origins, keep or create, create)
        return [
            filled_like(x, 0.0) if g is None else on_device(g, x.device)
            for g, x in zip(gradients, self.primals, strict=True)
        ]

    def pushforward(self) -> Pushforward:
        return Pushforward(self)


class Pushforward:
    """The derivative of a function at one point, as a function of tangents.

    The pullback is linear in its cotangents u. So pulling a tangent v back through it, from the
    primals to u, gives the derivative along v. This is exact and needs only reverse rules.
    """

    def __init__(self, back: Pullback):
        self.back = back

        def pulled(us: list[Tensor]) -> list[Tensor]:
            waiting = iter(us)
            count = len(back.outputs)
            full = [next(waiting) if k in self.positions else None for k in range(count)]
            return back(full, create=True)

        ys = back.outputs
        self.positions = [k for k, y in enumerate(ys) if y._dtype.is_floating_point]
        zeros = [filled_like(ys[k], 0.0) for k in self.positions]
        self.linear = Pullback(pulled, zeros)
        self.linear.set_outputs(self.linear.result, back.origins)

    def __call__(
        self, tangents: Sequence[Tensor | None], create: bool | None = None
    ) -> list[Tensor]:
        """The tangents of the outputs, zeros for integers. None means a tangent of zeros."""
        results = [filled_like(y, 0) for y in self.back.outputs]
        for k, t in zip(self.positions, self.linear(tangents, create), strict=True):
            results[k] = t
        return results
