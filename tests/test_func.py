"""Function transforms against torch.func, eager and compiled, and against identities."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import func
from tracegrad.tracer.pytree import flatten

RNG = np.random.default_rng(5)
X, W = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 5))


def loss(T, w, x):
    return (T.tanh(x @ w) ** 2).sum() + (w**3).sum()


def outputs(T, w, x):
    return {"a": T.sin(x @ w), "b": (w * w).sum(0)}


def sample_loss(T, w, x):
    return T.nn.functional.softplus(x @ w).mean() * x[0]


# name -> a program of (transforms, library, w, x), the same in torch and here
PROGRAMS = {
    "grad": lambda F, T, w, x: F.grad(lambda *a: loss(T, *a))(w, x),
    "grad of two": lambda F, T, w, x: F.grad(lambda *a: loss(T, *a), argnums=(0, -1))(w, x),
    "grad and value": lambda F, T, w, x: F.grad_and_value(lambda *a: loss(T, *a), 1)(w, x),
    "grad with aux": lambda F, T, w, x: F.grad(
        lambda *a: (loss(T, *a), {"twice": a[0] * 2}), has_aux=True
    )(w, x),
    "third derivative": lambda F, T, w, x: F.grad(
        lambda x: F.grad(lambda x: F.grad(lambda x: T.sin(x).sum())(x).sum())(x).sum()
    )(x),
    "no confusion": lambda F, T, w, x: F.grad(
        lambda x: (x * F.grad(lambda y: (x * y).sum())(T.ones_like(x))).sum()
    )(x),
    "per sample": lambda F, T, w, x: F.vmap(
        F.grad(lambda *a: sample_loss(T, *a)), in_dims=(None, 0)
    )(w, x),
    "gradient of per sample": lambda F, T, w, x: F.grad(
        lambda w: (F.vmap(F.grad(lambda *a: sample_loss(T, *a)), (None, 0))(w, x) ** 2).sum()
    )(w),
    "jacrev": lambda F, T, w, x: F.jacrev(lambda *a: outputs(T, *a), (0, 1))(w, x),
    "jacfwd": lambda F, T, w, x: F.jacfwd(lambda *a: outputs(T, *a), (0, 1))(w, x),
    "jacrev in chunks": lambda F, T, w, x: F.jacrev(lambda w: outputs(T, w, x), chunk_size=3)(w),
    "hessian": lambda F, T, w, x: F.hessian(lambda *a: loss(T, *a), (0, 1))(w, x[0]),
    "jacrev jacrev": lambda F, T, w, x: F.jacrev(F.jacrev(lambda w: loss(T, w, x)))(w),
    "jacfwd jacfwd": lambda F, T, w, x: F.jacfwd(F.jacfwd(lambda w: loss(T, w, x)))(w),
    "jacrev jacfwd": lambda F, T, w, x: F.jacrev(F.jacfwd(lambda w: loss(T, w, x)))(w),
    "vmap hessian": lambda F, T, w, x: F.vmap(
        F.hessian(lambda *a: sample_loss(T, *a), 1), in_dims=(None, 0)
    )(w, x),
    "vjp": lambda F, T, w, x: F.vjp(lambda *a: outputs(T, *a), w, x)[1](
        {"a": x @ w, "b": w[0]}
    ),
    "jvp": lambda F, T, w, x: F.jvp(lambda *a: outputs(T, *a), (w, x), (w * 2, x + 1)),
    "integers have no tangent": lambda F, T, w, x: F.jvp(
        lambda w: (w.long(), w * 2, w > 0), (w,), (w,)
    ),
    "linearize": lambda F, T, w, x: F.linearize(lambda *a: loss(T, *a), w, x)[1](w * 2, x + 1),
    "grad of jvp": lambda F, T, w, x: F.grad(
        lambda w: F.jvp(lambda *a: loss(T, *a), (w, x), (w * 2, x + 1))[1]
    )(w),
    "jvp of grad": lambda F, T, w, x: F.jvp(F.grad(lambda w: loss(T, w, x)), (w,), (w * 2,)),
    "vmap of jvp": lambda F, T, w, x: F.vmap(
        lambda x: F.jvp(lambda x: T.sin(x) * x.sum(), (x,), (x * x,))[1]
    )(x),
    "no_grad inside": lambda F, T, w, x: F.grad(lambda w: _with_no_grad(T, w))(w),
    "detach in vmap": lambda F, T, w, x: F.grad(
        lambda w: F.vmap(lambda r: (r * r.detach()).sum())(w).sum()
    )(w),
}


def _with_no_grad(T, w):
    with T.no_grad():
        factor = w.sum()
    return (w * factor).sum()


def leaves(tree):
    return [t.detach().numpy() for t in flatten(tree)[0]]


@pytest.mark.parametrize("name", PROGRAMS)
def test_transforms_agree_with_torch(name):
    torch = pytest.importorskip("torch")
    expected = PROGRAMS[name](torch.func, torch, torch.tensor(W), torch.tensor(X))
    found = PROGRAMS[name](func, tg, tg.tensor(W), tg.tensor(X))
    for a, b in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["grad", "per sample", "jacfwd", "jacrev jacfwd", "gradient of per sample", "jvp"]
)
def test_transforms_compile(name):
    w, x = tg.tensor(W), tg.tensor(X)
    program = tg.compile(lambda w, x: PROGRAMS[name](func, tg, w, x))
    eager = leaves(PROGRAMS[name](func, tg, w, x))
    for a, b in zip(leaves(program(w, x)), eager, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_compiled_function_is_differentiated():
    f = tg.compile(lambda w: (w.sin() ** 2).sum())
    w = tg.tensor(W)
    tg.testing.assert_close(func.grad(f)(w), tg.sin(2 * w))


def test_results_have_a_history_only_where_it_leads_on():
    w = tg.tensor(W)
    assert not func.grad(lambda w: (w**3).sum())(w).requires_grad
    f = lambda w: (w**3).sum()  # noqa: E731
    for twice in (func.hessian(f), func.jacrev(func.jacfwd(f)), func.jacrev(func.jacrev(f))):
        assert not twice(w[0]).requires_grad and not tg.compile(twice)(w[0]).requires_grad
    assert not func.grad(lambda w: func.jvp(f, (w,), (w,))[1])(w).requires_grad
    leaf = tg.tensor(W, requires_grad=True)
    assert func.grad(lambda x: (x * leaf).sum())(w).requires_grad
    with tg.no_grad():
        assert not func.grad(lambda w: (w**3).sum())(leaf).requires_grad


def test_an_unused_argument_has_a_gradient_of_zeros():
    w, x = tg.tensor(W), tg.tensor(X)
    assert (func.grad(lambda w, x: x.sum())(w, x) == 0).all()


def test_the_ensemble_of_torchs_tutorial():
    models = [tg.nn.Linear(3, 2) for _ in range(4)]
    parameters, buffers = func.stack_module_state(models)
    x = tg.randn(5, 3)

    def call(parameters, buffers, x):
        return func.functional_call(models[0], (parameters, buffers), (x,))

    found = tg.vmap(call, in_dims=(0, 0, None))(parameters, buffers, x)
    tg.testing.assert_close(found, tg.stack([m(x) for m in models]))


def test_functional_call_leaves_the_module_as_it_was():
    m = tg.nn.Linear(3, 2)
    before = m.weight
    with pytest.raises(RuntimeError):
        func.functional_call(m, {"weight": tg.ones(2, 3)}, (tg.ones(7, 4),))
    assert m.weight is before
    given = {"nothing": tg.ones(2, 3)}, (tg.ones(7, 3),)
    tg.testing.assert_close(func.functional_call(m, *given), m(tg.ones(7, 3)))
    with pytest.raises(RuntimeError, match="Unexpected"):
        func.functional_call(m, *given, strict=True)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda w: func.grad(lambda w: w)(w), RuntimeError, "scalar Tensor"),
        (lambda w: func.grad(lambda w: 1.0)(w), RuntimeError, "return"),
        (lambda w: func.grad(lambda w: w.sum(), argnums=3)(w), RuntimeError, "argnum=3"),
        (lambda w: func.grad(lambda w: w.sum())(w.long()), RuntimeError, "floating point"),
        (lambda w: func.grad(lambda x: x)(1.0), ValueError, "must be Tensor"),
        (lambda w: func.jacrev(lambda w: w.long())(w), RuntimeError, "floating-point"),
        (lambda w: func.jacfwd(lambda w: w * 2.0)(w.long()), ValueError, "floating point"),
        (lambda w: func.jvp(lambda w: w, w, w), RuntimeError, "tuple"),
        (lambda w: func.jvp(lambda w: w, (w,), (w[0],)), RuntimeError, "size"),
        (lambda w: func.vjp(lambda w: w, w)[1]((w, w)), RuntimeError, "structure"),
        (lambda w: func.grad(lambda w: w.sum(), has_aux=True)(w), RuntimeError, "has_aux"),
    ],
)
def test_wrong_calls_say_why(call, error, words):
    with pytest.raises(error, match=words):
        call(tg.tensor(W))
