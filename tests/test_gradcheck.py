"""gradcheck and gradgradcheck: right derivatives pass, wrong ones are found and shown."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.testing import GradcheckError, gradcheck, gradgradcheck

pytest_plugins = ["tracegrad.pytest_plugin"]
RNG = np.random.default_rng(4)


def double(*shape):
    return tg.tensor(RNG.random(shape) + 0.5, requires_grad=True)


class Tripled(tg.autograd.Function):
    """x**2, with three quarters of its derivative at the second element."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 2 * x * tg.tensor([1.0, 0.75, 1.0], dtype=tg.float64)


class FlatSecond(tg.autograd.Function):
    """x**3, whose derivative is right and is not differentiable."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return g * 3 * ctx.saved_tensors[0].detach() ** 2


class Fickle(tg.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        Fickle.calls += 1
        return g * 2 + 1e-7 * Fickle.calls

    calls = 0


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    "f, inputs",
    [
        (lambda a, b: (a @ b).tanh(), (double(2, 3), double(3, 2))),
        (lambda a, n: (a.sum(0) ** n, a.exp(), "word"), (double(2, 3), 3)),
        (lambda a: a[[0, 0, 2]] * a.sum(), double(3)),
        (lambda a, i: a.cumsum(0) + i, (double(4), tg.arange(4))),
        (lambda a: a.T @ a, double(3, 2).detach().T.requires_grad_()),
        (lambda a: a * 2, double(0, 2)),
    ],
)
def test_right_derivatives_pass(f, inputs, fast):
    options = {"fast_mode": fast, "check_batched_grad": True}
    assert gradcheck(f, inputs, check_forward_ad=True, **options)
    assert gradgradcheck(f, inputs, check_fwd_over_rev=True, **options)


@pytest.mark.parametrize("fast", [False, True])
def test_wrong_derivatives_are_found(fast):
    x = double(3)
    with pytest.raises(GradcheckError, match="output 0 with respect to input 0"):
        gradcheck(Tripled.apply, x, fast_mode=fast)
    assert gradcheck(Tripled.apply, x, fast_mode=fast, raise_exception=False) is False
    assert gradcheck(FlatSecond.apply, x, fast_mode=fast)
    with pytest.raises(GradcheckError, match="mismatch"):
        gradgradcheck(lambda x: FlatSecond.apply(x) * x, x, fast_mode=fast)


def test_the_report_shows_where():
    with pytest.raises(GradcheckError) as found:
        gradcheck(Tripled.apply, double(3))
    for words in ("numerical:", "analytical:", "at (1, 1)"):
        assert words in str(found.value)


def test_derivatives_that_change_are_found():
    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(Fickle.apply, double(3))
    assert gradcheck(Fickle.apply, double(3), nondet_tol=1e-3)


def test_a_gradient_that_is_missing_is_found():
    x = double(3)
    with pytest.raises(GradcheckError, match="expected to be zero"):
        gradcheck(lambda x: x.detach() * 2, x)
    assert gradcheck(lambda x: tg.ones(2), x)


def test_inputs_are_left_as_they_were():
    x = double(3)
    before = x.detach().clone()
    gradcheck(lambda x: x.exp(), x)
    assert (x == before).all() and x.grad is None


def test_inputs_that_cannot_be_checked_are_refused():
    with pytest.raises(ValueError, match="at least one input"):
        gradcheck(lambda x: x, tg.ones(3))
    with pytest.warns(UserWarning, match="double precision"):
        gradcheck(lambda x: x * 2, tg.ones(2, requires_grad=True), eps=1e-2, atol=1e-2)
    with pytest.raises(RuntimeError, match="stride 0"):
        gradcheck(lambda x: x * 2, double(1).detach().expand(3).requires_grad_())


def test_the_fixture_checks_a_function_in_a_line(gradcheck):
    gradcheck(lambda x, y: {"z": (x @ y["w"]).tanh()}, tg.randn(2, 3), {"w": tg.ones(3)})


def test_the_fixture_finds_a_wrong_derivative(gradcheck):
    with pytest.raises(GradcheckError, match="mismatch"):
        gradcheck(lambda x: Tripled.apply(x), tg.randn(3))
