"""Which calls share a program: a repeated signature is not traced again, and another is."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import kernels, same, traces

import tracegrad as tg


# ---- signatures
def test_a_repeated_signature_never_retraces():
    ran = []

    @tg.compile
    def f(x, y):
        ran.append  # noqa: B018
        counts["python"] = counts["python"]
        return x * y + 1

    counts = {"python": 0}
    for k in range(5):
        same(f(tg.full((3,), float(k)), tg.ones(3)).numpy(), np.full(3, k + 1.0))
    assert traces(f) == 1
    assert "the first call" in f.explain()


def test_a_new_batch_size_compiles_no_new_kernel():
    w = tg.randn(20, 30)

    @tg.compile
    def f(x):
        return (x @ w).relu().sum(1)

    f(tg.randn(40, 20))
    before = kernels()
    for n in (41, 64, 100):
        x = tg.randn(n, 20)
        np.testing.assert_allclose(f(x), (x @ w).relu().sum(1), rtol=1e-5)
    assert kernels() == before
    assert traces(f) == 4


SIGNATURES = {
    "shape": (lambda: tg.ones(3), lambda: tg.ones(4), "float32[3] became float32[4]"),
    "dtype": (lambda: tg.ones(3), lambda: tg.ones(3, dtype=tg.float64), "became float64[3]"),
    "requires_grad": (lambda: tg.ones(3), lambda: tg.ones(3, requires_grad=True), "requires_grad"),
    "a number": (lambda: 2, lambda: 3, "2 became 3"),
    "a text": (lambda: "a", lambda: "b", "structure of the arguments: 'a' became 'b'"),
    "the structure": (lambda: (tg.ones(3),), lambda: [tg.ones(3)], "arguments: tuple became list"),
    "strides": (
        lambda: tg.ones(3, 3), lambda: tg.ones(3, 3).t(),
        "float32[3, 3] with strides [3, 1] became one with strides [1, 3]"),
    "a longer list": (
        lambda: [tg.ones(3)], lambda: [tg.ones(3)] * 2, "a list of 1 became a list of 2"),
}


@pytest.mark.parametrize("first, second, why", SIGNATURES.values(), ids=SIGNATURES)
def test_another_signature_retraces_and_says_why(first, second, why):
    @tg.compile
    def f(x):
        x = x[0] if isinstance(x, (tuple, list)) else x
        return tg.ones(2) * (len(x) if isinstance(x, str) else x if isinstance(x, int) else x.sum())

    f(first())
    f(first())
    assert traces(f) == 1
    f(second())
    assert traces(f) == 2
    assert why in f.explain()
    f(first())
    assert traces(f) == 2


def test_more_arguments_are_counted():
    f = tg.compile(lambda x, *more, **named: x * 2)
    x = tg.ones(2)
    said = []
    for args, kwargs in [((x,), {}), ((x, 1), {}), ((x, 1), {"a": 1}), ((x, 1), {"b": 1})]:
        f(*args, **kwargs)
        said.append(f.explain().partition("structure of the arguments: ")[2].partition("\n")[0])
    assert said[1:] == [
        "a tuple of 1 became a tuple of 2",
        "a dict of 0 became a dict of 1",
        "'a' became 'b'",
    ]


def test_another_object_is_named_without_its_identity():
    class Box:
        pass

    f = tg.compile(lambda box, x: x * 2)
    boxes = [Box(), Box()]
    for box in boxes:
        f(box, tg.ones(2))
    assert f"the structure of the arguments: another {Box.__qualname__}" in f.explain()
    assert not any(str(id(box)) in f.explain() for box in boxes)


def test_grad_mode_is_part_of_the_signature():
    @tg.compile
    def f(x):
        return x * 2

    x = tg.ones(3, requires_grad=True)
    assert f(x).requires_grad
    with tg.no_grad():
        assert not f(x).requires_grad
    assert f(x).requires_grad
    assert traces(f) == 2


def test_one_tensor_passed_twice_is_not_two_tensors():
    @tg.compile
    def f(a, b):
        a.add_(1)
        return a + b

    x, y = tg.zeros(2), tg.zeros(2)
    same(f(x, y), [1, 1])
    same(f(x, x), [4, 4])
    same(f(x, y), [3, 3])


# ---- the quick way must not be quicker than right
def test_a_call_is_not_mistaken_for_another_of_the_same_tensors():
    f = tg.compile(lambda x: x[0] if isinstance(x, list) else x)
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    y = f([x])
    assert y is x
    assert f(x) is x
    same(tg.compile(lambda x: x[0] + 0)([x]), x)
    g = tg.compile(lambda x: x[0] + 0)
    same(g([x]), x)
    same(g(x), x[0])
    same(g([x]), x)


def test_a_tensor_of_which_only_the_shape_matters_is_looked_at():
    like = tg.compile(lambda x, y: x.reshape(y.shape))
    x = tg.arange(6.0)
    for shape in ((2, 3), (3, 2), (2, 3), (6, 1)):
        assert like(x, tg.zeros(*shape)).shape == shape
    w = tg.zeros(2, 3)
    captured = tg.compile(lambda x: x.reshape(w.shape))
    assert captured(x).shape == (2, 3)
    w.data = tg.zeros(3, 2)
    assert captured(x).shape == (3, 2)


def test_one_tensor_twice_and_then_two():
    f = tg.compile(lambda a, b: a * b)
    x, y = tg.full((2,), 3.0), tg.full((2,), 5.0)
    for _ in range(2):
        same(f(x, x), [9, 9])
        same(f(x, y), [15, 15])


def test_the_default_dtype_is_seen():
    f = tg.compile(lambda x: x.to(tg.float64) + tg.ones(2) * 0.1)
    low = f(tg.zeros(2))
    tg.set_default_dtype(tg.float64)
    try:
        same(f(tg.zeros(2)), [0.1, 0.1])
    finally:
        tg.set_default_dtype(tg.float32)
    same(f(tg.zeros(2)), low)
    assert low[0] != 0.1
