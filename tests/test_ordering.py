"""Scans, sorting and searching against torch: values, positions, gradients to second order; and
what they do with NaN, ties, zeros and nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from witness import agree, answers, refusal, torch

import tracegrad as tg

NAN, INF = np.nan, np.inf
RNG = np.random.default_rng(7)
X = RNG.normal(size=(3, 4, 5))
ZEROS = np.where(RNG.random(X.shape) < 0.3, 0.0, X)
WHOLE = RNG.integers(-3, 4, (3, 4, 5))
ROWS = np.sort(X, -1)
STRANGE = np.array([[1.0, NAN, 2, -INF], [INF, 3, NAN, NAN], [-INF, -INF, 0, -0.0]])

SCANS = ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")
CASES = {
    **{f"{name}-{d}": (lambda t, x, name=name, d=d: getattr(t, name)(x, d), ZEROS)
       for name in ("cumsum", "cumprod", "cummax", "cummin", "sort") for d in (0, 1, -1)},
    # not of zeros: torch takes logarithms of the cotangents, which has no derivative at 0
    **{f"logcumsumexp-{d}": (lambda t, x, d=d: t.logcumsumexp(x, d), X) for d in (0, 1, -1)},
    "cumsum-turned": (lambda t, x: t.cumsum(x.permute(2, 0, 1)[:, 1:].flip(0), 1), X),
    "cumprod-method": (lambda t, x: x.cumprod(dim=1, dtype=t.float64), ZEROS),
    "sort-descending": (lambda t, x: t.sort(x, dim=1, descending=True), X),
    "sort-long": (lambda t, x: t.sort(x.reshape(-1)), X),
    "msort": (lambda t, x: t.msort(x), X),
    "topk": (lambda t, x: t.topk(x, 3), X),
    "topk-least": (lambda t, x: x.topk(2, 1, largest=False), X),
    "kthvalue": (lambda t, x: t.kthvalue(x, 2, 0, keepdim=True), X),
    "kthvalue-last": (lambda t, x: x.kthvalue(5), X),
}
EXACT = {
    **{f"{name}-strange": (lambda t, x, name=name: getattr(t, name)(x, 1), STRANGE)
       for name in ("cumsum", "cummax", "cummin", "logcumsumexp", "sort", "argsort")},
    "descending-strange": (lambda t, x: t.sort(x, 1, True), STRANGE),
    **{f"{name}-whole": (lambda t, x, name=name: getattr(t, name)(x, 0), WHOLE)
       for name in ("cumsum", "cumprod", "cummax", "cummin")},
    "cumsum-bool": (lambda t, x: t.cumsum(x, 0), WHOLE > 0),
    "cummax-bool": (lambda t, x: t.cummax(x, 0), WHOLE > 0),
    "cumsum-dtype": (lambda t, x: t.cumsum(x, 0, dtype=t.float32), WHOLE),
    "sort-stable": (lambda t, x: t.sort(x, dim=1, stable=True), WHOLE),
    "sort-stable-descending": (
        lambda t, x: t.sort(x, dim=0, stable=True, descending=True), WHOLE.astype(np.int8)),
    "argsort-bool": (lambda t, x: t.argsort(x, dim=2, stable=True), WHOLE > 0),
    **{f"search-{right}": (
        lambda t, r, x, right=right: t.searchsorted(r, x, right=right), ROWS, X[..., :2])
       for right in (False, True)},
    "search-row": (lambda t, r, x: t.searchsorted(r[0, 0], x, side="right"), ROWS, X),
    "search-number": (lambda t, r: t.searchsorted(r[1, 1], 0.25, out_int32=True), ROWS),
    "search-sorter": (lambda t, x: t.searchsorted(x, x, sorter=t.argsort(x)), X),
    "search-nan": (lambda t, r, x: t.searchsorted(r[0, 0], x), ROWS, STRANGE),
    "search-nothing": (lambda t, r, x: t.searchsorted(r[0, 0, :0], x), ROWS, X),
    "bucketize": (lambda t, r, x: t.bucketize(x, r[0, 1]), ROWS, X),
    "bucketize-whole": (lambda t, r, x: t.bucketize(x, r[0, 1], right=True), ROWS, WHOLE),
    "isin": (lambda t, a: t.isin(a, a[0, 0]), WHOLE),
    "isin-not": (lambda t, a: t.isin(a, a[0, 0, :0], invert=True), WHOLE),
    "isin-number": (lambda t, a: t.isin(a, 2), WHOLE),
}
COMPILED = {
    "cumsum-1", "cumprod-0", "cumprod--1", "cummax-1", "logcumsumexp-0", "sort-1", "sort-long",
    "cumsum-turned", "kthvalue", "cummin-strange", "logcumsumexp-strange",
    "descending-strange", "cumsum-whole", "sort-stable-descending", "argsort-bool", "search-True",
    "search-sorter", "search-nan", "search-nothing", "cummax-bool", "isin",
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_torchs(name):
    agree(*CASES[name], compiled=name in COMPILED)


@pytest.mark.parametrize("name", EXACT)
def test_answers_are_torchs(name):
    function, *arrays = EXACT[name]
    agree(lambda t, *xs: function(t, *(x.detach() for x in xs)), *arrays,
          compiled=name in COMPILED)


@pytest.mark.parametrize("name", (*SCANS, "sort", "argsort"))
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0)])
def test_nothing_and_one_number(name, shape):
    agree(lambda t, x: getattr(t, name)(x, -1), np.ones(shape), compiled=shape == (3, 0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_scanned_in_float32(dtype):
    x = tg.rand(3, 300).to(getattr(tg, dtype))
    for dim in (0, 1):
        exact = np.cumsum(x.float().numpy(), dim)
        for function in (tg.cumsum, tg.compile(tg.cumsum)):
            error = np.abs(function(x, dim).float().numpy() - exact)
            assert (error <= np.abs(exact) * 2.0**-8).all()


@pytest.mark.parametrize("scan", [tg.cumsum, tg.cummax])
def test_rows_and_columns_are_one_scan_however_many_there_are(scan):
    compiled = tg.compile(scan)
    for shape, dim in (((2, 9), 1), ((40, 3), 0), ((2, 7, 50), 1), ((70, 5, 3), 1), ((1, 6, 1), 1)):
        x = tg.tensor(RNG.integers(-9, 9, shape))
        for a, b in zip(answers(compiled(x, dim)), answers(scan(x, dim)), strict=True):
            assert (a.numpy() == b.numpy()).all()


@pytest.mark.parametrize("options", [
    {}, {"return_inverse": True}, {"return_counts": True}, {"dim": 1, "return_inverse": True},
    {"dim": -1, "return_counts": True, "return_inverse": True},
])
def test_different_elements(options):
    agree(lambda t, x: t.unique(x, **options), WHOLE)
    agree(lambda t, x: t.unique_consecutive(x // 2, **options), WHOLE)
    agree(lambda t, x: t.unique_consecutive(x[:0].reshape(-1)), WHOLE)


def test_named_parts_survive_compilation():
    @tg.compile
    def step(x):
        return tg.sort(x, -1), x.max(0).values + tg.cummax(x, 0).indices

    (values, indices), _ = step(tg.tensor(X))
    both = step(tg.tensor(X))[0]
    assert type(both) is tg.return_types.sort
    assert (both.values.numpy() == values.numpy()).all()
    assert (both.indices.numpy() == indices.numpy()).all()
    assert repr(both).startswith("tracegrad.return_types.sort(\nvalues=tensor(")


@pytest.mark.parametrize("function", [
    lambda t: t.cumsum(t.ones(2), 1),
    lambda t: t.sort(t.ones(2, 3), 2),
    lambda t: t.topk(t.ones(3), 4),
    lambda t: t.topk(t.ones(3), -1),
    lambda t: t.kthvalue(t.ones(3), 0),
    lambda t: t.kthvalue(t.ones(3, 0), 1),
    lambda t: t.bucketize(t.ones(3), t.ones(2, 2)),
    lambda t: t.searchsorted(t.ones(3), t.ones(3), side="right", right=False, sorter=t.arange(2)),
    lambda t: t.searchsorted(t.ones(3), t.ones(3), side="middle"),
    lambda t: t.searchsorted(t.ones(3), t.ones(3), side="left", right=True),
])
def test_refusals_are_torchs(function):
    assert refusal(tg, function)[0] is refusal(torch, function)[0]


def test_a_sorter_out_of_range_is_refused_before_anything_is_read():
    for search in (tg.searchsorted, tg.compile(tg.searchsorted)):
        with pytest.raises(IndexError, match="7"):
            search(tg.ones(3), tg.ones(2), sorter=tg.tensor([0, 7, 1]))
