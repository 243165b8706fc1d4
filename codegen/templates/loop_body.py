"""The statements of a fused loop nest: what is computed before the loops, at each kept point and at
each point.

A value is computed at the outermost place where all it depends on is known; a reduction ends a pass
over the reduced axes, and what needs its result waits for the next pass. The templates arrange the
pieces into loops.
"""

from __future__ import annotations

from ...ir.node import Node, is_constant
from ...ir.op import Kind
from ...ir.ops.elementwise import mul
from ...ir.ops.source import iota
from ...ir.strides import View, collapse
from ..deep_recursion import Steps, finish
from ..schedule.groups import Group
from ..schedule.loop_space import (
    SMALL,
    Axes,
    computed,
    expected,
    known,
    pointwise,
    root_shape,
    seen,
)
from ..schedule.schedule import Schedule
from ..text import (
    Arguments,
    apply,
    combine,
    compute_code,
    exact_factor,
    filled,
    load,
    store,
)
from .loops import Axis, Scope

# where a value is computed: before the loops, at each kept point, at each point; and when all rows
# are done, once, or for each number of a row
PRELUDE, KEPT, POINT, END, ENDS = range(5)


class Body:
    """Shared by the map, row and column templates; they own the loops and ask for values and
    stores.
    """

    def __init__(self, s: Schedule, group: Group, stored: set[Node], fast: bool):
        self.low, self.place, self.group, self.fast = s.low, s.place, group, fast
        self.space = group.space
        self.facts = s.facts
        self.operands = {a: s.facts[a].operands for a in group.anchors}
        self.members = set(group.anchors)
        self.stored = [a for a in group.anchors if a in stored]
        self.unread = {a for a in group.anchors if a not in stored and self._unread(a)}
        self.wanted = [a for a in group.anchors if a in stored or a in self.unread]
        self.args = Arguments()
        self.prelude = Scope(())
        self.depths: dict[object, tuple[int, int]] = {}
        self.checked: dict[Node, tuple[str, str]] = {}
        self.reported: dict[Node, str] = {}
        self.frames: dict[Node, object] = {}
        self.leaves: dict[tuple[Node, object], tuple[Node | None, View]] = {}
        self.values: dict[tuple[Node, object, Scope], str] = {}  # of expressions
        self._serial = 0
        self._collapse()
        passes = [self.pass_of(a) for a in self.reductions
                  if self.computed(a) == self.space.all and not self.picked(a)]
        if self.space.reduced:
            at_points = [a for a in self.wanted if self.known(a) == self.space.all]
            passes += [self.depth_of_anchor(a)[1] for a in at_points]
        self.passes = 1 + max(passes, default=-1)

    def _unread(self, anchor: Node) -> bool:
        """Whether it is a check that nothing else in these loops is computed from."""
        if anchor.op.check is None:
            return False
        return all(anchor is not x for a in self.group.anchors for _, x in self.operands[a])

    @property
    def reductions(self) -> list[Node]:
        return [a for a in self.group.anchors if a.op.kind is Kind.REDUCE]

    def computed(self, anchor: Node) -> Axes:
        return computed(anchor, self.space)

    def known(self, anchor: Node) -> Axes:
        return known(anchor, self.space)

    # ---- loop axes
    def views_of_sums(self) -> list[View]:
        """How a template looks at memory of its own."""
        return []

    def _collapse(self) -> None:
        views = [*(self.target(a)[1] for a in self.stored), *self.views_of_sums()]
        for anchor in self.group.anchors:
            views += [
                seen(self.low, x, anchor, self.space)[1]
                for x, leaf in self.operands[anchor]
                if not is_constant(leaf)
            ]
            if anchor.op.access is not None:
                views.append(self.indexed(anchor)[1])
        every = [v.strides for v in views]
        self._parts = []
        for axes in (self.space.kept, self.space.reduced):
            extents, strides = collapse(self.space.along(axes),
                                        [tuple(s[d] for d in axes) for s in every])
            self._parts.append((extents, strides))
        self.kept_extents, self.reduced_extents = self._parts[0][0], self._parts[1][0]
        self.extent = self.kept_extents[0] if self.kept_extents else 1  # of the outermost loop
        self._collapsed = {
            v: (*k, *r) for v, k, r in zip(every, self._parts[0][1], self._parts[1][1], strict=True)
        }

    def axis(self, which: int, name: str, outermost: bool = False, innermost: bool = False) -> Axis:
        """The loop over collapsed axis `which` (kept axes first, then the reduced ones)."""
        extent = (*self.kept_extents, *self.reduced_extents)[which]
        if outermost:
            return Axis(name, "range(start, stop)", which)
        small = innermost and extent <= SMALL
        return Axis(
            name,
            f"range({extent})" if small else f"range({self.args.integer(extent, ('axis', which))})",
            which,
        )

    def position(self, view: View, scope: Scope) -> str:
        """Where the element of `view` for the current point stands in its buffer."""
        strides = self._collapsed[view.strides]
        key = (strides, view.offset)
        text = self.args.beginning(view.offset) if view.offset else ""
        for depth, axis in enumerate(scope.chain):
            stride = strides[axis.index]
            if stride == 0:
                continue
            if depth < len(scope.chain) - 1 and key in axis.known:
                text = axis.known[key]
                continue
            step = axis.name if stride == 1 else f"{axis.name} * {self.stride(stride, axis)}"
            text = f"{text} + {step}" if text else step
            if depth < len(scope.chain) - 1:
                name = f"o{axis.name}_{len(axis.known)}"
                axis.header.append(f"{name} = {text}")
                axis.known[key] = text = name
        return text or "0"

    def stride(self, stride: int, axis: Axis) -> str:
        """Small strides belong to the text: short rows vectorise across, as do reversed ones."""
        if stride == -1 or 0 < stride <= SMALL:
            return str(stride)
        return self.args.integer(stride, ("stride", axis.index))

    # ---- depth: at which level, and after how many passes, a value is known
    def depth(self, x: Node, anchor: Node) -> tuple[int, int]:
        return finish(self._depth(x, anchor))

    def depth_of_anchor(self, anchor: Node) -> tuple[int, int]:
        return finish(self._depth_of_anchor(anchor))

    def pass_of(self, reduction: Node) -> int:
        return self.depth(reduction.inputs[0], reduction)[1]

    def _depth(self, x: Node, anchor: Node) -> Steps:
        leaf, view = self.leaf(x, anchor)
        if leaf is not None:
            if is_constant(leaf):
                return PRELUDE, 0
            if leaf in self.members:
                if leaf.op.kind is not Kind.REDUCE:
                    return (yield self._depth_of_anchor(leaf))
                axes = self.known(leaf)
                if self.space.late(axes):
                    return ENDS if axes else END, 0
                return KEPT, (yield self._depth(leaf.inputs[0], leaf))[1] + (not self.picked(leaf))
            return self._level_of(view, anchor), 0
        key = x, self.frame(anchor)
        if key not in self.depths:
            below = []
            for v in x.inputs:
                below.append((yield self._depth(v, anchor)))
            self.depths[key] = (max(d for d, _ in below), max(r for _, r in below))
        return self.depths[key]

    def _depth_of_anchor(self, anchor: Node) -> Steps:
        key = "anchor", anchor
        if key not in self.depths:
            below = []
            for v in pointwise(anchor):
                below.append((yield self._depth(v, anchor)))
            if anchor.op.access is not None:
                below.append((self._level_of(self.indexed(anchor)[1], anchor), 0))
            self.depths[key] = (max(d for d, _ in below), max(r for _, r in below))
        return self.depths[key]

    def _level_of(self, view: View, anchor: Node) -> int:
        if self.space.late(self.computed(anchor)):
            return ENDS if any(view.strides) else PRELUDE
        if any(view.strides[d] for d in self.space.reduced):
            return POINT
        return KEPT if any(view.strides) else PRELUDE

    def leaf(self, x: Node, anchor: Node) -> tuple[Node | None, View]:
        """The leaf that x is a view of, seen from the anchor's loop; None where x is an
        expression.
        """
        key = x, self.frame(anchor)
        if key not in self.leaves:
            is_leaf = self.low.is_leaf(x) or x.op.kind is Kind.MOVEMENT
            leaf = seen(self.low, x, anchor, self.space) if is_leaf else (None, View((), ()))
            self.leaves[key] = leaf
        return self.leaves[key]

    def frame(self, anchor: Node) -> object:
        """The same for anchors that see their operands alike."""
        if anchor not in self.frames:
            alike = root_shape(anchor), self.computed(anchor)
            self.frames[anchor] = alike if anchor.op.access is None else anchor
        return self.frames[anchor]

    def picked(self, reduction: Node) -> bool:
        """Whether it takes no pass over the points: all but one of its terms are known to be 0."""
        return False

    # ---- statements
    def fresh(self) -> str:
        self._serial += 1
        return f"v{self._serial}"

    def define(self, scope: Scope, key: object, text: str) -> str:
        if key not in scope.known:
            name = self.fresh()
            scope.lines.append(f"{name} = {text}")
            scope.known[key] = name
        return scope.known[key]

    def scope_for(self, depth: tuple[int, int], here: Scope) -> Scope:
        """Where a value of this depth is computed when it is needed `here`; the templates refine
        it.
        """
        return self.prelude if depth[0] == PRELUDE else here

    def reduced_value(self, reduction: Node, here: Scope) -> str:
        raise NotImplementedError

    def recalled(self, anchor: Node, here: Scope) -> str | None:
        """The text that reads an anchor's value where it need not be computed again."""
        return None

    def value(self, x: Node, anchor: Node, here: Scope) -> str:
        """The name of x at the current point, computed where it is cheapest."""
        return finish(self._value(x, anchor, here))

    def anchor_value(self, anchor: Node, here: Scope) -> str:
        """The value of an elementwise or gathering member at the current point."""
        return finish(self._anchor_value(anchor, here))

    def _value(self, x: Node, anchor: Node, here: Scope) -> Steps:
        leaf, view = self.leaf(x, anchor)
        if leaf is not None and is_constant(leaf):
            return self.args.constant(leaf.params["value"], leaf.dtype)
        if leaf is not None and leaf in self.members:
            if leaf.op.kind is Kind.REDUCE:
                return self.reduced_value(leaf, here)
            return (yield self._anchor_value(leaf, here))
        now = x, self.frame(anchor), here
        if now in self.values:
            return self.values[now]
        scope = self.scope_for(self.depth(x, anchor), here)
        if leaf is not None:
            return self.read(leaf, view, scope)
        operands_ = []
        for v in x.inputs:
            operands_.append((yield self._value(v, anchor, here)))
        key = (x.op, tuple(operands_), tuple(x.params.items()))
        self.values[now] = name = self.define(scope, key, self.applied(x, operands_, scope))
        return name

    def applied(self, x: Node, operands_: list[str], scope: Scope) -> str:
        factor = exact_factor(x)
        if factor is not None and self.often(scope):
            x, operands_ = mul(*x.inputs), [operands_[0], self.args.constant(factor, x.dtype)]
        return apply(x, operands_, self.args, self.fast)

    def often(self, scope: Scope) -> bool:
        """Whether a statement there is done so often that divisions take time. Elsewhere they do
        not, and are written alike whatever a mean divides by.
        """
        loops = len(self.kept_extents) + len(self.reduced_extents)
        return 0 < loops == len(scope.chain)

    def read(self, leaf: Node, view: View, scope: Scope) -> str:
        key = (leaf, view.strides, view.offset)
        if key in scope.known:
            return scope.known[key]
        position = self.position(view, scope)
        if leaf.op is iota:
            return self.define(scope, key, f"{compute_code(leaf.dtype)}({position})")
        pointer = self.args.pointer(self.place.get(leaf, leaf), leaf.dtype)
        return self.define(scope, key, load(pointer, leaf.dtype, position))

    def _anchor_value(self, anchor: Node, here: Scope) -> Steps:
        scope = self.scope_for(self.depth_of_anchor(anchor), here)
        key = ("anchor", anchor)
        if key in scope.known:
            return scope.known[key]
        if (text := self.recalled(anchor, scope)) is not None:
            return self.define(scope, key, text)
        if anchor.op.access is not None:
            text = yield self._gather(anchor, here, scope)
        else:
            operands_ = []
            for x in anchor.inputs:
                operands_.append((yield self._value(x, anchor, here)))
            if anchor.op.check is not None:
                self._check(anchor, operands_[0], scope)
            if anchor in self.unread:
                scope.known[key] = operands_[0]
                return operands_[0]
            text = self.applied(anchor, operands_, scope)
        return self.define(scope, key, text)

    def _check(self, anchor: Node, operand: str, scope: Scope) -> None:
        """Note the index among the least and the greatest; `reports` follow the loops."""
        check = anchor.op.check
        assert check is not None
        code = compute_code(check.dtype or anchor.inputs[0].dtype)
        index = filled(check.index, anchor, [operand], self.args)
        if anchor not in self.checked:
            k = len(self.checked)
            self.checked[anchor] = least, most = f"l{k}", f"m{k}"
            self.prelude.lines += [f"{least} = {code}(0)", f"{most} = {code}(-1)"]
            size, dim = (
                self.args.integer(anchor.params[bound], bound) if isinstance(bound, str) else bound
                for bound in (check.size, check.dim)
            )
            status = self.args.pointer("status")
            self.reported[anchor] = f"report({status}, {least}, {most}, {size}, {dim})"
        least, most = self.checked[anchor]
        scope.lines += [
            f"{least} = minimum({least}, {index})",
            f"{most} = maximum({most}, {index})",
        ]

    @property
    def reports(self) -> list[str]:
        """What follows the loops: what was found wrong, first what comes first in the program."""
        rank = {c: k for k, c in enumerate(self.low.checks)}
        first = sorted(self.reported, key=lambda c: rank.get(c, len(rank)))
        return [self.reported[c] for c in first]

    def indexed(self, anchor: Node) -> tuple[Node, View, tuple[int, ...]]:
        """Of a gathering anchor: the buffer, where its elements stand there if all indices are 0,
        and by how many elements each index moves.
        """
        access, (leaf, view) = anchor.op.access, self.low.resolve(anchor.inputs[0])
        assert access is not None
        base = access.base(view, anchor.shape, anchor.params).squeeze()
        steps = access.steps(view, anchor.params)
        return leaf, self.space.widen(base, self.computed(anchor)), steps

    def _gather(self, anchor: Node, here: Scope, scope: Scope) -> Steps:
        leaf, view, steps = self.indexed(anchor)
        terms = [self.position(view, scope)]
        for i, step in zip(anchor.inputs[1:], steps, strict=True):
            at = yield self._value(i, anchor, here)
            terms.append(f"{at} * {self.args.integer(step, ('step', i))}")
        pointer = self.args.pointer(self.place.get(leaf, leaf), leaf.dtype)
        return load(pointer, leaf.dtype, " + ".join(terms))

    # ---- stores
    def target(self, anchor: Node) -> tuple[Node, View]:
        """The buffer that an anchor is stored to, and the view of it over the space."""
        buffer = self.place.get(anchor, anchor)
        if buffer is not anchor and buffer in self.low.layouts:
            view = self.low.written(buffer, anchor).squeeze()
            return buffer, self.space.widen(view, self.known(anchor))
        return buffer, View(self.space.extents, expected(anchor, self.space))

    def finished(self, anchor: Node, value: str, scope: Scope) -> list[str]:
        """What is done with a result: it is stored, unless it is a check that nobody reads."""
        return [] if anchor in self.unread else [self.store(anchor, value, scope)]

    def store(self, anchor: Node, value: str, scope: Scope) -> str:
        buffer, view = self.target(anchor)
        return store(
            self.args.pointer(buffer, anchor.dtype), anchor.dtype, self.position(view, scope), value
        )

    def combined(self, reduction: Node, acc: str, here: Scope) -> str:
        value = self.value(reduction.inputs[0], reduction, here)
        return combine(reduction, acc, value, self.fast)

    def initial(self, reduction: Node) -> str:
        assert reduction.op.reduction is not None
        return self.args.constant(reduction.op.reduction.init(reduction.dtype), reduction.dtype)
