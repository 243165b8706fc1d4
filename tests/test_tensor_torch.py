"""Tensors print, promote, index and fail as torch's do, and traced programs compute what eager ones
do.
"""

import numpy as np
import pytest
from programs_of_torch import names, printed, run, sections, tensors_in, traced_arrays

import tracegrad as T
from tracegrad.tracer.capture.scalar import NeedsValue

SECTIONS = [(f, heading) for f in ("tensors", "autograd") for heading in sections(f)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("file", "heading"), SECTIONS)
def test_programs_print_what_they_print_in_torch(file, heading):
    torch = pytest.importorskip("torch")
    answers = {p: (printed(torch, p), printed(T, p)) for p in sections(file)[heading]}
    assert {p: a for p, a in answers.items() if a[0] != a[1]} == {}


def unknown_while_tracing(error):
    return "is not known while" in str(error) or "cannot be drawn" in str(error)


def outcome(compute):
    """What it computes, or the class of the error that it ends in; None if that asks for what a
    compiled function does not know.
    """
    try:
        return compute()
    except (Exception, NeedsValue) as error:
        return None if unknown_while_tracing(error) else type(error)


def eager(program):
    return [(t.detach()._array, t.dtype) for t in tensors_in(run(program, names(T)))]


def traced(program):
    environment = names(T)
    tensors = [t for t in environment.values() if isinstance(t, T.Tensor)]
    return traced_arrays(lambda *_: run(program, environment), *tensors)


def compiled(program):
    """As a function that calls compile; of a program that looks at values, a trace alone is not
    enough.
    """
    *before, last = program.split(";")
    lines = [*before, f"return {last.strip()}"]
    environment = names(T)
    exec("def f():\n" + "".join(f"    {line.strip()}\n" for line in lines), environment)
    return [(t.detach()._array, t.dtype) for t in tensors_in(T.compile(environment["f"])())]


@pytest.mark.parametrize(("file", "heading"), SECTIONS)
def test_traced_programs_compute_what_eager_ones_do(file, heading):
    wrong = {}
    for program in sections(file)[heading]:
        want = outcome(lambda p=program: eager(p))
        got = outcome(lambda p=program: traced(p))
        if got is None or alike(want, got):
            continue
        got = outcome(lambda p=program: compiled(p))
        if got is not None and not alike(want, got):
            wrong[program] = (want, got)
    assert wrong == {}


def alike(one, other):
    if isinstance(one, type) or isinstance(other, type):
        return one is other
    return len(one) == len(other) and all(
        d is e and a.shape == b.shape and np.allclose(a, b, rtol=1e-5, equal_nan=True)
        for (a, d), (b, e) in zip(one, other, strict=True)
    )
