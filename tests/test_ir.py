"""Nodes, graphs, dtypes, the verifier and the printer."""

from __future__ import annotations

import copy
import gc
import math
import pickle

import numpy as np
import pytest
from graphs import gradients, joint

from tracegrad.ir import dtype as dt, ops
from tracegrad.ir.graph import Graph, users
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import Node, Site, _table, at, constant, input_node, intern
from tracegrad.ir.op import ShapeError
from tracegrad.ir.ops.contract import dot, transpose
from tracegrad.ir.ops.elementwise import add, cast, exp, lt, maximum, sin, tanh, where
from tracegrad.ir.ops.movement import concat, expand, permute, reshape, slice as cut
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.show import show
from tracegrad.ir.simplify import simplify
from tracegrad.ir.value import REGISTRY
from tracegrad.ir.verify import VerifyError, verify

f32, f64, i64 = dt.float32, dt.float64, dt.int64


def arg(*shape, dtype=f32, name=""):
    return input_node(shape, dtype, name)


# ---- interning
def test_the_same_thing_twice_is_one_object():
    x, y = arg(3), arg(3)
    assert x + y is x + y
    assert sum_(x * 2, dims=(0,)) is sum_(x * 2, dims=(0,))


def test_two_inputs_of_one_type_are_two():
    assert arg(3) is not arg(3)


def test_constants_that_compare_equal_are_not_always_one():
    assert constant(0.0, f32) is not constant(-0.0, f32)
    assert constant(1, i64) is not constant(True, dt.bool_)
    assert constant(1.0, f32) is not constant(1.0, f64)


def test_nan_is_one_constant():
    assert constant(math.nan, f32) is constant(float("nan"), f32)


def test_a_constant_is_rounded_to_its_type():
    assert constant(0.1, f32).params["value"] == float(np.float32(0.1))
    assert constant(1 + 2**-9, dt.bfloat16).params["value"] == 1.0
    assert constant(300, dt.int8) is constant(44, dt.int8)


def test_a_node_that_nobody_holds_is_forgotten():
    x = arg(3, name="forgotten")
    node = x + 1.0
    before = len(_table)
    del node
    gc.collect()
    assert len(_table) < before


def test_a_number_takes_the_type_of_the_node_beside_it():
    x = arg(3, dtype=f64)
    assert (x + 1).inputs[1].dtype is f64 and (2 * x).inputs[0].dtype is f64
    assert where(lt(x, 0), x, 0).dtype is f64


def test_a_node_has_no_truth_value():
    with pytest.raises(TypeError, match="truth value"):
        bool(arg(3) < 1)


def test_shapes_that_do_not_broadcast_are_refused_with_both_shapes():
    with pytest.raises(ShapeError, match=r"\[2, 3\].*\[2\]"):
        arg(2, 3) + arg(2)


def test_operands_of_two_types_are_refused():
    with pytest.raises(TypeError, match="different dtypes"):
        arg(3) + arg(3, dtype=f64)


def test_primitives_and_dtypes_survive_pickling_as_themselves():
    assert pickle.loads(pickle.dumps(add)) is add
    assert pickle.loads(pickle.dumps(dt.bfloat16)) is dt.bfloat16 is copy.deepcopy(dt.bfloat16)


# ---- graphs
def test_order_is_inputs_first_and_only_what_is_needed():
    x, y = arg(3), arg(3)
    z = (x + y) * x
    order = Graph((x, y, arg(3)), (z,)).order()
    assert set(order) == {x, y, x + y, z}
    assert all(order.index(i) < order.index(n) for n in order for i in n.inputs)
    assert users(order)[x] == [x + y, z]


def test_substitute_replaces_wherever_it_occurs_and_nowhere_else():
    x, y, z = arg(3), arg(3), arg(3)
    graph = Graph((x, y), (sin(x + y) * x, y))
    out = graph.substitute({x + y: z, y: x})
    assert out.outputs == (sin(z) * x, x)


def test_substitute_keeps_the_line_of_what_it_rebuilds():
    x, y = arg(3), arg(3)
    with at(Site("model.py", 7)):
        node = sin(x)
    assert Graph((x,), (node,)).substitute({x: y}).outputs[0].site == Site("model.py", 7)


