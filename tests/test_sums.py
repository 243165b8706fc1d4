"""Long sums keep their digits, eagerly and compiled, whichever axes they are over: their error
grows with the logarithm of the number of terms, not with the number.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
import tracegrad.nn.functional as F
from tracegrad.ir.ops import summation

WITHIN = 60  # roundings of the sum of the terms' magnitudes
ways = pytest.mark.parametrize("way", [lambda f: f, tg.compile], ids=["eager", "compiled"])
dtypes = pytest.mark.parametrize("dtype", [tg.float32, tg.float64], ids=str)


def check(y, want, dtype, within: float = WITHIN) -> None:
    """`want` is of positive terms, and exact to more digits than the dtype has."""
    eps = np.finfo(dtype.storage).eps
    error = np.abs(y.detach().numpy().astype(np.longdouble) - want) / np.abs(want)
    assert np.max(error) <= within * eps, f"{float(np.max(error) / eps):.0f} roundings"


def terms(shape: tuple[int, ...], dtype, order: tuple[int, ...] | None = None):
    """Equal numbers, whose rounding errors add up; in memory the axes are in another order."""
    x = tg.full(shape, 0.1, dtype=dtype)
    return x if order is None else x.permute(order).contiguous().permute(np.argsort(order).tolist())


SUMS = {  # shape, axes, order in memory
    "down narrow columns": ((1_000_000, 3), (0,), None),
    "a prime number of rows": ((499_979, 2), (0,), None),
    "down wide columns": ((30_011, 70), (0,), None),
    "down one column": ((300_000, 1), (0,), None),
    "along rows": ((3, 400_009), (1,), None),
    "along short rows, and many": ((70_000, 5), (0, 1), None),
    "all of a matrix": ((1201, 1009), (0, 1), None),
    "the middle": ((3, 40_000, 11), (1,), None),
    "what surrounds the middle": ((20_000, 7, 11), (0, 2), None),
    "two leading axes": ((301, 401, 5), (0, 1), None),
    "of a transposed matrix": ((5, 200_003), (1,), (1, 0)),
    "images, channels last": ((60, 9, 40, 41), (0, 2, 3), (0, 2, 3, 1)),
    "as long as is not divided": ((32_767, 6), (0,), None),
}


@ways
@dtypes
@pytest.mark.parametrize("name", SUMS)
def test_sums_are_exact_to_some_roundings(name, dtype, way):
    shape, dims, order = SUMS[name]
    x = terms(shape, dtype, order)
    count = np.longdouble(np.prod([shape[d] for d in dims]))
    check(way(lambda x: x.sum(dims))(x), count * np.longdouble(x.flatten()[0].item()), dtype)


# functions of x (n, 3) of one number t, and what they are exactly, from n and t
FUNCTIONS = {
    "mean": (lambda x: x.mean(0), lambda n, t: t),
    "a part": (lambda x: x[1:].sum(0), lambda n, t: (n - 1) * t),
    "squares": (lambda x: (x * x).mean(0), lambda n, t: t * t),
    "norm": (lambda x: tg.linalg.vector_norm(x, dim=0), lambda n, t: np.sqrt(n) * t),
    "logsumexp": (lambda x: (x - x).logsumexp(0), lambda n, t: np.log(n)),
    "nansum": (lambda x: x.nansum(0), lambda n, t: n * t),
    "trapezoid": (lambda x: tg.trapezoid(x, dim=0), lambda n, t: (n - 1) * t),
    "einsum": (lambda x: tg.einsum("ij,ij->j", x, x), lambda n, t: n * t * t),
    "dot": (lambda x: x[:, 0] @ x[:, 1], lambda n, t: n * t * t),
    "a row times a matrix": (lambda x: x.new_ones(len(x)) @ x, lambda n, t: n * t),
    "a product": (lambda x: x.T @ x, lambda n, t: n * t * t),
    "a variance": (
        lambda x: (x * (tg.arange(len(x)) % 2)[:, None]).var(0, correction=0) * 4,
        lambda n, t: t * t,
    ),
    "a gradient that was spread": (
        lambda x: tg.func.grad(lambda b: (x * (b + 1)).sum())(x.new_zeros(3)), lambda n, t: n * t,
    ),
}
# which adds some thousand products in a row
OF_BLAS = {"a row times a matrix", "a product", "einsum", "dot"}


@ways
@dtypes
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_made_of_sums_keeps_its_digits(name, dtype, way):
    f, exact = FUNCTIONS[name]
    x = terms((300_000, 3), dtype)
    want = exact(np.longdouble(len(x)), np.longdouble(x[0, 0].item()))
    check(way(f)(x), want, dtype, 20 * WITHIN if name in OF_BLAS else WITHIN)


CUMULATIVE = {
    "cumsum": lambda x: x.cumsum(0)[-1],
    "cumsum along rows": lambda x: x.T.contiguous().cumsum(1)[:, -1],
    "cumsum of one row": lambda x: x[:, 0].cumsum(0)[-1],
    "cumsum from the end": lambda x: x.flip(0).cumsum(0).flip(0)[0],
    "cumulative_trapezoid": lambda x: (
        tg.cumulative_trapezoid(x, dim=0)[-1] * (len(x) / (len(x) - 1))
    ),
}


@ways
@pytest.mark.parametrize("name", CUMULATIVE)
def test_running_sums_of_float32_are_kept_in_float64(name, way):
    x = terms((300_000, 3), tg.float32)
    want = len(x) * np.longdouble(x[0, 0].item())
    check(way(CUMULATIVE[name])(x), want, tg.float32, 2)


@ways
@pytest.mark.parametrize("dim", [0, 1])
def test_running_products_of_float32_are_kept_in_float64(dim, way):
    factor = 1 + 2**-13
    x = tg.full((3, 30_000) if dim else (30_000, 3), factor)
    y = way(lambda x: x.cumprod(dim).select(dim, -1))(x)
    check(y, np.longdouble(factor) ** 30_000, tg.float32, 2)


@ways
@pytest.mark.parametrize("dtype", [tg.float16, tg.bfloat16], ids=str)
def test_half_types_are_summed_in_float32(dtype, way):
    x = tg.full((1_000_003, 2), 0.01, dtype=dtype)
    y = way(lambda x: x.sum(0))(x)
    want = len(x) * x[0, 0].item()
    assert abs(y[0].item() / want - 1) <= {tg.float16: 2**-11, tg.bfloat16: 2**-8}[dtype]


def test_the_gradient_of_a_bias_keeps_its_digits():
    """It is summed inside of the kernel of a product."""
    x, w, b = tg.ones(200_003, 8), tg.full((5, 8), 0.1), tg.zeros(5, requires_grad=True)

    @tg.compile
    def gradient(x, target):
        y = F.linear(x, w, b)
        return tg.autograd.grad((y * target).sum(), b)[0]

    target = tg.full((len(x), 5), 0.1)
    check(gradient(x, target), len(x) * np.longdouble(target[0, 0].item()), tg.float32)


def test_sums_of_any_layout_are_numpys():
    rng = np.random.default_rng(0)
    for shape in ((130, 3, 70), (1, 200, 1), (65, 66), (0, 5), (4, 0, 3), (129,), (2, 3, 4, 65)):
        base = rng.standard_normal(shape)
        for x in (base, base.T, base[::-1], base[..., ::2], np.broadcast_to(base, (2, *shape))):
            for k in range(1 << x.ndim):
                dims = tuple(d for d in range(x.ndim) if k >> d & 1)
                got, want = summation.total(x, dims), x.sum(axis=dims)
                np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
                assert np.shape(got) == np.shape(want)


def test_blocks_hold_what_one_loop_holds():
    """Around the extents where loops are cut, compiled sums are those of NumPy."""
    f = lambda x: (x.sum(0), x.sum(1), (x * 2).sum(), x.cumsum(0), x.cumsum(1))  # noqa: E731
    rng = np.random.default_rng(1)
    for m in (255, 256, 257, 320, 511, 512, 513, 1025):
        for n in (1, 3, 4, 17, 513):
            x = tg.from_numpy(rng.integers(-9, 9, (m, n)).astype(np.float32))
            for got, want in zip(tg.compile(f)(x), f(x), strict=True):
                np.testing.assert_array_equal(got, want)


def test_terms_that_go_to_places_are_added_in_order():
    """As torch does; compiled to the same bits."""
    rng = np.random.default_rng(5)
    terms, at = rng.normal(size=5000).astype("f4"), rng.integers(0, 3, 5000)
    want = np.zeros(3, "f4")
    np.add.at(want, at, terms)

    def sums(at, terms):
        zeros = tg.zeros(3)
        return (zeros.index_add(0, at, terms), zeros.scatter_add(0, at, terms),
                zeros.index_put((at,), terms, accumulate=True))

    for function in (sums, tg.compile(sums)):
        for y in function(tg.tensor(at), tg.tensor(terms)):
            np.testing.assert_array_equal(y.numpy(), want)
