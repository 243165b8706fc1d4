"""What a backward pass does besides giving gradients, when a compiled function returns a result and
backward is called outside: it happens at each backward, as eagerly, or is refused.
"""

import numpy as np
import pytest

import tracegrad as T
from tracegrad import nn


def both(program):
    """The outcome of a program that is given a decorator, eagerly and compiled."""
    found = []
    for decorate in (lambda f: f, T.compile):
        T.manual_seed(0)
        found.append(program(decorate))
    eager, compiled = found
    assert eager == pytest.approx(compiled, rel=1e-5)
    return eager


def x_of(*values):
    return T.tensor(values, requires_grad=True)


def test_a_tensor_hook_changes_a_tensor_at_each_backward():
    def program(decorate):
        x, total, count = x_of(1.0, 2.0, 3.0), T.zeros(3), T.zeros(())

        @decorate
        def loss(x):
            y = x * x
            y.register_hook(lambda g: (total.add_(g), count.add_(1), None)[2])
            return (y * 3).sum()

        for _ in range(3):
            loss(x).backward()
        loss(x)  # nothing happens without backward
        kept = loss(x)
        kept.backward(retain_graph=True)
        kept.backward()
        (g,) = T.autograd.grad(loss(x) * 2, x)
        return [*total.tolist(), count.item(), *x.grad.tolist(), *g.tolist()]

    assert both(program)[3] == 6


def test_only_the_outputs_that_backward_passes_through_count():
    def program(decorate):
        x, seen = x_of(1.0, 2.0), T.zeros(2)

        @decorate
        def losses(x):
            y, z = x * x, x * 3
            y.register_hook(lambda g: seen[0].add_(g.sum()) and None)
            z.register_hook(lambda g: seen[1].add_(1) and None)
            return y.sum(), z.sum()

        out = []
        for pick in (lambda a, b: a, lambda a, b: b, lambda a, b: a + b, lambda a, b: b):
            pick(*losses(x)).backward()
            out += seen.tolist()
        return [*out, *x.grad.tolist()]

    both(program)


def test_a_function_of_the_users_writes_in_its_backward():
    class Counting(T.autograd.Function):
        @staticmethod
        def forward(ctx, x, count, log):
            ctx.count, ctx.log = count, log
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            ctx.count.add_(1)
            ctx.log[0] = g.abs().max()
            return 2 * x * g, None, None

    def program(decorate):
        x, count, log = x_of(1.0, 2.0), T.zeros(()), T.zeros(2)
        loss = decorate(lambda x, count: (Counting.apply(x, count, log) * 3).sum())
        for _ in range(3):
            loss(x, count).backward()
        return [count.item(), *log.tolist(), *x.grad.tolist()]

    assert both(program)[:2] == [3, 3]


def test_module_hooks_and_parameters():
    def program(decorate):
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        norm, arrived = T.zeros(()), T.zeros(2)
        model[0].register_full_backward_hook(lambda m, gi, go: norm.add_(go[0].norm()) and None)
        model[2].register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
        model[0].weight.register_hook(lambda g: arrived[0].add_(1) and None)
        model[0].weight.register_post_accumulate_grad_hook(
            lambda p: arrived[1].add_(p.grad.sum()) and None
        )
        loss = decorate(lambda x: (model(x) ** 2).sum())
        x = T.randn(5, 3)
        for _ in range(2):
            loss(x).backward()
        return [norm.item(), *arrived.tolist(), *model[0].weight.grad.flatten().tolist()]

    both(program)


def test_a_hook_may_look_at_values_and_draw_random_numbers():
    def program(decorate):
        x = x_of(1.0, 2.0, 3.0)

        @decorate
        def loss(x):
            y = x * x
            y.register_hook(lambda g: g.clamp(max=1) if g.norm() > 3 else g)
            y.register_hook(lambda g: g + T.rand(3))
            return (y * 3).sum()

        out = []
        for factor in (1.0, 0.1, 1.0):
            (g,) = T.autograd.grad(loss(x) * factor, x)
            out += g.tolist()
        return out

    both(program)


def test_what_the_function_read_must_not_change_before_a_backward_that_runs_it_again():
    x, w, seen = x_of(1.0, 2.0), T.ones(2), T.zeros(())

    @T.compile
    def loss(x):
        y = x * w
        y.register_hook(lambda g: seen.add_(1) and None)
        return y.sum()

    found = loss(x)
    w.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.backward()
    assert seen.item() == 0


class Store:
    last = None


def keeping(keep):
    """What a hook has kept after three backward passes."""

    def program(decorate):
        store = Store()
        store.log, store.cells = [], np.array([None], object)

        class Hook:
            def __call__(self, g):
                keep(store, g)

        hook = Hook()

        def loss(x):
            y = x * x
            y.register_hook(hook)
            return y.sum()

        loss = decorate(loss)
        for k in range(3):
            (loss(x_of(1.0, 2.0)) * (k + 1)).backward()
        kept = [*store.log, *filter(None, (store.last, store.cells[0]))]
        values = (t.reshape(-1).tolist() if isinstance(t, T.Tensor) else [t] for t in kept)
        return [v for some in values for v in some]

    return program


