"""Forward mode: other derivatives at kinks than in reverse mode, and no_grad stops no tangent."""

from __future__ import annotations

import pytest

import tracegrad

torch = pytest.importorskip("torch")

TIED = [0.0, -0.0, 1.0, 2.0, float("nan"), -1.0]
OTHER = [0.0, 1.0, 1.0, -1.0, 1.0, float("nan")]
OF_TWO = {
    "fmax": lambda T, a, b: T.fmax(a, b),
    "fmin": lambda T, a, b: T.fmin(a, b),
    "fmax of another dtype": lambda T, a, b: T.fmax(a.double(), b),
    "prelu": lambda T, a, b: T.nn.functional.prelu(a[None], b),
    "at least": lambda T, a, b: T.clamp(a, min=b),
    "at most": lambda T, a, b: T.clamp(a, max=b),
    "at least, a tie being within": lambda T, a, b: T.clamp_min(a, b),
    "at most, a tie being within": lambda T, a, b: T.clamp_max(a, b),
    "power of zero": lambda T, a, b: a ** (b * 0) + a ** 0,
    "between": lambda T, a, b: T.clamp(a, b, b + 1),
    "crossed bounds": lambda T, a, b: T.clamp(a, b + 1, b),
    "std of nothing but one number": lambda T, a, b: T.stack([b, b, b]).std(0),
    "std_mean": lambda T, a, b: T.std_mean(T.stack([b * 0 + 2, b * 0 + 2]), 0),
    "norm of zeros": lambda T, a, b: T.linalg.vector_norm(a * 0, 3),
    "dist of order 1.5": lambda T, a, b: T.dist(b[1:3], b[1:3] * 1, 1.5),
    "maximum": lambda T, a, b: T.maximum(a, b),
    "minimum of another dtype": lambda T, a, b: T.minimum(a.double(), b),
    "maximum of a 0-d tensor": lambda T, a, b: T.max(b[5].double(), a),
    "the greatest, beside NaN": lambda T, a, b: a.max(),
    "the least, beside NaN": lambda T, a, b: b.min(),
    "the greatest of equal ones": lambda T, a, b: b[:4].max(),
    "median beside NaN": lambda T, a, b: a.median(),
    "norms of rows": lambda T, a, b: T.linalg.vector_norm(T.stack([b[:2], b[:2] * 0]), 2.5, 0),
}


