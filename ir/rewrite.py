"""The rewrite engine: tables of rows that read as mathematics, applied to a Graph bottom-up until
none fires.

A row is (pattern, replacement) or (pattern, replacement, when). Patterns are written in the
operators of Value over wildcards; a replacement is another pattern, a number, or a function whose
arguments are named after the wildcards (`y` is the Node that matched) and which gives a Node, or
None for "not here". Knows no primitive but which ones commute.

    x, c = Var("x"), Const("c")
    Table("example", [(x * 1, x), (-(x * c), x * -c), (copy(x), lambda y, x: ...)])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from .cached import cached_property
from .graph import Graph
from .node import Node, at, constant, intern
from .op import OpDef
from .ops.movement import expand
from .ops.source import full
from .value import Value


class RewriteError(AssertionError):
    """A row that changes what a Node is, or rows that undo each other: a fault of the table, never
    of the program.
    """


# ---- patterns
class Pattern(Value):
    """What a Node may look like. `match` adds the nodes of wildcards to `bindings`."""

    __slots__ = ()

    @classmethod
    def bind(cls, op: OpDef, inputs: tuple[Any, ...], params: dict[str, Any]) -> Apply:
        return Apply(op, tuple(x if isinstance(x, Pattern) else Literal(x) for x in inputs), params)

    def match(self, node: Node, bindings: dict[str, Node]) -> bool:
        raise NotImplementedError

    def build(self, bindings: dict[str, Node]) -> Any:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Var(Pattern):
    """Any value for which `test` holds; the same one wherever the name occurs in a pattern."""

    name: str
    test: Callable[[Node], bool] | None = None

    def match(self, node: Node, bindings: dict[str, Node]) -> bool:
        same = bindings.setdefault(self.name, node) is node
        return same and (self.test is None or self.test(node))

    def build(self, bindings: dict[str, Node]) -> Node:
        return bindings[self.name]

    def __repr__(self) -> str:
        return self.name


def Const(name: str) -> Var:
    """Any constant, of any shape."""
    return Var(name, lambda node: node.op is full)


def negative(number: bool | int | float) -> bool:
    return math.copysign(1, number) < 0


@dataclass(frozen=True, eq=False)
class Literal(Pattern):
    """One constant, of any dtype; -0.0 is another than 0."""

    value: bool | int | float

    def match(self, node: Node, bindings: dict[str, Node]) -> bool:
        if node.op is not full or node.params["value"] != self.value:
            return False
        return self.value != 0 or negative(node.params["value"]) == negative(self.value)

    def build(self, bindings: dict[str, Node]) -> bool | int | float:
        return self.value

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, eq=False)
class Apply(Pattern):
    """A primitive of these inputs (None: whatever they are), with at least these params."""

    op: OpDef
    inputs: tuple[Pattern, ...] | None
    params: dict[str, Any] = field(default_factory=dict[str, Any])

    def match(self, node: Node, bindings: dict[str, Node]) -> bool:
        if node.op is not self.op:
            return False
        for k, v in self.params.items():
            if node.params.get(k) != v:
                return False
        if self.inputs is None:
            return True
        if len(self.inputs) != len(node.inputs):
            return False
        for p, x in zip(self.inputs, node.inputs, strict=True):  # the hot loop of every pass
            if not p.match(x, bindings):
                return False
        return True

    def build(self, bindings: dict[str, Node]) -> Node:
        return self.op(*(p.build(bindings) for p in self.inputs or ()), **self.params)

    def __repr__(self) -> str:
        inside = "..." if self.inputs is None else ", ".join(map(repr, self.inputs))
        return f"{self.op.name}({inside})"


def any_of(op: OpDef) -> Apply:
    """The primitive `op` of whatever inputs."""
    return Apply(op, None)


def _orders(p: Any) -> Iterator[Any]:
    """The pattern with the operands of commuting primitives in every order, so that matching need
    not search.
    """
    if not isinstance(p, Apply) or p.inputs is None:
        yield p
        return
    for inputs in product(*(tuple(_orders(x)) for x in p.inputs)):
        yield Apply(p.op, inputs, p.params)
        if p.op.commutative:
            yield Apply(p.op, inputs[::-1], p.params)


# ---- tables
class Row:
    def __init__(self, pattern: Apply, replace: Any, when: Callable[..., Any] | None = None):
        self.pattern = pattern
        self.replace = _function(replace)
        self.when = None if when is None else _function(when)

    @cached_property
    def variants(self) -> tuple[Apply, ...]:
        return tuple({repr(p): p for p in _orders(self.pattern)}.values())

    def apply(self, variant: Pattern, node: Node) -> Node | None:
        """What the Node becomes by one variant of the row: the same shape and dtype, by an expand
        where the row gives less.
        """
        bindings: dict[str, Node] = {}
        if not variant.match(node, bindings):
            return None
        bindings["y"] = node
        if self.when is not None and not self.when(bindings):
            return None
        new = self.replace(bindings)
        return None if new is None else self._fitted(node, new)

    def _fitted(self, node: Node, new: Node | bool | int | float) -> Node:
        if not isinstance(new, Node):
            return constant(new, node.dtype, node.shape)
        if new.dtype is not node.dtype:
            raise RewriteError(f"{self!r} turned {node!r} into {new!r}: another dtype")
        if new.shape == node.shape:
            return new
        try:
            return expand(new, shape=node.shape)
        except (RuntimeError, ValueError):
            raise RewriteError(f"{self!r} turned {node!r} into {new!r}: another shape") from None

    def __repr__(self) -> str:
        return f"row {self.pattern!r}"


def _function(replace: Any) -> Callable[[dict[str, Node]], Any]:
    """A pattern, a number or a function of named wildcards as a function of the match."""
    if isinstance(replace, Pattern):
        return replace.build
    if not callable(replace):
        return lambda bindings: replace
    names = replace.__code__.co_varnames[: replace.__code__.co_argcount]
    return lambda bindings: replace(*(bindings[name] for name in names))


class Variant(NamedTuple):
    row: Row
    pattern: Apply
    needs: tuple[tuple[int, OpDef], ...]  # which operands must be made by which primitive

    @staticmethod
    def of(row: Row, pattern: Apply) -> Variant:
        ops = {k: _op(p) for k, p in enumerate(pattern.inputs or ())}
        return Variant(row, pattern, tuple((k, op) for k, op in ops.items() if op is not None))


def _op(p: Pattern) -> OpDef | None:
    """The primitive that makes what the pattern matches, if there is only one."""
    return p.op if isinstance(p, Apply) else full if isinstance(p, Literal) else None


class Table:
    """Rows, found by the primitive at their root. Two tables add up to one."""

    def __init__(self, name: str, rows: Iterable[tuple[Any, ...] | Row]):
        self.name = name
        self.rows = tuple(row if isinstance(row, Row) else Row(*row) for row in rows)

    @cached_property
    def by_op(self) -> dict[OpDef, list[Variant]]:
        found: dict[OpDef, list[Variant]] = {}
        for row in self.rows:
            found.setdefault(row.pattern.op, []).extend(Variant.of(row, p) for p in row.variants)
        return found

    def __add__(self, other: Table) -> Table:
        return Table(f"{self.name}+{other.name}", self.rows + other.rows)


Watcher = Callable[[Row, Node, Node], None]


def rewrite(graph: Graph, table: Table, watch: Watcher | None = None) -> Graph:
    """The graph with the rows of the table applied wherever they match, until none does.

    One walk reaches the fixed point: a row sees inputs in their final form, and what it gives is
    walked in turn. An explicit stack carries the walk, so depth is no limit. `watch(row, before,
    after)` is told of every step.
    """
    final: dict[Node, Node] = {}
    becomes: dict[Node, Node] = {}
    budget = 10_000 + 100 * len(graph.order())
    stack = list(reversed(graph.roots))
    while stack:
        node = stack[-1]
        if node in final:
            stack.pop()
        elif node in becomes:
            if becomes[node] not in final:
                raise RewriteError(f"the rows of {table.name!r} lead from {node!r} back to itself")
            final[node] = final[becomes[node]]
            stack.pop()
        elif waiting := [x for x in node.inputs if x not in final]:
            stack.extend(reversed(waiting))
        else:
            with at(node.site):
                step = _step(node, final, table, watch)
            if step is node:
                final[node] = node
                stack.pop()
            else:
                becomes[node] = step
                stack.append(step)
                budget -= 1
                if budget < 0:
                    raise RewriteError(
                        f"the rows of {table.name!r} find no end; the last Node was {node!r}"
                    )
    return graph.map(final.__getitem__)


def _step(node: Node, final: dict[Node, Node], table: Table, watch: Watcher | None) -> Node:
    inputs = tuple(final[x] for x in node.inputs)
    if inputs != node.inputs:
        return intern(node.op, inputs, node.params)
    for row, pattern, needs in table.by_op.get(node.op, ()):
        for k, op in needs:
            if k >= len(inputs) or inputs[k].op is not op:
                break
        else:
            new = row.apply(pattern, node)
            if new is not None and new is not node:
                if watch is not None:
                    watch(row, node, new)
                return new
    return node
