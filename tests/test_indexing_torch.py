"""Reading and writing at positions, as PyTorch does it: placement, views, dtypes, refusals and what
is left behind; eagerly and compiled.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")


def run(T, program, compiled=False):
    """What is left of x (2, 3), n (int64, like x) and r, after a program over them."""

    def body(x, n, m, i, k):
        space = {"T": T, "x": x.clone(), "n": n.clone(), "m": m, "i": i, "k": k, "r": x}
        exec(program, space)
        return [space[name] for name in ("x", "n", "r")]

    x, n = T.arange(6.0).reshape(2, 3), T.arange(6).reshape(2, 3)
    given = (x, n, T.tensor([True, False]), T.tensor([1, 0]), T.tensor(1))
    return (T.compile(body) if compiled else body)(*given)


def exact(mine, theirs):
    for a, b in zip(mine, theirs, strict=True):
        assert a.dtype.name == str(b.dtype)[6:]
        np.testing.assert_array_equal(a.numpy(), b.numpy())


PROGRAMS = [  # m: a mask of rows; i: positions of rows; k: one position, 0-d
    "r = x[None, :, None][..., k, :, i]", "r = x.expand(4, 2, 3)[:, k, :][i, T.tensor([2, 2])]",
    "x[k, i] = 7",
    "x = x.repeat(2, 1, 1).view(2, 2, 3); x[k, :, i] = T.tensor([[7., 8.], [9., 1.]])",
    "r = x[k]; r.zero_()", "r = x[:, k]; r += x[0, 0] + 9", "x[k] = T.tensor(5)",
    "x[k][:2] *= 3", "x[:, k].copy_(n[:, 0])", "r = x[..., k, None]", "x[m] = T.tensor(5)",
    "r = x[..., k, ...]", "x[..., 1, ...] = n[:, 0]", "r = x[..., ...]",
    "x.t()[..., k, m] = 8", "x[None, k, T.tensor([True, False, True])] = 3",
    "n[i] = 2.7",
    "n.masked_fill_(m[:, None], 2.5)", "r = T.take_along_dim(x, T.tensor([[-1]]), 1)",
    "r = T.take(x, -T.ones(2).long())", "r = (n > 2).scatter_add(0, n[:1] * 0, n[1:] > 4)",
    "n = n.to(T.uint8); n[k] = -3", "r = (x - 300.).to(T.uint8)", "r = (x * 200).to(T.int8)",
    "r = T.movedim(x[0, 0], 0, -1)", "r = T.searchsorted(n[1], 4.5)",
    "r = T.where((n > 2).to(T.uint8), x, 1.5)",
]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*uint8:UserWarning")
def test_positions_mean_what_they_mean_in_torch(program, compiled):
    exact(run(tg, program, compiled), run(torch, program))


def test_one_position_that_is_a_tensor_gives_a_view_with_a_gradient():
    def step(T, w, k):
        y = w * 1
        y[k].mul_(w[0])
        row = y[:, k]
        row += 1
        return (y * y).sum()

    def gradient(T, run):
        w = T.arange(9.0).reshape(3, 3).requires_grad_()
        run(w, T.tensor(2)).backward()
        return w.grad.numpy()

    want = gradient(torch, lambda w, k: step(torch, w, k))
    np.testing.assert_allclose(gradient(tg, lambda w, k: step(tg, w, k)), want)
    np.testing.assert_allclose(gradient(tg, tg.compile(lambda w, k: step(tg, w, k))), want)


REFUSED = [
    "x[i.short()]", "x[i, T.tensor([0, 1, 2])]", "x[i] = T.ones(3).double()",
    "x[m] = T.ones(1, 3).half()", "x.gather(1, T.tensor([[-1]]))", "x.gather(1, i[None].short())",
    "x.index_select(1, T.tensor([-1]))", "x.scatter_(1, T.tensor([[-1]]), 9)",
    "x.scatter_add_(1, T.tensor([[0, 3]]), T.ones(1, 2))", "x.index_add_(0, -i, x)",
    "x.index_copy_(0, i.int(), x)", "x.index_copy_(0, T.tensor([0, 2]), x)",
    "x.index_fill_(1, T.tensor([0, -4]), 9)", "x.take(i.int())", "x.take(T.tensor([6]))",
    "x.put_(T.tensor([0, 6]), x[0, :2])", "x.put_(i, x[0])", "x.index_reduce_(0, -i, x, 'amax')",
    "x.masked_select(m.long())", "n.masked_fill_(m[:, None], float('inf'))", "n.fill_(1e30)",
    "n.to(T.int8).masked_fill(m[:, None], 300)", "x.half().fill_(1e6)", "T.full((2,), 1e300)",
    "T.full((2,), -300, dtype=T.uint8)", "T.movedim(x, (0, 1), 0)", "T.movedim(x, (0, 0), (0, 1))",
    "x.reshape(True)", "T.unravel_index(x, (2, 3))",
]


@pytest.mark.parametrize("program", REFUSED)
@pytest.mark.filterwarnings("ignore:.*index_reduce:UserWarning")
def test_what_torch_refuses_is_refused_with_its_class_and_nothing_is_written(program):
    def refused(T):
        x, n = T.arange(6.0).reshape(2, 3), T.arange(6).reshape(2, 3)
        space = {"T": T, "x": x, "n": n, "m": T.tensor([True, False]), "i": T.tensor([1, 0])}
        with pytest.raises(Exception) as caught:  # noqa: PT011
            exec(program, space)
        return caught.type, [*x.ravel().tolist(), *n.ravel().tolist()]

    theirs, _ = refused(torch)  # which may have begun to write
    mine, left = refused(tg)
    assert issubclass(mine, theirs)
    assert left == [*range(6), *range(6)]


WRITES = [
    "z.mul_(2); w.index_add_(0, i, o)", "w.scatter_(0, i[:, None].expand(-1, 4), o); z.add_(1)",
    "z.mul_(2); w[i] = o", "z.copy_(T.nn.functional.embedding(i, w))",
    "z.add_(w[i, i % 4][:, None])",
]


@pytest.mark.parametrize("program", WRITES)
def test_a_bad_position_in_a_loop_that_threads_share_leaves_memory_alone(program):
    n, rows = 60_000, 301

    def body(w, i, o, z):
        exec(program, {"T": tg, "w": w, "i": i, "o": o, "z": z})

    step = tg.compile(body)
    positions = np.arange(n) % rows
    w, o, z = tg.zeros(rows, 4), tg.ones(n, 4), tg.ones(n, 4)
    step(w, tg.tensor(positions), o, z)
    before = [w.clone(), z.clone()]
    for where, bad in ((n - 1, rows), (0, rows + 5), (n // 2, -rows - 1)):
        positions[where] = bad
        with pytest.raises(IndexError, match=rf"index {bad} .*size {rows}"):
            step(w, tg.tensor(positions), o, z)
        positions[where] = 0
    assert tg.equal(w, before[0]) and tg.equal(z, before[1])


@pytest.mark.parametrize("mask, kept", [(True, True), ([True, False], False)])
def test_a_mask_without_dimensions_may_change_before_backward_as_in_torch(mask, kept):
    for T in (torch, tg):
        x = T.ones(2, requires_grad=True)
        y, m = x * 2, T.tensor(mask)
        y[m] = 5.0
        m.zero_()
        if kept:
            y.sum().backward()
            assert x.grad.tolist() == [0.0, 0.0]
        else:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                y.sum().backward()
