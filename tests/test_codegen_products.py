"""Matrix products against NumPy: every way the operands may lie, every edge of the register tile,
and what is computed from the sums before they are stored.
"""

import numpy as np
import pytest

import tracegrad as T
from tracegrad.runtime.cpu import python_executor, steps
from tracegrad.testing import assert_kernels

# rows, columns, depth: whole tiles and edges, one panel and many, narrow results that are computed
# transposed, deep ones whose transposed A is copied before, deeper ones done in parts
SIZES = [(2, 2, 2), (7, 5, 3), (33, 4, 16), (4, 33, 150), (64, 256, 80), (3, 200, 100),
         (97, 129, 65), (50, 300, 34), (256, 130, 512), (37, 50, 1300)]
TYPES = {"float32": 2e-6, "float64": 1e-14}


def numbers(*shape, dtype="float64"):
    seed = sum(n * 7**i for i, n in enumerate(shape))
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
def test_products_however_their_operands_lie(size, dtype):
    m, n, k = size
    a, b = numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    bound = TYPES[dtype] * (np.abs(a) @ np.abs(b)).max()

    @T.compile
    def products(a, b, at, bt):
        return a @ b, at.t() @ b, a @ bt.t(), at.t() @ bt.t()

    turned = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    for y in products(*map(T.from_numpy, (a, b, *turned))):
        assert np.abs(y.numpy() - exact).max() <= bound


@pytest.mark.parametrize("left", [(3, 38, 45), (1, 38, 45), (38, 45)], ids=str)
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_a_stack_of_transposed_matrices_is_copied_whatever_the_pieces(left, pieces):
    a, b = numbers(*left), numbers(3, 38, 150)

    @T.compile
    def product(a, b):
        return a.swapaxes(-1, -2) @ b

    want = a.swapaxes(-1, -2) @ b
    bound = 38 * np.finfo(a.dtype).eps * (np.abs(a.swapaxes(-1, -2)) @ np.abs(b))
    assert (np.abs(product(T.from_numpy(a), T.from_numpy(b)).numpy() - want) <= bound).all()
    program = product.program()
    kinds = [launch.kernel.name.partition("_")[0] for launch in program.launches]
    assert kinds == ["strips", "gemm"]
    (got,) = python_executor.execute(program, [a, b], pieces)
    assert (np.abs(got - want) <= bound).all()


