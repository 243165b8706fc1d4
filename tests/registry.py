"""Functions and shapes for every primitive with a derivative, inputs that lie in memory in every
way, and central differences, by which derivatives are known without rules.
"""

from __future__ import annotations

import math

import kinks
import matrices
import numpy as np

from tracegrad.ir import dtype as dt, ops
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import constant
from tracegrad.ir.op import Kind
from tracegrad.ir.ops.elementwise import where
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.value import REGISTRY

B, E, M, P, R, S = ops.band, ops.elementwise, ops.movement, ops.prefix, ops.reduce, ops.special

SHAPES = {1: [((),), ((5,),), ((2, 3),), ((0, 3),)]}
SHAPES[2] = [(s, s) for (s,) in SHAPES[1]]
SHAPES[2] += [((2, 3), (3,)), ((), (2, 3)), ((2, 3), ()), ((2, 1), (4, 1, 3)), ((0, 3), (1, 1))]
SHAPES[3] = [(s, s, s) for (s,) in SHAPES[1]]
SHAPES[3] += [((2, 1), (3,), ()), ((), (2, 1), (3,)), ((3,), (), (2, 1)), ((0, 1), (3,), (1, 1))]

# Primitives that need more than arrays of one interval: name -> [(function of inputs, shapes)]
AXES = [(0,), (1,), (0, 2), (0, 1, 2)]
# differentiable once; tests/test_samplers.py has their witnesses
SAMPLERS = ("gamma_slope", "beta_slope", "gamma_sample", "dirichlet_sample")
CASES = {
    **dict.fromkeys(SAMPLERS, ()),
    "where": [(lambda a, b: where(a > b, a, b), s) for s in SHAPES[2]]
    + [(lambda c, a, b: where(c > 0, a, b), s) for s in SHAPES[3]],
    "floor_div": [(lambda a, b: E.floor_div(a, b + 10.0), s) for s in SHAPES[2]],
    "cast": [
        (lambda x: E.cast(E.cast(x, dtype=dt.float64) * x, dtype=dt.float64), s) for s in SHAPES[1]
    ],
    **{
        op.name: [(lambda x, op=op, d=d: op(x, dims=d), ((2, 3, 4),)) for d in AXES]
        + [(lambda x, op=op: op(x, dims=()), ((),)), (lambda x, op=op: op(x, dims=(1,)), ((0, 3),))]
        for op in REGISTRY.values()
        if op.kind is Kind.REDUCE
    },
    "ldexp": [(lambda x, k=k: E.ldexp(x * x, constant(k, dt.float64)), s)
              for k, s in zip((3.0, -2.0, 0.0, 1.0), SHAPES[1], strict=True)],
    # differentiable in the second argument alone
    **{
        op.name: [
            (lambda x, op=op: op(constant(2.5, dt.float64), x), ((2, 3),)),
            (lambda x, op=op: op(M.expand(constant(1.5, dt.float64), shape=(3,)), x), ((),)),
        ]
        for op in (S.zeta, S.igamma, S.igammac)
    },
    "reshape": [
        (lambda x: M.reshape(x, shape=(3, 1, 4)), ((2, 6),)),
        (lambda x: M.reshape(x, shape=(1,)), ((),)),
        (lambda x: M.reshape(x, shape=(3, 0)), ((0, 2),)),
    ],
    "permute": [
        (lambda x: M.permute(x, axes=(2, 0, 1)), ((2, 3, 4),)),
        (lambda x: M.permute(x, axes=()), ((),)),
        (lambda x: M.permute(x, axes=(1, 0)), ((0, 2),)),
    ],
    "expand": [
        (lambda x: M.expand(x, shape=(2, 3, 4)), s)
        for s in (((),), ((4,),), ((3, 1),), ((2, 1, 4),))
    ]
    + [(lambda x: M.expand(x, shape=(0, 4)), ((4,),))],
    "slice": [
        (lambda x: M.slice(x, slices=((1, 6, 2), (0, 3, 1))), ((7, 3),)),
        (lambda x: M.slice(x, slices=((2, 2, 1),)), ((5,),)),
    ],
    "flip": [(lambda x: M.flip(x, axes=(0, 2)), ((2, 3, 4),))],
    "pad": [(lambda x: M.pad(x, pads=((1, 2, 0), (0, 1, 2))), s) for s in (((2, 3),), ((0, 3),))],
    "index_reduce": [
        (
            lambda x, v, by=by: ops.index.index_reduce(x, v, indices(3), axes=(1,), combine=by),
            ((2, 4), (2, 3)),
        )
        for by in (R.prod, R.max, R.min)
    ],
    "window": [
        (lambda x, p=p: M.window(x * x, **p), ((2, 9, 3),))
        for p in (
            {"axis": 1, "size": 3, "step": 1, "dilation": 1},
            {"axis": 1, "size": 2, "step": 3, "dilation": 2},
            {"axis": 0, "size": 2, "step": 1, "dilation": 0},
        )
    ],
    "fold": [
        (lambda x: M.fold(x * x, axis=1, extent=8, step=2, dilation=1), ((2, 3, 4),)),
        (lambda x: M.fold(x * x, axis=0, extent=7, step=1, dilation=2), ((3, 2, 3),)),
    ],
    "diagonal": [(lambda x: M.diagonal(x * x), s) for s in (((2, 3, 3),), ((0, 0),))],
    "concat": [
        (lambda *x: M.concat(*x, axis=1), ((2, 3), (2, 1), (2, 0))),
        (lambda x: M.concat(x, x * x, axis=0), ((3,),)),
    ],
    **{
        op.name: [(lambda *xs, op=op, d=d, r=r: op(*xs, axis=d, reverse=r), ((2, 3, 4),) * n)
                  for d, r in ((0, True), (1, False), (2, True), (2, False))]
        + [(lambda *xs, op=op: op(*xs, axis=1, reverse=False), ((2, 0),) * n)]
        for op, n in ((P.cumsum, 1), (P.cumprod, 1), (P.recur, 2))
    },
    "band": [
        (lambda *xs, d=d, r=r: B.band(*xs, axis=d, reverse=r), (s,) * 4)
        for s in ((4, 2, 5), (2, 4, 2), (3, 3), (2, 1), (0, 2), (3, 0))
        for d, r in ((0, False), (len(s) - 2, True))
    ],
    **matrices.CASES,
    **kinks.CASES,
    "dot": [
        (lambda a, b: ops.contract.dot(a, b), s)
        for s in (((2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 0), (0, 4)), ((1, 3), (3, 1)))
    ],
    "index": [
        (lambda x: ops.index.index(x, indices(3), axes=(1,)), ((2, 4, 3),)),
        (lambda x: ops.index.index(x, indices(3), indices(1), axes=(0, 2)), ((4, 2, 4),)),
    ],
    "index_put": [
        (
            lambda x, v: ops.index.index_put(x, v, indices(3), axes=(1,), accumulate=True),
            ((2, 4), (2, 3)),
        ),
        (
            lambda x, v: ops.index.index_put(
                x, v, M.slice(indices(4), slices=((0, 2, 1),)), axes=(0,), accumulate=False
            ),
            ((4, 2), (2, 2)),
        ),
    ],
}


