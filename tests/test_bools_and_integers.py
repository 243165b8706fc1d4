"""Bools and integers, compiled as eagerly: bools are zero or one, integers wrap around."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import same_bits

import tracegrad as tg


# ---- bools
def test_bools_are_zero_or_one_after_every_operation():
    torch = pytest.importorskip("torch")

    def f(lib, x, y):
        both = x + y
        return (
            both, both.sum(), (x + x).sum(0), ~both, lib.where(both, 3.0, -1.0), x * y, ~(x * y),
            lib.maximum(both, x), lib.minimum(both, y), both == x, both > y, both & x, both ^ y,
            both | x, both.to(lib.int32), both.to(lib.float16), both.float() * 2, (x + y + x) * 3,
            both.logical_not(), both.any(), both.all(), (x + y).cumsum(0), (x + y).max(),
            both.to(lib.uint8) + 255, (both + 1).sum(), lib.stack([both, x]).sum(0),
        )

    pairs = [[False, False, True, True] * 3, [False, True, False, True] * 3]
    wanted = f(torch, *(torch.tensor(v) for v in pairs))
    mine = [tg.tensor(v) for v in pairs]
    for found in (f(tg, *mine), tg.compile(lambda x, y: f(tg, x, y))(*mine)):
        for k, (got, want) in enumerate(zip(found, wanted, strict=True)):
            assert str(got.dtype).split(".")[-1] == str(want.dtype).split(".")[-1], k
            np.testing.assert_array_equal(got.numpy(), want.numpy(), err_msg=str(k))


# ---- integers
INTEGERS = {
    "one more": lambda x: ((x + 1) > x, (x - 2) < x, (x.sum() - 1) < x.sum()),
    "twice, and half of it": lambda x: ((x * 2) // 2 == x, (x * 3) // 3 == x, (x * 2) % 2),
    "squares": lambda x: (x * x >= 0, x.square().bool(), x**3 != 0, (x + x).prod() == 0),
    "signs": lambda x: (-x < 0, x.abs() < 0, (0 - x) == x, x.sign() * x == x.abs()),
    "running": lambda x: (x.cumsum(0), x.cumsum(0).diff() == x[1:], x.cumprod(0),
                          x.repeat(3, 2).cumsum(0) < x.repeat(3, 2)),
    "in one place": lambda x: (
        x.index_add(0, x.long() * 0, x), x.scatter_add(0, (x % 2).long().abs(), x) > x,
        x.index_put((x.long() * 0 + 2,), x * 3, accumulate=True),
        x.scatter_reduce(0, (x % 2).long().abs(), x, "prod"),
    ),
    "products": lambda x: (x @ x, x[:, None] @ x[None], (x[None] * x[:, None]).sum(1) < x,
                           x.outer(x).sum(0), x.diff(n=2), x.dot(x + 1)),
    "far away": lambda x: (((x + x.max()) - x.max()) == x, (x - x.min()).amax(),
                           (x * x.numel() // x.numel()) == x, x.square().cumsum(0) >= x),
    "chains": lambda x: ((x * x + x) * x - x, ((x + x) * 100).sum(), ~(x * 7) + 1),
}


@pytest.mark.parametrize("dtype", [tg.int64, tg.int32, tg.int16, tg.int8, tg.uint8], ids=str)
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_wrap_around(name, dtype):
    ends = np.iinfo(dtype.storage)
    half = 2 ** (dtype.bits // 2)
    values = [ends.max, ends.min, ends.max // 2 + 1, half, ends.max - 1, 5, 0, 1]
    same_bits(INTEGERS[name], tg.tensor(values, dtype=dtype))


# ---- products and sums
BOOL_PRODUCTS = {
    "mm": lambda lib, x: lib.mm(x[None], x[:, None]),
    "matmul of a vector": lambda lib, x: x @ x[:, None],
    "mv": lambda lib, x: lib.mv(x[None], x),
    "matmul by a vector": lambda lib, x: x[None, None] @ x,
    "dot": lambda lib, x: lib.dot(x, x),
    "vdot": lambda lib, x: lib.vdot(x, x),
    "bmm": lambda lib, x: lib.bmm(x[None, None], x[None, :, None]),
    "batches": lambda lib, x: x[None, None] @ x[None, :, None],
    "baddbmm": lambda lib, x: lib.baddbmm(x[:1, None, None], x[None, None], x[None, :, None]),
    "addmm": lambda lib, x: lib.addmm(x[:1, None], x[None], x[:, None]),
    "addmv": lambda lib, x: lib.addmv(x[:1], x[None], x),
    "einsum": lambda lib, x: lib.einsum("i,i->", x, x),
    "a matrix's power": lambda lib, x: lib.matrix_power(x[:1, None], 2),
    "linear": lambda lib, x: lib.nn.functional.linear(x[None], x[None]),
    "trace": lambda lib, x: lib.trace(x[None]),
    "conv1d": lambda lib, x: lib.nn.functional.conv1d(x[None, None], x[None, None]),
}


@pytest.mark.parametrize("name", BOOL_PRODUCTS)
def test_products_of_bools_are_refused_in_torchs_words(name):
    torch = pytest.importorskip("torch")
    f = BOOL_PRODUCTS[name]
    said = []
    for run, lib in ((f, torch), (f, tg), (tg.compile(f), tg)):
        with pytest.raises(NotImplementedError) as caught:
            run(lib, lib.tensor([True, False, True]))
        said.append(str(caught.value).split("\n")[0])
    assert said[0] == said[1] == said[2]


def test_a_sum_of_bools_or_small_integers_by_einsum_counts():
    for dtype in (tg.bool, tg.int8, tg.int32):
        x = tg.ones((2, 300), dtype=dtype)
        for f in (lambda x: tg.einsum("ij->i", x), tg.compile(lambda x: tg.einsum("ij->i", x))):
            assert f(x).dtype is tg.int64 and f(x).tolist() == [300, 300]


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "int64", "uint8"])
def test_powers_of_integers_wrap_around_as_eager_ones_do(name):
    whole = tg.compile(lambda a, b: (a**b, a**7, a**0))
    dtype = getattr(tg, name)
    a = tg.tensor([3, 2, 7, 1, 0, 101], dtype=dtype)
    b = tg.tensor([25, 63, 100, 127, 0, 0], dtype=dtype)
    for exponent in (b, b.long() * 40_000, tg.full((6,), 2**40, dtype=tg.int64)):
        for mine, eager in zip(whole(a, exponent), (a**exponent, a**7, a**0), strict=True):
            assert mine.dtype == eager.dtype and mine.tolist() == eager.tolist()
