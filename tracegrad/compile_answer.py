"""What stands in the answer of a traced function where a call puts a tensor of its own.

A tensor computed by the program is `Returned`; one that eagerly is somebody else's memory, or
another tensor's `.grad`, is that at every call too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .tracer.mode import _Switch, mode
from .tracer.pytree import flatten
from .tracer.tape import GradFn
from .tracer.tensor import Tensor
from .tracer.views import VIEWS, Path, follow


@dataclass(frozen=True)
class Returned:
    """Output number `index` of the program."""

    index: int


@dataclass(frozen=True, eq=False)
class Gradient:
    """The `.grad` of a tensor: what the call leaves there, or what it found."""

    owner: Tensor
    found: bool


@dataclass(frozen=True, eq=False)
class Aliased:
    """A view of another tensor in the answer, or of one that the function was given: looking at
    `root` through each path, recorded or not.
    """

    root: Any
    steps: tuple[tuple[Path, bool], ...]
    title: str
    many: str

    def __call__(self, t: Tensor) -> Tensor:
        for path, recorded in self.steps:
            if not path:
                t = t.detach()
            elif mode.grad is recorded:
                t = follow(t, path)
            else:
                with _Switch(recorded):
                    t = follow(t, path)
        if t._grad_fn is not None:
            t._grad_fn.title = self.title
        if t._view is not None:
            t._view.many = self.many
        return t


def aliased(t: Tensor) -> tuple[Tensor, tuple[tuple[Path, bool], ...]]:
    """What `t` is a view of in the end, and the way there, as far as values do not decide it."""
    steps: list[tuple[Path, bool]] = []
    while t._view is not None and all(op in VIEWS for op, _ in t._view.path):
        steps.append((t._view.path, t._view.differentiable))
        t = t._base
    return t, tuple(reversed(steps))


def gradients_found(answer: Any) -> set[Tensor]:
    """The tensors whose `.grad` from before the call is in its answer."""
    leaves = flatten(answer)[0]
    roots = [leaf.root if isinstance(leaf, Aliased) else leaf for leaf in leaves]
    return {r.owner for r in roots if isinstance(r, Gradient) and r.found}


def listened(fn: GradFn | None) -> bool:
    """Whether somebody waits for what arrives at a record."""
    return fn is not None and bool(fn.prehooks or fn.posthooks or fn.retainers)
