"""Gradients lie in memory as torch lays them: `.grad` as its leaf, what autograd.grad gives in a
way that can be viewed and written.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape)


FUNCTIONS = {
    "linear": (lambda T, x, w, b: T.nn.functional.linear(x, w, b), (4, 5), (3, 5), (3,)),
    "matmul": (lambda T, x, w: x @ w, (4, 5), (5, 3)),
    "matmul of transposes": (lambda T, x, w: x.t() @ w.t(), (5, 4), (3, 5)),
    "bmm": (lambda T, a, b: a @ b, (2, 3, 4), (2, 4, 5)),
    "einsum": (lambda T, a, b: T.einsum("bij,jk->bki", a, b), (2, 3, 4), (4, 5)),
    "bilinear": (lambda T, a, b, w: T.nn.functional.bilinear(a, b, w), (3, 4), (3, 2), (5, 4, 2)),
    "conv2d": (lambda T, x, w: T.nn.functional.conv2d(x, w), (2, 3, 6, 6), (4, 3, 3, 3)),
    "conv_transpose": (
        lambda T, x, w: T.nn.functional.conv_transpose2d(x, w), (2, 3, 5, 5), (3, 4, 3, 3),
    ),
    "embedding": (lambda T, w: T.nn.functional.embedding(T.tensor([1, 2, 1]), w), (5, 3)),
    "broadcast": (lambda T, a, b: a * b, (3, 1), (1, 4)),
    "expanded": (lambda T, a: a.expand(3, 4) * 2, (1, 4)),
    "reshaped": (lambda T, a: a.t().reshape(-1), (3, 4)),
    "permuted": (lambda T, a: a.permute(2, 0, 1) * 2.0, (2, 3, 4)),
    "joined": (lambda T, a, b: T.cat([a, b], 1), (3, 4), (3, 2)),
    "mean": (lambda T, a: a.mean(), (3, 4)),
    "running": (lambda T, a: a.cumsum(0), (3, 4)),
    "itself": (lambda T, a: a, (3, 4)),
    "softmax": (lambda T, a: T.softmax(a, 0), (3, 4)),
    "attention": (
        lambda T, q, k, v: T.nn.functional.scaled_dot_product_attention(q, k, v),
        (2, 3, 4), (2, 3, 4), (2, 3, 4),
    ),
}
COMPILED = ("linear", "conv2d", "broadcast", "reshaped", "mean", "einsum")


def lying(T, a, how):
    if how == "first last":
        t = T.tensor(np.ascontiguousarray(np.moveaxis(a, 0, -1))).movedim(-1, 0)
    elif how == "turned":
        t = T.tensor(np.ascontiguousarray(a.T)).permute(*range(a.ndim)[::-1])
    elif how == "every second":
        t = T.tensor(np.repeat(a, 2, -1))[..., ::2]
    else:
        t = T.tensor(a)
    return t.detach().requires_grad_()


LEAVES = ("in order", "first last", "turned", "every second")


def loss_of(T, function, leaves):
    y = function(T, *leaves)
    return (y * y).sum() if y.ndim else y


def facts(tensors):
    return [tuple(t.stride()) for t in tensors], [t.detach().numpy() for t in tensors]


def agree(found, expected):
    assert found[0] == expected[0]
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("how", LEAVES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_grad_lies_as_its_leaf(name, how, create):
    function, *shapes = FUNCTIONS[name]
    arrays = [numbers(*s) for s in shapes]
    found = []
    for T in (tg, torch):
        leaves = [lying(T, a, how) for a in arrays]
        for _ in range(2):
            loss_of(T, function, leaves).backward(create_graph=create)
            found.append(facts([x.grad for x in leaves]))
    agree(found[0], found[2])
    agree(found[1], found[3])


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("how", LEAVES)
@pytest.mark.parametrize("name", COMPILED)
def test_grad_of_a_compiled_step_lies_as_its_leaf(name, how, whole):
    function, *shapes = FUNCTIONS[name]
    arrays = [numbers(*s) for s in shapes]
    theirs = [lying(torch, a, how) for a in arrays]
    loss_of(torch, function, theirs).backward()
    leaves = [lying(tg, a, how) for a in arrays]

    def step():
        loss = loss_of(tg, function, leaves)
        if whole:
            loss.backward()
        return loss

    compiled = tg.compile(step)
    for _ in range(3):
        for x in leaves:
            x.grad = None
        loss = compiled()
        if not whole:
            loss.backward()
        agree(facts([x.grad for x in leaves]), facts([x.grad for x in theirs]))


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_grad_gives_of_an_ordinary_tensor_can_be_viewed(name, create):
    function, *shapes = FUNCTIONS[name]
    leaves = [lying(tg, numbers(*s), "in order") for s in shapes]
    for g in tg.autograd.grad(loss_of(tg, function, leaves), leaves, create_graph=create):
        assert g.is_contiguous()
        g.view(-1)


def test_a_retained_gradient_is_a_copy_in_order():
    for T in (tg, torch):
        x = T.ones(2, 3).requires_grad_()
        y = x * 2
        y.retain_grad()
        given = T.arange(6.0).reshape(3, 2).t()
        y.backward(given)
        assert y.grad.stride() == (3, 1)
        y.grad.zero_()
        assert given.sum() == 15 and x.grad.sum() == 30


LIKE = ["zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"]


@pytest.mark.parametrize("name", LIKE)
def test_what_is_made_like_a_tensor_lies_as_it(name):
    number = (2.0,) if name == "full_like" else ()
    base = numbers(2, 3, 4)
    for how in LEAVES:
        a, b = (getattr(T, name)(lying(T, base, how), *number) for T in (tg, torch))
        assert a.stride() == b.stride(), how
    for view in (lambda t: t[:, :, 1].t(), lambda t: t[:, :1].expand(2, 3, 4), lambda t: t[0, 1]):
        a, b = (getattr(T, name)(view(T.tensor(base)), *number) for T in (tg, torch))
        assert a.stride() == b.stride()
    plain = tg.zeros_like(tg.tensor(base[0]).t(), memory_format=tg.contiguous_format)
    assert plain.is_contiguous()
