"""Programs that write into tensors and into their views, against PyTorch: what is left in memory,
gradients, versions, and that a saved value written over is noticed.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")


def outcome(T, program, compiled=False):
    """Values, versions and gradients of w and u after a program that makes v; or what it raises."""

    def body(w, u):
        space = {"T": T, "w": w, "u": u, "x": w * 0.4}
        exec(program, space)
        return space.get("v", space["x"])

    numbers = np.array([[0.3, -2.0, 1.5], [3.0, 0.5, -0.7]])
    w, u = (T.tensor(a.tolist(), dtype=T.float64, requires_grad=True) for a in (numbers, numbers.T))
    u = u.t()
    u.retain_grad()
    v = (T.compile(body) if compiled else body)(w, u)
    facts = None if compiled else (np.max(v._version), v.is_contiguous(), v.requires_grad)
    try:
        (v * T.arange(1.0, v.numel() + 1).reshape(v.shape)).sum().backward()
    except RuntimeError as error:
        return type(error)
    grads = [0 * t.detach() if t.grad is None else t.grad for t in (w, u)]
    return facts, [t.detach().numpy() for t in (v, w, *grads)]


def same(mine, theirs):
    if isinstance(theirs, type):
        assert mine is theirs
        return
    assert mine[0] == theirs[0] or mine[0] is None
    for a, b in zip(mine[1], theirs[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


PROGRAMS = [
    "x.square_()", "x.clamp_(u)", "x.clamp_(u - 1, u)", "x.lerp_(u, 0.3)", "x.hypot_(u)",
    "x.xlogy_(u.abs() + 1)", "x.addcmul_(u, u)", "x.eq_(u)", "x.sign_()", "x[:, 1].square_()",
    "x.t().mul_(u.t())", "x[0].eq_(0)", "v = x.sum(0); v.square_()", "v = T.roll(x, 0, 1); v += 1",
    "v = T.roll(x, 0, 1); v.zero_(); v = x", "x[x > 0] = 0", "x[:, T.tensor(1)] = u[:, 0]",
    "v = x.flip(()); v.view(-1)[0] = 4", "v = T.cat([u, u], 1).view(-1)", "v = u.repeat(2, 1)",
    "v = u[:1].expand(4, 3).clone().view(6, 2)", "v = w[:, :1].expand(2, 3).ravel(); v += 1",
    "v = x[:, 1:].as_strided((2,), (3,)); v *= u[:, 0]",
    "v = x.t().as_strided((2, 2), (1, 2), 1) * 1", "x.fill_diagonal_(2.)",
    "v = x.clone(); v[0] *= v[1]",
]
NOTICED = [  # where backward must refuse, because what it needs is not there any more
    "x.mul_(x)", "x.mul_(x.detach())", "v = x.exp(); x[0] = 0; v.mul_(2)", "v = x.sin(); x[0] = 1",
    "v = x.exp()\nwith T.no_grad(): v[0] = 5", "v = x.tanh()\nwith T.no_grad(): v[0].mul_(2)",
    "v = x[0]; v.exp_(); v[:1].mul_(2)",
]


@pytest.mark.parametrize("program", [*PROGRAMS, *NOTICED])
def test_what_is_written_and_what_is_differentiated_is_torchs(program):
    same(outcome(tg, program), outcome(torch, program))


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS[::3])
def test_the_same_compiled(program):
    same(outcome(tg, program, compiled=True), outcome(tg, program))


def test_all_programs_that_must_be_noticed_are():
    assert all(outcome(torch, program) is RuntimeError for program in NOTICED[:-2])


def test_a_leaf_that_is_frozen_after_forward_takes_no_gradient():
    for T in (torch, tg):
        w, b = T.ones(2, requires_grad=True), T.ones(2, requires_grad=True)
        loss = (w * b).sum()
        w.requires_grad_(False)
        loss.backward()
        assert w.grad is None and b.grad.tolist() == [1, 1]


AFTER_DETACH = {  # what is done to a base that was cut off, and to its views
    "nothing": lambda y, v: None,
    "a new leaf": lambda y, v: y.requires_grad_(),
    "a write into the view": lambda y, v: v.mul_(3),
}


@pytest.mark.parametrize("change", AFTER_DETACH.values(), ids=AFTER_DETACH)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_view_keeps_its_history_when_detach_cuts_its_base_off(change, compiled):
    def made(x):
        y = x.exp() * 2
        v = y.t()[1:]
        w = v[0]
        y.detach_()
        change(y, v)
        # compiled, a result with a history of its own cannot share memory with another one
        return (y, v.clone(), w.clone()) if compiled else (y, v, w)

    def run(lib):
        x = lib.ones(2, 3, requires_grad=True)
        try:
            ts = (tg.compile(made) if compiled and lib is tg else made)(x)
        except RuntimeError as error:
            return str(error)[:60]
        (ts[1].square().sum() + ts[2].sum()).backward()
        return [t.requires_grad for t in ts], [t.is_leaf for t in ts], x.grad.flatten().tolist()

    if compiled and change is not AFTER_DETACH["a write into the view"]:
        with pytest.raises(RuntimeError, match=r"detach_\(\) of its base: return a clone"):
            tg.compile(lambda x: (y := x * 2, v := y[1:], y.detach_(), change(y, v))[:2])(
                tg.ones(2, 3, requires_grad=True)
            )
    mine, theirs = run(tg), run(torch)
    assert mine[:2] == theirs[:2]
    np.testing.assert_allclose(*(r[2] if len(r) == 3 else 0 for r in (mine, theirs)), rtol=1e-6)


def test_numbers_that_programs_share_cannot_be_written_to():
    for _ in range(2):
        y = tg.ones(3) * 7
        with pytest.raises(RuntimeError):
            tg.broadcast_to(tg.tensor(7.0), (3,)).add_(1)
        assert y.tolist() == [7, 7, 7]


def test_a_reshape_that_must_copy_an_argument_copies_it_compiled_too():
    def step(x):
        x.reshape(-1).zero_()
        return x + 1

    x = tg.arange(6.0).reshape(2, 3).t()
    want = step(x).tolist()
    assert tg.compile(step)(x).tolist() == want == (x + 1).tolist() != [[1, 1]] * 3
    with pytest.raises(RuntimeError, match="size and stride"):
        tg.compile(lambda x: x.view(-1))(x)


def test_memory_that_several_elements_share_is_not_written_compiled_either():
    def write(x):
        x[1:] = 1

    for f in (write, tg.compile(write)):
        row = tg.zeros(1, 3)
        with pytest.raises(RuntimeError, match="single memory location"):
            f(row.expand(4, 3))
        assert row.tolist() == [[0, 0, 0]]


VIEWS = {
    "a part": lambda y: y[0:2],
    "a row": lambda y: y.view(2, 2)[0],
    "of a detached one": lambda y: y.detach()[0:2],
    "one of several": lambda y: y.split(2)[0],
    "of a view": lambda y: y[0:3][0:2],
}
WRITES = {
    "times a number": lambda v, w: v.mul_(5),
    "times a leaf": lambda v, w: v.mul_(w),
    "an item": lambda v, w: v.__setitem__(0, 3.0),
    "an item of a leaf": lambda v, w: v.__setitem__(0, w[0]),
    "zeros": lambda v, w: v.zero_(),
    "into a view of it": lambda v, w: v[0:1].mul_(w[0]),
    "through detach": lambda v, w: v.detach().mul_(5),
}


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("base", ["plain", "leaf", "computed"])
def test_a_view_made_without_grad_is_written_to_without_grad(base, view, write):
    def run(T, in_grad_mode, way):
        x = T.ones(4, requires_grad=base != "plain")
        w = T.full((2,), 3.0, requires_grad=True)
        y = x * 2 if base == "computed" else x
        with T.no_grad():
            v = view(y)

        def program(v, w):
            with T.set_grad_enabled(in_grad_mode):
                write(v, w)

        try:
            if way == "inside":

                def whole(x, w):
                    y = x * 2 if base == "computed" else x
                    with T.no_grad():
                        v = view(y)
                    program(v, w)
                    return y.sum()

                y = T.compile(whole)(x, w)
            else:
                (T.compile(program) if way == "argument" else program)(v, w)
            if y.requires_grad:
                y.sum().backward()
        except RuntimeError as error:
            return "no_grad mode" in str(error)
        return y.sum().item(), None if x.grad is None else x.grad.tolist(), w.grad

    for in_grad_mode in (False, True):
        theirs = run(torch, in_grad_mode, "eager")
        for way in ("eager", "argument", "inside"):
            assert run(tg, in_grad_mode, way) == theirs


def test_a_program_is_asked_again_for_another_kind_of_view():
    f = tg.compile(lambda v, w: v.mul_(w))
    x, w = tg.ones(4), tg.full((2,), 3.0, requires_grad=True)
    f(tg.ones(2), w)
    with tg.no_grad():
        hidden = x[:2]
    leaf = tg.ones(4, requires_grad=True)
    for v, why in ((hidden, "no_grad mode"), (leaf[:2], "a view of a leaf"),
                   ((leaf * 2).chunk(2)[0], "multiple views")):
        before = v.tolist()
        with pytest.raises(RuntimeError, match=why):
            f(v, w)
        assert v.tolist() == before
    assert f(x[2:], w).tolist() == [3, 3] and x.requires_grad
