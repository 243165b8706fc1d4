"""SciPy's solvers on functions of tensors: the derivatives, the memory, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import approx_fprime, least_squares, minimize, root

import tracegrad as tg
from tracegrad import nn, scipy as ts

X = np.array([0.3, -1.2, 2.0])


def valley(x, scale=1.0):
    return scale * ((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def test_value_and_gradient_are_those_of_finite_differences():
    f = ts.value_and_grad(valley)
    value, gradient = f(X)
    assert type(value) is float and gradient.dtype == np.float64
    assert value == valley(X)
    np.testing.assert_allclose(gradient, approx_fprime(X, valley), rtol=1e-5)
    assert f(X, 2.0)[0] == f(X, np.array(2.0))[0] == f(X, np.float64(2))[0] == 2 * value


def test_derivatives_of_second_order():
    h = ts.hess(valley)(X)
    expected = approx_fprime(X, lambda x: ts.value_and_grad(valley)(x)[1])
    np.testing.assert_allclose(h, expected, rtol=1e-4, atol=1e-2)
    p = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(ts.hessp(valley)(X, p), h @ p, rtol=1e-12)
    np.testing.assert_allclose(ts.hessp(valley)(X, p, 3.0), 3 * h @ p, rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_jacobians_in_both_modes(rows):
    m = np.random.default_rng(0).standard_normal((rows, 3))

    def f(x, m):
        return (m @ x).sin() * x[0]

    j = ts.jac(f)(X, m)
    expected = approx_fprime(X, lambda x: np.sin(m @ x) * x[0])
    np.testing.assert_allclose(j, np.reshape(expected, (rows, 3)), atol=1e-6)
    y, again = ts.value_and_jac(f)(X, m)
    assert again.tolist() == j.tolist() and y.tolist() == ts.function(f)(X, m).tolist()
    np.testing.assert_allclose(y, np.sin(m @ X) * X[0], rtol=1e-14)


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "CG", "TNC", "SLSQP"])
def test_minimize(method):
    f = ts.value_and_grad(valley)
    result = minimize(f, np.zeros(4), jac=True, method=method)
    np.testing.assert_allclose(result.x, 1, atol=1e-2)


@pytest.mark.parametrize("option, made", [("hessp", ts.hessp), ("hess", ts.hess)])
def test_minimize_with_second_derivatives(option, made):
    f, second = ts.value_and_grad(valley), {option: made(valley)}
    result = minimize(f, np.zeros(4), jac=True, method="trust-ncg", **second)
    np.testing.assert_allclose(result.x, 1, atol=1e-2)


def test_gradients_that_a_solver_keeps_are_not_overwritten():
    f = ts.value_and_grad(valley)
    kept = [f(X + k)[1] for k in range(20)]
    assert [g.tolist() for g in kept] == [f(X + k)[1].tolist() for k in range(20)]


def test_least_squares_root_and_solve_ivp():
    t = np.linspace(0, 3, 20)

    def residuals(p, t, data):
        return p[0] * (-p[1] * t).exp() - data

    data = 2 * np.exp(-1.3 * t)
    fit = least_squares(ts.function(residuals), [1, 1], jac=ts.jac(residuals), args=(t, data))
    np.testing.assert_allclose(fit.x, [2, 1.3], rtol=1e-6)

    def system(x, a):
        return tg.stack((x[0] + x[1] - a, x[0] * x[1] - 2))

    found = root(ts.value_and_jac(system), [0.0, 5.0], args=(3.0,), jac=True)
    np.testing.assert_allclose(found.x, [1, 2], rtol=1e-8)

    def stiff(t, y):
        return tg.stack((-1000 * (y[0] - t.cos()), y[0] - y[1]))

    f, j = ts.function(stiff, argnum=1), ts.jac(stiff, argnum=1)
    ours = solve_ivp(f, (0, 2), [0.0, 0.0], jac=j, method="BDF", rtol=1e-8)
    plain = solve_ivp(
        lambda t, y: [-1000 * (y[0] - np.cos(t)), y[0] - y[1]], (0, 2), [0, 0], method="BDF",
        rtol=1e-8,
    )
    np.testing.assert_allclose(ours.y[:, -1], plain.y[:, -1], rtol=1e-5)
    assert f.__name__ == "stiff"


# ---- modules
def network(dtype):
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).to(dtype)
    x = tg.linspace(-1, 1, 30)[:, None].to(dtype)
    return model, x, (3 * x).sin()


@pytest.mark.parametrize("dtype", [tg.float64, tg.float32])
def test_the_parameters_of_a_module_are_a_vector(dtype):
    model, x, y = network(dtype)
    model[0].bias.requires_grad_(False)
    before = {name: p.tolist() for name, p in model.state_dict().items()}
    loss = ts.value_and_grad(lambda x, y: nn.functional.mse_loss(model(x), y), model)
    start = ts.parameters_to_array(model)
    assert start.dtype == np.float64 and start.shape == (13,)
    value, gradient = loss(start, x.numpy(), y.numpy())
    nn.functional.mse_loss(model(x), y).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    expected = np.concatenate([p.grad.numpy().ravel() for p in trained])
    np.testing.assert_allclose(gradient, expected, rtol=1e-4 if dtype is tg.float32 else 1e-12)
    result = minimize(loss, start, (x.numpy(), y.numpy()), "L-BFGS-B", jac=True)
    assert result.fun < value / 50
    assert {name: p.tolist() for name, p in model.state_dict().items()} == before
    ts.array_to_parameters(result.x, model)
    assert nn.functional.mse_loss(model(x), y).item() == pytest.approx(result.fun, rel=1e-3)
    assert model[0].bias.tolist() == before["0.bias"]


def test_tied_parameters_and_buffers():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2, bias=False).double()
            self.b = self.a
            self.register_buffer("shift", tg.ones(2).double())

        def forward(self, x):
            return self.b(self.a(x)) + self.shift

    model = Tied()
    x = tg.ones(2).double()
    start = ts.parameters_to_array(model)
    value, gradient = ts.value_and_grad(lambda: model(x).sum(), model)(start)
    model(x).sum().backward()
    np.testing.assert_allclose(gradient, model.a.weight.grad.numpy().ravel(), rtol=1e-12)
    assert value == pytest.approx(model(x).sum().item()) and gradient.shape == (4,)


def test_a_vector_of_another_length_is_refused():
    model, x, y = network(tg.float64)
    loss = ts.value_and_grad(lambda: nn.functional.mse_loss(model(x), y), model)
    with pytest.raises(ValueError, match=r"have 19 numbers; x has shape \[3\]"):
        loss(X)
    before = ts.parameters_to_array(model).tolist()
    with pytest.raises(ValueError, match="have 19 numbers"):
        ts.array_to_parameters(X, model)
    assert ts.parameters_to_array(model).tolist() == before
    with pytest.raises(ValueError, match="Tanh has no parameters"):
        ts.parameters_to_array(nn.Tanh())


# ---- arrays
def test_arrays_of_every_layout_and_dtype():
    f = ts.value_and_grad(valley)
    expected = f(X)
    for x in (list(X), np.repeat(X, 2)[::2], X[::-1].copy()[::-1], X.view(np.ndarray)):
        value, gradient = f(x)
        assert value == expected[0] and gradient.tolist() == expected[1].tolist()
    assert f([1, 2, 3])[0] == f(np.array([1, 2, 3], "f4"))[0] == valley(np.array([1, 2, 3]))
    locked = X.copy()
    locked.flags.writeable = False
    assert f(locked)[0] == expected[0]


def test_results_have_memory_of_their_own():
    x = X.copy()
    for f in (lambda x: x, lambda x: x[:2], lambda x: x.reshape(1, 3)):
        y = ts.function(f)(x)
        assert not np.shares_memory(x, y) and y.ravel()[0] == x[0]


def test_half_results_become_float64():
    y = ts.function(lambda x: x.to(tg.bfloat16) * 2)(np.array([1.5, 2.0]))
    assert y.dtype == np.float64 and y.tolist() == [3, 4]
    value, _ = ts.value_and_grad(lambda x: x.to(tg.bfloat16).sum())(np.array([1.5, 2.0]))
    assert value == 3.5


def test_nan_and_infinity_pass():
    value, gradient = ts.value_and_grad(lambda x: (x * x).sum())(np.array([np.nan, np.inf]))
    assert np.isnan(value) and np.isnan(gradient[0]) and np.isinf(gradient[1])


def test_what_the_function_uses_may_change():
    shift = tg.tensor(1.0).double()
    f = ts.value_and_grad(lambda x: ((x - shift) ** 2).sum())
    assert f(np.zeros(2))[0] == 2
    shift.fill_(2)
    assert f(np.zeros(2))[0] == 8


def test_wrong_functions_are_refused():
    with pytest.raises(RuntimeError, match="scalar"):
        ts.value_and_grad(lambda x: x)(X)
    with pytest.raises(TypeError, match="must return a tensor, not list"):
        ts.function(lambda x: [x])(X)
    with pytest.raises(TypeError, match="must return a tensor, not tuple"):
        ts.jac(lambda x: (x, x))(X)
    with pytest.raises(RuntimeError, match="Tensor"):
        ts.value_and_grad(lambda x: 3)(X)
    with pytest.raises((TypeError, ValueError)):
        ts.value_and_grad(valley)(["a", "b"])
