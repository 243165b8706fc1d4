"""What a gradient costs, counted on the graph and not timed: the promise of reverse mode.

The cost of an elementwise operation is its record's, per element; a reduction is an addition per
element that it reads; a product of (m, k) and (k, n) is 2 m k n.
"""

from __future__ import annotations

import math

import pytest

import tracegrad as tg
import tracegrad.nn.functional as F
from tracegrad.ir.graph import Graph
from tracegrad.ir.op import Kind


def elementwise(graph: Graph) -> int:
    nodes = graph.order()
    points = sum(n.op.cost * n.size for n in nodes if n.op.kind is Kind.ELEMENTWISE)
    return points + sum(n.inputs[0].size for n in nodes if n.op.kind is Kind.REDUCE)


def flops(graph: Graph) -> int:
    return sum(
        2 * n.size * n.inputs[0].shape[-1] for n in graph.order() if n.op.kind is Kind.CONTRACT
    )


def graphs(f, *shapes) -> tuple[Graph, Graph]:
    """Of the value; and of the value and all gradients."""
    tg.manual_seed(0)
    xs = [(tg.rand(s, dtype=tg.float64) + 0.5).requires_grad_() for s in shapes]

    @tg.compile
    def value(*xs):
        return f(*xs).sum()

    @tg.compile
    def both(*xs):
        y = f(*xs).sum()
        return y, tg.autograd.grad(y, xs)

    with tg.no_grad():
        value(*xs)
    both(*xs)
    return value.graph(), both.graph()


CHAINS = {
    "polynomial": lambda x: ((((x * 0.3 + 1.1) * x - 0.7) * x + 2.3) * x - 0.1) * x + 0.9,
    "a chain of ten": lambda x: (((x * 2 + 1).exp() - 3) / 4).tanh().abs().sqrt().neg().sin() + 1,
    "trigonometry": lambda x: (x.sin() * x.cos()).tanh() + (x * x + 1).log(),
    "sigmoid and log": lambda x: x.sigmoid().log() + (1 + x.exp()).log(),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "softplus": F.softplus,
    "silu": F.silu,
    "softmax": lambda x: tg.softmax(x, -1) ** 2,
    "log_softmax": lambda x: tg.log_softmax(x, -1) * 0.7,
    "a layer norm": lambda x: (x - x.mean(-1, True)) * (x.var(-1, keepdim=True) + 1).rsqrt(),
    "norms": lambda x: (x * x).sum(-1).sqrt() + x.exp().mean(-1),
    "powers": lambda x: x**3 + x**2.5 + x**-1,
}
OTHERS = {  # of several inputs
    "a ratio": (lambda a, b: ((a * b + a) / (b * b + 1)).exp(), (5, 7), (7,)),
    "a distance": (lambda a, b: ((a - b) ** 2).sum(-1).sqrt(), (5, 7), (5, 7)),
    "a gate": (lambda a, b, c: a.sigmoid() * b.tanh() + (1 - a.sigmoid()) * c, (6,), (6,), (6,)),
}
PROGRAMS = {name: (f, (5, 7)) for name, f in CHAINS.items()} | OTHERS


@pytest.mark.parametrize("name", PROGRAMS)
def test_value_and_gradient_cost_at_most_three_values(name):
    f, *shapes = PROGRAMS[name]
    value, both = graphs(f, *shapes)
    assert 0 < elementwise(value) < elementwise(both) <= 3 * elementwise(value)


CONTRACTIONS = {  # function, shapes, and the flops of value and of value with gradients
    "a product": (lambda a, b: a @ b, [(3, 4), (4, 5)], 3),
    "a product of batches": (lambda a, b: a @ b, [(2, 3, 4), (2, 4, 5)], 3),
    "a batch by one matrix": (lambda a, b: a @ b, [(2, 3, 4), (4, 5)], 3),
    "matrix and vector": (lambda a, b: tg.mv(a, b), [(3, 4), (4,)], 3),
    "einsum": (lambda a, b: tg.einsum("bij,bkj->bik", a, b), [(2, 3, 4), (2, 5, 4)], 3),
    "a linear layer": (lambda x, w, b: F.linear(x, w, b).tanh(), [(6, 4), (5, 4), (5,)], 3),
    "two layers": (lambda x, w, v: (x @ w).relu() @ v, [(6, 4), (4, 5), (5, 3)], 3),
    "attention": (
        lambda q, k, v: tg.softmax(q @ k.mT, -1) @ v,
        [(2, 6, 4), (2, 5, 4), (2, 5, 3)],
        3,
    ),
}


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_a_gradient_costs_one_product_per_operand(name):
    f, shapes, times = CONTRACTIONS[name]
    value, both = graphs(f, *shapes)
    assert 0 < flops(value)
    assert flops(both) <= times * flops(value)


def test_a_product_costs_what_is_counted():
    value, _ = graphs(lambda a, b: a @ b, (3, 4), (4, 5))
    assert flops(value) == 2 * math.prod((3, 4, 5))
