"""A function of nn.functional here and in torch: answer, gradients, second gradients, and compiled.

Shared by the tests of convolution, pooling, padding and resampling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tracegrad as tg
import tracegrad.nn.functional as F


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def derivatives(T: Any, function: Any, arrays: list) -> tuple[str, list[np.ndarray]]:
    """The name of the answer's grad_fn; the answer, its gradients, their gradients."""
    xs = [T.tensor(a, requires_grad=True) for a in arrays]
    y = function(*xs)
    first, *others = y if isinstance(y, tuple) else (y,)
    weights = T.tensor(draw(*first.shape, seed=1))
    loss = (first * weights).sum() + (first * first).sum()
    grads = T.autograd.grad(loss, xs, create_graph=True)
    total = sum((g * g.detach().cos()).sum() for g in grads)
    second = T.autograd.grad(total, xs, allow_unused=True) if total.requires_grad else ()
    second = [g for g in second if g is not None]
    name = first.grad_fn.name().split("::")[-1]
    return name, [v.detach().numpy() for v in (first, *others, *grads, *second)]


def assert_torchs(torch: Any, name: str, arrays: list, *args: Any, **options: Any) -> None:
    """That eagerly `F.name(*arrays, *args, **options)` is torch's in everything."""
    results = []
    for T, space in ((tg, F), (torch, torch.nn.functional)):
        function = getattr(space, name)
        results.append(derivatives(T, lambda *xs, f=function: f(*xs, *args, **options), arrays))
    (our_name, ours), (their_name, theirs) = results
    assert our_name == their_name
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


def assert_compiled(function: Any, arrays: list) -> None:
    """That compiled, with backward() outside and inside, the numbers are those of eager mode."""
    _, (y, *want) = derivatives(tg, function, arrays)
    compiled = tg.compile(function)
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    got = compiled(*xs)
    got = got[0] if isinstance(got, tuple) else got
    np.testing.assert_allclose(got.detach().numpy(), y, rtol=1e-10, atol=1e-11)

    @tg.compile
    def whole(*xs: Any) -> Any:
        first = function(*xs)
        first = first[0] if isinstance(first, tuple) else first
        weights = tg.tensor(draw(*first.shape, seed=1))
        return tg.autograd.grad((first * weights).sum() + (first * first).sum(), xs)

    want = [w for w in want if w.dtype == np.float64]  # the indices stand before the gradients
    for a, b in zip(whole(*xs), want, strict=False):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-9, atol=1e-10)
    weights = tg.tensor(draw(*got.shape, seed=1))
    ((got * weights).sum() + (got * got).sum()).backward()
    for x, b in zip(xs, want, strict=False):
        np.testing.assert_allclose(x.grad.numpy(), b, rtol=1e-9, atol=1e-10)


def assert_same_error(torch: Any, program: Callable, shape: tuple[int, ...]) -> None:
    """That a program over T, F and zeros of a shape raises in both, in the same words."""
    raised = []
    for T, space in ((torch, torch.nn.functional), (tg, F)):
        try:
            program(T, space, T.zeros(shape))
        except Exception as error:
            raised.append((type(error), str(error).replace("torch", "tracegrad")))
        else:
            raised.append((None, "no error"))
    (theirs, expected), (ours, message) = raised
    assert theirs is not None and ours is not None
    assert message == expected
    assert issubclass(ours, theirs)
