"""What function transforms are made of: run a function between fresh beginnings and its answers,
and pull cotangents back, as often and as deep as one likes.

Takes and gives flat lists of tensors; it knows nothing of arguments, structures and names. All
levels of differentiation share one tape. A level differentiates down to its own Origins, so
perturbations are not confused; an Origin leads on to the tensor that it was made from, so what one
level computes is differentiable at the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from ..mode import enable_grad, mode, resolve
from ..tensor.tensor import Tensor, fill_slots
from ..tensor.views import alias_memory
from .backward import backpropagate, filled
from .graph import AccumulateGrad, GradFn, edge


class Origin(GradFn):
    """Where a transform begins to differentiate: the identity, as an operation of its own."""

    __slots__ = ()

    def __init__(self, x: Tensor):
        super().__init__("OriginBackward", (edge(x),))

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        return (g,)


def detached_alias(t: Tensor) -> Tensor:
    """The same value in the same memory, without history at this level."""
    y: Tensor = fill_slots(object.__new__(Tensor), t._array, t._node, t._dtype)
    y._version = t._version
    alias_memory(t, y)
    return y


def origin(x: Tensor, kind: type[Origin] = Origin) -> Tensor:
    """`x` with an Origin of its own."""
    t = resolve(x)
    if not t._dtype.is_floating_point:
        raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
    y = detached_alias(t)
    y._grad_fn, y._requires_grad = kind(t), True
    return y


def reaches_outer_history(fns: Iterable[GradFn | None], own: set[GradFn]) -> bool:
    """Whether a gradient from `fns` ends anywhere but in the Origins in `own`: in a leaf, or in an
    Origin of a level around, which is older. Younger ones are those of levels inside, now done.
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
    """A function at one point: its answers, and how cotangents go back through it."""

    def __init__(self, function: Callable, primals: Sequence[Tensor]):
        self.primals = [resolve(x) for x in primals]
        begun = [origin(x) for x in self.primals]
        self.origins: list[GradFn] = [x._grad_fn for x in begun]
        self.recording = mode.grad
        with enable_grad():
            self.result = function(begun)

    def set_outputs(self, outputs: Sequence[Tensor], inner: Iterable[GradFn] = ()) -> None:
        """The tensors in the answer whose cotangents will be given; `inner` are Origins of the
        same level.
        """
        self.outputs = [resolve(y) for y in outputs]
        self.roots = [y._grad_fn if y._requires_grad else None for y in self.outputs]
        self.outer_history = reaches_outer_history(self.roots, {*self.origins, *inner})

    def detached_outside(self, t: Any) -> Any:
        """A tensor of the answer as the world around may have it: with a history only where that
        leads on, past this level.
        """
        if not isinstance(t, Tensor) or not resolve(t)._requires_grad:
            return t
        t = resolve(t)
        on = self.recording and reaches_outer_history([edge(t)], set(self.origins))
        return t if on else detached_alias(t)

    def needs_graph(self, cotangents: Iterable[Tensor | None] = ()) -> bool:
        """Whether what is pulled back may have to be differentiated once more."""
        deeper = mode.trace is not None and mode.trace.differentiated_outside
        given = any(g is not None and g._requires_grad for g in cotangents)
        return mode.grad and (self.outer_history or deeper or given)

    def __call__(
        self, cotangents: Sequence[Tensor | None], create: bool | None = None, keep: bool = True
    ) -> list[Tensor]:
        """The cotangents of the primals; zeros where nothing arrives."""
        given = [None if g is None else resolve(g) for g in cotangents]
        create = self.needs_graph(given) if create is None else create
        roots = [
            (fn, g)
            for fn, g in zip(self.roots, given, strict=True)
            if fn is not None and g is not None
        ]
        found = backpropagate(roots, self.origins, keep or create, create)
        return [
            filled(x.shape, x._dtype, 0.0) if g is None else g
            for g, x in zip(found, self.primals, strict=True)
        ]

    def pushforward(self) -> Pushforward:
        return Pushforward(self)


class Pushforward:
    """The derivative of a function at one point as a function of tangents.

    The pullback is linear in its cotangents u, so pulling a tangent v back through it from the
    primals to u gives the derivative along v, exactly, with reverse rules alone.
    """

    def __init__(self, back: Pullback):
        self.back = back

        def pulled(us: list[Tensor]) -> list[Tensor]:
            waiting = iter(us)
            full = [next(waiting) if k in self.places else None for k in range(len(back.outputs))]
            return back(full, create=True)

        ys = back.outputs
        self.places = [k for k, y in enumerate(ys) if y._dtype.is_floating_point]
        zeros = [filled(ys[k].shape, ys[k]._dtype, 0.0) for k in self.places]
        self.linear = Pullback(pulled, zeros)
        self.linear.set_outputs(self.linear.result, back.origins)

    def __call__(
        self, tangents: Sequence[Tensor | None], create: bool | None = None
    ) -> list[Tensor]:
        """The tangents of the outputs, zeros for integers; None stands for a tangent of zeros."""
        found = [filled(y.shape, y._dtype, 0) for y in self.back.outputs]
        for k, t in zip(self.places, self.linear(tangents, create), strict=True):
            found[k] = t
        return found
