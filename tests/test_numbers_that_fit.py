"""A Python number beside a tensor whose dtype does not hold it: refused where torch refuses it."""

from __future__ import annotations

import pytest

import tracegrad

torch = pytest.importorskip("torch")

FUNCTIONS = {
    "**": lambda T, x, n: x ** n,
    "pow_": lambda T, x, n: x.pow_(n),
    "number to a power": lambda T, x, n: n ** x,
    "clamp": lambda T, x, n: T.clamp(x, max=n),
    "clamp of both": lambda T, x, n: T.clamp(x, -n if n > 0 else n, 1),
    "clamp_min_": lambda T, x, n: x.clamp_min_(n),
    "hardtanh": lambda T, x, n: T.nn.functional.hardtanh(x, min(-1, n), max(1, n)),
    "hardshrink": lambda T, x, n: T.nn.functional.hardshrink(x, n),
    "softshrink": lambda T, x, n: T.nn.functional.softshrink(x, abs(n)),
    "where": lambda T, x, n: T.where(x > 0, x, n),
    "where, the other": lambda T, x, n: T.where(x > 0, n, x),
    "fmod": lambda T, x, n: T.fmod(x, n),
    "mul": lambda T, x, n: x * n,
    "fill_": lambda T, x, n: x.fill_(n),
    "full": lambda T, x, n: T.full((2,), n, dtype=x.dtype),
    "full_like": lambda T, x, n: T.full_like(x, n),
    "item": lambda T, x, n: x.__setitem__(0, n),
    "masked_fill": lambda T, x, n: x.masked_fill(x > 0, n),
    "index_fill": lambda T, x, n: x.index_fill(0, T.tensor([1]), n),
    "add": lambda T, x, n: T.add(x, x, alpha=n),
    "tensor": lambda T, x, n: T.tensor(n, dtype=x.dtype),
    "tensor of a list": lambda T, x, n: T.tensor([[0], [n]], dtype=x.dtype),
}
DTYPES = ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int64", "bool"]


def told(T, name, dtype, number, way=lambda f: f):
    x = T.tensor([1, 0, 2], dtype=getattr(T, dtype))
    try:
        way(lambda x, n: FUNCTIONS[name](T, x, n))(x, number)
    except (RuntimeError, NotImplementedError):
        return "refused"
    return "done"


@pytest.mark.parametrize("number", [1e5, 70000, 1e39, 300, -129, -5, float("inf"), 65504.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number_too_large_is_refused_as_in_torch(name, number):
    for dtype in DTYPES:
        if name == "item" and dtype.endswith("16") and abs(number) > 65504:
            continue  # torch stores an infinity in half tensors, and refuses it of fill_
        assert told(tracegrad, name, dtype, number) == told(torch, name, dtype, number), dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_compiled_function_refuses_it_too(name, dtype):
    for numbers in ((2.0, 3.0, 7e4, 5.0, 1e9), (2, 3, 300, 5, -5, 4, 1 << 40)):
        compiled = tracegrad.compile(lambda x, n: FUNCTIONS[name](tracegrad, x, n))
        for number in numbers:
            assert told(tracegrad, name, dtype, number, lambda f: compiled) == (  # noqa: B023
                told(tracegrad, name, dtype, number)), number


def test_a_number_that_is_read_at_each_call_makes_a_tensor_of_the_default_dtype():
    compiled = tracegrad.compile(lambda n: tracegrad.scalar_tensor(n))
    assert [compiled(n).dtype for n in (2, 3, 4)] == [tracegrad.float32] * 3
