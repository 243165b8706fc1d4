"""Checkpointing: one autograd node for a whole function, which backward runs again.

The first run records only edges. It finds out where gradients go, and saves no values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..mode import FixedGradMode, casting, mode, recording_mode, resolve
from ..pytree import flatten, unflatten
from ..tensor.generator import get_rng_state, set_rng_state
from ..tensor.masked_selection import settle
from ..tensor.tensor import Tensor
from ..tensor.views import base_and_path
from .backward import backpropagate
from .batching import BatchTrace
from .graph import AccumulateGrad, GradFn, OutputGradients, OutputNode, edge
from .node_classes import FREED
from .recording import OpBackward, Saved
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
    """Within it, the default generator is at a former state; at the end it is restored."""
    if rng_state is None:
        yield
        return
    now = get_rng_state()
    set_rng_state(rng_state)
    try:
        yield
    finally:
        set_rng_state(now)


def _is_older(fn: GradFn | None, before: int) -> bool:
    """Whether a tensor with this node was there before the function ran."""
    return fn is None or isinstance(fn, _Argument) or fn.sequence <= before


def _outer_nodes(fns: list[GradFn | None], before: int) -> tuple[list[GradFn], bool]:
    """The nodes that a function uses besides its arguments: those recorded before it ran. And
    whether its own nodes read values.
    """
    outer: dict[GradFn, None] = {}
    stack, seen, reads = list(fns), set(), False
    while stack:
        fn = stack.pop()
        if fn is None or fn in seen:
            continue
        seen.add(fn)
        if isinstance(fn, AccumulateGrad) or fn.sequence <= before:
            outer[fn] = None
        elif not isinstance(fn, _Argument):
            stack.extend(fn.edges)
            # None stands for a value that is read, as only edges were recorded
            reads = reads or not isinstance(fn, OpBackward) or None in (fn.y, *fn.inputs)
    return list(outer), reads


class _Argument(Origin):
    """An argument of a checkpointed function, as the start of its autograd graph."""

    __slots__ = ()


class _Section:
    """A function and its arguments, which can be run several times."""

    def __init__(self, function: Callable, args: tuple, kwargs: dict, keep_rng_state: bool):
        self.function = function
        leaves, self.structure = flatten((args, kwargs))
        self.leaves = [settle(x) if isinstance(x, Tensor) else x for x in leaves]
        self.differentiable = [
            k for k, x in enumerate(self.leaves) if isinstance(x, Tensor) and x._requires_grad
        ]
        arguments = [settle(x) for x in args if isinstance(x, Tensor)]
        self.saved = [(Saved(x), edge(x)) for x in arguments]
        self.rng_state = get_rng_state() if keep_rng_state else None
        self.grad_mode, self.autocast = recording_mode(), mode.autocast

    def refuse_changed_arguments(self) -> None:
        """Raise if an argument was changed in place. As in torch, those inside of lists and of
        keywords may be.
        """
        for saved, node in self.saved:
            saved.unpack(None, node)

    def run(self) -> tuple[list[Any], Any, list[GradFn]]:
        """The leaves and the structure of the output, and the nodes of the arguments."""
        leaves = list(self.leaves)
        for k in self.differentiable:
            leaves[k] = origin(leaves[k], _Argument)
        args, kwargs = unflatten(leaves, self.structure)
        with FixedGradMode(self.grad_mode), casting(self.autocast):
            output, structure = flatten(self.function(*args, **kwargs))
        return output, structure, [leaves[k]._grad_fn for k in self.differentiable]


class CheckpointBackward(GradFn):
    """The autograd node of a checkpointed function."""

    __slots__ = ("outer_nodes", "reads", "section", "views")

    section: _Section | None

    def __init__(
        self, section: _Section, outer_nodes: list[GradFn], reads: bool, views: list[Saved]
    ):
        arguments = [edge(section.leaves[k]) for k in section.differentiable]
        super().__init__("CheckpointFunctionBackward", (*arguments, *outer_nodes))
        self.section, self.outer_nodes, self.reads = section, outer_nodes, reads
        self.views = views

    def run_prehooks(self, g: Any) -> Any:
        return g if isinstance(g, OutputGradients) else super().run_prehooks(g)

    def apply(self, g: Any) -> tuple[Tensor | None, ...]:
        if self.section is None:
            raise RuntimeError(FREED)
        if self.reads:
            self.section.refuse_changed_arguments()
        for saved in self.views:  # a write to what it is a view of should have given it a history
            saved.unpack(None, "a view that a checkpoint returned of a tensor from outside")
        parts = g.by_output if isinstance(g, OutputGradients) else {0: g}
        with _rng_state_at(self.section.rng_state):
            output, _, arguments = self.section.run()
        roots = [(resolve(output[k])._grad_fn, part) for k, part in parts.items()]
        create = bool(mode.grad)
        return tuple(
            backpropagate(roots, [*arguments, *self.outer_nodes], create, create, stop=True)
        )

    def has_saved_values(self) -> bool:
        return self.section is not None

    def release(self) -> None:
        self.section = None


def checkpointed(function: Callable, args: tuple, kwargs: dict, keep_rng_state: bool) -> Any:
    """function(*args, **kwargs); backward runs the function again."""
    trace = mode.trace
    if not mode.grad or (isinstance(trace, BatchTrace) and trace.differentiated_outside):
        return function(*args, **kwargs)
    section = _Section(function, args, kwargs, keep_rng_state)
    before = _Mark().sequence
    with _recording_edges_only():
        output, structure, _ = section.run()
    fns = [settle(y)._grad_fn if isinstance(y, Tensor) else None for y in output]
    if all(fn is None for fn in fns):
        return unflatten(output, structure)
    views = [Saved(resolve(y)) for y, fn in zip(output, fns, strict=True)
             if fn is not None and _is_older(base_and_path(resolve(y))[0]._grad_fn, before)]
    node = CheckpointBackward(section, *_outer_nodes(fns, before), views)
    results = []
    for k, (y, fn) in enumerate(zip(output, fns, strict=True)):
        if fn is not None:
            y = detached_alias(resolve(y))
            y._grad_fn = node if len(output) == 1 else OutputNode(node, k)
            y._requires_grad = True
        results.append(y)
    return unflatten(results, structure)


class _Mark(GradFn):
    """Its sequence number separates earlier nodes from later ones."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("Mark", ())
