"""Random graphs: simplification keeps their values, the IR's law, and finds its end.

The numbers are small integers, exact under everything that is drawn here, so that before and after
must agree to the bit (but for the sign of zero); infinities and NaN are among the inputs.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tracegrad.ir import dtype as dt
from tracegrad.ir.autodiff import joint
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import Node, constant, input_node
from tracegrad.ir.op import ShapeError
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.elementwise import abs as abs_
from tracegrad.ir.ops.elementwise import (
    cast,
    copy,
    lt,
    maximum,
    minimum,
    neg,
    stop_gradient,
    tanh,
    where,
)
from tracegrad.ir.ops.movement import concat, expand, flip, pad, permute, reshape
from tracegrad.ir.ops.movement import slice as cut
from tracegrad.ir.ops.reduce import max as max_
from tracegrad.ir.ops.reduce import min as min_
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.ir.verify import verify

SHAPES = ((2, 3), (3,), (), (1, 3), (2, 1), (0, 3))
LARGEST = 200


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


# Each takes (a, b, k): two Nodes drawn before and a number, and gives a Node or raises ShapeError.
MOVES = [
    lambda a, b, k: a + b,
    lambda a, b, k: a - b,
    lambda a, b, k: a + (k - 2.0),
    lambda a, b, k: a * constant((-1, 0.5, 1, 2, 0)[k % 5], a.dtype, (2, 3)[: k % 3]),
    lambda a, b, k: a / constant((-1.0, 0.5, 1.0, 2.0)[k % 4], a.dtype),
    lambda a, b, k: a**2 if k % 7 == 0 else -a,
    lambda a, b, k: neg(abs_(neg(a))),
    lambda a, b, k: maximum(a, b),
    lambda a, b, k: minimum(a, k - 1.0),
    lambda a, b, k: where(lt(a, a + 1), a, b),
    lambda a, b, k: where(constant(k % 2 == 0, dt.bool_), a, b),
    lambda a, b, k: cast(cast(a, dtype=dt.float64), dtype=dt.float64),
    lambda a, b, k: copy(a) if k % 2 else stop_gradient(a),
    lambda a, b, k: sum_(a, dims=picks(k, a.ndim)),
    lambda a, b, k: (max_, min_)[k % 2](a, dims=picks(k // 2, a.ndim)),
    lambda a, b, k: reshape(a, shape=shapes_of_size(a, k)),
    lambda a, b, k: permute(a, axes=tuple(np.roll(range(a.ndim), k))),
    lambda a, b, k: expand(a, shape=(2,) * (k % 2) + tuple(3 if n == 1 else n for n in a.shape)),
    lambda a, b, k: reshape(a, shape=(1,) * (k % 3) + a.shape),
    lambda a, b, k: cut(a, slices=cuts(a, k)),
    lambda a, b, k: flip(a, axes=picks(k, a.ndim)),
    lambda a, b, k: pad(a, pads=((k % 2, k % 3, 0),) * a.ndim),
    lambda a, b, k: concat(a, a, axis=k % a.ndim) if a.ndim else a,
    lambda a, b, k: concat(a, b, axis=0) if a.ndim else b,
    lambda a, b, k: dot(a, permute(a, axes=(1, 0))) if a.ndim == 2 and k % 4 == 0 else a,
]
STEPS = st.lists(
    st.tuples(*(st.integers(0, most) for most in (len(MOVES) - 1, 99, 99, 40))),
    min_size=1,
    max_size=20,
)


def grown(steps) -> tuple[Graph, list[Node]]:
    pool = inputs = [input_node(shape, dt.float64) for shape in SHAPES]
    pool = list(inputs)
    for move, a, b, k in steps:
        a, b = pool[-1 - a % len(pool)], pool[-1 - b % len(pool)]
        try:
            new = MOVES[move](a, b, k)
        except ShapeError:
            continue
        if new.size <= LARGEST:
            pool.append(new)
    return Graph(tuple(inputs), tuple(pool[-3:])), pool


def arrays(seed: int, special: bool):
    rng = np.random.default_rng(seed)
    out = [rng.integers(-3, 4, shape).astype("f8") for shape in SHAPES]
    if special:
        out[0][0, 0], out[1][1], out[3][0, 2] = np.nan, np.inf, -np.inf
    return out


@settings(max_examples=250, deadline=None)
@given(STEPS, st.integers(0, 9), st.booleans())
def test_simplify_keeps_every_value_and_the_law(steps, seed, special):
    graph, _ = grown(steps)
    simple = simplify(verify(graph), check=verify)
    given = arrays(seed, special)
    for got, want in zip(interpret(simple, *given), interpret(graph, *given), strict=True):
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_simplify_twice_is_simplify_once(steps):
    graph, _ = grown(steps)
    once = simplify(graph)
    assert simplify(once).outputs == once.outputs


@settings(max_examples=100, deadline=None)
@given(STEPS, st.integers(0, 9))
def test_simplified_gradients_are_the_gradients(steps, seed):
    graph, _ = grown(steps)
    y = tanh(graph.outputs[-1] * 0.25)
    loss = sum_(y, dims=tuple(range(y.ndim)))
    both = joint(Graph(graph.inputs, (loss,)), graph.inputs)
    simple = simplify(verify(both), check=verify)
    given = arrays(seed, special=False)
    for got, want in zip(interpret(simple, *given), interpret(both, *given), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
