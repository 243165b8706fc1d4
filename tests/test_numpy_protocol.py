"""Functions written with NumPy mean on Tensors what they mean on arrays, and have gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.testing import assert_kernels

RNG = np.random.default_rng(0)
X, Y, V = RNG.uniform(0.2, 0.9, (3, 4)), RNG.uniform(1.1, 2.0, (4, 3)), RNG.uniform(0.2, 0.9, 4)
B = RNG.uniform(0.2, 0.9, (2, 3, 4))

# written with NumPy alone, of float64 arrays x (3, 4), y (4, 3), v (4,) and b (2, 3, 4)
PROGRAMS = {
    "ufuncs": [
        "np.tanh(x) @ y", "np.exp(x) + np.log(x)", "np.maximum(x, 0.5)", "np.minimum(0.5, x)",
        "np.add(1, x)", "np.subtract(1, x)", "np.true_divide(1, x)", "np.power(x, 3)",
        "np.power(2.0, x)", "np.hypot(x, 3)", "np.arctan2(x, v)", "np.absolute(-x)", "np.fabs(x)",
        "np.square(x) * np.sqrt(x)", "np.logaddexp(x, v)", "np.arcsin(x)", "np.cbrt(x)",
        "np.reciprocal(x)", "np.where(np.greater(x, 0.5), x, v)", "np.matmul(x, y)",
        "np.divmod(x, 0.25)[1]", "np.float64(2) * x", "np.ones((3, 4)) * x", "np.ones((2, 3)) @ x",
        "x + np.ones(4)", "x @ np.ones((4, 2))", "np.rint(x)", "np.sign(x)", "np.isnan(x)",
        "np.logical_and(x > 0.3, x < 0.6)", "np.exp2(x)", "np.log1p(np.expm1(x))",
        "np.deg2rad(x)", "np.copysign(x, -1)", "np.heaviside(x - 0.5, 0.5)", "np.fmod(x, 0.3)",
    ],
    "reductions": [
        "np.sum(x)", "np.sum(x, axis=0)", "np.sum(x, 1, keepdims=True)", "np.sum(b, axis=(0, 2))",
        "np.mean(x, axis=-1)", "np.std(x)", "np.var(x, axis=0, ddof=1)",
        "np.max(x, axis=1)", "np.min(x)", "np.amax(x, 0, keepdims=True)", "np.prod(x, axis=1)",
        "np.all(x > 0)", "np.any(x > 0.8, axis=0)", "np.argmax(x, axis=1)", "np.argmin(x)",
        "np.count_nonzero(x > 0.5)", "np.ptp(x, axis=1)", "np.average(x, axis=1, weights=v)",
        "np.cumsum(x)", "np.cumsum(x, axis=1)", "np.cumprod(x, 0)", "np.nansum(x, axis=0)",
        "np.trace(x)", "np.median(x, axis=0)", "np.quantile(x, 0.3)", "np.diff(x)",
        "np.gradient(x)[1]", "np.gradient(x, 0.5, axis=1)", "np.gradient(v, np.arange(4.0) ** 2)",
        "np.gradient(x, 2, 3, edge_order=2)[0]", "np.percentile(x, 50)", "np.trapezoid(x, dx=0.5)",
        "np.nanmean(x, 0)", "np.cov(x)",
    ],
    "movement": [
        "np.transpose(x)", "np.transpose(b, (2, 0, 1))", "np.reshape(x, (2, -1))", "np.ravel(x)",
        "np.squeeze(x[None])", "np.expand_dims(x, 1)", "np.swapaxes(b, 0, 2)", "np.flip(x)",
        "np.moveaxis(b, 0, -1)", "np.broadcast_to(v, (3, 4))", "np.tile(x, (2, 1))", "np.flipud(x)",
        "np.repeat(x, 2, axis=1)", "np.flip(x, 1)", "np.roll(x, 1)", "np.roll(x, (1, 2), (0, 1))",
        "np.rot90(x)", "np.tril(x)", "np.triu(x, k=1)", "np.diag(v)", "np.diagonal(b, 0, 1, 2)",
        "np.concatenate([x, y.T])", "np.concatenate((x, v), axis=None)", "np.stack([x, x + 1], -1)",
        "np.vstack([x, v])", "np.hstack([x, x])", "np.dstack([x, x])", "np.column_stack([v, v])",
        "np.split(x, 2, axis=1)[1]", "np.array_split(x, 2)[0]", "np.hsplit(x, 2)[0]",
        "np.take(x, [2, 0], axis=1)", "np.take_along_axis(x, np.argsort(x, 1), 1)",
        "np.meshgrid(v, x[:, 0])[0]", "np.copy(x)", "np.sort(x, axis=0)", "np.sort(x)",
        "np.argsort(x, axis=0)", "np.clip(x, 0.3, 0.7)", "np.nan_to_num(x)", "np.atleast_2d(v)",
        "np.where(x > 0.5)[0]", "np.nonzero(x > 0.5)[1]", "np.zeros_like(x) + x",
        "np.full_like(x, 2) * x", "np.matrix_transpose(x)", "x[np.array([2, 0])]",
        "np.broadcast_arrays(x, v)[1]", "np.round(x, decimals=1)",
        "np.rot90(x, k=2)", "np.expand_dims(x, (0, -1))", "np.block([[x, x], [v, v]])",
        "np.block([v, 2.0])", "np.take(x, -1, axis=1)",
    ],
    "products": [
        "np.dot(x, y)", "np.dot(v, v)", "np.dot(b, y)", "np.dot(2, x)", "np.inner(x, x)",
        "np.outer(v, x)", "np.vdot(v, v)", "np.tensordot(b, x, 2)", "np.kron(x, v)",
        "np.tensordot(b, x, axes=((1, 2), (0, 1)))", "np.einsum('ij,jk->ik', x, y)",
        "np.einsum('bij,j->bi', b, v, optimize=True)", "np.cross(x[:, :3], y[:3])",
    ],
    "linalg": [
        "np.linalg.norm(x)", "np.linalg.norm(x, axis=1)", "np.linalg.norm(x, 'fro')",
        "np.linalg.inv(x @ x.T)", "np.linalg.det(x @ y)", "np.linalg.solve(x @ y, x)",
        "np.linalg.slogdet(x @ x.T)[1]", "np.linalg.cholesky(x @ x.T)", "np.linalg.pinv(x)",
        "np.linalg.eigvalsh(x @ x.T)", "np.linalg.eigh(x @ x.T)[0]", "np.linalg.qr(y)[1]",
        "np.linalg.svd(x, full_matrices=False)[1]", "np.linalg.matrix_power(x @ y, 3)",
        "np.linalg.multi_dot([x, y, x])", "np.linalg.svd(x, compute_uv=False)",
        "np.linalg.matrix_rank(x)",
    ],
    "questions": [
        "np.shape(x)", "np.ndim(b)", "np.size(x)", "np.allclose(x, x + 1e-12)",
        "np.array_equal(x, x)", "np.isclose(x, v)", "np.searchsorted(np.sort(v), x)",
        "np.digitize(x, np.array([0.2, 0.5, 0.8]))", "np.histogram(x)[0]",
    ],
}
ALL = [program for group in PROGRAMS.values() for program in group]


def run(program: str, x, y, v, b):
    return eval(program, {"np": np, "x": x, "y": y, "v": v, "b": b})


def tensors() -> list[tg.Tensor]:
    return [tg.tensor(a) for a in (X, Y, V, B)]


def numbers(answer) -> np.ndarray:
    return np.asarray(answer.detach() if isinstance(answer, tg.Tensor) else answer)


@pytest.mark.parametrize("program", ALL)
def test_a_function_of_arrays_is_one_of_tensors(program):
    want, got = run(program, X, Y, V, B), run(program, *tensors())
    assert isinstance(got, tg.Tensor) or not isinstance(want, np.ndarray) or "histogram" in program
    np.testing.assert_allclose(numbers(got), want, rtol=1e-12)
    assert np.shape(numbers(got)) == np.shape(want)


STEPS = (
    "np.where(x > 0.5)", "np.nonzero", "np.count_nonzero", "np.argmax", "np.argmin", "np.argsort",
    "np.all", "np.any", "np.isnan", "np.logical_and", "np.linalg.matrix_rank", "np.heaviside",
)
SMOOTH = [p for group in PROGRAMS if group != "questions" for p in PROGRAMS[group]
          if not p.startswith(STEPS)]


def loss(program: str, x, y, v, b):
    out = run(program, x, y, v, b)
    return (out * tg.cos(out.detach() * 3)).sum()


@pytest.mark.parametrize("program", SMOOTH)
def test_it_has_the_gradient_that_differences_show(program):
    args = [t.requires_grad_() for t in tensors()]
    grads = tg.autograd.grad(loss(program, *args), args, allow_unused=True)
    weights = np.cos(numbers(run(program, X, Y, V, B)) * 3)
    for k, g in enumerate(grads):
        if g is None:
            continue
        step = RNG.uniform(-1, 1, g.shape)

        def at(h, k=k, step=step):
            moved = [a + h * step if i == k else a for i, a in enumerate((X, Y, V, B))]
            return (numbers(run(program, *moved)) * weights).sum()

        slope = (at(1e-6) - at(-1e-6)) / 2e-6
        assert (numbers(g) * step).sum() == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("program", [*SMOOTH[:24:4], *SMOOTH[40:100:6], *PROGRAMS["products"][:6]])
def test_it_compiles_with_its_gradient(program):
    @tg.compile
    def both(x, y, v, b):
        total = loss(program, x, y, v, b)
        return total, *tg.autograd.grad(total, [x, y, v, b], materialize_grads=True)

    args = [t.requires_grad_() for t in tensors()]
    total = loss(program, *args)
    want = (total, *tg.autograd.grad(total, args, materialize_grads=True))
    for a, b in zip(both(*args), want, strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-9, atol=1e-12)


def test_a_program_of_numpy_fuses():
    def softmax(x):
        e = np.exp(x - np.max(x, axis=1, keepdims=True))
        return e / np.sum(e, axis=1, keepdims=True)

    x = tg.tensor(X)
    compiled = tg.compile(softmax)
    np.testing.assert_allclose(numbers(compiled(x)), softmax(X))
    assert_kernels(compiled, 1)


def test_numpy_writes_into_arrays():
    x = tg.tensor(X)
    with pytest.raises(TypeError, match="add.reduce is not defined for Tensors"):
        np.add.reduce(x)
    with pytest.raises(TypeError, match="out="):
        np.sum(x, out=np.empty(()))
    array = X.copy()
    with pytest.raises(TypeError, match="detach"):
        array += x.clone().requires_grad_()
    np.testing.assert_array_equal(array, X)
    array += x
    np.testing.assert_array_equal(array, X + X)


MASK = X > 0.5
WRITES = {  # of arrays or Tensors x and m, into o
    "np.add(x, 1, out=o)": (3, 4), "np.exp(x, o)": (3, 4), "np.multiply(x, x[0], out=o)": (3, 4),
    "np.add(x[0], 1, out=o)": (3, 4), "np.sqrt(x, out=o, where=m)": (3, 4),
    "np.add(x, x, out=o, where=m, dtype=np.float64, casting='same_kind')": (3, 4),
    "np.matmul(x, x.T, out=o)": (3, 3), "np.sum(x, axis=0, out=o)": (4,),
    "np.sum(x, 0, None, o)": (4,), "np.mean(x, 1, None, o)": (3,), "np.dot(x, x.T, o)": (3, 3),
    "np.cumsum(x, axis=1, out=o)": (3, 4), "np.max(x, axis=0, out=o)": (4,),
    "np.concatenate([x, x], out=o)": (6, 4), "np.add(x, x, out=x) * o": (3, 4),
}
KEYWORDS = [
    "np.exp(x, dtype=np.float32)", "np.add(x, 1, dtype=np.float64)", "np.sum(x, where=m)",
    "np.sum(x, axis=1, initial=2.0)", "np.prod(x, axis=0, where=m, initial=0.5)",
    "np.max(x, axis=1, initial=0.6)", "np.min(x, where=m, initial=9.0)", "np.any(m, where=m)",
    "np.all(m, axis=0, where=m)", "np.array_equal(x, x)", "np.array_equal(x, x[0])",
    "np.array_equal(n, n)", "np.array_equal(n, n, equal_nan=True)", "np.array_equal(x, n, True)",
    "np.array_equiv(x[:1], x[0])", "np.array_equiv(x, x.T)", "np.allclose(n, n, equal_nan=True)",
    "np.meshgrid(x[0], x[1], sparse=True)[0]", "np.meshgrid(x[0], x[:, 0], sparse=True)[1]",
    "np.meshgrid(x[0], x[1], x[2], sparse=True, indexing='ij')[2]",
]


def _places(of):
    holes = np.where(MASK, X, np.nan)
    return {"x": of(X.copy()), "m": of(MASK), "n": of(holes), "np": np}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("program", WRITES)
def test_numpy_writes_into_the_tensor_that_it_is_given(program, compiled):
    def run(**names):
        return eval(program, names | {"np": np})

    want, given = _places(np.array), _places(tg.tensor)
    out = {"o": np.full(WRITES[program], 7.0)}
    mine = {"o": tg.tensor(out["o"])}
    expected = run(**want | out)
    found = (tg.compile(run) if compiled else run)(**{k: v for k, v in (given | mine).items()
                                                      if k != "np"})
    np.testing.assert_allclose(numbers(found), expected)
    np.testing.assert_allclose(numbers(mine["o"]), out["o"])
    np.testing.assert_allclose(numbers(given["x"]), want["x"])
    assert found is mine["o"] or "* o" in program


@pytest.mark.parametrize("program", KEYWORDS)
def test_keywords_mean_what_numpy_says(program):
    expected, found = eval(program, _places(np.array)), eval(program, _places(tg.tensor))
    if isinstance(expected, bool):
        assert found is expected
    else:
        assert str(expected.dtype) == str(found.dtype).split(".")[-1]
        np.testing.assert_allclose(numbers(found), expected)


def test_what_numpy_may_not_write_is_refused_and_nothing_written():
    x, out = tg.tensor(X), tg.ones(3, 4)
    for error, write in (
        (ValueError, lambda: np.add(x, 1, out=tg.ones(3))),
        (TypeError, lambda: np.add(x, 1, out=tg.ones(3, 4, dtype=tg.int64))),
        (TypeError, lambda: np.divmod(x, 2, out=(out, tg.ones(3, 4, dtype=tg.bool)))),
        (RuntimeError, lambda: np.divmod(x, 2, out=(out, tg.ones(1, 4).expand(3, 4)))),
        (RuntimeError, lambda: np.exp(x, out=tg.ones(3, 4, requires_grad=True))),
        (TypeError, lambda: np.exp(x, where=x > 0.5)),
        (TypeError, lambda: np.exp(x, casting="unsafe")),
        (TypeError, lambda: np.sum(x, 0, None, np.empty(4))),
        (ValueError, lambda: np.max(x, where=x > 0.5)),
    ):
        with pytest.raises(error):
            write()
    assert out.tolist() == np.ones((3, 4)).tolist()


def test_what_has_no_counterpart_is_numpys_unless_it_would_lose_a_gradient():
    x = tg.tensor(V)
    np.testing.assert_array_equal(np.packbits(x > 0.5), np.packbits(V > 0.5))
    with pytest.raises(TypeError, match="np.interp has no counterpart"):
        np.interp(x.requires_grad_(), V, V)
    with pytest.raises(TypeError, match="np.interp has no counterpart"):
        tg.compile(lambda x: np.interp(x, V, V))(x.detach())