def test_depth_is_no_limit():
    x = y = arg(4)
    for _ in range(2_500):
        y = tanh(y + -x)
    graph = Graph((x,), (sum_(y, dims=(0,)),))
    out = simplify(joint(graph, [x]), check=verify)
    assert len(out.order()) > 5_000
    a = np.full(4, 0.1, "f4")
    for got, want in zip(interpret(out, a), interpret(joint(graph, [x]), a), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    assert show(out).count("\n") > 5_000


def test_gradients_are_none_where_nothing_flows():
    x, y, n = arg(3), arg(3), arg(3, dtype=i64)
    out = sum_(x * 2 + cast(n, dtype=f32), dims=(0,))
    gx, gy, gn = gradients([(out, constant(1.0, f32))], [x, y, n])
    assert gx.shape == (3,) and gy is None and gn is None


def test_interpret_wants_one_array_per_input():
    x = arg(3)
    with pytest.raises(TypeError, match="1 inputs, got 2"):
        interpret(Graph((x,), (x,)), np.zeros(3), np.zeros(3))


# ---- the verifier: planted faults
def forged(node: Node, **changes) -> Node:
    """A Node past the front door, as a wrong pass might make one."""
    parts = {
        "op": node.op,
        "inputs": node.inputs,
        "params": node.params,
        "shape": node.shape,
        "dtype": node.dtype,
    }
    return Node(**(parts | changes))


X, Y, Z, W = arg(2, 3), arg(2, 3), arg(2), arg(2, 1)
FAULTS = {
    "infer says float32": lambda: forged(X + Y, shape=(3, 2)),
    "infer says": lambda: forged(X + Y, dtype=f64),
    "not interned": lambda: forged(X + Y),
    "infer refuses it": lambda: forged(X + Y, inputs=(X, Z)),
    "infer refuses it: .*missing": lambda: forged(reshape(X, shape=(6,)), params={}),
    "infer refuses it: .*unexpected": lambda: forged(
        reshape(X, shape=(6,)), params={"shape": (6,), "stray": 1}
    ),
    "cannot be hashed": lambda: forged(permute(X, axes=(1, 0)), params={"axes": [1, 0]}),
    "an input is not a Node": lambda: forged(X + Y, inputs=(X, 1.0)),
    "does not declare": lambda: X + W,
    "axes is a permutation": lambda: intern(REGISTRY["permute"], (X,), {"axes": (0, 0)}),
    "start <= stop": lambda: intern(REGISTRY["slice"], (X,), {"slices": ((0, 4, 1), (0, 3, 1))}),
    "sorted axes": lambda: intern(REGISTRY["sum"], (X,), {"dims": (1, 0)}),
    "non-negative": lambda: intern(REGISTRY["pad"], (X,), {"pads": ((1, -1, 0), (0, 0, 0))}),
    "condition is bool": lambda: where(X, Y, Y),
    "are not bool": lambda: REGISTRY["logical_and"](X, Y),
    "one int64 index": lambda: ops.index.index(X, Z, axes=(0,)),
}


@pytest.mark.parametrize("message", FAULTS)
def test_the_verifier_finds(message):
    bad = FAULTS[message]()
    with pytest.raises(VerifyError, match=message) as caught:
        verify(Graph((X, Y, Z), (bad,)))
    assert (repr(W) if message == "does not declare" else f"= {bad.op.name}(") in str(caught.value)


def test_the_verifier_finds_a_cycle():
    node = forged(X + Y)
    node.inputs = (node, Y)
    with pytest.raises(VerifyError, match="cycle"):
        verify(Graph((Y,), (node,)))


def test_the_verifier_finds_inputs_declared_twice_or_that_are_none():
    with pytest.raises(VerifyError, match="twice"):
        verify(Graph((X, X), (X,)))
    with pytest.raises(VerifyError, match="no input"):
        verify(Graph((X + Y,), (X + Y,)))


def test_the_verifier_gives_the_graph_back():
    graph = Graph((X, Y), (concat(X, Y, axis=0), cut(X, slices=((0, 1, 1), (1, 3, 2)))))
    assert verify(graph) is graph


# ---- the printer
GOLDEN = """\
def step(x: float32[8, 3], for_: float32[4, 3], layer_0_weight: float32[4], x_2: int64[8]):
    v0 = permute(for_, axes=(1, 0))  # float32[3, 4]        train.py:3
    v1 = dot(x, v0)                  # float32[8, 4]        train.py:3
    v2 = v1 + layer_0_weight         # float32[8, 4]        train.py:3
    v3 = maximum(v2, 0.1)            # float32[8, 4]        train.py:4
    v4 = slice(v3, [0:8:2, 1:4])     # float32[4, 3]        train.py:5
    v5 = -v4                         # float32[4, 3]        train.py:5
    v6 = sum(v5, dims=(0,))          # float32[3]           train.py:5
    v7 = full(1.25, shape=(2, 3))    # float32[2, 3]        train.py:6
    v8 = v6 < v7                     # bool[2, 3]           train.py:6
    v9 = where(v8, -inf, v6)         # float32[2, 3]        train.py:6
    v10 = cast(x_2, dtype=float32)   # float32[8]           train.py:7
    return v9, 2.5, v10, x"""


def test_the_printed_graph():
    x, w, b = arg(8, 3, name="x"), arg(4, 3, name="for"), arg(4, name="layer.0.weight")
    k = arg(8, dtype=i64, name="x")
    with at(Site("/home/user/train.py", 3)):
        h = dot(x, transpose(w)) + b
    with at(Site("/home/user/train.py", 4)):
        h = maximum(h, 0.1)
    with at(Site("/home/user/train.py", 5)):
        h = sum_(-cut(h, slices=((0, 8, 2), (1, 4, 1))), dims=(0,))
    with at(Site("/home/user/train.py", 6)):
        h = where(h < constant(1.25, f32, (2, 3)), -math.inf, h)
    with at(Site("/home/user/train.py", 7)):
        k_ = cast(k, dtype=f32)
    assert show(Graph((x, w, b, k), (h, constant(2.5, f32), k_, x)), "step") == GOLDEN


def test_printing_is_stable():
    x = arg(3, name="x")
    text = [show(Graph((x,), (exp(x) + sin(x),))) for _ in range(2)]
    assert text[0] == text[1]


def test_names_are_different_and_valid():
    graph = Graph(tuple(arg(1, name=n) for n in ("", "", "v0", "a b", "1", "a_b")), ())
    compile(show(graph).replace("return ", "return None"), "shown", "exec")


# ---- dtypes
def test_there_is_one_object_per_type():
    assert dt.named("float32") is dt.of_numpy(np.dtype(">f4")) is f32
    with pytest.raises(TypeError, match="complex128"):
        dt.of_numpy(np.dtype("c16"))


def test_python_numbers_have_a_type():
    assert (
        dt.of_scalar(True) is dt.bool_ and dt.of_scalar(1) is i64 and dt.of_scalar(1.0, f64) is f64
    )


def test_promotion_is_a_semilattice():
    for a in dt.ALL:
        for b in dt.ALL:
            assert dt.promote(a, b) is dt.promote(b, a)
            assert dt.promote(dt.promote(a, b), a) is dt.promote(a, b)


@pytest.mark.parametrize("half", [dt.float16, dt.bfloat16], ids=repr)
def test_every_half_number_survives_the_round_trip(half):
    bits = np.arange(2**16, dtype=np.uint16)
    stored = bits.view(half.storage)
    numbers = half.decode(stored)
    back = half.encode(numbers).view(np.uint16)
    finite = ~np.isnan(numbers)
    assert (back[finite] == bits[finite]).all() and np.isnan(half.decode(back.view(half.storage)))[
        ~finite
    ].all()
    assert half.encode(np.float32(1.0)).shape == ()


def test_broadcasting_is_numpy_s():
    assert (arg(2, 1) + arg(4, 1, 3)).shape == (4, 2, 3)
    assert (arg(0, 1) + arg(1, 5)).shape == (0, 5)
    assert expand(arg(1), shape=(0,)).shape == (0,)


def test_backward_computes_views_and_cheap_expressions_again():
    views = {op for op in REGISTRY.values() if op.view is not None}
    again = {op for op in REGISTRY.values() if op.recomputed}
    assert views <= again
    assert {add, where, cast, ops.random.random_bits} <= again
    moved = {ops.movement.pad, concat, ops.movement.fold, ops.index.index}  # memory is written
    assert not again & {exp, sum_, dot, ops.elementwise.check_index, *moved}
