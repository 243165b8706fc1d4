"""Functions of numbers against torch: at the numbers that go wrong, in every type, in place, with
their gradients at kinks and ties; the special functions against SciPy; chains fuse.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special as scipy_special

import tracegrad
from tracegrad.testing import assert_kernels

torch = pytest.importorskip("torch")

NUMBERS = np.array([0.0, -0.0, 1, -1, 0.5, -0.5, 2.5, -2.5, 1e-30, 1e30, np.inf, -np.inf, np.nan])
ONE = """
    abs acos acosh angle asin asinh atan atanh ceil cos cosh deg2rad digamma erf erfc erfinv exp
    exp2 expm1 floor frac i0 isfinite isinf isnan isneginf isposinf isreal lgamma log log10 log1p
    log2 logit nan_to_num neg rad2deg reciprocal round rsqrt sgn sigmoid sign signbit sin sinc
    sinh sqrt square tan tanh trunc special.entr special.erfcx special.i0e special.i1 special.i1e
    special.log_ndtr special.ndtr special.ndtri""".split()
TWO = """
    atan2 copysign eq floor_divide fmax fmin fmod ge heaviside hypot ldexp logaddexp logaddexp2
    maximum minimum mul nextafter pow remainder true_divide xlogy special.xlog1py""".split()
WHOLE = """
    bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor eq fmod gcd lcm
    maximum mul sub""".split()


def of(lib, name):
    for part in name.split("."):
        lib = getattr(lib, part)
    return lib


def same(got, want, rtol):
    assert str(got.dtype).split(".")[1] == str(want.dtype).split(".")[1]
    got, want = got.detach().numpy(), want.detach().numpy()
    np.testing.assert_allclose(got, want, rtol=rtol, atol=0)
    if got.dtype.kind == "f":
        zero = want == 0
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ONE)
def test_of_one_number(name, dtype):
    x = NUMBERS.astype(dtype)
    rtol = 1e-12 if dtype == "float64" else 2e-6
    got, want = of(tracegrad, name)(tracegrad.tensor(x)), of(torch, name)(torch.tensor(x))
    if name in ("log2", "log10"):
        rtol = max(rtol, 1e-7)  # torch's own are this far from NumPy's at 1e30
    if name == "i0":  # of infinity torch says NaN in float64, infinity in float32
        got, want = got[:10], want[:10]
    same(abs(got) if name == "erfinv" else got, abs(want) if name == "erfinv" else want, rtol)


@pytest.mark.parametrize("name", TWO)
def test_of_two_numbers(name):
    a, b = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(NUMBERS, NUMBERS))
    got = of(tracegrad, name)(tracegrad.tensor(a), tracegrad.tensor(b))
    want = of(torch, name)(torch.tensor(a), torch.tensor(b))
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_whole_numbers(dtype):
    info = np.iinfo(dtype)
    few = np.array([0, 1, 2, 3, 7, 8, 31, 63, 64, info.max, info.min, -1 & info.max], dtype)
    a, b = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(few, few))
    for name in WHOLE:
        x, y = (a, b) if name != "fmod" else (a[b != 0], b[b != 0])
        if name in ("gcd", "lcm"):
            x, y = x % 10, y % 10
        got = of(tracegrad, name)(tracegrad.tensor(x), tracegrad.tensor(y)).numpy()
        want = of(torch, name)(torch.tensor(x), torch.tensor(y)).numpy()
        np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["digamma", "erfinv", "exp", "i0", "lgamma", "log10", "erf"])
def test_other_types_give_torchs_types(name, dtype):
    got = of(tracegrad, name)(tracegrad.tensor([0, 1], dtype=of(tracegrad, dtype)))
    want = of(torch, name)(torch.tensor([0, 1], dtype=of(torch, dtype)))
    assert str(got.dtype)[10:] == str(want.dtype)[6:]
    np.testing.assert_allclose(got.double().numpy(), want.double().numpy(), rtol=1e-2)


# ---- the special functions in kernels
SPECIAL = {
    "erfinv": scipy_special.erfinv, "erfcx": scipy_special.erfcx, "ndtri": scipy_special.ndtri,
    "digamma": scipy_special.psi, "gammaln": scipy_special.gammaln, "i0": scipy_special.i0,
    "i0e": scipy_special.i0e, "i1": scipy_special.i1, "i1e": scipy_special.i1e,
    "bessel_j0": scipy_special.j0, "bessel_j1": scipy_special.j1, "ndtr": scipy_special.ndtr,
    "log_ndtr": scipy_special.log_ndtr, "entr": scipy_special.entr,
}


@pytest.mark.parametrize("dtype, rtol", [("float64", 2e-13), ("float32", 2e-6)])
def test_compiled_special_functions_are_scipys(dtype, rtol):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 5, 60), rng.uniform(0, 1, 40), NUMBERS]).astype(dtype)
    names = list(SPECIAL)
    step = tracegrad.compile(lambda t: [of(tracegrad.special, n)(t) for n in names])
    for name, got in zip(names, step(tracegrad.tensor(x)), strict=True):
        with np.errstate(all="ignore"):
            want = SPECIAL[name](x.astype("f8"))
        finite = np.isfinite(want) & (x != -np.inf) & (np.abs(want) < 1e37)
        np.testing.assert_allclose(got.numpy()[finite], want[finite], rtol, 1e-15, err_msg=name)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_polygamma_and_zeta_eager_and_compiled(n):
    x = np.random.default_rng(n).uniform(-3, 30, 200)
    want = torch.polygamma(n, torch.tensor(x)).numpy()
    t = tracegrad.tensor(x)
    np.testing.assert_allclose(tracegrad.polygamma(n, t).numpy(), want, rtol=1e-9)
    np.testing.assert_allclose(t.polygamma(n).numpy(), want, rtol=1e-9)
    step = tracegrad.compile(lambda t: tracegrad.polygamma(n, t))
    np.testing.assert_allclose(step(t).numpy(), tracegrad.polygamma(n, t).numpy(), rtol=1e-12)


def test_zeta_of_far_negative_numbers_is_found_at_once():
    """The sum of 1 / (n + q)**s over all integers n is pi cot(pi q)'s derivative: DLMF 5.15.6."""
    q = np.array([-25.3, -1000.375, -3e7 + 0.5, -1e15 + 0.5, -1e15 + 0.125])
    t, zeta = tracegrad.tensor(q), tracegrad.special.zeta
    cot = 1 / np.tan(np.pi * (q - np.floor(q)))
    csc = 1 + cot * cot  # squared
    sums = np.pi**2 * csc, np.pi**3 * cot * csc, np.pi**4 / 3 * csc * (csc + 2 * cot * cot)
    step = tracegrad.compile(lambda t: [zeta(s, t) for s in (2.0, 3.0, 4.0)])
    for found in ([zeta(s, t) for s in (2.0, 3.0, 4.0)], step(t)):
        for s, (y, wanted) in enumerate(zip(found, sums, strict=True), 2):
            after = (-1) ** s * zeta(float(s), 1 - t).numpy()
            np.testing.assert_allclose(y.numpy() + after, wanted, 1e-12, 1e-12)
    poles = tracegrad.tensor([-30.0, -1e300, -math.inf], dtype=tracegrad.float64)
    assert tracegrad.polygamma(1, poles).isinf().all()
    one_by_one = np.sum((np.arange(1000) - 999.375) ** -2.0) + zeta(2.0, t.new_tensor(0.625)).item()
    assert zeta(2.0, t.new_tensor(-999.375)).item() == pytest.approx(one_by_one, rel=1e-12)
    assert tracegrad.polygamma(2, t[2]).item() == pytest.approx(
        tracegrad.polygamma(2, 1 - t[2]).item()
    )


