"""autograd.functional, anomalies and dual numbers, against torch."""

from __future__ import annotations

import pytest
from both_autograds import W, data, same

import tracegrad as tg


# ---- autograd.functional
def pair(T):
    return lambda x, w: (T.exp(x) @ w, (x * w).sum())


def number(T):
    return lambda x, w: (T.sin(x) * w).pow(3).sum()


FUNCTIONAL = {
    "jacobian": lambda T, x, w: T.autograd.functional.jacobian(pair(T), (x, w)),
    "vectorized": lambda T, x, w: T.autograd.functional.jacobian(pair(T), (x, w), vectorize=True),
    "forward": lambda T, x, w: T.autograd.functional.jacobian(
        pair(T), (x, w), vectorize=True, strategy="forward-mode"
    ),
    "single": lambda T, x, w: T.autograd.functional.jacobian(T.exp, w),
    "hessian": lambda T, x, w: T.autograd.functional.hessian(number(T), (x, w)),
    "hessian, vectorized": lambda T, x, w: T.autograd.functional.hessian(
        number(T), (x, w), vectorize=True, outer_jacobian_strategy="forward-mode"
    ),
    "vjp": lambda T, x, w: T.autograd.functional.vjp(pair(T), (x, w), (x[:, 0], w[0])),
    "jvp": lambda T, x, w: T.autograd.functional.jvp(pair(T), (x, w), (x, w)),
    "vhp": lambda T, x, w: T.autograd.functional.vhp(number(T), (x, w), (x, w)),
    "hvp": lambda T, x, w: T.autograd.functional.hvp(number(T), (x, w), (x, w)),
    "differentiated": lambda T, x, w: T.autograd.grad(
        T.autograd.functional.jacobian(pair(T), (x, w), create_graph=True)[0][0].sum(), (x, w)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functional_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    same(FUNCTIONAL[name](tg, *data(tg)), FUNCTIONAL[name](torch, *data(torch)))


def test_functional_strict_and_wrong():
    x = tg.tensor(W)
    with pytest.raises(RuntimeError, match="strict"):
        tg.autograd.functional.jacobian(lambda x: tg.ones(2), x, strict=True)
    assert (tg.autograd.functional.jacobian(lambda x: tg.ones(2), x) == 0).all()
    with pytest.raises(RuntimeError, match="invalid size"):
        tg.autograd.functional.vjp(lambda x: x * 2, x, x[:1])
    with pytest.raises(TypeError, match="tuple of Tensors"):
        tg.autograd.functional.jacobian(lambda x: 1.0, x)


def test_anomalies_are_named():
    x = tg.zeros(1, requires_grad=True)
    with tg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="SqrtBackward0"):
        (x.sqrt() * 0).sum().backward()
    with tg.autograd.set_detect_anomaly(True), pytest.raises(RuntimeError, match="nan values"):
        (x.sqrt() * 0).sum().backward()
    (x.sqrt() * 0).sum().backward()


# ---- dual numbers
def test_dual_numbers_agree_with_torch():
    torch = pytest.importorskip("torch")
    found = []
    for T in (torch, tg):
        fwd = T.autograd.forward_ad
        x, w = data(T, False)
        with fwd.dual_level():
            a, b = fwd.make_dual(x, x * 2), fwd.make_dual(w, w + 1)
            found.append(fwd.unpack_dual(T.tanh(a @ b) * b.sum()))
            assert fwd.unpack_dual(x).tangent is None
    same(found[1], found[0])
    with pytest.raises(RuntimeError, match="level"):
        tg.autograd.forward_ad.make_dual(x, x)
