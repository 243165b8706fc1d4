"""Products of every kind against torch: values, gradients and second gradients, and the words of
refusals.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-2, 2, s) for s in shapes]


def derivatives(lib, function, inputs):
    """Value, gradients, and gradients of a sum made of those gradients."""
    xs = [lib.tensor(a, dtype=lib.float64).requires_grad_() for a in inputs]
    y = function(lib, *xs)
    w = lib.tensor(np.cos(np.arange(y.numel())).reshape(tuple(y.shape)), dtype=lib.float64)
    first = lib.autograd.grad((y * w * y).sum(), xs, create_graph=True)
    second = lib.autograd.grad(sum((g * g).sum() for g in first), xs)
    return [t.detach().numpy() for t in (y, *first, *second)]


def apart(lib, a, b, p):
    """cdist; torch's has no second derivative, the norm of the differences has."""
    if lib is tg:
        return tg.cdist(a, b, p=p)
    return torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, -1)


def pairs(lib, a):
    if lib is tg:
        return tg.nn.functional.pdist(a)
    return (a[None] - a[:, None] + torch.eye(4)[..., None]).norm(dim=-1)[
        *torch.triu_indices(4, 4, 1)
    ]


CASES = {
    "matmul-1x2": (lambda t, a, b: t.matmul(a, b), (3,), (3, 4)),
    "matmul-1x3": (lambda t, a, b: a @ b, (3,), (2, 3, 4)),
    "matmul-3x1": (lambda t, a, b: a @ b, (2, 4, 3), (3,)),
    "matmul-broadcast": (lambda t, a, b: a @ b, (2, 1, 4, 3), (5, 3, 2)),
    "matmul-2x3": (lambda t, a, b: a @ b, (4, 3), (2, 3, 2)),
    "inner": (lambda t, a, b: t.inner(a, b), (2, 3), (4, 1, 3)),
    "vdot": (lambda t, a, b: t.vdot(a, b), (3,), (3,)),
    "ger": (lambda t, a, b: t.ger(a, b), (3,), (2,)),
    "addr": (lambda t, a, b, c: t.addr(a, b, c, beta=2, alpha=0.5), (2, 1), (2,), (3,)),
    "addmm": (lambda t, a, b, c: t.addmm(a, b, c, beta=0.5, alpha=2), (3,), (2, 4), (4, 3)),
    "addmv": (lambda t, a, b, c: a.addmv(b, c), (2,), (2, 4), (4,)),
    "addbmm": (lambda t, a, b, c: a.addbmm(b, c, alpha=3), (2, 3), (5, 2, 4), (5, 4, 3)),
    "baddbmm": (lambda t, a, b, c: t.baddbmm(a, b, c), (1, 3), (5, 2, 4), (5, 4, 3)),
    "kron": (lambda t, a, b: t.kron(a, b), (2, 3), (4, 1, 2)),
    "cross": (lambda t, a, b: t.cross(a, b, dim=0), (3, 2), (3, 1)),
    "chain": (lambda t, *x: t.chain_matmul(*x), (2, 5), (5, 1), (1, 4)),
    "cdist-2": (lambda t, a, b: apart(t, a, b, 2), (2, 4, 3), (5, 3)),
    "cdist-1": (lambda t, a, b: apart(t, a, b, 1), (4, 3), (5, 3)),
    "cdist-inf": (lambda t, a, b: apart(t, a, b, float("inf")), (4, 3), (5, 3)),
    "cdist-3": (lambda t, a, b: apart(t, a, b, 3.0), (4, 3), (5, 3)),
    "cdist-0": (lambda t, a: apart(t, a, 2 * a.detach(), 0.0) * a.sum(), (4, 3)),
    "pdist": (pairs, (4, 3)),
    "bilinear": (lambda t, *x: t.nn.functional.bilinear(*x),
                 (2, 5, 3), (2, 5, 4), (6, 3, 4), (6,)),
    "tensordot": (lambda t, a, b: t.tensordot(a, b, dims=([0, 2], [1, 0])), (2, 3, 4), (4, 2, 5)),
    "tensordot-0": (lambda t, a, b: t.tensordot(a, b, dims=0), (2,), (3, 1)),
    "tensordot-1": (lambda t, a, b: t.tensordot(a, b, 1), (2, 3), (1, 4)),
    "sublists": (lambda t, a, b: t.einsum(a, [0, 1], b, [1, 2], [2, 0]), (2, 3), (3, 4)),
    "sublists-dots": (lambda t, a: t.einsum(a, [..., 1, 0]), (2, 3, 4)),
    **{
        f"einsum-{equation}": (lambda t, *x, e=equation: t.einsum(e, *x), *shapes)
        for equation, *shapes in (
            ("ij,jk", (2, 3), (3, 4)),
            ("ii", (3, 3)),
            ("ii->i", (3, 3)),
            ("...ii->...i", (2, 3, 3)),
            ("ij->", (2, 3)),
            ("ij->ji", (2, 3)),
            ("b i j , b j k -> b i k", (2, 3, 4), (2, 4, 5)),
            ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
            ("i...,i...->...", (2, 3), (2, 3)),
            ("...,...", (2, 3), (3,)),
            ("ij,jk,kl,l->i", (2, 3), (3, 4), (4, 5), (5,)),
            ("i,j,k->kij", (2,), (3,), (4,)),
            ("aij,bjk,iaj->kb", (2, 3, 4), (5, 4, 2), (3, 2, 4)),
            ("ij,jk->ik", (2, 1), (3, 4)),
            ("iij,jj->i", (2, 2, 3), (3, 3)),
            ("bn,anm,bm->ba", (2, 3), (5, 3, 4), (2, 4)),
            ("i,i,i->i", (3,), (3,), (3,)),
            ("ij,ij", (0, 3), (0, 3)),
            (",ij->ij", (), (2, 3)),
        )
    },
}


