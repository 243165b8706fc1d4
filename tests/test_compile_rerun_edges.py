"""A function that is run again for its backward: what it prints, refuses, raises; threads."""

from __future__ import annotations

import threading

import pytest
from reruns import Holder, leaf

import tracegrad as T
from tracegrad import nn
from tracegrad.nn import functional as F


def test_what_a_function_prints_it_prints_once(capsys):
    seen = T.zeros(())

    @T.compile
    def f(x):
        print("called")
        y = x**2
        y.register_hook(lambda g: [seen.add_(1)] and print("hooked"))
        return y.sum()

    y = f(leaf())
    y.backward(retain_graph=True)
    y.backward()
    assert capsys.readouterr().out.split() == ["called", "hooked", "hooked"]
    assert seen.item() == 2


def test_a_tensor_that_was_changed_since_is_refused():
    """One that only a later derivative needs, too."""
    b = T.zeros(3, requires_grad=True)
    f = T.compile(lambda x: ((x + b) ** 3).sum() + (x * b.detach()[0]).sum())
    for change in (lambda: b.add_(5), lambda: setattr(b, "data", T.ones(3))):
        x = leaf()
        y = f(x)
        with T.no_grad():
            change()
        with pytest.raises(RuntimeError, match="modified by an inplace op|changed through `.data`"):
            T.autograd.grad(y, x, create_graph=True)


def test_an_error_on_the_way_leaves_the_world_as_it_was():
    state, count = Holder(), T.zeros(())
    state.scale, state.fails = 1.0, False

    class Fails(T.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            if state.fails:
                raise ValueError("no")
            return g

    def f(x):
        count.add_(1)
        return (Fails.apply(F.dropout(x**2, 0.5)) * state.scale).sum()

    compiled = T.compile(f)
    for scale in (1.0, 2.0, 3.0):
        state.scale = scale
        x = leaf()
        y = compiled(x)
    state.scale = 9.0
    T.manual_seed(5)
    state.fails = True
    with pytest.raises(ValueError, match="no"):
        T.autograd.grad(y, x, create_graph=True)
    assert (state.scale, count.item()) == (9.0, 3)
    drawn = T.rand(3).tolist()
    T.manual_seed(5)
    assert drawn == T.rand(3).tolist()


def test_a_hook_that_raises_does_so_in_backward():
    found = []
    for compile in (lambda f: f, T.compile):
        model, state, out = nn.BatchNorm1d(3), Holder(), []

        def hook(module, grad_input, grad_output, state=state):
            if state.fails:
                raise KeyError("no")
            state.norm = grad_output[0].norm()

        model.register_full_backward_hook(hook)
        loss = compile(lambda x, model=model: (model(x) ** 2).sum())
        for state.fails in (False, True, False, True):
            y = loss(T.ones(2, 3, requires_grad=True))
            try:
                y.backward()
                out.append("through")
            except KeyError as error:
                out.append(str(error))
            out.append(model.num_batches_tracked.item())
        found.append(out)
    assert found[0] == found[1] == ["through", 1, "'no'", 2, "through", 3, "'no'", 4]


def test_the_default_dtype_is_that_of_the_call():
    f = T.compile(lambda x: (x**3 * T.ones(3)).sum())
    x = leaf()
    y = f(x)
    T.set_default_dtype(T.float64)
    try:
        (g,) = T.autograd.grad(y, x, create_graph=True)
        assert T.get_default_dtype() is T.float64
    finally:
        T.set_default_dtype(T.float32)
    assert g.dtype is T.float32


def test_threads_share_a_module_with_buffers_and_hooks():
    model, hooked, errors = nn.BatchNorm1d(3), T.zeros(()), []
    model.register_full_backward_hook(lambda m, gi, go: [hooked.add_(1)] and None)
    loss = T.compile(lambda x: (model(x) ** 2).sum())

    def train():
        try:
            for _ in range(30):
                loss(T.randn(4, 3)).backward()
                with T.no_grad():
                    loss(T.randn(4, 3))
        except Exception as error:  # for the main thread
            errors.append(error)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert model.num_batches_tracked.item() == 240 and hooked.item() == 120


def test_threads_run_it_again_at_once():
    """Each with a model of its own, and one generator."""
    def penalty(seed, out):
        x = T.full((64, 3), float(seed + 1), requires_grad=True)
        for _ in range(20):
            y = f(x)
            (g,) = T.autograd.grad(y.sum(), x, create_graph=True)
            (h,) = T.autograd.grad(g.sum(), x)
            # y = mask * x ** 3: where the mask of the call is 0, so are both derivatives
            mask = (y.detach() / x.detach() ** 3).round()
            out.append(bool((g.detach() == 3 * x.detach() ** 2 * mask).all()
                            and (h == 6 * x.detach() * mask).all()))

    count = T.zeros(())

    @T.compile
    def f(x):
        count.add_(1)
        return x**3 * (T.rand(64, 3) > 0.5)

    results = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=penalty, args=(k, out)) for k, out in enumerate(results)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(len(out) == 20 and all(out) for out in results)
    assert count.item() == 80
