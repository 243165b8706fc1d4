"""Hooks, and flags of autograd, that the function of a loop or branch sets."""

import pytest

import tracegrad as tg


def scanned(step, start, xs):
    return tg.scan(lambda h, x: (step(h, x), None), start, xs)[0]


def repeated(step, start, xs):
    return tg.while_loop(
        lambda i, _: i < len(xs), lambda i, h: (i + 1, step(h, xs[i])), (0, start))[1]


def chosen(step, start, xs):
    return tg.cond(xs.sum() > 0, lambda h: step(h, xs[0]), lambda h: h, (start,))


MARKS = {
    "a hook": lambda h, z, free: z.register_hook(lambda g: g * 2),
    "a kept gradient": lambda h, z, free: z.retain_grad(),
    "requires_grad": lambda h, z, free: free.requires_grad_(),
    "a hook of a carry": lambda h, z, free: h.register_hook(lambda g: g * 3),
}


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("loop", [scanned, repeated, chosen])
def test_what_the_function_sets_on_a_tensor_is_not_lost(loop, name):
    def run(way):
        w, free = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([3.0, 4.0])

        def f(xs):
            z = w * 1

            def step(h, x):
                MARKS[name](h, z, free)
                return h * z * free + x

            loop(step, w * 2, xs).sum().backward()
            return z.grad if name == "a kept gradient" else xs

        kept = way(f)(tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        grads = [w.grad, free.grad, kept]
        return [None if g is None else g.tolist() for g in grads]

    assert run(tg.compile) == run(lambda f: f)


def test_a_hook_of_a_slice_runs_in_each_iteration():
    def f(xs):
        def step(h, x):
            x.register_hook(lambda g: g * 2)
            return h * x, None

        return tg.autograd.grad(tg.scan(step, tg.ones(2), xs)[0].sum(), xs)[0]

    xs = tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    assert tg.compile(f)(xs).tolist() == f(xs).tolist() == [[30, 48], [10, 24], [6, 16]]
