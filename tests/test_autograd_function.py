"""autograd.Function, checkpoint and autograd.functional: against torch, eager and compiled."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import func
from tracegrad.tracer.pytree import flatten
from tracegrad.utils.checkpoint import checkpoint, checkpoint_sequential

RNG = np.random.default_rng(11)
X, W = RNG.standard_normal((4, 3)), RNG.standard_normal(3) + 3


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


def gradients(T, y, *xs):
    """First and second derivatives of a number."""
    first = T.autograd.grad(y, xs, create_graph=True, allow_unused=True)
    total = sum((g * g).sum() for g in first if g is not None)
    return [*first, *T.autograd.grad(total, xs, allow_unused=True)]


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


def data(T, grad=True):
    return [T.tensor(a, requires_grad=grad) for a in (X, W)]


def numbers(found):
    return [None if t is None else t.detach().numpy() for t in flatten(found)[0]]


def same(found, expected):
    for a, b in zip(numbers(found), numbers(expected), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


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


# ---- checkpoint
def network():
    tg.manual_seed(3)
    layers = [tg.nn.Linear(3, 4), tg.nn.Tanh(), tg.nn.Linear(4, 3), tg.nn.Tanh()]
    return tg.nn.Sequential(*layers).double()


def trained(model, run, x):
    """Gradients, and the gradient of their square, with respect to parameters and input."""
    leaf = tg.tensor(x, requires_grad=True)
    return gradients(tg, run(model, leaf * 2).pow(2).sum(), leaf, *model.parameters())


@pytest.mark.parametrize(
    "run",
    [
        lambda m, x: checkpoint(m, x, use_reentrant=False),
        lambda m, x: checkpoint(lambda x: checkpoint(m, x), x),
        lambda m, x: checkpoint(lambda pair: {"y": (m(pair[0]), pair[1])}, (x, 1))["y"][0],
        lambda m, x: checkpoint_sequential(m, 2, x),
        lambda m, x: checkpoint(lambda: m(x)),
    ],
)
def test_a_checkpoint_changes_no_gradient(run):
    model = network()
    same(trained(model, run, X), trained(model, lambda m, x: m(x), X))


def test_a_checkpoint_saves_nothing_and_runs_again():
    runs = []

    def f(x):
        runs.append(0)
        return (x.sin() * tg.rand(3)).exp()

    x = tg.ones(3, requires_grad=True)
    tg.manual_seed(0)
    y = checkpoint(f, x)
    assert len(runs) == 1
    tg.rand(7)
    y.sum().backward()
    assert len(runs) == 2
    inside = tg.log(y.detach()) / tg.ones(3).sin()  # the numbers drawn
    tg.testing.assert_close(x.grad, y.detach() * inside * tg.ones(3).cos())
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_a_checkpoint_compiles():
    model, x = network(), tg.tensor(X)
    step = tg.compile(lambda x: tg.autograd.grad(
        checkpoint(model, x).pow(2).sum(), list(model.parameters())
    ))  # fmt: skip
    same(step(x), tg.autograd.grad(model(x).pow(2).sum(), list(model.parameters())))


# ---- autograd.functional
def pair(T):
    return lambda x, w: (T.exp(x) @ w, (x * w).sum())


def number(T):
    return lambda x, w: (T.sin(x) * w).pow(3).sum()


FUNCTIONAL = {
    "jacobian": lambda T, x, w: T.autograd.functional.jacobian(pair(T), (x, w)),
    "vectorized": lambda T, x, w: T.autograd.functional.jacobian(pair(T), (x, w), vectorize=True),
    "forward": lambda T, x, w: T.autograd.functional.jacobian(
        pair(T), (x, w), vectorize=True, strategy="forward-mode"
    ),
    "single": lambda T, x, w: T.autograd.functional.jacobian(T.exp, w),
    "hessian": lambda T, x, w: T.autograd.functional.hessian(number(T), (x, w)),
    "hessian, vectorized": lambda T, x, w: T.autograd.functional.hessian(
        number(T), (x, w), vectorize=True, outer_jacobian_strategy="forward-mode"
    ),
    "vjp": lambda T, x, w: T.autograd.functional.vjp(pair(T), (x, w), (x[:, 0], w[0])),
    "jvp": lambda T, x, w: T.autograd.functional.jvp(pair(T), (x, w), (x, w)),
    "vhp": lambda T, x, w: T.autograd.functional.vhp(number(T), (x, w), (x, w)),
    "hvp": lambda T, x, w: T.autograd.functional.hvp(number(T), (x, w), (x, w)),
    "differentiated": lambda T, x, w: T.autograd.grad(
        T.autograd.functional.jacobian(pair(T), (x, w), create_graph=True)[0][0].sum(), (x, w)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functional_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    same(FUNCTIONAL[name](tg, *data(tg)), FUNCTIONAL[name](torch, *data(torch)))


def test_functional_strict_and_wrong():
    x = tg.tensor(W)
    with pytest.raises(RuntimeError, match="strict"):
        tg.autograd.functional.jacobian(lambda x: tg.ones(2), x, strict=True)
    assert (tg.autograd.functional.jacobian(lambda x: tg.ones(2), x) == 0).all()
    with pytest.raises(RuntimeError, match="invalid size"):
        tg.autograd.functional.vjp(lambda x: x * 2, x, x[:1])
    with pytest.raises(TypeError, match="tuple of Tensors"):
        tg.autograd.functional.jacobian(lambda x: 1.0, x)


def test_anomalies_are_named():
    x = tg.zeros(1, requires_grad=True)
    with tg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="SqrtBackward0"):
        (x.sqrt() * 0).sum().backward()
    with tg.autograd.set_detect_anomaly(True), pytest.raises(RuntimeError, match="nan values"):
        (x.sqrt() * 0).sum().backward()
    (x.sqrt() * 0).sum().backward()


# ---- dual numbers
def test_dual_numbers_agree_with_torch():
    torch = pytest.importorskip("torch")
    found = []
    for T in (torch, tg):
        fwd = T.autograd.forward_ad
        x, w = data(T, False)
        with fwd.dual_level():
            a, b = fwd.make_dual(x, x * 2), fwd.make_dual(w, w + 1)
            found.append(fwd.unpack_dual(T.tanh(a @ b) * b.sum()))
            assert fwd.unpack_dual(x).tangent is None
    same(found[1], found[0])
    with pytest.raises(RuntimeError, match="level"):
        tg.autograd.forward_ad.make_dual(x, x)


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
