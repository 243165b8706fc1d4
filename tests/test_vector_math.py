"""The elementary functions against references of higher precision: errors in units of the last
place, every special value, and the code that LLVM makes of them.

TRACEGRAD_ALL_FLOATS=1 makes the slow test go through all 2**32 numbers of float32; without it, it
takes one of 1021.
"""

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.special
from machine_code import calls, on_vectors
from numba import cfunc, types

import tracegrad as torch
from tracegrad.codegen.program import Kernel
from tracegrad.runtime.cpu import code_generator, object_code
from tracegrad.runtime.cpu.builtins import BUILTINS
from tracegrad.runtime.cpu.code_generator import FAST

INF, NAN = float("inf"), float("nan")


class Function(NamedTuple):
    """What a word of kernels should be."""

    bounds: tuple[float, float]  # the largest errors of float32 and float64
    double: Callable[..., Any]  # what float32 is compared with
    exact: Any  # of long doubles by NumPy, or a name of mpmath's
    low: float = -1.0  # samples of float64: evenly between these,
    high: float = 1.0
    least: float = 1e-20  # and evenly by their logarithms between these, of both signs
    most: float = 1e300
    origin: float = 0.0  # to which those are added
    positive: bool = False  # whether samples are; below zero the bound does not hold


def of_all(name: str, bound: float, low: float = -750, high: float = 750, **more: Any) -> Function:
    """A function that NumPy has for long doubles too."""
    function = getattr(np, name)
    return Function((bound, bound), function, function, low, high, **more)


def lgamma(x):
    y = scipy.special.gammaln(np.where(np.isinf(x), np.abs(x), x))
    return np.where((np.abs(x) < 1e-30) & (x != 0), -np.log(np.abs(x)), y)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {
    "exp": of_all("exp", 1.2),
    "expm1": of_all("expm1", 2.0, low=-50),
    "log": of_all("log", 1.1, low=0, high=10),
    "log1p": of_all("log1p", 1.7, low=-1, high=10),
    "log2": of_all("log2", 1.0, low=0, high=10),
    "log10": of_all("log10", 1.0, low=0, high=10),
    "tanh": of_all("tanh", 2.8, low=-20, high=20),
    "sigmoid": Function((2.4, 2.4), sigmoid, sigmoid, -750, 750),
    "sinh": of_all("sinh", 1.9),
    "cosh": of_all("cosh", 1.7),
    "asinh": of_all("arcsinh", 2.0, low=-10, high=10),
    "acosh": of_all("arccosh", 2.3, low=1, high=10, origin=1.0),
    "atanh": of_all("arctanh", 2.4, most=1.0),
    "sin": of_all("sin", 1.7, low=-1e6, high=1e6, most=5e8),
    "cos": of_all("cos", 1.7, low=-1e6, high=1e6, most=5e8),
    "tan": of_all("tan", 3.9, low=-1e6, high=1e6, most=5e8),
    "asin": of_all("arcsin", 2.6, low=-1, high=1, most=1.0),
    "acos": of_all("arccos", 1.4, low=-1, high=1, most=1.0),
    "atan": of_all("arctan", 2.6, low=-3, high=3),
    "erf": Function((1.3, 1.3), scipy.special.erf, "erf", -6.5, 6.5, most=1.0),
    "erfc": Function((4.0, 4.0), scipy.special.erfc, "erfc", -6, 27.5, most=1.0),
    "erfcx": Function((3.0, 3.0), scipy.special.erfcx, "erfcx", -26, 30),
    "erfinv": Function((2.3, 4.0), scipy.special.erfinv, "erfinv", least=1e-16, most=1, origin=1),
    "lgamma": Function((0.6, 3.0), lgamma, "lgamma", 0, 10, positive=True),
    "digamma": Function((0.6, 3.2), scipy.special.psi, "digamma", 0, 10, positive=True),
    "ndtri": Function((3.5, 3.9), scipy.special.ndtri, "ndtri", 0, least=1e-300, most=1),
}
PAIRS = {  # functions of two numbers: their bounds and NumPy's names
    "power": ((0.51, 1.2), np.power),
    "atan2": ((2.3, 2.3), np.arctan2),
    "hypot": ((0.51, 1.2), np.hypot),
}
LARGE = ("sin", "cos", "tan")  # of large numbers they call the C library
KINDS = {"f4": np.float32, "f8": np.float64}


