"""Reductions and statistics against torch: values, gradients to second order, refusals; and how
many kernels they are.
"""

from __future__ import annotations

import numpy as np
import pytest
from witness import agree, refusal, torch

import tracegrad as tg
from tracegrad.testing import assert_kernels

INF = float("inf")
RNG = np.random.default_rng(11)
X = RNG.normal(size=(3, 4, 5))
Y = RNG.normal(size=(3, 4, 5))
TIES = RNG.integers(-2, 3, (3, 4, 5)).astype("f8")
WHOLE = RNG.integers(-3, 4, (3, 4, 5))
HOLES = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
HOLES[:, 0] = X[:, 0]  # torch says of nothing but NaN where its median is, but not why
COUNTS, WORTH = np.array([1, 2, 0, 3, 1]), np.array([0.5, 1, 2, 0.1, 1.5])
EDGES, AT = np.array([-2.0, -1, 0.5, 1.5]), np.array([0.25, 0.5, 1.0])

FORMS = {"": {}, "-dim": {"dim": 1}, "-keep": {"dim": -1, "keepdim": True}}
MANY = {**FORMS, "-dims": {"dim": (0, 2)}}
CASES = {
    **{f"{name}{form}": (lambda t, x, name=name, kw=kw: getattr(t, name)(x, **kw), X)
       for name in ("sum", "mean", "var", "std", "var_mean", "std_mean", "norm", "nansum")
       for form, kw in MANY.items()},
    **{f"{name}{form}": (lambda t, x, name=name, kw=kw: getattr(t, name)(x, **kw), TIES)
       for name in ("amax", "amin") for form, kw in MANY.items()},
    **{f"{name}{form}": (lambda t, x, name=name, kw=kw: getattr(t, name)(x, **kw), TIES)
       for name in ("prod", "aminmax") for form, kw in FORMS.items()},
    **{f"{name}{form}": (lambda t, x, name=name, kw=kw: getattr(t, name)(x, **kw), X)
       for name in ("max", "min", "median", "nanmedian", "quantile", "nanquantile")
       for form, kw in {f: {**k, **({"q": 0.3} if "quant" in name else {})}
                        for f, k in FORMS.items()}.items()},
    "median-ties": (lambda t, x: t.median(x), TIES),
    "mode": (lambda t, x: t.mode(x, 1), TIES),
    "mode-keep": (lambda t, x: t.mode(x, keepdim=True), TIES),
    "quantiles": (lambda t, x, q: t.quantile(x, q, dim=0), X, AT),
    **{f"quantile-{how}": (
        lambda t, x, how=how: t.quantile(x, 0.4, 1, True, interpolation=how), X)
       for how in ("lower", "higher", "midpoint", "nearest")},
    "var-of-one": (lambda t, x: t.var(x[:, :1], 1, correction=0), X),
    "std-zero": (lambda t, x: t.std(x * 0, 1), X),
    "var-correction": (lambda t, x: x.var((0, 1), correction=2.5), X),
    "std-unbiased": (lambda t, x: x.std(0, False), X),
    "logsumexp": (lambda t, x: t.logsumexp(x, (0, 2)), X),
    "logsumexp-keep": (lambda t, x: x.logsumexp(1, keepdim=True), X),
    "softmin": (lambda t, x: t.nn.functional.softmin(x, 1), X),
    "log_softmax": (lambda t, x: x.log_softmax(0), X),
    "softmax": (lambda t, x: x.softmax(1, dtype=t.float64), X),
    **{f"norm-{p}": (lambda t, x, p=p: t.norm(x, p, 1), X)
       for p in (1, 2.5, 3, 0.5, -1, INF, -INF)},
    **{f"dist-{p}": (lambda t, x, y, p=p: t.dist(x, y, p), X, Y) for p in (2, 1, 3, INF)},
    **{f"renorm-{p}": (lambda t, x, p=p: t.renorm(x, p, 1, 1.5), X) for p in (1, 2, 3, INF)},
    "cov": (lambda t, x: t.cov(x[0]), X),
    "cov-counts": (lambda t, x, n: t.cov(x[0], fweights=n, correction=0), X, COUNTS),
    "cov-vector": (lambda t, x: t.cov(x[0, 0]), X),
    "corrcoef": (lambda t, x: t.corrcoef(x[1]), X),
    "diff": (lambda t, x: t.diff(x, 2, 1), X),
    "diff-ends": (lambda t, x, y: t.diff(x, dim=0, prepend=y, append=y[:1]), X, Y),
    "gradient": (lambda t, x: t.gradient(x, spacing=0.5, edge_order=2), X),
    "gradient-ways": (lambda t, x: t.gradient(x, spacing=[2.0, 3], dim=(-1, 0)), X),
    "gradient-at": (lambda t, x, y: t.gradient(x, spacing=(y[0, 0],), dim=2), X, Y),
    "gradient-ends": (lambda t, x, y: t.gradient(x, spacing=(y[0, 0],), dim=2, edge_order=2), X, Y),
    "trapezoid": (lambda t, x: t.trapezoid(x, dx=0.5, dim=1), X),
    "trapezoid-at": (lambda t, x, y: t.trapezoid(x, y[0, 0]), X, Y),
    "trapz-rows": (lambda t, x, y: t.trapz(x, y[0], dim=1), X, Y),
    "cumulative_trapezoid": (lambda t, x, y: t.cumulative_trapezoid(x, y, dim=0), X, Y),
}
COMPILED = {
    "std-dims", "var_mean-keep", "prod-dim", "amax-dims", "aminmax", "max-dim", "median", "mode",
    "median-dim", "quantiles", "quantile-lower", "nanquantile-keep", "std-zero", "norm-3",
    "norm--1", "renorm-2", "cov-counts", "corrcoef", "diff-ends", "cumulative_trapezoid",
    "gradient-ways", "gradient-ends",
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_torchs(name):
    agree(*CASES[name], compiled=name in COMPILED)


def cells(answer):
    return answer.hist, *answer.bin_edges


EXACT = {
    **{f"{name}-holes": (lambda t, x, name=name: getattr(t, name)(x, 1), HOLES)
       for name in ("sum", "nansum", "nanmean", "amax", "argmax", "argmin", "max", "min", "median",
                    "nanmedian", "var", "logsumexp", "count_nonzero", "all", "any")},
    **{f"{name}-whole": (lambda t, x, name=name: getattr(t, name)(x), WHOLE)
       for name in ("sum", "prod", "amin", "argmax", "argmin", "max", "min", "median", "all", "any",
                    "mode", "count_nonzero", "nansum", "aminmax")},
    **{f"{name}-bool": (lambda t, x, name=name: getattr(t, name)(x, 1), WHOLE > 0)
       for name in ("sum", "prod", "max", "min", "all", "any", "logsumexp")},
    "all-bytes": (lambda t, x: t.all(x, 0), (WHOLE + 3).astype(np.uint8)),
    "nanquantile-holes": (lambda t, x, q: t.nanquantile(x, q, 2, keepdim=True), HOLES, AT),
    "quantile-holes": (lambda t, x, q: t.quantile(x, q, 2), HOLES, AT),
    "cov-weights": (lambda t, x, w, n: t.cov(x[0], fweights=n, aweights=w), X, WORTH, COUNTS),
    "histc": (lambda t, x: t.histc(x), X),
    "histc-range": (lambda t, x: t.histc(x, 6, -1, 1), HOLES),
    "histc-one": (lambda t, x: t.histc(x * 0 + 2, 3), X),
    "histogram": (lambda t, x: t.histogram(x, 7), X),
    "histogram-edges": (lambda t, x, e: t.histogram(x, e, density=True), X, EDGES),
    "histogram-weights": (
        lambda t, x, w: t.histogram(x, 4, range=(-1.0, 1.0), weight=w), X, np.abs(Y)),
    **{f"histogramdd-{k}": (lambda t, *xs, f=f: cells(f(t, *xs)), *more) for k, (f, *more) in {
        "one": (lambda t, x: t.histogramdd(x[..., :2], 3), HOLES[:, :1]),
        "each": (lambda t, x: t.histogramdd(x[..., :3], [3, 1, 2], density=True), X),
        "edges": (lambda t, x, e: t.histogramdd(x[..., :2], (e, e + 0.1)), HOLES, EDGES),
        "weights": (lambda t, x, w: t.histogramdd(
            x[0, :, :2], [4, 2], range=(-1, 1, -0.5, 2.0), weight=w[0, :, 0]), X, np.abs(Y)),
        "none": (lambda t, x: t.histogramdd(x[:0, 0], 2), X),
    }.items()},
    "diff-bool": (lambda t, x: t.diff(x, dim=0), WHOLE > 0),
    "diff-beyond": (lambda t, x: t.diff(x, 9), WHOLE),
    "argmax-keep": (lambda t, x: t.argmax(x, keepdim=True), TIES),
    "sum-dtype": (lambda t, x: t.sum(x, dtype=t.float32), WHOLE),
    "mean-dtype": (lambda t, x: t.mean(x, 0, dtype=t.float32), WHOLE),
}
ALSO_COMPILED = {
    "nanmean-holes", "argmax-holes", "median-holes", "nanmedian-holes", "max-bool", "prod-bool",
    "aminmax-whole", "nanquantile-holes", "cov-weights", "histc", "histc-range", "histc-one",
    "histogram-edges", "histogram-weights", "all-bytes", "diff-bool",
    "histogramdd-each", "histogramdd-weights",
}


@pytest.mark.parametrize("name", EXACT)
def test_answers_are_torchs(name):
    function, *arrays = EXACT[name]
    agree(lambda t, *xs: function(t, *(x.detach() for x in xs)), *arrays,
          compiled=name in ALSO_COMPILED)


@pytest.mark.parametrize("name", [
    "sum", "prod", "mean", "std", "nansum", "logsumexp", "all", "any", "amax", "argmax", "max",
    "median", "mode", "quantile",
])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (0, 2)])
def test_one_number_and_none(name, shape):
    def function(t):
        return getattr(t, name)(t.ones(shape), *((0.5,) if name == "quantile" else ()), dim=0)

    try:
        function(torch)
    except (RuntimeError, IndexError):
        assert refusal(tg, function) == refusal(torch, function)
    else:
        agree(lambda t, x: function(t), X)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("correction", [0, 1, 2.5, 4, 5, 7, -1])