def test_incomplete_gamma_has_torchs_gradient_in_its_second_argument():
    a, x = tracegrad.tensor([0.5, 2.0]), tracegrad.tensor([1.0, 3.0], requires_grad=True)
    tracegrad.igamma(a, x).sum().backward()
    y = torch.tensor([1.0, 3.0], requires_grad=True)
    torch.igamma(torch.tensor([0.5, 2.0]), y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-6)


# ---- gradients at ties and kinks
@pytest.mark.parametrize(
    "name, a, b",
    [
        ("fmax", [1.0, np.nan, 2.0], [1.0, 1.0, np.nan]),
        ("fmin", [1.0, np.nan, 2.0], [1.0, 1.0, np.nan]),
        ("maximum", [1.0, 2.0], [1.0, 1.0]),
        ("copysign", [0.0, 1.0, -2.0], [1.0, -1.0, -0.0]),
        ("xlogy", [0.0, 2.0], [2.0, 3.0]),
        ("special.xlog1py", [0.0, 2.0], [2.0, 3.0]),
        ("logaddexp", [0.0, 100.0, -1.0], [0.0, -100.0, 3.0]),
        ("logaddexp2", [0.0, 100.0, -1.0], [0.0, -100.0, 3.0]),
        ("nextafter", [1.0], [2.0]),
        ("clamp_min", [1.0, 2.0, 0.0], [1.0, 1.0, 1.0]),
        ("hypot", [3.0, 1.0], [4.0, 0.0]),
    ],
)
def test_gradients_at_ties_and_kinks(name, a, b):
    def both(lib):
        x = [lib.tensor(v, dtype=lib.float64, requires_grad=True) for v in (a, b)]
        y = of(lib, name)(*x)
        return [y.detach(), *lib.autograd.grad(y.sum(), x, allow_unused=True)]

    for got, want in zip(both(tracegrad), both(torch), strict=True):
        none = np.zeros(len(a))
        got, want = (none if v is None else v.numpy() for v in (got, want))
        np.testing.assert_allclose(got, want, rtol=1e-12)