def pushed(T, function, transform=lambda f: f):
    a, b = (T.tensor(values) for values in (TIED, OTHER))
    tangents = T.arange(1.0, 7.0), T.arange(7.0, 13.0)
    out = T.func.jvp(transform(lambda a, b: function(T, a, b)), (a, b), tangents)
    return [y.tolist() for part in out for y in (part if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize("name", OF_TWO)
def test_tangents_at_kinks(name):
    mine = pushed(tracegrad, OF_TWO[name])
    assert str(mine) == str(pushed(torch, OF_TWO[name]))
    assert str(pushed(tracegrad, OF_TWO[name], tracegrad.compile)) == str(mine)


@pytest.mark.parametrize("name", OF_TWO)
def test_a_compiled_jvp_has_them_too(name):
    def along(a, b, s, t):
        return tracegrad.func.jvp(lambda a, b: OF_TWO[name](tracegrad, a, b), (a, b), (s, t))[1]

    args = [tracegrad.tensor(v) for v in (TIED, OTHER)]
    args += [tracegrad.arange(1.0, 7.0), tracegrad.arange(7.0, 13.0)]
    assert str(tracegrad.compile(along)(*args)) == str(along(*args))


def jacobian(T, function):
    return T.func.jacfwd(function)(T.tensor([0.5, 2.0])).tolist()


@pytest.mark.parametrize("stopped", [
    lambda T, f: T.no_grad()(f),
    lambda T, f: T.set_grad_enabled(False)(f),
    lambda T, f: T.inference_mode()(f),
    lambda T, f: lambda x: T.no_grad()(lambda: T.enable_grad()(f)(x))(),
    lambda T, f: T.func.grad(lambda x: f(x).sum()),
    lambda T, f: lambda x: f(x.detach()),
], ids=["no_grad", "set_grad_enabled", "inference_mode", "nested", "reverse within", "detach"])
def test_what_stops_a_tangent(stopped):
    mine, theirs = (jacobian(T, lambda x: stopped(T, lambda t: t * t)(x) * x)  # noqa: B023
                    for T in (tracegrad, torch))
    assert mine == theirs


def test_what_the_user_sees_of_grad_mode():
    seen = {}
    for T in (tracegrad, torch):
        def function(x, T=T):
            modes = [T.is_grad_enabled()]
            with T.no_grad():
                modes.append(T.is_grad_enabled())
                with T.enable_grad():
                    modes.append(T.is_grad_enabled())
            seen[T] = [*modes, T.is_grad_enabled()]
            return x * 1

        T.func.jvp(function, (T.ones(2),), (T.ones(2),))
        assert T.is_grad_enabled()
    assert seen[tracegrad] == seen[torch]


def test_reverse_mode_is_as_it_was():
    x = tracegrad.tensor([0.0, 1.0], requires_grad=True)
    tracegrad.fmax(x, x.detach()).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    rows = tracegrad.func.jacrev(lambda w: tracegrad.nn.functional.prelu(w, tracegrad.ones(1) / 4))
    assert rows(x.detach()).tolist() == [[0.25, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("both", [
    lambda f: tracegrad.func.jacfwd(tracegrad.func.grad(f)),
    lambda f: tracegrad.func.grad(tracegrad.func.jacfwd(f)),
], ids=["forward over reverse", "reverse over forward"])
def test_no_grad_in_both_modes_is_refused(both):
    def f(x):
        with tracegrad.no_grad():
            y = x.sin()
        return y * x

    with pytest.raises(NotImplementedError, match="no_grad stops the reverse mode but not the"):
        both(f)(tracegrad.tensor(0.5))


def test_a_checkpoint_has_the_tangents_of_its_function():
    def through(function):
        return tracegrad.func.jvp(function, (x,), (x,))[1].tolist()

    def function(x):
        with tracegrad.no_grad():
            y = x * x
        return y * tracegrad.fmax(x, x.detach())

    x = tracegrad.tensor([1.0, 3.0])
    checkpoint = tracegrad.utils.checkpoint.checkpoint
    assert through(lambda x: checkpoint(function, x, use_reentrant=False)) == through(function)


def test_running_statistics_have_no_tangents():
    mean, var = tracegrad.zeros(2), tracegrad.ones(2)
    x = tracegrad.tensor([[1.0, 2.0], [3.0, 5.0]])
    norm = tracegrad.nn.functional.batch_norm
    tracegrad.func.jvp(lambda x: norm(x, mean, var, training=True), (x,), (x,))
    assert not mean.requires_grad and mean.tolist() != [0.0, 0.0]


def dual_pushed(T, function):
    level, (a, b) = T.autograd.forward_ad, (T.tensor(values) for values in (TIED, OTHER))
    with level.dual_level():
        a = level.make_dual(a, T.arange(1.0, 7.0))
        b = level.make_dual(b, T.arange(7.0, 13.0))
        out = function(T, a, b)
        out = [level.unpack_dual(y) for y in (out if isinstance(out, tuple) else (out,))]
    assert T.is_grad_enabled()
    return [part.tolist() for kind in zip(*out, strict=True) for part in kind]


@pytest.mark.parametrize("name", OF_TWO)
def test_dual_numbers_have_the_same_tangents(name):
    assert str(dual_pushed(tracegrad, OF_TWO[name])) == str(pushed(tracegrad, OF_TWO[name]))


def test_no_grad_stops_no_tangent_of_a_dual_number():
    for T in (tracegrad, torch):
        level, x = T.autograd.forward_ad, T.tensor([1.0, 3.0])
        with level.dual_level():
            d = level.make_dual(x, T.ones(2))
            with T.no_grad():
                y = d * d
                assert not T.is_grad_enabled()
            assert level.unpack_dual(y).tangent.tolist() == [2.0, 6.0]
        with T.no_grad():
            with level.dual_level():
                y = level.make_dual(x, T.ones(2)).exp()
                assert level.unpack_dual(y).tangent.tolist() == x.exp().tolist()
            assert not T.is_grad_enabled()
        assert T.is_grad_enabled()
        assert not (x * 2).requires_grad
        with level.dual_level():
            T.set_grad_enabled(False)
        assert not T.is_grad_enabled()
        T.set_grad_enabled(True)


def test_what_a_dual_level_refuses():
    level, w = tracegrad.autograd.forward_ad, tracegrad.ones(2, requires_grad=True)
    with level.dual_level():
        d = level.make_dual(w * 1, tracegrad.ones(2))
        with tracegrad.no_grad():
            y = d * w
        with pytest.raises(NotImplementedError, match="stops the reverse mode"):
            level.unpack_dual(y)
    level.enter_dual_level()
    with tracegrad.no_grad(), pytest.raises(RuntimeError, match="grad mode in which"):
        level.exit_dual_level()
    level.exit_dual_level()
    assert tracegrad.fmax(w, w.detach()).sum().grad_fn is not None
    with pytest.raises(RuntimeError, match="without a dual_level"):
        level.exit_dual_level()


@pytest.mark.parametrize("name", ["xlogy", "xlog1py"])
def test_tangents_of_a_product_with_a_logarithm_that_is_none(name):
    inf, nan = float("inf"), float("nan")

    def tangents(T, *numbers):
        a, b, s, t = (T.tensor(n) for n in numbers)
        return T.func.jvp(getattr(T.special, name), (a, b), (s, t))[1].item() + 0.0

    for a in (0.0, 2.0, -1.0, inf, nan):
        for b in (0.0, 1.0, -1.0, -3.0, inf, nan):
            for s, t in ((0.0, 0.0), (1.0, 0.0), (-2.0, 1.0), (0.0, 1.0)):
                numbers = a, b, s, t
                assert str(tangents(tracegrad, *numbers)) == str(tangents(torch, *numbers)), numbers


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["min", "max", "median", "nanmedian", "amin", "fmax", "xlogy"])
def test_a_value_and_a_tangent_have_the_dtype_of_the_function(name, dtype):
    for T in (torch, tracegrad):
        f = getattr(T, name)
        x = T.tensor([1.0, 2.0, 0.5], dtype=getattr(T, dtype))
        call = (lambda t, f=f: f(t, t)) if name in ("fmax", "xlogy") else f
        value, tangent = T.func.jvp(call, (x,), (x,))
        assert value.dtype is tangent.dtype is x.dtype


def test_a_value_that_is_its_primal_is_another_object_in_the_same_memory():
    for T in (torch, tracegrad):
        x = T.ones(2)
        value, _ = T.func.jvp(lambda t: t, (x,), (x,))
        assert value is not x and value._is_view() and value.data_ptr() == x.data_ptr()
        assert T.func.vjp(lambda t: t, x)[0] is x
