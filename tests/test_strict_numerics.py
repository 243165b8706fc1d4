"""Compiled numbers are the eager ones: operation by operation, each rounded, to the last bit where
no function but a root is involved and no sum is taken. `fast_math=True` allows the rest.
"""

from __future__ import annotations

import numpy as np
import pytest
from compiled import same_bits

import tracegrad as tg
import tracegrad.nn.functional as F

FLOATS = [tg.float16, tg.bfloat16, tg.float32, tg.float64]
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, 6e4, 1e-7, 5e-8,
           1e-310, 1e300, 2.0, 3.0, 0.1, 1 / 3]


def draw(seed: int, dtype, *shape: int):
    """Numbers of every size, and those that go wrong."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, shape) * 10.0 ** rng.integers(-9, 9, shape)
    x = np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), x)
    return tg.tensor(x).to(dtype)


# ---- programs that regrouping breaks
def two_sum(a, b):
    s = a + b
    c = s - a
    return s, (a - (s - c)) + (b - c)


def kahan(x, y, z):
    total, lost = x, x * 0
    for term in (y, z, x):
        step = term - lost
        new = total + step
        lost = (new - total) - step
        total = new
    return total, lost


def split(a, b):  # Dekker: the halves of a factor, and the rest of a product
    big = a * 4097.0
    high = big - (big - a)
    low = a - high
    return high, low, (high * b - a * b) + low * b


PROGRAMS = {
    "a constant added and taken away": lambda a, b, c: (a + 1e8) - 1e8,
    "half of a constant each": lambda a, b, c: (a * 0.1) * 0.3,
    "a sum to another's rest": lambda a, b, c: (a + b) - a,
    "two sums": lambda a, b, c: two_sum(a, b),
    "a compensated sum": kahan,
    "a split product": lambda a, b, c: split(a, b),
    "one by zero less x": lambda a, b, c: 1 / (0.0 - a),
    "zero less x less zero": lambda a, b, c: 1 / (-(a - b)),
    "x by itself, cut": lambda a, b, c: ((a * 3) / (a * 3)).trunc(),
    "squared by itself": lambda a, b, c: a * a / a,
    "equal quotients": lambda a, b, c: (a / b == (1 / b) * a, a / 7.0, a / 8.0, a / 1e-40),
    "a product less the same": lambda a, b, c: a * b - a * b + c,
    "a polynomial": lambda a, b, c: ((a * b + c) * b - a) * c + 0.1,
    "a root of a square": lambda a, b, c: (a * a).sqrt(),
    "powers": lambda a, b, c: (a**2, a**3, a**0.5, a**-0.5, a**-1, a**-2, a**0, a**1),
    "reciprocals": lambda a, b, c: (a * b.reciprocal(), a.sqrt().reciprocal(), b.rsqrt()),
    "which zero": lambda a, b, c: (
        a + 0, a - 0, 0 + a, 0 - a, a + -0.0, a - -0.0, a * -1, tg.maximum(a, -a), a.clamp(min=0),
        tg.minimum(-a, a), tg.maximum(tg.zeros_like(a), a), a.relu(), -(a * 0), a.abs() - a.abs(),
    ),
    "chosen": lambda a, b, c: tg.where(a + b > c, a - b - c, tg.where(a == a, a * 0.1 * b, c / b)),
    "up and down": lambda a, b, c: (a.double() * 0.1).float() + b.half().float() * c.int(),
    "a sum of one": lambda a, b, c: (a.unsqueeze(0).sum(0), a.reshape(-1, 1) @ b[:1].reshape(1, 1)),
    "remainders": lambda a, b, c: (tg.fmod(a, b), tg.copysign(a, b)),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_regrouped(name, dtype):
    same_bits(PROGRAMS[name], *(draw(k, dtype, 50) for k in range(3)))


ZEROS = {
    "relu": lambda x: x.relu(),
    "where": lambda x: tg.where(x < 0, 0.0, x),
    "maximum": lambda x: tg.maximum(tg.zeros_like(x), x),
    "minimum": lambda x: tg.minimum(tg.zeros_like(x), x),
    "relu of what is wider": lambda x: x.double().relu().to(x.dtype),
    "where what is wider is less": lambda x: tg.where(x.double() < 0, tg.zeros_like(x), x),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", ZEROS)
def test_a_choice_beside_its_comparison_keeps_the_sign_of_zero(name, dtype):
    x = tg.tensor([-0.0, 0.0] * 20, dtype=dtype)
    for beside in (lambda x: x < 0, lambda x: x.sign() * 0.5, lambda x: x.double() < 0):
        same_bits(lambda x, beside=beside: (ZEROS[name](x), beside(x), beside(x * 0.5)), x)


def test_a_maximum_divided_by_itself_is_one():
    x = tg.rand(40, 33) + 0.1

    def f(x):
        y = (x * 1.7).exp()
        return (y / y.amax(1, keepdim=True) == 1).sum(1), (y / y.max()).amax()

    counts, most = tg.compile(f)(x)
    assert (counts >= 1).all() and most == 1


def test_a_variance_by_squares_is_what_its_sums_make_it():
    x = tg.rand(64, 100) + 100

    def f(x):
        square, mean = (x * x).mean(1), x.mean(1)
        return square, mean, square - mean * mean

    square, mean, rest = tg.compile(f)(x)
    assert (square - mean * mean == rest).all()


def test_a_sum_taken_twice_is_the_same_sum():
    x = tg.rand(33, 77)
    f = tg.compile(lambda x: (x - x.sum(1, keepdim=True), x.sum(1, keepdim=True)))
    y, s = f(x)
    assert (y == x - s).all()


@pytest.mark.parametrize("seed", range(20))
def test_random_chains_are_the_same_to_the_bit(seed):
    same_chain(seed)


@pytest.mark.slow
def test_many_random_chains_are_the_same_to_the_bit():
    for seed in range(100, 500):
        same_chain(seed)


def same_chain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = chain(rng)
    f = eval(f"lambda a, b, c: {source}", {"tg": tg})
    same_bits(f, *(draw(seed + k, FLOATS[seed % 4], 37) for k in range(3)))


TWO = ("({0} + {1})", "({0} - {1})", "({0} * {1})", "({0} / {1})", "tg.maximum({0}, {1})",
       "tg.minimum({0}, {1})", "tg.where({0} < {1}, {0}, {1} * 0.1)",
       "({0} + ({0} > {1}).to({0}.dtype))")
ONE = ("(-{0})", "{0}.abs()", "{0}.sqrt()", "({0} + {k})", "({k} - {0})", "({0} * {k})",
       "({0} / {k})", "({k} / {0})", "({0} ** {p})", "{0}.reciprocal()", "{0}.rsqrt()",
       "{0}.clamp(-1.0, {k})", "{0}.double().to({0}.dtype)", "{0}.float()", "{0}.trunc()",
       "{0}.bfloat16().to({0}.dtype)", "{0}.sign()", "{0}.square()")
NUMBERS = ("2.0", "0.0", "-0.0", "0.5", "3.0", "0.1", "1e8", "-1.0", "1e-3", "1.0", "1e30", "-3")


def chain(rng: np.random.Generator) -> str:
    made = ["a", "b", "c"]
    for _ in range(rng.integers(3, 9)):
        x, y = rng.choice([*made[-3:], "a"]), rng.choice(made)
        k, p = rng.choice(NUMBERS), rng.choice(("2", "3", "0.5", "-1", "-2", "-0.5"))
        word = str(rng.choice(TWO if rng.random() < 0.5 else ONE))
        made.append(word.format(x, y, k=k, p=p) if "{1}" in word else word.format(x, k=k, p=p))
    return made[-1]


def test_gradients_and_updates_are_the_same_to_the_bit():
    def f(w, x):
        w = w.detach().requires_grad_()
        y = ((w * x + 0.1) * x - w) / (w * w + 1)
        (g,) = tg.autograd.grad(y, w, tg.ones_like(y), create_graph=True)
        (h,) = tg.autograd.grad(g * g, w, tg.ones_like(y))
        return y.detach(), g.detach(), h, w.detach() - 0.01 * g.detach()

    same_bits(f, tg.randn(60), tg.randn(60))


def test_what_a_product_computes_besides_is_rounded_as_written():
    a, b, bias, old = tg.randn(20, 30), tg.randn(30, 40), tg.randn(40), tg.randn(20, 40)

    @tg.compile
    def f(a, b, bias, old):
        y = a @ b
        return y, old - 0.1 * (y * 0.3 + bias)

    y, new = f(a, b, bias, old)
    np.testing.assert_array_equal(new.numpy(), (old - 0.1 * (y * 0.3 + bias)).numpy())


# ---- functions: within their bounds of what eager computes
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_formulas_are_not_exchanged(dtype):
    """log(1 + x) loses what is below 1's last digit, log(sigmoid(x)) is -inf far below: eagerly,
    and so compiled.
    """
    x = tg.tensor([1e-9, 3e-5, -1e-6, 0.5, -200.0, 200.0, -20.0, 90.0]).to(dtype)

    def f(x):
        return (
            (1 + x.abs()).log(), x.sigmoid().log(), (x.exp() - 1), x.exp().log(),
            tg.log(x.exp() / x.exp().sum()), (1 + x.exp()).log(),
        )

    rtol = {"float64": 1e-14, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}[dtype.name]
    for got, want in zip(tg.compile(f)(x), f(x), strict=True):
        np.testing.assert_allclose(
            got.float().numpy(), want.float().numpy(), rtol=rtol, atol=rtol / 4
        )


def test_half_sums_are_rounded_where_they_are_written():
    x = tg.full((2, 50), 3000.0, dtype=tg.float16)
    f = tg.compile(lambda x: (x.sum(1).sum(0) / 100, (x / 100).sum(), x.sum(1).mean()))
    assert [y.item() for y in f(x)] == [np.inf, 3000.0, np.inf]


@pytest.mark.parametrize("dtype", [tg.float16, tg.bfloat16], ids=str)
def test_half_numbers_added_at_one_position_do_not_stick(dtype):
    """In float16 alone, adding tenths ends at 256; torch's own `index_add` does that."""
    at, tenths = tg.zeros(5000, dtype=tg.int64), tg.full((5000,), 0.1, dtype=dtype)

    def f(at, v):
        x = tg.zeros(2, dtype=dtype)
        return (
            x.index_add(0, at, v), x.scatter_add(0, at, v), x.index_put((at,), v, accumulate=True),
            x.scatter_reduce(0, at, v, "sum"), x.scatter_reduce(0, at, v, "amax"),
            (x + 1).scatter_reduce(0, at[:90], v[:90] + 1, "prod"),
        )

    same_bits(f, at, tenths)
    assert all(y[0].item() > 400 for y in tg.compile(f)(at, tenths)[:4])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_nan_anywhere_is_the_extreme(dtype):
    x = tg.randn(70, 70).to(dtype)
    x.diagonal().fill_(float("nan"))

    def f(x):
        return (x.amax(1), x.amin(1), x.amax(0), x.amin(0), x.max(), x[:9, :9].amin(1),
                x[1:, :-1].triu(1).amax(1), x.nan_to_num(0.5).amax(1))

    found = tg.compile(f)(x)
    assert all(y.isnan().all() for y in found[:6]) and not found[7].isnan().any()
    same_bits(f, x)


