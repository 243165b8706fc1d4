"""Dtypes that torch's functions do not take, refused here with the same class of error; and those
that they take, taken.
"""

from __future__ import annotations

import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

DTYPES = "bool uint8 int8 int16 int32 int64 float32".split()


def of(lib):
    return lib.nn.functional


# of a matrix x of ones of some dtype, which numbers and masks go with
PROGRAMS = {
    "abs": lambda T, x: x.abs(),
    "add": lambda T, x: x + x,
    "addcdiv": lambda T, x: T.addcdiv(x, x, x),
    "addcmul": lambda T, x: T.addcmul(x, x, x),
    "adaptive_max_pool1d": lambda T, x: of(T).adaptive_max_pool1d(x, 2),
    "adaptive_max_pool2d": lambda T, x: of(T).adaptive_max_pool2d(x[None], 2),
    "bucketize": lambda T, x: T.bucketize(x, x[0]),
    "ceil": lambda T, x: x.ceil(),
    "clamp": lambda T, x: x.clamp(0, 1),
    "cumprod": lambda T, x: x.cumprod(0),
    "embedding_bag": lambda T, x: of(T).embedding_bag(T.tensor([0, 1]), x, T.tensor([0])),
    "erfinv": lambda T, x: x.erfinv(),
    "floor_divide": lambda T, x: x // x,
    "fmod": lambda T, x: T.fmod(x, x),
    "gaussian_nll_loss": lambda T, x: of(T).gaussian_nll_loss(x, x, x),
    "gcd": lambda T, x: T.gcd(x, x),
    "glu": lambda T, x: of(T).glu(x),
    "grid_sample": lambda T, x: of(T).grid_sample(
        x[None, None], x[None, :, :2, None].expand(1, 4, 2, 2), align_corners=True),
    "hypot": lambda T, x: T.hypot(x, x),
    "igamma": lambda T, x: T.special.gammainc(x, x),
    "interpolate": lambda T, x: of(T).interpolate(x[None], 3),
    "isin": lambda T, x: T.isin(x, x[0]),
    "kthvalue": lambda T, x: x.kthvalue(1),
    "lerp": lambda T, x: T.lerp(x, x, 0.5),
    "logcumsumexp": lambda T, x: x.logcumsumexp(0),
    "logit": lambda T, x: x.logit(0.1),
    "max_pool2d": lambda T, x: of(T).max_pool2d(x[None], 2),
    "max_unpool2d": lambda T, x: of(T).max_unpool2d(x[None], T.arange(16).reshape(1, 4, 4), 2),
    "mean": lambda T, x: x.mean(),
    "median": lambda T, x: x.median(),
    "multi_margin_loss": lambda T, x: of(T).multi_margin_loss(x, T.tensor([0, 1, 2, 3])),
    "multilabel_margin_loss": lambda T, x: of(T).multilabel_margin_loss(x, x.long()),
    "mvlgamma": lambda T, x: x.mvlgamma(1),
    "neg": lambda T, x: -x,
    "nextafter": lambda T, x: T.nextafter(x, x),
    "nll_loss": lambda T, x: of(T).nll_loss(x, T.tensor([0, 1, 2, 3])),
    "pad reflect": lambda T, x: of(T).pad(x, (1, 1), "reflect"),
    "pad replicate": lambda T, x: of(T).pad(x, (1, 1), "replicate"),
    "pad circular": lambda T, x: of(T).pad(x, (1, 1), "circular"),
    "prelu": lambda T, x: of(T).prelu(x, x[0, :1]),
    "remainder": lambda T, x: x % x,
    "round": lambda T, x: x.round(),
    "round to digits": lambda T, x: x.round(decimals=1),
    "searchsorted": lambda T, x: T.searchsorted(x, x),
    "softshrink": lambda T, x: of(T).softshrink(x),
    "softmax": lambda T, x: x.softmax(0),
    "std": lambda T, x: x.std(),
    "sub": lambda T, x: x - x,
    "threshold": lambda T, x: of(T).threshold(x, 1, 1),
    "topk": lambda T, x: x.topk(1),
    "unfold": lambda T, x: of(T).unfold(x[None], 2),
    "vecdot": lambda T, x: T.linalg.vecdot(x, x),
    "xlogy": lambda T, x: T.xlogy(x, x),
}


def refusal(lib, function, dtype, compiled=False):
    run = lambda x: function(lib, x)
    x = lib.ones(4, 4, dtype=getattr(lib, dtype))
    try:
        (tg.compile(run) if compiled else run)(x)
    except Exception as error:
        return next(c for c in type(error).__mro__ if c.__module__ == "builtins")
    return None


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_torch_lacks_for_a_dtype_is_refused_with_its_class(name):
    function = PROGRAMS[name]
    for dtype in DTYPES:
        want = refusal(torch, function, dtype)
        assert refusal(tg, function, dtype) is want, dtype
        if want is not None:
            assert refusal(tg, function, dtype, compiled=True) is want, dtype
