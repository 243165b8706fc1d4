"""Every elementwise primitive and reduction, in every type, on the numbers that go wrong: the
interpreter, the kernels as plain Python, and Numba.
"""

from __future__ import annotations

import ast
from string import Formatter

import numpy as np
import pytest
from test_codegen_random import compiled

from tracegrad.codegen.build import build
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import constant, input_node
from tracegrad.ir.op import Kind, Types
from tracegrad.ir.ops import elementwise as el, reduce as red
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.value import REGISTRY
from tracegrad.ir.verify import verify
from tracegrad.runtime.cpu import python_executor
from tracegrad.runtime.cpu.builtins import BUILTINS

FLOATS = (dt.float64, dt.float32, dt.float16, dt.bfloat16)
WHOLE = (dt.int64, dt.int32, dt.int16, dt.int8, dt.uint8)
RUNGS = {"plain Python": python_executor.execute, "Numba": compiled}
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, 7.5, -2.5, 1.5, 1e-3, 40.0, -40.0,
           np.inf, -np.inf, np.nan)
# how far apart results may be, in the last place of the type
ULPS = {"plain Python": 4, "Numba": 8}
# next to a root, between -3 and -2, a result has the error of the larger numbers it is made of
ROOTS = {"lgamma": 2.0**-52}


def numbers(d: dt.DType) -> np.ndarray:
    if d is dt.bool_:
        return np.array([True, False])
    if d.kind == "float":
        return d.encode(np.array(SPECIAL, d.compute))
    ends = np.iinfo(d.storage)
    whole = [0, 1, 2, 3, 5, 7, 100, ends.max, ends.min, ends.max - 1, ends.min + 1]
    return np.array(whole, d.storage)


def pairs(d: dt.DType) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.meshgrid(numbers(d), numbers(d))
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


def agree(got: np.ndarray, want: np.ndarray, d: dt.DType, ulps: int, words: str,
          atol: float = 0.0) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape, words
    if d.kind != "float":
        np.testing.assert_array_equal(got, want, err_msg=words)
        return
    eps = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
    x, y = (np.asarray(d.decode(v), np.float64) for v in (got, want))
    rtol = (1.01 if d.is_half else ulps) * eps[d.name]
    np.testing.assert_allclose(x, y, rtol=rtol, atol=max(rtol * 1e-2, atol), err_msg=words)


def accepts(op, d: dt.DType) -> bool:
    """Whether a primitive is meant for operands of this type."""
    if op.name == "random_bits":
        return d is dt.int64
    if op.name.endswith(("_sample", "_slope")):
        return False  # tests/test_samplers.py
    bits = op.name.startswith(("bitwise_", "shift_", "gcd"))
    if op.name in ("nextafter", "exponent"):
        return d.kind == "float" and not d.is_half
    if d is dt.bool_:
        logic = op.types in (Types.COMPARE, Types.LOGICAL) and op.name != "isnan"
        return logic or op.name.startswith("bitwise_") or op.name == "copy"
    if bits:
        return d.kind != "float"
    return not (op.types is Types.LOGICAL or (op.types is Types.FLOAT and d.kind != "float"))


