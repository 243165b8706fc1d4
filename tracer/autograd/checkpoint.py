"""Recomputation: one record on the tape for a whole function, which backward runs again.

The first run is only sketched: it finds out where gradients would go, and saves no values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..mode import enable_grad, mode, resolve
from ..pytree import flatten, unflatten
from ..tensor.generator import get_rng_state, set_rng_state
from ..tensor.tensor import Tensor
from .backward import backpropagate
from .batching import BatchTrace
from .graph import FREED, AccumulateGrad, GradFn, OutputGradients, OutputNode, edge
from .transform import Origin, detached_alias, origin


@contextmanager
def _recording_edges_only() -> Iterator[None]:
    before, mode.edges_only = mode.edges_only, True
    try:
        yield
    finally:
        mode.edges_only = before


@contextmanager
def _rng_state_at(rng_state: Any) -> Iterator[None]:
    """Random numbers from a place where the stream stood before, and then where it stands now."""
    if rng_state is None:
        yield
        return
    now = get_rng_state()
    set_rng_state(rng_state)
    try:
        yield
    finally:
        set_rng_state(now)


def _outer_nodes(fns: list[GradFn | None], before: int) -> list[GradFn]:
    """What a function used besides its arguments: the records that were there before it ran."""
    found: dict[GradFn, None] = {}
    stack, seen = list(fns), set()
    while stack:
        fn = stack.pop()
        if fn is None or fn in seen:
            continue
        seen.add(fn)
        if isinstance(fn, AccumulateGrad) or fn.sequence <= before:
            found[fn] = None
        elif not isinstance(fn, _Argument):
            stack.extend(fn.edges)
    return list(found)


class _Argument(Origin):
    """Where a checkpointed function begins."""

    __slots__ = ()


class _Section:
    """A function and its arguments, to be run any number of times."""

    def __init__(self, function: Callable, args: tuple, kwargs: dict, keep_stream: bool):
        self.function = function
        leaves, self.structure = flatten((args, kwargs))
        self.leaves = [resolve(x) if isinstance(x, Tensor) else x for x in leaves]
        self.differentiable = [
            k for k, x in enumerate(self.leaves) if isinstance(x, Tensor) and x._requires_grad
        ]
        self.rng_state = get_rng_state() if keep_stream else None

    def run(self) -> tuple[list[Any], Any, list[GradFn]]:
        """The answer's leaves and structure, and the records of the arguments."""
        leaves = list(self.leaves)
        for k in self.differentiable:
            leaves[k] = origin(leaves[k], _Argument)
        args, kwargs = unflatten(leaves, self.structure)
        with enable_grad():
            answer, structure = flatten(self.function(*args, **kwargs))
        return answer, structure, [leaves[k]._grad_fn for k in self.differentiable]


class CheckpointBackward(GradFn):
    """The record of a checkpointed function."""

    __slots__ = ("outer_nodes", "section")

    section: _Section | None

    def __init__(self, section: _Section, outer_nodes: list[GradFn]):
        arguments = [edge(section.leaves[k]) for k in section.differentiable]
        super().__init__("CheckpointFunctionBackward", (*arguments, *outer_nodes))
        self.section, self.outer_nodes = section, outer_nodes

    def run_prehooks(self, g: Any) -> Any:
        return g if isinstance(g, OutputGradients) else super().run_prehooks(g)

    def apply(self, g: Any) -> tuple[Tensor | None, ...]:
        if self.section is None:
            raise RuntimeError(FREED)
        parts = g.parts if isinstance(g, OutputGradients) else {0: g}
        with _rng_state_at(self.section.rng_state):
            answer, _, arguments = self.section.run()
        roots = [(resolve(answer[k])._grad_fn, part) for k, part in parts.items()]
        create = mode.grad
        return tuple(
            backpropagate(roots, [*arguments, *self.outer_nodes], create, create, stop=True)
        )

    def has_saved_values(self) -> bool:
        return self.section is not None

    def release(self) -> None:
        self.section = None


def checkpointed(function: Callable, args: tuple, kwargs: dict, keep_stream: bool) -> Any:
    """function(*args, **kwargs), whose gradient runs it again."""
    trace = mode.trace
    if not mode.grad or (isinstance(trace, BatchTrace) and trace.differentiated_outside):
        return function(*args, **kwargs)
    section = _Section(function, args, kwargs, keep_stream)
    before = _Mark().sequence
    with _recording_edges_only():
        answer, structure, _ = section.run()
    fns = [resolve(y)._grad_fn if isinstance(y, Tensor) else None for y in answer]
    if all(fn is None for fn in fns):
        return unflatten(answer, structure)
    record = CheckpointBackward(section, _outer_nodes(fns, before))
    results = []
    for k, (y, fn) in enumerate(zip(answer, fns, strict=True)):
        if fn is not None:
            y = detached_alias(resolve(y))
            y._grad_fn = record if len(answer) == 1 else OutputNode(record, k)
            y._requires_grad = True
        results.append(y)
    return unflatten(results, structure)


class _Mark(GradFn):
    """Its sequence tells what was recorded before it from what came later."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("Mark", ())
