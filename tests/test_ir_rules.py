"""Each row of the rewrite tables: it fires, it keeps shape, dtype and bits, of NaN, infinities and
signed zeros too; those for fast mathematics keep the value, but for rounding.

A row's own pattern makes its examples; rows about params (axes, slices) take theirs from a list.
"""

from __future__ import annotations

import numpy as np
import pytest
from rewrite_examples import LISTED, MILD, E, arg, data, examples, f64, of

from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import Node
from tracegrad.ir.op import Kind
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.movement import (
    expand,
    pad,
    reshape,
)
from tracegrad.ir.ops.reduce import prod, sum as sum_
from tracegrad.ir.ops.source import full
from tracegrad.ir.rewrite import Const, RewriteError, Table, Var, rewrite
from tracegrad.ir.rules.finish import finish
from tracegrad.ir.simplify import FAST_ROWS, ROWS, simplify
from tracegrad.ir.verify import verify


def same(before: Node, after: Node, how: str) -> None:
    """`how`: 'exact' to the last bit, but for the order of sums; 'rounded'; or 'mild', on numbers
    that are neither large nor infinite.
    """
    mild = how == "mild"
    inputs = tuple(n for n in Graph((), (before, after)).order() if n.op.name == "input")
    verify(Graph(inputs, (after,)))
    arrays = [data(x, mild) for x in inputs]
    if mild:
        arrays = [np.clip(a, -8, 8) if a.dtype.kind == "f" else a for a in arrays]
    try:
        (want,) = interpret(Graph(inputs, (before,)), *arrays)
    except (TypeError, ValueError):
        return  # NumPy has no such thing: booleans subtracted, integers to a negative power
    (got,) = interpret(Graph(inputs, (after,)), *arrays)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    want, got = (before.dtype.decode(v).astype("f8") for v in (want, got))
    regrouped = any(n.op in (sum_, prod, dot) for n in Graph((), (before, after)).order())
    if how == "exact":
        assert not (np.signbit(got) != np.signbit(want))[~np.isnan(want)].any()
        if not regrouped:
            np.testing.assert_array_equal(got, want)
            return
    rtol = {64: 1e-12, 32: 2e-6}.get(before.dtype.bits, 1e-2) * (100 if mild else 1)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol if mild else 0)


def exactness(row) -> str:
    return "exact" if row in ROWS.rows else "mild" if repr(row) in MILD else "rounded"


EVERY = FAST_ROWS.rows


@pytest.mark.parametrize("k", range(len(EVERY)), ids=lambda k: repr(EVERY[k])[4:])
def test_the_row_fires_and_keeps_the_value(k):
    row, fired = EVERY[k], 0
    for before in examples(row):
        results = (row.apply(variant, before) for variant in row.variants)
        after = next((y for y in results if y is not None), None)
        if after is None:
            continue
        fired += 1
        assert after.shape == before.shape and after.dtype is before.dtype
        same(before, after, exactness(row))
    assert fired


@pytest.mark.parametrize("k", range(len(LISTED)))
def test_all_tables_together_keep_the_value_of(k):
    before = LISTED[k]
    for fast in (False, True):
        after = simplify(Graph((), (before,)), fast=fast).outputs[0]
        same(before, after, "rounded" if fast else "exact")
        assert simplify(Graph((), (after,)), fast=fast).outputs[0] is after


x, y = Var("x"), Var("y")


def simple(node: Node, fast: bool = False) -> Node:
    return simplify(Graph((), (node,)), fast=fast).outputs[0]


def test_what_nan_and_infinity_forbid_is_not_done():
    a = arg(3)
    for kept in (a * 0, a - a, a / a, E.eq(a, a), E.where(a < a * 2, a, a * 0)):
        assert simple(kept).op is kept.op


@pytest.mark.parametrize("fast", [False, True])
def test_constants_added_in_floating_point_are_not_brought_together(fast):
    a = arg(3)
    assert simple((a + 1e8) - 1e8, fast).op is E.sub


def test_algebra_that_rounds_or_loses_the_sign_of_a_zero_is_for_fast_mathematics():
    a, b = arg(3), arg(3)
    h = arg(3, dtype=dt.float16)
    for kept in (a + 0, 0 - a, -(a - b), (a * 3) * 5, a * E.reciprocal(b), a / 3, E.log(a + 1),
                 sum_(a * 3, dims=(0,)), E.reciprocal(E.sqrt(h)),
                 E.sqrt(a * a), sum_(sum_(arg(3, 4, dtype=dt.float16), dims=(0,)), dims=(0,))):
        assert simple(kept) is kept
        assert simple(kept, fast=True) is not kept or kept.dtype.is_half or kept is a / 3


