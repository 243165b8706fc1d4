"""Programs that look at values, run in lockstep: compiled, eagerly, and with torch. What they yield
at each step, numbers and state, must be the same.
"""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")


def run(program, T, compile):
    """What a program yields, as plain numbers and texts, and what it printed."""
    printed = io.StringIO()
    T.manual_seed(0)
    with contextlib.redirect_stdout(printed):
        told = [plain(y) for y in program(T, compile)]
    return told, printed.getvalue()


def plain(value):
    if hasattr(value, "detach"):
        return str(value.dtype).split(".")[-1], bool(value.requires_grad), value.detach().tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return type(value).__name__, value


def close(a, b, where=()):
    """Whether two results are equal, but for the last digits of their numbers."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        a, b = list(a.values()), list(b.values())
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), (where, a, b)
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            close(x, y, (*where, k))
    elif isinstance(a, float):
        assert type(b) is float, (where, a, b)
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5, err_msg=str(where))
    elif isinstance(a, str):
        numbers = r"-?\d+\.\d+(?:e[+-]\d+)?"
        assert re.sub(numbers, "#", a) == re.sub(numbers, "#", b), (where, a, b)
        for x, y in zip(re.findall(numbers, a), re.findall(numbers, b), strict=True):
            np.testing.assert_allclose(float(x), float(y), rtol=2e-3, atol=2e-4)
    else:
        assert a == b and type(a) is type(b), (where, a, b)


def lockstep(program):
    """Run a program three times. Returns the compiled functions."""
    compiled = []

    def compile(function):
        compiled.append(tg.compile(function))
        return compiled[-1]

    eagerly = run(program, tg, lambda f: f)
    close(run(program, tg, compile), eagerly)
    close(run(program, torch, lambda f: f), eagerly)
    return compiled


def inputs(T, count=6):
    return [T.tensor([k + 1.0, 1.5 - k, 0.25 * k]) for k in range(count)]


def of(function, ways=1):
    """A program that calls one function with several inputs, twice each."""
    def run(T, compile):
        f = compile(lambda x: function(T, x))
        for x in (*inputs(T), *inputs(T)):
            yield f(x)

    return run, ways


def collector(programs):
    """A decorator `program(ways)` that puts a program among these, under its own name."""
    def program(ways):
        def note(make):
            programs[make.__name__] = make, ways
            return make

        return note

    return program
