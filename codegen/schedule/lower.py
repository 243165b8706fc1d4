"""From a simplified Graph to anchors: the values worth a buffer, each computed from others by one
loop nest.

Movement is pushed through cheap elementwise operations until it stands over a buffer, where it is a
View; what lies between two anchors is inlined into the loop that needs it. Takes a Graph, gives a
Lowered; knows no loop template.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Mapping, Set as AbstractSet
from dataclasses import dataclass

from ...ir.choices import DEFAULT, Choices
from ...ir.dtype import float32
from ...ir.graph import Graph, postorder, siblings_key, users
from ...ir.node import Node, at, constant, intern, is_constant
from ...ir.op import CHEAP, DIVIDE, Kind, Lowering
from ...ir.ops.contract import dot
from ...ir.ops.elementwise import add, cast, copy, div
from ...ir.ops.movement import expand, permute, reshape, slice as slice_
from ...ir.ops.reduce import sum as sum_
from ...ir.ops.source import input as input_
from ...ir.strides import View
from .long_sums import Halves, adds_up, in_two, pair_of
from .memory_order import as_it_lies, is_window, slow_first
from .products import legal_dot, matrix_layout

INLINE_SIZE = 120  # operations in one expression; above, it is cut


@dataclass(frozen=True)
class Lowered:
    """A graph of which some nodes, the anchors, have memory."""

    outputs: tuple[Node, ...]
    anchors: AbstractSet[Node]
    layouts: Mapping[Node, View]  # of the inputs
    order: tuple[Node, ...] = ()
    checks: tuple[Node, ...] = ()  # in the order of the program
    # what was resolved; None while the anchors may change
    views: dict[Node, tuple[Node, View]] | None = None
    choices: Choices = DEFAULT

    def resolve(self, node: Node) -> tuple[Node, View]:
        """The anchor, input or source that a chain of movement stands over, and the view of it."""
        if self.views is None:
            return self._resolve(node)
        if node not in self.views:
            self.views[node] = self._resolve(node)
        return self.views[node]

    def _resolve(self, node: Node) -> tuple[Node, View]:
        chain = []
        while node.op.lowering is Lowering.VIEW and node not in self.anchors:
            chain.append(node)
            node = node.inputs[0]
        view = self.layouts.get(node) or View.of(node.shape)
        for step in reversed(chain):
            moved = moved_view(view, step)
            assert moved is not None, "lowering leaves only movement that strides can express"
            view = moved
        return node, view

    def written(self, target: Node, anchor: Node) -> View:
        """The memory of an input, in the shape of an anchor whose numbers are written to it."""
        view = self.layouts[target].reshape(anchor.shape)
        assert view is not None, "an axis of the input was split, at most"
        return view

    def base(self, node: Node) -> Node:
        """What a chain of movement stands over."""
        while node.op.lowering is Lowering.VIEW and node not in self.anchors:
            node = node.inputs[0]
        return node

    def is_leaf(self, node: Node) -> bool:
        """Whether an expression ends here: at a buffer, a constant or a counter."""
        return node in self.anchors or node.op.kind is Kind.SOURCE

    def is_stored(self, node: Node) -> bool:
        """Whether the value has a buffer: it is an anchor or an input."""
        return node in self.anchors or node.op is input_


def moved_view(view: View, node: Node) -> View | None:
    """The view seen through the movement `node`; None where only a copy can be."""
    assert node.op.view is not None
    return node.op.view(view, **node.params)


class _Lowering:
    def __init__(
        self, graph: Graph, layouts: dict[Node, View], loose: Collection[int], choices: Choices
    ):
        self.anchors: set[Node] = set()
        self.low = Lowered((), self.anchors, layouts, choices=choices)  # until all are known
        order = graph.order()
        self.uses = {n: len(set(us)) for n, us in users(order).items()}
        self.new: dict[Node, Node] = {}
        self.cost: dict[Node, tuple[int, int]] = {}  # (cost, operations) of an inlined expression
        self.lowered: set[Node] = set()
        self.results = set(graph.outputs)
        self.operands: dict[Hashable, tuple[Node, ...]] = {}  # of loops
        self.single: set[Node] = set()  # products that one operation reads
        self.wanted = self.needing_buffers(graph, order)
        for node in order:
            with at(node.site):
                self.new[node] = self.lower(node, tuple(self.new[x] for x in node.inputs))
            self.lowered.add(self.new[node])
        outputs = []
        for n, y in enumerate(graph.outputs):
            node = self.in_order(self.new[y]) if n in loose else self.new[y]
            if node not in self.low.anchors:
                if node.op.kind is not Kind.ELEMENTWISE:
                    node = self.keep(copy(node))
                self.keep(node)
            while node in outputs:  # each output is a buffer of its own
                node = self.keep(copy(node))
            outputs.append(node)
        checks = tuple(self.new[c] for c in graph.checks)
        order = postorder([*outputs, *checks])
        anchors = frozenset(self.anchors)
        self.low = Lowered(tuple(outputs), anchors, layouts, tuple(order), checks, {}, choices)

    def in_order(self, node: Node) -> Node:
        """The anchor whose numbers are the node's in another shape, if there is one."""
        base, view = self.low.resolve(node)
        same = base in self.anchors and base.size == node.size and view.is_identity
        return base if same else node

    def needing_buffers(self, graph: Graph, order: list[Node]) -> set[Node]:
        """Expressions that will be kept whatever comes: outputs, and operands of launches that read
        memory.
        """
        reached = list(graph.outputs)
        for node in order:
            if node.op.lowering in (Lowering.EXTERN, Lowering.BODY):
                reached.extend(node.inputs)
            elif node.op.access is not None:
                reached.append(node.inputs[0])
        return set(graph.outputs).union(map(self.low.base, reached))

    def keep(self, node: Node) -> Node:
        """Give the value a buffer."""
        self.anchors.add(node)
        return node

    def buffered(self, node: Node) -> Node:
        """The value as something that strides can reach into: kept if it is an expression, else as
        it is.
        """
        base = self.low.base(node)
        if base.op.kind is Kind.SOURCE and not self.low.is_stored(base):
            return self.keep(copy(node))
        if not self.low.is_leaf(base):
            self.keep(base)
        return node

    def matrix(self, x: Node) -> Node:
        """The value as the contract template takes it: copied where its strides are none that a
        matrix has.
        """
        x = self.buffered(x)
        return x if matrix_layout(self.low.resolve(x)[1]) else self.keep(copy(x))

    def row_major(self, x: Node) -> Node:
        """The value as a buffer of its own layout, as LAPACK is given it."""
        x = self.buffered(x)
        return x if self.low.resolve(x)[1].is_identity else self.keep(copy(x))

    def lower(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        op = node.op
        if op.kind is Kind.SOURCE:
            return node
        if op.lowering is Lowering.VIEW:
            return self.moved(node, inputs[0])
        if op.lowering is Lowering.BODY:
            return self.body(node, inputs)
        if op is dot:
            new = self.contraction(legal_dot(*inputs))
            if new.op is dot and self.uses[node] == 1 and node not in self.results:
                self.single.add(new)
            return new
        if op.kind is Kind.ELEMENTWISE:
            new = self.expression(intern(op, inputs, node.params), self.uses.get(node, 1))
            return self.keep(new) if node in self.wanted else new
        if (
            op.kind is Kind.REDUCE and inputs[0].size == node.size
        ):  # along axes of extent 1, or none
            alone = self.moved(intern(reshape, inputs, {"shape": node.shape}), inputs[0])
            if op is not sum_ or node.dtype.kind != "float":
                return alone
            return self.expression(intern(add, (alone, constant(0.0, node.dtype)), {}), 1)
        if op.reduction is not None and inputs[0].size == 0:
            return constant(op.reduction.init(node.dtype), node.dtype, node.shape)
        if op.kind is Kind.REDUCE and node.dtype.is_half:  # accumulate in float32, round once
            wide = self.expression(cast(inputs[0], dtype=float32), 1)
            total = self.lower(intern(op, (wide,), node.params), (wide,))
            return self.keep(self.expression(cast(total, dtype=node.dtype), 1))
        if op.kind is Kind.REDUCE and is_window(self.low, inputs[0], node):
            return self.keep(self.tap_by_tap(inputs[0], node))
        if op.kind is Kind.REDUCE and (axes := as_it_lies(self.low, inputs[0], node)) is not None:
            turned = self.moved(intern(permute, inputs, {"axes": axes}), inputs[0])
            dims = tuple(k for k, d in enumerate(axes) if d in node.params["dims"])
            return self.lower(intern(op, (turned,), {"dims": dims}), (turned,))
        if op.kind is Kind.REDUCE and (slow := slow_first(inputs[0], node)):
            half = self.lower(intern(op, inputs, {"dims": slow}), inputs)
            left = [d for d in range(len(inputs[0].shape)) if d not in slow]
            dims = tuple(k for k, d in enumerate(left) if d in node.params["dims"])
            return self.lower(intern(op, (half,), {"dims": dims}), (half,))
        if op.kind is Kind.REDUCE and (halves := in_two(node)) is not None:
            return self.in_halves(node, inputs[0], halves)
        if node.dtype.is_half and adds_up(node):  # as reductions
            operands = tuple(
                self.keep(self.expression(cast(x, dtype=float32), 1)) if x.dtype.is_half else x
                for x in inputs
            )
            total = self.lower(intern(op, operands, node.params), operands)
            return self.keep(self.expression(cast(total, dtype=node.dtype), 1))
        if op.kind is Kind.LINALG:
            inputs = tuple(self.row_major(x) for x in inputs)
        elif op.lowering is Lowering.EXTERN:
            inputs = tuple(self.buffered(x) for x in inputs)
        elif op.access is not None:
            inputs = (self.buffered(inputs[0]), *inputs[1:])
        return self.keep(intern(op, inputs, node.params))

    def body(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        """A result of a loop or branch, whose operands are read in memory; carries, where further
        values of them will be.
        """
        key = siblings_key(node)
        if key not in self.operands:
            carried = node.params.get("carried", 0)
            self.operands[key] = tuple([
                self.row_major(x) if k < carried else self.buffered(x)
                for k, x in enumerate(inputs)
            ])
        return self.keep(intern(node.op, self.operands[key], node.params))

    def in_halves(self, node: Node, x: Node, halves: Halves) -> Node:
        """A long reduction of x, as that of its parts, and of the rest."""
        axis, n = halves.axis, x.shape[halves.axis]
        parts, op = self.between(x, axis, 0, halves.whole), node.op
        parts = self.moved(intern(reshape, (parts,), {"shape": halves.shape}), parts)
        half = self.keep(intern(op, (parts,), {"dims": halves.first}))
        total = self.lower(intern(op, (half,), {"dims": halves.second}), (half,))
        if halves.whole == n:
            return total
        rest = self.between(x, axis, halves.whole, n)
        rest = self.lower(intern(op, (rest,), node.params), (rest,))
        return self.keep(self.expression(intern(pair_of(op), (total, rest), {}), 1))

    def between(self, x: Node, axis: int, start: int, stop: int) -> Node:
        """A part of x along an axis."""
        if (start, stop) == (0, x.shape[axis]):
            return x
        cut = tuple((start, stop, 1) if d == axis else (0, n, 1) for d, n in enumerate(x.shape))
        return self.moved(intern(slice_, (x,), {"slices": cut}), x)

    def tap_by_tap(self, x: Node, reduction: Node) -> Node:
        """A reduction over a small window as one expression: each tap of it is a slice of the
        operand, and neighbouring results vectorise, where a loop over the window would not.
        """
        dims, total = reduction.params["dims"], None
        for tap in itertools.product(*(range(x.shape[d]) for d in dims)):
            at = dict(zip(dims, tap, strict=True))
            cut = tuple(
                (at[d], at[d] + 1, 1) if d in at else (0, n, 1) for d, n in enumerate(x.shape)
            )
            part = self.moved(intern(slice_, (x,), {"slices": cut}), x)
            part = self.moved(intern(reshape, (part,), {"shape": reduction.shape}), part)
            if total is None:
                total = part
            else:
                combined = intern(pair_of(reduction.op), (total, part), {})
                total = self.expression(combined, 1)
        assert total is not None
        return total

    def contraction(self, new: Node) -> Node:
        """Lower the pieces that legal_dot made of operands that are lowered already."""
        local: dict[Node, Node] = {}
        for piece in postorder([new], stop=self.lowered.__contains__):
            if piece in self.lowered:
                local[piece] = piece
                continue
            inputs = tuple(local[x] for x in piece.inputs)
            if piece.op is dot:
                local[piece] = self.keep(intern(dot, tuple(self.matrix(x) for x in inputs), {}))
            else:
                local[piece] = self.lower(piece, inputs)
            self.lowered.add(local[piece])
        return local[new]

    def expression(self, node: Node, uses: int) -> Node:
        scaled = node.op is div and is_constant(node.inputs[1])  # a mean, say: hardly more than *
        cost, size = CHEAP if scaled else node.op.cost, 1
        for x in dict.fromkeys(node.inputs):
            below = self.below(x)
            cost, size = cost + below[0], size + below[1]
            # a small value spread over a large loop is not worth computing again and again
            if x.size > 1 and node.size > x.size and below[0] >= DIVIDE:
                self.keep_under(x)
        self.cost[node] = cost, size
        costly = uses > 1 and cost > self.low.choices.inline and node.size > 1
        # what a check refuses must be known before anything is written: it has a loop of its own
        if costly or size > INLINE_SIZE or node.op.check is not None:
            self.keep(node)
        return node

    def below(self, x: Node) -> tuple[int, int]:
        x = self.low.base(x)
        return (0, 0) if self.low.is_leaf(x) else self.cost.get(x, (0, 0))

    def keep_under(self, x: Node) -> None:
        x = self.low.base(x)
        if not self.low.is_leaf(x):
            self.keep(x)

    def moved(self, node: Node, x: Node) -> Node:
        """Movement over an expression moves the expression's operands; over a buffer it is a view
        of it.
        """
        if node.op is permute and x in self.single:
            turned = self.transposed(node, x)
            if turned is not None:
                return turned
        if x.op.kind is Kind.ELEMENTWISE and x not in self.low.anchors:
            grows = node.size > x.size > 1 and self.cost[x][0] >= DIVIDE
            pushed = None if grows else self.push(node, x, {})
            if pushed is not None:
                return pushed
            self.keep(x)
        new = intern(node.op, (x,), node.params)
        if moved_view(self.low.resolve(x)[1], new) is None:
            new = intern(node.op, (self.keep(copy(x)),), node.params)
        return new

    def transposed(self, node: Node, product: Node) -> Node | None:
        """(A B)' as B' A', where the permutation is just that, so that the result is laid out as it
        will be read.
        """
        n = len(node.shape)
        if node.params["axes"] != (*range(n - 2), n - 1, n - 2):
            return None
        a, b = (self.moved(intern(permute, (x,), node.params), x) for x in reversed(product.inputs))
        self.anchors.discard(product)
        return self.keep(intern(dot, (self.matrix(a), self.matrix(b)), {}))

    def push(self, node: Node, x: Node, done: dict[Node, Node | None]) -> Node | None:
        """`node` applied to each operand of the expression x, or None where some operand cannot be
        viewed so; `done` are expressions under x for which that is known.
        """
        operands = []
        for v in x.inputs:
            if is_constant(v):
                operands.append(constant(v.params["value"], v.dtype))
                continue
            wide = v if v.shape == x.shape else self.moved(expand_node(v, x.shape), v)
            if wide.op.kind is Kind.ELEMENTWISE and wide not in self.low.anchors:
                if wide not in done:
                    done[wide] = self.push(node, wide, done)
                below = done[wide]
            elif moved_view(self.low.resolve(wide)[1], node) is None:
                below = None
            else:
                below = intern(node.op, (wide,), node.params)
            if below is None:
                return None
            operands.append(below)
        if all(v.shape == () for v in operands) and node.shape != ():
            return None
        return self.expression(intern(x.op, tuple(operands), x.params), 1)


def expand_node(x: Node, shape: tuple[int, ...]) -> Node:
    return intern(expand, (x,), {"shape": shape})


def lower(
    graph: Graph, layouts: dict[Node, View], loose: Collection[int] = (),
    choices: Choices = DEFAULT,
) -> Lowered:
    """Decide which values of the graph get a buffer; `layouts` says how each input lies in
    memory. `loose` outputs may have another shape, for only their numbers count, in their order.
    """
    return _Lowering(graph, layouts, loose, choices).low
