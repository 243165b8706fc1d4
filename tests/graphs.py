"""Random graphs, grown from a list of numbers that hypothesis draws and shrinks.

The numbers in them are small integers, exact under everything that is drawn here, so that every way
of computing a graph must agree to the bit (but for the sign of zero).
"""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

import numpy as np
from hypothesis import strategies as st

from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph, postorder
from tracegrad.ir.node import Node, constant, input_node
from tracegrad.ir.op import OpDef, ShapeError
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot, transpose
from tracegrad.ir.ops.index import index, index_put
from tracegrad.ir.ops.movement import (
    concat,
    diagonal,
    expand,
    flip,
    fold,
    pad,
    permute,
    reshape,
    slice as cut,
    window,
)
from tracegrad.ir.ops.order import argsort, searchsorted
from tracegrad.ir.ops.prefix import cummax, cummin, cumprod, cumsum, recur
from tracegrad.ir.ops.reduce import max as max_, min as min_, prod, spread, sum as sum_
from tracegrad.ir.ops.source import iota
from tracegrad.tracer.autograd.backward import backpropagate
from tracegrad.tracer.autograd.graph import edge
from tracegrad.tracer.capture.trace import Trace, tracing
from tracegrad.tracer.tensor.dispatch import bind
from tracegrad.tracer.tensor.tensor import traced

SHAPES = ((2, 3), (3,), (), (1, 3), (2, 1), (0, 3))
LARGEST = 200


def arity(op: OpDef) -> int:
    """How many operands an elementwise primitive has: those that its expression names."""
    fields = {field for _, field, _, _ in Formatter().parse(op.expr)}
    return sum(1 for field in fields if field and field.isdigit())


def picks(k: int, n: int) -> tuple[int, ...]:
    """Some of the axes of a rank-n value, chosen by k."""
    return tuple(axis for axis in range(n) if k >> axis & 1)