# ---- as methods, in place, under compile
@pytest.mark.parametrize(
    "name, more",
    [
        ("digamma_", ()), ("erfinv_", ()), ("lgamma_", ()), ("i0_", ()), ("sinc_", ()),
        ("logit_", (0.1,)), ("sgn_", ()), ("deg2rad_", ()), ("polygamma_", (2,)), ("fix_", ()),
        ("mvlgamma_", (1,)), ("arctan2_", ([1.0, 2.0],)), ("copysign_", ([-1.0, 2.0],)),
        ("xlogy_", ([2.0, 3.0],)), ("ldexp_", ([2.0, 3.0],)), ("nextafter_", ([2.0, 3.0],)),
        ("heaviside_", ([2.0, 3.0],)), ("hypot_", ([2.0, 3.0],)), ("float_power_", (2,)),
    ],
)
def test_in_place_methods(name, more):
    dtype = "float64" if name == "float_power_" else "float32"

    def run(lib):
        x = lib.tensor([0.3, 0.9], dtype=of(lib, dtype))
        args = [lib.tensor(m, dtype=of(lib, dtype)) if isinstance(m, list) else m for m in more]
        y = getattr(x, name)(*args)
        assert y is x
        return x.numpy()

    np.testing.assert_allclose(run(tracegrad), run(torch), rtol=1e-5)


def test_frexp_undoes_ldexp_down_to_subnormal_numbers():
    x = np.array([0.0, 1.0, -0.75, 5e-324, 1e-310, 1e308, np.inf, np.nan])
    parts = tracegrad.frexp(tracegrad.tensor(x))
    want = torch.frexp(torch.tensor(x))
    np.testing.assert_array_equal(parts.mantissa.numpy(), want.mantissa.numpy())
    np.testing.assert_array_equal(parts.exponent.numpy(), want.exponent.numpy())
    assert parts.exponent.dtype is tracegrad.int32
    assert repr(parts).startswith("tracegrad.return_types.frexp(\nmantissa=tensor(")


@tracegrad.compile
def chain(x, y):
    z = tracegrad.logaddexp(x, y).sinc() * tracegrad.xlogy(y, y) + x.fmod(y).copysign(x)
    return tracegrad.hypot(z, x.log2()).heaviside(y) + tracegrad.special.log_ndtr(x) + x.round()