KEEPS = {
    "the gradient": lambda store, g: store.log.append(g),
    "what is made of it": lambda store, g: store.log.append(g.norm()),
    "in an attribute": lambda store, g: setattr(store, "last", (g * 2).sum()),
    "its number": lambda store, g: store.log.append(g.sum().item()),
    "a count": lambda store, g: setattr(store, "last", (store.last or 0) + 1),
}


@pytest.mark.parametrize("keep", KEEPS.values(), ids=KEEPS)
def test_what_a_hook_keeps_is_what_backward_computed(keep):
    both(keeping(keep))


def test_no_traced_tensor_stays_where_nobody_knows():
    cell = np.array([None], object)  # its values are compared by nobody
    with pytest.raises(RuntimeError, match="was changed|is kept by a hook"):
        keeping(lambda store, g: cell.__setitem__(0, g))(T.compile)


def test_what_a_hook_reads_is_read_at_backward():
    def program(decorate):
        store, x, out = Store(), x_of(1.0, 2.0), []

        @decorate
        def loss(x):
            y = x * x
            y.register_hook(lambda g: g * store.factor)
            return y.sum()

        for k in range(4):
            store.factor = k
            found = loss(x)
            if k > 1:
                store.factor = 10 + k
            found.backward()
            out += x.grad.tolist()
        return out

    both(program)


def test_what_the_function_read_in_python_is_put_back_or_must_not_change():
    store = Store()
    store.power, store.count, store.factors = 2, 0, [1.0]

    @T.compile
    def loss(x):
        y = x**store.power * store.factors[0]
        y.register_hook(lambda g: setattr(store, "count", store.count + 1))
        return y.sum()

    x = x_of(1.0, 2.0)
    found = loss(x)
    store.power = 3
    found.backward()
    assert (x.grad.tolist(), store.power, store.count) == ([2, 4], 3, 1)
    found = loss(x)
    store.factors.append(2.0)
    with pytest.raises(RuntimeError, match="'factors'.*call backward first"):
        found.backward()
    assert store.count == 1


def test_a_result_that_another_was_computed_from_has_no_graph_between():
    x = x_of(1.0, 2.0, 3.0)

    @T.compile
    def two(x):
        y = x * x
        return y, (y * y).sum(), x.sum()

    y, loss, other = two(x)
    for asking in (
        y.retain_grad,
        lambda: y.register_hook(print),
        lambda: y.grad_fn.register_hook(print),
        lambda: T.autograd.grad(loss, y),
        lambda: T.autograd.grad(loss + y.sum(), y, allow_unused=True),
        lambda: loss.backward(inputs=[y]),
    ):
        with pytest.raises(RuntimeError, match="there is no graph"):
            asking()
    other.retain_grad()
    loss.retain_grad()
    (g,) = T.autograd.grad((y * 2).sum(), y, retain_graph=True)
    assert g.tolist() == [2, 2, 2]
    (loss + other).backward()
    assert loss.grad.item() == other.grad.item() == 1
    assert x.grad.tolist() == [5, 33, 109]


def test_what_retain_grad_kept_inside_comes_with_the_result():
    @T.compile
    def step(x):
        y = x * x
        y.retain_grad()
        z = y * y
        z.sum().backward()
        return {"y": y, "again": y}, y.grad

    for _ in range(2):
        found, g = step(x_of(1.0, 2.0, 3.0))
        assert found["y"] is found["again"] and found["y"].grad is g
        assert g.tolist() == [2, 8, 18]

    def later(x):
        y = x * x
        y.retain_grad()
        return y

    with pytest.raises(RuntimeError, match="call retain_grad.. on the result"):
        T.compile(later)(x_of(1.0))


def test_a_hook_after_accumulation_returns_nothing():
    x = x_of(1.0)
    x.register_post_accumulate_grad_hook(lambda p: p.grad * 2)
    for loss in (lambda x: (x * x).sum(), T.compile(lambda x: (x * x).sum())):
        with pytest.raises(RuntimeError, match="should return None"):
            loss(x).backward()


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("outside", [False, True])
def test_a_hook_that_a_function_leaves_on_a_tensor_from_outside_is_refused(computed, outside):
    leaf = T.tensor([1.0, 2.0], requires_grad=True)
    if outside:
        leaf.register_hook(lambda g: g * 3)
    w = leaf * 1 if computed else leaf

    def leave(x, remove):
        handle = w.register_hook(lambda g: g * 2)
        loss = (w * x).sum()
        if remove:
            handle.remove()
        return loss

    f, x = T.compile(leave), T.tensor([1.0, 3.0])
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"hook <lambda> \(.*test_compile_effects\.py:\d+"):
            f(x, False)
    (g,) = T.autograd.grad(f(x, True), leaf)
    assert g.tolist() == ([3.0, 9.0] if outside else [1.0, 3.0])


def test_the_gradient_of_what_was_computed_outside_is_kept_there():
    v = T.ones(2, requires_grad=True) * 2

    def keep(x):
        v.retain_grad()
        return (v * x).sum()

    with pytest.raises(RuntimeError, match=r"retain_grad\(\).*test_compile_effects\.py:\d+"):
        T.compile(keep)(T.ones(2))
