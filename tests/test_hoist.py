"""What loops need not do in each iteration is done before or after them, with the same results."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import floats, integers
from test_codegen_loops import agrees, numbers, outer, results_of

from tracegrad.ir import dtype as dt, hoist
from tracegrad.ir.graph import Graph, postorder
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import input_node
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot, transpose
from tracegrad.ir.ops.loop import loop, loop_while
from tracegrad.ir.ops.movement import expand, permute, reshape
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.ir.verify import verify


def checked(graph: Graph, **tolerance) -> Graph:
    """The simplified graph, whose results and whose program's are those of the original."""
    values = numbers(*graph.inputs)
    simple = verify(simplify(graph))
    tolerance = tolerance or {"rtol": 1e-10, "atol": 1e-10}
    expected = interpret(graph, *values)
    for result, wanted in zip(interpret(simple, *values), expected, strict=True):
        np.testing.assert_allclose(result, wanted, **tolerance)
    agrees(simple, values, **tolerance)
    return simple


def looped(body: Graph, carried: int, sliced: int, length=5, reverse=False, results=None) -> Graph:
    operands = outer(body, carried, sliced, length)
    every = results_of(body, operands, carried, sliced, length, reverse)
    return Graph(tuple(operands), tuple(every if results is None else [every[k] for k in results]))


def inside(graph: Graph) -> list[str]:
    """The names of the operations in bodies of loops."""
    names = []
    for node in graph.order():
        for body in (node.params[name] for name in node.op.bodies):
            names += [n.op.name for n in body.order()] + inside(body)
    return names


def products(graph: Graph) -> int:
    return [n.op for n in graph.order()].count(dot)


def cell(h, x, w, u, b):
    return el.tanh(dot(h, w) + dot(x, transpose(u)) + expand(b, shape=h.shape))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_product_of_slices_is_one_product(length, reverse):
    h, x, w, u, b = floats(2, 3), floats(2, 4), floats(3, 3), floats(3, 4), floats(3)
    new = cell(h, x, w, u, b)
    graph = checked(looped(Graph((h, x, w, u, b), (new, new)), 1, 1, length, reverse))
    if length > 1:
        assert inside(graph).count("dot") // 2 == 1
        assert products(graph) == 1


def test_expressions_of_slices_go_with_their_product():
    h, x, s, w = floats(2, 3), floats(4, 2), floats(2), floats(4, 3)
    seen = el.exp(transpose(x)) * expand(reshape(s, shape=(2, 1)), shape=(2, 4)) + 1.0
    body = Graph((h, x, s, w), (el.tanh(h + dot(seen, w)),))
    assert "dot" not in inside(checked(looped(body, 1, 2)))


def test_products_of_two_slices_and_with_a_constant_ahead():
    h, x, y, w = floats(2, 3), floats(2, 4), floats(4, 3), floats(2, 2)
    body = Graph((h, x, y, w), (el.tanh(h + dot(w, dot(x, y))),))
    assert "dot" not in inside(checked(looped(body, 1, 2)))


def test_what_depends_on_constants_is_computed_once():
    h, w, s = floats(3), floats(3, 3), floats()
    scale = el.exp(sum_(w, dims=(0,))) / s
    body = Graph((h, w, s), (el.tanh(h * scale + sum_(dot(w, w), dims=(1,))),))
    graph = checked(looped(body, 1, 0))
    assert {"dot", "sum", "exp"}.isdisjoint(inside(graph))


def test_what_depends_on_constants_of_a_while_loop_is_computed_once():
    (n, h, w), (m, g, v) = ((integers(), floats(3), floats(3, 3)) for _ in range(2))
    scale = el.exp(sum_(w, dims=(0,)))
    body = Graph((n, h, w), (n + 1, el.tanh(h * scale)))
    most = sum_(el.sqrt(sum_(v * v, dims=(0,))), dims=(0,))
    cond = Graph((m, g, v), (el.lt(el.cast(m, dtype=dt.float64), most),))
    operands = integers(), floats(3), floats(3, 3)
    how = {"cond": cond, "body": body, "carried": 2, "capacity": None}
    graph = checked(Graph(operands, tuple(loop_while(*operands, **how, result=k) for k in (0, 1))))
    assert {"exp", "sum", "sqrt"}.isdisjoint(inside(graph))


def test_rows_of_products_are_one_product_after_the_loop():
    h, x, w, u = floats(2, 3), floats(2, 3), floats(3, 3), floats(3, 4)
    new = el.tanh(dot(h, w) + x)
    graph = checked(looped(Graph((h, x, w, u), (new, permute(dot(new, u), axes=(1, 0)))), 1, 1))
    assert inside(graph).count("dot") // 2 == 1
    assert products(graph) == 1