def applied(d: dt.DType, x, y) -> dict[str, object]:
    """Every elementwise primitive of x, or of x and y, that takes the type."""
    out = {}
    for op in REGISTRY.values():
        if op.kind is not Kind.ELEMENTWISE or not accepts(op, d):
            continue
        if op.check is not None or op.name in ("bits", "cast", "where", "stop_gradient"):
            continue
        both = "{1}" in op.expr
        if op.name in ("shift_left", "shift_right"):
            out[op.name] = op(x, el.remainder(el.abs(y), constant(7, d)))
        elif op.name == "exponent":
            out[op.name] = op(x, dtype=dt.int32)
        elif op.name == "pow" and d.kind != "float":
            out[op.name] = op(x, constant(3, d))
        else:
            out[op.name] = op(x, y) if both else op(x)
    return out


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("d", dt.ALL, ids=lambda d: d.name)
def test_elementwise_primitives(d, rung):
    a, b = pairs(d)
    x, y = input_node(a.shape, d), input_node(b.shape, d)
    made = applied(d, x, y)
    graph = verify(Graph((x, y), tuple(made.values())))
    want = interpret(graph, a, b)
    got = RUNGS[rung](build(graph), [a, b])
    for name, node, g, w in zip(made, graph.outputs, got, want, strict=True):
        words = f"{name} of {d.name}"
        agree(g, w, node.dtype, ULPS[rung], words, ROOTS.get(name, 0.0))


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("d", dt.ALL, ids=lambda d: d.name)
def test_casts(d, rung):
    a = numbers(d)
    if d.kind == "float":  # what an integer is made of a float out of its range is nobody's promise
        a = a[np.isfinite(d.decode(a)) & (np.abs(d.decode(a)) < 100) & (d.decode(a) > -1)]
    x = input_node(a.shape, d)
    targets = [t for t in dt.ALL if t is not d]
    graph = verify(Graph((x,), tuple(el.cast(x, dtype=t) for t in targets)))
    got = RUNGS[rung](build(graph), [a])
    for t, g, w in zip(targets, got, interpret(graph, a), strict=True):
        agree(g, w, t, 0, f"{d.name} to {t.name}")


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("d", dt.ALL, ids=lambda d: d.name)
def test_reductions(d, rung):
    rng = np.random.default_rng(0)
    a = d.encode(rng.integers(0, 2 if d is dt.bool_ else 4, (3, 4, 5)).astype(d.compute))
    if d.kind == "float":
        a[0, 0, 0], a[1, 1, 1] = d.encode(np.array([np.nan, np.inf], d.compute))
    x = input_node(a.shape, d)
    ops = (red.max, red.min) if d is dt.bool_ else (red.sum, red.prod, red.max, red.min)
    for dims in ((), (0,), (1,), (2,), (0, 2), (0, 1), (0, 1, 2)):
        graph = verify(Graph((x,), tuple(op(x, dims=dims) for op in ops)))
        if rung == "Numba" and dims not in ((1,), (0, 1, 2)):
            continue
        got = RUNGS[rung](build(graph), [a])
        for op, g, w in zip(ops, got, interpret(graph, a), strict=True):
            agree(g, w, d, 8, f"{op.name} over {dims} of {d.name}")


@pytest.mark.parametrize("d", (*FLOATS, dt.int64, dt.int32, dt.uint8), ids=lambda d: d.name)
def test_products(d):
    rng = np.random.default_rng(0)
    extents = ((3, 4, 5), (1, 4, 5), (3, 4, 1), (3, 1, 5), (1, 1, 1), (0, 4, 5), (3, 0, 5))
    shapes = [((m, k), (k, n)) for m, k, n in extents]
    for left, right in (*shapes, ((2, 3, 4), (2, 4, 5))):
        a, b = (d.encode(rng.integers(0, 4, s).astype(d.compute)) for s in (left, right))
        x, y = input_node(left, d), input_node(right, d)
        graph = verify(Graph((x, y), (dot(x, y),)))
        (got,), (want,) = python_executor.execute(build(graph), [a, b]), interpret(graph, a, b)
        np.testing.assert_array_equal(got, want)


def test_half_precision_sums_do_not_stick():
    """In float16 alone, adding ones ends at 2048."""
    for d, exact in ((dt.float16, 5000.0), (dt.bfloat16, 4992.0)):
        x = input_node((5000,), d)
        graph = Graph((x,), (red.sum(x, dims=(0,)),))
        (got,) = compiled(build(graph), [d.encode(np.ones(5000, np.float32))])
        assert float(d.decode(got)) == exact


@pytest.mark.parametrize("op", [op for op in REGISTRY.values() if op.expr], ids=repr)
def test_expressions_are_made_of_builtins(op):
    words = {f: "1" for _, f, _, _ in Formatter().parse(op.expr) if f and not f.isdigit()}
    words |= {"T": "f4", "Y": "f4"}
    for text in (op.expr, op.beside_number):
        tree = ast.parse(text.format("x", "x", "x", **words) or "x")
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert names - {"x"} <= BUILTINS.keys()
