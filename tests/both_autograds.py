"""Two matrices of numbers in torch and here, their derivatives, and whether they agree."""

from __future__ import annotations

import numpy as np

from tracegrad.tracer.pytree import flatten

RNG = np.random.default_rng(11)
X, W = RNG.standard_normal((4, 3)), RNG.standard_normal(3) + 3


def gradients(T, y, *xs):
    """First and second derivatives of a number."""
    first = T.autograd.grad(y, xs, create_graph=True, allow_unused=True)
    total = sum((g * g).sum() for g in first if g is not None)
    return [*first, *T.autograd.grad(total, xs, allow_unused=True)]


def data(T, grad=True):
    return [T.tensor(a, requires_grad=grad) for a in (X, W)]


def numbers(found):
    return [None if t is None else t.detach().numpy() for t in flatten(found)[0]]


def same(found, expected):
    for a, b in zip(numbers(found), numbers(expected), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