@pytest.mark.parametrize("name", ["var", "std"])
def test_a_spread_with_more_correction_than_terms(name, correction):
    ramp = np.arange(8.0).reshape(2, 4) ** 2
    for x, dim in ((ramp, 1), (ramp, (0, 1)), (ramp, None), (ramp * 0, 1), (ramp[:, :1], 1),
                   (ramp[:0], 0), (ramp[:, :0], 1)):
        agree(lambda t, x, dim=dim: getattr(t, name)(x, dim, correction=correction), x)
    agree(lambda t, x: getattr(t, name)(x, 1, correction=correction), ramp, compiled=True)


@pytest.mark.parametrize("options", [{}, {"minlength": 9}])
def test_bincount(options):
    numbers = np.abs(WHOLE[0, 0])
    agree(lambda t, x: t.bincount(x, **options), numbers)
    agree(lambda t, x, w: t.bincount(x, w.detach(), **options), numbers, WORTH)
    agree(lambda t, x: t.bincount(x[:0], **options), numbers)


REFUSED = [
    lambda t: t.arange(6).mean(),
    lambda t: t.ones(3).mean(dtype=t.int64),
    lambda t: t.arange(6).std(),
    lambda t: t.arange(6).norm(),
    lambda t: t.arange(6).softmax(0),
    lambda t: t.arange(6).log_softmax(0),
    lambda t: t.arange(6).nanmean(),
    lambda t: t.ones(0).max(),
    lambda t: t.ones(0).argmin(),
    lambda t: t.ones(0).aminmax(),
    lambda t: t.ones(2, 0).max(1),
    lambda t: t.ones(2, 0).amin(1),
    lambda t: t.ones(2, 0).median(1),
    lambda t: t.ones(2, 0).mode(),
    lambda t: t.ones(2).sum((0, 0)),
    lambda t: t.ones(2).sum(1),
    lambda t: (t.ones(2) > 0).argmax(),
    lambda t: t.ones(0).norm(INF),
    lambda t: t.ones(2, 3).renorm(2, 0, -1),
    lambda t: t.ones(3).renorm(2, 0, 1),
    lambda t: t.ones(3, 2).renorm(0, 0, 1),
    lambda t: t.arange(6).quantile(0.5),
    lambda t: t.ones(0).quantile(0.5),
    lambda t: t.ones(6).quantile(1.5),
    lambda t: t.ones(6).quantile(t.tensor([0.5, 2])),
    lambda t: t.ones(6).quantile(t.zeros(2, 2)),
    lambda t: t.ones(6).quantile(t.zeros(2, dtype=t.float64)),
    lambda t: t.ones(6).quantile(0.5, interpolation="middle"),
    lambda t: t.arange(6).histc(),
    lambda t: t.ones(6).histc(0),
    lambda t: t.ones(6).histc(3, 5, 2),
    lambda t: t.arange(6).reshape(2, 3).bincount(),
    lambda t: t.tensor([-1]).bincount(),
    lambda t: t.ones(2).bincount(),
    lambda t: t.arange(3).bincount(minlength=-1),
    lambda t: t.arange(3).bincount(t.ones(2)),
    lambda t: t.histogramdd(t.ones(6), 2),
    lambda t: t.histogramdd(t.ones(6, 2), [2]),
    lambda t: t.histogramdd(t.ones(6, 2), [2, 0]),
    lambda t: t.histogramdd(t.ones(6, 2), [t.ones(2)]),
    lambda t: t.histogramdd(t.ones(6, 2), [t.ones(2), t.ones(1, 2)]),
    lambda t: t.histogramdd(t.ones(6, 2), 2, range=(0, 1)),
    lambda t: t.histogramdd(t.ones(6, 2), 2, weight=t.ones(5)),
    lambda t: t.histogramdd(t.arange(6).reshape(3, 2), 2),
    lambda t: t.gradient(t.ones(2, 3), spacing=(1, 2, 3)),
    lambda t: t.gradient(t.ones(2, 3), spacing=(1, 2), dim=1),
    lambda t: t.gradient(t.ones(2, 3), dim=(1, -1)),
    lambda t: t.gradient(t.ones(2, 3), dim=2),
    lambda t: t.gradient(t.ones(2, 3), edge_order=2),
    lambda t: t.gradient(t.ones(2, 3), edge_order=3),
    lambda t: t.gradient(t.ones(3), spacing=(t.ones(1, 3),)),
    lambda t: t.gradient(t.ones(3, dtype=t.uint8)),
    lambda t: t.tensor(1.0).diff(),
    lambda t: t.ones(3).diff(-1),
    lambda t: t.trapezoid(t.ones(2, 3), t.ones(2)),
    lambda t: t.ones(2, 2, 2).cov(),
    lambda t: t.ones(2, 3).cov(fweights=t.ones(3)),
]


