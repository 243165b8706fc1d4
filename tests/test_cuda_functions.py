"""Device functions that are plain Python, called on numbers: they are the CPU's builtins."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.special

pytest.importorskip("numba_cuda")

from tracegrad.ir.value import REGISTRY
from tracegrad.runtime.cpu import philox
from tracegrad.runtime.cpu.builtins import BUILTINS
from tracegrad.runtime.cuda import (
    device_functions as device,
    device_memory,
    special_functions as special,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
ENDS = (-(2**63), -(2**31), -7, -2, -1, 0, 1, 2, 3, 7, 100, 2**31 - 1, 2**63 - 1)


def texts(op) -> list[str]:
    """The expressions of a record."""
    how, scan, check = op.reduction, op.scan, op.check
    return [
        *([op.expr, op.beside_number] if op.expr else []), *([check.index] if check else []),
        *([how.combine, how.accumulate] if how else []), *([scan.first, scan.step] if scan else []),
    ]


@pytest.mark.parametrize("op", REGISTRY.values(), ids=lambda op: op.name)
def test_expressions_are_made_of_device_functions(op):
    names = {name for text in texts(op) if text for name in re.findall(r"([a-z_]\w*)\(", text)}
    assert names <= device.FUNCTIONS.keys()


def test_random_bits_are_the_cpus():
    for seed in (0, 1, -5, 2**62 + 3):
        for position in (0, 1, 77, 2**40 + 9, -1):
            bits = device.philox.py_func(np.int64(seed), np.int64(position))
            assert bits == philox.plain(seed, position)


@pytest.mark.parametrize("name, function", [
    ("floor_div", device._floor_div_whole), ("remainder", device._remainder_whole),
    ("fmod", device._fmod_whole),
])
def test_divisions_of_integers(name, function):
    for a in map(np.int64, ENDS):
        for b in map(np.int64, ENDS):
            if b:
                assert function.py_func(a, b) == BUILTINS[name].python(a, b), (name, a, b)
        assert function.py_func(a, np.int64(0)) == 0


def test_powers_of_integers_wrap():
    for a in map(np.int64, ENDS[2:-2]):
        for b in range(9):
            assert device._power_whole.py_func(a, np.int64(b)) == a ** np.int64(b)


def test_an_index_out_of_range_becomes_a_harmless_one():
    for dim in (0, -1):
        for k in range(-7, 8):
            i = np.int64(k)
            assert device_memory.within.py_func(i, 5, dim) == BUILTINS["within"].python(i, 5, dim)


ARGUMENTS = np.concatenate([np.linspace(-12.3, 12.3, 83), [1e-8, 29.9, 30.1, 100.0, 690.0, -690.0]])


@pytest.mark.parametrize("name, exact", [
    ("digamma", scipy.special.psi), ("bessel_i0", scipy.special.i0),
    ("bessel_i0e", scipy.special.i0e), ("bessel_i1", scipy.special.i1),
    ("bessel_i1e", scipy.special.i1e),
])
def test_special_functions_of_one_number(name, exact, monkeypatch):
    monkeypatch.setattr(special, "_scaled", special._scaled.py_func)
    function = getattr(special, name).py_func
    got = [function(float(x)) for x in ARGUMENTS]
    np.testing.assert_allclose(got, exact(ARGUMENTS), rtol=2e-13, atol=1e-13)


@pytest.mark.parametrize("name, exact", [
    ("igamma", scipy.special.gammainc), ("igammac", scipy.special.gammaincc),
])
def test_incomplete_gamma_functions(name, exact, monkeypatch):
    for helper in ("_front", "_lower", "_upper", "_special_case"):
        monkeypatch.setattr(special, helper, getattr(special, helper).py_func)
    function = getattr(special, name).py_func
    numbers = (0.0, 0.1, 0.5, 1.0, 2.5, 7.0, 30.0, 150.0, 1000.0, np.inf, np.nan, -1.0)
    for a in numbers:
        for x in numbers:
            words = f"{name}({a}, {x})"
            np.testing.assert_allclose(function(a, x), exact(a, x), 1e-10, 1e-14, err_msg=words)
