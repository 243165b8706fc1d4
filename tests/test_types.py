"""Functions of narrow, integer and mixed types against torch: what they compute in, what they
answer in, and what they refuse.
"""

from __future__ import annotations

import numpy as np
import pytest
from witness import refusal, torch

import tracegrad as tg

INF, NAN = float("inf"), float("nan")
NARROW = ("float16", "bfloat16")
COUNT = 70_000  # more than the greatest float16

# what would overflow, or round many times, if every step were rounded to a half
ONCE = {
    "mean": lambda t, x: x.mean(),
    "softmax": lambda t, x: t.softmax(x * 0, 0),
    "log_softmax": lambda t, x: t.log_softmax(x, 0),
    "logsumexp": lambda t, x: t.logsumexp(x[:30_000], 0),
    "var": lambda t, x: t.var(x[:500] * 20),
    "std_mean": lambda t, x: t.std_mean(x * 30),
    "sinc": lambda t, x: t.sinc(x[:99] * 400),
    "entr": lambda t, x: t.special.entr(x[:99]),
    "xlogy": lambda t, x: t.xlogy(x[:99], x[99:198]),
    "logaddexp": lambda t, x: t.logaddexp(x[:99], -x[99:198]),
    "polygamma": lambda t, x: t.polygamma(1, x[:99]),
    "gelu": lambda t, x: t.nn.functional.gelu(-x[:99] / 25),
    "silu": lambda t, x: t.nn.functional.silu(-x[:99] / 15),
    "mish": lambda t, x: t.nn.functional.mish(-x[:99] / 20),
    "elu": lambda t, x: t.nn.functional.elu(-x[:99] / 99),
    "addcmul": lambda t, x: t.addcmul(x[:99], x[:99], x[99:198], value=0.3),
    "lerp": lambda t, x: t.lerp(x[:99], x[99:198], 0.3),
    "add-alpha": lambda t, x: t.add(x[:99], x[99:198], alpha=0.3),
    "rsub-alpha": lambda t, x: t.rsub(x[:99], x[99:198], alpha=-0.3),
    "times-number": lambda t, x: x[:99] * 0.1,
    "over-number": lambda t, x: x[:99] / 0.001,
    "over-great": lambda t, x: x[:99] / 1e10 + x[:99] * 1e-10 + 2.5 * x[:99],
    "augmented": lambda t, x: x[:99].clone().mul_(0.1).add_(0.7).div_(3.3),
    "bce": lambda t, x: t.nn.functional.binary_cross_entropy(
        t.floor(x[:99] / 50).clip(0, 1), x[:99] / 128),
    "norm": lambda t, x: t.linalg.vector_norm(x[:999] * 10),
    "norm-dim": lambda t, x: x[:999].reshape(3, 333).norm(3.0, dim=1),
    "renorm": lambda t, x: t.renorm(x[:999].reshape(3, 333) * 5, 2, 0, 9.0),
    "dist": lambda t, x: t.dist(x[:99] * 9, x[99:198]),
}


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", ONCE)
def test_halves_are_rounded_once(name, dtype):
    numbers = np.random.default_rng(3).uniform(1, 100, COUNT)

    def answer(lib):
        y = ONCE[name](lib, lib.tensor(numbers, dtype=lib.float32).to(getattr(lib, dtype)))
        parts = y if isinstance(y, tuple) else (y,)
        assert all(str(p.dtype).endswith("." + dtype) for p in parts)
        return [p.double().numpy() for p in parts]

    for mine, theirs in zip(answer(tg), answer(torch), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2**-10 if dtype == "float16" else 2**-7)


