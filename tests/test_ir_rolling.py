"""Equal iterations of a traced Python loop become a loop of the graph, which computes the same to
the bit.
"""


import numpy as np
import pytest
from loops_at_random import random_program

import tracegrad as tg
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph, bodies_of
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import input_node
from tracegrad.ir.op import Kind
from tracegrad.ir.rolling.periods import Repetition, disjoint, repetitions
from tracegrad.ir.rolling.roll import roll
from tracegrad.ir.simplify import simplify
from tracegrad.ir.verify import verify
from tracegrad.tracer.capture.trace import Trace, tracing
from tracegrad.tracer.tensor.tensor import traced

T = 9  # iterations


def recorded(f, *shapes, gradients=True):
    """The graph of f's results and the gradients of their sum, in the order of a trace."""
    nodes = [
        input_node(*s) if s and isinstance(s[-1], dt.DType) else input_node(s, dt.float64)
        for s in shapes
    ]
    trace = Trace([])
    with tracing(trace):
        inputs = [traced(x, gradients and x.dtype.is_floating_point) for x in nodes]
        results = f(*inputs)
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        if gradients:
            loss = sum((y.sum() for y in results), start=0.0)
            wrt = [x for x in inputs if x.requires_grad]
            results += [g for g in tg.autograd.grad(loss, wrt, allow_unused=True) if g is not None]
        outputs = tuple(y._node for y in results)
    return Graph(tuple(nodes), outputs, tuple(trace.checks))


def drawn(graph, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(scale=0.5, size=x.shape).astype(x.dtype.storage)
        if x.dtype.kind == "float" else rng.integers(0, 3, x.shape).astype(x.dtype.storage)
        for x in graph.inputs
    ]


def loops(graph):
    """The bodies of all loops of a graph, inner ones too."""
    bodies = dict.fromkeys(b for n in graph.order() if n.op.kind is Kind.LOOP for b in bodies_of(n))
    return [*bodies, *(b for body in bodies for b in loops(body))]


def same(graph):
    """The rolled graph, which computes what the graph does."""
    rolled = verify(roll(graph, size=0))
    for seed in range(2):
        arrays = drawn(graph, seed)
        expected = interpret(graph, *arrays)
        for a, b in zip(expected, interpret(rolled, *arrays), strict=True):
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(expected, interpret(verify(simplify(rolled)), *arrays), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)
    return rolled


# ---- programs
def rnn(x, w, u, b, h):
    total = 0.0
    for t in range(T):
        h = tg.tanh(x[t] @ w + h @ u + b)
        total = total + (h**2).mean()
    return total


def gru(x, w, u, h):
    for t in range(T):
        r, z, n = (x[t] @ w).chunk(3, dim=1)
        s, y, m = (h @ u).chunk(3, dim=1)
        r, z = tg.sigmoid(r + s), tg.sigmoid(z + y)
        h = (1 - z) * tg.tanh(n + r * m) + z * h
    return h


def lstm(x, w, b, h):
    c, states = h, []
    for t in range(T):
        i, f, g, o = (tg.cat([x[t], h], dim=1) @ w + b).chunk(4, dim=1)
        c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
        states.append(h)
    return tg.stack(states), c


