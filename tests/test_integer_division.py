"""Division of integers: by zero an error, as in torch, and right up to the least number."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.testing import assert_kernels

DTYPES = ["uint8", "int8", "int16", "int32", "int64"]
DIVISIONS = {
    "//": lambda T, a, b: a // b,
    "%": lambda T, a, b: a % b,
    "floor_divide": lambda T, a, b: T.floor_divide(a, b),
    "remainder": lambda T, a, b: T.remainder(a, b),
    "fmod": lambda T, a, b: T.fmod(a, b),
    "div, floor": lambda T, a, b: T.div(a, b, rounding_mode="floor"),
    "div, trunc": lambda T, a, b: a.div(b, rounding_mode="trunc"),
}
INPLACE = {
    "//=": lambda a, b: a.__ifloordiv__(b),
    "%=": lambda a, b: a.__imod__(b),
    "floor_divide_": lambda a, b: a.floor_divide_(b),
    "remainder_": lambda a, b: a.remainder_(b),
    "fmod_": lambda a, b: a.fmod_(b),
    "div_, floor": lambda a, b: a.div_(b, rounding_mode="floor"),
    "div_, trunc": lambda a, b: a.div_(b, rounding_mode="trunc"),
}
ways = pytest.mark.parametrize("way", [lambda f: f, tg.compile], ids=["eager", "compiled"])


def by_zero():
    return pytest.raises(RuntimeError, match="^ZeroDivisionError$")


def hard_pairs(dtype: str) -> tuple[list[int], list[int]]:
    info = np.iinfo(dtype)
    numbers = {info.min, info.min + 1, 0, 1, 2, 3, 7, info.max - 1, info.max}
    numbers |= set() if dtype == "uint8" else {-1, -2, -3, -7}
    pairs = [(a, b) for a in sorted(numbers) for b in sorted(numbers) if b != 0]
    return tuple(map(list, zip(*pairs, strict=True)))  # type: ignore[return-value]


def exactly(name: str, a: int, b: int) -> int:
    """In Python's integers, which have no least one."""
    toward_zero = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return {
        "//": a // b, "floor_divide": a // b, "div, floor": a // b, "div, trunc": toward_zero,
        "%": a % b, "remainder": a % b, "fmod": a - toward_zero * b,
    }[name]


