"""Every primitive with a derivative, to second order, on inputs that lie in memory in every way:
interpreted, eagerly, as kernels, and compiled.

Random projection: for F(x) = sum(w * op(x)) and a random direction v, the derivative of F along v
is one number, known from central differences, and so is sum(grad F * v). A weighted sum of that
gradient, differentiated once more, tests the second order.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from graphs import gradients
from registry import ALL, LAYOUTS, SAMPLERS, draw, laid, projected, slope, weights

import tracegrad as tg
from tracegrad.codegen.build import build
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import constant, input_node
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.ir.strides import View
from tracegrad.ir.value import REGISTRY
from tracegrad.ir.verify import verify
from tracegrad.runtime.cpu import python_executor
from tracegrad.tracer.autograd import operands_read

NAMES = [case[0] for case in ALL]


def total(grads):
    """One number of all gradients."""
    out = constant(0.0, dt.float64)
    for g in grads:
        out = out + sum_(g * weights(g.shape), dims=tuple(range(g.ndim)))
    return out


def slopes(y, xs):
    found = gradients([(y, constant(1.0, dt.float64))], xs)
    return [
        constant(0.0, x.dtype, x.shape) if g is None else g for g, x in zip(found, xs, strict=True)
    ]


@cache
def problem(number, turn=0):
    """A case as a graph of value, gradients, their sum and its gradients; and arrays for it."""
    _, f, shapes, domain, _ = ALL[number]
    xs = tuple(input_node(shape, dt.float64) for shape in shapes)
    loss = projected(f, xs)
    first = slopes(loss, xs)
    graph = verify(Graph(xs, (loss, *first, total(first), *slopes(total(first), xs))))
    ways = [LAYOUTS[(number + k + turn) % 4] for k in range(len(xs))]
    arrays = [laid(x, way) for x, way in zip(draw(shapes, domain), ways, strict=True)]
    return graph, arrays, ways


def agree(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_every_primitive_with_a_rule_has_a_case():
    with_rule = {
        op.name
        for op in REGISTRY.values()
        if op.vjp is not None and (callable(op.vjp) or any(op.vjp))
    }
    assert with_rule - {name.split("-")[0] for name in NAMES} == {*SAMPLERS}


@pytest.mark.parametrize("number", range(len(ALL)), ids=NAMES)
def test_both_derivatives_are_those_of_central_differences(number):
    graph, arrays, ways = problem(number)
    rng = np.random.default_rng(number)
    directions = [
        laid(rng.uniform(-1, 1, x.shape), way) for x, way in zip(arrays, ways, strict=True)
    ]
    values, n = interpret(graph, *arrays), len(arrays)
    for at in (0, n + 1):
        grads = values[at + 1 : at + 1 + n]
        got = sum(float((g * v).sum()) for g, v in zip(grads, directions, strict=True))
        want = slope(Graph(graph.inputs, graph.outputs[at : at + 1]), arrays, directions, 1e-3)
        assert got == pytest.approx(want, rel=1e-6, abs=1e-6)
    agree(interpret(simplify(graph, check=verify), *arrays), values)


def on_tensors(node, known):
    """What a Node is of Tensors."""
    if node not in known:
        if not node.inputs:
            known[node] = tg.from_numpy(interpret(Graph((), (node,)))[0])
        else:
            inputs = tuple(on_tensors(x, known) for x in node.inputs)
            known[node] = tg.Tensor.bind(node.op, inputs, node.params)
    return known[node]


def orders(graph, tensors):
    """Value, gradients, their sum and its gradients, by the autograd graph."""
    known = dict(zip(graph.inputs, tensors, strict=True))
    loss = on_tensors(graph.outputs[0], known)
    first = tg.autograd.grad(loss, tensors, create_graph=True, materialize_grads=True)
    number = tg.zeros((), dtype=tg.float64)
    for g in first:
        number = number + (g * on_tensors(weights(tuple(g.shape)), {})).sum()
    if not number.requires_grad:
        return loss, *first, number, *(tg.zeros_like(x) for x in tensors)
    second = tg.autograd.grad(number, tensors, materialize_grads=True)
    return loss, *first, number, *second


def leaves(arrays):
    tensors = [tg.from_numpy(x).requires_grad_() for x in arrays]
    for x, a in zip(tensors, arrays, strict=True):  # they lie as was said, where they lie at all
        assert not a.size or x.stride() == tuple(s // 8 for s in a.strides)
    return tensors


def numpy(tensors):
    return [x.detach().numpy() for x in tensors]


@pytest.mark.parametrize("number", range(len(ALL)), ids=NAMES)
def test_tensors_have_these_derivatives(number):
    graph, arrays, _ = problem(number)
    agree(numpy(orders(graph, leaves(arrays))), interpret(graph, *arrays))


@pytest.mark.parametrize("number", range(len(ALL)), ids=NAMES)
def test_kernels_compute_these_derivatives(number):
    graph, arrays, _ = problem(number)
    layouts = {
        x: View(a.shape, tuple(s // 8 for s in a.strides))
        for x, a in zip(graph.inputs, arrays, strict=True)
    }
    got = python_executor.execute(build(simplify(graph), {}, layouts), arrays)
    agree(got, interpret(graph, *arrays))


def compiled(number, turn):
    graph, arrays, _ = problem(number, turn)
    step = tg.compile(lambda *xs: orders(graph, xs))
    agree(numpy(step(*leaves(arrays))), interpret(graph, *arrays))


@pytest.mark.parametrize("number", range(3, len(ALL), 40), ids=NAMES[3::40])
def test_compiled_tensors_have_these_derivatives(number):
    compiled(number, turn=1)


# in a compiled function, `to_device` takes a tensor of the host to a GPU (test_devices*.py)
COMPILED = [k for k, name in enumerate(NAMES) if name.split("-")[0] != "to_device"]


@pytest.mark.slow
@pytest.mark.parametrize("number", COMPILED, ids=[NAMES[k] for k in COMPILED])
def test_compiled_tensors_have_these_derivatives_in_other_layouts(number):
    compiled(number, turn=number % 2 * 2)  # by turns: every primitive has several cases


@pytest.mark.parametrize("first", [(), (1,), (0, 2), (1, 1)])
def test_a_product_of_nothing_leaves_other_products_their_gradients(first):
    operands_read._reads.clear()
    for shape in (first, (3,), (2, 3)):
        x = tg.full(shape, 2.0, requires_grad=True)
        (g,) = tg.autograd.grad(x.prod(), x)
        assert (g == 2.0 ** (x.numel() - 1)).all()
