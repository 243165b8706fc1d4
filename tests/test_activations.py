"""Activations as functions and as layers, against torch: values, kinks, derivatives to second
order, types that are refused, and one kernel for each when compiled.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad
from tracegrad import nn
from tracegrad.nn import functional as F
from tracegrad.testing import assert_kernels

torch = pytest.importorskip("torch")

# function -> options; its kinks stand among the POINTS
CASES = {
    "relu": {}, "relu6": {}, "threshold": {"threshold": 0.5, "value": -2.0}, "hardtanh": {},
    "hardswish": {}, "hardsigmoid": {}, "hardshrink": {}, "softshrink": {"lambd": 1.0},
    "leaky_relu": {"negative_slope": 0.2}, "elu": {"alpha": 0.7}, "selu": {},
    "celu": {"alpha": 2.0},
    "gelu": {}, "silu": {}, "mish": {}, "sigmoid": {}, "tanh": {}, "logsigmoid": {},
    "softplus": {"beta": 2.0, "threshold": 4.9}, "tanhshrink": {}, "softsign": {},
    "rrelu": {}, "glu": {}, "softmax": {"dim": 0}, "softmin": {"dim": 1}, "log_softmax": {"dim": 1},
}
POINTS = np.array([[-40.0, -6, -3, -1, -0.7, -0.5], [0.0, -0.0, 0.5, 1, 2.5, 3],
                   [6, 7, 30, 90, 1e-3, -1e-9]])
LAYERS = {
    "Threshold": (0.1, 20), "Hardtanh": (-2.0, 2.0), "Hardshrink": (0.3,), "PReLU": (4,),
    "RReLU": (), "GLU": (1,), "ELU": (0.5,), "CELU": (0.5,), "Softmin": (1,), "LeakyReLU": (0.3,),
    "GELU": ("tanh",), "Softmax": (1,), "Softmax2d": (), "Softplus": (2.0,),
    **dict.fromkeys(("ReLU", "ReLU6", "Hardswish", "Hardsigmoid", "SELU", "LogSigmoid", "Mish",
                     "Tanhshrink", "Softsign", "Softshrink", "Tanh", "Sigmoid", "SiLU"), ()),
}


def derivatives(lib, f, x, **options):
    """The value, a weighted gradient, and the gradient of that."""
    t = lib.tensor(x, requires_grad=True)
    y = f(t, **options)
    w = lib.cos(lib.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    (g,) = lib.autograd.grad((y * w).sum(), t, create_graph=True)
    if f.__name__ == "hardsigmoid":  # torch has no second derivative of it
        return [v.detach().numpy() for v in (y, g)]
    (second,) = lib.autograd.grad((g * lib.sin(t)).sum(), t)
    return [v.detach().numpy() for v in (y, g, second)]


@pytest.mark.parametrize("name", CASES)
def test_value_and_derivatives_are_torchs_also_at_the_kinks(name):
    ours = derivatives(tracegrad, getattr(F, name), POINTS, **CASES[name])
    theirs = derivatives(torch, getattr(torch.nn.functional, name), POINTS, **CASES[name])
    rtol = 1e-7 if name == "hardsigmoid" else 1e-10  # torch rounds its 1 / 6 to float32
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("x", [np.zeros((0, 4)), np.array([[np.nan, np.inf], [-np.inf, 1.0]])])
def test_empty_and_special_numbers(name, x):
    if name.startswith(("soft", "log_soft")) and x.size:
        return
    got = getattr(F, name)(tracegrad.tensor(x), **CASES[name]).numpy()
    want = getattr(torch.nn.functional, name)(torch.tensor(x), **CASES[name]).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", ["hardswish", "mish", "gelu", "softplus", "celu", "hardshrink"])
def test_a_compiled_activation_is_one_kernel_and_equals_eager(name):
    step = tracegrad.compile(lambda x: getattr(F, name)(x, **CASES[name]))
    x = tracegrad.tensor(POINTS.astype("f4"))
    np.testing.assert_allclose(step(x).numpy(), getattr(F, name)(x, **CASES[name]).numpy(), 1e-5)
    assert_kernels(step, 1)


@tracegrad.compile
def every(x):
    total = 0.0
    for name, options in CASES.items():
        total = total + (getattr(F, name)(x, **options) ** 2).sum()
    return total


def test_all_of_them_compiled_together_have_the_eager_gradient():
    x = tracegrad.tensor(POINTS / 10, requires_grad=True)
    every(x).backward()
    compiled, x.grad = x.grad, None
    sum((getattr(F, n)(x, **o) ** 2).sum() for n, o in CASES.items()).backward()
    np.testing.assert_allclose(compiled.numpy(), x.grad.numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    "name", ["relu", "relu6", "hardtanh", "hardswish", "hardshrink", "softshrink", "leaky_relu"]
)
def test_a_branch_that_is_left_out_takes_no_part_in_an_infinite_gradient(name):
    values = [-np.inf, -1e300, -8.0, -3.0, 3.0, 8.0, 1e300, np.inf]
    function = getattr(F, name)

    def gradient(x, g):
        return tracegrad.autograd.grad(function(x), x, g)[0]

    for number in (np.inf, -np.inf, np.nan, 1.0):
        x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        g = torch.full_like(x, number)
        (want,) = torch.autograd.grad(getattr(torch.nn.functional, name)(x), x, g)
        x = tracegrad.tensor(values, dtype=tracegrad.float64, requires_grad=True)
        g = tracegrad.full_like(x, number)
        for made in (gradient, tracegrad.compile(gradient)):
            np.testing.assert_array_equal(made(x, g).numpy(), want.numpy())


@pytest.mark.parametrize("name", LAYERS)
def test_layers_print_and_compute_as_torchs(name):
    ours, theirs = getattr(nn, name)(*LAYERS[name]), getattr(torch.nn, name)(*LAYERS[name])
    assert repr(ours) == repr(theirs)
    x = np.random.default_rng(0).normal(size=(2, 4, 6))
    if name in ("PReLU", "RReLU"):
        ours, theirs = ours.eval().double(), theirs.eval().double()
    with np.errstate(all="ignore"):
        got, want = ours(tracegrad.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize("name", ["relu_", "elu_", "selu_", "celu_", "hardtanh_", "leaky_relu_"])
def test_in_place_variants_write_into_their_argument(name):
    x = tracegrad.tensor([-2.0, 0.5, 3.0])
    y = getattr(F, name)(x)
    assert y is x
    want = getattr(torch.nn.functional, name)(torch.tensor([-2.0, 0.5, 3.0]))
    np.testing.assert_allclose(x.numpy(), want.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda F, t: F.glu(t.ones(3, 5)),
        lambda F, t: F.glu(t.tensor(1.0)),
        lambda F, t: F.hardtanh(t.ones(3), 1, -1),
        lambda F, t: F.softshrink(t.ones(3), -1.0),
        lambda F, t: F.celu(t.ones(3), 0.0),
        lambda F, t: F.rrelu(t.ones(3), 1.0, 0.5),
        lambda F, t: F.prelu(t.ones(3, 5), t.ones(3)),
        lambda F, t: F.prelu(t.ones(3, 5), t.ones(3, 1)),
        lambda F, t: F.elu(t.tensor([1])),
        lambda F, t: F.gelu(t.tensor([1])),
        lambda F, t: F.gelu(t.ones(1), approximate="erf"),
        lambda F, t: F.hardshrink(t.tensor([1])),
    ],
)
def test_what_torch_refuses_is_refused_in_its_words(call):
    with pytest.raises(Exception) as theirs:
        call(torch.nn.functional, torch)
    with pytest.raises(type(theirs.value)) as ours:
        call(F, tracegrad)
    assert str(ours.value) == str(theirs.value)


def test_integers_stay_integers_where_torch_keeps_them():
    x = tracegrad.tensor([-4, 3, 9])
    assert F.hardtanh(x).tolist() == [-1, 1, 1] and F.relu6(x).tolist() == [0, 3, 6]
    assert F.threshold(x, 3, 0).tolist() == [0, 0, 9]


def test_gumbel_softmax_draws_each_class_as_often_as_its_probability():
    tracegrad.manual_seed(0)
    logits = tracegrad.tensor([0.1, 0.6, 0.3]).log().expand(4000, 3).requires_grad_()
    drawn = F.gumbel_softmax(logits, tau=0.5, hard=True)
    np.testing.assert_allclose(drawn.detach().numpy().max(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(drawn.mean(0).detach().numpy(), [0.1, 0.6, 0.3], atol=0.03)
    (drawn[:, 0].sum()).backward()


REFUSED_IN_PLACE = {
    "elu_ of integers": lambda F, t: F.elu_(t([1, -2])),
    "selu_ of integers": lambda F, t: F.selu_(t([1, -2])),
    "leaky_relu_ of integers": lambda F, t: F.leaky_relu_(t([1, -2])),
    "rrelu of integers": lambda F, t: F.rrelu(t([1, -2])),
    "rrelu_ of integers, while training": lambda F, t: F.rrelu_(t([1, -2]), training=True),
    "celu_ divided by zero": lambda F, t: F.celu_(t([1.0, -2.0]), 0.0),
    "rrelu_ of bounds in reverse": lambda F, t: F.rrelu_(t([1.0, -2.0]), 2, 1),
    "relu_ of bools": lambda F, t: F.relu_(t([True])),
    "threshold_ of bools": lambda F, t: F.threshold_(t([True]), 0.5, 0.0),
}


@pytest.mark.parametrize("case", REFUSED_IN_PLACE)
def test_a_function_refuses_what_torchs_refuses(case):
    call = REFUSED_IN_PLACE[case]
    with pytest.raises(Exception) as theirs:
        call(torch.nn.functional, torch.tensor)
    with pytest.raises(Exception) as ours:
        call(F, tracegrad.tensor)
    assert isinstance(ours.value, type(theirs.value))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu", "celu", "hardtanh"])
def test_a_function_in_place_is_the_function_with_inplace(name):
    x = tracegrad.tensor(POINTS)
    y = getattr(F, name)(x)
    assert getattr(F, f"{name}_")(x) is x
    assert tracegrad.equal(x, y)


SMOOTH = {
    "silu": {}, "gelu": {}, "gelu tanh": {"approximate": "tanh"}, "mish": {}, "logsigmoid": {},
    "softplus": {}, "softplus of 2": {"beta": 2.0, "threshold": 5.0}, "hardswish": {}, "elu": {},
    "elu of 3": {"alpha": 3.0}, "selu": {}, "celu": {"alpha": 0.5},
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", SMOOTH)
def test_an_infinite_gradient_stays_one(name, compiled):
    points = [-60.0, -8.0, -2.9, -1.3, -0.2, 0.0, 0.7, 2.0, 4.0, 30.0, float("nan")]

    def run(lib, g):
        x = lib.tensor(points, dtype=lib.float64, requires_grad=True)

        def gradient(x):
            y = getattr(lib.nn.functional, name.split()[0])(x, **SMOOTH[name])
            return lib.autograd.grad(y, x, lib.full_like(y, g))[0]

        compiles = compiled and lib is tracegrad
        return (tracegrad.compile(gradient) if compiles else gradient)(x).numpy()

    for g in (float("inf"), -float("inf"), 1.0):
        np.testing.assert_allclose(run(tracegrad, g), run(torch, g), rtol=1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_gradient_comes_through_a_transform(name):
    def run(lib):
        def function(x):
            return getattr(lib.nn.functional, name.split()[0])(x, **SMOOTH[name])

        x = lib.tensor([[-2.0, 0.5], [3.0, -0.1]], dtype=lib.float64, requires_grad=True)
        lib.vmap(function)(x).sum().backward()
        _, forward = lib.func.jvp(function, (x.detach(),), (lib.ones_like(x.detach()),))
        return x.grad.numpy(), forward.numpy()

    for mine, theirs in zip(run(tracegrad), run(torch), strict=True):
        np.testing.assert_allclose(mine, theirs)


@pytest.mark.parametrize("name", ["hardtanh", "relu6", "hardshrink", "softshrink"])
def test_the_gradient_at_nan_is_torchs(name):
    torch = pytest.importorskip("torch")
    for T in (tracegrad, torch):
        x = T.tensor([np.nan, 0.25, 7.0], requires_grad=True)
        y = getattr(T.nn.functional, name)(x)
        y.sum().backward()
        assert np.isnan(y[0].item()) and x.grad[0].item() == 1