@pytest.mark.parametrize("function", REFUSED)
def test_refusals_are_torchs_word_for_word(function):
    assert refusal(tg, function) == refusal(torch, function)


@pytest.mark.parametrize("function", [
    lambda x: tg.softmax(x, -1),
    lambda x: tg.log_softmax(x, -1),
    lambda x: tg.softmax(x, 0),
    lambda x: tg.logsumexp(x, -1),
    lambda x: tg.var(x, -1),
    lambda x: tg.std(x, -1),
    lambda x: tg.var_mean(x, -1),
    lambda x: (x - x.mean(-1, True)) / x.std(-1, keepdim=True),
    lambda x: tg.max(x, -1),
    lambda x: tg.aminmax(x, dim=-1),
    lambda x: tg.nanmean(x, -1),
    lambda x: tg.norm(x, 3, -1),
    lambda x: tg.cumsum(x, -1),
    lambda x: tg.argsort(x, -1),
])
def test_one_kernel(function):
    compiled = tg.compile(function)
    compiled(tg.tensor(X[0].astype("f4")))
    assert_kernels(compiled, 1)


@pytest.mark.parametrize("order", [0.5, 1.5, 2, 3, 4, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_norm_of_one_number_is_its_size(order, dtype):
    for size in (2.5e25, 3e-30, 0.0, INF):
        for T in (torch, tg):
            x = T.tensor([[-size, 2.0]], dtype=getattr(T, dtype))
            assert T.linalg.vector_norm(x, order, 0).tolist() == x[0].abs().tolist()
            assert T.norm(x[0, 0], order).item() == x[0, 0].abs().item()
