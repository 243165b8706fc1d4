"""Programs (reruns.py) whose hooks act in backward, and whose gradients are differentiated."""

from __future__ import annotations

import pytest
from reruns import check, gradients, leaf, noisy
from scenarios import collection

import tracegrad as T
from tracegrad import nn
from tracegrad.nn import functional as F
from tracegrad.utils.checkpoint import checkpoint

PROGRAMS, program = collection()


@program
def a_hook_that_gathers_statistics(compile):
    model, norm, count = noisy(), T.zeros(()), T.zeros(())
    model[0].register_full_backward_hook(
        lambda m, gi, go: (norm.add_(go[0].norm()), count.add_(1), None)[2]
    )
    optimizer = T.optim.SGD(model.parameters(), lr=0.1)
    loss = compile(lambda x: (model(x) ** 2).mean())
    for _ in range(4):
        optimizer.zero_grad()
        y = loss(T.randn(5, 3))
        y.backward()
        optimizer.step()
        yield y, norm, count, *model.buffers(), T.rand(1)
    yield from model.parameters()


@program
def hooks_that_clip_scale_and_log(compile):
    model, log = noisy(), T.zeros(4)
    model[1].weight.register_hook(lambda g: g.clamp(-0.01, 0.01))
    model[3].register_full_backward_hook(
        lambda m, gi, go: (gi[0] * 1.5,) if gi[0].norm() > 0.1 else None
    )
    model[2].register_full_backward_pre_hook(lambda m, go: [log.add_(go[0].sum(0))] and None)
    loss = compile(lambda x: (model(x) ** 2).mean())
    for _ in range(3):
        one, other = loss(T.randn(5, 3)), loss(T.randn(6, 3))
        (one + 2 * other).backward()
        yield one, other, log
        one = loss(T.randn(5, 3))
        one.backward(retain_graph=True)
        T.rand(3)
        one.backward()
        yield log, model[1].running_mean
    yield *gradients(model), T.rand(2)


