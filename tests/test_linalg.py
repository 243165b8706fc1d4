"""Linear algebra against torch: values, gradients and second gradients, refusals, singular
matrices; eager and compiled.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")


def strong(a):
    """Far from singular, singular values far from each other."""
    k = min(a.shape[-2:])
    return 0.3 * a + np.eye(*a.shape[-2:]) * np.pad(np.arange(k) + 2.0, (0, a.shape[-1] - k))


def definite(a):
    return strong(a) @ np.swapaxes(strong(a), -1, -2)


def symmetric(x):
    return (x + x.mT) / 2


def plain(a):
    return a


def condition(lib, a, p):
    """torch writes over what its own second gradient needs."""
    if lib is tg:
        return tg.linalg.cond(a, p)
    return torch.linalg.norm(a, p) * torch.linalg.norm(torch.linalg.inv(a), p)


# name -> (function of the library and tensors, what is made of random numbers, shapes)
CASES = {
    "cholesky": (lambda t, a: t.linalg.cholesky(symmetric(a)), definite, (2, 3, 3)),
    "cholesky-upper": (lambda t, a: t.linalg.cholesky(symmetric(a), upper=True), definite, (3, 3)),
    "cholesky_ex": (lambda t, a: t.linalg.cholesky_ex(symmetric(a)), definite, (2, 3, 3)),
    "inv": (lambda t, a: t.linalg.inv(a), strong, (2, 3, 3)),
    "inverse": (lambda t, a: a.inverse(), strong, (3, 3)),
    "inv_ex": (lambda t, a: t.linalg.inv_ex(a), strong, (2, 3, 3)),
    "solve": (lambda t, a, b: t.linalg.solve(a, b @ b.mT), strong, (2, 3, 3), (3, 2)),
    "solve-vector": (lambda t, a, b: t.linalg.solve(a, b), strong, (3, 3), (3,)),
    "solve-vectors": (lambda t, a, b: t.linalg.solve(a, b), strong, (2, 3, 3), (2, 3)),
    "solve-right": (lambda t, a, b: t.linalg.solve(a, b, left=False), strong, (2, 3, 3), (2, 4, 3)),
    "solve_ex": (lambda t, a, b: t.linalg.solve_ex(a, b), strong, (2, 3, 3), (2, 3, 2)),
    "solve_triangular": (
        lambda t, a, b: t.linalg.solve_triangular(a, b, upper=True), strong, (2, 3, 3), (3, 2)),
    "solve_triangular-right": (
        lambda t, a, b: t.linalg.solve_triangular(
            a, b, upper=False, left=False, unitriangular=True),
        strong, (2, 3, 3), (4, 3)),
    "triangular_solve": (
        lambda t, a, b: t.triangular_solve(b, a, upper=False, transpose=True)[0],
        strong, (3, 3), (3, 2)),
    "cholesky_solve": (lambda t, a, b: t.cholesky_solve(b, a.tril()), strong, (3, 3), (3, 2)),
    "cholesky_inverse": (lambda t, a: t.cholesky_inverse(a.triu(), upper=True), strong, (3, 3)),
    "det": (lambda t, a: t.det(a), strong, (2, 3, 3)),
    "slogdet": (lambda t, a: t.linalg.slogdet(-a), strong, (2, 3, 3)),
    "logdet": (lambda t, a: t.logdet(a), strong, (2, 3, 3)),
    "lu": (lambda t, a: t.linalg.lu(a), strong, (2, 3, 3)),
    "lu-tall": (lambda t, a: t.linalg.lu(a), plain, (4, 3)),
    "lu-wide": (lambda t, a: t.linalg.lu(a), plain, (2, 4)),
    "lu_factor": (lambda t, a: t.linalg.lu_factor(a), plain, (2, 3, 3)),
    "lu_factor_ex": (lambda t, a: t.linalg.lu_factor_ex(a), plain, (3, 4)),
    "lu_unpack": (lambda t, a: t.lu_unpack(*t.linalg.lu_factor(a)), plain, (2, 4, 3)),
    "lu_solve": (lambda t, a, b: t.linalg.lu_solve(*t.linalg.lu_factor(a), b), plain,
                 (2, 3, 3), (3, 2)),
    "lu_solve-right": (
        lambda t, a, b: t.linalg.lu_solve(*t.linalg.lu_factor(a), b, left=False, adjoint=True),
        plain, (3, 3), (2, 3)),
    "qr": (lambda t, a: t.linalg.qr(a), strong, (2, 4, 3)),
    "qr-wide": (lambda t, a: t.linalg.qr(a, mode="complete"), strong, (3, 4)),
    "eigh": (lambda t, a: (lambda w, v: (w, v * v))(*t.linalg.eigh(symmetric(a))), definite,
             (2, 3, 3)),
    "eigvalsh": (lambda t, a: t.linalg.eigvalsh(symmetric(a), UPLO="U"), definite, (2, 3, 3)),
    "svd": (lambda t, a: (lambda u, s, v: (u * u, s, v * v))(
        *t.linalg.svd(a, full_matrices=False)), strong, (2, 4, 3)),
    "svd-full": (lambda t, a: (lambda u, s, v: (u[..., :2] ** 2, s, v[:2] ** 2))(
        *t.linalg.svd(a)), strong, (4, 2)),
    "svdvals": (lambda t, a: t.linalg.svdvals(a), strong, (2, 3, 4)),
    "old-svd": (lambda t, a: t.svd(a).S, strong, (3, 4)),
    "pinv": (lambda t, a: t.linalg.pinv(a), strong, (2, 4, 3)),
    "pinv-wide": (lambda t, a: t.pinverse(a), strong, (2, 4)),
    "pinv-hermitian": (lambda t, a: t.linalg.pinv(symmetric(a), hermitian=True), definite, (3, 3)),
    "lstsq": (lambda t, a, b: t.linalg.lstsq(a, b).solution, strong, (4, 2), (4, 3)),
    "lstsq-gels": (lambda t, a, b: t.linalg.lstsq(a, b, driver="gels")[:2], strong,
                   (2, 4, 2), (2, 4, 3)),
    "matrix_rank": (lambda t, a: (t.linalg.matrix_rank(a), a), plain, (2, 4, 3)),
    "cond": (lambda t, a: t.linalg.cond(a), strong, (2, 4, 3)),
    "cond-1": (lambda t, a: condition(t, a, 1), strong, (3, 3)),
    "cond-fro": (lambda t, a: condition(t, a, "fro"), strong, (3, 3)),
    "norm-nuc": (lambda t, a: t.linalg.norm(a, "nuc", dim=(0, 2)), strong, (3, 2, 4)),
    "norm-2": (lambda t, a: t.linalg.matrix_norm(a, -2, keepdim=True), strong, (2, 4, 3)),
    "norm-1": (lambda t, a: t.linalg.matrix_norm(a, 1, dim=(1, 0)), plain, (4, 3, 2)),
    "norm-inf": (lambda t, a: t.linalg.norm(a, -math.inf), plain, (4, 3)),
    "norm-fro": (lambda t, a: t.linalg.matrix_norm(a, keepdim=True), plain, (2, 4, 3)),
    "vector_norm": (lambda t, a: t.linalg.vector_norm(a, 3, dim=-1), plain, (2, 4)),
    "matrix_exp": (lambda t, a: t.linalg.matrix_exp(a), plain, (2, 3, 3)),
    "matrix_exp-large": (lambda t, a: t.matrix_exp(a * 3), plain, (3, 3)),
    "matrix_power": (lambda t, a: t.linalg.matrix_power(a, 5), plain, (2, 3, 3)),
    "matrix_power-inverse": (lambda t, a: t.matrix_power(a, -3), strong, (3, 3)),
    "multi_dot": (lambda t, *x: t.linalg.multi_dot(x), plain, (5,), (5, 1), (1, 4), (4,)),
    "vecdot": (lambda t, a, b: t.linalg.vecdot(a, b, dim=0), plain, (3, 2), (3, 1)),
    "tensorinv": (lambda t, a: t.linalg.tensorinv(a, 1), plain, (6, 2, 3)),
    "tensorsolve": (lambda t, a, b: t.linalg.tensorsolve(a, b), plain, (2, 3, 6), (2, 3)),
    "vander": (lambda t, a: t.linalg.vander(a, N=4), plain, (2, 3)),
    "householder": (lambda t, a, b: t.linalg.householder_product(a, b), plain, (2, 4, 3), (2, 2)),
    "diagonal": (lambda t, a: t.linalg.diagonal(a, offset=1), plain, (2, 3, 4)),
    "cross": (lambda t, a, b: t.linalg.cross(a, b), plain, (2, 3), (1, 3)),
}


def inputs_of(name):
    _, make, *shapes = CASES[name]
    rng = np.random.default_rng(len(name))
    first, *rest = (rng.uniform(-1, 1, s) for s in shapes)
    return [make(first), *rest]


def floats(answer):
    parts = answer if isinstance(answer, (tuple, list)) else (answer,)
    return [t for t in parts if t.is_floating_point() and t.requires_grad]


def derivatives(lib, function, xs):
    """All values, the gradients of their weighted sum, and the gradients of what these are."""
    answer = function(lib, *xs)
    parts = list(answer) if isinstance(answer, (tuple, list)) else [answer]
    total = sum(((t * t + t) * lib.cos(t.detach() * 0 + 0.7)).sum() for t in floats(answer))
    first = lib.autograd.grad(total, xs, create_graph=True, allow_unused=True)
    first = [g for g in first if g is not None]
    second = lib.autograd.grad(sum((g * g).sum() for g in first), xs, allow_unused=True)
    return [*parts, *first, *(g for g in second if g is not None)]


def leaves(lib, name):
    return [lib.tensor(a, dtype=lib.float64).requires_grad_() for a in inputs_of(name)]


@pytest.mark.parametrize("name", CASES)
def test_values_and_two_gradients_are_torchs(name):
    mine, theirs = (derivatives(lib, CASES[name][0], leaves(lib, name)) for lib in (tg, torch))
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-8, atol=1e-8)


SINGULAR = [[1.0, 1.0], [1.0, 1.0]]
STACK = [[[1.0, 0.0], [0.0, 1.0]], SINGULAR]
REFUSED = [
    lambda t: t.linalg.cholesky(t.ones(2, 3)),
    lambda t: t.linalg.cholesky(t.ones(3)),
    lambda t: t.linalg.inv(t.ones(2, 2, dtype=t.int32)),
    lambda t: t.linalg.inv(t.ones(2, 2, dtype=t.float16)),
    lambda t: t.linalg.solve(t.ones(2, 2), t.ones(3, 2)),
    lambda t: t.linalg.solve(t.ones(2, 2, dtype=t.float64), t.ones(2, 2)),
    lambda t: t.linalg.solve_triangular(t.ones(2, 2), t.ones(3, 3), upper=True, left=False),
    lambda t: t.linalg.solve_triangular(t.ones(2, 2), t.ones(2), upper=True),
    lambda t: t.triangular_solve(t.ones(3), t.ones(2, 2)),
    lambda t: t.cholesky_solve(t.ones(3, 3), t.ones(2, 2)),
    lambda t: t.linalg.lstsq(t.ones(2, 3), t.ones(3, 3)),
    lambda t: t.linalg.lstsq(t.ones(2, 3), t.ones(2, 3), driver="x"),
    lambda t: t.linalg.qr(t.ones(2, 3), mode="x"),
    lambda t: t.linalg.eigh(t.ones(2, 2), UPLO="x"),
    lambda t: t.linalg.matrix_norm(t.ones(2, 2), 3),
    lambda t: t.linalg.matrix_norm(t.ones(2, 2), "nuc", (0, 0)),
    lambda t: t.linalg.norm(t.ones(2, 2, 2), 2),
    lambda t: t.linalg.cond(t.ones(2, 3), 1),
    lambda t: t.linalg.cond(t.ones(2, 2), 7),
    lambda t: t.linalg.tensorinv(t.ones(4, 2, 3)),
    lambda t: t.linalg.tensorinv(t.ones(4, 2, 2), 0),
    lambda t: t.linalg.tensorsolve(t.ones(2, 3, 5), t.ones(2, 3)),
    lambda t: t.linalg.vander(t.ones(3), N=1),
    lambda t: t.linalg.multi_dot([t.ones(2)]),
    lambda t: t.linalg.multi_dot([t.ones(2, 3), t.ones(4, 5)]),
    lambda t: t.linalg.multi_dot([t.ones(2, 3), t.ones(3, 3, 3), t.ones(3, 2)]),
    lambda t: t.linalg.matrix_power(t.ones(2, 3), 2),
    lambda t: t.linalg.vector_norm(t.ones(0), math.inf),
]
FAILING = [
    lambda t, x: t.linalg.cholesky(x),
    lambda t, x: t.cholesky(x),
    lambda t, x: t.linalg.cholesky_ex(x, check_errors=True),
    lambda t, x: t.linalg.inv(x),
    lambda t, x: t.linalg.inv_ex(x, check_errors=True),
    lambda t, x: t.linalg.solve(x, x),
    lambda t, x: t.linalg.lu_factor(x),
    lambda t, x: t.linalg.svd(x / 0.0 * 0.0),
]


@pytest.mark.parametrize("call", REFUSED, ids=range(len(REFUSED)))
def test_refusals_are_torchs(call):
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011
        call(torch)
    with pytest.raises(RuntimeError) as mine:
        call(tg)
    assert str(theirs.value).split("\n")[0] == str(mine.value)


@pytest.mark.parametrize("values", [SINGULAR, STACK], ids=["one", "stack"])
@pytest.mark.parametrize("call", FAILING, ids=range(len(FAILING)))
def test_matrices_without_the_factor_are_refused_in_torchs_words(call, values):
    with pytest.raises(RuntimeError) as theirs:
        call(torch, torch.tensor(values))
    with pytest.raises(tg.linalg.LinAlgError) as mine:
        call(tg, tg.tensor(values))
    assert str(theirs.value) == str(mine.value)


@pytest.mark.parametrize("call", [FAILING[k] for k in (0, 3, 5)], ids=range(3))
def test_a_compiled_program_that_finds_no_factor_writes_nothing(call):
    counter = tg.zeros(())

    @tg.compile
    def step(x):
        counter.add_(1)
        return call(tg, x)

    step(3 * tg.eye(2).expand(2, 2, 2).clone())
    with pytest.raises(tg.linalg.LinAlgError) as eager:
        call(tg, tg.tensor(STACK))
    with pytest.raises(tg.linalg.LinAlgError) as compiled:
        step(tg.tensor(STACK))
    assert str(compiled.value) == str(eager.value)
    assert counter.item() == 1
    step(3 * tg.eye(2).expand(2, 2, 2).clone())
    assert counter.item() == 2


def test_compiled_singular_values_of_no_numbers_are_refused():
    with pytest.raises(tg.linalg.LinAlgError, match="element 1.*contained non-finite values"):
        tg.compile(tg.linalg.svdvals)(tg.tensor([[[1.0]], [[math.nan]]]))


COMPILED = ["cholesky-upper", "solve-right", "lu-tall", "qr", "eigh"]
COMPILED_TOO = ["cholesky_solve", "slogdet", "lu_solve", "qr-wide", "svd-full", "pinv", "norm-nuc"]


@pytest.mark.parametrize(
    "name", [*COMPILED, *(pytest.param(name, marks=pytest.mark.slow) for name in COMPILED_TOO)]
)
def test_compiled_is_eager_to_second_order(name):
    function = CASES[name][0]

    def step(*xs):
        return tuple(derivatives(tg, function, list(xs)))

    xs = leaves(tg, name)
    for mine, wanted in zip(tg.compile(step)(*xs), step(*xs), strict=True):
        np.testing.assert_allclose(
            mine.detach().numpy(), wanted.detach().numpy(), rtol=1e-8, atol=1e-8
        )


def test_compiled_factors_of_floats_empty_and_transposed_matrices():
    def step(a, b):
        u, s, vh = tg.linalg.svd(a.mT)
        q, r = tg.linalg.qr(a, mode="complete")
        return u, s, vh, q, r, *tg.linalg.lu_factor(a.mT), tg.linalg.eigvalsh(b), tg.linalg.inv(b)

    for shape in ((4, 2), (2, 0), (0, 2), (3, 2, 0), (5, 3, 3)):
        a = tg.tensor(np.random.default_rng(0).uniform(-1, 1, shape), dtype=tg.float32)
        b = a.mT @ a + tg.eye(shape[-1])
        for mine, wanted in zip(tg.compile(step)(a, b), step(a, b), strict=True):
            np.testing.assert_allclose(mine.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_what_has_no_factor_is_told_by_info():
    for values in (STACK, [[[2.0, 1], [1, 2]], [[-1, 0], [0, 1]]]):
        mine, theirs = (
            (t.linalg.cholesky_ex(t.tensor(values)).info, t.linalg.inv_ex(t.tensor(values)).info,
             t.linalg.lu_factor_ex(t.tensor(values)).info,
             t.linalg.solve_ex(t.tensor(values), t.tensor(values)).info)
            for t in (tg, torch)
        )
        assert [m.tolist() for m in mine] == [t.tolist() for t in theirs]
        assert mine[0].dtype is tg.int32


def test_the_determinant_of_a_singular_matrix_has_the_adjugate_for_gradient():
    x = tg.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=tg.float64, requires_grad=True)
    (g,) = tg.autograd.grad(x.det(), x)
    np.testing.assert_allclose(g.numpy(), [[4, -2], [-2, 1]], atol=1e-12)
    assert tg.slogdet(tg.zeros(2, 2)).logabsdet.item() == -math.inf
    assert math.isnan(tg.logdet(-tg.eye(3)).item())


def test_repeated_eigenvalues_leave_the_gradient_of_eigenvalues_finite():
    for function in (tg.linalg.eigvalsh, tg.linalg.svdvals):
        x = tg.eye(3, dtype=tg.float64).requires_grad_()
        (g,) = tg.autograd.grad(function(x).sum(), x)
        assert g.tolist() == np.eye(3).tolist()


def test_pseudo_inverses_of_orthogonal_and_of_deficient_matrices():
    for values in (np.eye(3), np.ones((2, 3)), np.zeros((3, 2))):
        for lib in (tg, torch):
            x = lib.tensor(values, dtype=lib.float64).requires_grad_()
            y = lib.linalg.pinv(x)
            (g,) = lib.autograd.grad((y * y).sum() + y[0, 1], x)
            found = y.detach().numpy(), g.numpy()
            if lib is tg:
                mine = found
        for a, b in zip(mine, found, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_empty_matrices_have_torchs_shapes():
    for shape in ((0, 0), (3, 0, 0), (0, 2, 2), (2, 0)):
        for call in (
            lambda t, x: t.linalg.svd(x), lambda t, x: t.linalg.qr(x),
            lambda t, x: [t.linalg.pinv(x)], lambda t, x: [t.linalg.matrix_rank(x)],
            lambda t, x: t.linalg.lu(x), lambda t, x: [t.linalg.matrix_norm(x)],
            *(() if shape[-1] != shape[-2] else (
                lambda t, x: [t.linalg.cholesky(x)], lambda t, x: [t.linalg.inv(x)],
                lambda t, x: [t.det(x)], lambda t, x: t.linalg.slogdet(x),
                lambda t, x: t.linalg.eigh(x), lambda t, x: [t.linalg.matrix_exp(x)],
                lambda t, x: [t.linalg.solve(x, x)])),
        ):
            mine, theirs = (call(t, t.ones(shape)) for t in (tg, torch))
            assert [tuple(m.shape) for m in mine] == [tuple(t.shape) for t in theirs]


def test_complex_eigenvalues_are_refused_clearly():
    with pytest.raises(NotImplementedError, match="complex numbers are not supported"):
        tg.linalg.eig(tg.ones(2, 2))
