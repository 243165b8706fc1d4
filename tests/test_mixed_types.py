"""Two dtypes and a number between them: factors (alpha, value), bounds, losses, means that go to
places. The values, dtypes and refusals are torch's, eagerly and compiled.
"""

from __future__ import annotations

import itertools
from functools import partial
from operator import attrgetter

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

TYPES = "bool uint8 int8 int16 int64 float16 bfloat16 float32 float64".split()
FACTORS = (2, 2.5, -1, True)


def losses(*names):
    return {n: lambda t, a, b, n=n: getattr(t.nn.functional, n)(a, b) for n in names}


FUNCTIONS = {
    "add": lambda t, a, b, k: t.add(a, b, alpha=k),
    "sub": lambda t, a, b, k: t.sub(a, b, alpha=k),
    "rsub": lambda t, a, b, k: t.rsub(a, b, alpha=k),
    "add_": lambda t, a, b, k: a.clone().add_(b, alpha=k),
    "sub_": lambda t, a, b, k: a.clone().sub_(b, alpha=k),
    "addcmul": lambda t, a, b, k: t.addcmul(a, a, b, value=k),
    "addcmul_": lambda t, a, b, k: a.clone().addcmul_(b, b, value=k),
    "addcdiv": lambda t, a, b, k: t.addcdiv(a, b, b + b + 1, value=k),
}
PAIRS = {
    **losses("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss",
             "binary_cross_entropy_with_logits"),
    "binary_cross_entropy": lambda t, a, b: t.nn.functional.binary_cross_entropy(a != 0, b),
    "clamp": lambda t, a, b: t.clamp(a, b, b),
    "clamp_min": lambda t, a, b: t.clamp_min(a, b),
    "lerp": lambda t, a, b: t.lerp(a, b, 0.5),
    "logaddexp": lambda t, a, b: t.logaddexp(a, b),
    "div": lambda t, a, b: t.div(a, b + b + 1, rounding_mode="trunc"),
}
SINGLE = {
    **{f"index_reduce-{how}-{own}": lambda t, a, how=how, own=own: t.index_reduce(
        a, 0, t.tensor([0, 2, 2]), a, how, include_self=own)
       for how in ("mean", "prod", "amax") for own in (True, False)},
    **{f"scatter_reduce-{how}": lambda t, a, how=how: t.scatter_reduce(
        a, 0, t.tensor([0, 2, 2]), a, how) for how in ("mean", "prod", "amax")},
    "index_add": lambda t, a: t.index_add(a, 0, t.tensor([0, 2, 2]), a, alpha=2),
    "index_add-half": lambda t, a: t.index_add(a, 0, t.tensor([0, 2, 2]), a, alpha=2.5),
    "addmm": lambda t, a: t.addmm(a[None], a[None], t.ones(3, 3, dtype=a.dtype), alpha=2.5, beta=2),
    "clamp-number": lambda t, a: t.clamp(a, 0.5, 2),
    "hardtanh": lambda t, a: t.nn.functional.hardtanh(a, 0, 1),
    "median": lambda t, a: t.median(a),
    "abs": lambda t, a: t.abs(a),
    "avg_pool1d": lambda t, a: t.nn.functional.avg_pool1d(a[None], 2),
    "masked.cumsum": lambda t, a: t.masked.cumsum(a, 0),
    "vander": lambda t, a: t.linalg.vander(a),
    "sum_to_size": lambda t, a: a[0].sum_to_size(()),
}


def operand(lib, dtype, numbers=(1, 0, 3)):
    return lib.tensor(list(numbers), dtype=getattr(lib, dtype))


def told(f, *args):
    """Dtype and numbers, or the class of the refusal."""
    try:
        y = f(*args)
    except NotImplementedError:
        return "not implemented", None
    except RuntimeError:
        return "refused", None
    numbers = y.double() if str(y.dtype).split(".")[-1] != "bool" else y
    return str(y.dtype).split(".")[-1], np.asarray(numbers.numpy(), np.float64)


