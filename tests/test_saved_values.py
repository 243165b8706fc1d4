"""What a compiled forward saves, and what its backward computes again; and the cut that decides."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import tracegrad as T
from tracegrad.ir.graph import siblings_key
from tracegrad.ir.minimum_cut import Network
from tracegrad.ir.op import Lowering
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot


def cost_of(edges, side):
    return sum(c for a, b, c in edges if a in side and b not in side)


def test_a_cut_is_the_cheapest_of_all():
    draw = random.Random(5)
    for _ in range(40):
        inner = "abcd"
        pairs = [*itertools.permutations(inner, 2), *(("s", x) for x in inner),
                 *((x, "t") for x in inner)]
        edges = [(a, b, draw.randint(0, 9)) for a, b in pairs if draw.random() < 0.6]
        network = Network()
        for edge in edges:
            network.add(*edge)
        side = network.source_side("s", "t")
        sides = ({"s", *some} for n in range(5) for some in itertools.combinations(inner, n))
        assert "s" in side and "t" not in side
        assert cost_of(edges, side) == min(cost_of(edges, other) for other in sides)


def derivative_of(f, *xs):
    compiled = T.compile(f)
    compiled(*xs).backward()
    entry = compiled.tracegrad_state.latest()
    return entry.derivative, entry.low.graph()


def saved_ops(f, *xs):
    derivative, graph = derivative_of(f, *xs)
    return [y.op for y in graph.outputs[len(graph.outputs) - len(derivative.saved) :]]


def large(seed=0):
    x = np.random.default_rng(seed).standard_normal((1100, 1100)).astype(np.float32)
    return T.from_numpy(x).requires_grad_()


def test_what_costs_less_than_memory_is_computed_again():
    assert saved_ops(lambda x: (x.exp() * x).sum(), large()) == []


def test_a_costly_value_is_saved():
    assert el.pow in saved_ops(lambda x: ((x * x + 1) ** 1.7 * (x * x + 1).log()).sum(), large())


def test_of_a_chain_with_two_operands_the_shortest_part_is_saved():
    def f(x, y):
        z = (x @ y) + (y @ x)
        return (z * z * z).sum()

    assert saved_ops(f, large(), large(1)) == [el.add]


def test_small_values_are_not_worth_a_buffer():
    x = T.linspace(0.1, 1, 7).requires_grad_()
    assert saved_ops(lambda x: (x.exp() * x.log() * x.tanh()).sum(), x) == []


def test_a_product_is_not_computed_again():
    x = T.randn(64, 64).requires_grad_()
    assert dot in saved_ops(lambda x: ((x @ x) ** 2).sum(), x)


def test_what_only_backward_needs_is_left_to_it():
    _, graph = derivative_of(lambda x: x.sin().sum(), large())
    assert el.cos not in [n.op for n in graph.order()]


def test_a_loop_runs_once():
    w = (T.randn(8, 8) * 0.2).requires_grad_()

    def f(x):
        return T.scan(lambda h, x: ((y := T.tanh(h @ w + x)), y), T.zeros(4, 8), x)[1].sum()

    derivative, graph = derivative_of(f, T.randn(300, 4, 8))
    (backward,) = derivative.backwards.values()
    assert len({siblings_key(n) for n in graph.order() if n.op.lowering is Lowering.BODY}) == 1
    assert len(backward.program.loops) == 1


CASES = {
    "a chain": lambda x, w: (w * x.tanh() * (-x * x).exp() + x.sin().cos()).sum(),
    "powers": lambda x, w: ((x.abs() + 0.1) ** w.sigmoid() + (x.abs() + 1).log1p()).mean(),
    "rows": lambda x, w: (T.softmax(x, 1) * w).sum(),
    "a norm": lambda x, w: T.nn.functional.gelu(
        T.nn.functional.layer_norm(x, (x.shape[1],)) * w).sum(),
    "products": lambda x, w: ((x @ w.T).relu() @ w).square().mean(),
    "dropout": lambda x, w: (T.nn.functional.dropout(x, 0.5) * w).square().sum(),
    "gathers": lambda x, w: (x[:, [0, 2, 0]].exp() * w[0, 0]).sum(),
    "a value written in place": lambda x, w: ((x * w).mul_(2).add_(w) ** 2).sum(),
}


@pytest.mark.parametrize("shape", [(5, 3), (70, 33), (700, 400)])
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_eager(name, shape):
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape) for _ in range(2)]
    results = []
    for f in (CASES[name], T.compile(CASES[name])):
        T.manual_seed(4)
        x, w = (T.from_numpy(a.copy()).requires_grad_() for a in arrays)
        loss = f(x, w)
        loss.backward()
        results.append((loss.detach(), x.grad, w.grad))
    for e, c in zip(*results, strict=True):
        assert e is not None and c is not None
        np.testing.assert_allclose(c.numpy(), e.numpy(), rtol=1e-10, atol=1e-12)