@pytest.mark.parametrize("name", CASES)
def test_products_are_torchs_to_second_order(name):
    function, *shapes = CASES[name]
    inputs = arrays(*shapes)
    for mine, theirs in zip(
        derivatives(tg, function, inputs), derivatives(torch, function, inputs), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


COMPILED = ["matmul-broadcast", "addbmm", "kron", "cross", "cdist-2", "cdist-3", "bilinear",
            "einsum-...ij,...jk->...ik", "einsum-iij,jj->i", "einsum-ij,jk,kl,l->i"]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_products_are_the_eager_ones(name):
    function, *shapes = CASES[name]
    inputs = arrays(*shapes)

    def step(*xs):
        y = function(tg, *xs)
        first = tg.autograd.grad((y * y).sum(), xs, create_graph=True)
        return y, *first, *tg.autograd.grad(sum((g * g).sum() for g in first), xs)

    xs = [tg.tensor(a, dtype=tg.float64).requires_grad_() for a in inputs]
    for mine, plain in zip(tg.compile(step)(*xs), step(*xs), strict=True):
        np.testing.assert_allclose(
            mine.detach().numpy(), plain.detach().numpy(), rtol=1e-9, atol=1e-9
        )


def test_equal_rows_have_distance_zero_with_gradient_zero():
    for p in (0.0, 1.0, 1.5, 2.0, 3.0, float("inf")):
        x = tg.tensor([[1.0, 2.0], [1.0, 2.0]], requires_grad=True)
        d = tg.cdist(x, x, p=p)
        assert d.tolist() == [[0, 0], [0, 0]]
        (g,) = tg.autograd.grad(d.sum(), x) if p else (tg.zeros(2, 2),)
        assert g.tolist() == [[0, 0], [0, 0]], p


def test_a_beta_of_zero_ignores_what_it_scales():
    bad = tg.full((2, 2), float("nan"))
    assert tg.addmm(bad, tg.eye(2), tg.eye(2), beta=0).tolist() == [[1, 0], [0, 1]]


def test_long_chains_are_contracted_in_a_cheap_order(monkeypatch):
    n = 300  # left to right this makes matrices of 300 x 300 and costs 200 times as much
    a, b, c = (tg.ones(*s) for s in ((n, 1), (1, n), (n, 1)))
    flops = []
    module = import_module("tracegrad.functions.torch.einsum")
    real = module.product
    monkeypatch.setattr(
        module, "product", lambda x, y: flops.append(x.numel() * y.shape[-1]) or real(x, y)
    )
    assert tg.einsum("ij,jk,kl->il", a, b, c).shape == (n, 1)
    assert sum(flops) <= 2 * n


REFUSED = [
    lambda t: t.einsum("ij,jk", t.ones(2, 3)),
    lambda t: t.einsum("ij", t.ones(2, 3), t.ones(2)),
    lambda t: t.einsum("ij,jk", t.ones(2, 3), t.ones(4, 5)),
    lambda t: t.einsum("i1,jk", t.ones(2, 3), t.ones(4, 5)),
    lambda t: t.einsum("i.j", t.ones(2, 3)),
    lambda t: t.einsum("...i...", t.ones(2, 3)),
    lambda t: t.einsum("ijk", t.ones(2, 3)),
    lambda t: t.einsum("ijk...", t.ones(2, 3)),
    lambda t: t.einsum("ii", t.ones(2, 3)),
    lambda t: t.einsum("ij->ik", t.ones(2, 3)),
    lambda t: t.einsum("ij->ii", t.ones(2, 3)),
    lambda t: t.einsum("ij->i1", t.ones(2, 3)),
    lambda t: t.einsum("ij->i->j", t.ones(2, 3)),
    lambda t: t.einsum("ij"),
    lambda t: t.einsum(t.ones(2, 3), [0, 60]),
    lambda t: t.tensordot(t.ones(2, 3), t.ones(4, 5), 3),
    lambda t: t.tensordot(t.ones(2, 3), t.ones(4, 5), -1),
    lambda t: t.tensordot(t.ones(2, 3), t.ones(4, 5), ([0], [0])),
    lambda t: t.tensordot(t.ones(2, 3), t.ones(4, 5), ([0], [0, 1])),
    lambda t: t.inner(t.ones(2, 3), t.ones(4, 5)),
    lambda t: t.cross(t.ones(2, 3), t.ones(2, 2), dim=1),
    lambda t: t.cdist(t.ones(2, 3), t.ones(4, 5)),
    lambda t: t.cdist(t.ones(3), t.ones(3)),
    lambda t: t.cdist(t.ones(2, 3), t.ones(2, 3), p=-1),
    lambda t: t.nn.functional.pdist(t.ones(3)),
    lambda t: t.nn.functional.bilinear(t.ones(2, 3), t.ones(4, 5), t.ones(3, 3, 5)),
    lambda t: t.nn.functional.bilinear(t.ones(2, 3), t.ones(2, 4), t.ones(6, 3, 5)),
    lambda t: t.chain_matmul(),
    lambda t: t.chain_matmul(t.ones(2)),
    lambda t: t.addr(t.ones(2, 3), t.ones(3, 2), t.ones(3)),
    lambda t: t.addr(t.ones(2, 3), t.ones(3), t.ones(3)),
    lambda t: t.addbmm(t.ones(2, 2), t.ones(3, 2, 2), t.ones(4, 2, 2)),
    lambda t: t.addbmm(t.ones(2, 2), t.ones(3, 2), t.ones(4, 2, 2)),
    lambda t: t.addbmm(t.ones(2, 2), t.ones(3, 2, 2), t.ones(3, 3, 2)),
    lambda t: t.mv(t.ones(2), t.ones(3)),
    lambda t: t.mm(t.ones(2, 2), t.ones(3, 2)),
    lambda t: t.bmm(t.ones(2, 2, 2), t.ones(2, 3, 2)),
    lambda t: t.dot(t.ones(2), t.ones(2, 2)),
    lambda t: t.matmul(t.ones(2, 3, 4), t.ones(3, 4, 4)),
    lambda t: t.addmm(t.ones(5), t.ones(2, 2), t.ones(2, 2)),
]


@pytest.mark.parametrize("call", REFUSED, ids=range(len(REFUSED)))
def test_refusals_are_torchs(call):
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011
        call(torch)
    with pytest.raises(theirs.type) as mine:
        call(tg)
    said = str(theirs.value).splitlines()[0]
    assert said.split(".")[0].rstrip(")( ") in str(mine.value)


def test_the_bilinear_layer_is_torchs():
    mine, theirs = (lib.nn.Bilinear(3, 4, 5) for lib in (tg, torch))
    assert repr(mine) == repr(theirs)
    mine.load_state_dict({k: tg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x, y = (a.astype("f4") for a in arrays((2, 7, 3), (2, 7, 4)))
    np.testing.assert_allclose(
        mine(tg.tensor(x), tg.tensor(y)).detach().numpy(),
        theirs(torch.tensor(x), torch.tensor(y)).detach().numpy(),
        rtol=1e-4, atol=1e-5,
    )
    bound = 1 / 3**0.5
    assert float(mine.weight.abs().max()) <= bound
