"""The launches of a loop: those of its body, which stand among those of the program around it, and
the slots that the loop sets and moves.

A slice and a row of what is stacked move by a step. A carry is computed in its own memory where the
body permits it; else in two buffers that change places, the last time in that of the result; or it
is a row of what is stacked, and the next iteration finds it there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.strides import View
from .program import Buffer, Launch, Loop, Moving, Slot, Turning
from .program_parts import Parts
from .schedule.fuse import WORTH_A_THREAD
from .schedule.groups import Group
from .schedule.plan import ALIGN
from .schedule.schedule import schedule
from .templates.buffer_parts import contiguous_copy


def add_loop(outer: Parts, t: int, group: Group, fill: Callable[[Parts], None]) -> None:
    """Add the launches of a group that is a loop, the number `t` of its schedule; `fill` adds those
    of a body.
    """
    _Loop(outer, t, group, fill).add()


class _Loop:
    def __init__(self, outer: Parts, t: int, group: Group, fill: Callable[[Parts], None]):
        self.outer, self.t, self.group, self.fill = outer, t, group, fill
        self.low, self.loop = outer.schedule.low, group.anchors[0]
        p = self.loop.params
        self.body: Graph = p["body"]
        self.carried: int = p["carried"]
        self.sliced: int = p["sliced"]
        self.length: int = p["length"]
        self.back: bool = p["reverse"]
        self.origin = outer.origin(group.anchors)
        self.results = {a.params["result"]: a for a in group.anchors}
        self.begin = outer.begin + outer.arena_bytes  # of the scratch memory
        self.end = self.begin
        self.movings: list[Moving] = []
        self.turnings: list[Turning] = []
        self.copies: list[tuple[Node, int, int]] = []  # of carries, after the loop

    def add(self) -> None:
        outer = self.outer
        self.share_outputs()
        operands = [self.low.resolve(x) for x in self.loop.inputs]
        seen = [self.per_iteration(k, view) for k, (_, view) in enumerate(operands)]
        layouts = {x: View(v.shape, v.strides) for x, v in zip(self.body.inputs, seen, strict=True)}
        writes = {
            n: self.body.inputs[k] for n, k in enumerate(self.own)
            if k < self.carried and self.body.outputs[k] not in self.followed
        }
        graph = Graph(
            self.body.inputs, tuple(self.body.outputs[k] for k in self.own), self.body.checks
        )
        s = schedule(graph, writes, layouts, False, outer.backend.fuse_products, copies=False)
        placed = {n: x for n, x in writes.items() if s.low.outputs[n] in s.place}
        outputs = [y.shape for y in self.body.outputs]
        rows = [(self.length, *shape) for shape in outputs[self.carried :]]
        targets = [self.target(k, shape) for k, shape in enumerate(outputs[: self.carried] + rows)]
        spare = {
            k: self.memory(k, outputs[k]) for n, k in enumerate(self.own)
            if k < self.carried and n not in placed
        }
        self.inner = inner = Parts(
            graph, s, placed, outer.backend, outer.fast, outer.buffers, self.end
        )
        self.fill(inner)
        self.written = {
            k: inner.slots[placed.get(n, s.low.outputs[n])] for n, k in enumerate(self.own)
        }
        for k, ((leaf, view), x) in enumerate(zip(operands, self.body.inputs, strict=True)):
            base = outer.slots[outer.schedule.place.get(leaf, leaf)]
            if k < self.carried:
                self.carry(k, base, inner.slots[x], targets[k], spare.get(k))
            else:
                self.read(k, base, inner.slots[x], view)
        for k in range(self.carried, len(self.body.outputs)):
            y = self.body.outputs[k]
            self.move(self.written[k], targets[k], 0, y.size * y.dtype.itemsize)
        self.emit()

    def share_outputs(self) -> None:
        """`own` are the outputs that the body computes, in order; a carry that is not among them
        `follows` another output, which is the same value.
        """
        outputs, carried = self.body.outputs, self.carried
        self.own = list(range(carried, len(outputs)))
        first = {outputs[k]: k for k in reversed(self.own)}
        self.follows: dict[int, int] = {}
        for k, y in enumerate(outputs[:carried]):
            if y in first:
                self.follows[k] = first[y]
            else:
                first[y] = k
                self.own.append(k)
        self.followed = {outputs[k] for k in self.follows.values()}

    def per_iteration(self, k: int, view: View) -> View:
        """What an iteration sees of operand k, which lies in memory as `view` says."""
        if self.carried <= k < self.carried + self.sliced:
            return View(view.shape[1:], view.strides[1:], view.offset)
        return view

    def memory(self, k: int, shape: tuple[int, ...]) -> int:
        """A slot of memory like output k that the loop has for itself while it runs."""
        buffer = Buffer("arena", shape, self.body.outputs[k].dtype, self.end)
        self.end += -(-buffer.nbytes // ALIGN) * ALIGN
        self.outer.buffers.append(buffer)
        return len(self.outer.buffers) - 1

    def target(self, k: int, shape: tuple[int, ...]) -> int:
        """The slot of the memory in which result k, of this shape, shall be."""
        if k in self.results:
            return self.outer.slots[self.results[k]]
        return -1 if k in self.follows else self.memory(k, shape)

    def move(self, slot: int, base: int, offset: int, step: int) -> None:
        if self.back:
            offset, step = offset + (self.length - 1) * step, -step
        self.movings.append(Moving(slot, base, offset, step))

    def read(self, k: int, base: int, slot: int, view: View) -> None:
        """Operand k, which is no carry, begins at `base`."""
        size = self.body.inputs[k].dtype.itemsize
        step = view.strides[0] * size if k < self.carried + self.sliced else 0
        self.move(slot, base, view.offset * size, step)

    def carry(self, k: int, base: int, now: int, target: int, spare: int | None) -> None:
        """Carry k begins at `base`, and iterations read it at `now`."""
        y = self.body.outputs[k]
        if k in self.follows:
            then = self.written[self.follows[k]]
            self.move(now, base, 0, 0)
            self.turnings.insert(0, Turning(now, then, then))  # before `then` turns
            if k in self.results:
                self.copies.append((y, now, target))
            return
        if spare is None:
            self.copy(y, base, target)
            self.move(now, target, 0, 0)
            return
        then = self.written[k]
        other = len(self.outer.buffers)
        self.outer.buffers.append(Buffer("loop", y.shape, y.dtype))
        first, second = (target, spare) if self.length % 2 else (spare, target)
        self.move(now, base, 0, 0)
        self.move(then, first, 0, 0)
        self.move(other, second, 0, 0)
        self.turnings.append(Turning(now, then, other))

    def copy(self, like: Node, source: int, target: int) -> None:
        """A launch that copies a contiguous value."""
        if like.size == 0:
            return
        kernel, args, extent, each = contiguous_copy(like.size, like.dtype)
        outer, slots = self.outer, {"source": Slot(source), "target": Slot(target)}
        values = tuple(slots[v] if isinstance(v, str) else outer.bind(v) for v in args.values)
        grain = max(1, WORTH_A_THREAD // each)
        launch = Launch(kernel, values, extent, grain, self.origin, each * extent)
        outer.rows.append((self.t, launch))

    def emit(self) -> None:
        outer, inner, first = self.outer, self.inner, len(self.outer.rows)
        outer.need(self.end - self.begin + inner.finish())
        if inner.rows:
            outer.rows += [(self.t, launch) for _, launch in inner.rows]
            outer.loops.append(Loop(
                first, len(outer.rows), self.length, tuple(self.movings), tuple(self.turnings),
                self.origin,
            ))
            outer.loops += [
                replace(one, first=one.first + first, last=one.last + first) for one in inner.loops
            ]
        for like, source, target in self.copies:
            self.copy(like, source, target)
