"""Rows long enough to be sorted by their bits, and the first few that are selected, beside torch's
stable sort: NaN of both signs, both zeros, infinities, ties, the ends of the integers.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")

SHAPES = [(3, 5), (2, 159), (2, 200, 3), (130, 160), (0, 4), (1000,)]
DTYPES = ["float32", "float64", "int64", "int8"]


def numbers(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(3)
    if dtype.startswith("float"):
        x = rng.standard_normal(shape).astype(dtype)
        strange = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(dtype).tiny / 4]
    else:
        ends = np.iinfo(dtype)
        x = rng.integers(ends.min, ends.max, shape, dtype, endpoint=True)
        x[rng.random(shape) < 0.3] //= 7
        strange = [ends.min, ends.max, 0, 3]
    for value in strange:
        x[rng.random(shape) < 0.06] = value
    return x


@pytest.mark.parametrize("dtype", DTYPES)
def test_order_is_that_of_a_stable_sort(dtype: str) -> None:
    xs = [numbers(dtype, shape) for shape in SHAPES]
    cases = [(k, dim, down) for k, x in enumerate(xs) for dim in range(x.ndim)
             for down in (False, True)]

    def program(ts):
        return [(ts[k].sort(dim, descending=down), ts[k].topk(min(5, xs[k].shape[dim]), dim, down))
                for k, dim, down in cases]

    results = tg.compile(program)([tg.from_numpy(x) for x in xs])
    for (k, dim, down), (ordered, first) in zip(cases, results, strict=True):
        want = torch.sort(torch.from_numpy(xs[k]), dim=dim, descending=down, stable=True)
        for got, count in ((ordered, None), (first, 5)):
            cut = tuple(slice(count) if d == dim else slice(None) for d in range(xs[k].ndim))
            assert np.array_equal(got.indices.numpy(), want.indices.numpy()[cut]), (k, dim, down)
            assert np.array_equal(got.values.numpy(), want.values.numpy()[cut],
                                  equal_nan=dtype.startswith("float"))


@pytest.mark.parametrize("order", ["rising", "falling", "equal", "nan"])
def test_selection_among_rows_in_order(order: str) -> None:
    x = np.arange(4000, dtype=np.float32).reshape(4, 1000)
    x = {"rising": x, "falling": -x, "equal": 0 * x, "nan": x * np.nan}[order]
    for largest in (False, True):
        got = tg.compile(lambda t, largest=largest: t.topk(60, 1, largest=largest))(tg.tensor(x))
        want = torch.sort(torch.tensor(x), dim=1, descending=largest, stable=True)
        assert np.array_equal(got.indices.numpy(), want.indices.numpy()[:, :60])


def test_gradient_of_the_first_few() -> None:
    x = np.random.default_rng(0).standard_normal((6, 400)).astype(np.float32)

    def loss(t):
        return (t.topk(7, 1).values ** 2).sum() + t.kthvalue(3, 1).values.sum()

    a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)

    @tg.compile
    def step():
        loss(a).backward()

    step()
    loss(b).backward()
    assert np.allclose(a.grad.numpy(), b.grad.numpy())


def test_columns_that_are_not_contiguous() -> None:
    x = np.random.default_rng(0).standard_normal((300, 40)).astype(np.float32)
    for view in (x[::-1, ::3], x.T[::-2], np.broadcast_to(x[:, :1], (300, 40))):
        got = tg.compile(lambda t: (t.sort(0).indices, t.topk(3, 0).indices))(tg.tensor(view))
        want = torch.sort(torch.tensor(view.copy()), dim=0, stable=True).indices.numpy()
        down = torch.sort(torch.tensor(view.copy()), dim=0, descending=True, stable=True).indices
        assert np.array_equal(got[0].numpy(), want)
        assert np.array_equal(got[1].numpy(), down.numpy()[:3])
