"""Examples for rows of the rewrite tables: made from a row's own pattern, or, for rows about params
(axes, slices), taken from a list.
"""

from __future__ import annotations

import itertools
import zlib

import numpy as np
from graphs import arity

from tracegrad.ir import dtype as dt, ops
from tracegrad.ir.node import Node, constant, input_node
from tracegrad.ir.op import Kind
from tracegrad.ir.ops.contract import dot
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
from tracegrad.ir.ops.reduce import max as max_, min as min_, prod, sum as sum_
from tracegrad.ir.rewrite import Apply, Literal, Pattern, Var
from tracegrad.ir.rules.stability import stability

E = ops.elementwise
f32, f64, i32, i64, bool_ = dt.float32, dt.float64, dt.int32, dt.int64, dt.bool_


def arg(*shape, dtype=f32) -> Node:
    return input_node(shape, dtype)


def of(value, *shape, dtype=f32) -> Node:
    return constant(value, dtype, shape)


def data(node: Node, mild: bool = False) -> np.ndarray:
    """Numbers for an input, with everything that an identity may trip over."""
    rng = np.random.default_rng(zlib.crc32(repr(node).encode()))
    if node.dtype.kind == "bool":
        return rng.random(node.shape) < 0.5
    if node.dtype.kind != "float":
        info = np.iinfo(node.dtype.storage)
        special = [0, 1, -1, 2, 3, info.min, info.max] if info.min else [0, 1, 2, 3, info.max]
        drawn = np.asarray(rng.integers(-5 if info.min else 0, 6, node.shape))
    else:
        special = [np.nan] if mild else [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 3e4]
        drawn = np.asarray(rng.normal(0, 2, node.shape))
    if drawn.ndim:
        every = np.s_[1 :: max(1, drawn.size // len(special))]
        drawn.flat[every] = np.resize(special, drawn.flat[every].shape)
    return node.dtype.encode(np.asarray(drawn).astype(node.dtype.compute))


# ---- examples made from a row's pattern
def wildcards(p: Pattern) -> list[Var]:
    if isinstance(p, Var):
        return [p]
    inside = p.inputs or () if isinstance(p, Apply) else ()
    return list({v.name: v for x in inside for v in wildcards(x)}.values())


def built(p: Pattern, of: dict[str, Node], dtype) -> Node:
    """The pattern as a Node; a literal operand takes the type of its neighbours."""
    if isinstance(p, Var):
        return of[p.name]
    if p.op in (E.cast, E.bits):
        return p.op(built(p.inputs[0], of, dtype), dtype=p.params.get("dtype", dtype))
    inputs = [None if isinstance(x, Literal) else built(x, of, dtype) for x in p.inputs]
    like = next((x.dtype for x in reversed(inputs) if x is not None), dtype)
    if p.op is E.where:  # the branches have a type of their own
        like = next((x.dtype for x in inputs[1:] if x is not None), dtype)
    for k, x in enumerate(p.inputs):
        if isinstance(x, Literal):
            inputs[k] = constant(x.value, bool_ if p.op is E.where and k == 0 else like)
    return p.op(*inputs, **p.params)


NUMBERS = [
    (3.0, 5.0),
    (0.5, 4.0),
    (-2.0, 0.0),
    (float("nan"), 1.0),
    (float("inf"), 2.0),
    (1e30, 1e30),
    (0.0, -0.0),
    (-0.0, 3.0),
]
LAYOUTS = [[()], [(7, 5)], [(5,), (7, 5)], [(7, 5), (5,), ()], [(0, 5)]]


def own_examples(p: Apply):
    """The pattern over inputs of several types and shapes."""
    if p.inputs is None:
        return
    names = wildcards(p)
    constants = any(v.name in "cd" for v in names)
    pairs = NUMBERS if constants else NUMBERS[:1]
    for dtype, layout, numbers in itertools.product((f32, f64, i32, bool_), LAYOUTS, pairs):
        shapes, values = itertools.cycle(layout), itertools.cycle(numbers)
        if dtype.kind != "float" and not all(map(np.isfinite, numbers)):
            continue
        found = {}
        for v in names:
            if v.test is not None and v.test(of(1, dtype=dtype)) and not v.test(arg(dtype=dtype)):
                found[v.name] = of(
                    next(values) % 100 if dtype.kind != "float" else next(values), dtype=dtype
                )
            else:
                fits = next(
                    t for t in (dtype, bool_, i32, f32) if v.test is None or v.test(arg(dtype=t))
                )
                found[v.name] = arg(*next(shapes), dtype=fits)
        try:
            yield built(p, found, dtype)
        except (TypeError, RuntimeError):
            continue


def elementwise_examples(op):
    """Constants only; a constant first; broadcasts that the primitive would do anyway."""
    kinds = {"logical": [bool_] * 3, "select": [bool_, f32, f32]}.get(op.types.value, [f32] * 3)
    if op.name.startswith(("bitwise", "shift", "gcd")):
        kinds = [i32] * 3
    if op.name == "random_bits":
        kinds = [i64] * 3
    if op.name.endswith("_sample"):
        kinds = [i64, f64, f64]
    n = arity(op)
    types = {E.cast: f64, E.bits: i32, E.exponent: i32}
    params = {"dtype": types[op]} if op in types else {}
    for shape in ((), (2, 3)):
        yield op(
            *(
                of(k + 0.5 if t is f32 else k, *shape, dtype=t)
                for k, t in zip(range(1, n + 1), kinds, strict=False)
            ),
            **params,
        )
    yield op(*(expand(arg(3, dtype=t), shape=(2, 3)) for t in kinds[:n]), **params)
    yield op(*(reshape(arg(3, dtype=t), shape=(1, 3)) for t in kinds[:n]), **params)
    if n > 1:
        yield op(of(1, dtype=kinds[0]), *(arg(2, 3, dtype=t) for t in kinds[1:n]))
        yield op(*(arg(2, 3, dtype=t) for t in kinds[: n - 1]), of(1, 2, 3, dtype=kinds[n - 1]))


# ---- examples for rows about params
def listed() -> list[Node]:
    x, y, z = arg(4, 6), arg(2, 3, 4), arg(1, 5, 1)
    row = expand(arg(6), shape=(4, 6))
    out = [
        reshape(x, shape=(4, 6)),
        reshape(reshape(x, shape=(24,)), shape=(3, 8)),
        reshape(of(2.0, 4), shape=(2, 2)),
        reshape(expand(arg(), shape=(4, 6)), shape=(3, 8)),
        reshape(expand(arg(1, 1), shape=(4, 6)), shape=(24,)),
        reshape(expand(arg(5, 1), shape=(2, 1, 5, 3)), shape=(2, 5, 1, 3)),
        reshape(expand(arg(4), shape=(2, 4)), shape=(8,)),
        expand(x, shape=(4, 6)),
        expand(expand(arg(3), shape=(1, 3)), shape=(5, 2, 3)),
        expand(of(1.0, 3), shape=(2, 3)),
        expand(reshape(arg(3), shape=(1, 3)), shape=(2, 3)),
        expand(reshape(arg(6), shape=(2, 3)), shape=(4, 2, 3)),
        expand(arg(3), shape=(1, 3)),
        expand(arg(1, 3), shape=(0, 3)),
        permute(x, axes=(0, 1)),
        permute(permute(y, axes=(2, 0, 1)), axes=(1, 0, 2)),
        permute(of(1.0, 2, 3), axes=(1, 0)),
        permute(z, axes=(2, 1, 0)),
        permute(z, axes=(1, 0, 2)),
        permute(expand(arg(2, 1), shape=(3, 2, 4)), axes=(2, 0, 1)),
        cut(x, slices=((0, 4, 1), (0, 6, 1))),
        cut(cut(x, slices=((1, 4, 1), (0, 6, 2))), slices=((0, 3, 2), (1, 3, 1))),
        cut(of(1.0, 5), slices=((1, 3, 1),)),
        cut(row, slices=((1, 3, 1), (0, 6, 2))),
        cut(expand(arg(4, 1), shape=(2, 4, 6)), slices=((1, 1, 1), (0, 4, 3), (2, 5, 1))),
        cut(pad(x, pads=((1, 2, 1), (0, 3, 0))), slices=((1, 8, 2), (0, 6, 1))),
        cut(pad(x, pads=((1, 2, 0), (0, 3, 0))), slices=((2, 5, 2), (1, 5, 3))),
        cut(pad(x, pads=((1, 2, 0), (0, 3, 0))), slices=((0, 5, 2), (1, 5, 3))),
        cut(pad(arg(0, 3), pads=((1, 2, 0), (0, 0, 0))), slices=((0, 3, 1), (0, 3, 1))),
        pad(x, pads=((0, 0, 0), (0, 0, 0))),
        pad(x, pads=((1, 0, 2), (0, 2, 0))) + pad(x * 2, pads=((1, 0, 2), (0, 2, 0))),
        pad(x, pads=((1, 1, 0), (0, 2, 0))) + pad(x * 2, pads=((2, 0, 0), (0, 2, 0))),
        pad(of(0.0, 2), pads=((1, 1, 0),)),
        pad(of(1.0, 2), pads=((1, 1, 0),)),
        pad(pad(x, pads=((1, 0, 2), (0, 2, 0))), pads=((1, 2, 0), (3, 0, 0))),
        pad(pad(arg(0), pads=((1, 0, 2),)), pads=((1, 2, 0),)),
        pad(pad(arg(3), pads=((1, 0, 0),)), pads=((1, 2, 1),)),
        pad(arg(1, 2), pads=((0, 0, 3), (0, 0, 0))),
        flip(z, axes=(0, 2)),
        flip(flip(y, axes=(0, 1)), axes=(1, 2)),
        flip(of(1.0, 3), axes=(0,)),
        flip(row, axes=(0, 1)),
        window(of(1.0, 2, 5), axis=1, size=3, step=1, dilation=1),
        window(arg(2, 7), axis=1, size=2, step=2, dilation=1),
        window(arg(7, 2), axis=0, size=1, step=3, dilation=4),
        window(arg(2, 7), axis=1, size=2, step=3, dilation=1),
        fold(arg(2, 3, 2), axis=1, extent=7, step=2, dilation=1),
        fold(arg(3, 2, 1), axis=0, extent=8, step=3, dilation=4),
        fold(arg(2, 3, 2), axis=1, extent=8, step=3, dilation=1),
        fold(
            fold(arg(2, 3, 2, 2, 2), axis=2, extent=5, step=2, dilation=1),
            axis=1, extent=6, step=2, dilation=1,
        ),
        fold(
            fold(arg(2, 3, 2, 2, 2), axis=2, extent=4, step=2, dilation=1),
            axis=1, extent=6, step=2, dilation=1,
        ),
        fold(of(0.0, 2, 3, 3), axis=1, extent=5, step=1, dilation=1),
        fold(of(1.0, 2, 3, 3), axis=1, extent=5, step=1, dilation=1),
        diagonal(of(1.0, 3, 3)),
        concat(x, axis=0),
        concat(x, arg(0, 6), axis=0),
        concat(arg(0, 6), arg(0, 6), axis=0),
        concat(of(1.0, 2), of(1.0, 3), axis=0),
        concat(of(1.0, 2), of(2.0, 3), axis=0),
        concat(
            cut(x, slices=((0, 2, 1), (1, 4, 1))), cut(x, slices=((2, 4, 1), (1, 4, 1))), axis=0
        ),
        concat(
            cut(x, slices=((0, 2, 1), (1, 4, 1))), cut(x, slices=((2, 4, 1), (2, 5, 1))), axis=0
        ),
        *(
            cut(concat(arg(2, 3), arg(4, 3), arg(1, 3), axis=0), slices=(s, (0, 3, 1)))
            for s in ((2, 6, 1), (3, 6, 2), (1, 4, 1), (0, 0, 1), (6, 7, 1))
        ),
        dot(arg(2, 0), arg(0, 3)),
        dot(arg(2, 1), arg(1, 3)),
        dot(arg(5, 2, 1), arg(5, 1, 3)),
        dot(arg(0, 2), arg(2, 3)),
        *(
            E.cast(E.cast(arg(7, dtype=a), dtype=b), dtype=c)
            for a in dt.ALL
            for b in dt.ALL
            for c in dt.ALL
        ),
    ]
    for op in (sum_, prod, max_, min_):
        for t in (f32, i32):
            out += [
                op(arg(2, 0, dtype=t), dims=(1,)),
                op(arg(2, 3, dtype=t), dims=()),
                op(arg(1, 3, 1, dtype=t), dims=(0, 2)),
                op(op(arg(2, 3, 4, 5, dtype=t), dims=(1,)), dims=(0, 2)),
                op(permute(arg(2, 3, 4, dtype=t), axes=(2, 0, 1)), dims=(0,)),
                op(permute(arg(2, 3, 4, dtype=t), axes=(2, 1, 0)), dims=(1, 2)),
                op(permute(arg(2, 3, 4, dtype=t), axes=(1, 2, 0)), dims=(1,)),
                op(reshape(arg(2, 6, dtype=t), shape=(3, 4)), dims=(0, 1)),
                op(reshape(arg(2, 6, dtype=t), shape=(3, 4)), dims=(0,)),
                op(expand(arg(3, 1, dtype=t), shape=(2, 3, 4)), dims=(0, 1)),
                op(expand(arg(dtype=t), shape=(2, 3)), dims=(0, 1)),
                op(of(2, 2, 3, dtype=t), dims=(0,)),
                op(-arg(2, 3, dtype=t), dims=(1,)),
                op(arg(2, 3, dtype=t) * 3, dims=(1,)),
                op(arg(3, dtype=t) * of(3, 2, 3, dtype=t), dims=(0,)),
            ]
    h = dt.float16
    for t in dt.ALL:  # what is padded to 3 x 9: begin, end; in parts, with gaps, over one another
        def part(at, n, t=t, rows=(0, 0, 0)):
            return pad(arg(3, n, dtype=t), pads=(rows, (at, 9 - at - n, 0)))

        out += [
            part(0, 4) + part(4, 5), part(5, 4) + part(0, 5), part(2, 3) + part(5, 1),
            (part(6, 3) + part(0, 3)) + part(3, 3), part(0, 4) + part(5, 4),
            part(0, 5) + part(4, 5), part(2, 3) + part(2, 3), part(0, 0) + part(0, 9),
            part(0, 4, rows=(1, 0, 2)) + part(4, 2, rows=(1, 0, 2)),
            part(0, 4, rows=(1, 0, 0)) + part(4, 5, rows=(0, 1, 0)),
            pad(arg(3, 2, dtype=t), pads=((0, 0, 0), (1, 0, 1))) + pad(
                arg(3, 2, dtype=t), pads=((0, 0, 0), (0, 1, 1))),
            pad(concat(arg(3, dtype=t), arg(1, dtype=t), axis=0), pads=((0, 2, 0),))
            + pad(arg(2, dtype=t), pads=((4, 0, 0),)),
        ]
    return out + [
        sum_(arg(3) / 3, dims=(0,)),
        sum_(expand(arg(1, dtype=h), shape=(3,)), dims=(0,)),
        sum_(arg(3, dtype=h) * 3, dims=(0,)),
        sum_(expand(arg(1, dtype=h), shape=(70000,)), dims=(0,)),
        sum_(arg(3, dtype=bool_), dims=(0,)),
        sum_(expand(arg(dtype=bool_), shape=(3,)), dims=(0,)),
    ]


LISTED = listed()
MILD = {repr(row) for row in stability.rows}


def examples(row):
    op = row.pattern.op
    yield from own_examples(row.pattern)
    if row.pattern.inputs is None and op.kind is Kind.ELEMENTWISE:
        yield from elementwise_examples(op)
    yield from (y for y in LISTED if y.op is op)
