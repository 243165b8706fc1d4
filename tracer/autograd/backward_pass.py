"""The reverse walk over the autograd graph.

Nodes are visited from the last recorded to the first. So the gradient of a node is complete when
the walk reaches it. The tensors may be eager or traced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from ...ir.node import at, user_site
from ...ir.quiet import quiet_context
from ..mode import mode
from ..tensor.device_memory import host
from ..tensor.gradient_layout import copy_in_layout, differentiable_copy, matches_layout, to_layout
from ..tensor.placement import on_device
from ..tensor.tensor import Tensor, fill_slots
from .graph import AccumulateGrad, GradFn
from .recording import OpBackward

Root = tuple[GradFn, Tensor]


def _nodes_on_path(roots: Iterable[Root], targets: set[GradFn]) -> set[GradFn]:
    """The nodes that must be differentiated to reach the targets."""
    leads: dict[GradFn, bool] = {}
    stack = [(fn, False) for fn, _ in roots]
    while stack:
        fn, done = stack.pop()
        below = [e for e in fn.edges if e is not None]
        if done:
            leads[fn] = any(e in targets or leads.get(e, False) for e in below)
        elif fn not in leads:
            leads[fn] = False
            stack.append((fn, True))
            stack.extend((e, False) for e in below)
    return {fn for fn, yes in leads.items() if yes}


def refuse_nan(fn: GradFn, grads: Sequence[Any]) -> None:
    """Raise if a gradient contains NaN, for `detect_anomaly`. Traced gradients are not checked."""
    for k, g in enumerate(grads):
        if isinstance(g, Tensor) and g._array is not None:
            if np.isnan(g._dtype.decode(host(g._array))).any():
                raise RuntimeError(
                    f"Function '{fn.title}' returned nan values in its {k}th output."
                )


def add_to(x: Tensor, g: Tensor) -> None:
    """x += g, of a tensor without history."""
    a, b = x._array, g._array
    if (
        type(a) is np.ndarray is type(b) and a.dtype is b.dtype and not x._dtype.is_half
        and x._view is None and a.shape == b.shape and a.flags.carray
    ):
        quiet_context().run(np.add, a, b, a)
        x._version[0] += 1
    else:
        x.add_(g)


class BackwardPass:
    """One pass from the roots to the leaves."""

    def __init__(
        self, keep_graph: bool, create_graph: bool, targets: set[GradFn] | None, stop: bool = False
    ):
        self.keep_graph, self.create_graph = keep_graph, create_graph
        self.targets, self.stop = targets, stop
        self.pending: dict[GradFn, Tensor] = {}
        self.heap: list[tuple[int, GradFn]] = []
        self.captured: dict[GradFn, Tensor] = {}
        self.shared_ids: set[int] = set()  # ids of tensors that others refer to, too
        self.kept_alive: list[Tensor] = []  # they must keep their ids during the pass
        # in a trace: the line of the whole pass, so that not each node looks for it
        self.site = None if mode.trace is None else user_site()
        self.anomaly = mode.anomaly

    def push(self, fn: GradFn, g: Tensor) -> None:
        """Add a gradient to the pending gradient of a node."""
        before = self.pending.get(fn)
        if before is None:
            self.pending[fn] = g
            heappush(self.heap, (-fn.sequence, fn))
        else:
            self.pending[fn] = before + g

    def mark_shared(self, g: Tensor) -> None:
        """Others refer to `g`: it must not become the `.grad` of a leaf."""
        self.shared_ids.add(id(g))
        self.kept_alive.append(g)

    def run(self, roots: list[Root], accumulate: bool) -> None:
        targets, heap, pending = self.targets, self.heap, self.pending
        on_path = None if targets is None else _nodes_on_path(roots, targets)
        for fn, g in roots:
            self.mark_shared(g)
            self.push(fn, g)
        while heap:
            fn = heappop(heap)[1]
            g = pending.pop(fn)
            if targets is not None and self.stop and fn in targets:
                self.captured[fn] = g
                continue
            if fn.prehooks or fn.retainers or not isinstance(fn, OpBackward):
                arrived, g = g, fn.run_prehooks(g)
                if g is not arrived or fn.prehooks or fn.retainers:
                    self.mark_shared(g)
            if targets is not None and fn in targets:
                self.captured[fn] = g
                self.mark_shared(g)
            if isinstance(fn, AccumulateGrad):
                if not fn.variable._requires_grad:
                    continue  # requires_grad was cleared since
                if accumulate and (targets is None or fn in targets):
                    self.accumulate(fn, g)
                    if fn.variable._hooks:
                        fn.run_post_accumulate_hooks()
                continue
            if on_path is None or fn in on_path:
                self.differentiate(fn, g)

    def differentiate(self, fn: GradFn, g: Tensor) -> None:
        """Apply the derivative rule of a node and pass the gradients on."""
        if self.site is not None and isinstance(fn, OpBackward):
            with at(self.site):
                grads = fn.apply(g)
        else:
            grads = fn.apply(g)
        if self.anomaly:
            refuse_nan(fn, grads)
        if fn.posthooks:
            for hook in tuple(fn.posthooks.values()):
                new = hook(grads, (g,))
                if new is not None:
                    grads = tuple(new) if isinstance(new, (tuple, list)) else (new,)
        for to, gx in zip(fn.edges, grads, strict=True):
            if to is not None and gx is not None:
                if gx is g:
                    self.mark_shared(g)
                self.push(to, gx)
        if not self.keep_graph:
            fn.release()

    def accumulate(self, fn: AccumulateGrad, g: Tensor) -> None:
        """Add a gradient to the `.grad` of a leaf."""
        x = fn.variable
        if type(g._array) is not type(x._array) or mode.trace is not None:
            g = on_device(g, x.device)
        if x._grad is None:
            x._grad = self.exclusive(g, x)
        elif self.create_graph or x._grad._requires_grad:
            x._grad = to_layout(x._grad + g, x._array)
        else:
            add_to(x._grad, g)

    def exclusive(self, g: Tensor, x: Tensor) -> Tensor:
        """A tensor equal to `g`, in the memory layout of leaf `x`, that nothing else refers to.

        It is `g` itself if that is safe.
        """
        if self.create_graph:
            return differentiable_copy(g, x._array)
        if g._node is not None:
            return fill_slots(object.__new__(Tensor), None, g._node, g._dtype)
        a = g._array
        assert a is not None
        shared = x._hooks or id(g) in self.shared_ids or a.base is not None or not a.flags.writeable
        if shared or not matches_layout(a, x._array):
            return copy_in_layout(g, x)
        self.mark_shared(g)
        return g