def test_the_sign_of_a_zero_decides_what_may_be_left_out():
    a = arg(3)
    assert simple(a + -0.0) is simple(a - 0.0) is a
    assert simple(-0.0 - a) is -a
    for kept in (a - -0.0, E.maximum(of(0.0), a)):
        assert simple(kept) is kept


def test_a_scaled_product_of_constants_that_underflows_is_kept():
    a = arg(3)
    assert len(Graph((), (simple((a * 1e-30) * 1e-30, fast=True),)).order()) == 4


def test_one_times_a_larger_shape_becomes_an_expand():
    a = arg(3)
    assert simple(a * of(1.0, 2, 3)) is expand(a, shape=(2, 3))


def test_a_mean_of_equal_numbers_is_that_number():
    a = arg()
    total = sum_(expand(a, shape=(4, 2)), dims=(0, 1))
    assert simple(total / 8, fast=True) is a
    assert simple(total) is (a + 0.0) * 8  # a sum of -0.0 is 0.0


def test_marks_are_gone():
    a = arg(3)
    assert simple(E.copy(E.stop_gradient(E.to_host(E.to_device(a))))) is a
    known = {row.pattern.op.kind for row in finish.rows[4:]}
    assert known == {Kind.IMPLICIT}


def test_a_new_node_keeps_the_line_of_the_one_it_replaces():
    a = arg(3)
    before = E.log(a + 1.0)
    assert simple(before).site is before.site or simple(before).site == before.site


def test_a_row_that_changes_the_dtype_is_refused_by_name():
    bad = Table("bad", [(E.abs(x), lambda x: E.cast(x, dtype=f64))])
    with pytest.raises(RewriteError, match=r"row abs\(x\).*another dtype"):
        rewrite(Graph((), (E.abs(arg(3)),)), bad)


def test_a_row_that_changes_the_shape_is_refused():
    bad = Table("bad", [(E.abs(x), lambda x: reshape(x, shape=(3, 1)))])
    with pytest.raises(RewriteError, match="another shape"):
        rewrite(Graph((), (E.abs(arg(3)),)), bad)


def test_rows_that_undo_each_other_are_found():
    bad = Table("bad", [(x + y, x - -y), (x - -y, x + y)])
    with pytest.raises(RewriteError, match="back to itself"):
        rewrite(Graph((), (arg(3) + arg(3),)), bad)


def test_rows_without_end_are_found():
    bad = Table("bad", [(E.sin(x), lambda x: E.sin(x + 1.0))])
    with pytest.raises(RewriteError, match="no end"):
        rewrite(Graph((), (E.sin(arg(3)),)), bad)


def test_a_wildcard_that_occurs_twice_is_one_value():
    table = Table("t", [(x * x, E.abs(x))])
    a, b = arg(3), arg(3)
    assert rewrite(Graph((), (a * a, a * b)), table).outputs == (E.abs(a), a * b)


def test_commuting_primitives_match_in_every_order():
    table = Table("t", [((x + E.sin(y)) * Const("c"), x)])
    a, b = arg(3), arg(3)
    for node in ((a + E.sin(b)) * 2, 2 * (a + E.sin(b)), (E.sin(b) + a) * 2, 2 * (E.sin(b) + a)):
        assert rewrite(Graph((), (node,)), table).outputs == (a,)


def test_each_full_is_a_constant():
    assert simple(of(2.0, 3) + of(1.0, 3)) is of(3.0, 3) and of(3.0).op is full


def test_gradients_of_parts_are_put_side_by_side():
    parts = [pad(arg(4, 3), pads=((0, 0, 0), (at, 9 - at, 0))) for at in (6, 0, 9, 3)]
    for order in (parts, parts[::-1], [parts[k] for k in (1, 3, 0, 2)]):
        total = order[0] + order[1] + order[2] + order[3]
        (whole,) = simplify(Graph((), (total,))).outputs
        names = {n.op.name for n in Graph((), (whole,)).order()}
        assert whole.op.name == "concat" and names <= {"concat", "add", "input", "full", "expand"}
    pads = [pad(arg(1), pads=((at, 9 - at, 0),)) for at in range(10)]
    many = pads[0]
    for one in pads[1:]:
        many = many + one
    same(many, simplify(Graph((), (many,))).outputs[0], "exact")