def neural_ode(x, w, u):
    def field(x):
        return tg.tanh(x @ w) @ u

    h = 1 / T
    for _ in range(T):
        k1 = field(x)
        k2 = field(x + h / 2 * k1)
        k3 = field(x + h / 2 * k2)
        k4 = field(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def hares(rates, counts):
    a, b, c, d = rates
    x, y, total = counts[0, 0], counts[0, 1], 0.0
    for t in range(1, T):
        x, y = x + 0.1 * (a * x - b * x * y), y + 0.1 * (d * x * y - c * y)
        total = total + (x - counts[t, 0]) ** 2 + (y - counts[t, 1]) ** 2
    return total


def newton(x):
    y = x
    for _ in range(T):
        y = y - (y * y - (x * x + 1)) / (2 * y + 3)
    return y


def alternating(x, w):
    for t in range(2 * T):
        x = tg.tanh(x @ w) if t % 2 else tg.sin(x) * 0.5
    return x


def neighbours(x):
    total = 0.0
    for t in range(1, T + 1):
        total = total + (x[t - 1] - 2 * x[t] + x[t + 1]) ** 2
    return total


def two_before(x):
    a, b = x, x * 2
    for _ in range(T):
        a, b = b, tg.sin(a) + b * 0.5
    return b


def nested(x, w):
    for _t in range(T):
        for _ in range(T):
            x = tg.tanh(x @ w)
        x = x + tg.exp(-x) * w[0] + tg.cos(x)
    return x


def irregular(x, w):
    for t in range(2 * T + 1):
        x = tg.tanh(x @ w)
        if t == T:
            x = tg.exp(-x)
    return x


def backwards(x, w):
    h = x[0] * 0
    for t in reversed(range(T)):
        h = tg.tanh(x[t] @ w + h)
    return h


def twice(x, w):
    forward, h = [], x[0]
    for t in range(T):
        h = tg.tanh(x[t] @ w + h)
        forward.append(h)
    total = 0.0
    for t in reversed(range(T)):
        h = tg.sin(h + forward[t])
        total = total + h * t
    return total


def windows(x, w):
    """Overlapping slices, every other one, and columns."""
    h, total = x[:3].sum(), 0.0
    for t in range(T):
        h = tg.tanh((x[2 * t : 2 * t + 3] * w).sum() + h + x[::2][t] + x[-1 - t])
        total = total + h
    return total


def columns(x):
    h = x[:, 0]
    for t in range(x.shape[1]):
        h = tg.sin(h + x[:, t] * x[1:, t : t + 1].sum())
    return h


def clock(x):
    """The number of the iteration, whole and as a time."""
    for t in range(T):
        x = x * 0.9 + t + tg.cos(x * (t * 0.125))
    return x


def descent(w, x, y):
    """Steps of a gradient descent with momentum, inside of what is differentiated."""
    v = w * 0
    for _ in range(T):
        g, = tg.autograd.grad(((x @ w - y) ** 2).mean(), [w], create_graph=True)
        v = v * 0.9 + g
        w = w - 0.1 * v
    return (w**2).sum()


def unbound(x, w):
    h = x[0] * 0
    for row in x.unbind(0):
        h = tg.tanh(row @ w + h)
    return h


def early(x):
    """Later iterations read what the first one computed."""
    first, h = None, x
    for _ in range(T):
        h = tg.sin(h)
        first = h * 2 if first is None else first
        h = h + first
    return h


XS = (T, 2, 3)
PROGRAMS = {
    rnn: [XS, (3, 4), (4, 4), (4,), (2, 4)],
    gru: [XS, (3, 12), (4, 12), (2, 4)],
    lstm: [XS, (7, 16), (16,), (2, 4)],
    neural_ode: [(5, 2), (2, 8), (8, 2)],
    hares: [(4,), (T, 2)],
    newton: [(3,)],
    alternating: [(2, 3), (3, 3)],
    neighbours: [(T + 2, 3)],
    two_before: [(3,)],
    nested: [(2, 3), (3, 3)],
    irregular: [(2, 3), (3, 3)],
    backwards: [XS, (3, 3)],
    twice: [XS, (3, 3)],
    windows: [(2 * T + 3,), (3,)],
    columns: [(3, T)],
    clock: [(3,)],
    descent: [(3, 1), (5, 3), (5, 1)],
    unbound: [XS, (3, 3)],
    early: [(3,)],
}


@pytest.mark.parametrize("gradients", [False, True], ids=["value", "gradient"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_a_rolled_loop_computes_what_its_iterations_do(program, gradients):
    if program is descent and not gradients:
        pytest.skip("it takes gradients itself")
    graph = recorded(program, *PROGRAMS[program], gradients=gradients)
    rolled = same(graph)
    assert loops(rolled), rolled


@pytest.mark.parametrize("seed", range(8))
def test_random_loops_compute_the_same(seed):
    f, shapes = random_program(seed)
    for gradients in (False, True):
        same(recorded(f, *shapes, gradients=gradients))


# ---- what a run may be
def test_a_loop_reads_what_moves_and_carries_what_it_computed():
    graph = recorded(windows, *PROGRAMS[windows], gradients=False)
    rolled = same(graph)
    (node,) = {n.inputs: n for n in rolled.order() if n.op.kind is Kind.LOOP}.values()
    assert node.params["length"] == T and node.params["sliced"] == 3
    carried = [x.shape for x in node.inputs[: node.params["carried"]]]
    assert carried == [(), ()]


def test_loops_of_a_thousand_iterations_have_the_size_of_one_iteration():
    def long(x):
        for _ in range(1000):
            x = tg.sin(x) * 0.5 + x
        return x

    graph = roll(recorded(long, (3,)), size=0)
    assert len(graph.order()) < 40 and len(loops(graph)) == 2


def test_few_values_are_left_as_they_are():
    graph = recorded(rnn, *PROGRAMS[rnn])
    assert roll(graph) is graph


def test_the_gradient_of_slices_is_put_in_place_after_the_loop():
    graph = recorded(backwards, *PROGRAMS[backwards])
    for body in loops(same(graph)):
        assert all(n.shape != (T, 2, 3) for n in body.order())


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_parts_are_added_where_they_overlap_in_the_order_of_the_iterations(width, step):
    def program(x):
        h = x[0] * 0
        for t in range(T):
            h = tg.sin(h + x[t * step : t * step + width].sum(0) * x[t * step + 1])
        return h

    rolled = same(recorded(program, (T * step + width, 3)))
    assert len(loops(rolled)) == 2


def test_parts_that_something_else_reads_stay_in_the_iterations():
    def program(x):
        h, total = x[0] * 0, x * 0
        for t in range(T):
            part = tg.nn.functional.pad(tg.sin(h + x[t])[None], (0, 0, t, T - 1 - t))
            total = total + part
            h = h + (total * part).sum(0)
        return h, total

    same(recorded(program, (T, 3)))


def test_checks_are_those_of_the_body():
    def program(table, indices):
        h = table[0]
        for t in range(T):
            h = tg.tanh(h + tg.nn.functional.embedding(indices[t], table).sum(0))
        return h

    graph = recorded(program, (5, 3), ((T, 2), dt.int64))
    rolled = same(graph)
    assert graph.checks and rolled.checks
    assert all(n.op.kind is Kind.LOOP for n in rolled.checks)
    assert any(body.checks for body in loops(rolled))


def test_a_loop_that_only_checks_is_kept():
    def program(table, indices):
        for t in range(T):
            tg.nn.functional.embedding(indices[t], table)
        return table * 2

    rolled = verify(roll(recorded(program, (5, 3), ((T, 2), dt.int64), gradients=False), size=0))
    assert rolled.checks and all(n.op.kind is Kind.LOOP for n in rolled.checks)


def test_results_may_be_any_values_of_any_iteration():
    def program(x):
        every = []
        for _ in range(T):
            x = tg.sin(x) + x * 0.5
            every.append(x)
        return every[0], every[3].T, every[-1], every[-2][1:], tg.stack(every[2:5])

    same(recorded(program, (3, 2)))


def test_types_and_shapes_of_all_kinds_are_carried():
    def program(x, n, empty):
        count, flags = n, x > 0
        for t in range(T):
            count = count * 3 + t
            flags = flags ^ (x * 0.5 > t)
            x = tg.where(flags, x * 0.5, x + count.sum())
            empty = empty * 2.0
        return count, flags, x, empty, x.to(tg.float32).to(tg.bfloat16)

    for dtype in (dt.int8, dt.uint8, dt.int64):
        for number in (dt.float16, dt.bfloat16, dt.float32):
            graph = recorded(
                program, ((3,), number), ((2,), dtype), ((0, 3), number), gradients=False
            )
            assert loops(same(graph))


def test_results_depend_on_no_more_inputs_than_they_did():
    """As the gradients from each of two outputs must, in one graph."""
    a, b = (input_node((3,), dt.float64) for _ in range(2))
    x = input_node((3,), dt.float64)
    with tracing(Trace([])):
        h, results = traced(x), []
        seeds = [traced(a), traced(b)]
        forward = [h]
        for _ in range(T):
            forward.append(tg.sin(forward[-1]))
        for chosen in (seeds, seeds[:1], seeds[1:]):
            g = sum(chosen)
            for h in reversed(forward):
                g = g * tg.cos(h) + g * tg.exp(h)
            results.append(g)
    graph = Graph((x, a, b), tuple(y._node for y in results))
    rolled = roll(graph, (a, b), size=0)
    assert loops(rolled)
    for y, reads in zip(rolled.outputs, ({x, a, b}, {x, a}, {x, b}), strict=True):
        inputs = {n for n in Graph((), (y,)).order() if n.op.name == "input"}
        assert inputs <= reads
    arrays = drawn(graph)
    for one, other in zip(interpret(graph, *arrays), interpret(rolled, *arrays), strict=True):
        assert one.tobytes() == other.tobytes()


def test_repetitions_are_those_of_the_smallest_period():
    symbols = np.array([9, *[1, 2, 3] * 6, 8, *[5] * 7, 4])
    chosen = disjoint(repetitions(symbols, 4), 4)
    assert chosen == [Repetition(1, 3, 18), Repetition(20, 1, 7)]
    assert repetitions(np.arange(50), 4) == []
    assert repetitions(np.array([], np.int64), 4) == []


def test_a_number_that_is_rounded_in_another_way_is_no_count():
    def program(x):
        clock = 0.0
        for _ in range(T):
            x = x * clock + 1.0
            clock += 0.1  # not k * 0.1
        return x

    same(recorded(program, (3,), gradients=False))


def test_slices_of_other_forms_are_no_steady_slices():
    """They have one shape, but not one step, or are moved in another way."""
    def program(x):
        h = x[0]
        for t in range(2 * T):
            cut = x[t : t + 2] if t < T else x[t : t + 3 : 2]
            turned = x[t : t + 2, :2].T if t % 4 == 3 else x[t : t + 2, :2]
            h = tg.tanh(h + cut.reshape(6)[:3] + turned.reshape(4)[1:])
        return h

    same(recorded(program, (2 * T + 3, 3)))


def test_slices_behind_movement_of_different_depth():
    def program(x):
        h = x[0, 0]
        for t in range(T):
            y = x[0] if t % 5 == 0 else x.permute(1, 0, 2)[t]
            h = tg.tanh(h + y[t])
        return h

    same(recorded(program, (T, T, 3)))
