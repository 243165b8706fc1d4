"""Promotion over all dtypes, and random subscripts, with torch as the witness."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from programs_of_torch import traced_arrays

import tracegrad as T

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
]
OPERATIONS = {
    "add": lambda T, a, b: a + b,
    "div": lambda T, a, b: a / b,
    "mul": lambda T, a, b: b * a,
    "maximum": lambda T, a, b: T.maximum(a, b) if isinstance(b, T.Tensor) else a * b,
    "where": lambda T, a, b: T.where(T.tensor([True]), a, b),
    "eq": lambda T, a, b: a == b,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_pair_of_dtypes_meets_where_torch_says(operation):
    torch = pytest.importorskip("torch")
    apply = OPERATIONS[operation]

    def dtype_of(T, make, left, right):
        a = T.ones((1,), dtype=getattr(T, left))
        return str(apply(T, a, make(T, right)).dtype).rpartition(".")[2]

    others = [
        (lambda T, d: T.ones((1,), dtype=getattr(T, d)), DTYPES),
        (lambda T, d: T.ones((), dtype=getattr(T, d)), DTYPES),
        (lambda T, number: number, [True, 2, 2.5]),
    ]
    wrong = [
        (left, right)
        for make, rights in others
        for left in DTYPES
        for right in rights
        if dtype_of(T, make, left, right) != dtype_of(torch, make, left, right)
    ]
    assert wrong == []


SHAPE = (3, 4, 5)


@st.composite
def keys(draw):
    """A subscript of a (3, 4, 5) array: integers, slices, None, ..., index lists."""
    items, lists = [], draw(st.integers(1, 3))
    for n in SHAPE[: draw(st.integers(0, 3))]:
        bound = st.none() | st.integers(-n, n)
        span = st.builds(slice, bound, bound, st.none() | st.integers(1, 3))
        some = st.lists(st.integers(-n, n - 1), min_size=lists, max_size=lists)
        items.append(draw(st.one_of(st.integers(-n, n - 1), span, some)))
    if len(items) < 3 and draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), ...)
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items)


def for_torch(torch, key):
    return tuple(torch.tensor(k) if isinstance(k, list) else k for k in key)


@settings(deadline=None, max_examples=150)
@given(keys())
def test_any_subscript_reads_and_writes_what_torch_does(key):
    torch = pytest.importorskip("torch")
    ours, theirs = T.arange(60.0).reshape(SHAPE), torch.arange(60.0).reshape(SHAPE)
    read, expected = ours[key], theirs[for_torch(torch, key)]
    assert tuple(read.shape) == tuple(expected.shape) and read.tolist() == expected.tolist()
    ours[key] = -1
    theirs[for_torch(torch, key)] = -1
    assert ours.tolist() == theirs.tolist()


@settings(deadline=None, max_examples=60)
@given(keys())
def test_any_subscript_traces_and_differentiates(key):
    def program(x):
        y = x * 2
        part = y[key]
        y[key] = part * 3 + 1
        (y * y).sum().backward()
        return x.grad, y.detach(), part.detach()

    fresh = lambda: (T.arange(60.0).reshape(SHAPE) / 30).requires_grad_()
    for (array, _), t in zip(traced_arrays(program, fresh()), program(fresh()), strict=True):
        assert np.allclose(array, t.numpy(), rtol=1e-5)
