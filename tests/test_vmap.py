"""vmap against a loop over the examples, for every primitive, and its arguments against torch."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.ir.op import Kind, Types
from tracegrad.ir.value import REGISTRY
from tracegrad.tracer.autograd.batching_rules import RULES, one_by_one
from tracegrad.tracer.pytree import map_leaves

RNG = np.random.default_rng(3)
B = 3


def tensor(*shape, dtype="f8"):
    return tg.tensor((RNG.random(shape) * 0.6 + 0.2).astype(dtype))


def index(*shape, below=2):
    return tg.tensor(RNG.integers(0, below, shape))


def loop(f, args, mapped):
    found = []
    for k in range(B):
        found.append(f(*(a[k] if m else a for a, m in zip(args, mapped, strict=True))))
    return tg.stack(found)


def agree(f, *args):
    """For every choice of mapped arguments: each has B examples along its first axis, unless it is
    shared.
    """
    for choice in range(1, 2 ** len(args)):
        mapped = [bool(choice >> k & 1) for k in range(len(args))]
        given = [a if m else a[0] for a, m in zip(args, mapped, strict=True)]
        found = tg.vmap(f, in_dims=tuple(0 if m else None for m in mapped))(*given)
        expected = loop(f, given, mapped)
        assert found.dtype is expected.dtype
        tg.testing.assert_close(found, expected, equal_nan=True)


ELEMENTWISE = [
    op
    for op in REGISTRY.values()
    if op.kind is Kind.ELEMENTWISE and op.check is None and op.name != "cast"
]


@pytest.mark.parametrize("op", ELEMENTWISE, ids=repr)
def test_elementwise_primitives(op):
    count = max(k for k in range(4) if f"{{{k}}}" in op.expr) + 1
    shapes = [(B, 2, 4), (B, 4), (B, 1), (B, 2, 1)][:count]
    for make, params in itertools.product((tensor, index), ({}, {"dtype": tg.int32})):
        args = [make(*s) for s in shapes]
        if op.types is Types.SELECT:
            args[0] = args[0] > 0.5
        try:
            op(*(a[0] for a in args), **params)
        except (RuntimeError, TypeError):
            continue  # not for these dtypes
        agree(partial(op, **params), *args)
        return
    pytest.fail("no arguments for it found")


CASES = {
    "reduce": (lambda x: x.sum(1).amax(0), tensor(B, 2, 4)),
    "movement": (
        lambda x: x.permute(2, 0, 1).reshape(4, 6).flip(0)[1:, ::2].expand(2, 3, 3),
        tensor(B, 2, 3, 4),
    ),
    "pad": (lambda x: REGISTRY["pad"](x, pads=((1, 0, 1), (0, 2, 0))), tensor(B, 2, 3)),
    "concat": (lambda a, b: tg.cat([a, b], 1), tensor(B, 2, 3), tensor(B, 2, 1)),
    "cast": (lambda x: x.float().long(), tensor(B, 2)),
    "product": (lambda a, b: a @ b, tensor(B, 2, 3), tensor(B, 3, 4)),
    "batched product": (lambda a, b: a @ b, tensor(B, 5, 2, 3), tensor(B, 5, 3, 4)),
    "vectors": (lambda a, b: a @ b, tensor(B, 3), tensor(B, 3)),
    "read": (lambda x, i: x[i], tensor(B, 4, 2), index(B, 5)),
    "read an inner axis": (lambda x, i: x[:, i], tensor(B, 4, 2), index(B, 5)),
    "read two axes": (lambda x, i, j: x[i, j], tensor(B, 2, 4, 3), index(B, 5), index(B, 2, 5)),
    "read apart": (lambda x, i, j: x[i, :, j], tensor(B, 2, 4, 3), index(B, 5), index(B, 2, 5)),
    "gather": (lambda x, i: x.gather(1, i), tensor(B, 2, 4), index(B, 2, 3)),
    "scatter": (lambda x, i, s: x.scatter_add(1, i, s), tensor(B, 2, 4), index(B, 2, 3),
                tensor(B, 2, 3)),
    "prefix": (lambda x, y: REGISTRY["recur"](x.cumsum(1), y.cumprod(0), axis=1, reverse=True),
               tensor(B, 2, 4), tensor(B, 2, 4)),
    "sort": (lambda x: x.sort(1)[0] + x.argsort(0) + x.cummax(0)[1], tensor(B, 2, 4)),
    "search": (lambda row, x: tg.searchsorted(row, x), tensor(B, 4).sort(-1)[0], tensor(B, 3)),
    "search in rows": (lambda row, x: tg.searchsorted(row, x), tensor(B, 2, 4).sort(-1)[0],
                       tensor(B, 2, 3)),
    "reduce at indices": (lambda x, i, v: x.index_reduce(0, i, v, "prod"), tensor(B, 4, 2),
                          index(B, 3), tensor(B, 3, 2)),
    "solve": (lambda a, b: tg.linalg.solve(a + 3 * tg.eye(3, dtype=tg.float64), b) + a.det(),
              tensor(B, 3, 3), tensor(B, 3, 2)),
    "factorise": (lambda a: tg.linalg.qr(a)[1] * tg.linalg.svd(a)[1].sum(), tensor(B, 4, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_everything_else(name):
    f, *args = CASES[name]
    agree(f, *args)


def test_derivatives_of_factorisations_are_mapped():
    a = tensor(B, 3, 3) + 2 * tg.eye(3, dtype=tg.float64)
    agree(tg.func.grad(lambda a: tg.linalg.inv(a).sum() + a.logdet()), a)


@pytest.mark.parametrize("axes, shape", [((0, 1), (5, 3)), ((1, 2), (2, 5)), ((0, 2), (5, 4))])
def test_writing_at_indices(axes, shape):
    x, v = tensor(B, 2, 4, 3), tensor(B, *shape)
    put = REGISTRY["index_put"]
    for accumulate in (False, True):
        agree(
            lambda x, v, i, j, accumulate=accumulate: put(
                x, v, i, j, axes=axes, accumulate=accumulate
            ),
            x, v, tg.tensor([[0, 1, 1, 0, 1]] * B) * tg.tensor([[1], [0], [1]]),
            tg.tensor([[0, 1, 2, 1, 0]] * B),
        )


def test_a_primitive_without_a_rule_goes_example_by_example(monkeypatch):
    monkeypatch.setitem(RULES, "dot", one_by_one)
    agree(lambda a, b: a @ b, tensor(B, 2, 3), tensor(B, 3, 4))
    empty = tg.vmap(lambda a: a @ a)(tg.zeros(0, 2, 2))
    assert empty.shape == (0, 2, 2)


def test_dims_structures_and_chunks():
    torch = pytest.importorskip("torch")
    a = RNG.standard_normal((4, 3, 2))

    def f(pair, scale):
        return {"x": pair[0] * scale, "y": (pair[1] * 2,)}

    for in_dims, out_dims in [(1, 0), (((0, -1), None), 1), ((0, None), {"x": -1, "y": (0,)})]:
        second = a.transpose(1, 2, 0) if in_dims == ((0, -1), None) else a
        scale = a[:1].copy() if in_dims == 1 else 2.0
        numbers = ((a, second), scale)
        found = tg.vmap(f, in_dims, out_dims, chunk_size=2)(*map_leaves(tg.tensor, numbers))
        expected = torch.vmap(f, in_dims, out_dims)(*map_leaves(torch.tensor, numbers))
        np.testing.assert_array_equal(found["x"].numpy(), expected["x"].numpy())
        np.testing.assert_array_equal(found["y"][0].numpy(), expected["y"][0].numpy())


def test_nested():
    x, y = tensor(3), tensor(4)
    outer = tg.vmap(tg.vmap(lambda a, b: a * b, (None, 0)), (0, None))(x, y)
    tg.testing.assert_close(outer, x[:, None] * y)


def test_writing_into_a_mapped_tensor_reaches_it():
    x, y = tensor(3, 4), tensor(3)
    expected = x + y[:, None]
    tg.vmap(lambda x, y: x.add_(y))(x, y)
    tg.testing.assert_close(x, expected)
    shared = tg.zeros(4, dtype=tg.float64)
    with pytest.raises(RuntimeError, match="not mapped"):
        tg.vmap(lambda y: shared.add_(y))(y)
    assert (shared == 0).all()
    local = tg.vmap(lambda y: tg.zeros(2, dtype=tg.float64).add_(y))(y)
    tg.testing.assert_close(local, y[:, None].expand(3, 2))


def test_values_cannot_be_looked_at():
    with pytest.raises(RuntimeError, match="control flow"):
        tg.vmap(lambda x: x if x.sum() > 0 else -x)(tensor(3, 2))
    flag = tg.tensor(1.0)
    tg.vmap(lambda x: x if flag > 0 else -x)(tensor(3, 2))


def test_a_tensor_that_escapes_is_refused():
    kept = []
    tg.vmap(lambda x: (kept.append(x), x * 2)[1])(tensor(3, 2))
    with pytest.raises(RuntimeError, match="inside vmap"):
        kept[0] + 1


X = tg.ones(3, 2)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: tg.vmap(lambda x: x, in_dims="a")(X), "to be int or a"),
        (lambda: tg.vmap(lambda x: x)(), "got no inputs"),
        (lambda: tg.vmap(lambda x: x, in_dims=(0, 0))(X), "not compatible"),
        (lambda: tg.vmap(lambda x: x, in_dims=2)(X), "dimensionality 2"),
        (lambda: tg.vmap(lambda x, y: x)(X, 1.0), "non-Tensor"),
        (lambda: tg.vmap(lambda x, y: x)(X, X.T), "same size"),
        (lambda: tg.vmap(lambda x: 1.0)(X), "only return Tensors"),
        (lambda: tg.vmap(lambda x: x, out_dims=None)(X), "out_dim"),
        (lambda: tg.vmap(lambda x: x, out_dims=(0, 0))(X), "not compatible"),
        (lambda: tg.vmap(lambda x: x, in_dims=(None,))(X), "at least one"),
    ],
)
def test_wrong_calls_say_why(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_random_numbers_are_the_same_or_different():
    with pytest.raises(RuntimeError, match="randomness"):
        tg.vmap(lambda x: x + tg.rand(2))(X)
    same = tg.vmap(lambda x: tg.rand(2), randomness="same")(X)
    assert (same == same[0]).all()
    tg.manual_seed(7)
    different = tg.vmap(lambda x: tg.rand(2), randomness="different")(X)
    tg.manual_seed(7)
    tg.testing.assert_close(different, tg.rand(3, 2))


def test_batched_weights_of_grad():
    x = tensor(3)
    x.requires_grad_()
    y = x**2
    (found,) = tg.autograd.grad(y, x, tg.eye(3, dtype=tg.float64), is_grads_batched=True)
    tg.testing.assert_close(found, tg.diag(2 * x.detach()))
