"""Loops and branches in graphs: what they mean, how they are checked, printed and simplified."""

import numpy as np
import pytest

from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph, bodies_of
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import constant, input_node
from tracegrad.ir.op import Kind, ShapeError
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.loop import branch, loop, loop_while
from tracegrad.ir.ops.movement import expand
from tracegrad.ir.show import show
from tracegrad.ir.simplify import simplify
from tracegrad.ir.structure import structure
from tracegrad.ir.verify import VerifyError, verify


def arg(*shape, dtype=dt.float64):
    return input_node(shape, dtype)


def recurrence(length=5, reverse=False):
    """h <- tanh(h W + x_t), with h * 2 stacked, over 5 rows; and its three operands."""
    h, x, w = arg(2, 3), arg(2, 3), arg(3, 3)
    new = el.tanh(dot(h, w) + x)
    body = Graph((h, x, w), (new, new * 2.0))
    operands = arg(2, 3), arg(length, 2, 3), arg(3, 3)
    how = {"body": body, "carried": 1, "sliced": 1, "length": length, "reverse": reverse}
    return operands, [loop(*operands, **how, result=k) for k in range(2)]


def countdown(capacity=None, stacked=False):
    """While n > 0: n <- n - 1, s <- s + n * step."""
    n, s, step = arg(dtype=dt.int64), arg(), arg()
    i, t, d = arg(dtype=dt.int64), arg(), arg()
    one = constant(1, dt.int64)
    new = t + el.cast(i, dtype=dt.float64) * d
    body = Graph((i, t, d), (i - one, new, *([new] if stacked else [])))
    cond = Graph((n, s, step), (el.gt(n, constant(0, dt.int64)),))
    operands = arg(dtype=dt.int64), arg(), arg()
    how = {"cond": cond, "body": body, "carried": 2, "capacity": capacity}
    return operands, [loop_while(*operands, **how, result=k) for k in range(2 + stacked)]


@pytest.mark.parametrize("length", [0, 1, 5])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("made", [lambda g: g, simplify], ids=["as written", "simplified"])
def test_a_loop_is_that_of_numpy(length, reverse, made):
    operands, results = recurrence(length, reverse)
    rng = np.random.default_rng(0)
    h, xs, w = arrays = [rng.normal(size=x.shape) for x in operands]
    last, stacked = interpret(verify(made(Graph(operands, tuple(results)))), *arrays)
    expected = np.zeros_like(xs)
    for t in range(length)[:: -1 if reverse else 1]:
        h = np.tanh(h @ w + xs[t])
        expected[t] = h * 2
    np.testing.assert_allclose(last, h, rtol=1e-12)
    np.testing.assert_allclose(stacked, expected, rtol=1e-12)


@pytest.mark.parametrize("made", [lambda g: g, simplify], ids=["as written", "simplified"])
def test_a_loop_runs_while_its_condition_holds(made):
    operands, results = countdown(capacity=6, stacked=True)
    graph = verify(made(Graph(operands, tuple(results))))
    for n in (0, 3, 6, 9):
        left, total, rows = interpret(graph, np.array(n), np.array(1.0), np.array(0.5))
        steps = min(n, 6)
        sums = 1 + np.cumsum(np.arange(n, n - steps, -1) * 0.5)
        assert left == n - steps
        np.testing.assert_allclose(total, sums[-1] if steps else 1.0)
        np.testing.assert_allclose(rows, [*sums, *[0] * (6 - steps)])


@pytest.mark.parametrize("made", [lambda g: g, simplify], ids=["as written", "simplified"])
def test_a_branch_computes_what_its_condition_chooses(made):
    x, y = arg(3), arg(3)
    then, other = Graph((x,), (el.exp(x), x)), Graph((y,), (y * 2.0, -y))
    p, z = arg(dtype=dt.bool_), arg(3)
    results = [branch(p, z, then=then, other=other, result=k) for k in range(2)]
    graph = verify(made(Graph((p, z), tuple(results))))
    a = np.arange(3.0)
    np.testing.assert_allclose(interpret(graph, np.array(True), a), [np.exp(a), a])
    np.testing.assert_allclose(interpret(graph, np.array(False), a), [a * 2, -a])
    chosen = simplify(graph.substitute({p: constant(False, dt.bool_)}))
    assert [y.op.kind is Kind.LOOP for y in chosen.order()] == [False] * len(chosen.order())


def test_loops_nest():
    h, x = arg(), arg(4)
    inner_h, inner_x = arg(), arg()
    inner = Graph((inner_h, inner_x), (inner_h * 0.5 + inner_x,))
    how = {"carried": 1, "sliced": 1, "reverse": False, "result": 0}
    new = loop(h, x, body=inner, length=4, **how)
    outer = Graph((h, x), (new,))
    operands = arg(), arg(3, 4)
    graph = simplify(verify(Graph(operands, (loop(*operands, body=outer, length=3, **how),))))
    a = np.random.default_rng(0).normal(size=(3, 4))
    total = 0.0
    for v in a.ravel():
        total = total * 0.5 + v
    np.testing.assert_allclose(interpret(verify(graph), np.array(0.0), a)[0], total)
    text = show(graph)
    assert text.index("def body0(") < text.index("def body1(") < text.index("def program(")


