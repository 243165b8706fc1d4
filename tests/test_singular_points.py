"""Every rule, to second order, where it may go wrong (singular.py has the points): interpreted,
eagerly and as kernels.

Where the function has derivatives they are those of differences, which see what is around the
point; where it has none they are what torch says, or not finite.
"""

from __future__ import annotations

import numpy as np
import pytest
import singular
from registry import SAMPLERS, projected, slope, weights
from test_gradients import leaves, orders, slopes, total

import tracegrad as tg
from tracegrad.codegen.build import build
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import input_node
from tracegrad.ir.simplify import simplify
from tracegrad.ir.value import REGISTRY
from tracegrad.ir.verify import verify
from tracegrad.runtime.cpu import python_executor

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


def listed(table):
    return [pytest.param(*case, id=f"{name}-{k}") for name in table
            for k, case in enumerate(table[name])]


def test_every_rule_is_tried_where_it_is_singular():
    rules = {op.name for op in REGISTRY.values()
             if op.vjp is not None and (callable(op.vjp) or any(op.vjp))}
    tables = (singular.SMOOTH, singular.CHOSEN, singular.PUBLIC, singular.NONE)
    tried = {name for table in tables for name, cases in table.items() if cases}
    assert rules - tried - {*SAMPLERS} == set()


def graph_of(f, arrays):
    """Value, gradients, their sum and its gradients."""
    xs = tuple(input_node(a.shape, dt.float64) for a in arrays)
    loss = projected(f, xs)
    first = slopes(loss, xs)
    return verify(Graph(xs, (loss, *first, total(first), *slopes(total(first), xs))))


def same(found, wanted, rtol=1e-9):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("f, arrays", listed(singular.SMOOTH))
def test_smooth_points_have_the_derivatives_of_differences(f, arrays):
    graph = graph_of(f, arrays)
    values, n = interpret(graph, *arrays), len(arrays)
    rng = np.random.default_rng(0)
    for _ in range(3):
        directions = [rng.uniform(-1, 1, a.shape) for a in arrays]
        for at in (0, n + 1):
            grads = values[at + 1 : at + 1 + n]
            got = sum(float((g * v).sum()) for g, v in zip(grads, directions, strict=True))
            want = slope(Graph(graph.inputs, graph.outputs[at : at + 1]), arrays, directions, 1e-3)
            assert got == pytest.approx(want, rel=1e-6, abs=1e-6)
    with np.errstate(all="ignore"):
        same([x.detach().numpy() for x in orders(graph, leaves(arrays))], values)
        same(python_executor.execute(build(simplify(graph)), [a.copy() for a in arrays]), values)


@pytest.mark.parametrize("f, arrays, order", listed(singular.NONE))
def test_what_has_no_derivative_has_no_finite_one(f, arrays, order):
    graph = graph_of(f, arrays)
    values = interpret(graph, *arrays)
    one = values[1 if order == 1 else len(arrays) + 2]
    assert not np.isfinite(one).all()


@pytest.mark.parametrize("name", singular.CHOSEN)
def test_where_torch_chooses_a_derivative_it_is_torchs(name):
    ours, theirs = singular.CHOSEN[name]
    arrays = singular.points(name)
    xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    w = torch.tensor(interpret(Graph((), (weights(arrays[0].shape),)))[0])
    first = torch.autograd.grad((theirs(torch, *xs) * w).sum(), xs, create_graph=True)
    live = [g for g in first if g.requires_grad]
    second = [None] * len(xs)
    if live:
        second = torch.autograd.grad(sum((g * w).sum() for g in live), xs, allow_unused=True)
    want = [np.zeros_like(arrays[0]) if g is None else g.numpy(force=True)
            for g in (*first, *second)]
    graph = graph_of(ours, arrays)
    n = len(arrays)
    elementwise = [*range(1, n + 1), *range(n + 2, 2 * n + 2)]
    with np.errstate(all="ignore"):
        interpreted = interpret(graph, *arrays)
        eager = [x.detach().numpy() for x in orders(graph, leaves(arrays))]
        kernels = python_executor.execute(build(simplify(graph)), [a.copy() for a in arrays])
    for found in (interpreted, eager, kernels):
        same([found[k] for k in elementwise], want, rtol=1e-8)


def answers(lib, f, xs):
    """The value, the gradients, and their gradients, of what was given too."""
    y = f(lib, *xs)
    c = lib.ones_like(y).detach().requires_grad_()
    first = lib.autograd.grad(y, xs, c, create_graph=True, allow_unused=True)
    live = [g for g in first if g is not None and g.requires_grad]
    second = [None] * (len(xs) + 1)
    if live:
        ones = [lib.ones_like(g) * (k + 1) for k, g in enumerate(live)]
        second = lib.autograd.grad(live, [*xs, c], ones, allow_unused=True)
    zeros = [*(lib.zeros_like(x) for x in xs), *(lib.zeros_like(x) for x in (*xs, c))]
    grads = [z if g is None else g for g, z in zip((*first, *second), zeros, strict=True)]
    return [y.detach(), *(g.detach() for g in grads)]


def of_torch(f, arrays):
    xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    return [x.numpy(force=True) for x in answers(torch, f, xs)]


def of_ours(f, arrays, around=lambda g: g):
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    return [x.numpy() for x in around(lambda *xs: answers(tg, f, xs))(*xs)]


PUBLIC = listed(singular.PUBLIC)


@pytest.mark.parametrize("f, arrays", PUBLIC)
def test_functions_have_torchs_derivatives_at_kinks_and_ties(f, arrays):
    same(of_ours(f, arrays), of_torch(f, arrays))


@pytest.mark.parametrize("f, arrays", PUBLIC[::40])
def test_compiled_functions_have_them_too(f, arrays):
    same(of_ours(f, arrays, tg.compile), of_torch(f, arrays))


@pytest.mark.slow
@pytest.mark.parametrize("f, arrays", PUBLIC)
def test_compiled_functions_have_them_everywhere(f, arrays):
    same(of_ours(f, arrays, tg.compile), of_torch(f, arrays))