def test_a_product_that_is_read_again_stays():
    h, x, w = floats(2, 3), floats(2, 3), floats(3, 3)
    new = dot(el.tanh(h + x), w)
    graph = checked(looped(Graph((h, x, w), (new * 0.5, new)), 1, 1))
    assert products(graph) == 0


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_weights_are_one_product(reverse):
    """The backward of a recurrence: g <- (g W') (1 - y^2); dW += h' g, db += sum g."""
    g, dw, db, du = floats(2, 3), floats(3, 3), floats(3), floats(4, 3)
    y, h, x, w = floats(2, 3), floats(2, 3), floats(2, 4), floats(3, 3)
    new = (dot(g, transpose(w)) + y) * (1.0 - y * y)
    body = Graph((g, dw, db, du, y, h, x, w), (
        new, dw + dot(transpose(h), new), sum_(new, dims=(0,)) + db,
        du + transpose(dot(transpose(new), x))))
    graph = checked(looped(body, 4, 3, reverse=reverse))
    (carried,) = {n.params["carried"] for n in graph.order() if n.op is loop}
    assert carried == 1
    assert products(graph) == 2


def test_sums_of_what_is_stacked_are_taken_after_the_loop():
    h, total, x = floats(3), floats(), floats(3)
    new = el.tanh(h + x)
    loss = sum_(new * new, dims=(0,))
    graph = checked(looped(Graph((h, total, x), (new, total + loss, loss)), 2, 1))
    assert {n.params["carried"] for n in graph.order() if n.op is loop} == {1}


def test_a_sum_that_is_read_stays_a_carry():
    for extra in ("result", "body"):
        h, total, x = floats(3), floats(3), floats(3)
        new = el.tanh(h + x + (total if extra == "body" else 0.0))
        outputs = (new, total + new, *([total] if extra == "result" else [new]))
        graph = checked(looped(Graph((h, total, x), outputs), 2, 1))
        assert {n.params["carried"] for n in graph.order() if n.op is loop} == {2}


def test_a_loop_that_saves_memory_goes_on_to_do_so(monkeypatch):
    """Gradients added up over parts of the data, and rows of a wide product."""
    monkeypatch.setattr(hoist, "ROOM", 0)
    dw, x, w, u = floats(3, 40), floats(2, 3), floats(3, 40), floats(40, 3)
    y = el.tanh(dot(x, w))
    body = Graph((dw, x, w, u), (dw + dot(transpose(x), y), sum_(dot(y, u), dims=(0,))))
    graph = checked(looped(body, 1, 1))
    assert products(graph) == 0
    assert inside(graph).count("dot") // 2 == 3


def test_the_value_of_a_carry_stands_for_its_rows():
    h, total, x = floats(3), floats(3), floats(3)
    new = el.tanh(h + x)
    checked(looped(Graph((h, total, x), (new, total + new, new, x * 2.0)), 2, 1))


@pytest.mark.parametrize("dtype", [dt.float16, dt.bfloat16, dt.int64], ids=str)
def test_only_wide_floats_are_added_up_otherwise(dtype):
    a, x = input_node((3,), dtype), input_node((3,), dtype)
    graph = simplify(looped(Graph((a, x), (a + x,)), 1, 1))
    assert any(n.op is loop for n in graph.order())


def test_a_check_stays_where_its_loop_is():
    h, x, w = floats(2, 3), floats(2, 4), floats(4, 3)
    i = input_node((), dt.int64)
    check = el.check_index(i, size=5, dim=0)
    body = Graph((h, x, i, w), (h + dot(x, w),), (check,))
    operands = outer(body, 1, 2, 4)
    (last,) = results_of(body, operands, 1, 2, 4)
    graph = verify(simplify(Graph(tuple(operands), (last,), (last,))))
    assert len(graph.checks) == 1
    values = numbers(*operands)
    values[2][:] = 0, 1, 4, 0
    np.testing.assert_allclose(interpret(graph, *values)[0],
                               values[0] + sum(values[1]) @ values[3])


def test_loops_within_loops_are_hoisted_to_the_outermost():
    h, x, w = floats(2, 3), floats(2, 4), floats(4, 3)
    inner = Graph((h, x, w), (el.tanh(h + dot(x, w)),))
    g, rows, v = floats(2, 3), floats(3, 2, 4), floats(4, 3)
    (last,) = results_of(inner, (g, rows, v), 1, 1, 3)
    graph = checked(looped(Graph((g, rows, v), (last,)), 1, 1))
    assert len({*postorder(graph.outputs)}) > 3
