"""A backward that runs the compiled function again (it acts, or its gradient is differentiated)
finds the world of the call: each program is run eagerly and compiled, and gives the same numbers.
"""

from __future__ import annotations

import pytest

import tracegrad as T
from tracegrad import nn


def numbers(*values):
    """All of them in one list."""
    tensors = (v.detach().flatten().tolist() if isinstance(v, T.Tensor) else [v] for v in values)
    return [float(x) for some in tensors for x in some]


def noisy():
    """A module that changes buffers in place and draws random numbers."""
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2)
    )


def gradients(module):
    return [p.grad for p in module.parameters() if p.grad is not None]


def leaf(n=3):
    return T.randn(n, requires_grad=True)


class Holder:
    pass


def check(program):
    """A program, a generator of what can be seen, gives the same numbers eagerly and compiled."""
    found = []
    for compile in (lambda f: f, T.compile):
        T.manual_seed(0)
        found.append([numbers(*values) if isinstance(values, tuple) else numbers(values)
                      for values in program(compile)])
    eager, compiled = found
    assert len(eager) == len(compiled)
    for a, b in zip(eager, compiled, strict=True):
        assert b == pytest.approx(a, rel=1e-4, abs=1e-5)