def indices(n):
    """1, 2, 1, 2, ...: with repetition from the third on."""
    iota = REGISTRY["iota"]
    two = constant(2, dt.int64)
    k = type(two).bind(iota, (), {"shape": (n,), "dtype": dt.int64})
    return E.add(E.remainder(k, two), constant(1, dt.int64))


def arity(op) -> int:
    return len(op.vjp)


def _cases():
    for op in REGISTRY.values():
        if op.vjp is None:
            continue
        if op.name in CASES:
            for k, (f, shapes) in enumerate(CASES[op.name]):
                yield f"{op.name}-{k}", f, shapes, op.domain
        elif op.kind is Kind.ELEMENTWISE and any(op.vjp):
            for shapes in SHAPES[arity(op)]:
                name = "x".join("".join(map(str, s)) or "scalar" for s in shapes)
                yield f"{op.name}-{name}", op, shapes, op.domain


ALL = [(*case, number) for number, case in enumerate(_cases())]


def projected(f, xs):
    """sum(w * f(xs)) for fixed random weights w, as a Node."""
    y = f(*xs)
    w = weights(y.shape)
    weighted = y * w
    return sum_(weighted, dims=tuple(range(len(weighted.shape))))


def weights(shape):
    """Numbers around 1 that differ from place to place, made of primitives so that they are
    constants.
    """
    n = math.prod(shape)
    k = type(constant(0, dt.float64)).bind(
        REGISTRY["iota"], (), {"shape": (n,), "dtype": dt.float64}
    )
    return M.reshape(E.sin(k * 0.7 + 0.3) + 1.1, shape=shape)


def draw(shapes, domain, seed=0):
    """Arrays within the domain, away from its ends, no two numbers equal or near an integer or
    zero.
    """
    rng = np.random.default_rng(seed)
    lo, hi = domain
    out = []
    for shape in shapes:
        x = rng.uniform(lo + 0.05 * (hi - lo), hi - 0.05 * (hi - lo), shape)
        near = np.abs(x - np.rint(2 * x) / 2) < 0.02  # kinks: zeros, integers, halves for round
        out.append(np.asarray(x + 0.05 * near))
    return out


LAYOUTS = ("transposed", "strided", "offset", "repeated")


def laid(array, way):
    """The numbers, lying in memory in this way; of a repeated axis the first ones only."""
    if way == "transposed":
        return np.array(array, order="F")
    if way == "repeated" and array.ndim and array.size:
        axis = array.ndim // 2
        first = np.take(array, [0], axis)
        strides = tuple(s * (k != axis) for k, s in enumerate(first.strides))
        return np.lib.stride_tricks.as_strided(first, array.shape, strides)
    step = 2 if way == "strided" else 1
    wide = np.full([step * n + 3 for n in array.shape], np.nan)
    part = wide[(..., *(np.s_[2 : 2 + step * n : step] for n in array.shape))]
    part[...] = array
    return part


def slope(graph, arrays, directions, h):
    """Central difference of fourth order, along the directions."""

    def at(t):
        return float(
            interpret(graph, *(x + t * v for x, v in zip(arrays, directions, strict=True)))[0]
        )

    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
