"""NaN, infinities, signed zeros, numbers that a type does not have, and tensors of nothing, as
torch has them: eagerly and compiled.
"""

from __future__ import annotations

import warnings
from math import inf, nan

import numpy as np
import pytest
from witness import refusal

import tracegrad as tg

torch = pytest.importorskip("torch")

HALVES = ("float16", "bfloat16")
FLOATS = ("float32", "float64", *HALVES)
ODD = [nan, inf, -inf, 0.0, -0.0, 0.3, -0.3, 0.7, -5.0, 257.0]
BYTES = [1.7e16 + 2, -6.04e15, 3e9 + 7, -5.7, 1e300, -inf, nan, 255.9]  # and what is left of them


def numbers(T, values, dtype):
    return T.tensor(values, dtype=T.float64).to(getattr(T, dtype))


def found(T, function, values, dtype):
    y = function(T, numbers(T, values, dtype))
    return str(y.dtype).split(".")[-1], tuple(y.shape), y.double().numpy()


def same(mine, theirs):
    assert mine[:2] == theirs[:2]
    np.testing.assert_array_equal(mine[2], theirs[2])
    known = ~np.isnan(mine[2])
    np.testing.assert_array_equal(np.signbit(mine[2][known]), np.signbit(theirs[2][known]))


PROGRAMS = {
    "an infinity in place of NaN": (FLOATS, ODD, lambda T, x: T.nan_to_num(x, inf, 2.0, -1.0)),
    "NaN in place of an infinity": (FLOATS, ODD, lambda T, x: T.nan_to_num(x, 1.0, nan, inf)),
    "infinities exchanged": (FLOATS, ODD, lambda T, x: T.nan_to_num(x, 0.5, -inf, inf)),
    "padded with -0.0": (FLOATS, ODD, lambda T, x: T.nn.functional.pad(x, (2, 1), value=-0.0)),
    "padded with nothing said": (FLOATS, ODD, lambda T, x: T.nn.functional.pad(x, (2, 1))),
    "threshold between two halves": (HALVES, ODD, lambda T, x: T.threshold(x, 0.3, -0.75)),
    "shrunk by less than a half has": (
        HALVES, ODD, lambda T, x: T.nn.functional.softshrink(x, 0.3)
    ),
    "bytes of large numbers": (("float64", "float32"), BYTES, lambda T, x: x.to(T.uint8)),
    "and": (FLOATS, ODD, lambda T, x: T.logical_and(x, T.tensor(1e-60, dtype=T.float64))),
    "or": (FLOATS, ODD, lambda T, x: T.logical_or(T.tensor(1e-60, dtype=T.float64), x)),
    "xor": (FLOATS, ODD, lambda T, x: T.logical_xor(x, T.tensor(1e-60, dtype=T.float64))),
    "and in place": (
        FLOATS, ODD, lambda T, x: x.clone().logical_and_(T.tensor(1e-60, dtype=T.float64))
    ),
    "logarithms of sigmoids that are one": (
        FLOATS, [800.0, inf, -inf, -800.0, nan], lambda T, x: T.nn.functional.logsigmoid(x)
    ),
    "the ends of erfinv": (FLOATS, [0.0, -0.0, 1.0, -1.0, 2.0, nan], lambda T, x: T.erfinv(x)),
}
CASES = [(name, dtype) for name, (dtypes, _, _) in PROGRAMS.items() for dtype in dtypes]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_values_are_torchs_eagerly_and_compiled(name, dtype):
    _, values, function = PROGRAMS[name]
    theirs = found(torch, function, values, dtype)
    same(found(tg, function, values, dtype), theirs)
    same(found(tg, tg.compile(function), values, dtype), theirs)


@pytest.mark.parametrize("layout", [slice(None), slice(None, None, 2), slice(1, 1)])
def test_bytes_of_large_numbers_by_any_layout(layout):
    theirs = torch.tensor(BYTES * 9, dtype=torch.float64)[layout].byte()
    mine = tg.tensor(BYTES * 9, dtype=tg.float64)[layout].byte()
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_a_0d_integer_in_a_logical_operation_wraps_as_in_torch(dtype):
    for function in ("logical_and", "logical_or", "logical_xor"):
        answers = [
            getattr(T, function)(T.tensor([0, 3], dtype=getattr(T, dtype)), T.tensor(2**16))
            for T in (tg, torch)
        ]
        assert answers[0].tolist() == answers[1].tolist()


