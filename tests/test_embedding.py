"""Embeddings against torch, eager and compiled, and numbers that are out of range."""

import numpy as np
import pytest

import tracegrad as T
import tracegrad.nn.functional as F
from tracegrad import nn
from tracegrad.testing import assert_kernels

IDS = [[1, 2, 2, 0], [4, 2, 3, 1]]
CALLS = {
    "rows": lambda F, i, w, o, s: F.embedding(i, w),
    "one row": lambda F, i, w, o, s: F.embedding(i[0, 0], w),
    "int32": lambda F, i, w, o, s: F.embedding(i.int(), w),
    "padding": lambda F, i, w, o, s: F.embedding(i, w, padding_idx=-3),
    "by frequency": lambda F, i, w, o, s: F.embedding(i, w, scale_grad_by_freq=True),
    "sum": lambda F, i, w, o, s: F.embedding_bag(i, w, mode="sum"),
    "mean": lambda F, i, w, o, s: F.embedding_bag(i, w),
    "max": lambda F, i, w, o, s: F.embedding_bag(i, w, mode="max"),
    "mean, padding": lambda F, i, w, o, s: F.embedding_bag(i, w, padding_idx=2),
    "max, padding": lambda F, i, w, o, s: F.embedding_bag(i, w, mode="max", padding_idx=2),
    "weights": lambda F, i, w, o, s: F.embedding_bag(i, w, mode="sum", per_sample_weights=s),
    "sum of runs": lambda F, i, w, o, s: F.embedding_bag(i.reshape(-1), w, o, mode="sum"),
    "mean of runs": lambda F, i, w, o, s: F.embedding_bag(i.reshape(-1), w, o),
    "max of runs": lambda F, i, w, o, s: F.embedding_bag(i.reshape(-1), w, o, mode="max"),
    "mean of runs, padding": lambda F, i, w, o, s: F.embedding_bag(
        i.reshape(-1), w, o, padding_idx=2),
    "max of runs, padding": lambda F, i, w, o, s: F.embedding_bag(
        i.reshape(-1), w, o, mode="max", padding_idx=2),
    "closed runs": lambda F, i, w, o, s: F.embedding_bag(
        i.reshape(-1), w, o, include_last_offset=True, mode="sum"),
    "weighted runs": lambda F, i, w, o, s: F.embedding_bag(
        i.reshape(-1), w, o, mode="sum", per_sample_weights=s.reshape(-1)),
}
COMPILED = ("rows", "padding", "by frequency", "mean, padding", "mean of runs", "max of runs")


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_torch_s(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    w, s, v = rng.standard_normal((5, 3)), rng.standard_normal((2, 4)), rng.standard_normal(3)

    def run(T, wrap):
        i, offsets = T.tensor(IDS), T.tensor([0, 2, 2, 7])
        weight = T.tensor(w, requires_grad=True)
        scales = T.tensor(s, requires_grad=True)
        call = lambda i, w, o, s: CALLS[name](T.nn.functional, i, w, o, s)
        y = wrap(call)(i, weight, offsets, scales)
        (y * y * T.tensor(v)).sum().backward()
        return y.detach(), weight.grad, scales.grad

    for wrap in (lambda f: f, T.compile) if name in COMPILED else (lambda f: f,):
        for a, b in zip(run(T, wrap), run(torch, lambda f: f), strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrap", [lambda f: f, T.compile])
def test_rows_that_are_too_long_are_shrunk_in_place(wrap):
    torch = pytest.importorskip("torch")
    rows = np.random.default_rng(1).standard_normal((5, 3)).astype("f4") * 3
    got = []
    for t, f in ((T, wrap), (torch, lambda f: f)):
        w = t.tensor(rows, requires_grad=True)
        y = f(lambda i, w, t=t: t.nn.functional.embedding(i, w, max_norm=1.5))(t.tensor([1, 3]), w)
        y.sum().backward()
        got.append((y.detach().numpy(), w.detach().numpy(), w.grad.numpy()))
    for a, b in zip(*got, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_layers_look_and_store_like_torch_s():
    torch = pytest.importorskip("torch")
    for make in (
        lambda nn: nn.Embedding(3, 4, padding_idx=-1, max_norm=2.0),
        lambda nn: nn.EmbeddingBag(3, 4, mode="sum", padding_idx=1),
    ):
        ours, theirs = make(nn), make(torch.nn)
        assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
        assert ours.weight[ours.padding_idx].tolist() == [0, 0, 0, 0]
    frozen = nn.Embedding.from_pretrained(T.ones(3, 2), padding_idx=0)
    assert not frozen.weight.requires_grad and frozen(T.tensor([2])).tolist() == [[1, 1]]


@pytest.mark.parametrize("bad", [5, -1, 1 << 40])
def test_a_number_out_of_range_is_named_and_nothing_is_written(bad):
    w, out = T.rand(5, 3), T.zeros(2, 3)

    def program(i, w, out):
        out.copy_(F.embedding(i, w, max_norm=0.1))
        return out

    compiled = T.compile(program)
    compiled(T.tensor([0, 1]), w.clone(), out.clone())
    before = w.tolist()
    for f in (program, compiled):
        with pytest.raises(IndexError, match=f"index {bad} of a table of size 5"):
            f(T.tensor([0, bad]), w, out)
        assert out.tolist() == T.zeros(2, 3).tolist() and w.tolist() == before


def test_a_lookup_is_one_kernel_beside_its_check():
    f = T.compile(lambda i, w: F.embedding(i, w) * 2)
    f(T.randint(0, 50, (8, 4)), T.rand(50, 16))
    assert_kernels(f, 2)


def test_one_hot():
    torch = pytest.importorskip("torch")
    for i, n in (([[0, 2], [1, 1]], -1), ([3, 0], 6)):
        got, want = (t.nn.functional.one_hot(t.tensor(i), n) for t in (T, torch))
        assert got.dtype is T.int64 and got.tolist() == want.tolist()
    f = T.compile(lambda i: F.one_hot(i, 4))
    assert f(T.tensor([3, 1])).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]
    for bad, n, words in (([-1], -1, "non-negative"), ([3], 3, "smaller"), ([], -1, "empty")):
        with pytest.raises(RuntimeError, match=words):
            F.one_hot(T.tensor(bad, dtype=T.int64), n)


BAD = {
    "float": lambda T: T.nn.functional.embedding(T.ones(2), T.ones(3, 2)),
    "padding": lambda T: T.nn.functional.embedding(T.tensor([0]), T.ones(3, 2), padding_idx=3),
    "rank": lambda T: T.nn.functional.embedding_bag(T.tensor(0), T.ones(3, 2)),
    "no offsets": lambda T: T.nn.functional.embedding_bag(T.tensor([0]), T.ones(3, 2)),
    "offsets": lambda T: T.nn.functional.embedding_bag(
        T.tensor([0]), T.ones(3, 2), T.tensor([1])),
    "late offset": lambda T: T.nn.functional.embedding_bag(
        T.tensor([0]), T.ones(3, 2), T.tensor([0, 4])),
    "mode": lambda T: T.nn.functional.embedding_bag(T.tensor([[0]]), T.ones(3, 2), mode="min"),
    "weighted mean": lambda T: T.nn.functional.embedding_bag(
        T.tensor([[0]]), T.ones(3, 2), per_sample_weights=T.ones(1, 1)),
    "one_hot of floats": lambda T: T.nn.functional.one_hot(T.ones(2)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises_what_torch_raises(name):
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as theirs:
        BAD[name](torch)
    with pytest.raises(theirs.type):
        BAD[name](T)
