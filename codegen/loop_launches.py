"""The launches of loops and branches: those of their bodies, which stand among those of the program
around them, and the slots that a loop sets and moves.

A slice and a row of what is stacked move by a step. A carry is computed in its own memory where the
body permits it; else in two buffers that change places, the last time in that of the result, if the
number of iterations is known; or it is a row of what is stacked, and the next iteration finds it
there. A branch is two loops of one iteration or none.

Where rows are computed apart (rows_apart.py), threads may take some of them through all iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..ir.dtype import DType, bool_
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.ops.loop import branch
from ..ir.strides import View
from .gemm.constants import lying
from .program import ENDLESS, Buffer, Launch, Loop, Moving, Rows, Slot, Test, Traffic, Turning
from .program_parts import Parts
from .schedule.groups import Group
from .schedule.plan import ALIGN
from .schedule.schedule import schedule
from .text import Piece

Fill = Callable[[Parts], None]


def add_loop(outer: Parts, t: int, group: Group, fill: Fill) -> None:
    """Add the launches of a group that is a loop or a branch, the number `t` of its schedule;
    `fill` adds those of a body.
    """
    kind = _Branch if group.anchors[0].op is branch else _Loop
    kind(outer, t, group, fill).add()


class _Bodies:
    """What loops and branches share: memory of their own, bodies, launches around them."""

    def __init__(self, outer: Parts, t: int, group: Group, fill: Fill):
        self.outer, self.t, self.group, self.fill = outer, t, group, fill
        low, node = outer.schedule.low, group.anchors[0]
        self.params = node.params
        self.operands = [low.resolve(x) for x in node.inputs]
        self.bases = [
            outer.slots[outer.schedule.place.get(leaf, leaf)] for leaf, _ in self.operands
        ]
        self.origin = outer.origin(group.anchors)
        self.results = {a.params["result"]: outer.slots[a] for a in group.anchors}
        self.begin = self.end = outer.begin + outer.arena_bytes  # the scratch memory
        self.movings: list[Moving] = []
        self.turnings: list[Turning] = []

    def memory(self, shape: tuple[int, ...], dtype: DType) -> int:
        """A slot of memory that only the loop has, while it runs."""
        buffer = Buffer("arena", shape, dtype, self.end)
        self.end += -(-buffer.nbytes // ALIGN) * ALIGN
        return self.slot(buffer)

    def slot(self, buffer: Buffer) -> int:
        self.outer.buffers.append(buffer)
        return len(self.outer.buffers) - 1

    def moved(self, base: int, view: View, dtype: DType, step: int = 0) -> int:
        """A new slot for what begins where the view says, and moves by a step."""
        slot = self.slot(Buffer("loop", view.shape, dtype))
        self.movings.append(Moving(slot, base, view.offset * dtype.itemsize, step))
        return slot

    def body(
        self, graph: Graph, layouts: Mapping[Node, View], slots: Mapping[Node, int],
        writes: Mapping[int, Node] = {},
    ) -> Parts:
        """A body whose inputs lie as `layouts` say, behind these slots. `writes` are the outputs
        that may be computed in the memory of an input.
        """
        outer = self.outer
        s = schedule(graph, writes, layouts, False, outer.backend.fuse_products,
                     outer.schedule.low.choices, copies=False)
        placed = {n: x for n, x in writes.items() if s.low.outputs[n] in s.place}
        return Parts(graph, s, placed, outer.backend, outer.fast, outer, slots)

    def filled(self, *bodies: Parts) -> None:
        """Add the launches of the bodies, which share the memory behind that of the loop."""
        for body in bodies:
            body.place_arena(self.end)
            self.fill(body)
        self.outer.need(self.end - self.begin + max(body.finish() for body in bodies))

    def emit(
        self, *bodies: Parts, length: int, test: Test | None = None, rows: Rows | None = None
    ) -> None:
        """The loop over the launches of these bodies; a test is `at` one of them."""
        outer, first = self.outer, len(self.outer.rows)
        loops = []
        for body in bodies:
            begin = len(outer.rows)
            outer.rows += [(self.t, launch) for _, launch in body.rows]
            loops += [
                replace(
                    one, first=one.first + begin, last=one.last + begin,
                    test=one.test and one.test._replace(at=one.test.at + begin),
                )
                for one in body.loops
            ]
        if len(outer.rows) > first:
            test = test and test._replace(at=test.at + first)
            movings, turnings = tuple(self.movings), tuple(self.turnings)
            outer.loops.append(
                Loop(first, len(outer.rows), length, movings, turnings, self.origin, test, rows)
            )
            outer.loops += loops

    def launch(self, piece: Piece, traffic: Traffic, **slots: int) -> None:
        """A launch of its own, whose buffers have names."""
        kernel, args, extent, each, grid = piece
        values = tuple(
            Slot(slots[v]) if isinstance(v, str) else self.outer.bind(v) for v in args.values
        )
        grain = max(1, self.outer.schedule.low.choices.thread // each) if each else 0
        launch = Launch(kernel, values, extent, grain, self.origin, each * extent, grid, traffic)
        self.outer.rows.append((self.t, launch))

    def copy(self, like: Node, source: int, target: int) -> None:
        if like.size:
            piece = self.outer.backend.copy(like.size, like.dtype)
            nbytes = like.size * like.dtype.itemsize
            self.launch(piece, Traffic(nbytes, nbytes), source=source, target=target)


class _Branch(_Bodies):
    def add(self) -> None:
        (_, view), *operands = self.operands
        pred, *bases = self.bases
        chosen: list[tuple[Parts, int, list[Moving]]] = []
        for graph in (self.params["then"], self.params["other"]):
            self.movings = []
            test = self.moved(pred, view, bool_)
            layouts, slots = {}, {}
            for x, (_, own), base in zip(graph.inputs, operands, bases, strict=True):
                layouts[x] = View(own.shape, own.strides)
                slots[x] = self.moved(base, own, x.dtype) if own.offset else base
            body = self.body(graph, layouts, slots)
            chosen.append((body, test, self.movings))
            for k, y in enumerate(body.schedule.low.outputs):
                target = self.results[k] if k in self.results else self.memory(y.shape, y.dtype)
                self.movings.append(Moving(body.slots[y], target, 0, 0))
        self.filled(*(body for body, _, _ in chosen))
        for (body, test, self.movings), wanted in zip(chosen, (True, False), strict=True):
            self.emit(body, length=1, test=Test(0, test, wanted))


class _Loop(_Bodies):
    def __init__(self, outer: Parts, t: int, group: Group, fill: Fill):
        super().__init__(outer, t, group, fill)
        p = self.params
        self.graph: Graph = p["body"]
        self.cond: Graph | None = p.get("cond")
        self.carried: int = p["carried"]
        self.sliced: int = p.get("sliced", 0)
        length: int | None = p["length"] if self.cond is None else p["capacity"]
        self.length = ENDLESS if length is None else length
        self.back: bool = p.get("reverse", False)
        self.copies: list[tuple[Node, int, int]] = []  # of carries, after the loop

    def add(self) -> None:
        graph, carried = self.graph, self.carried
        self.share_outputs()
        self.copy_constants()
        layouts = {x: self.layout(k) for k, x in enumerate(graph.inputs)}
        slots = {x: self.reader(k, x) for k, x in enumerate(graph.inputs)}
        writes = {
            n: graph.inputs[k] for n, k in enumerate(self.own)
            if k < carried and graph.outputs[k] not in self.followed
        }
        own = Graph(graph.inputs, tuple(graph.outputs[k] for k in self.own), graph.checks)
        body = self.body(own, layouts, slots, writes)
        written = {
            k: body.slots[body.writes.get(n, body.schedule.low.outputs[n])]
            for n, k in enumerate(self.own)
        }
        for k, y in enumerate(graph.outputs):
            if k < carried:
                self.carry(k, y, slots[graph.inputs[k]], written)
            else:
                self.stack(k, y, written[k])
        if self.cond is None:
            apart = self.outer.backend.rows_apart(body.schedule, own, carried)
            body.schedule = replace(body.schedule, row_by_row=apart is not None)
            self.filled(body)
            rows = apart and Rows(*apart, self.end, self.end + body.finish())
            self.emit(body, length=self.length, rows=rows)
        else:
            self.tested(self.cond, body, list(layouts.values()), list(slots.values()))
        for like, source, target in self.copies:
            self.copy(like, source, target)

    def copy_constants(self) -> None:
        """Copy matrices that the loop only reads to where its products need not pack them."""
        wanted = self.outer.backend.by_columns(self.graph)
        for k in range(self.carried + self.sliced, len(self.operands)):
            x, (leaf, view) = self.graph.inputs[k], self.operands[k]
            copy = lying(view, x.dtype, wanted[x]) if x in wanted else None
            if copy is not None:
                new, size, piece = copy
                target = self.memory((size,), x.dtype)
                traffic = Traffic(x.size * x.dtype.itemsize, size * x.dtype.itemsize)
                self.launch(piece, traffic, source=self.bases[k], scratch=target)
                self.operands[k], self.bases[k] = (leaf, new), target

    def tested(self, cond: Graph, body: Parts, layouts: list[View], slots: list[int]) -> None:
        """The loop with its condition ahead of the body."""
        ahead = self.body(
            cond, dict(zip(cond.inputs, layouts, strict=True)),
            dict(zip(cond.inputs, slots, strict=True)),
        )
        (y,) = ahead.schedule.low.outputs
        self.movings.append(Moving(ahead.slots[y], self.memory(y.shape, y.dtype), 0, 0))
        self.filled(ahead, body)
        test = Test(len(ahead.rows), ahead.slots[y], True)
        self.emit(ahead, body, length=self.length, test=test)

    def share_outputs(self) -> None:
        """`own` are the outputs that the body computes, in order; a carry that is not among them
        `follows` another output, which is the same value.
        """
        outputs, carried = self.graph.outputs, self.carried
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

    def is_sliced(self, k: int) -> bool:
        return self.carried <= k < self.carried + self.sliced

    def layout(self, k: int) -> View:
        """How an iteration sees operand k, from where it begins."""
        shape, strides = self.operands[k][1].shape, self.operands[k][1].strides
        return View(shape[1:], strides[1:]) if self.is_sliced(k) else View(shape, strides)

    def reader(self, k: int, x: Node) -> int:
        """The slot behind which an iteration finds operand k, its input x."""
        base, (_, view), size = self.bases[k], self.operands[k], x.dtype.itemsize
        if self.is_sliced(k):
            return self.moving(base, view.offset * size, view.strides[0] * size, x)
        if k < self.carried:
            return self.slot(Buffer("loop", x.shape, x.dtype))
        return self.moved(base, view, x.dtype) if view.offset else base

    def moving(self, base: int, offset: int, step: int, like: Node) -> int:
        """A new slot that goes through rows, the last one first if the loop is in reverse."""
        slot = self.slot(Buffer("loop", like.shape, like.dtype))
        self.walk_rows(slot, base, offset, step)
        return slot

    def walk_rows(self, slot: int, base: int, offset: int, step: int) -> None:
        if self.back:
            offset, step = offset + (self.length - 1) * step, -step
        self.movings.append(Moving(slot, base, offset, step))

    def stack(self, k: int, y: Node, slot: int) -> None:
        """Output k, one row in each iteration; rows that a loop did not come to are zeros."""
        shape, size = (self.length, *y.shape), y.dtype.itemsize
        target = self.results[k] if k in self.results else self.memory(shape, y.dtype)
        self.walk_rows(slot, target, 0, y.size * size)
        if self.cond is not None and y.size * self.length:
            count = y.size * self.length
            zeros, traffic = self.outer.backend.zeros(count, y.dtype), Traffic(0, count * size)
            self.launch(zeros, traffic, target=target)

    def carry(self, k: int, y: Node, now: int, written: Mapping[int, int]) -> None:
        """Carry k, which iterations read at `now`."""
        base, result = self.bases[k], self.results.get(k)
        if k in self.follows:
            then = written[self.follows[k]]
            self.movings.append(Moving(now, base, 0, 0))
            self.turnings.insert(0, Turning(now, then, then))  # before `then` turns
            if result is not None:
                self.copies.append((y, now, result))
            return
        target = self.memory(y.shape, y.dtype) if result is None else result
        if written[k] == now:
            self.copy(y, base, target)
            self.movings.append(Moving(now, target, 0, 0))
            return
        if self.cond is not None and result is not None:  # who knows where it will be
            self.copies.append((y, now, result))
            target = self.memory(y.shape, y.dtype)
        spare, other = self.memory(y.shape, y.dtype), self.slot(Buffer("loop", y.shape, y.dtype))
        first, second = (target, spare) if self.length % 2 else (spare, target)
        for slot, begin in ((now, base), (written[k], first), (other, second)):
            self.movings.append(Moving(slot, begin, 0, 0))
        self.turnings.append(Turning(now, written[k], other))