# ---- fast mathematics
def test_fast_math_regroups_and_is_another_program():
    x = tg.rand(50) + 1
    strict, fast = (tg.compile(lambda x: x * 3.0 * 5.0 + 0.0, fast_math=on) for on in (False, True))
    np.testing.assert_allclose(fast(x).numpy(), strict(x).numpy(), rtol=1e-6)
    assert fast.source() != strict.source() and "# fast math" in fast.source()
    assert str(strict.graph()).count("*") == 2 and str(fast.graph()).count("*") == 1


def test_fast_math_reaches_the_backward_program():
    x = tg.rand(5, 7).requires_grad_()

    @tg.compile(fast_math=True)
    def loss(x):
        return (x * 3.0).exp().sum()

    loss(x).backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * np.exp(3 * x.detach().numpy()), rtol=1e-5)
    (backward,) = loss.tracegrad_state.latest().derivative.backwards.values()
    assert all(k.fast for k in backward.executable.program.kernels)


def test_fast_math_exchanges_formulas():
    x = tg.tensor([-200.0, 1e-9])
    f = tg.compile(lambda x: (x.sigmoid().log(), (1 + x.abs()).log()), fast_math=True)
    np.testing.assert_allclose(f(x)[0][0].item(), -200.0)
    np.testing.assert_allclose(f(x)[1][1].item(), 1e-9, rtol=1e-6)


def test_fast_math_is_given_by_name_and_to_modules():
    with pytest.raises(TypeError):
        tg.compile(lambda x: x, False, None, None, True)
    model = tg.compile(tg.nn.Linear(3, 2), fast_math=True)
    assert model(tg.ones(4, 3)).shape == (4, 2) and F.relu(model(tg.ones(3))).shape == (2,)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("number", [3440640, 2049, 257, -70000, 0.1])
def test_a_number_beside_a_half_is_not_rounded_before(dtype, number):
    torch = pytest.importorskip("torch")
    for f in (lambda x: x * number, lambda x: x / number, lambda x: number / x):
        theirs = f(torch.tensor([1.0, -3.0, 0.001], dtype=getattr(torch, dtype))).float()
        x = tg.tensor([1.0, -3.0, 0.001], dtype=getattr(tg, dtype))
        for ours in (f(x), tg.compile(f)(x)):
            np.testing.assert_array_equal(ours.float(), theirs.numpy())
