"""Programs that have every primitive between them, for kernels of GPUs: (name, graph, inputs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import registry
import test_codegen_dtypes as dtypes
from graphs import floats, integers

from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import input_node
from tracegrad.ir.ops import (
    band,
    elementwise as el,
    index,
    movement,
    order,
    prefix,
    random,
    reduce as red,
    samplers,
    slopes,
)
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.loop import branch, loop, loop_while
from tracegrad.ir.value import REGISTRY

Example = tuple[str, Graph, list[np.ndarray]]


def _numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def of_types() -> Iterator[Example]:
    """Elementwise primitives, casts and reductions in every type."""
    for d in dt.ALL:
        a, b = (np.ascontiguousarray(x.ravel()[::7]) for x in dtypes.pairs(d))
        x, y = input_node(a.shape, d), input_node(b.shape, d)
        made = list(dtypes.applied(d, x, y).values())
        yield f"elementwise of {d.name}", Graph((x, y), tuple(made)), [a, b]
        small = d.encode(np.arange(2).astype(d.compute))
        z = input_node(small.shape, d)
        casts = [el.cast(z, dtype=t) for t in dt.ALL if t is not d]
        yield f"casts of {d.name}", Graph((z,), tuple(casts)), [small]
        cube = d.encode(np.random.default_rng(0).integers(0, 2, (3, 10, 9)).astype(d.compute))
        w = input_node(cube.shape, d)
        some = (red.max, red.min) if d is dt.bool_ else (red.sum, red.prod, red.max, red.min)
        results = [op(w, dims=dims) for op in some for dims in ((0, 1), (1, 2), (0, 1, 2))]
        yield f"reductions of {d.name}", Graph((w,), tuple(results)), [cube]


def of_templates() -> Iterator[Example]:
    """What has launches of its own, in every type."""
    for d in dt.ALL:
        x, i, v = input_node((3, 7), d), integers(4), input_node((4, 7), d)
        y = order.searchsorted(input_node((5,), d), x, right=True)
        made = [
            movement.concat(x, v, axis=0), movement.pad(x, pads=((1, 0, 0), (0, 2, 1))),
            index.index(x, i, axes=(0,)), index.index_put(x, v, i, axes=(0,), accumulate=False),
            order.argsort(x, axis=1, descending=True), y,
            order.top(x, axis=0, descending=False, count=2),
            prefix.cummax(x, axis=1, reverse=False),
        ]
        graph = Graph((x, i, v, y.inputs[0]), tuple(made))
        a, b, c = (d.encode(np.random.default_rng(k).integers(0, 2, n).astype(d.compute))
                   for k, n in enumerate(((3, 7), (4, 7), (5,))))
        yield f"templates of {d.name}", graph, [a, np.array([2, 0, 1, 2]), b, np.sort(c)]


def of_shapes() -> Iterator[Example]:
    """All that have a derivative, on shapes of all kinds."""
    for name, f, shapes, domain, number in registry.ALL:
        inputs = tuple(input_node(s, dt.float64) for s in shapes)
        yield name, Graph(inputs, (f(*inputs),)), registry.draw(shapes, domain, number)


def others() -> Iterator[Example]:
    x, i, k = floats(3, 13), integers(4), integers(13)
    a = _numbers(3, 13)
    for op in (prefix.cummax, prefix.cummin):
        yield op.name, Graph((x,), (op(x, axis=1, reverse=False), op(x, axis=0, reverse=True))), [a]
    a[1, 3:6], a[2, 0] = a[1, 3], np.nan
    for down in (False, True):
        ways = [order.argsort(x, axis=axis, descending=down) for axis in (0, 1)]
        ways += [order.top(x, axis=axis, descending=down, count=2) for axis in (0, 1)]
        yield f"order {down}", Graph((x,), tuple(ways)), [a]
    rows, sought = floats(5), floats(2, 3)
    places = [order.searchsorted(rows, sought, right=right) for right in (False, True)]
    yield "searchsorted", Graph((rows, sought), tuple(places)), [np.arange(5.0), _numbers(2, 3)]
    terms = tuple(floats(5, 40) for _ in range(4))
    numbers = [_numbers(5, 40, seed=s) for s in range(4)]
    for op, n in ((band.band, 4), (band.log_band, 3)):
        y = op(*terms[:n], axis=0, reverse=False)
        yield op.name, Graph(terms[:n], (y,)), numbers[:n]
    whole, ones = np.array([0, -2, 3, 1]), np.array([1, 2, -1, 4])
    j = integers(4)
    checks = (
        el.check_index(i, size=4, dim=0), el.check_divisor(j),
        el.check_label(i, size=4, ignore=-2, dtype=dt.int32), el.bits(k, dtype=dt.float64),
        random.random_bits(k, k),
    )
    yield "checks and bits", Graph((i, j, k), checks), [whole, ones, np.arange(13)]
    y = floats(3)
    of_three = [REGISTRY[name](y, y, y) for name in ("xlogy_linear", "xlog1py_linear")]
    seeds, parameter = np.arange(-4, 4), np.array([0.3, 1.0, 2.5, 9.0, 10.0, 30.0, 200.0, 1e4])
    words, f = integers(8), input_node((8,), dt.float64)
    samples = (
        samplers.log_gamma_sample(words, f), samplers.poisson_sample(words, f),
        samplers.binomial_sample(words, f, el.exp(-f) * 0.9), samplers.angle_sample(words, f),
        slopes.gamma_slope(f, f * 0.9), slopes.beta_slope(f * 1e-5, f, f * 3.0),
        samplers.gamma_sample(f, f), samplers.dirichlet_sample(f, f),
    )
    yield "samplers", Graph((words, f), samples), [seeds, parameter]
    yield "values beside their derivatives", Graph((y,), tuple(of_three)), [_numbers(3)]


def of_control() -> Iterator[Example]:
    h, x = floats(3), floats(3)
    body = Graph((h, x), (el.tanh(h + x), h * x))
    h0, xs = floats(3), floats(5, 3)
    how = {"body": body, "carried": 1, "sliced": 1, "length": 5, "reverse": False}
    results = tuple(loop(h0, xs, **how, result=k) for k in range(2))
    yield "loop", Graph((h0, xs), results), [_numbers(3), _numbers(5, 3)]
    below, n, m = integers(), integers(), integers()
    cond, step = Graph((below,), (el.lt(below, 5),)), Graph((n,), (n + 2,))
    until = loop_while(m, cond=cond, body=step, carried=1, capacity=None, result=0)
    yield "loop_while", Graph((m,), (until,)), [np.array(0)]
    p, z, u, v = input_node((), dt.bool_), floats(3), floats(3), floats(3)
    chosen = branch(p, z, then=Graph((u,), (u * 2.0,)), other=Graph((v,), (-v,)), result=0)
    yield "branch", Graph((p, z), (chosen,)), [np.array(False), _numbers(3)]


def of_sizes() -> Iterator[Graph]:
    """What is long enough for launches of several stages, and for vectors. Not to be run here."""
    x, y, z = floats(2, 5000), floats(5000, 8), input_node((3, 40, 900), dt.float32)
    yield Graph((x,), (order.argsort(x, axis=1, descending=False), el.exp(x) * 2.0))
    yield Graph((x, y), (red.sum(x, dims=(1,)), red.max(y, dims=(0,)), red.min(x, dims=(0, 1))))
    yield Graph((z,), (red.sum(z, dims=(1, 2)), red.prod(el.cast(z, dtype=dt.int32), dims=(0, 2))))
    u, v = input_node((20_000,), dt.float32), input_node((3, 9000), dt.bfloat16)
    scans = prefix.cumsum(u, axis=0, reverse=False), prefix.cummax(v, axis=1, reverse=True)
    yield Graph((u, v), (*scans, order.top(v, axis=1, descending=True, count=9)))
    many, where = input_node((3_000_000_019, 2), dt.int8), integers(5_000_000_029)
    yield Graph((many, where), (index.index(many, where, axes=(0,)),))
    w, a, b = floats(2, 30_000), floats(64, 20), floats(20, 48)
    product = el.relu(dot(a, b))
    yield Graph((w, a, b), (red.sum(w, dims=(1,)), product, red.sum(product, dims=(0,))))
    a, b = floats(8, 1000), floats(1000, 6)
    yield Graph((a, b), (el.tanh(dot(a, b)),))


KINDS: dict[str, Callable[[], Iterator[Example]]] = {
    "types": of_types, "templates": of_templates, "shapes": of_shapes, "others": others,
    "control flow": of_control,
}