def test_a_chain_of_pointwise_functions_is_one_kernel():
    x, y = tracegrad.rand(5, 7) + 0.5, tracegrad.rand(5, 7) + 0.5
    np.testing.assert_allclose(chain(x, y).numpy(), chain.__wrapped__(x, y).numpy(), rtol=1e-5)
    assert_kernels(chain, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.heaviside(t.ones(2), t.ones(2, dtype=t.float64)),
        lambda t: t.frexp(t.tensor([1])),
        lambda t: t.polygamma(-1, t.ones(2)),
        lambda t: t.mvlgamma(t.ones(2), 0),
        lambda t: t.positive(t.tensor([True])),
        lambda t: t.div(t.ones(2), 2, rounding_mode="up"),
        lambda t: t.isclose(t.ones(2), t.ones(2, dtype=t.float64)),
    ],
)
def test_what_torch_refuses_is_refused(call):
    with pytest.raises(Exception) as theirs:
        call(torch)
    with pytest.raises(type(theirs.value)):
        call(tracegrad)


# denormals, limits, infinities, NaN
FAR = {
    "float64": (5e-324, 5e-322, 1e-308, 1.7e308), "float32": (1e-45, 1e-43, 2e-38, 3.4e38),
    "float16": (6e-8, 6e-6, 7e-5, 65504.0), "bfloat16": (9.2e-41, 1e-38, 2e-38, 3.38e38),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", ["remainder", "fmod"])
@pytest.mark.parametrize("dtype", FAR)
def test_what_a_division_leaves_of_unusual_numbers(dtype, name, compiled):
    """As torch, zeros with their sign; but exact where the quotient overflows, as fmod of C is and
    torch's of vectors is not.
    """
    some = np.array([0, 1, 0.5, 3, 2.5, 7.3, 1e-3, *FAR[dtype], np.inf, np.nan])
    a, b = (m.ravel() for m in np.meshgrid(*[np.concatenate([some, -some])] * 2, indexing="ij"))

    def run(lib):
        kind = getattr(lib, dtype)
        x, y = (lib.tensor(t).to(kind) for t in (a, b))
        function = getattr(lib, name)
        z = (tracegrad.compile(function) if compiled and lib is tracegrad else function)(x, y)
        return [t.double().numpy() for t in (x, y, z)]

    (x, y, mine), theirs = run(tracegrad), run(torch)[2]
    with np.errstate(all="ignore"):
        overflows = np.isfinite(x) & ~(abs(x / y) < FAR[dtype][-1]) & (y != 0) & np.isfinite(y)
        exact = np.fmod(x, y)
        if name == "remainder":
            exact += np.where((exact != 0) & ((exact < 0) != (y < 0)), y, 0)
    np.testing.assert_array_equal(mine, np.where(overflows, exact, theirs))
    np.testing.assert_array_equal(np.signbit(mine)[mine == 0], np.signbit(x)[mine == 0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["xlogy", "xlog1py"])
def test_the_logarithm_of_a_half_is_rounded_before_the_product(name, dtype):
    draws = np.random.default_rng(0)
    a, b = draws.uniform(-4, 4, 300).tolist(), draws.uniform(0.01, 9, 300).tolist()

    def run(T, made=lambda f: f):
        d, function = getattr(T, dtype), made(getattr(T.special, name))
        x, y = (T.tensor(v, dtype=d, requires_grad=True) for v in (a, b))
        values = [function(x, y), function(x, 1.3), function(1.7, y)]
        sum(v.sum() for v in values).backward()
        return [v.tolist() for v in (*values, x.grad, y.grad)]

    assert run(tracegrad) == run(torch)
    assert run(tracegrad, tracegrad.compile)[:3] == run(torch)[:3]


@pytest.mark.parametrize("lib", [torch, tracegrad], ids=lambda lib: lib.__name__)
def test_float_power_in_place_is_for_doubles(lib):
    for dtype in (lib.bfloat16, lib.float32, lib.int64):
        with pytest.raises(RuntimeError, match="the base given to float_power_ has dtype"):
            lib.ones(1, dtype=dtype).float_power_(2)


@pytest.mark.parametrize("lib", [torch, tracegrad], ids=lambda lib: lib.__name__)
def test_the_factor_is_applied_before_the_other_operand(lib):
    large, zero = lib.full((3,), 1e30), lib.zeros(3)
    for factor in (0, 0.0):
        assert lib.addcdiv(zero, large, 1 / large, value=factor).tolist() == [0.0] * 3
        assert lib.addcmul(zero, large, large, value=factor).tolist() == [0.0] * 3
    assert lib.addcmul(zero, large, large, value=1e-30).isfinite().all()
