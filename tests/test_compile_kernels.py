"""How many kernels a program needs: a lost fusion fails here."""

from __future__ import annotations

import re

import numpy as np
import pytest
from machine_code import on_vectors, print_map
from processes import run

import tracegrad as tg
import tracegrad.nn.functional as F
from tracegrad import nn
from tracegrad.testing import assert_close, assert_kernels


def layer_norm(x):
    mean = x.mean(-1, keepdim=True)
    centred = x - mean
    return centred * ((centred * centred).mean(-1, keepdim=True) + 1e-5).rsqrt()


def attention_weights(q, k):
    return tg.softmax(q @ k.transpose(-1, -2) / 4.0, -1)


CASES = {  # (function, arguments, launches)
    "a chain of ten": (
        lambda x: (((x * 2 + 1).exp() - 3) / 4).tanh().abs().sqrt().neg().sin() + 1,
        lambda: (tg.randn(7, 5),), 1),
    "a reduction of a chain": (lambda x: ((x - 1) ** 2).mean(), lambda: (tg.randn(9, 6),), 1),
    "softmax": (lambda x: tg.softmax(x, -1), lambda: (tg.randn(8, 20),), 1),
    "log_softmax": (lambda x: F.log_softmax(x, -1), lambda: (tg.randn(8, 20),), 1),
    "softmax of columns": (lambda x: tg.softmax(x, 0), lambda: (tg.randn(30, 20),), 1),
    "a layer norm": (layer_norm, lambda: (tg.randn(8, 20),), 1),
    "several sums of a row": (
        lambda x: (x.sum(-1), (x * x).sum(-1), x.amax(-1)), lambda: (tg.randn(8, 20),), 1),
    "several maps": (lambda x: (x + 1, x * 2, x.exp()), lambda: (tg.randn(50),), 1),
    "views cost nothing": (
        lambda x: x.t()[1:].flip(0)[:, None] * 2, lambda: (tg.randn(6, 4),), 1),
    "a product, a bias, an activation": (
        lambda x, w, b: tg.relu(x @ w + b),
        lambda: (tg.randn(6, 20), tg.randn(20, 30), tg.randn(30)), 1),
    "attention's weights": (
        attention_weights, lambda: (tg.randn(2, 6, 20), tg.randn(2, 7, 20)), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_kernels_of(name):
    function, arguments, launches = CASES[name]
    f = tg.compile(function)
    given = arguments()
    assert_close(f(*given), function(*given), rtol=1e-4, atol=1e-5)
    assert_kernels(f, launches)


def test_a_linear_regression_step_is_one_kernel():
    w, b = tg.zeros(1, requires_grad=True), tg.zeros(1, requires_grad=True)
    optimizer = tg.optim.SGD([w, b], lr=0.1)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = ((x * w + b - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    x = tg.linspace(0, 1, 100)
    for _ in range(3):
        step(x, 3 * x + 2)
    assert_kernels(step, 1)


@pytest.mark.parametrize(("rows", "launches"), [(8, 2), (20_000, 3)])
def test_cross_entropy_and_its_gradient_are_two_kernels(rows, launches):
    """The labels are counted before any gradient is known; the rows do the rest. Where threads
    share the rows, their losses are summed afterwards.
    """

    @tg.compile
    def f(x, y):
        loss = F.cross_entropy(x, y)
        return loss, tg.autograd.grad(loss, x)[0]

    x, y = tg.randn(rows, 20, requires_grad=True), tg.randint(0, 20, (rows,))
    f(x, y)
    assert_kernels(f, launches)


GRADIENTS = {  # (function, shapes, launches of value and gradients together)
    "softmax": (lambda x: tg.softmax(x, -1), [(8, 20)], 1),
    "a layer norm": (lambda x, w, b: layer_norm(x) * w + b, [(8, 20), (20,), (20,)], 2),
    "a chain of ten": (CASES["a chain of ten"][0], [(7, 5)], 1),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_kernels_of_value_and_gradients_of(name):
    function, shapes, launches = GRADIENTS[name]

    @tg.compile
    def both(g, *xs):
        y = function(*xs)
        return y, tg.autograd.grad(y, xs, g)

    xs = [tg.rand(s, requires_grad=True) for s in shapes]
    both(tg.randn(shapes[0]), *xs)
    assert_kernels(both, launches)


def test_equal_layers_share_kernels():
    model = nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(20, 20), nn.ReLU())))
    f = tg.compile(lambda x: model(x))
    with tg.no_grad():
        f(tg.randn(6, 20))
    assert_kernels(f, 4, distinct=1)


def print_a_step(junk):
    held = [object() for _ in range(junk)]
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = tg.optim.Adam(model.parameters())

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(2):
        step(tg.randn(10, 4), tg.randint(0, 3, (10,)))
    print(step.program())
    assert len(held) == junk


def test_every_process_writes_the_same_kernels():
    """Kernels are kept on disk under their text: it must not depend on hashes or addresses."""
    shown = {run(print_a_step, 1000 * seed, env={"PYTHONHASHSEED": str(seed)}) for seed in (0, 7)}
    assert len(shown) == 1


def code_of_a_map(buffers):
    @tg.compile
    def f(*xs):
        total = xs[0]
        for x in xs[1:]:
            total = total * 0.5 + x
        return [total + x for x in xs]

    f(*(tg.randn(1000) for _ in range(buffers)))
    print_map()


@pytest.mark.parametrize("buffers", [2, 12])
def test_a_map_over_many_buffers_is_vectorised(buffers, tmp_path):
    """Alias scopes let LLVM use vector registers without a check of every pair of pointers."""
    code = run(code_of_a_map, buffers, env={"TRACEGRAD_CACHE_DIR": str(tmp_path)})
    assert on_vectors(code, "fadd"), "the loop was not vectorised"


def test_assert_kernels_tells_what_it_found():
    f = tg.compile(lambda x: x + 1)
    f(tg.ones(3))
    assert_kernels(f, 1, 1)
    with pytest.raises(AssertionError, match=r"expected 2 launches, got 1 of 1: map_"):
        assert_kernels(f, 2)


def test_assert_close_means_what_torch_means():
    one = tg.ones(3)
    assert_close(one, one + 1e-7)
    assert_close({"a": [one, 2.0]}, {"a": [one, 2.0]})
    assert_close(np.ones(3, np.float32), one)
    assert_close(tg.tensor([float("inf")]), tg.tensor([float("inf")]))
    nan = tg.tensor([float("nan")])
    assert_close(nan, nan, equal_nan=True)
    for a, b, words in (
        (one, one + 1e-3, "Mismatched elements: 3 / 3"),
        (one, tg.ones(4), "'shape' do not match"),
        (one, tg.ones(3, dtype=tg.float64), "'dtype' do not match"),
        (nan, nan, "not close"),
        ([one], [one, one], "length of the sequences"),
        ({"a": one}, {"b": one}, "keys of the mappings"),
        (tg.tensor([1, 2]), tg.tensor([1, 3]), r"index \(1,\)"),
    ):
        with pytest.raises(AssertionError, match=words):
            assert_close(a, b)
    with pytest.raises(ValueError, match="Both 'rtol' and 'atol'"):
        assert_close(one, one, rtol=1e-3)
    with pytest.raises(AssertionError, match="mine"):
        assert_close(one, one + 1, msg="mine")


def test_kernels_name_the_lines_of_the_function_and_no_others():
    weight = tg.randn(3, 4, requires_grad=True)

    def step(x):
        weight.grad = None
        loss = (x @ weight.t()).tanh().sum()
        loss.backward()
        with tg.no_grad():
            weight.sub_(weight.grad * 0.1)
        return loss.detach()

    compiled = tg.compile(step)
    compiled(tg.randn(150, 4))
    named = {int(line) for line in re.findall(r"test_compile_kernels.py:(\d+)", compiled.source())}
    first = step.__code__.co_firstlineno
    assert named and named <= set(range(first, first + 7))
