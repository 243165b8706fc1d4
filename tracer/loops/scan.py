"""`scan` in a trace: the function is recorded once, and becomes the body of a loop.

Tensors from outside that the function writes in place are further carries, and are written after
the loop; so are new `.grad`s. What a body cannot have raises NoLoop, before anything has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.dtype import int64
from ...ir.ops.source import iota
from ..autograd.backward import filled
from ..autograd.batching import BatchTrace
from ..autograd.batching_rules import full_batch
from ..mode import FixedGradMode, mode, resolve
from ..tensor.dispatch import bind
from ..tensor.inplace import overwrite
from ..tensor.tensor import Tensor, traced
from .batching import swapped
from .body import BodyTrace, NoLoop, has_history, same
from .effects import refuse_effects
from .examples import differentiated_outside
from .iterations import Fixed, Operands, Tensors
from .loop import Body, run_loop, run_modified
from .room import MoreRoom, demand, largest, with_room
from .written import written

Run = Callable[[Tensors, Tensors], tuple[Tensors, Tensors]]


def in_a_trace() -> bool:
    """Whether what is computed now becomes a graph."""
    trace = mode.trace
    while isinstance(trace, BatchTrace):
        trace = trace.outer
    return trace is not None


def traced_scan(name: str, run: Run, carries: Tensors, xs: Tensors, length: int,
                reverse: bool, again: bool = False) -> tuple[Tensors, Tensors]:
    """The last carries and the stacked outputs of `length` iterations over the rows of xs. Backward
    computes all of an iteration `again`, or keeps some of it.
    """
    return with_room(lambda room: _scan(name, run, carries, xs, length, reverse, again, room))


def _scan(name: str, run: Run, carries: Tensors, xs: Tensors, length: int, reverse: bool,
          again: bool, room: int) -> tuple[Tensors, Tensors]:
    carries, xs = [resolve(x) for x in carries], [resolve(x) for x in xs]
    recorded = Recorded(name, run, carries, xs, room)
    if differentiated_outside() and recorded.only_computes([*carries, *xs]):
        return _across_examples(name, run, carries, xs, length, reverse)
    body, extra = recorded.body, recorded.written
    body.again = again
    operands = Operands(
        recorded.firsts(carries, recorded.unread_grads()),
        [*xs, *recorded.offsets(length, reverse)],
        [*recorded.seeds(), *(c.tensor for c in recorded.constants)],
    )
    how = Fixed(length, reverse)
    trained = [c.twin for c in recorded.values if c.twin._requires_grad]
    try:
        results = (run_modified(body, operands, how, trained) if trained
                   else run_loop(body, operands, how))
        counts = recorded.counts(results)
        demand(counts, room, recorded.used, results)
    except (NoLoop, MoreRoom):
        recorded.give_back()
        raise
    count, every = len(carries), len(carries) + len(extra)
    recorded.write_back(results[count:every])
    return results[:count], results[len(body.carries) :]


def _across_examples(name: str, run: Run, carries: Tensors, xs: Tensors, length: int,
                     reverse: bool) -> tuple[Tensors, Tensors]:
    """The loop inside a `vmap`, as one outside of it, whose function is that for all examples."""
    batch: BatchTrace = mode.trace
    size = batch.size
    firsts, rows = ([batch.value(x) for x in part] for part in (carries, xs))
    mapped = [m for _, m in firsts]
    wider: list[bool] = []
    ys_mapped: list[bool] = []

    def all_examples(inside: Tensors, slices: Tensors) -> tuple[Tensors, Tensors]:
        with batch.within():
            new, ys = run([batch.example(c, m) for c, m in zip(inside, mapped, strict=True)],
                          [batch.example(x, m) for x, (_, m) in zip(slices, rows, strict=True)])
            values = [batch.value(resolve(y)) for y in new]
            stacked = [batch.value(resolve(y)) for y in ys]
        wider[:] = [m or n for (_, n), m in zip(values, mapped, strict=True)]
        ys_mapped[:] = [m for _, m in stacked]
        whole = [full_batch(y, n, size) if m else y
                 for (y, n), m in zip(values, wider, strict=True)]
        if wider != mapped:  # a carry differs between the examples after the first iteration
            raise _Wider
        return whole, [y for y, _ in stacked]

    while True:
        with batch.outside():
            try:
                last, ys = traced_scan(
                    name, all_examples,
                    [full_batch(x, n, size) if m else x
                     for (x, n), m in zip(firsts, mapped, strict=True)],
                    [swapped(x) if m else x for x, m in rows], length, reverse)
            except _Wider:
                mapped = list(wider)
                continue
            ys = [swapped(y) if m else y for y, m in zip(ys, ys_mapped, strict=True)]
        return ([batch.example(x, m) for x, m in zip(last, mapped, strict=True)],
                [batch.example(y, m) for y, m in zip(ys, ys_mapped, strict=True)])


class _Wider(Exception):
    """More carries differ between the examples than was thought."""


class Recorded:
    """A function that was recorded as the body of a loop, and what it does to the world."""

    def __init__(self, name: str, run: Run, carries: Tensors, xs: Tensors, room: int):
        trace = self.trace = BodyTrace(name, room)
        with refuse_effects(name), trace.recording():
            inside = [trace.input(x.shape, x._dtype, bool(mode.grad)) for x in carries]
            slices = [trace.input(x.shape[1:], x._dtype, has_history(x)) for x in xs]
            self.sources: list[Any] = [x._grad_fn for x in (*inside, *slices)]
            new, ys = run([same(x) for x in inside], [same(x) for x in slices])
            new, ys = [resolve(y) for y in new], [resolve(y) for y in ys]
            self.values = written(trace)
            self.grads = [c for c in trace.captures if c.twin._grad is not c.grad]
            self.check()
            finals = [resolve(c.twin) for c in self.values]
            with_grad = [c for c in self.grads if c.twin._grad is not None]
            self.written = [*self.values, *with_grad]
            grads = [resolve(c.twin._grad) for c in with_grad]
            streams = trace.drawn
            self.used = any(n.used for n in trace.needs)
            most = [trace.input((), int64) for _ in trace.needs[:1]]
            counts = [largest([*most, *(n.count for n in trace.needs)])] if most else []
        unread = [trace.input(g.shape, g._dtype) for g in grads]
        self.new_grads = with_grad
        self.constants = [c for c in trace.captures if not c.changed]
        self.body = Body(
            trace, [*inside, *(traced(c.payload) for c in self.values), *unread, *most],
            [*slices, *(s.offset for s in streams)],
            [*(s.seed for s in streams), *(c.twin for c in self.constants)],
            [*new, *finals, *grads, *counts], ys,
        )

    def check(self) -> None:
        """Raise NoLoop for changes that iterations would not hand on as they are."""
        if any(source is not None and source.marked for source in self.sources) or any(
            c.marked for c in self.trace.captures
        ):
            raise NoLoop("the function registers hooks on an argument or a tensor from outside, "
                         "or sets requires_grad")
        for c in self.grads:
            entry_read = c.grad is not None and self.trace.entered(c.grad)
            if entry_read or (c.grad is None and c.twin._grad is not None
                              and not self.trace.replaced(c)):
                raise NoLoop("the first iteration finds another .grad than the others")

    def only_computes(self, operands: Tensors) -> bool:
        """Whether the function writes nothing, and nothing has a gradient at this level."""
        tensors = (*operands, *(resolve(c.tensor) for c in self.constants))
        return not self.written and not self.grads and not any(
            x._requires_grad for x in tensors)

    # ---- operands
    def unread_grads(self) -> Tensors:
        return [filled(c.payload.shape, c.payload.dtype, 0) for c in self.new_grads]

    def firsts(self, carries: Tensors, grads: Tensors) -> Tensors:
        """The first carries: those of the function, what it writes, the most iterations inside."""
        counts = [filled((), int64, 0)] if self.trace.needs else []
        return [*carries, *(c.tensor for c in self.values), *grads, *counts]

    def seeds(self) -> Tensors:
        return self._seeds

    def offsets(self, length: int, reverse: bool) -> Tensors:
        """Of each generator, the position of its first number in each iteration."""
        offsets, self._seeds, self._places = [], [], []
        for stream in self.trace.drawn:
            self._places.append((stream.generator, stream.generator.get_state()))
            seed, start, stride = _draw_each(stream.generator, stream.count, length)
            steps = bind(iota, (), {"shape": (length,), "dtype": int64})
            order = steps * -1 + (length - 1) if reverse else steps
            offsets.append(order * stride + start)
            self._seeds.append(seed)
        return offsets

    def give_back(self) -> None:
        """Let the generators go on where the loop began."""
        for generator, place in self._places:
            generator.set_state(place)

    # ---- after the loop
    def counts(self, results: Tensors) -> Tensors:
        """The most iterations of inner loops that have rows, if there are such."""
        end = len(self.body.carries)
        return results[end - 1 : end] if self.trace.needs else []

    def write_back(self, results: Tensors) -> None:
        for c, new in zip(self.values, results, strict=False):
            with FixedGradMode(False):
                overwrite(c.tensor, new, "CopyBackwards")
        for c in self.grads:
            resolve(c.tensor).grad = None
        for c, new in zip(self.new_grads, results[len(self.values) :], strict=False):
            resolve(c.tensor).grad = new.detach()


def _draw_each(generator: Any, count: int, times: int) -> tuple[Tensor, Tensor, int]:
    """Reserve `count` numbers for each of so many times. The seed, the position of the first one,
    and how far it is from one time to the next.
    """
    trace = mode.trace
    if isinstance(trace, BatchTrace) and trace.randomness == "different":
        with trace.outside():
            seed, start, stride = _draw_each(generator, count * trace.size, times)
            start = start + bind(iota, (), {"shape": (trace.size,), "dtype": int64}) * count
        return trace.example(seed, False), trace.example(start, True), stride
    return *generator.draw(count * times), count