@pytest.mark.parametrize("columns", [16, 40])
def test_rows_are_cut_into_tiles_whatever_their_number(columns):
    for rows in range(2, 70):
        a, b = numbers(rows, 9), numbers(9, columns)
        product = T.compile(lambda a, b: (a @ b, (a @ b).sum(0)))
        whole, sums = product(T.from_numpy(a), T.from_numpy(b))
        np.testing.assert_allclose(whole.numpy(), a @ b, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(sums.numpy(), (a @ b).sum(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("m, n, k", [(3200, 48, 16), (48, 16, 3200), (100, 32, 400)])
def test_threads_share_the_rows_of_a_few_panels(m, n, k, monkeypatch):
    dtype = "float32"
    a, b, v = numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype), numbers(n, dtype=dtype)

    def products(a, b, at, bt, v):
        return a @ b + v, at.t() @ b, a @ bt.t() - v, at.t() @ bt.t()

    turned = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    bound = TYPES[dtype] * (np.abs(a) @ np.abs(b) + np.abs(v)).max()
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(steps, "threads", lambda count=count: count)
        operands = [T.from_numpy(x) for x in (a, b, *turned, v)]
        found.append([y.numpy().copy() for y in T.compile(products)(*operands)])
    for one, *others, bias in zip(*found, (v, 0, -v, 0), strict=True):
        assert np.abs(one - (exact + bias)).max() <= bound
        for other in others:
            np.testing.assert_array_equal(one, other)


EPILOGUES = {
    "bias and relu": (lambda M, y, v, r, c, q: relu(M, y + v), True),
    "a residual, scaled by row": (lambda M, y, v, r, c, q: r + y * c, True),
    "a residual that lies transposed": (lambda M, y, v, r, c, q: (y - q.T) * 0.5, True),
    "the mask of a gradient": (lambda M, y, v, r, c, q: M.where(r > 0, y, -r), True),
    "an expression of the bias": (lambda M, y, v, r, c, q: y - v * 2.0 / c, True),
    "another shape": (lambda M, y, v, r, c, q: y.reshape(-1) * 2.0, True),
    "a costly function": (lambda M, y, v, r, c, q: M.exp(-y * y), False),
    "a constant that is an argument": (lambda M, y, v, r, c, q: y * 0.3 + M.sqrt(r * r + 1), True),
    "a sum": (lambda M, y, v, r, c, q: (y + v).sum(1), False),
}


def relu(M, x):
    return M.where(x <= 0, x * 0, x) if M is np else M.relu(x)


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("size", [(7, 5, 3), (33, 4, 16), (4, 33, 15), (70, 48, 20)])
def test_a_product_finishes_its_numbers_before_it_stores_them(name, size):
    m, n, k = size
    function, fused = EPILOGUES[name]
    a, b = numbers(m, k), numbers(k, n)
    rest = numbers(n), numbers(m, n + 1)[:, :n].copy(), 2 + numbers(m, 1) ** 2, numbers(n, m)
    compiled = T.compile(lambda a, b, *rest: function(T, a @ b, *rest))
    y = compiled(*map(T.from_numpy, (a, b, *rest)))
    np.testing.assert_allclose(y.numpy(), function(np, a @ b, *rest), rtol=1e-12, atol=1e-12)
    assert_kernels(compiled, 1 if fused else 2)


def test_a_product_that_is_read_twice_is_stored_with_what_reads_it():
    a, b = T.from_numpy(numbers(6, 7)), T.from_numpy(numbers(7, 9))
    both = T.compile(lambda a, b: ((a @ b).relu(), a @ b))
    y, z = both(a, b)
    np.testing.assert_allclose(z.numpy(), a.numpy() @ b.numpy(), rtol=1e-13)
    np.testing.assert_array_equal(y.numpy(), np.maximum(z.numpy(), 0))
    assert_kernels(both, 1)


def test_of_two_products_that_are_added_one_does_the_adding():
    a, b = T.from_numpy(numbers(6, 7)), T.from_numpy(numbers(7, 9))
    c, d = T.from_numpy(numbers(6, 5)), T.from_numpy(numbers(5, 9))
    add = T.compile(lambda a, b, c, d: (a @ b + c @ d).relu())
    want = np.maximum(a.numpy() @ b.numpy() + c.numpy() @ d.numpy(), 0)
    np.testing.assert_allclose(add(a, b, c, d).numpy(), want, rtol=1e-12, atol=1e-12)
    assert_kernels(add, 2)


def test_nan_and_infinity_pass_through_an_epilogue():
    a, b = np.eye(20), numbers(20, 16)
    b[3, 2], b[5, 5] = np.nan, -np.inf
    for shape in (slice(None), slice(0, 5)):  # whole vectors, and the edge
        right = np.ascontiguousarray(b[:5, shape])
        y = T.compile(lambda a, b: (a @ b + 0.0).relu())(
            T.from_numpy(a[:5, :5].copy()), T.from_numpy(right)
        )
        want = np.where(a[:5, :5] @ right <= 0, 0, a[:5, :5] @ right)
        np.testing.assert_array_equal(np.isnan(y.numpy()), np.isnan(want))


STACKS = {  # of matrices: how the epilogue's operands lie in the batch
    "a number for each matrix": (
        lambda M, x, w, b: x @ w * b + x, [(3, 7, 7), (3, 7, 7), (3, 1, 1)]),
    "a stack, transposed": (
        lambda M, x, w, b: x @ w - b.swapaxes(-1, -2),
        [(2, 3, 20, 5), (2, 3, 5, 18), (2, 3, 18, 20)]),
    "a row for all, narrow": (
        lambda M, x, w, b: relu(M, x @ w - b), [(2, 40, 5), (2, 5, 3), (3,)]),
}


@pytest.mark.parametrize("name", STACKS)
def test_stacks_of_products_finish_their_numbers_too(name):
    function, shapes = STACKS[name]
    arrays = [numbers(*s) for s in shapes]
    compiled = T.compile(lambda *a: function(T, *a))
    y = compiled(*map(T.from_numpy, arrays))
    np.testing.assert_allclose(y.numpy(), function(np, *arrays), rtol=1e-12, atol=1e-12)
    assert_kernels(compiled, 1)


def test_a_convolution_adds_its_bias_and_activates_in_the_product():
    x, w, b = (T.from_numpy(numbers(*s)) for s in ((3, 4, 9, 8), (5, 4, 3, 3), (5,)))
    layer = T.compile(lambda x, w, b: T.relu(T.conv2d(x, w, b)))
    np.testing.assert_allclose(
        layer(x, w, b).numpy(), T.relu(T.conv2d(x, w, b)).numpy(), rtol=1e-12, atol=1e-12
    )
    assert_kernels(layer, 2)  # the patches, and the product