def agree(ours, theirs):
    assert ours[0] == theirs[0]
    if ours[1] is not None:
        coarse = {"float16": 2e-3, "bfloat16": 1e-2}.get(ours[0], 1e-6)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=coarse)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_factor_is_one_of_the_dtype_of_the_answer(name):
    for first, second, factor in itertools.product(TYPES, TYPES, FACTORS):
        agree(*(told(FUNCTIONS[name], lib, operand(lib, first), operand(lib, second), factor)
                for lib in (tg, torch)))


@pytest.mark.parametrize("name", PAIRS)
def test_two_dtypes_meet_as_in_torch(name):
    for first, second in itertools.product(TYPES, TYPES):
        agree(*(told(PAIRS[name], lib, operand(lib, first, (1, 0, 1)),
                     operand(lib, second, (1, 1, 0))) for lib in (tg, torch)))


@pytest.mark.parametrize("name", SINGLE)
def test_one_dtype_is_kept_or_refused_as_in_torch(name):
    for dtype in TYPES:
        agree(*(told(SINGLE[name], lib, operand(lib, dtype)) for lib in (tg, torch)))


@pytest.mark.parametrize(
    "first, second", [("bool", "bool"), ("int16", "uint8"), ("uint8", "int8"), ("float16", "int64"),
                      ("float32", "float64"), ("int64", "float32")])
def test_compiled_they_are_the_same(first, second):
    a, b = operand(tg, first, (1, 0, 1)), operand(tg, second, (1, 1, 0))
    calls = [lambda a, b, f=f, k=k: f(tg, a, b, k) for f in FUNCTIONS.values() for k in FACTORS]
    calls += [lambda a, b, f=f: f(tg, a, b) for f in PAIRS.values()]
    calls += [lambda a, b, f=f: f(tg, a) for f in SINGLE.values()]
    good = [f for f in calls if told(f, a, b)[1] is not None]
    found = tg.compile(lambda a, b: [f(a, b) for f in good])(a, b)
    for f, y in zip(good, found, strict=True):
        agree(told(lambda y: y, y), told(f, a, b))


# ---- images of bytes
@pytest.mark.parametrize("size", [(3, 5), (14, 10), (4, 3), (1, 2)])
@pytest.mark.parametrize("options", [{}, {"align_corners": True}, {"antialias": True}])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_bytes_are_interpolated_and_rounded(mode, options, size):
    x = np.random.default_rng(3).integers(0, 256, (2, 3, 7, 5)).astype(np.uint8)
    want = torch.nn.functional.interpolate(torch.tensor(x), size=size, mode=mode, **options)
    for around in (lambda f: f, tg.compile):
        got = around(lambda x: tg.nn.functional.interpolate(x, size=size, mode=mode, **options))(
            tg.tensor(x))
        assert got.dtype is tg.uint8
        assert np.abs(got.numpy().astype(int) - want.numpy().astype(int)).max() <= 1