def test_numbers_beside_halves_have_gradients_and_names():
    def answers(lib, around=lambda f: f):
        x = lib.tensor([1.0, 1000.0, 3.0]).half().requires_grad_()
        y = around(lambda x: x * 0.1)(x)
        y.sum().backward()
        return y.tolist(), x.grad.tolist()

    assert answers(tg) == answers(torch) == answers(tg, tg.compile)
    y = tg.ones(2).half().requires_grad_() / 0.1
    assert y.grad_fn.name() == "DivBackward0"
    assert y.grad_fn.next_functions[0][0].name() == "AccumulateGrad"


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("way", [0.0, INF, -INF])
def test_every_half_has_its_neighbours(dtype, way):
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16).view(getattr(torch, dtype))
    want = torch.nextafter(numbers, torch.full_like(numbers, way)).double().numpy()
    x = tg.tensor(numbers.double().numpy()).to(getattr(tg, dtype))
    for function in (tg.nextafter, tg.compile(tg.nextafter)):
        got = function(x, tg.full_like(x, way))
        np.testing.assert_array_equal(got.double().numpy(), want)


@pytest.mark.parametrize("dtype", NARROW)
def test_the_derivative_of_a_neighbour_is_that_of_the_first_number(dtype):
    def gradients(lib):
        x = lib.tensor([1.0, 1.0, 0.0, 2.0, INF, INF, -2.0]).to(getattr(lib, dtype))
        way = lib.tensor([1.0, 2.0, -0.0, NAN, 1.0, INF, -1.5]).to(getattr(lib, dtype))
        x, way = x.requires_grad_(), way.requires_grad_()
        return [g.tolist() for g in lib.autograd.grad(lib.nextafter(x, way).sum(), [x, way])]

    assert gradients(tg) == gradients(torch)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logsumexp_beside_infinity_has_a_gradient_for_large_numbers(dtype):
    def gradient(lib):
        x = lib.tensor([1.0, INF, -INF, 257.0]).to(getattr(lib, dtype)).requires_grad_()
        return lib.autograd.grad(lib.logsumexp(x, 0), x)[0].double().numpy()

    np.testing.assert_array_equal(gradient(tg), gradient(torch))


INTEGERS = {
    "logit": lambda t, x: t.logit(x),
    "entr": lambda t, x: t.special.entr(x),
    "sign": lambda t, x: t.sign(x),
    "ldexp": lambda t, x: t.ldexp(
        t.tensor([[0.75], [0.0], [INF]]).expand(3, 6).to(t.float16), x.clip(-100, 99)),
    "ldexp-far": lambda t, x: t.ldexp(x.double() * 0 + 5e-324, x.long() * 0 + 2000),
    "ldexp-none": lambda t, x: t.ldexp(x.float() * 0, x.long() * 0 + 3000),
    "logaddexp-mixed": lambda t, x: t.logaddexp(x.float().to(t.float16), t.tensor(INF)),
    "xlogy-mixed": lambda t, x: t.xlogy(x, t.tensor(2.5, dtype=t.float64)),
}


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8", "bool"])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_numbers_of_the_type_that_torch_takes(name, dtype):
    if name.startswith("ldexp") and dtype == "bool":
        pytest.skip("refused")

    def answer(lib, function):
        low, high = (0, 1) if dtype == "bool" else (torch.iinfo(getattr(torch, dtype)).min, 100)
        x = lib.tensor([low, 0, 1, 2, 3, high], dtype=getattr(lib, dtype))
        return function(lambda x: INTEGERS[name](lib, x))(x)

    want = answer(torch, lambda f: f)
    for got in (answer(tg, lambda f: f), answer(tg, tg.compile)):
        assert str(got.dtype).split(".")[-1] == str(want.dtype).split(".")[-1]
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6)


# ---- numbers at the ends of a type, where steps overflow
ENDS = {
    "lgamma": (lambda t, x: t.lgamma(x), [5e-324, 1e-310, -1e-310, 1e-30]),
    "sinc": (lambda t, x: t.sinc(x), [5e-324, 1e-310, 0.0]),
    "i1": (lambda t, x: t.special.i1(x), [5e-324, 1e-300, -1e-16, 0.0]),
    "i1e": (lambda t, x: t.special.i1e(x), [5e-324, 1e-300, -1e-16, 0.0]),
    "logit": (lambda t, x: t.logit(x), [0.0, 1.0, -0.5, 1.5, 0.25]),
    "logit-eps": (lambda t, x: t.logit(x, 0.1), [0.0, 1.0, -0.5, 1.5, 0.25]),
    "tanh": (lambda t, x: t.reciprocal(t.tanh(x)), [-0.0, 0.0]),
    "remainder": (lambda t, x: t.remainder(-3.0 * x, INF * x), [1.0, 2.0]),
}


