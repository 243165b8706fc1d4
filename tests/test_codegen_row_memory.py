"""Rows that keep values between their passes, and add to sums down columns; reductions whose loops
run along memory.
"""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from processes import run
from test_codegen_rows import everything

import tracegrad as T
import tracegrad.nn.functional as F
from tracegrad.codegen.build import build
from tracegrad.codegen.schedule import fuse
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import input_node
from tracegrad.ir.ops.elementwise import exp
from tracegrad.ir.ops.movement import reshape
from tracegrad.ir.ops.reduce import max as max_, min as min_, sum as sum_
from tracegrad.runtime.cpu import python_executor
from tracegrad.testing import assert_kernels

SIZES = [(64, 9), (130, 4), (199, 700), (64, 64)]


@pytest.fixture
def small_parts(monkeypatch):
    """Threads share even small loops."""
    monkeypatch.setattr(fuse, "WORTH_A_THREAD", 1)


def without_followers(M, x, b, s):
    """Points, rows, columns and the whole, of which nothing follows."""
    points, row, down, whole, _, _ = everything(M, x, b * 0, s * 0)
    return points, row, down, whole


@pytest.mark.parametrize(("size", "dtype"), [*itertools.product(SIZES, ["float32", "float64"])])
@pytest.mark.parametrize("program", [without_followers, everything])
def test_sums_of_parts_are_the_sums(size, dtype, program, small_parts):
    n, m = size
    rng = np.random.default_rng(n * 40 + m)
    x, b, s = (rng.standard_normal(shape).astype(dtype) for shape in ((n, m), (m,), ()))
    found = T.compile(lambda *args: program(T, *args))(*map(T.from_numpy, (x, b, s)))
    for y, w in zip(found, program(np, x, b, s), strict=True):
        scale = np.abs(w).max(initial=1)
        np.testing.assert_allclose(y.numpy(), w, rtol=0, atol=scale * np.finfo(dtype).eps * 40)


def columns_graph(n: int, m: int, dtype: dt.DType) -> tuple[Graph, list[np.ndarray]]:
    x = input_node((n, m), dtype)
    y = exp(x - reshape(max_(x, dims=(1,)), shape=(n, 1)))
    y = y / reshape(sum_(y, dims=(1,)), shape=(n, 1))
    outputs = (y, sum_(y, dims=(0,)), max_(y * x, dims=(0,)), min_(y, dims=(0, 1)))
    value = np.random.default_rng(n).standard_normal((n, m)).astype(dtype.storage)
    e = np.exp(value - value.max(1, keepdims=True))
    e /= e.sum(1, keepdims=True)
    return Graph((x,), outputs), [value, e, e.sum(0), (e * value).max(0), e.min()]


@pytest.mark.parametrize("size", [(70, 33), (133, 6)])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64])
def test_plain_python_agrees(size, dtype, small_parts):
    graph, (value, *wanted) = columns_graph(*size, dtype)
    program = build(graph)
    assert [launch.kernel.template for launch in program.launches].count("sums") == 3
    for y, w in zip(python_executor.execute(program, [value.copy()]), wanted, strict=True):
        np.testing.assert_allclose(y, w, rtol=1e-5)


def layer(width: int, n: int, dtype=T.float32):
    rng = np.random.default_rng(width)
    arrays = (rng.standard_normal((n, width)), 1 + rng.random(width), rng.standard_normal(width))
    return [T.tensor(a, dtype=dtype, requires_grad=True) for a in arrays]


def loss(x, w, b):
    return F.gelu(F.layer_norm(x, (x.shape[1],), w, b)).square().mean()


@pytest.mark.parametrize("dtype", [T.float32, T.float64, T.bfloat16])
@pytest.mark.parametrize("size", [(300, 257), (1031, 96)])
def test_gradients_of_scale_and_bias_beside_the_rows(size, dtype):
    tensors, again = layer(size[1], size[0], dtype), layer(size[1], size[0], T.float64)
    for a, x in zip(again, tensors, strict=True):
        a.data = x.detach().to(T.float64)

    @T.compile
    def step():
        value = loss(*tensors)
        value.backward()
        return value

    step()
    loss(*again).backward()
    for x, a in zip(tensors, again, strict=True):
        scale = a.grad.abs().max().item()
        eps = {T.float32: 2e-6, T.float64: 2e-14, T.bfloat16: 0.03}[dtype]
        assert (x.grad.to(T.float64) - a.grad).abs().max().item() <= eps * scale