def cuts(x: Node, k: int):
    return tuple(
        (min(k % 3, n), max(min(k % 3, n), n - k % 2), 1 + k % 2)
        for k, n in zip((k, k // 2, k // 3, k // 5, k // 7), x.shape, strict=False)
    )


def shapes_of_size(x: Node, k: int) -> tuple[int, ...]:
    n = x.size
    options = [(n,), (1, n), (n, 1), *((d, n // d) for d in (2, 3) if n and n % d == 0)]
    return options[k % len(options)]


def windowed(x: Node, k: int) -> Node:
    """Sliding windows of x, or what their overlapping parts add up to."""
    if x.ndim == 0:
        return x
    axis, size, step, dilation = k % x.ndim, 1 + k % 3, 1 + k // 3 % 2, k // 5 % 3
    y = window(x, axis=axis, size=size, step=step, dilation=dilation)
    return y if k % 2 else fold(y, axis=axis, extent=x.shape[axis], step=step, dilation=dilation)


# Each takes (a, b, k): two Nodes drawn before and a number, and gives a Node or raises ShapeError.
MOVES = [
    lambda a, b, k: a + b,
    lambda a, b, k: a - b,
    lambda a, b, k: a + (k - 2.0),
    lambda a, b, k: a * constant((-1, 0.5, 1, 2, 0)[k % 5], a.dtype, (2, 3)[: k % 3]),
    lambda a, b, k: a / constant((-1.0, 0.5, 1.0, 2.0)[k % 4], a.dtype),
    lambda a, b, k: a**2 if k % 7 == 0 else -a,
    lambda a, b, k: el.neg(el.abs(el.neg(a))),
    lambda a, b, k: el.maximum(a, b),
    lambda a, b, k: el.minimum(a, k - 1.0),
    lambda a, b, k: el.where(el.lt(a, a + 1), a, b),
    lambda a, b, k: el.where(constant(k % 2 == 0, dt.bool_), a, b),
    lambda a, b, k: el.cast(el.cast(a, dtype=dt.float64), dtype=dt.float64),
    lambda a, b, k: el.copy(a) if k % 2 else el.stop_gradient(a),
    lambda a, b, k: sum_(a, dims=picks(k, a.ndim)),
    lambda a, b, k: (max_, min_)[k % 2](a, dims=picks(k // 2, a.ndim)),
    lambda a, b, k: reshape(a, shape=shapes_of_size(a, k)),
    lambda a, b, k: permute(a, axes=tuple(np.roll(range(a.ndim), k))),
    lambda a, b, k: expand(a, shape=(2,) * (k % 2) + tuple(3 if n == 1 else n for n in a.shape)),
    lambda a, b, k: reshape(a, shape=(1,) * (k % 3) + a.shape),
    lambda a, b, k: cut(a, slices=cuts(a, k)),
    lambda a, b, k: flip(a, axes=picks(k, a.ndim)),
    lambda a, b, k: pad(a, pads=((k % 2, k % 3, 0),) * a.ndim),
    lambda a, b, k: windowed(a, k),
    lambda a, b, k: diagonal(a) if a.ndim > 1 and a.shape[-1] == a.shape[-2] else a,
    lambda a, b, k: concat(a, a, axis=k % a.ndim) if a.ndim else a,
    lambda a, b, k: concat(a, b, axis=0) if a.ndim else b,
    lambda a, b, k: dot(a, permute(a, axes=(1, 0))) if a.ndim == 2 and k % 4 == 0 else a,
]


# ---- for the compiler: shapes with a batch, positions, other types, what fusion is made for
def tamed(x: Node, low: int = -100) -> Node:
    """x with NaN as 0 and all within a range that every integer type but the unsigned holds."""
    return el.minimum(el.maximum(el.where(el.isnan(x), 0.0, x), float(low)), 100.0)


def through(x: Node, k: int) -> Node:
    """x, by way of an integer type and back."""
    whole = (dt.int64, dt.int32, dt.int16, dt.int8, dt.uint8)[k % 5]
    n = el.cast(tamed(x, 0 if whole is dt.uint8 else -100), dtype=whole)
    n = (n + 3, n * n, -n, abs(n), n // 3, n % 5, n ^ 6, n & 12, n << 1, n >> 1, ~n)[k % 11]
    return el.cast(n, dtype=x.dtype)


def floats(*shape: int) -> Node:
    """An input of float64."""
    return input_node(shape, dt.float64)


def integers(*shape: int) -> Node:
    """An input of int64."""
    return input_node(shape, dt.int64)


def positions(extent: int, count: int, k: int) -> Node:
    """`count` positions of an axis, some counted from its end."""
    i = Node.bind(iota, (), {"shape": (count,), "dtype": dt.int64}) * (1 + k % 3) + k
    i = el.remainder(i, constant(extent, dt.int64))
    return el.check_index(i - constant(extent * (k % 2), dt.int64), size=extent, dim=0)


def taken(a: Node, k: int) -> Node:
    if not (a.ndim and a.size):
        return a
    axis = k % a.ndim
    return index(a, positions(a.shape[axis], 1 + k % 4, k), axes=(axis,))


def put(a: Node, b: Node, k: int) -> Node:
    if not (a.ndim and a.size):
        return a
    axis = k % a.ndim
    i = positions(a.shape[axis], 1 + k % 4, k)
    where = index(a, i, axes=(axis,))
    new = el.where(el.lt(where, 1.0), where, 2.0)  # the last one wins: equal where positions repeat
    if k % 2:
        new = expand(sum_(b, dims=tuple(range(b.ndim))), shape=where.shape)
    return index_put(a, new, i, axes=(axis,), accumulate=k % 2 == 1)


def product(a: Node, b: Node, k: int) -> Node:
    """A product of whatever fits, read as it stands or in a way that strides must express."""
    if min(a.ndim, b.ndim) < 2:
        return a
    b = reshape(b, shape=(1,) * (a.ndim - b.ndim) + b.shape)
    b = expand(b, shape=a.shape[:-2] + b.shape[-2:])
    a, b = (transpose(x) if k >> bit & 1 else x for bit, x in enumerate((a, b)))
    a, b = (flip(x, axes=(x.ndim - 1 - (k >> 4 & 1),)) if k >> bit & 1 else x
            for bit, x in enumerate((a, b), 2))
    return dot(a, b)


def row(a: Node, k: int) -> Node:
    """Several reductions along the same axes, and what is made of them."""
    dims = picks(k, a.ndim)
    top = spread(max_(a, dims=dims), a.shape, dims)
    hit = el.cast(el.ge(a, top), dtype=a.dtype)
    return hit * 2.0 - spread(sum_(hit, dims=dims), a.shape, dims)


def scanned(a: Node, b: Node, k: int) -> Node:
    """What stands before each place of an axis, or the axis in order."""
    where = {"axis": k % a.ndim}
    match k % 6:
        case 0:
            return cumsum(a, **where, reverse=k > 50)
        case 1:
            return cumprod(tamed(a, -1) * 0.5, **where, reverse=k > 50)
        case 2:
            return recur(el.cast(el.lt(a, 1.0), dtype=a.dtype), a, **where, reverse=k > 50)
        case 3:
            return (cummax, cummin)[k // 6 % 2](a, **where, reverse=k > 50)
        case 4:
            return el.cast(argsort(a, **where, descending=k > 50), dtype=a.dtype)
    flat = reshape(b, shape=(b.size,))
    ordered = index(flat, argsort(flat, axis=0, descending=False), axes=(0,)) if b.size else flat
    return el.cast(searchsorted(ordered, a, right=k > 50), dtype=a.dtype)


def rounded(x: Node, k: int) -> Node:
    """x as whole numbers, by way of a narrower float and back."""
    h = el.cast(el.floor(tamed(x)), dtype=(dt.float16, dt.bfloat16, dt.float32)[k % 3])
    h = (h + h, -h, abs(h), h * 0.5 + 1.0, el.maximum(h, 3.0), h - 7.0)[k % 6]
    return el.cast(h, dtype=x.dtype)


def truths(a: Node, b: Node, k: int) -> Node:
    """Numbers by way of bools and what bools are for."""
    p, q = el.gt(a, b), el.ne(a, 0.0)
    p = (el.logical_and(p, q), el.bitwise_xor(p, q), el.bitwise_or(p, ~q), el.eq(p, q))[k % 4]
    return el.where(p, b, 1.0) if k % 3 else el.cast(p, dtype=a.dtype)


def windows(a: Node, k: int) -> Node:
    """Sliding windows of an axis, or what they fold to."""
    if not (a.ndim and a.size):
        return a
    axis, size, step, dilation = k % a.ndim, 1 + k % 3, 1 + k // 3 % 2, 1 + k // 6 % 2
    w = window(a, axis=axis, size=size, step=step, dilation=dilation)
    if k % 2:
        w = w * 2.0 if k % 4 == 1 else w
        return fold(w, axis=axis, extent=a.shape[axis], step=step, dilation=dilation)
    return w


def diagonals(a: Node, k: int) -> Node:
    """The diagonal of an outer product, or of a product that is never kept."""
    if not a.ndim:
        return a
    n = a.shape[-1]
    rows = reshape(a, shape=(*a.shape, 1))
    columns = reshape(a, shape=(*a.shape[:-1], 1, n))
    return diagonal(rows - columns if k % 2 else rows * 2.0 + columns)


FAMILY = [
    *MOVES,
    lambda a, b, k: rounded(a, k),
    truths,
    lambda a, b, k: windows(a, k),
    lambda a, b, k: windows(a, k) - 1.0,
    lambda a, b, k: diagonals(a, k),
    lambda a, b, k: through(a, k),
    lambda a, b, k: el.cast(el.logical_or(el.lt(a, b), ~el.eq(a, 1.0)), dtype=a.dtype),
    lambda a, b, k: el.sign(a) if k % 2 else el.floor(a / 2.0),
    lambda a, b, k: taken(a, k),
    lambda a, b, k: taken(a, k) + 1.0,
    put,
    product,
    product,
    product,
    lambda a, b, k: row(a, k),
    lambda a, b, k: scanned(a, b, k) if a.ndim else a,
    lambda a, b, k: prod(tamed(a, -1) * 0.5, dims=picks(k, a.ndim)),
    lambda a, b, k: a - spread(sum_(a * a, dims=picks(k, a.ndim)), a.shape, picks(k, a.ndim)),
    lambda a, b, k: concat(a, -a, cut(a, slices=cuts(a, k)), axis=0) if a.ndim == 1 else a,
    lambda a, b, k: pad(a, pads=((k % 2, k % 3, k % 4),) * a.ndim),
]
BATCHED = (*SHAPES, (2, 3, 4), (4, 5), (2, 1, 3), (1,), (2, 0))


def steps(moves: Sequence = MOVES, most: int = 20):
    numbers = (st.integers(0, top) for top in (len(moves) - 1, 99, 99, 40))
    return st.lists(st.tuples(*numbers), min_size=1, max_size=most)


def grown(drawn, moves: Sequence = MOVES, shapes: Sequence = SHAPES) -> tuple[Graph, list[Node]]:
    """The graph of the last three values, and all values."""
    inputs = [input_node(shape, dt.float64) for shape in shapes]
    pool = list(inputs)
    for move, a, b, k in drawn:
        a, b = pool[-1 - a % len(pool)], pool[-1 - b % len(pool)]
        try:
            new = moves[move](a, b, k)
        except ShapeError:
            continue
        if new.size <= LARGEST:
            pool.append(new)
    return Graph(tuple(inputs), tuple(pool[-3:])), pool


def arrays(seed: int, special: bool, shapes: Sequence = SHAPES) -> list[np.ndarray]:
    """Inputs for such a graph; infinities and NaN among them if `special`."""
    rng = np.random.default_rng(seed)
    out = [rng.integers(-3, 4, shape).astype("f8") for shape in shapes]
    if special:
        out[0][0, 0], out[1][1], out[3][0, 2] = np.nan, np.inf, -np.inf
    return out


def gradients(
    outputs: Sequence[tuple[Node, Node]], wrt: Sequence[Node]
) -> tuple[Node | None, ...]:
    """The cotangents of `wrt`, from pairs of an output and its cotangent; None where nothing flows.

    The primitives are applied again to traced tensors, and backward walks their autograd graph.
    """
    with tracing(Trace([])):
        tensors = {x: traced(x, x.dtype.is_floating_point) for x in wrt}
        for node in postorder(y for y, _ in outputs):
            if node not in tensors:
                inputs = tuple(tensors[x] for x in node.inputs)
                tensors[node] = bind(node.op, inputs, node.params) if inputs else traced(node)
        ends = [(edge(tensors[y]), traced(g)) for y, g in outputs]
        roots = [(fn, g) for fn, g in ends if fn is not None]
        found = backpropagate(roots, [edge(tensors[x]) for x in wrt], True, False)
    return tuple(None if g is None else g._node for g in found)


def joint(graph: Graph, wrt: Sequence[Node]) -> Graph:
    """A graph with the gradients of its first output, a scalar, as further outputs."""
    loss = graph.outputs[0]
    pairs = zip(gradients([(loss, constant(1.0, loss.dtype))], wrt), wrt, strict=True)
    full = (constant(0.0, x.dtype, x.shape) if g is None else g for g, x in pairs)
    return Graph(graph.inputs, (*graph.outputs, *full), graph.checks)
