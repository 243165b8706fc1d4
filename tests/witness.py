"""A function run with torch and with us: its answers, gradients and second gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")


def answers(y):
    return list(y) if isinstance(y, (tuple, list)) else [y]


def orders(lib, function, xs):
    """The answers, the gradients of a weighted sum of their squares, and those of the squares of
    the gradients.
    """
    found = answers(function(lib, *xs))
    wanted = [x for x in xs if x.requires_grad]
    smooth = [y for y in found if y.requires_grad]
    if not smooth:
        return found
    total = 0.0
    for y in smooth:
        weights = lib.arange(y.numel(), dtype=y.dtype).reshape(y.shape).cos() + 1.5
        total = total + (weights * y * y).sum()
    first = lib.autograd.grad(total, wanted, create_graph=True)
    second = lib.autograd.grad(sum((g * g).sum() for g in first), wanted)
    return [*found, *first, *second]


def inputs(lib, arrays):
    return [lib.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]


def same(mine, theirs, rtol=1e-7):
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        assert str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1]
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=1e-9)


def agree(function, *arrays, compiled=False):
    """Assert that we answer as torch does, to second order; if `compiled`, compiled as well."""
    eager = orders(tg, function, inputs(tg, arrays))
    same(eager, orders(torch, function, inputs(torch, arrays)))
    if compiled:
        step = tg.compile(lambda *xs: tuple(orders(tg, function, xs)))
        same(step(*inputs(tg, arrays)), eager)


def refusal(lib, function):
    """The class and the words with which a function of the library refuses."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function(lib)
    kind = next(c for c in type(caught.value).__mro__ if c.__module__ == "builtins")
    return kind, str(caught.value).split("\n")[0]
