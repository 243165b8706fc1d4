"""A check in code whose result nobody reads: it raises when compiled as it does eagerly, and no
more is computed for it than it needs.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as T
from tracegrad.ir.interpret import interpret
from tracegrad.ir.verify import VerifyError, verify
from tracegrad.nn import functional as F
from tracegrad.testing import assert_kernels

NAN = float("nan")
MATRIX, SINGULAR = [[2.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]
INDEFINITE, NO_NUMBERS = [[1.0, 2.0], [2.0, 1.0]], [[1.0, NAN], [NAN, 1.0]]
# name -> (what is computed, of values that it takes, of values that it does not)
CALLS = {
    "//": (lambda a: 3 // a, [2, 1], [3, 0]),
    "%": (lambda a: 3 % a, [2, 1], [0, 3]),
    "fmod": (lambda a: T.fmod(T.tensor(7), a), [2, 1], [0, 0]),
    "x[i]": (lambda a: T.ones(3)[a], [2, -3], [2, 3]),
    "x[i] = v": (lambda a: T.ones(3).__setitem__(a, 2.0), [2, -3], [2, -4]),
    "gather": (lambda a: T.ones(3).gather(0, a), [2, 1], [2, -1]),
    "take": (lambda a: T.ones(3).take(a), [2, 1], [2, 9]),
    "index_select": (lambda a: T.ones(3).index_select(0, a), [2, 1], [2, 3]),
    "scatter": (lambda a: T.ones(3).scatter(0, a, T.ones(2)), [2, 1], [3, 1]),
    "index_add": (lambda a: T.ones(3).index_add(0, a, T.ones(2)), [2, 1], [2, 3]),
    "index_copy": (lambda a: T.ones(3).index_copy(0, a, T.ones(2)), [2, 1], [2, 3]),
    "searchsorted": (lambda a: T.searchsorted(T.ones(2), T.ones(2), sorter=a), [0, 1], [0, 2]),
    "embedding": (lambda a: F.embedding(a, T.ones(3, 2)), [2, 1], [2, 3]),
    "embedding_bag": (lambda a: F.embedding_bag(a, T.ones(3, 2), T.tensor([0])), [2, 1], [2, 3]),
    "first bag": (lambda a: F.embedding_bag(T.tensor([0, 1]), T.ones(3, 2), a), [0, 1], [1, 1]),
    "last bag": (lambda a: F.embedding_bag(T.tensor([0, 1]), T.ones(3, 2), a), [0, 1], [0, 3]),
    "one_hot": (lambda a: F.one_hot(a, 3), [2, 1], [2, 3]),
    "one_hot, negative": (lambda a: F.one_hot(a, 3), [2, 1], [-1, 2]),
    "nll_loss": (lambda a: F.nll_loss(T.ones(2, 3), a), [2, -100], [2, 3]),
    "cross_entropy": (lambda a: F.cross_entropy(T.ones(2, 3), a), [2, 1], [2, -1]),
    "multi_margin_loss": (lambda a: F.multi_margin_loss(T.ones(2, 3), a), [2, 1], [2, 5]),
    "multilabel_margin_loss": (lambda a: F.multilabel_margin_loss(T.ones(2), a), [1, -1], [2, -1]),
    "binary_cross_entropy": (
        lambda a: F.binary_cross_entropy(a, T.ones(2)), [0.0, 1.0], [0.5, NAN]
    ),
    "gaussian_nll_loss": (
        lambda a: F.gaussian_nll_loss(T.ones(2), T.ones(2), a), [0.1, 2.0], [0.1, -2.0]
    ),
    "input_lengths": (
        lambda a: F.ctc_loss(T.zeros(5, 2, 3), T.ones(2, 2, dtype=T.int64), a, T.tensor([1, 1])),
        [5, 4], [5, 6],
    ),
    "target_lengths": (
        lambda a: F.ctc_loss(T.zeros(5, 2, 3), T.ones(2, 2, dtype=T.int64), T.tensor([5, 5]), a),
        [2, 1], [2, 3],
    ),
    "targets in a row": (
        lambda a: F.ctc_loss(T.zeros(5, 2, 3), T.tensor([1, 2, 1]), T.tensor([5, 5]), a),
        [2, 1], [2, 2],
    ),
    "masked_scatter": (
        lambda a: T.ones(3).masked_scatter(a, T.ones(1)), [False, True, False], [True, True, False]
    ),
    "masked_scatter of none": (
        lambda a: T.ones(2).masked_scatter(a, T.ones(0)), [False, False], [False, True]
    ),
    "normal": (lambda a: T.normal(0.0, a), [1.0, 0.0], [1.0, -1.0]),
    "bernoulli": (lambda a: T.bernoulli(a), [0.0, 1.0], [0.5, 1.5]),
    "multinomial": (lambda a: T.multinomial(a, 1), [0.0, 2.0], [1.0, -1.0]),
    "multinomial of nothing": (lambda a: T.multinomial(a, 1), [0.0, 2.0], [0.0, 0.0]),
    "solve": (lambda a: T.linalg.solve(a, T.ones(2)), MATRIX, SINGULAR),
    "inv": (lambda a: T.linalg.inv(a), MATRIX, SINGULAR),
    "inverse of a stack": (lambda a: T.linalg.inv(a), [MATRIX, MATRIX], [MATRIX, SINGULAR]),
    "cholesky": (lambda a: T.linalg.cholesky(a), MATRIX, INDEFINITE),
    "lu_factor": (lambda a: T.linalg.lu_factor(a), MATRIX, SINGULAR),
    "svd": (lambda a: T.linalg.svd(a), MATRIX, NO_NUMBERS),
    "inv_ex": (lambda a: T.linalg.inv_ex(a, check_errors=True), MATRIX, SINGULAR),
    "cholesky_ex": (lambda a: T.linalg.cholesky_ex(a, check_errors=True), MATRIX, INDEFINITE),
}
every = pytest.mark.parametrize("name", CALLS)


def refusal(f, *args) -> tuple[type, str] | None:
    """What a call raises."""
    try:
        f(*args)
    except Exception as error:
        return type(error), str(error)
    return None


def unread(call):
    def f(a, x):
        call(a)
        return x + 1

    return f


@every
def test_a_check_raises_though_nobody_reads_the_result(name):
    call, good, bad = CALLS[name]
    x, a, b = T.zeros(3), T.tensor(good), T.tensor(bad)
    f = T.compile(unread(call))
    want = refusal(call, b)
    assert want is not None
    assert f(a, x).tolist() == [1, 1, 1]
    assert refusal(f, b, x) == want
    assert f(a, x).tolist() == [1, 1, 1]
    assert f.cache_info().misses == 1


@every
def test_a_check_raises_where_the_result_is_read(name):
    call, good, bad = CALLS[name]
    f = T.compile(call)
    assert refusal(f, T.tensor(good)) is None
    assert refusal(f, T.tensor(bad)) == refusal(call, T.tensor(bad))


@every
def test_nothing_is_written_before_a_check(name):
    call, good, bad = CALLS[name]
    w, count = T.zeros(3), T.zeros(())

    @T.compile
    def f(a):
        w.add_(1)
        call(a)
        count.add_(w.sum())

    f(T.tensor(good))
    assert refusal(f, T.tensor(bad)) is not None
    assert (w.tolist(), count.item()) == ([1, 1, 1], 3)


def test_only_the_check_is_computed():
    @T.compile
    def f(x, i, a):
        (x[i] * 2).tanh().sum()
        T.linalg.solve(a, x)
        return x * 2

    f(T.ones(2), T.tensor([0, 1]), T.eye(2))
    assert [n.op.name for n in f.graph().order() if n.op.name not in ("input", "full")] == [
        "mul", "check_index", "lu"
    ]
    source = f.source()
    assert source.count("store_i8") == 0
    assert "select" not in source


def test_where_the_result_is_read_there_is_one_check():
    @T.compile
    def f(x, i):
        x[i]
        return x[i] * 2

    f(T.ones(2), T.tensor([0, 1]))
    assert sum(n.op.check is not None for n in f.graph().order()) == 1
    assert_kernels(f, 1)


def test_what_rewriting_throws_away_is_checked():
    f = T.compile(lambda a, b: (a // b) * 0 + (a % b)[:0].sum())
    one, zero = T.tensor([1, 2]), T.tensor([1, 0])
    assert f(one, one).tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        f(one, zero)


def test_the_first_check_that_fails_is_the_one_that_raises():
    def f(a, b, m):
        T.linalg.inv(m)
        a // b
        T.ones(2)[a]
        return a + 1

    compiled = T.compile(f)
    good, zero, far = T.tensor([1, 1]), T.tensor([1, 0]), T.tensor([1, 5])
    for args in [
        (good, good, T.eye(2)), (far, zero, T.eye(2)), (far, good, T.eye(2)),
        (far, zero, T.zeros(2, 2)), (good, zero, T.zeros(2, 2)),
    ]:
        assert refusal(compiled, *args) == refusal(f, *args)


@pytest.mark.parametrize("shape", [(), (0,), (3, 4), (70_000,)])
def test_of_every_shape(shape):
    f = T.compile(unread(lambda a: 7 // a))
    a, x = T.ones(shape, dtype=T.int32), T.zeros(2)
    assert f(a, x).tolist() == [1, 1]
    if a.numel():
        a.reshape(-1)[-1] = 0
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            f(a, x)


def test_a_check_that_a_branch_is_decided_after():
    @T.compile
    def f(x, i):
        x[i]
        return x * 2 if x.sum() > 0 else x

    for sign in (1, -1):
        x = T.ones(2) * sign
        f(x, T.tensor(1))
        with pytest.raises(IndexError):
            f(x, T.tensor(2))


def test_a_check_in_a_loss_and_in_its_backward():
    class Divides(T.autograd.Function):
        @staticmethod
        def forward(ctx, x, n):
            ctx.n = n
            return x * 2

        @staticmethod
        def backward(ctx, g):
            1 // ctx.n
            T.ones(2)[ctx.n]
            return g * 2, None

    def loss(x, n):
        x[n]
        return Divides.apply(x, n).sum()

    x = T.ones(3, requires_grad=True)
    outcomes = []
    for f in (loss, T.compile(loss)):
        for n in (1, 0, 2, 3):
            n = T.tensor([n])
            found = refusal(f, x, n)
            outcomes.append((found, None if found else refusal(f(x, n).backward)))
    assert outcomes[:4] == outcomes[4:]
    assert [bool(a) for a, _ in outcomes[:4]] == [False, False, False, True]
    assert [bool(b) for _, b in outcomes[:4]] == [False, True, True, False]


def test_under_vmap_too():
    f = T.vmap(lambda a: F.one_hot(a, 3))
    assert f(T.tensor([[1], [2]])).shape == (2, 1, 3)
    for g in (f, T.compile(f)):
        with pytest.raises(RuntimeError, match="smaller than num_classes"):
            g(T.tensor([[1], [3]]))


def test_a_graph_holds_its_checks():
    f = T.compile(unread(lambda a: 1 // a))
    f(T.tensor([1, 2]), T.ones(1))
    graph = verify(f.graph())
    assert len(graph.checks) == 1
    assert "check_divisor" in str(graph)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        interpret(graph, np.array([1, 0]), np.ones(1, np.float32))
    with pytest.raises(VerifyError, match="cannot fail"):
        verify(type(graph)(graph.inputs, (), graph.outputs))


def test_under_vmap_in_a_compiled_function():
    f = T.compile(T.vmap(lambda x, i: (x[i], x * 2)[1]))
    assert f(T.ones(2, 3), T.tensor([[1], [2]])).shape == (2, 3)
    with pytest.raises(IndexError, match="index 7"):
        f(T.ones(2, 3), T.tensor([[1], [7]]))
