"""Tensors print, promote, index and fail as torch's do, and traced programs compute what eager ones
do.
"""

import numpy as np
import pytest
from programs_of_torch import names, printed, run, sections, tensors_in, traced_arrays

import tracegrad as T

SECTIONS = [(f, heading) for f in ("tensors", "autograd") for heading in sections(f)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("file", "heading"), SECTIONS)
def test_programs_print_what_they_print_in_torch(file, heading):
    torch = pytest.importorskip("torch")
    answers = {p: (printed(torch, p), printed(T, p)) for p in sections(file)[heading]}
    assert {p: a for p, a in answers.items() if a[0] != a[1]} == {}


def unknown_while_tracing(error):
    return "is not known while" in str(error) or "cannot be drawn" in str(error)


@pytest.mark.parametrize(("file", "heading"), SECTIONS)
def test_traced_programs_compute_what_eager_ones_do(file, heading):
    wrong = {}
    for program in sections(file)[heading]:
        try:
            eager = [(t.detach()._array, t.dtype) for t in tensors_in(run(program, names(T)))]
        except Exception as error:
            eager = type(error)
        environment = names(T)
        try:
            traced = traced_arrays(
                lambda *_, p=program, e=environment: run(p, e),
                *(t for t in environment.values() if isinstance(t, T.Tensor)),
            )
        except Exception as error:
            if unknown_while_tracing(error):
                continue
            traced = type(error)
        if not alike(eager, traced):
            wrong[program] = (eager, traced)
    assert wrong == {}


def alike(one, other):
    if isinstance(one, type) or isinstance(other, type):
        return one is other
    return len(one) == len(other) and all(
        d is e and a.shape == b.shape and np.allclose(a, b, rtol=1e-5, equal_nan=True)
        for (a, d), (b, e) in zip(one, other, strict=True)
    )
