"""The elementary functions against references of higher precision: errors in ulp, and every special
value.
"""

import ctypes

import numpy as np
import pytest
from machine_code import on_vectors
from numba import cfunc, types

from tracegrad.runtime.cpu.builtins import BUILTINS
from tracegrad.runtime.cpu.code_generator import FAST

BOUNDS = {  # largest error in units of the last place, as runtime/cpu/vector_math.py states them
    "exp": {"f4": 1.5, "f8": 1.5},
    "log": {"f4": 1.5, "f8": 1.5},
    "tanh": {"f4": 2.5, "f8": 3.0},
    "sigmoid": {"f4": 3.0, "f8": 3.0},
}
RANGES = {"exp": (-110, 95), "log": (1e-44, 1e38), "tanh": (-12, 12), "sigmoid": (-80, 80)}


def reference(name: str, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        return {
            "exp": np.exp,
            "log": np.log,
            "tanh": np.tanh,
            "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        }[name](x)


def compiled(name: str, code: str, flags=False):
    """The function over an array, compiled with the flags that kernels get."""
    real = types.float32 if code == "f4" else types.float64
    function = BUILTINS[name].numba

    @cfunc(types.void(types.CPointer(real), types.CPointer(real), types.int64), fastmath=flags)
    def loop(x, y, n):
        for i in range(n):
            y[i] = function(x[i])

    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(loop.address)

    def apply(x):
        x = np.ascontiguousarray(x, np.dtype(code))
        y = np.empty_like(x)
        call(x.ctypes.data, y.ctypes.data, x.size)
        return y

    apply.keep = loop
    return apply


def ulps(got: np.ndarray, exact: np.ndarray) -> float:
    finite = np.isfinite(exact.astype(got.dtype))
    spacing = np.spacing(
        np.maximum(np.abs(exact[finite]), np.finfo(got.dtype).tiny).astype(got.dtype)
    )
    return float(np.max(np.abs(got[finite].astype(np.longdouble) - exact[finite]) / spacing))


@pytest.mark.parametrize("flags", [False, FAST], ids=["exact", "fast"])
@pytest.mark.parametrize("code", ["f4", "f8"])
@pytest.mark.parametrize("name", BOUNDS)
def test_the_error_stays_within_its_stated_bound(name, code, flags):
    rng = np.random.default_rng(0)
    low, high = RANGES[name]
    uniform = rng.uniform(low, high, 400_000)
    near = rng.uniform(-2, 2, 400_000) * 10.0 ** rng.uniform(-6, 1, 400_000)
    x = np.concatenate([uniform, np.abs(near) if name == "log" else near]).astype(np.dtype(code))
    if name == "log":
        x = np.concatenate([x, np.exp(rng.uniform(-80, 80, 100_000)).astype(np.dtype(code))])
        x = x[x > 0]
    function = compiled(name, code, flags)
    assert ulps(function(x), reference(name, x)) <= BOUNDS[name][code]


@pytest.mark.parametrize("code", ["f4", "f8"])
@pytest.mark.parametrize("name", BOUNDS)
def test_special_values_are_those_of_ieee(name, code):
    big = np.finfo(np.dtype(code)).max
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, big, -big], np.dtype(code))
    with np.errstate(all="ignore"):
        want = reference(name, x).astype(np.dtype(code))
    np.testing.assert_allclose(compiled(name, code)(x), want, rtol=1e-6)


@pytest.mark.parametrize("code", ["f4", "f8"])
def test_exp_goes_gradually_to_zero(code):
    x = np.linspace(-108, -80, 1001) if code == "f4" else np.linspace(-745, -700, 1001)
    got = compiled("exp", code)(x)
    want = reference("exp", x.astype(np.dtype(code)))
    np.testing.assert_allclose(
        got,
        want.astype(np.dtype(code)),
        rtol=1e-6,
        atol=float(np.finfo(np.dtype(code)).smallest_subnormal) * 2,
    )


@pytest.mark.parametrize("name", BOUNDS)
def test_loops_over_it_are_vectorised(name):
    assert on_vectors(compiled(name, "f4").keep._library.get_llvm_str(), "fadd", "fmul", "fdiv")
