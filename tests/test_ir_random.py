"""Random graphs: simplification keeps their values, the IR's law, and finds its end."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import arrays, grown, joint, steps
from hypothesis import given, settings, strategies as st

from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.ops.elementwise import tanh
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.ir.verify import verify


@settings(max_examples=250, deadline=None)
@given(steps(), st.integers(0, 9), st.booleans())
def test_simplify_keeps_every_value_and_the_law(drawn, seed, special):
    graph, _ = grown(drawn)
    simple = simplify(verify(graph), check=verify)
    given = arrays(seed, special)
    for got, want in zip(interpret(simple, *given), interpret(graph, *given), strict=True):
        assert got.shape == want.shape
        np.testing.assert_array_equal(got, want)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(steps())
def test_simplify_twice_is_simplify_once(drawn):
    graph, _ = grown(drawn)
    once = simplify(graph)
    assert simplify(once).outputs == once.outputs


@settings(max_examples=100, deadline=None)
@given(steps(), st.integers(0, 9))
def test_simplified_gradients_are_the_gradients(drawn, seed):
    graph, _ = grown(drawn)
    y = tanh(graph.outputs[-1] * 0.25)
    loss = sum_(y, dims=tuple(range(y.ndim)))
    both = joint(Graph(graph.inputs, (loss,)), graph.inputs)
    simple = simplify(verify(both), check=verify)
    given = arrays(seed, special=False)
    for got, want in zip(interpret(simple, *given), interpret(both, *given), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