def test_a_costly_value_is_computed_once_and_nothing_is_stored_for_the_columns():
    tensors = layer(1024, 512)

    @T.compile
    def step():
        value = loss(*tensors)
        value.backward()
        return value

    step()
    assert step.source().count("erf(") == 1 and step.source().count("exp(") == 1
    program = step.program()
    assert max(b.nbytes for b in program.buffers if b.kind == "arena") < 512 * 1024 * 4
    assert program.launches[0].kernel.template == "row"
    assert {launch.kernel.template for launch in program.launches[1:]} <= {"sums", "row"}


def test_softmax_keeps_its_exponentials():
    compiled = T.compile(lambda x: T.softmax(x, 1))
    x = np.random.default_rng(0).standard_normal((70, 300)).astype(np.float32)
    y = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(compiled(T.from_numpy(x)).numpy(), y / y.sum(1, keepdims=True),
                               rtol=1e-5)
    assert compiled.source().count("exp(") == 1
    assert_kernels(compiled, 1)


def test_long_rows_are_computed_again():
    compiled = T.compile(lambda x: T.softmax(x, 1))
    compiled(T.randn(2, 32_000))
    assert compiled.source().count("exp(") == 1
    compiled(T.randn(2, 32_768).double())
    assert compiled.source().count("exp(") == 2


def test_what_rows_compute_one_by_one_stays_out_of_them(small_parts):
    """A gate for each row takes longer than a row of ten numbers."""
    def f(x, w):
        return (x * T.tanh((x * w).sum(1, keepdim=True))).sum(0)

    compiled = T.compile(f)
    x, w = T.randn(400, 10), T.randn(10)
    assert T.allclose(compiled(x, w), f(x, w), atol=1e-5)
    templates = [launch.kernel.template for launch in compiled.program().launches]
    assert templates == ["row", "column"]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("dims", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_loops_along_memory_whatever_the_axes(axes, dims):
    x = np.random.default_rng(1).standard_normal((12, 40, 23))
    w = np.random.default_rng(2).standard_normal(x.transpose(axes).shape[-1])
    f = lambda x, w: ((x.permute(axes) * w).sum(dims), x.permute(axes).exp().amax(dims))  # noqa: E731
    total, most = T.compile(f)(T.from_numpy(x), T.from_numpy(w))
    turned = x.transpose(axes)
    np.testing.assert_allclose(total.numpy(), (turned * w).sum(dims), atol=1e-12)
    np.testing.assert_allclose(most.numpy(), np.exp(turned).max(dims), atol=1e-12)


def test_columns_of_a_transposed_matrix_are_read_along_memory():
    compiled = T.compile(lambda x, g: (x.t() * g).sum(1))
    compiled(T.randn(500, 30), T.randn(500))
    (launch,) = compiled.program().launches
    assert launch.kernel.template == "column"


def bits_of_rows():
    digest = hashlib.sha256()
    for n, m in ((1031, 257), (777, 400)):
        tensors = layer(m, n)

        def step(tensors=tensors):
            value = loss(*tensors)
            value.backward()
            return value

        results = [T.compile(step)(), *(x.grad for x in tensors)]
        compiled = T.compile(lambda x: (T.softmax(x, 1), x.t().contiguous(), *x.sort(1)))
        results += compiled(tensors[0].detach())
        for y in results:
            digest.update(np.ascontiguousarray(y.detach().numpy()).tobytes())
    print(digest.hexdigest(), end="")


@pytest.mark.slow
def test_any_number_of_threads_gives_the_same_bits():
    one, *others = (run(bits_of_rows, env={"NUMBA_NUM_THREADS": n}) for n in ("1", "2", "5"))
    assert others == [one, one]