@pytest.mark.parametrize("name", ["i1", "i1e"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_slope_of_a_bessel_function_at_zero_is_one_half(name, dtype):
    x = tg.zeros(2, dtype=getattr(tg, dtype), requires_grad=True)
    (g,) = tg.autograd.grad(getattr(tg.special, name)(x).sum(), x)
    assert g.tolist() == [0.5, 0.5]


def test_a_cosine_loss_at_zero_has_torchs_slope():
    slopes = []
    for T in (tg, torch):
        x = T.tensor([[0.0, 2.0], [1.0, 1.0]], dtype=T.float64)
        x[0, 1] = 0
        x.requires_grad_()
        loss = T.nn.functional.cosine_embedding_loss(x, T.ones_like(x.detach()), T.ones(2))
        slopes.append(T.autograd.grad(loss, x)[0].numpy())
    np.testing.assert_allclose(*slopes, rtol=1e-13)


@pytest.mark.parametrize("dtype", HALVES)
def test_the_mean_of_large_halves_in_a_window_is_finite(dtype):
    means = []
    for T in (tg, torch):
        x = T.full((1, 1, 4, 4), 6e4 if dtype == "float16" else 3e38, dtype=getattr(T, dtype))
        means.append([T.nn.functional.avg_pool2d(x, 2).float().numpy(),
                      T.nn.functional.avg_pool1d(x[0], 3, 1, 1).float().numpy()])
    for mine, theirs in zip(*means, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
@pytest.mark.parametrize("threshold", [-1.25, 1.75, 300.5])
def test_the_threshold_of_integers_is_one(dtype, threshold):
    answers = []
    for T in (tg, torch):
        x = T.tensor([1, 0, 2, 5]).to(getattr(T, dtype))
        try:
            answers.append(T.threshold(x, threshold, 3).tolist())
        except RuntimeError as error:
            answers.append(str(error))
    assert answers[0] == answers[1]


# ---- matrices that are not finite
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 3), (2, 2, 4, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_values_beside_an_infinity_are_refused_at_once(shape, dtype):
    # LAPACK may not come back from an infinity
    a = np.random.default_rng(0).normal(size=shape).astype(dtype)
    a[..., 0, 1][(0,) * (a.ndim - 2)] = np.inf
    for svdvals in (tg.linalg.svdvals, tg.compile(lambda x: tg.linalg.svdvals(x))):
        with pytest.raises(tg.linalg.LinAlgError, match="non-finite"):
            svdvals(tg.tensor(a))


@pytest.mark.parametrize("name", ["svdvals", "pinv", "matrix_rank"])
def test_singular_values_beside_nan_are_refused(name):
    def function(T):
        return getattr(T.linalg, name)(T.tensor([[1.0, nan], [2.0, inf]]))

    assert refusal(tg, function) == refusal(torch, function)


# ---- nothing
REFUSED = {
    **{
        f"interpolate {shape} {mode}": lambda T, shape=shape, mode=mode: (
            T.nn.functional.interpolate(T.zeros(shape), size=3, mode=mode)
        )
        for shape, mode in [((2, 0, 3), "linear"), ((1, 0, 2, 2), "bicubic"),
                            ((0, 0, 1), "nearest"), ((1, 0, 1, 2, 1), "trilinear")]
    },
    "index_select along nothing": lambda T: T.zeros(2, 0).index_select(1, T.tensor([0])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_refused_in_torchs_words(name):
    assert refusal(tg, REFUSED[name]) == refusal(torch, REFUSED[name])


def test_of_no_examples_there_are_no_answers():
    assert tg.nn.functional.interpolate(tg.zeros(0, 2, 3), scale_factor=2).shape == (0, 2, 6)
    assert tg.zeros(2, 0).index_select(1, tg.tensor([], dtype=tg.int64)).shape == (2, 0)


WHOLE = {
    "max": lambda T, x: x.max(),
    "min": lambda T, x: x.min(),
    "median": lambda T, x: x.median(),
    "nanmedian": lambda T, x: x.nanmedian(),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("upstream", [inf, -inf, nan])
@pytest.mark.parametrize("values", [[1.0, 3.0, 2.0], [2.0, 2.0, -1.0], [nan, 1.0, nan], [5.0]])
def test_what_is_not_the_extreme_has_no_part_in_an_infinite_gradient(name, upstream, values):
    def slope(T, x, g):
        x = x.clone().requires_grad_()
        return T.autograd.grad(WHOLE[name](T, x), x, g)[0]

    theirs = slope(torch, torch.tensor(values), torch.tensor(upstream)).numpy()
    x, g = tg.tensor(values), tg.tensor(upstream)
    np.testing.assert_array_equal(slope(tg, x, g).numpy(), theirs)
    np.testing.assert_array_equal(tg.compile(lambda x, g: slope(tg, x, g))(x, g).numpy(), theirs)


SCALED = {
    "add": lambda T, x, k: T.add(x, x, alpha=k),
    "sub a number": lambda T, x, k: T.sub(x, 4, alpha=k),
    "rsub": lambda T, x, k: T.rsub(x, x, alpha=k),
    "sub in place": lambda T, x, k: x.sub_(x.clone(), alpha=k),
    "index_add": lambda T, x, k: T.index_add(x, 0, T.tensor([1]), x[:1], alpha=k),
    "addcmul": lambda T, x, k: T.addcmul(x, x, x, value=k),
    "addcdiv": lambda T, x, k: T.addcdiv(x, x, x, value=k),
    "addmm, alpha": lambda T, x, k: T.addmm(x, x, x, alpha=k),
    "addmm, beta": lambda T, x, k: T.addmm(x, x, x, beta=k),
    "addbmm": lambda T, x, k: T.addbmm(x, x[None], x[None], alpha=k),
    "baddbmm": lambda T, x, k: T.baddbmm(x[None], x[None], x[None], beta=k),
}


FACTORS = (7, 65504.0, 1e8, -1e8, 3e38, 1e39, -1e300, inf, -inf, nan)


def outcome(T, way, name, dtype, factor):
    """The words of the refusal, if there is one."""
    try:
        way(lambda x: SCALED[name](T, x, factor))(T.ones(2, 2, dtype=getattr(T, dtype)))
    except RuntimeError as error:
        return str(error).split("\n")[0]
    return None


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_factor_that_the_type_does_not_have_is_refused(name, dtype):
    for factor in FACTORS:
        theirs = outcome(torch, lambda f: f, name, dtype, factor)
        assert outcome(tg, lambda f: f, name, dtype, factor) == theirs, factor
    theirs = outcome(torch, lambda f: f, name, dtype, 1e39)
    assert (outcome(tg, tg.compile, name, dtype, 1e39) or "").startswith(theirs or "")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("target", [nan, 2.0, -0.25, inf])
def test_a_target_that_is_no_probability_is_refused(dtype, target):
    def loss(T):
        x, t = (T.tensor([0.5, v], dtype=getattr(T, dtype)) for v in (0.25, target))
        return T.nn.functional.binary_cross_entropy(x, t)

    assert refusal(tg, loss) == refusal(torch, loss)
    x, t = (tg.tensor([0.5, v], dtype=getattr(tg, dtype)) for v in (0.25, target))
    with pytest.raises(RuntimeError, match="all elements of target should be between 0 and 1"):
        tg.compile(tg.nn.functional.binary_cross_entropy)(x, t)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("function", [
    lambda T, x, t: T.logaddexp(x, t),
    lambda T, x, t: T.logaddexp2(t, x),
    lambda T, x, t: T.lerp(x, x * 2, t),
    lambda T, x, t: T.add(x, t) * t - x / t,
    lambda T, x, t: x.clone().mul_(t),
], ids=["logaddexp", "logaddexp2", "lerp", "arithmetic", "mul_"])
def test_a_0d_float_beside_halves_is_rounded_where_torch_rounds_it(dtype, function):
    for number in (1.0001234567, 0.3333333, -70000.0):
        mine, theirs = (
            (T.tensor([1.0, 3.0, 0.1, -2.5], dtype=getattr(T, dtype)),
             T.tensor(number, dtype=T.float64)) for T in (tg, torch))
        want = function(torch, *theirs).tolist()
        assert function(tg, *mine).tolist() == want
        assert tg.compile(lambda x, t: function(tg, x, t))(*mine).tolist() == want


@pytest.mark.parametrize("dtype", HALVES)
def test_a_number_that_halves_do_not_have_warns_of_nothing(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found(tg, lambda T, x: (x * 7e4) + (x * 1e39), [1.0, 2.0], dtype)