@cache
def compiled(name: str, code: str, fast: bool = False) -> Any:
    """The function over arrays, compiled with the flags that kernels get."""
    real = types.float32 if code == "f4" else types.float64
    function, kind = BUILTINS[name].numba, types.CPointer(real)
    arity = 2 if name in PAIRS else 1

    def of_one(x, y, n):
        for i in range(n):
            y[i] = function(x[i])

    def of_two(a, b, y, n):
        for i in range(n):
            y[i] = function(a[i], b[i])

    signature = types.void(*[kind] * (arity + 1), types.int64)
    loop = cfunc(signature, fastmath=FAST if fast else False)(of_two if arity == 2 else of_one)
    pointers = [ctypes.c_void_p] * (arity + 1)
    call = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64)(loop.address)

    def apply(*inputs, keep=loop):
        arrays = [np.ascontiguousarray(x, np.dtype(code)) for x in inputs]
        arrays.append(np.empty_like(arrays[0]))
        call(*(x.ctypes.data for x in arrays), arrays[0].size)
        return arrays[-1].reshape(np.shape(inputs[0]))

    return apply


def in_digits(function: str, x: np.ndarray) -> np.ndarray:
    """Of mpmath, as long doubles."""
    mpmath = pytest.importorskip("mpmath")
    of = globals().get(f"mp_{function}") or getattr(mpmath, function)
    with mpmath.workdps(40):
        values = [of(mpmath.mpf(float(v))) for v in x]
        high = np.array([float(v) for v in values]).astype(np.longdouble)
        rest = [float(v - mpmath.mpf(float(h))) if np.isfinite(h) else 0.0
                for v, h in zip(values, high, strict=True)]
    return high + np.array(rest)


def mp_erfcx(x):
    import mpmath

    if x < 1000:
        return mpmath.exp(x * x) * mpmath.erfc(x)
    z = 1 / (2 * x * x)  # DLMF 7.12.1
    return (1 - z * (1 - 3 * z * (1 - 5 * z))) / (x * mpmath.sqrt(mpmath.pi))


def mp_ndtri(p):
    import mpmath

    if not 0 < p < 1 or 2 * p == 1:
        return mpmath.mpf({0: -INF, 0.5: 0, 1: INF}.get(p, NAN))
    q = min(p, 1 - p)
    y = -mpmath.mpf(float(scipy.special.ndtri(float(q)))) / mpmath.sqrt(2)
    for _ in range(4):  # Newton's steps for log erfc
        left = mpmath.erfc(y)
        slope = 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-y * y) / left
        y += mpmath.log(left / (2 * q)) / slope
    return (-y if q == p else y) * mpmath.sqrt(2)


def mp_lgamma(x):
    import mpmath

    return mpmath.loggamma(x) if x else INF


def mp_digamma(x):
    import mpmath

    return mpmath.digamma(x) if x else -INF


def mp_erfinv(x):
    import mpmath

    return mp_ndtri((1 + x) / 2) / mpmath.sqrt(2) if x else x


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """In long doubles, which must have more digits than doubles."""
    row = FUNCTIONS[name]
    if isinstance(row.exact, str):
        return in_digits(row.exact, x)
    if np.finfo(np.longdouble).nmant <= 53:
        pytest.skip("no long doubles")
    with np.errstate(all="ignore"):
        return row.exact(x.astype(np.longdouble))


def ulps(got: np.ndarray, true: np.ndarray) -> float:
    """The largest error, of those that are no infinity or NaN, which must be equal."""
    with np.errstate(all="ignore"):
        rounded = true.astype(got.dtype)
    special = ~np.isfinite(rounded)
    np.testing.assert_array_equal(got[special], rounded[special])
    got, true = got[~special], true[~special]
    size = np.maximum(np.abs(true), np.finfo(got.dtype).tiny).astype(got.dtype)
    return float(np.max(np.abs(got.astype(true.dtype) - true) / np.spacing(size), initial=0.0))


