"""Numbers that a dtype does not hold, and bounds that say nothing, are refused as torch does."""

from __future__ import annotations

import pytest

import tracegrad

torch = pytest.importorskip("torch")

CALLS = {
    "leaky_relu": lambda T, x, n: T.nn.functional.leaky_relu(x, n),
    "leaky_relu_": lambda T, x, n: T.nn.functional.leaky_relu_(x.clone(), n),
    "elu": lambda T, x, n: T.nn.functional.elu(x, n),
    "celu": lambda T, x, n: T.nn.functional.celu(x, n),
    "softplus": lambda T, x, n: T.nn.functional.softplus(x, n),
    "softplus, threshold": lambda T, x, n: T.nn.functional.softplus(x, 1, n),
    "threshold": lambda T, x, n: T.nn.functional.threshold(x, n, 0),
    "softshrink": lambda T, x, n: T.nn.functional.softshrink(x, n),
    "lerp": lambda T, x, n: T.lerp(x, x, n),
    "addmv": lambda T, x, n: T.addmv(x, T.outer(x, x), x, beta=n),
    "addr": lambda T, x, n: T.addr(T.outer(x, x), x, x, alpha=n),
    "logit": lambda T, x, n: T.logit(x, n),
    "histc": lambda T, x, n: T.histc(x, 3, 0, n),
    "cosine_similarity": lambda T, x, n: T.nn.functional.cosine_similarity(x, x, 0, n),
    "batch_norm": lambda T, x, n: T.nn.functional.batch_norm(
        T.outer(x, x), None, None, training=True, eps=n),
    "hinge_embedding_loss": lambda T, x, n: T.nn.functional.hinge_embedding_loss(x, x, margin=n),
    "gaussian_nll_loss": lambda T, x, n: T.nn.functional.gaussian_nll_loss(
        x, x, x * x, eps=abs(n)),
    "huber_loss": lambda T, x, n: T.nn.functional.huber_loss(x, x, delta=n),
    "smooth_l1_loss": lambda T, x, n: T.nn.functional.smooth_l1_loss(x, x, beta=n),
    "isclose": lambda T, x, n: T.isclose(x, x * 2, atol=n),
    "isclose, relative": lambda T, x, n: T.isclose(x, x * 2, rtol=n),
}
MADE = {
    "linspace": lambda T, d, n: T.linspace(0, n, 3, dtype=d),
    "linspace of its start": lambda T, d, n: T.linspace(1, n, 1, dtype=d),
    "linspace of nothing": lambda T, d, n: T.linspace(n, n, 0, dtype=d),
    "logspace": lambda T, d, n: T.logspace(n, 0, 3, dtype=d),
    "arange": lambda T, d, n: T.arange(n, n + 1, dtype=d),
    "tensor": lambda T, d, n: T.tensor(n, dtype=d),
    "tensor of a list": lambda T, d, n: T.tensor([[0.0, n]], dtype=d),
}
NUMBERS = (0.5, 300.0, 70000.0, 1e39, -1e39, -1.5, 0.0, float("inf"), float("nan"))


def refusal(call, T, *args):
    try:
        call(T, *args)
    except (RuntimeError, ValueError) as error:
        return type(error).__name__, str(error).replace("_t ", " ")  # int64_t or int64
    return None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", CALLS)
def test_numbers_of_a_call(name, dtype):
    for n in NUMBERS:
        mine, theirs = (
            refusal(CALLS[name], T, T.tensor([0.25, 0.5, 2.0]).to(getattr(T, dtype)), n)
            for T in (tracegrad, torch))
        assert mine == theirs, n


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64"])
@pytest.mark.parametrize("name", MADE)
def test_numbers_of_a_new_tensor(name, dtype):
    for n in NUMBERS:
        mine, theirs = (
            refusal(MADE[name], T, getattr(T, dtype), n) for T in (tracegrad, torch))
        assert mine == theirs, n
