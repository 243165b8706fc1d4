"""Side effects of a backward pass. Hooks and the backward of a Function may change tensors in
place, look at values, draw random numbers, keep a tensor.

The pass is traced to detect them. If there are any, what it did to the trace is undone, and
backward runs the function again (rerun.py) on the autograd graph, where they happen as they do
eagerly. A traced tensor that a hook kept somewhere cannot be taken back: it is refused.
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
from ..tracer.capture.inputs import Input
from ..tracer.capture.locations import alike
from ..tracer.capture.side_effects import Effect
from ..tracer.capture.trace import Trace
from ..tracer.tensor.tensor import Tensor

Gradients = list[Tensor | None]


class TensorKept(RuntimeError):
    """A backward pass left a traced tensor somewhere."""


def runs_code(fn: GradFn) -> bool:
    """Whether a backward runs the user's code at an autograd node."""
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
        self.looked = trace.values.mark()
        self.marks = [(s, s.mark()) for s in trace.streams.values()]
        for s in seeds:  # hooks may look at values, which then run again: any value will do
            trace._numbers[s._node] = np.ones(tuple(s.shape), s._dtype.storage)

    def _changes(self) -> dict[Any, Effect] | str:
        """What the function and its backward have changed in Python objects; the refusal if that
        cannot be repeated.
        """
        try:
            return {e.location.id: e for e in self.observer.effects()}
        except RuntimeError as error:
            return str(error)

    def _acted(self) -> str:
        """In words, what the pass did to Python objects; empty for nothing."""
        now, before = self._changes(), self.changed
        if isinstance(now, str) or isinstance(before, str):
            return "" if now == before else "changes objects"
        for k, e in now.items():
            if k not in before or not alike(before[k].after, e.after):
                return f"changes {e.location.label}"
        return "prints" if len(self.observer.printed) > self.printed else ""

    def effect(self) -> str:
        """In words, the first side effect of the pass; empty if it only gave gradients."""
        if self.observer is not None and (acted := self._acted()):
            return acted
        for i in self.written():
            return f"changes a tensor in place (line {i.twin._node.site})"
        if any(i.twin._grad is not grad for i, _, grad in self._inputs()):
            return "changes the .grad of a tensor"
        if (site := self.trace.values.first_since(self.looked)) is not None:
            return f"looks at the value of a tensor (line {site})"
        if any(s.mark() != mark for s, mark in self._streams()):
            return "draws random numbers"
        return ""

    def written(self) -> list[Input]:
        """The inputs that it changed in place."""
        return [i for i, node, _ in self._inputs() if i.twin._node is not node]

    def reads_numbers(self) -> bool:
        """Whether the pass reads numbers that may differ at a later backward."""
        new = self.trace.inputs[len(self.before) :]
        return any(i.kind in ("scalar", "hyper") for i in new)

    def undo(self) -> None:
        """Leave the trace as it was before the pass."""
        for i, node, grad in self._inputs():
            i.twin._node, i.twin._grad = node, grad
        for s, mark in self._streams():
            s.restart(mark)
        self.trace._replaced, self.trace.grads_seen = self.replaced, self.seen
        self.trace.values.undo(self.looked)
        if self.observer is not None and self._acted():
            del self.observer.printed[self.printed :]
            self.observer.restore()  # everything; the replay sets what the function itself changed

    def _inputs(self) -> list[tuple[Any, Any, Any]]:
        """All inputs, those that came in the pass too, with the Node and `.grad` from before."""
        new = self.trace.inputs[len(self.before) :]
        return self.before + [
            (i, i.node, None if i.tensor is None else i.tensor._grad) for i in new
        ]

    def _streams(self) -> list[tuple[Any, Any]]:
        before = {id(s) for s, _ in self.marks}
        new = (s for s in self.trace.streams.values() if id(s) not in before)
        return self.marks + [(s, (None, 0)) for s in new]


def observed(
    trace: Trace, seeds: list[Tensor], run: Callable[[], Gradients], may_rerun: bool
) -> tuple[Gradients, str, list[Input]]:
    """The gradients of a backward pass; its side effect, in words; the inputs that it changes in
    place. Its side effects are undone. With `may_rerun`, a pass that raises is to be run again.
    """
    backward_pass = BackwardPass(trace, seeds)
    created: list[ref] = []
    trace.made = created
    gradients: Gradients = []
    written: list[Input] = []
    try:
        gradients = run()
        if trace.observer is not None:
            trace.observer.pause()
        effect = backward_pass.effect()
        if not effect and may_rerun and backward_pass.reads_numbers():
            effect = "reads numbers"
    except Exception as error:  # a hook's own exception, too: it belongs to backward
        if not may_rerun:
            raise
        effect = f"cannot be traced: {error}"
    finally:
        if trace.observer is not None:
            trace.observer.pause()
        trace.made = None
        written = backward_pass.written()
        backward_pass.undo()
    expected = {id(i.twin) for i in trace.inputs}
    for g in gradients:
        while g is not None:
            expected.add(id(g))
            g = g._base
    _refuse_kept([r for r in created if (t := r()) is not None and id(t) not in expected])
    return gradients, effect, written


def _refuse_kept(references: list[ref]) -> None:
    if references:
        gc.collect()
    for r in references:
        if (t := r()) is not None:
            raise TensorKept(
                f"a tensor of shape {list(t.shape)} that backward computes (line {t._node.site}) "
                "is kept by a hook or by a Function's backward while the function is compiled: it "
                "has no value of its own. Write it into a tensor instead, as in log.copy_(grad), "
                "or register the hook on a result, outside of the compiled function"
            )