@ways
@pytest.mark.parametrize("name", DIVISIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients_and_rests_are_exact_and_wrap(dtype, name, way):
    a, b = hard_pairs(dtype)
    f = way(lambda a, b: DIVISIONS[name](tg, a, b))
    y = f(*(tg.tensor(x, dtype=getattr(tg, dtype)) for x in (a, b)))
    exact = np.array([exactly(name, p, q) for p, q in zip(a, b, strict=True)], object)
    want = (exact & (2**64 - 1)).astype(np.uint64).astype(dtype)  # the low bits
    np.testing.assert_array_equal(y.numpy(), want)


@ways
@pytest.mark.parametrize("name", DIVISIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_is_refused_wherever_it_stands(dtype, name, way):
    kind = getattr(tg, dtype)
    f = way(lambda a, b: DIVISIONS[name](tg, a, b))
    a = tg.arange(1, 7, dtype=kind).reshape(2, 3)
    for b in (tg.tensor([1, 2, 0], dtype=kind), tg.tensor(0, dtype=kind), a * 0, a.T[::2, :1] * 0):
        with by_zero():
            f(a, b)
    assert f(a, tg.tensor([1, 2, 3], dtype=kind)).shape == (2, 3)  # and goes on working


@ways
@pytest.mark.parametrize("name", DIVISIONS)
def test_numbers_are_divisors_too(name, way):
    a = tg.arange(1, 4)
    for zero in (0, False, np.int32(0)):
        with by_zero():
            way(lambda a, zero=zero: DIVISIONS[name](tg, a, zero))(a)
    assert way(lambda a: DIVISIONS[name](tg, a, 0.0))(a).dtype is tg.float32
    assert way(lambda a: DIVISIONS[name](tg, a[:0], 0))(a).shape == (0,)
    assert way(lambda a, z: DIVISIONS[name](tg, a[:0], z))(a, tg.tensor(0)).shape == (0,)


@ways
@pytest.mark.parametrize("name", DIVISIONS)
@pytest.mark.parametrize("dtype", DTYPES[:-1])
def test_a_number_that_wraps_to_zero_is_refused(dtype, name, way):
    a = tg.arange(1, 4, dtype=getattr(tg, dtype))
    zero = 2 ** np.iinfo(dtype).bits
    for divisor in (zero, -zero, 3 * zero):
        with by_zero():
            way(lambda a, b=divisor: DIVISIONS[name](tg, a, b))(a)
    want = DIVISIONS[name](tg, a, 2)
    assert way(lambda a: DIVISIONS[name](tg, a, zero + 2))(a).tolist() == want.tolist()


@pytest.mark.parametrize("name", DIVISIONS)
def test_a_number_that_is_read_at_each_call_is_checked(name):
    class Setting:
        every = 3

    setting, a = Setting(), tg.arange(1, 4, dtype=tg.int8)
    f = tg.compile(lambda a: DIVISIONS[name](tg, a, setting.every))
    for every in (3, 2, 5, 256, 2, 0, 7):
        setting.every = every
        if every in (0, 256):
            with by_zero():
                f(a)
        else:
            assert f(a).tolist() == DIVISIONS[name](tg, a, every).tolist()


@ways
def test_zero_is_refused_below_a_number_and_in_an_array(way):
    z = tg.tensor([3, 0])
    for f in (lambda z: 5 // z, lambda z: 5 % z, lambda z: np.floor_divide(z + 1, z),
              lambda z: np.remainder(z, z), lambda z: tg.vmap(lambda a: 7 // a)(z)):
        with by_zero():
            way(f)(z)


@ways
@pytest.mark.parametrize("name", INPLACE)
def test_nothing_is_written_before_the_refusal(name, way):
    def f(x, count, b):
        count += 1
        INPLACE[name](x, b)
        return x * 2

    f = way(f)
    x, count = tg.tensor([8, 9, 10]), tg.tensor([0])
    f(x, count, tg.tensor([3, 3, 3]))
    before = x.clone(), count.clone()
    with by_zero():
        f(x, count, tg.tensor([1, 0, 2]))
    assert (x == before[0]).all()
    if way is tg.compile:  # eagerly, the count is another operation's
        assert (count == before[1]).all()


def test_a_training_step_that_divides_by_zero_changes_nothing():
    w = tg.ones(3, requires_grad=True)
    optimizer = tg.optim.Adam([w])

    @tg.compile
    def step(x, every):
        optimizer.zero_grad()
        loss = (w * x * (x.long() // every)).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(tg.full((3,), 6.0), tg.tensor(2))
    before, gradient = w.detach().clone(), w.grad.clone()
    with by_zero():
        step(tg.full((3,), 5.0), tg.tensor(0))
    assert (w == before).all() and (w.grad == gradient).all()


def test_many_threads_find_one_zero():
    f = tg.compile(lambda a, b: a // b + a % b)
    a, b = tg.arange(1 << 18), tg.ones(1 << 18, dtype=tg.int64)
    assert (f(a, b) == a).all()
    b[-1] = 0
    with by_zero():
        f(a, b)


def test_a_constant_divisor_costs_no_kernel():
    f = tg.compile(lambda a: (a // 3 + a % tg.full((5,), 4)).fmod(7))
    f(tg.arange(5))
    assert_kernels(f, 1)


def test_a_zero_that_where_replaces_divides_nothing():
    f = tg.compile(lambda a, b: tg.where(b == 0, 0, a // tg.where(b == 0, 1, b)))
    a, b = tg.tensor([7, 8]), tg.tensor([0, 3])
    assert f(a, b).tolist() == [0, 2]
