"""What a new record says is all that code generation needs: movement by a rule for strides, and
reading at computed places.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_codegen_random import compiled

from tracegrad.codegen.build import build
from tracegrad.codegen.gemm.emitter import WORDS
from tracegrad.codegen.templates.extern import PIECES
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import input_node
from tracegrad.ir.op import Access, Kind, Lowering, OpDef
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.ir.strides import View
from tracegrad.ir.value import REGISTRY
from tracegrad.runtime.cpu import python_executor

RUN = pytest.mark.parametrize("run", [python_executor.execute, compiled])


class Along(Access):
    """y[..., k] = x[..., k, i[..., k]]"""

    def base(self, x, shape, params):
        return View(shape, x.strides[:-1], x.offset)

    def steps(self, x, params):
        return x.strides[-1:]

    def index(self, i, rank, shape, params):
        return i.expand(shape)


def taken(x, i):
    return np.take_along_axis(x, np.broadcast_to(i, x.shape[:-1])[..., None], -1)[..., 0]


take = OpDef("take", Kind.INDEX, taken, lambda x, i: (x.shape[:-1], x.dtype), access=Along())
evens = OpDef(
    "evens", Kind.MOVEMENT, lambda x: x[..., ::2],
    lambda x: ((*x.shape[:-1], (x.shape[-1] + 1) // 2), x.dtype),
    view=lambda v: v.slice((*((0, n, 1) for n in v.shape[:-1]), (0, v.shape[-1], 2))),
)


@RUN
@pytest.mark.parametrize("index_shape", [(3, 4), (4,), (1, 1)])
@pytest.mark.parametrize("made", [False, True])
def test_a_new_primitive_that_gathers_needs_its_access_alone(run, index_shape, made):
    x, i = input_node((3, 4, 5), dt.float64), input_node(index_shape, dt.int64)
    source = el.exp(x) if made else x
    y = take(source, i) * 2.0
    graph = Graph((x, i), (y, sum_(y, dims=(1,))))
    rng = np.random.default_rng(0)
    a, k = rng.normal(size=(3, 4, 5)), rng.integers(0, 5, index_shape)
    expected = taken(np.exp(a) if made else a, k) * 2.0
    got = run(build(simplify(graph)), [a, k])
    np.testing.assert_allclose(got[0], expected, rtol=1e-12)
    np.testing.assert_allclose(got[1], expected.sum(1), rtol=1e-12)


@RUN
def test_a_new_movement_is_index_arithmetic(run):
    x = input_node((3, 7), dt.float64)
    program = build(simplify(Graph((x,), (evens(x) + 1.0, evens(el.exp(x)) * 2.0))))
    a = np.random.default_rng(0).normal(size=(3, 7))
    first, second = run(program, [a])
    np.testing.assert_allclose(first, a[:, ::2] + 1.0)
    np.testing.assert_allclose(second, np.exp(a[:, ::2]) * 2.0)
    assert len(program.launches) == 1


@pytest.mark.parametrize("op", REGISTRY.values(), ids=repr)
def test_what_a_record_says_of_its_lowering_fits_together(op):
    assert (op.lowering is Lowering.EXPRESSION) == (op.expr is not None)
    assert (op.lowering is Lowering.EXTERN) == (op in PIECES or op is dot)
    assert (op.lowering is Lowering.BODY) == bool(op.bodies)
    assert (op.lowering is Lowering.VIEW) == (op.view is not None)
    assert op.lowering is Lowering.VIEW or not op.aliases
    assert op.lowering is Lowering.EXPRESSION or op not in WORDS
    assert not op.commutative or op.vjp is None or len(op.vjp) == 2
