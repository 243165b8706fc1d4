"""What a backward pass does besides giving gradients: hooks and a Function's own backward may
change tensors in place, look at values, draw random numbers, keep a tensor.

Such a pass is traced only to be found out. What it did to the trace is undone, and backward then
runs the function again (rerun.py), on the autograd graph, where all of that happens as it does
eagerly. A traced tensor that was kept where nobody knows cannot be taken back: it is refused.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np

from ..tracer.autograd.backward_hooks import BackwardHookNode
from ..tracer.autograd.checkpoint import CheckpointBackward
from ..tracer.autograd.function import CustomBackward
from ..tracer.autograd.graph import GradFn
from ..tracer.capture.locations import alike
from ..tracer.capture.side_effects import Effect
from ..tracer.capture.trace import Input, Trace
from ..tracer.tensor.tensor import Tensor

Gradients = list[Tensor | None]


class TensorKept(RuntimeError):
    """A backward pass left a traced tensor somewhere."""


def runs_code(fn: GradFn) -> bool:
    """Whether a backward runs code of the user's at a record."""
    own = isinstance(fn, (BackwardHookNode, CustomBackward, CheckpointBackward))
    return own or bool(fn.prehooks or fn.posthooks)


class BackwardPass:
    """One pass of a backward within a trace, from `seeds`."""

    def __init__(self, trace: Trace, seeds: list[Tensor]):
        self.trace, self.observer = trace, trace.observer
        if self.observer is not None:
            self.printed, self.changed = len(self.observer.printed), self._changes()
            self.observer.resume()
        self.before = [(i, i.twin._node, i.twin._grad) for i in trace.inputs]
        self.replaced, self.seen = set(trace._replaced), set(trace.grads_seen)
        self.guards = len(trace.guards)
        self.marks = [(s, s.mark()) for s in trace.streams.values()]
        for s in seeds:  # so that hooks may look at values: what they find decides nothing
            trace._numbers[s._node] = np.ones(tuple(s.shape), s._dtype.storage)

    def _changes(self) -> dict[Any, Effect] | str:
        """What the function, and since then its backward, has changed in Python's objects."""
        try:
            return {e.location.id: e for e in self.observer.effects()}
        except RuntimeError as error:
            return str(error)

    def _acted(self) -> str:
        """In words, what the pass did besides computing."""
        now, before = self._changes(), self.changed
        if isinstance(now, str) or isinstance(before, str):
            return "" if now == before else "changes objects"
        for k, e in now.items():
            if k not in before or not alike(before[k].after, e.after):
                return f"changes {e.location.label}"
        return "prints" if len(self.observer.printed) > self.printed else ""

    def effect(self) -> str:
        """In words, the first thing that the pass did; empty if it only gave gradients."""
        if self.observer is not None and (acted := self._acted()):
            return acted
        for i in self.written():
            return f"changes a tensor in place (line {i.twin._node.site})"
        if any(i.twin._grad is not grad for i, _, grad in self._inputs()):
            return "changes the .grad of a tensor"
        if len(self.trace.guards) > self.guards:
            site = self.trace.guards[self.guards].site
            return f"branches on the value of a tensor (line {site})"
        if any(s.mark() != mark for s, mark in self._streams()):
            return "draws random numbers"
        return ""

    def written(self) -> list[Input]:
        """What it changed in place."""
        return [i for i, node, _ in self._inputs() if i.twin._node is not node]

    def numbers(self) -> bool:
        """Whether the pass reads numbers that may be others at a later backward."""
        new = self.trace.inputs[len(self.before) :]
        return any(i.kind in ("scalar", "hyper") for i in new)

    def undo(self) -> None:
        """Leave the trace as it was before the pass."""
        for i, node, grad in self._inputs():
            i.twin._node, i.twin._grad = node, grad
        for s, mark in self._streams():
            s.restart(mark)
        self.trace._replaced, self.trace.grads_seen = self.replaced, self.seen
        del self.trace.guards[self.guards :]
        if self.observer is not None and self._acted():
            del self.observer.printed[self.printed :]
            self.observer.restore()  # all of it, as is done in the end: a call sets what it is to

    def _inputs(self) -> list[tuple[Any, Any, Any]]:
        """The inputs with the Node and the `.grad` that they had, also those that came since."""
        new = self.trace.inputs[len(self.before) :]
        return self.before + [
            (i, i.node, None if i.tensor is None else i.tensor._grad) for i in new
        ]

    def _streams(self) -> list[tuple[Any, Any]]:
        known = {id(s) for s, _ in self.marks}
        new = (s for s in self.trace.streams.values() if id(s) not in known)
        return self.marks + [(s, (None, 0)) for s in new]


def observed(
    trace: Trace, seeds: list[Tensor], run: Callable[[], Gradients], again: bool
) -> tuple[Gradients, str, list[Input]]:
    """What a backward pass gives; in words, what else it does, and what it changes in place, all of
    which is undone; `again` says that a pass which cannot be traced may be run again.
    """
    happened = BackwardPass(trace, seeds)
    made: list[ref] = []
    trace.made = made
    found: Gradients = []
    written: list[Input] = []
    try:
        found = run()
        if trace.observer is not None:
            trace.observer.rest()
        effect = happened.effect() or ("reads numbers" if again and happened.numbers() else "")
    except Exception as error:  # a hook's own, too: it belongs to backward
        if not again:
            raise
        effect = f"cannot be traced: {error}"
    finally:
        if trace.observer is not None:
            trace.observer.rest()
        trace.made = None
        written = happened.written()
        happened.undo()
    ours = {id(i.twin) for i in trace.inputs}
    for g in found:
        while g is not None:
            ours.add(id(g))
            g = g._base
    _refuse_kept([r for r in made if (t := r()) is not None and id(t) not in ours])
    return found, effect, written


def _refuse_kept(held: list[ref]) -> None:
    if held:
        gc.collect()
    for r in held:
        if (t := r()) is not None:
            raise TensorKept(
                f"a tensor of shape {list(t.shape)} that backward computes (line {t._node.site}) "
                "is kept by a hook or by a Function's backward while the function is compiled: it "
                "has no value of its own. Write it into a tensor instead, as in log.copy_(grad), "
                "or register the hook on a result, outside of the compiled function"
            )