def samples(name: str, code: str, count: int) -> np.ndarray:
    rng, row = np.random.default_rng(len(name)), FUNCTIONS[name]
    even = rng.uniform(row.low, row.high, count)
    near = np.exp(rng.uniform(np.log(row.least), np.log(row.most), count))
    near *= rng.choice([-1, 1], count)
    with np.errstate(over="ignore"):
        x = np.concatenate([even, rng.uniform(-2, 2, count), row.origin + near]).astype(code)
    return np.abs(x) if row.positive else x


@pytest.mark.parametrize("fast", [False, True], ids=["exact", "fast"])
@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_stays_within_its_stated_bound(name, code, fast):
    x = samples(name, code, 500 if isinstance(FUNCTIONS[name].exact, str) else 30_000)
    y = compiled(name, code, fast)(x)
    assert ulps(y, exact(name, x)) <= FUNCTIONS[name].bounds[code == "f8"]


def pairs(name: str, code: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(name))
    widest = 80 if code == "f4" else 700

    def wide(by):
        return np.exp(rng.uniform(-by, by, count))

    if name == "power":
        a = [wide(widest), rng.uniform(0.5, 2, count), 1 + rng.uniform(-1e-3, 1e-3, count),
             rng.uniform(-10, 10, count), wide(3)]
        b = [rng.uniform(-limit, limit, count) for limit in (3, 900, 1e5, 50, 250)]
        b[3] = np.rint(b[3])
    else:
        signs = [rng.choice([-1, 1], count) for _ in range(2)]
        a = [rng.uniform(-1, 1, count), signs[0] * wide(widest), 1e-310 * wide(5)]
        b = [rng.uniform(-1, 1, count), signs[1] * wide(widest), 1e-310 * wide(5)]
    with np.errstate(all="ignore"):
        return np.concatenate(a).astype(code), np.concatenate(b).astype(code)


@pytest.mark.parametrize("fast", [False, True], ids=["exact", "fast"])
@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("name", PAIRS)
def test_the_error_of_functions_of_two_numbers(name, code, fast):
    if np.finfo(np.longdouble).nmant <= 53:
        pytest.skip("no long doubles")
    bounds, function = PAIRS[name]
    a, b = pairs(name, code, 20_000)
    with np.errstate(all="ignore"):
        true = function(a.astype(np.longdouble), b.astype(np.longdouble))
    assert ulps(compiled(name, code, fast)(a, b), true) <= bounds[code == "f8"]


@pytest.mark.parametrize("fast", [False, True], ids=["exact", "fast"])
@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("name", PAIRS)
def test_special_values_of_functions_of_two_numbers(name, code, fast):
    limits = np.finfo(KINDS[code])
    unit = 2.0**limits.nmant  # all numbers from here on are integers, from the next on even ones
    some = [0.0, 1, 2, 3, 0.5, 1.5, INF, NAN, limits.max, limits.tiny, limits.smallest_subnormal,
            unit + 1, unit - 0.5, 2 * unit, 1e10]
    a, b = np.meshgrid(*[np.array([*some, *(-v for v in some)], code)] * 2)
    with np.errstate(all="ignore"):
        want = PAIRS[name][1](a, b)
    y = compiled(name, code, fast)(a, b)
    np.testing.assert_allclose(y, want, rtol=4 * limits.eps, atol=limits.smallest_subnormal)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(y[number]), np.signbit(want[number]))


def test_several_of_them_are_in_one_kernel():
    x = torch.linspace(-3, 3, 100)
    x[7] = 1e20
    for y in (x, x.double()):
        step = torch.compile(lambda t: t.sin() + t.cos() * (2 * t).sin() - t.tan())
        torch.testing.assert_close(step(y), y.sin() + y.cos() * (2 * y).sin() - y.tan())


@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("name", LARGE)
def test_of_large_numbers_it_is_the_c_librarys(name, code):
    """One of them among others, and all of them; in loops over vectors and their rests."""
    rng = np.random.default_rng(0)
    for count in (1, 3, 16, 100):
        x = rng.uniform(-4, 4, count)
        x[:: rng.integers(1, 5)] *= 10.0 ** rng.integers(9, 37)
        x = x.astype(code)
        true = getattr(np, name)(x.astype(np.float64 if code == "f4" else np.longdouble))
        assert ulps(compiled(name, code, True)(x), true) <= 3.7


