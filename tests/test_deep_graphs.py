"""Nothing recurses by the depth of a graph: chains of dependent operations, on a short stack.

Numba itself needs a deep stack, so the programs are built here and not loaded.
"""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

import tracegrad as T
from tracegrad.codegen.build import build
from tracegrad.driver.backward_programs import Derivative
from tracegrad.ir.graph import Graph
from tracegrad.ir.simplify import simplify
from tracegrad.ir.verify import verify
from tracegrad.tracer.capture.trace import Trace, tracing
from tracegrad.tracer.mode import resolve

DEPTH = 250  # of each chain; the stack has room for far fewer calls


def sums(x):
    y, found = x, []
    for _ in range(DEPTH):
        y = y * 1.01
        found.append(y.sum())
    return T.stack(found).sum()


def through(change):
    def chain(x):
        for k in range(DEPTH):
            x = change(x, k)
        return (x * x).sum()

    return chain


def written(change):
    def chain(x):
        y = x * 1
        for k in range(DEPTH):
            change(y, k)
        return (y * y).sum()

    return chain


def looked_at(x):
    """A view of a view of a view, each its own step where no graph is kept."""
    y = x * 1
    with T.no_grad():
        z = y
        for _ in range(DEPTH):
            z = z.t()
        z.add_(1)
    return (x * y).sum()


def one_long_path(x):
    y = x * 1
    z = y
    for _ in range(DEPTH):
        z = z.t()
    z.mul_(x)
    return (y * y).sum()


CHAINS = {
    "sums": sums,
    "elementwise": through(lambda x, k: (x * 1.01).sin()),
    "means": through(lambda x, k: x - x.mean()),
    "row means": through(lambda x, k: x - x.mean(1, keepdim=True)),
    "softmax": through(lambda x, k: x.softmax(-1)),
    "branches": through(lambda x, k: T.where(x > 0, x, x * 0.5) + 0.1),
    "scans": through(lambda x, k: x.cumsum(0) * 0.2),
    "joined": through(lambda x, k: T.cat([x[1:], x[:1] * 1.01])),
    "gathered": through(lambda x, k: x[T.tensor([1, 2, 3, 0])] * 1.01),
    "transposed": through(lambda x, k: x.t() * 1.01),
    "detached": through(lambda x, k: x.detach() + x),
    "in place": written(lambda y, k: y.mul_(1.01)),
    "rows written": written(lambda y, k: y.__setitem__(k % 4, y[(k + 1) % 4] * 1.01)),
    "columns added to": written(lambda y, k: y[:, k % 4].add_(1.0)),
    "under masks": written(lambda y, k: y.__setitem__(m := y > 0, y[m] * 0.9)),
    "turned": written(lambda y, k: y.t_().add_(1)),
    "a view of a view": looked_at,
    "one long path": one_long_path,
}



@contextmanager
def short_stack(room):
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + room)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def program(function):
    """Trace, differentiate, check, simplify and write the kernels."""
    x = T.randn(4, 4, requires_grad=True)
    trace = Trace([x])
    with tracing(trace):
        y = resolve(function(x))
        nothing = SimpleNamespace(written_by_backward=lambda written: None)
        d = Derivative(trace, [(0, y)], 1, SimpleNamespace(snapshot_plan=nothing), False)
    seeds = tuple(s._node for s in d.seeds)
    raw = Graph((*(i.node for i in trace.inputs), *seeds), (y._node, *d.nodes()))
    return build(simplify(verify(raw)))


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_nothing_recurses_by_the_depth_of_a_graph(chain):
    with short_stack(150):
        assert program(chain).launches
