"""What a product does beside its numbers: updates of what lies in memory, and sums down columns."""

import numpy as np
import pytest

import tracegrad as T
from tracegrad.testing import assert_kernels

# rows, columns, depth: edges of the register tile, one panel and many, several blocks of rows, a
# transposed A that is copied before, products that threads share, and one done in parts
SIZES = [(2, 2, 2), (7, 5, 3), (13, 16, 4), (150, 33, 5), (33, 4, 16), (800, 20, 512),
         (97, 129, 65), (300, 257, 600), (29, 70, 1100)]
TYPES = {"float32": 3e-6, "float64": 1e-14}


def numbers(*shape, dtype="float64"):
    seed = sum(n * 7**i for i, n in enumerate(shape))
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(found, wanted, dtype, depth):
    bound = TYPES[dtype] * depth * np.abs(wanted).max(initial=1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
def test_a_weight_and_its_momentum_are_updated_by_the_product_of_their_gradient(size, dtype):
    m, n, k = size
    a, b = numbers(k, m, dtype=dtype), numbers(k, n, dtype=dtype)
    w, v = numbers(m, n, dtype=dtype), numbers(m, n, dtype=dtype)[::-1].copy()
    rate = np.array(0.05)

    @T.compile
    def step(a, b, w, v, rate):
        g = a.t() @ b
        v.mul_(0.9).add_(g)
        w.sub_(v * rate.to(w.dtype))
        return g

    wanted = (a.astype(float).T @ b, 0.9 * v + a.astype(float).T @ b)
    tensors = [T.from_numpy(x.copy()) for x in (a, b, w, v, rate)]
    g = step(*tensors)
    close(g.numpy(), wanted[0], dtype, k)
    close(tensors[3].numpy(), wanted[1], dtype, k)
    close(tensors[2].numpy(), w - 0.05 * wanted[1], dtype, k)
    copies = [x for x in step.program().launches if x.kernel.name.startswith("strips_")]
    assert_kernels(step, 1 + len(copies))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
def test_a_bias_is_updated_by_the_product_whose_columns_are_its_gradient(size, dtype):
    m, n, k = size
    a, w, r = numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype), numbers(m, n, dtype=dtype)
    bias = numbers(n, dtype=dtype)

    @T.compile
    def step(a, w, r, bias):
        y = T.where(r > 0, a @ w + bias, 0)
        down, whole = y.sum(0), (y * y).sum(0)
        bias.sub_(0.3 * down)
        return y @ w.t(), down, whole

    exact = np.where(r > 0, a.astype(float) @ w + bias, 0)
    tensors = [T.from_numpy(x.copy()) for x in (a, w, r, bias)]
    back, down, whole = step(*tensors)
    close(back.numpy(), exact @ w.T.astype(float), dtype, k * n)
    close(down.numpy(), exact.sum(0), dtype, k * m)
    close(whole.numpy(), (exact * exact).sum(0), dtype, k * m)
    close(tensors[3].numpy(), bias - 0.3 * exact.sum(0), dtype, k * m)


def test_sums_down_the_columns_cost_no_launch():
    step = T.compile(lambda a, w, b: (lambda y: (y @ w.t(), y.sum(0) * 2 + b))(T.relu(a @ w)))
    step(T.randn(40, 30), T.randn(30, 20), T.randn(20))
    assert_kernels(step, 2)


LAYOUTS = {
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "every other column": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "a part of rows": lambda x: np.concatenate([x, x], 1)[:, : x.shape[1]],
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [(7, 5, 3), (33, 40, 16), (40, 3, 90)])
def test_what_is_updated_may_lie_in_any_way(size, name):
    m, n, k = size
    a, b, w = numbers(k, m), numbers(k, n), numbers(m, n)
    memory = LAYOUTS[name](w)
    step = T.compile(lambda a, b, w: w.sub_(0.5 * (a.t() @ b)))
    whole = memory.base if memory.base is not None else memory
    before = whole.copy()
    step(T.from_numpy(a), T.from_numpy(b), T.from_numpy(memory))
    np.testing.assert_allclose(memory, w - 0.5 * a.T @ b, rtol=1e-12, atol=1e-12)
    assert (whole != before).sum() <= w.size  # nothing beside it was written


def test_a_factor_that_is_updated_is_read_first():
    w, x = numbers(9, 9), numbers(9, 9)
    tensor = T.from_numpy(w.copy())
    step = T.compile(lambda w, x: w.sub_(0.5 * (w @ x)))
    step(tensor, T.from_numpy(x))
    np.testing.assert_allclose(tensor.numpy(), w - 0.5 * w @ x, rtol=1e-12, atol=1e-12)

    @T.compile
    def layers(w, v, x):
        g = x @ w
        h = g @ v  # reads v before it is updated by a product that h reads
        v.sub_(0.1 * (g @ x))
        w.sub_(h @ g)

    v = numbers(9, 9)[::-1].copy()
    tw, tv = T.from_numpy(w.copy()), T.from_numpy(v.copy())
    layers(tw, tv, T.from_numpy(x))
    g = x @ w
    np.testing.assert_allclose(tv.numpy(), v - 0.1 * g @ x, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(tw.numpy(), w - g @ v @ g, rtol=1e-11, atol=1e-10)


def test_a_refused_index_leaves_the_weights_of_all_products_alone():
    table, w = T.randn(5, 8, requires_grad=True), T.randn(8, 3, requires_grad=True)
    optimizer = T.optim.SGD([table, w], lr=0.1, momentum=0.9)

    @T.compile
    def step(i):
        optimizer.zero_grad()
        loss = (T.nn.functional.embedding(i, table) @ w).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(3):
        step(T.tensor([0, 2, 4]))
    before = table.tolist(), w.tolist(), w.grad.tolist()
    with pytest.raises(IndexError, match="index 7 .* size 5"):
        step(T.tensor([0, 7, 4]))
    assert (table.tolist(), w.tolist(), w.grad.tolist()) == before


SUMS = {
    "sum": lambda x: x.sum(0),
    "mean": lambda x: x.mean(0),
    "max": lambda x: x.amax(0),
    "of two axes": lambda x: x.reshape(2, -1, x.shape[1]).sum((0, 1)),
    "of a product": lambda x: (x @ x.t()).sum(0),
    "of rows": lambda x: x.sum(1),
    "along columns": lambda x: x.cumsum(0),
}


@pytest.mark.parametrize("size", [(6, 6), (300, 40), (4, 1)])
@pytest.mark.parametrize("name", SUMS)
def test_what_was_there_is_read_before_the_sum_is_written_over_it(name, size):
    """As an optimizer does that compares a gradient with the last one."""

    def run(compile):
        x = T.from_numpy(numbers(*size))
        last, moved = (T.zeros_like(SUMS[name](x)) for _ in range(2))

        @compile
        def step(x):
            now = SUMS[name](x)
            moved.mul_(0.5).add_(now - last).add_(last.sin())
            last.copy_(now)

        for k in range(3):
            step(x * (k + 1))
        return moved.numpy(), last.numpy()

    for found, wanted in zip(run(T.compile), run(lambda f: f), strict=True):
        close(found, wanted, "float64", size[0])
