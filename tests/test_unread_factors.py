"""Eigenvectors, singular vectors and Q are computed only where something reads them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import input_node
from tracegrad.ir.op import Kind
from tracegrad.ir.ops import linalg as L
from tracegrad.ir.ops.matrices import row
from tracegrad.ir.simplify import simplify
from tracegrad.ir.verify import verify


def eigh(x):
    return L.eigh_factors(L.eigh(x, upper=False, check="linalg.eigh", vectors=True), x.shape[-1])


def svd(x, full=False):
    return L.svd_factors(L.svd(x, full=full, check=None), x.shape, full)


def qr(x, complete=False):
    return L.qr_factors(L.qr(x, complete=complete), x.shape, complete)


# what is read of the factors of a matrix -> whether that takes the vectors
READ = {
    "eigenvalues": (lambda x: [eigh(x)[0]], False),
    "eigenvalues of eigenvalues": (lambda x: [eigh(x * row(eigh(x)[0]))[0]], False),
    "both": (lambda x: [*eigh(x)], True),
    "both, twice": (lambda x: [eigh(x)[0] + 1, eigh(x)[1] * 2], True),
    "packed": (lambda x: [L.eigh(x, upper=False, check=None)], True),
    "packed, in a sum": (lambda x: [L.eigh(x, upper=False, check=None) + 1], True),
    "singular values": (lambda x: [svd(x)[1]], False),
    "singular values of a full one": (lambda x: [svd(x, True)[1] * 3, svd(x, True)[1]], False),
    "left": (lambda x: [svd(x)[0]], True),
    "right": (lambda x: [svd(x)[2], svd(x)[1]], True),
    "R": (lambda x: [qr(x)[1]], False),
    "R of a complete one": (lambda x: [qr(x, True)[1]], False),
    "Q": (lambda x: [qr(x)[0]], True),
}


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)], ids=str)
@pytest.mark.parametrize("name", READ)
def test_a_factorisation_has_vectors_where_they_are_read(name, shape):
    function, wanted = READ[name]
    x = input_node(shape, dt.float64)
    graph = simplify(Graph((x,), tuple(function(x))), check=verify)
    packed = [y for y in graph.order() if y.op.kind is Kind.LINALG]
    assert packed and all(y.params.get("vectors", True) is wanted for y in packed)


PROGRAMS = {
    "eigvalsh": lambda t, a: t.linalg.eigvalsh(a @ a.mT, UPLO="U"),
    "first of eigh": lambda t, a: t.linalg.eigh(a @ a.mT)[0][..., -1],
    "svdvals": lambda t, a: t.linalg.svdvals(a),
    "nuclear norm": lambda t, a: t.linalg.matrix_norm(a, "nuc"),
    "norm 2": lambda t, a: t.linalg.norm(a, 2, dim=(-2, -1)),
    "cond": lambda t, a: t.linalg.cond(a),
    "second of qr": lambda t, a: t.linalg.qr(a)[1].abs(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 3), (3, 1, 1), (5, 2, 4), (37, 20)], ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients_without_vectors_are_torchs(name, shape, dtype):
    torch = pytest.importorskip("torch")
    f = PROGRAMS[name]
    numbers = np.random.default_rng(3).normal(size=shape)
    theirs = torch.tensor(numbers, dtype=getattr(torch, dtype), requires_grad=True)
    wanted = f(torch, theirs)
    near = {"rtol": 1e-2, "atol": 1e-2} if dtype == "float32" else {"rtol": 1e-7, "atol": 1e-7}
    differentiable = "eigh" not in name and (name != "eigvalsh" or shape[-2] <= shape[-1])
    if differentiable:
        wanted.sum().backward()
    mine = tg.tensor(numbers, dtype=getattr(tg, dtype))
    for way in (lambda f: f, tg.compile):
        run = way(lambda x: f(tg, x))
        np.testing.assert_allclose(run(mine).numpy(), wanted.detach().numpy(), **near)
        if differentiable:
            leaf = mine.clone().requires_grad_()
            (gradient,) = way(lambda x: tg.autograd.grad(f(tg, x).sum(), x))(leaf)
            np.testing.assert_allclose(gradient.numpy(), theirs.grad.numpy(), **near)


@pytest.mark.parametrize("way", [lambda f: f, tg.compile])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_values_alone_are_refused_as_with_vectors(number, way):
    a = tg.eye(3).expand(2, 3, 3).clone()
    a[1, 1, 1] = number
    for f in (lambda x: tg.linalg.svdvals(x), lambda x: tg.linalg.svd(x).Vh):
        with pytest.raises(tg.linalg.LinAlgError, match="linalg.svd: .*Batch element 1"):
            way(f)(a)


def test_of_a_batch_of_examples_and_forward_derivatives():
    a = tg.tensor(np.random.default_rng(1).normal(size=(4, 3, 3)))
    a = a + a.mT
    values = tg.linalg.eigvalsh(a)
    assert tg.allclose(tg.vmap(tg.linalg.eigvalsh)(a), values)
    out, slope = tg.func.jvp(tg.linalg.eigvalsh, (a,), (tg.eye(3).double().expand(4, 3, 3),))
    assert tg.allclose(out, values)
    assert tg.allclose(slope, tg.ones(4, 3, dtype=tg.float64))