@pytest.mark.parametrize("name", ENDS)
def test_gradients_at_the_ends_of_a_type(name):
    function, numbers = ENDS[name]

    def answers(lib, around=lambda f: f):
        x = lib.tensor(numbers, dtype=lib.float64, requires_grad=True)
        y = around(lambda x: function(lib, x))(x)
        y.sum().backward()
        return y.detach().numpy(), x.grad.numpy()

    want = answers(torch)
    for got in (answers(tg), answers(tg, tg.compile)):
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-305)


# ---- nothing to reduce, along no dimensions, or numbers without a span
LITTLE = [
    *(lambda t, d=d: t.ones(0, dtype=getattr(t, d)).median()
      for d in ("int64", "int32", "int8", "uint8", "bool", "float16")),
    lambda t: t.ones(2, 3).all(()),
    lambda t: t.zeros(2, 3).any(dim=(), keepdim=True),
    lambda t: t.tensor([1e30]).histc(3),
    lambda t: t.tensor([2, 1, -1, -1, 0, 127]) ** t.tensor([-1, -2, -2, -3, 3, 2]),
    lambda t: t.tensor([1, 255], dtype=t.uint8) ** t.tensor([-1, -1], dtype=t.int8),
    lambda t: t.pow(2, t.tensor([-1, 0, 5], dtype=t.int32)),
    lambda t: t.pow(-1, t.tensor([-1, 0, -4])),
    lambda t: t.trapezoid(t.tensor([1, 2**31 - 1, 2**31 - 1, 5], dtype=t.int32)),
]


@pytest.mark.parametrize("function", LITTLE)
def test_little_is_reduced_as_torch_does(function):
    want = function(torch)
    for got in (function(tg), tg.compile(lambda: function(tg))()):
        assert str(got.dtype).split(".")[-1] == str(want.dtype).split(".")[-1]
        np.testing.assert_array_equal(got.numpy(), want.numpy())


REFUSED = [
    lambda t: t.ones(0).amax(),
    lambda t: t.ones(2, 0).amin(()),
    lambda t: t.ones(2).aminmax(dim=(0,)),
    lambda t: t.ones(2).softmax((0,)),
    lambda t: t.tensor(2).argmax((0,)),
    lambda t: t.ones(2) - True,
    lambda t: t.ones(2).bitwise_not(),
    lambda t: t.ones(2) & t.ones(2),
    lambda t: t.ones(2, dtype=t.bool).relu(),
    lambda t: t.ones(2, dtype=t.bool).floor(),
    lambda t: t.ones(2, dtype=t.bool) // t.ones(2, dtype=t.bool),
    lambda t: t.ones(2, dtype=t.bool) << t.ones(2, dtype=t.bool),
    lambda t: t.ones(2, dtype=t.int32).frac(),
    lambda t: t.heaviside(t.ones(2), 1.0),
    lambda t: ~t.ones(2),
    lambda t: t.lerp(t.ones(2), t.ones(2).double(), 0.5),
    lambda t: t.addcdiv(t.ones(2), t.arange(2), t.arange(2)),
    lambda t: t.ones(2, 2).renorm(2, 0, float("nan")),
    lambda t: t.randint(2.5, (3,)),
    lambda t: t.randperm(300, dtype=t.uint8),
    lambda t: t.zeros(3).uniform_(0, INF),
    lambda t: t.nn.functional.dropout(t.ones(3, dtype=t.int64)),
]


@pytest.mark.parametrize("function", REFUSED)
def test_types_that_torch_refuses(function):
    kind, _ = refusal(torch, function)
    assert refusal(tg, function)[0] is kind
    with pytest.raises(kind):
        tg.compile(lambda: function(tg))()
