"""A compiled function for C and for Numba: what it computes, what it refuses, who may call it."""

from __future__ import annotations

import copy
import pickle

import numba
import numpy as np
import pytest

import tracegrad as tg

F = tg.nn.functional


def numbers(*shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return np.array(rng.standard_normal(shape) * 2, dtype)


def by_pointer(cf, *arrays, results):
    """Call by address; the status."""
    return cf.ctypes(*(a.ctypes.data for a in (*arrays, *results)))


def as_array(t: tg.Tensor) -> np.ndarray:
    return t.detach()._array


FUNCTIONS = {
    "pointwise": (lambda x, y: (x * y).tanh() + x, [(3, 4), (4,)]),
    "product": (lambda x, y: F.relu(x @ y).sum(1), [(5, 6), (6, 7)]),
    "scalar": (lambda x: x.exp() * 2, [()]),
    "empty": (lambda x: (x * 2, x.sum()), [(0, 3)]),
    "nothing": (lambda: tg.arange(3) * 2, []),
    "an argument": (lambda x: (x, x.T, x[1], x), [(2, 3)]),
    "not used": (lambda x, y: y + 1, [(2,), (3,)]),
    "containers": (lambda p: {"a": [p["x"][0] * 2], "b": (p["y"], 3)}, [{"x": [(2,)], "y": (3,)}]),
    "sorted": (lambda x: x.sort(), [(2, 5)]),
    "special": (lambda x: tg.special.gammaln(x.abs() + 1), [(4,)]),
    "a loop": (lambda x: tg.scan(lambda c, v: (c * 0.5 + v @ x, c.sum()), x[0], x), [(4, 4)]),
    "a loop with a test": (lambda x: tg.while_loop(
        lambda k, a: k < 5, lambda k, a: (k + 1, (a + k) @ x * 0.1), (x[0].argmax(), x)), [(4, 4)]),
    "loops and branches": (lambda x: tg.scan(lambda c, v: (
        tg.while_loop(lambda a: a.sum() < 3, lambda a: (a + 1,), (c,))[0],
        tg.cond(v.sum() > 0, lambda v: v * 2, lambda v: v - 1, (v,))), x[0], x), [(4, 4)]),
    "factors": (lambda x: tg.linalg.inv(x @ x.T + 3 * tg.eye(3)), [(3, 3)]),
}


def drawn(shape):
    if isinstance(shape, dict):
        return {k: drawn(v) for k, v in shape.items()}
    return [drawn(s) for s in shape] if isinstance(shape, list) else numbers(*shape)


def tensors(tree):
    if isinstance(tree, dict):
        return [t for v in tree.values() for t in tensors(v)]
    if isinstance(tree, (tuple, list)):
        return [t for v in tree for t in tensors(v)]
    return [tree] if isinstance(tree, (tg.Tensor, np.ndarray)) else []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_computes_the_bits_that_the_compiled_function_computes(name):
    f, shapes = FUNCTIONS[name]
    args = [drawn(s) for s in shapes]
    compiled = tg.compile(f)
    expected = tensors(compiled(*args))
    cf = compiled.cfunc(*args)
    flat = tensors(args)
    results = cf(*flat)
    results = results if isinstance(results, tuple) else (results,)
    made = [np.empty(tuple(t.shape), t.dtype.storage) for t in expected]
    assert by_pointer(cf, *flat, results=made) == 0
    for y, one, other in zip(expected, results, made, strict=True):
        assert as_array(y).tobytes() == np.asarray(one).tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", "float64 int64 int32 int16 int8 uint8 bool".split())
def test_arrays_of_every_dtype(dtype):
    x = numbers(2, 3).astype(dtype)
    f = tg.compile(lambda x: (x.clone(), (x == x).sum()))
    cf = f.cfunc(x)
    same, count = cf(x)
    assert same.dtype == dtype and same.tobytes() == x.tobytes() and count == 6

    @numba.njit
    def call(x):
        return cf(x)

    same, count = call(x)
    assert same.dtype == dtype and same.tobytes() == x.tobytes() and count == 6


def test_numba_has_no_half_floats():
    x = numbers(3, dtype="float16")
    cf = tg.compile(lambda x: x * 2).cfunc(x)
    assert cf(x).tobytes() == (x * np.float16(2)).tobytes()

    @numba.njit
    def call():
        return cf(np.zeros(3))

    with pytest.raises(TypeError, match="Numba has no float16"):
        call()


def test_numbers_for_arguments_without_dimensions():
    cf = tg.compile(lambda x, n: x * n + 1).cfunc(np.array(2.0), np.array(3))

    @numba.njit
    def call(x, n):
        return cf(x, n) + cf(x, 4)

    assert call(0.5, 3) == 2.5 + 3.0 and cf(0.5, 3) == 2.5
    assert call(np.array(0.5), np.array(3)) == 5.5
    with pytest.raises(numba.TypingError, match="array of float64 with 0 dimensions"):
        call(np.float32(1), 3)
    with pytest.raises(ValueError, match="of int64 with shape"):
        cf(1.0, 2.5)


def test_bfloat16_is_held_in_uint16():
    x = tg.tensor([1.5, -2.0]).to(tg.bfloat16)
    cf = tg.compile(lambda x: x * 2).cfunc(x)
    assert cf(x._array).tobytes() == (x * 2)._array.tobytes()


def test_value_and_gradient():
    f = tg.compile(lambda x, n, w: ((x @ w["w"]) ** n).sum())
    x, w = numbers(3, 4), {"w": numbers(4)}
    cf = f.cfunc(x, 2, w, gradient=(0, 2))
    assert cf.signature == (
        "int32_t function(const float *x, const float *w_w, float *value, "
        "float *grad_x, float *grad_w_w)"
    )
    value, gx, gw = cf(x, w["w"])
    y, (ex, ew) = tg.func.value_and_grad(lambda x, w: ((x @ w) ** 2).sum(), (0, 1))(
        tg.tensor(x), tg.tensor(w["w"])
    )
    np.testing.assert_allclose(value, y.item(), rtol=1e-6)
    np.testing.assert_allclose(gx, as_array(ex), rtol=1e-5)
    np.testing.assert_allclose(gw, as_array(ew), rtol=1e-5)
    assert [len(f.cfunc(x, 2, w, gradient=g)(x, w["w"])) for g in (0, -1, (0,))] == [2, 2, 2]


@pytest.mark.parametrize("gradient", [2, (0, 5), True, "x", 0.0])
def test_a_gradient_that_there_is_not(gradient):
    f = tg.compile(lambda x, n: x.sum())
    with pytest.raises((ValueError, TypeError), match="gradient"):
        f.cfunc(numbers(3), 2, gradient=gradient)


def test_the_gradient_of_a_tensor_that_is_no_scalar():
    with pytest.raises(RuntimeError, match="scalar"):
        tg.compile(lambda x: x * 2).cfunc(numbers(3), gradient=0)


# ---- in njit code
def test_numba_calls_it_like_a_function():
    f = tg.compile(lambda x, y: ((x - y) ** 2).sum())
    cf = f.cfunc(numbers(3, 2), numbers(2), gradient=0)

    @numba.njit
    def descend(x, y, steps):
        for _ in range(steps):
            value, g = cf(x, y)
            x -= 0.1 * g
        return value, x

    x, y = numbers(3, 2), numbers(2, seed=1)
    value, x = descend(x, y, 60)
    assert value < 1e-6
    np.testing.assert_allclose(x, np.broadcast_to(y, (3, 2)), atol=1e-4)


def test_numba_calls_it_from_prange_and_recursively():
    cf = tg.compile(lambda x: (x @ x.T).tanh().sum()).cfunc(numbers(9, 9))

    @numba.njit(parallel=True)
    def many(xs):
        out = np.empty(len(xs), np.float32)
        for k in numba.prange(len(xs)):
            out[k] = cf(xs[k])
        return out

    @numba.njit
    def deep(x, n):
        return cf(x) if n == 0 else cf(x) + deep(x, n - 1)

    xs = numbers(200, 9, 9)
    assert many(xs).tolist() == [float(cf(x)) for x in xs]
    assert deep(xs[0], 3) == pytest.approx(4 * cf(xs[0]))


WRONG = {
    "dtype": np.zeros((3, 4)), "number of dimensions": np.zeros(3, "f4"),
    "order of axes": np.zeros((3, 4), "f4", order="F"), "steps": np.zeros((3, 8), "f4")[:, ::2],
    "shape": np.zeros((4, 3), "f4"), "a shape that is too small": np.zeros((1, 4), "f4"),
    "no array": 1.0, "bytes": np.zeros((3, 4), ">f4"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arrays_are_refused(what):
    cf = tg.compile(lambda x: x * 2).cfunc(numbers(3, 4))

    @numba.njit
    def call(x):
        return cf(x)

    with pytest.raises((numba.TypingError, ValueError, numba.errors.NumbaError)):
        call(WRONG[what])
    with pytest.raises(ValueError, match="argument 'x' must be a C-contiguous array of float32"):
        cf(WRONG[what])
    with pytest.raises(TypeError, match="1 arrays, not 2"):
        cf(numbers(3, 4), numbers(3, 4))


def test_what_it_changes_must_be_writable_and_its_own():
    def f(x, y):
        x.add_(y)
        return x.sum()

    cf = tg.compile(f).cfunc(numbers(3), numbers(3))
    assert cf.signature.startswith("int32_t f(float *x, const float *y,")

    @numba.njit
    def call(x, y):
        return cf(x, y)

    x, y = np.ones(3, "f4"), np.ones(3, "f4")
    assert call(x, y) == 6 and cf(x, y) == 9 and x.tolist() == [3, 3, 3]
    for function in (call, cf):
        with pytest.raises(ValueError, match="overlap|shares memory"):
            function(x, x)
    locked = np.ones(3, "f4")
    locked.flags.writeable = False
    for function in (call, cf):
        with pytest.raises((ValueError, numba.TypingError), match="writes into"):
            function(locked, y)
    with pytest.raises(ValueError, match="writes into"):
        cf([np.float32(1), np.float32(2), np.float32(3)], y)
    assert x.tolist() == [3, 3, 3] and locked.tolist() == [1, 1, 1]


def test_pointers_that_cannot_be_used_have_a_status():
    cf = tg.compile(lambda x: x * 2).cfunc(numbers(3))
    x, y = numbers(5), np.zeros(5, "f4")
    at, out = x.ctypes.data, y.ctypes.data
    assert cf.STATUS.keys() == {0, 1, 2, 3, 4, 5}
    assert cf.ctypes(None, out) == cf.ctypes(at + 1, out) == cf.ctypes(at, None) == 3
    assert cf.ctypes(at, at) == cf.ctypes(at, at + 8) == cf.ctypes(at + 8, at) == 4
    assert not y.any()
    assert cf.ctypes(at, out) == 0 and y[:3].tolist() == (2 * x[:3]).tolist()


def test_failed_checks_are_reported():
    table = tg.arange(5.0)
    cf = tg.compile(lambda k: table[k]).cfunc(tg.tensor([0, 1]))
    inverse = tg.compile(tg.linalg.inv).cfunc(numbers(2, 2))

    @numba.njit
    def look(k):
        return cf(k)

    @numba.njit
    def invert(x):
        return inverse(x)

    for _ in range(2):
        with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0 with size"):
            cf(np.array([1, 7]))
        with pytest.raises(IndexError, match="out of bounds"):
            look(np.array([1, -6]))
        assert look(np.array([4, -1])).tolist() == cf(np.array([4, -1])).tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="singular"):
        inverse(np.zeros((2, 2), "f4"))
    with pytest.raises(np.linalg.LinAlgError):
        invert(np.zeros((2, 2), "f4"))
    out = np.empty(2, "f4")
    assert by_pointer(cf, np.array([0, 9]), results=[out]) == 1


def test_numba_keeps_no_code_with_addresses_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    cf = tg.compile(lambda x: x * 2).cfunc(numbers(3))

    with pytest.warns(numba.NumbaWarning, match="[Cc]annot cache"):
        @numba.njit("float32[::1](float32[::1])", cache=True)
        def call(x):
            return cf(x)

    assert not list(tmp_path.rglob("*.nbc"))


@pytest.mark.parametrize("copied", [
    copy.copy, copy.deepcopy, lambda cf: pickle.loads(pickle.dumps(cf)),
])
def test_it_cannot_be_copied(copied):
    cf = tg.compile(lambda x: x * 2).cfunc(numbers(3))
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        copied(cf)