# torch takes the second operand of these in float32 where it is a number or 0-d, and rounds it to
# the half type first in all others
SCALED = {
    "mul": lambda t, x, s: x * s,
    "mul_": lambda t, x, s: x.clone().mul_(s),
    "div": lambda t, x, s: x / s,
    "div_": lambda t, x, s: x.clone().div_(s),
    "floor_divide": lambda t, x, s: x // s,
    "div(trunc)": lambda t, x, s: t.div(x, s, rounding_mode="trunc"),
    "ldexp": lambda t, x, s: t.ldexp(x, s),
    "addcdiv": lambda t, x, s: t.addcdiv(x, x, x + 0.5, value=s),
    "elu": lambda t, x, s: t.nn.functional.elu(x, s),
    "add": lambda t, x, s: x + s,
    "rsub": lambda t, x, s: s - x,
    "first": lambda t, x, s: s * x,
    "pow": lambda t, x, s: x.abs() ** s,
    "fmod": lambda t, x, s: t.fmod(x, s),
    "maximum": lambda t, x, s: t.maximum(x, s),
    "lt": lambda t, x, s: x < s,
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", SCALED)
def test_a_scalar_tensor_beside_a_half_counts_as_exactly_as_in_torch(name, half, compiled):
    numbers = np.random.default_rng(3).normal(size=300) * 3

    def run(lib, function, scalar, dtype):
        x = lib.tensor(numbers).to(getattr(lib, half))
        y = function(x, lib.tensor(scalar, dtype=getattr(lib, dtype)))
        assert str(y.dtype).endswith(half if name != "lt" else "bool")
        return y.double().numpy()

    f = SCALED[name]
    mine = tg.compile(lambda x, s: f(tg, x, s)) if compiled else lambda x, s: f(tg, x, s)
    for scalar, dtype in ((0.306, "float32"), (3.1416926, "float64"), (2.0004, half),
                          (777, "int64"), (-1.001, "float64")):
        if isinstance(scalar, float) or name not in ("elu", "addcdiv"):
            want = run(torch, lambda x, s: f(torch, x, s), scalar, dtype)
            np.testing.assert_array_equal(run(tg, mine, scalar, dtype), want)


def test_a_scalar_tensor_that_a_half_type_has_not_does_not_overflow():
    x = tg.tensor([6e-8, 1.0], dtype=tg.float16)
    assert (x * tg.tensor(1e6)).tolist()[0] == pytest.approx(0.0596, rel=1e-2)
    assert (x / tg.tensor(3440640)).tolist() == [0.0, pytest.approx(3e-7, rel=0.2)]
    s = tg.tensor(1e6, requires_grad=True)
    gradient = tg.autograd.grad((x * s).sum(), s)[0]
    assert gradient.dtype is tg.float32 and gradient.item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ["xlogy", "special.xlog1py"])
def test_a_number_is_rounded_before_its_logarithm_is_taken(name, dtype):
    function, theirs = attrgetter(name)(tg), attrgetter(name)(torch)
    x = tg.tensor([0, 1, 2.7, 5.9], dtype=getattr(tg, dtype))
    near = pytest.approx if dtype == "float32" else partial(pytest.approx, rel=0.02)
    for k in (1.3, 2.5, 0.1, 60000.0, 3):
        for a, b in ((x, k), (k, x + 1)):
            same = [v if v is not k else tg.full((4,), k, dtype=x.dtype) for v in (a, b)]
            y = function(a, b)
            assert y.tolist() == function(*same).tolist()
            assert tg.compile(function)(a, b).tolist() == y.tolist()
            dense = [v if v is k else torch.tensor(v.tolist(), dtype=getattr(torch, dtype))
                     for v in (a, b)]
            assert y.tolist() == near(theirs(*dense).tolist())
    assert function(tg.tensor([2, 3]), 2.5).dtype is tg.float32
    with pytest.raises(TypeError, match=r"a Tensor.*got 2 and 3"):
        function(2, 3)

LISTS = [
    [-1, 2.0], [2.0, -255], [-256, 2.0], [2**53 + 1, 2.0], [-(2**63) + 1, 0.5], [[1.9], [True]],
    [2**63, 2], 2**63, [2**63, 2.0], [2**70], [float("nan"), 1], [-0.5, 1], [], [[], []],
]


@pytest.mark.parametrize("dtype", [None, "bool", "uint8", "int64", "float32", "float64"])
def test_numbers_of_lists_keep_their_digits(dtype):
    def made(t, numbers):
        try:
            x = t.tensor(numbers, dtype=dtype and getattr(t, dtype))
        except (RuntimeError, ValueError):
            return "does not fit"
        return x.tolist(), str(x.dtype).rpartition(".")[2]

    for numbers in LISTS:
        assert str(made(tg, numbers)) == str(made(torch, numbers)), numbers


@pytest.mark.parametrize("dtype", [tg.uint8, tg.int64, tg.float64])
def test_numbers_that_are_read_keep_their_digits(dtype):
    def made(x):
        return tg.tensor([x.item() + 1, 2.0], dtype=dtype)

    f = tg.compile(made)
    for value in (-2, -129, 2**53, -(2**63), 7):
        x = tg.tensor(value)
        try:
            y = made(x).tolist()
        except RuntimeError as error:
            with pytest.raises(RuntimeError, match=str(error)):
                f(x)
        else:
            assert f(x).tolist() == y
