"""autograd.Function and hooks on what it saves: against torch, eager and compiled."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from both_autograds import X, data, gradients, same

import tracegrad as tg
from tracegrad import func


def functions(T):
    """The same Functions in torch and here."""

    class Cube(T.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x, w):
            return x**3 * w

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs, output)

        @staticmethod
        def backward(ctx, g):
            x, w, y = ctx.saved_tensors
            assert any(ctx.needs_input_grad)
            return g * 3 * x**2 * w, (g * y / w).sum(0) if y.ndim > w.ndim else g * y / w

    class SinCos(T.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale):
            s, c = T.sin(x) * scale, T.cos(x) * scale
            ctx.scale = scale
            ctx.save_for_backward(s, c)
            return s, c

        @staticmethod
        def backward(ctx, gs, gc):
            s, c = ctx.saved_tensors
            return gs * c - gc * s, None

    class Sorted(T.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            signs = T.sign(x)
            ctx.mark_non_differentiable(signs)
            ctx.save_for_backward(signs)
            ctx.set_materialize_grads(False)
            return x * signs, signs, "a word"

        @staticmethod
        def backward(ctx, g, unused, word):
            assert unused is None and word is None
            return g * ctx.saved_tensors[0]

    return Cube.apply, SinCos.apply, Sorted.apply


CASES = {
    "saved answers": lambda f, T, x, w: gradients(T, f[0](x, w).sum(), x, w),
    "used twice": lambda f, T, x, w: gradients(T, f[0](f[0](x, w), w + 1).sum(), x, w),
    "several answers": lambda f, T, x, w: gradients(
        T, sum(a.pow(2).sum() * k for k, a in enumerate(f[1](x, 2.0))), x
    ),
    "one of several": lambda f, T, x, w: gradients(T, f[1](x, 0.5)[1].sum(), x),
    "not differentiable": lambda f, T, x, w: gradients(T, (f[2](x)[0] ** 3).sum(), x),
}
MAPPED = {
    "per example": lambda f, F, T, x, w: F.vmap(
        F.grad(lambda x, w: f[0](x, w).sum()), (0, None)
    )(x, w),
    "over examples": lambda f, F, T, x, w: F.grad(
        lambda w: F.vmap(lambda x: f[0](x, w).sum())(x).sum()
    )(w),
    "over per example": lambda f, F, T, x, w: F.grad(
        lambda w: F.vmap(F.grad(lambda x: f[0](x, w).sum()))(x).pow(2).sum()
    )(w),
}


@pytest.mark.parametrize("name", CASES)
def test_functions_agree_with_torch(name):
    torch = pytest.importorskip("torch")
    expected = CASES[name](functions(torch), torch, *data(torch))
    same(CASES[name](functions(tg), tg, *data(tg)), expected)
    if None not in expected:
        same(tg.compile(lambda x, w: CASES[name](functions(tg), tg, x, w))(*data(tg)), expected)


@pytest.mark.parametrize("name", MAPPED)
def test_functions_under_transforms_agree_with_torch(name):
    torch = pytest.importorskip("torch")
    expected = MAPPED[name](functions(torch), torch.func, torch, *data(torch, False))
    same(MAPPED[name](functions(tg), func, tg, *data(tg, False)), expected)


def test_a_function_may_say_itself_how_it_is_mapped():
    class NumPy(tg.autograd.Function):
        @staticmethod
        def forward(x, y):
            return tg.tensor(np.outer(x.detach().numpy(), y.detach().numpy()))

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g @ y, x @ g

        @staticmethod
        def vmap(info, in_dims, x, y):
            assert info.batch_size == 4 and in_dims == (0, None)
            return tg.stack([NumPy.apply(r, y) for r in x], 1), 1

    x, y = data(tg, False)
    f = lambda x: NumPy.apply(x, y)  # noqa: E731
    tg.testing.assert_close(tg.vmap(f)(x), x[:, :, None] * y)
    g = func.grad(lambda x: (tg.vmap(f)(x) ** 2).sum())(x)
    tg.testing.assert_close(g, 2 * x * (y * y).sum())


def test_the_loss_only_style_calls_the_users_backward():
    class Ten(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 10  # not what differentiation would give

    x = tg.ones(3, requires_grad=True)
    tg.compile(lambda x: Ten.apply(x).sum())(x).backward()
    assert x.grad.tolist() == [10, 10, 10]


def test_a_dirty_input_gets_the_history():
    class Double(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    leaf = tg.ones(3, requires_grad=True)
    x = leaf * 1
    y = Double.apply(x)
    assert y is x and x.grad_fn.name() == "DoubleBackward"
    (x * x).sum().backward()
    assert leaf.grad.tolist() == [8, 8, 8]


def test_a_record_is_freed_with_its_answer():
    class Identity(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(y := x * 1)
            return y

        @staticmethod
        def backward(ctx, g):
            return g

    gc.disable()
    try:
        y = Identity.apply(tg.ones(3, requires_grad=True))
        record = weakref.ref(y.grad_fn)
        del y
        assert record() is None
    finally:
        gc.enable()


def wrong(backward):
    methods = {
        "forward": staticmethod(lambda ctx, x: x * 2),
        "backward": staticmethod(backward),
    }
    return type("Wrong", (tg.autograd.Function,), methods)


@pytest.mark.parametrize(
    "backward, words",
    [
        (lambda ctx, g: (), "incorrect number of gradients"),
        (lambda ctx, g: (g, g), "incorrect number of gradients"),
        (lambda ctx, g: tg.ones(5), "invalid gradient"),
        (lambda ctx, g: 1.0, "no tensor"),
    ],
)
def test_wrong_backwards_say_why(backward, words):
    y = wrong(backward).apply(tg.ones(3, requires_grad=True))
    with pytest.raises(RuntimeError, match=words):
        y.sum().backward()


def test_once_differentiable():
    once = tg.autograd.function.once_differentiable(lambda ctx, g: g * 2)
    x = tg.ones(3, requires_grad=True)
    (g,) = tg.autograd.grad((wrong(once).apply(x) ** 2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        g.sum().backward()
    with pytest.raises(RuntimeError, match="instantiated"):
        tg.autograd.Function()


# ---- what is saved, and what happens after
def test_saved_tensors_pass_through_hooks():
    packed = []

    def pack(t):
        packed.append(t.shape)
        return t.numpy().astype("f4")  # half the memory

    x = tg.tensor(X, requires_grad=True)
    hooks = tg.autograd.graph.saved_tensors_hooks(pack, lambda a: tg.tensor(a).double())
    with hooks:
        y = ((x * x).exp() + functions(tg)[0](x, x)).sum()
    count = len(packed)
    assert count >= 3
    (first,) = tg.autograd.grad(y, x, create_graph=True)
    (second,) = tg.autograd.grad(first.sum(), x)
    assert len(packed) == count
    value = ((x * x).exp() + x**4).sum()
    (g,) = tg.autograd.grad(value, x, create_graph=True)
    tg.testing.assert_close(first, g, rtol=1e-5, atol=1e-6)
    tg.testing.assert_close(second, tg.autograd.grad(g.sum(), x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_optimizer_in_backward(compiled):
    """The tutorial's way to step within backward, parameter by parameter."""
    w = tg.ones(3, requires_grad=True)

    def update(p):
        with tg.no_grad():
            p -= 0.5 * p.grad
        p.grad = None

    handle = w.register_post_accumulate_grad_hook(update)
    loss = lambda x: (w * x).sum()  # noqa: E731
    (tg.compile(loss) if compiled else loss)(tg.ones(3)).backward()
    assert w.grad is None and w.tolist() == [0.5] * 3
    handle.remove()
    loss(tg.ones(3)).backward()
    assert w.grad.tolist() == [1] * 3
    with pytest.raises(RuntimeError, match="non-leaf"):
        (w * 1).register_post_accumulate_grad_hook(update)


def test_a_function_of_a_parameter_is_differentiated_forward():
    class Cube(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return g * 3 * ctx.saved_tensors[0] ** 2

    w = tg.tensor(2.0, requires_grad=True)
    y, tangent = tg.func.jvp(lambda x: Cube.apply(w * x), (tg.tensor(1.0),), (tg.tensor(1.0),))
    assert (y.item(), tangent.item()) == (8, 24)
    tangent.backward()
    assert w.grad.item() == 36  # 3 w**2 * 3