def test_halves_and_numbers_of_every_type_pass_a_loop():
    for dtype in (dt.bfloat16, dt.float16, dt.float32, dt.int32, dt.uint8, dt.bool_):
        c, x = arg(2, dtype=dtype), arg(2, dtype=dtype)
        body = Graph((c, x), (x, c))
        operands = arg(2, dtype=dtype), arg(3, 2, dtype=dtype)
        how = {"body": body, "carried": 1, "sliced": 1, "length": 3, "reverse": False}
        graph = Graph(operands, tuple(loop(*operands, **how, result=k) for k in range(2)))
        first, xs = dtype.encode(np.array([1, 0])), dtype.encode(np.eye(3)[:, :2])
        last, before = interpret(graph, first, xs)
        np.testing.assert_array_equal(last, xs[-1])
        np.testing.assert_array_equal(before, [first, *xs[:-1]])


# ---- the law
def test_operands_that_do_not_fit_the_body_are_refused():
    (h, xs, w), (last, _) = recurrence()
    for operands, words in (
        ((arg(3, 3), xs, w), r"operands 0 is float64\[3, 3\], but should be float64\[2, 3\]"),
        ((h, arg(4, 2, 3), w), r"shape \[4, 2, 3\], but there are 5 iterations"),
        ((h, xs, arg(3, 3, dtype=dt.float32)), r"operands 2 is float32"),
    ):
        with pytest.raises(ShapeError, match=words):
            loop(*operands, **last.params)
    with pytest.raises(TypeError, match="3 operands expected, got 2"):
        loop(h, xs, **last.params)


def test_a_carry_keeps_its_type():
    x = arg(3)
    for new in (expand(x, shape=(2, 3)), el.cast(x, dtype=dt.float32)):
        with pytest.raises(ShapeError, match="new carries 0"):
            loop(arg(3), body=Graph((x,), (new,)), carried=1, sliced=0, length=2, reverse=False,
                 result=0)


def test_a_body_closes_over_nothing():
    x, outside = arg(3), arg(3)
    body = Graph((x,), (x + outside,))
    y = loop(arg(3), body=body, carried=1, sliced=0, length=2, reverse=False, result=0)
    with pytest.raises(VerifyError, match="an input that the graph does not declare"):
        verify(Graph((y.inputs[0], outside), (y,)))


def test_a_check_in_a_body_ends_the_program():
    c, x = arg(dtype=dt.int64), arg(dtype=dt.int64)
    divisor = el.check_divisor(x)
    body = Graph((c, x), (c, c // divisor), (divisor,))
    operands = arg(dtype=dt.int64), arg(3, dtype=dt.int64)
    how = {"body": body, "carried": 1, "sliced": 1, "length": 3, "reverse": False}
    last, rows = (loop(*operands, **how, result=k) for k in range(2))
    graph = simplify(verify(Graph(operands, (last,), (last, rows))))  # the carry is never changed
    assert interpret(verify(graph), np.array(6), np.array([1, 2, 3]))[0] == 6
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        interpret(graph, np.array(6), np.array([1, 0, 3]))


# ---- structure
def test_loops_of_equal_bodies_have_one_structure():
    def text(**how):
        operands, results = recurrence(**how)
        return structure(Graph(operands, tuple(results))).text

    assert text() == text()
    assert text() != text(reverse=True)
    assert text() != text(length=4)
    operands, results = countdown()
    assert structure(Graph(operands, (results[0],))).text != structure(
        Graph(operands, (results[1],))).text


# ---- simplification
def simple(operands, *results):
    return verify(simplify(Graph(operands, results)))


def test_unread_results_and_their_carries_vanish():
    operands, (last, _) = recurrence()
    (body,) = bodies_of(simple(operands, last).outputs[0])
    assert len(body.outputs) == 1
    operands, (left, _) = countdown()
    graph = simple(operands, left)
    assert graph.outputs[0].params["carried"] == 1
    assert len(graph.outputs[0].inputs) == 1


def test_a_carry_that_stays_is_a_constant():
    c, d, x = arg(), arg(), arg()
    body = Graph((c, d, x), (c, d * x + c))
    operands = arg(), arg(), arg(4)
    how = {"body": body, "carried": 2, "sliced": 1, "length": 4, "reverse": False}
    graph = simple(operands, *(loop(*operands, **how, result=k) for k in range(2)))
    assert graph.outputs[0] is operands[0]
    assert graph.outputs[1].params["carried"] == 1
    a = np.arange(4.0)
    np.testing.assert_allclose(interpret(graph, np.array(2.0), np.array(1.0), a)[1], 32.0)


def test_numbers_and_what_comes_twice_move_into_the_body():
    c, x, y, k = arg(3), arg(3), arg(3), arg(3)
    body = Graph((c, x, y, k), (c + x * y + k,))
    first, xs = arg(3), arg(4, 3)
    for ys, read in ((xs, 2), (constant(2.0, dt.float64, (4, 3)), 2), (arg(4, 3), 3)):
        y = loop(first, xs, ys, constant(1.0, dt.float64, (3,)), body=body, carried=1, sliced=2,
                 length=4, reverse=False, result=0)
        inputs = tuple(dict.fromkeys([first, xs, *([] if ys.op.name == "full" else [ys])]))
        graph = simple(inputs, y)
        assert len(graph.outputs[0].inputs) == read
        arrays = [np.random.default_rng(k).normal(size=x.shape) for k, x in enumerate(inputs)]
        np.testing.assert_allclose(
            interpret(graph, *arrays), interpret(Graph(inputs, (y,)), *arrays))


def test_no_iteration_and_a_single_one_are_no_loop():
    for length in (0, 1):
        operands, results = recurrence(length)
        graph = simple(operands, *results)
        assert all(y.op.kind is not Kind.LOOP for y in graph.order())
