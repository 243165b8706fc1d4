"""Elementwise values beside the long sum of their shape: one loop computes both."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as T
from tracegrad.codegen.schedule.folding import folded, folds_of
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import input_node
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.elementwise import exp
from tracegrad.ir.ops.reduce import max as max_, sum as sum_
from tracegrad.ir.verify import verify


def both(x):
    """A value, its gradient, and more of the same shape."""
    x = x.detach().requires_grad_()
    y = (T.tanh(x) * T.exp(-x * x)).sum()
    (g,) = T.autograd.grad(y, x)
    return y.detach(), g, (x * 2).detach()


def numbers(*shape, seed=0):
    return T.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def agree(f, *args):
    compiled = T.compile(f)
    for c, e in zip(compiled(*args), f(*args), strict=True):
        assert c.shape == e.shape and c.stride() == e.stride()
        np.testing.assert_allclose(c.numpy(), e.numpy(), rtol=1e-11, atol=1e-12)
    return compiled.program()


@pytest.mark.parametrize("shape", [(40_000,), (8, 12_000), (20_000, 3), (40_009,), (3, 20_000, 2)])
def test_a_loss_and_its_gradient_are_those_of_eager(shape):
    agree(both, numbers(*shape))


def test_a_loss_and_its_gradient_share_a_loop():
    program = agree(both, numbers(400_000))
    assert len(program.launches) == 2  # and the sum of the sums of parts


def test_operands_that_do_not_lie_as_usual_are_read_where_they_lie():
    x = numbers(40_000, 2)
    for view in (x[:, 1], x[:, 0].flip(0), x[::2, 1]):
        agree(both, view)


def test_what_is_broadcast_gets_the_axis_too():
    def f(x, row, column, one):
        y = x * row + column - one
        return (y * y).sum(), y, y.amax()

    agree(f, numbers(8, 12_000), numbers(12_000), numbers(8, 1), numbers(1, 1))


def test_an_update_in_place_is_made_in_the_loop_of_the_loss():
    def trained(compile):
        x = numbers(400_000).requires_grad_()
        optimizer = T.optim.SGD([x], lr=0.1)

        def step():
            optimizer.zero_grad()
            loss = ((x - 1) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        step = T.compile(step) if compile else step
        losses = [step().item() for _ in range(3)]
        return losses, x.detach().numpy(), step

    losses, x, step = trained(True)
    wanted, y, _ = trained(False)
    np.testing.assert_allclose(losses, wanted, rtol=1e-12)
    np.testing.assert_allclose(x, y, rtol=1e-12)
    program = step.program()
    assert program.commit == len(program.launches)  # nothing is copied at the end


def test_an_input_that_a_later_pass_reads_is_not_overwritten_before():
    def f(x):
        y = x - x.amax()
        z = (x * 2).sum()
        x.mul_(0.5)
        return (y * z).sum(), y

    x, w = numbers(40_000), numbers(40_000)
    agree(lambda x: f(x.clone()), x)
    eager = f(w)
    compiled = T.compile(f)(x)
    np.testing.assert_allclose(x.numpy(), w.numpy(), rtol=1e-12)
    np.testing.assert_allclose(compiled[1].numpy(), eager[1].numpy(), rtol=1e-12)


def graph_of(f, *shapes):
    inputs = tuple(input_node(shape, dt.float64) for shape in shapes)
    return Graph(inputs, f(*inputs))


def test_a_folded_graph_computes_the_same():
    graph = graph_of(lambda x, y: (y := exp(x) * y, sum_(y, dims=(0, 1)), max_(y, dims=(1,))),
                     (3, 90_000), (90_000,))
    new = verify(folded(graph))
    assert new.outputs[1] is not graph.outputs[1]
    arrays = [numbers(*x.shape).numpy() for x in graph.inputs]
    for a, b in zip(interpret(graph, *arrays), interpret(new, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_shapes_stay_where_folding_would_part_them():
    short = graph_of(lambda x: (sum_(x * 2, dims=(0,)),), (300,))
    products = graph_of(lambda x, y: (sum_(dot(x, y), dims=(0, 1)),), (4, 6), (6, 20_000))
    down = graph_of(lambda x: (sum_(x, dims=(0, 1)), sum_(x, dims=(0,))), (40_000, 2))
    prime = graph_of(lambda x: (sum_(x * 2, dims=(0,)),), (40_009,))
    for graph in (short, products, down, prime):
        assert not folds_of(graph.order()) and folded(graph) is graph