@program
def a_whole_step_with_hooks(compile):
    model, norm = noisy(), T.zeros(())
    optimizer = T.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model[0].register_full_backward_hook(lambda m, gi, go: [norm.add_(go[0].norm())] and None)
    model[4].weight.register_hook(lambda g: g * 0.5)

    @compile
    def step(x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        return loss

    for _ in range(3):
        yield step(T.randn(5, 3)), norm, *model.buffers()
    yield from model.parameters()


@program
def a_gradient_penalty(compile):
    model = noisy()
    critic = compile(lambda x: (model(x) ** 2).mean())
    for _ in range(3):
        x = T.randn(5, 3, requires_grad=True)
        model.zero_grad()
        (g,) = T.autograd.grad(critic(x), x, create_graph=True)
        ((g.norm(dim=1) - 1) ** 2).mean().backward()
        yield g, *gradients(model), *model.buffers(), T.rand(1)


@program
def derivatives_of_third_order(compile):
    model = noisy()
    f = compile(lambda x: (model(x) ** 3).mean())
    x = T.randn(4, 3, requires_grad=True)
    y = f(x)
    one, other = (T.autograd.grad(y, x, create_graph=True)[0] for _ in range(2))
    (h,) = T.autograd.grad((one * other).sum(), x, create_graph=True)
    yield one, other, h, *T.autograd.grad(h.sum(), x)
    f(x).backward(create_graph=True)
    yield from gradients(model)


@program
def a_function_that_acts_and_draws_in_backward(compile):
    class Counts(T.autograd.Function):
        @staticmethod
        def forward(ctx, x, seen):
            ctx.seen = seen
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            ctx.seen.add_(g.sum())
            return 2 * x * g * T.rand(()), None

    seen, calls = T.zeros(()), T.zeros(())

    @compile
    def f(x):
        calls.add_(1)
        return Counts.apply(F.dropout(x * calls.clone(), 0.3), seen).sum()

    for _ in range(3):
        x = leaf(4)
        y = f(x)
        y.backward(retain_graph=True)
        y.backward()
        yield y, x.grad, seen, calls
        x = leaf(4)
        y, later = f(x), f(x)
        (g,) = T.autograd.grad(y, x, create_graph=True)
        yield g, *T.autograd.grad(g.sum(), x), *T.autograd.grad(later, x), seen, calls, T.rand(1)


@program
def a_hook_changes_what_the_function_reads(compile):
    average = T.zeros(3)

    @compile
    def f(x):
        y = x * x + average
        y.register_hook(lambda g: [average.add_(g)] and None)
        return (y * 2).sum()

    for _ in range(3):
        x, z = leaf(), leaf()
        one, other = f(x), f(z)
        one.backward()
        other.backward(retain_graph=True)
        other.backward()
        yield one, other, x.grad, z.grad, average


@program
def an_argument_is_changed_by_the_function_and_by_a_hook(compile):
    @compile
    def f(x, count):
        count.add_(1)
        y = x**3 * count.clone()
        y.register_hook(lambda g: [count.mul_(2)] and None)
        return y.sum()

    for _ in range(3):
        x, count = leaf(), T.ones(())
        y = f(x, count)
        y.backward(retain_graph=True)
        y.backward()
        (g,) = T.autograd.grad(f(x, count), x, create_graph=True)
        yield y, x.grad, count, g, *T.autograd.grad(g.sum(), x), count


@program
def a_view_is_changed_in_place(compile):
    memory = T.zeros(4, 3)
    row = memory[1]

    @compile
    def f(x):
        row.add_(x.detach())
        y = x**3 * row.clone()
        y.register_hook(lambda g: [row.mul_(0.5)] and None)
        return y.sum()

    for _ in range(3):
        x = leaf()
        f(x).backward()
        (g,) = T.autograd.grad(f(x), x, create_graph=True)
        yield x.grad, g, *T.autograd.grad(g.sum(), x), memory


@program
def a_function_that_reads_and_leaves_gradients(compile):
    w = T.ones(3, requires_grad=True)

    @compile
    def f(x):
        ((w * x.detach()) ** 2).sum().backward()
        return (x**3 * w.grad).sum()

    for k in range(3):
        x = leaf()
        y = f(x)
        kept, w.grad = w.grad.clone(), None if k == 1 else T.full((3,), 50.0)
        (g,) = T.autograd.grad(y, x, create_graph=True)
        yield y, kept, g, *T.autograd.grad(g.sum(), x), w.grad is None


@program
def one_compiled_function_within_another(compile):
    model, norm = noisy(), T.zeros(())
    model[0].register_full_backward_hook(
        lambda m, gi, go: [norm.add_(go[0].detach().norm())] and None
    )
    inner = compile(lambda x: model(x) ** 2)
    f = compile(lambda x: inner(x).mean() + inner(x).sum())
    for _ in range(2):
        x = T.randn(4, 3, requires_grad=True)
        f(x).backward()
        (g,) = T.autograd.grad(f(x), x, create_graph=True)
        g.sum().backward()
        yield x.grad, g, *gradients(model), norm, *model.buffers(), T.rand(1)


@program
def a_gradient_within_a_compiled_function(compile):
    model = noisy()
    inner = compile(lambda x: (model(x) ** 2).mean())

    @compile
    def penalty(x):
        x = x.detach().requires_grad_()
        (g,) = T.autograd.grad(inner(x), x, create_graph=True)
        return (g**2).sum()

    for _ in range(3):
        y = penalty(T.randn(4, 3))
        y.backward()
        yield y, *gradients(model), *model.buffers(), T.rand(1)


@program
def an_argument_that_is_captured_too(compile):
    w = T.tensor([1.0, 2.0, 3.0], requires_grad=True)
    v = w * 2
    v.retain_grad()
    v.register_hook(lambda g: g * 3)
    f = compile(lambda x, u: (x**2 * w**2 * v**2 * u).sum())
    (g,) = T.autograd.grad(f(w, v), w, create_graph=True)
    yield g, *T.autograd.grad(g.sum(), w, retain_graph=True)
    f(w, v).backward(create_graph=True)
    yield w.grad, v.grad


@program
def under_a_checkpoint(compile):
    model, norm = noisy(), T.zeros(())
    model[0].register_full_backward_hook(lambda m, gi, go: [norm.add_(go[0].norm())] and None)
    f = compile(lambda x: (checkpoint(model, x, use_reentrant=False) ** 2).mean())
    for _ in range(3):
        x = T.randn(4, 3, requires_grad=True)
        f(x).backward()
        yield x.grad, norm, *model.buffers(), T.rand(1)


@program
def without_gradients_and_with(compile):
    model, norm = noisy(), T.zeros(())
    model[0].register_full_backward_hook(lambda m, gi, go: [norm.add_(go[0].norm())] and None)
    f = compile(lambda x: (model(x) ** 2).mean())
    for _ in range(3):
        with T.no_grad():
            yield (f(T.randn(4, 3)),)
        y = f(T.randn(4, 3))
        with T.no_grad():
            y.backward()
        yield norm, *gradients(model), *model.buffers()
        model.eval()
        yield (f(T.ones(2, 3)),)
        model.train()


@program
def several_results(compile):
    model, norm = noisy(), T.zeros(())
    model[0].register_full_backward_hook(lambda m, gi, go: [norm.add_(go[0].norm())] and None)
    f = compile(lambda x: (model(x), model(x).sum()))
    x = T.randn(5, 3, requires_grad=True)
    a, b = f(x)
    for pick in (a.sum(), b, a.sum() + b):
        pick.backward(retain_graph=True)
        yield norm, x.grad


@program
def transforms(compile):
    calls = T.zeros(())

    @compile
    def f(x):
        calls.add_(1)
        return F.dropout(x, 0.3) ** 3 * calls.clone()

    x = leaf()
    for transform in (T.func.jacrev, T.func.jacfwd):
        yield transform(f)(x.detach()), calls, T.rand(1)
    yield T.func.hessian(lambda x: f(x).sum())(x.detach()), calls, T.rand(1)
    yield T.autograd.functional.jacobian(f, x, vectorize=True), calls
    y, every = f(x), {"grad_outputs": T.eye(3), "is_grads_batched": True}
    yield *T.autograd.grad(y, x, retain_graph=True, **every), calls
    (g,) = T.autograd.grad(y, x, create_graph=True, **every)
    yield g, *T.autograd.grad(g.sum(), x), calls, T.rand(1)


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_it_is_what_it_is_eagerly(name):
    check(PROGRAMS[name])
