"""What tests ask of compiled functions: how often they were traced, and the same numbers."""

from __future__ import annotations

import numpy as np

import tracegrad as tg
from tracegrad.runtime.cpu.compiler import statistics


def traces(compiled) -> int:
    """How often a compiled function was traced."""
    return compiled.cache_info().misses


def kernels() -> int:
    """How many kernels this process has compiled or loaded."""
    return statistics.compiled + statistics.loaded


def same(a, b) -> None:
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def bits(t):
    """The bits of a tensor; all NaN are one."""
    a = np.ascontiguousarray(t.detach()._array)
    if t.dtype.kind != "float":
        return a
    return np.where(np.isnan(t.dtype.decode(a)), 0, a.view(f"u{a.itemsize}"))


def same_bits(f, *xs):
    """A function gives the same bits compiled as eagerly."""
    found = tg.compile(f)(*xs)
    wanted = f(*xs)
    several = isinstance(wanted, tuple)
    for got, want in zip(found, wanted, strict=True) if several else [(found, wanted)]:
        assert got.dtype is want.dtype and got.shape == want.shape
        np.testing.assert_array_equal(bits(got), bits(want))


def line(momentum: float = 0.0):
    """(parameter, optimizer, step) of least squares with one weight."""
    w = tg.ones(1, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1, momentum=momentum)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = ((x * w - 1) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    return w, optimizer, step