@pytest.mark.slow
@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_stays_within_its_bound_on_many_samples(name, code):
    x = samples(name, code, 50_000 if isinstance(FUNCTIONS[name].exact, str) else 3_000_000)
    y = compiled(name, code, True)(x)
    assert ulps(y, exact(name, x)) <= FUNCTIONS[name].bounds[code == "f8"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_float32_is_within_the_bound(name):
    step = 1 if os.environ.get("TRACEGRAD_ALL_FLOATS") == "1" else 1021
    function, worst = compiled(name, "f4", True), 0.0
    for start in range(0, 1 << 32, step << 20):
        x = np.arange(start, min(start + (step << 20), 1 << 32), step, np.uint64)
        x = x.astype(np.uint32).view(np.float32)
        with np.errstate(all="ignore"):
            true = FUNCTIONS[name].double(x.astype(np.float64))
        worst = max(worst, ulps(function(x), true))
    assert worst <= FUNCTIONS[name].bounds[0] + 1e-6


@pytest.mark.parametrize("fast", [False, True], ids=["exact", "fast"])
@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_are_those_of_ieee(name, code, fast):
    limits = np.finfo(KINDS[code])
    some = [0.0, INF, NAN, 1.0, 0.5, 2.0, limits.max, limits.tiny, limits.smallest_subnormal]
    x = np.array([*some, *(-v for v in some)], code)
    with np.errstate(all="ignore"):
        want = FUNCTIONS[name].double(x).astype(code)
    y = compiled(name, code, fast)(x)
    np.testing.assert_allclose(y, want, rtol=4 * limits.eps, atol=limits.smallest_subnormal)
    zero = (want == 0) & (x == 0) & (name != "erfinv")  # of -0 SciPy's is 0
    np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("code", KINDS)
def test_exp_goes_gradually_to_zero(code):
    x = np.linspace(*((-108, -80) if code == "f4" else (-745, -700)), 1001, dtype=code)
    least = float(np.finfo(KINDS[code]).smallest_subnormal)
    np.testing.assert_allclose(compiled("exp", code)(x), np.exp(x), rtol=1e-6, atol=2 * least)


@pytest.mark.parametrize("code", KINDS)
def test_logarithms_of_powers_of_the_base_are_whole(code):
    k = np.arange(-30, 31) if code == "f4" else np.arange(-300, 301)
    np.testing.assert_array_equal(compiled("log2", code)(2.0**k), k)
    ten = np.arange(0, 11) if code == "f4" else np.arange(0, 23)  # of which 10**k is exact
    np.testing.assert_array_equal(compiled("log10", code)(10.0**ten), ten)


KERNEL = """\
    x = pointer_{code}(args, 0)
    y = pointer_{code}(args, 1)
    for i in range(start, stop):
        store_{code}(y, i, {name}({operands}), 1)
"""
PROCESSORS = {"this one": None, "AVX2": ("haswell", "+avx2,+fma"), "SSE2": ("x86-64", "+sse2")}


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("name", [*FUNCTIONS, *PAIRS])
def test_kernels_are_made_of_vectors_and_call_nothing(name, code, processor):
    load = f"load_{code}(x, i, 0)"
    operands = f"{load}, {load} + {load}" if name in PAIRS else load
    kernel = Kernel("map", KERNEL.format(code=code, name=name, operands=operands))
    source = code_generator.written(kernel)
    if PROCESSORS[processor] is not None:
        if not source.features.startswith("+") or "sse2" not in source.features:
            pytest.skip("another family of processors")
        named, features = PROCESSORS[processor]
        source = source._replace(processor=named, features=features)
    with object_code.optimised(source) as module:
        text = str(module)
    assert on_vectors(text, "fadd", "fmul", "fdiv")
    if name in LARGE:
        assert re.search(rf"call <\d+ x \w+> @{name}_beyond_", text)
    else:
        assert not calls(text)


@pytest.mark.slow
def test_a_processor_without_fused_multiply_adds_computes_as_well():
    old = {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2,+ssse3,+popcnt"}
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__,
           "-k", "not kernels and not many and not every and not without"]
    assert subprocess.run(own, env=os.environ | old, check=False).returncode == 0


@pytest.mark.slow
def test_the_coefficients_are_those_that_the_script_derives():
    pytest.importorskip("mpmath")
    import coefficients

    assert coefficients.FILE.read_text() == coefficients.text()
