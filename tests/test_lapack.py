"""Kernels that call LAPACK: interpreter, generated source as plain Python, and machine code agree;
many matrices are shared by threads; what fails is reported.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.codegen.build import build
from tracegrad.ir import dtype as dt
from tracegrad.ir.faults import LinAlgError
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import input_node
from tracegrad.ir.ops import linalg as L
from tracegrad.ir.ops.contract import dot, transpose
from tracegrad.ir.ops.matrices import identity
from tracegrad.runtime.cpu.compiler import statistics
from tracegrad.runtime.cpu.python_executor import execute

FACTORISATIONS = {
    "cholesky": lambda x: L.cholesky(
        dot(x, transpose(x)) + identity(x, (*x.shape[:-1], x.shape[-2])), check=None),
    "lu": lambda x: L.lu(x, check=None),
    "lu-turned": lambda x: L.lu(transpose(x), check=None),
    "qr": lambda x: L.qr(x, complete=False),
    "qr-complete": lambda x: L.qr(x, complete=True),
    "qr-alone": lambda x: L.qr(x, complete=True, vectors=False),
    "eigh-alone": lambda x: L.eigh(dot(x, transpose(x)), upper=True, check=None, vectors=False),
    "svd-alone": lambda x: L.svd(x, full=True, check=None, vectors=False),
    "eigh": lambda x: L.eigh(dot(x, transpose(x)), upper=False, check=None),
    "eigh-upper": lambda x: L.eigh(dot(x, transpose(x)), upper=True, check=None),
    "svd": lambda x: L.svd(x, full=False, check=None),
    "svd-full": lambda x: L.svd(x, full=True, check=None),
    **{
        f"triangular_solve-{u:d}{t:d}{n:d}": lambda x, u=u, t=t, n=n: L.triangular_solve(
            dot(x, transpose(x)) + identity(x, (*x.shape[:-1], x.shape[-2])), x,
            upper=u, trans=t, unit=n)
        for u in (False, True) for t in (False, True) for n in (False, True)
    },
}


def program_of(function, shape, dtype):
    x = input_node(shape, dtype)
    graph = Graph((x,), (function(x),))
    return graph, build(graph)


def unique(name, packed, shape):
    """Of eigenvalues and singular values all, of the vectors their product with the values."""
    m, n = shape[-2:]
    if name.startswith("eigh"):
        w, v = packed[..., :m], packed[..., m:].reshape(*shape[:-2], m, m)
        return np.concatenate([w[..., None, :], v * w[..., None, :] @ np.swapaxes(v, -1, -2)], -2)
    k = min(m, n)
    left, right = (m, n) if "full" in name else (k, k)
    u, s, vh = np.split(packed, [m * left, m * left + k], -1)
    u, vh = u.reshape(*shape[:-2], m, left), vh.reshape(*shape[:-2], right, n)
    assert np.allclose(np.swapaxes(u, -1, -2) @ u, np.eye(left), atol=1e-4)
    assert np.allclose(vh @ np.swapaxes(vh, -1, -2), np.eye(right), atol=1e-4)
    return u[..., :k] * s[..., None, :] @ vh[..., :k, :]


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 4), (2, 0), (0, 2), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("name", FACTORISATIONS)
def test_the_source_as_plain_python_computes_what_the_interpreter_does(name, shape, dtype):
    graph, program = program_of(FACTORISATIONS[name], shape, dtype)
    x = np.random.default_rng(1).uniform(-1, 1, shape).astype(dtype.storage)
    (wanted,) = interpret(graph, x)
    (mine,) = execute(program, [x.copy()])
    near = 1e-4 if dtype is dt.float32 else 1e-10
    if name.startswith(("eigh", "svd")) and "alone" not in name:
        # vectors of equal values, as of zeros, are anyone's
        mine, wanted = (unique(name, a, shape) for a in (mine, wanted))
    np.testing.assert_allclose(mine, wanted, rtol=near, atol=near)


def test_plain_python_reports_what_has_no_factor():
    _, program = program_of(lambda x: L.cholesky(x, check="linalg.cholesky"), (2, 1, 1), dt.float64)
    with pytest.raises(LinAlgError, match=r"Batch element 1.*minor of order 1"):
        execute(program, [np.array([[[1.0]], [[-1.0]]])])


def test_many_matrices_are_shared_by_threads():
    a = np.random.default_rng(0).normal(size=(600, 12, 12))
    x = tg.tensor(a @ a.transpose(0, 2, 1) + np.eye(12), dtype=tg.float64)

    @tg.compile
    def step(x, b):
        return tg.linalg.cholesky(x), tg.linalg.solve(x, b), tg.linalg.eigvalsh(x)

    b = tg.ones(12, 2, dtype=tg.float64)
    lower, solution, values = (t.numpy() for t in step(x, b))
    np.testing.assert_allclose(lower @ lower.transpose(0, 2, 1), x.numpy(), rtol=1e-9)
    np.testing.assert_allclose(x.numpy() @ solution, np.ones((600, 12, 2)), rtol=1e-7)
    np.testing.assert_allclose(values.sum(1), np.trace(x.numpy(), axis1=1, axis2=2), rtol=1e-9)


def test_a_new_batch_and_size_compile_nothing():
    step = tg.compile(lambda x: tg.linalg.cholesky(x))
    step(tg.eye(3).expand(2, 3, 3).clone())
    before = statistics.compiled + statistics.loaded
    step(2 * tg.eye(5).expand(4, 5, 5))
    assert statistics.compiled + statistics.loaded == before


def test_what_fails_without_a_check_becomes_nan_in_its_own_matrix():
    x = tg.tensor([[[4.0, 0.0], [0.0, -1.0]], [[4.0, 0.0], [0.0, 9.0]]])
    for function in (tg.linalg.cholesky_ex, tg.compile(tg.linalg.cholesky_ex)):
        factor, info = function(x)
        assert factor[1].tolist() == [[2, 0], [0, 3]]
        assert factor[0][0].tolist() == [2, 0]
        assert math.isnan(factor[0, 1, 1].item())
        assert info.tolist() == [2, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "row", "column"), [(1, 0, 0), (3, 0, 0), (3, 2, 1), (40, 33, 7)])
def test_a_matrix_with_nan_is_not_positive_definite(n, row, column, dtype):
    torch = pytest.importorskip("torch")
    filled = np.eye(n) + 1
    filled[row, column] = math.nan
    stack = np.stack([np.eye(n), filled])
    theirs = torch.linalg.cholesky_ex(torch.tensor(stack, dtype=getattr(torch, dtype))).info
    with pytest.raises(torch.linalg.LinAlgError) as refused:
        torch.linalg.cholesky(torch.tensor(stack, dtype=getattr(torch, dtype)))
    x = tg.tensor(stack, dtype=getattr(tg, dtype))
    for way in (lambda f: f, tg.compile):
        assert way(tg.linalg.cholesky_ex)(x).info.tolist() == theirs.tolist() != [0, 0]
        with pytest.raises(LinAlgError) as raised:
            way(tg.linalg.cholesky)(x)
        assert str(refused.value) in str(raised.value)


OF_TORCH = {
    "inv": lambda lib, a, b: [lib.linalg.inv(a)],
    "solve": lambda lib, a, b: [lib.linalg.solve(a, b)],
    "solve-right": lambda lib, a, b: [lib.linalg.solve(a, b.mT, left=False)],
    "lu_solve": lambda lib, a, b: [lib.linalg.lu_solve(*lib.linalg.lu_factor(a), b)],
    "lu_factor_ex": lambda lib, a, b: lib.linalg.lu_factor_ex(a),
    "lu": lambda lib, a, b: lib.linalg.lu(a),
    "det": lambda lib, a, b: [lib.linalg.det(a)],
    "power": lambda lib, a, b: [lib.linalg.matrix_power(a, -2)],
    "qr": lambda lib, a, b: lib.linalg.qr(a),
    "qr-complete": lambda lib, a, b: lib.linalg.qr(a[..., :2], mode="complete"),
    "solve_triangular": lambda lib, a, b: [lib.linalg.solve_triangular(a, b, upper=True)],
    "eigvalsh": lambda lib, a, b: [lib.linalg.eigvalsh(a)],
    "svdvals": lambda lib, a, b: [lib.linalg.svdvals(a)],
    "cholesky": lambda lib, a, b: [lib.linalg.cholesky(a)],
}


def results(lib, function, dtype, *arrays):
    try:
        made = function(*(lib.tensor(x, dtype=getattr(lib, dtype)) for x in arrays))
    except RuntimeError:
        return None
    return [x.numpy() for x in made]


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
@pytest.mark.parametrize("name", OF_TORCH)
def test_nothing_is_finite_that_is_nan_in_torch(name, dtype):
    torch = pytest.importorskip("torch")
    function, rng = OF_TORCH[name], np.random.default_rng(2)
    compiled = tg.compile(lambda a, b: tuple(function(tg, a, b)))
    for n in (2, 3, 5):
        stack = rng.normal(size=(3, n, n))
        stack = stack @ stack.transpose(0, 2, 1) + np.eye(n)
        b = rng.normal(size=(3, n, 2))
        for row, column, value in ((0, 0, math.nan), (n - 1, n - 1, math.nan), (1, 0, math.nan),
                                   (0, n - 1, math.nan), (0, 0, math.inf), (0, 1, -math.inf)):
            a = stack.copy()
            a[1, row, column] = value
            theirs = results(torch, lambda a, b: function(torch, a, b), dtype, a, b)
            for way in (lambda a, b: function(tg, a, b), compiled):
                mine = results(tg, way, dtype, a, b)
                if theirs is None or mine is None:  # torch lets some infinities pass in svdvals
                    assert mine is None
                    continue
                for x, y in zip(mine, theirs, strict=True):
                    wrong = np.isfinite(x) & np.isnan(y)
                    assert not wrong.any(), (n, row, column, value)
                    if name != "det":
                        np.testing.assert_allclose(x[[0, 2]], y[[0, 2]], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("way", [lambda f: f, tg.compile])
def test_a_nan_in_a_pivot_reaches_every_number(way):
    a = tg.tensor([[math.nan, 1.0], [1.0, 2.0]])
    assert way(tg.linalg.inv)(a).isnan().all()
    singular = tg.tensor([[math.nan, 1.0], [1.0, 1.0]])  # its LU is not that of [[1, 1], [1, 1]]
    assert way(tg.linalg.solve)(singular, tg.ones(2)).isnan().all()
    zero = tg.tensor([[0.0, 1.0], [math.nan, 1.0]])
    assert way(tg.linalg.lu_factor_ex)(zero).info.item() == 1


@pytest.mark.parametrize("n", [2, 4])
def test_an_infinite_pivot_before_others_ends_a_cholesky_of_float32(n):
    torch = pytest.importorskip("torch")
    for k in range(n):
        a = np.eye(n) + 1
        a[k, k] = math.inf
        for dtype in ("float32", "float64"):
            info = torch.linalg.cholesky_ex(torch.tensor(a, dtype=getattr(torch, dtype))).info
            for way in (lambda f: f, tg.compile):
                mine = way(tg.linalg.cholesky_ex)(tg.tensor(a, dtype=getattr(tg, dtype))).info
                assert mine.item() == info.item()
