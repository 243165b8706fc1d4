"""The eager autograd graph: its results, its errors and their messages."""

import gc
import weakref

import numpy as np
import pytest

import tracegrad as T


def leaf(*values):
    return T.tensor(values, requires_grad=True)


def refuses(words, kind=RuntimeError):
    return pytest.raises(kind, match=words)


# ---- values
FUNCTIONS = {
    "mean of squares": lambda x, w: ((x @ w).tanh() ** 2).mean(),
    "softmax": lambda x, w: ((x @ w).softmax(1) * T.arange(2.0)).sum(),
    "log_softmax over slices": lambda x, w: (x @ w).log_softmax(0)[1:, 0].sum(),
    "std and var": lambda x, w: x.std(0).sum() + w.var() * x.var(1).mean(),
    "norm": lambda x, w: x.norm() + w.norm(dim=0).sum() + x.norm(3),
    "logsumexp": lambda x, w: (x @ w).logsumexp(1).sum(),
    "cat, stack, flip": lambda x, w: (
        T.cat([x.t(), w], 1).flip(0) * T.stack([w, w])[0, 0, 0]
    ).sum(),
    "gather and index": lambda x, w: (x[[0, 2, 0]] * x.gather(0, T.tensor([[1], [0], [2]]))).sum(),
    "in place through a view": lambda x, w: filled(x * 1, w).pow(2).sum(),
    "einsum": lambda x, w: T.einsum("ij,jk,ik->", x, w, x @ w),
    "prod and cumulative parts": lambda x, w: x.prod(1).sum() * w[0].prod(),
    "where and clamp": lambda x, w: T.where(x > 0.2, x.clamp(-1, 0.9) * 3, x.exp()).sum(),
    "batched matmul": lambda x, w: (x.expand(2, 3, 4) @ w.expand(2, 4, 2)).sigmoid().sum(),
}


def filled(y, w):
    y[:, 1] = w[1:, 0] * 2
    y.t()[0].mul_(w[0, 0])
    return y


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_central_differences_to_second_order(name):
    function, rng = FUNCTIONS[name], np.random.default_rng(3)
    make = lambda *shape: T.tensor(rng.uniform(0.3, 1.4, shape), requires_grad=True)
    points = [make(3, 4), make(4, 2)]
    directions = [T.tensor(rng.normal(size=tuple(p.shape))) for p in points]

    def slope(ps, create=False):
        grads = T.autograd.grad(function(*ps), ps, create_graph=create, allow_unused=True,
                                materialize_grads=True)
        return sum((g * d).sum() for g, d in zip(grads, directions, strict=True))

    def moved(h):
        return [
            (p.detach() + h * d).requires_grad_() for p, d in zip(points, directions, strict=True)
        ]

    h = 1e-5
    first = (function(*moved(h)) - function(*moved(-h))).item() / (2 * h)
    assert slope(points).item() == pytest.approx(first, rel=1e-6, abs=1e-8)
    second = (slope(moved(h)) - slope(moved(-h))).item() / (2 * h)
    curved = slope(points, create=True)
    if not curved.requires_grad:
        assert second == pytest.approx(0, abs=1e-6)
        return
    grads = T.autograd.grad(curved, points, allow_unused=True, materialize_grads=True)
    found = sum((g * d).sum() for g, d in zip(grads, directions, strict=True)).item()
    assert found == pytest.approx(second, rel=1e-5, abs=1e-6)


def test_gradients_accumulate_until_they_are_zeroed():
    x = leaf(1.0, 1.0)
    seen = []
    for _ in range(4):
        (x * 2).sum().backward()
        seen.append(x.grad[0].item())
    x.grad.zero_()
    assert seen == [2, 4, 6, 8] and x.grad.tolist() == [0, 0]


def test_the_grads_of_two_leaves_are_never_one_tensor():
    a, b = leaf(1.0), leaf(2.0)
    (a + b).sum().backward()
    a.grad.add_(1)
    assert b.grad.item() == 1


def test_a_given_gradient_is_not_written_to():
    x, g = leaf(1.0), T.ones(1)
    for _ in range(2):
        (x + 0).backward(g)
    assert g.item() == 1 and x.grad.item() == 2


def test_a_graph_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = (x.exp() * x).softmax(0)[0]
        fn = weakref.ref(y.grad_fn)
        del y
        assert fn() is None
    finally:
        gc.enable()


def test_a_long_chain_needs_no_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y * 1.0
    y.sum().backward()
    assert x.grad.item() == 1
    del y


def test_a_changed_data_is_not_noticed():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    x.data.add_(1)
    y.backward()
    assert x.grad.tolist() == [4, 6]


# ---- refusals
def test_an_inplace_change_of_a_saved_value_is_an_error():
    y = leaf(1.0, 2.0).exp()
    z = y * y
    y.add_(1)
    with refuses("one of the variables needed for gradient computation has been modified by an "
                 r"inplace operation: \[tracegrad.FloatTensor \[2\]\], which is output 0 of "
                 "ExpBackward0, is at version 1; expected version 0 instead"):
        z.sum().backward()


def test_a_change_through_a_view_or_a_detached_tensor_is_noticed_too():
    for change in (lambda y: y[0].zero_(), lambda y: y.detach().zero_(), lambda y: y.t().mul_(2)):
        y = leaf(1.0, 2.0) * 1
        z = (y * y).sum()
        change(y)
        with refuses("modified by an inplace operation"):
            z.backward()


def test_a_leaf_changes_in_place_only_under_no_grad():
    b = leaf(1.0)
    with refuses("a leaf Variable that requires grad is being used in an in-place operation."):
        b -= 0.1
    with refuses("a view of a leaf Variable that requires grad is being used in an in-place"):
        b[0] = 1
    with T.no_grad():
        b -= 0.5
    assert b.item() == 0.5 and b.requires_grad and b.is_leaf


def test_a_freed_graph_is_not_walked_again():
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward()
    with refuses("Trying to backward through the graph a second time"):
        y.backward()
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 6


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x: (x * 2).backward(), "grad can be implicitly created only for scalar outputs"),
        (
            lambda x: x.detach().sum().backward(),
            "element 0 of tensors does not require grad and does not",
        ),
        (lambda x: (x * 2).backward(T.ones(2)), r"Mismatch in shape: grad_output\[0\]"),
        (
            lambda x: T.tensor([1]).requires_grad_(),
            "only Tensors of floating point and complex dtype",
        ),
        (
            lambda x: (x * 2).requires_grad_(False),
            "you can only change requires_grad flags of leaf",
        ),
        (
            lambda x: x.numpy(),
            r"Can't call numpy\(\) on Tensor that requires grad. Use tensor.detach",
        ),
        (lambda x: setattr(x, "grad", T.ones(2)), "assigned grad has data of a different size"),
        (
            lambda x: setattr(x, "grad", T.ones(3).double()),
            "assigned grad has data of a different type",
        ),
        (
            lambda x: T.autograd.grad(x.sum(), T.ones(3)),
            "One of the differentiated Tensors does not",
        ),
        (
            lambda x: T.autograd.grad(x.sum(), leaf(1.0)),
            "appears to not have been used in the graph",
        ),
        (
            lambda x: T.ones(1).register_hook(print),
            "cannot register a hook on a tensor that doesn't",
        ),
        (lambda x: (x * 1).expand(2, 3).add_(1), "more than one element of the written-to tensor"),
        (
            lambda x: (x * 1).unbind()[0].add_(1),
            "is the output of a function that returns multiple",
        ),
    ],
)
def test_misuse_is_refused_in_torchs_words(wrong, words):
    with refuses(words):
        wrong(leaf(1.0, 2.0, 3.0))


def test_an_operation_that_fails_in_place_writes_nothing():
    x = T.arange(3)
    for wrong in (
        lambda: x.add_(1.5),
        lambda: x.add_(T.ones(2, 3, dtype=T.int64)),
        lambda: x.div_(2),
    ):
        with pytest.raises(RuntimeError):
            wrong()
        assert x.tolist() == [0, 1, 2] and x._version == [0]


# ---- modes
def test_modes_nest_and_decorate():
    x = leaf(1.0)

    @T.no_grad()
    def quiet():
        with T.enable_grad():
            inner = (x * 2).requires_grad
        return inner, (x * 2).requires_grad

    @T.no_grad()
    def numbers():
        yield (x * 2).requires_grad
        yield T.is_grad_enabled()

    assert quiet() == (True, False) and T.is_grad_enabled()
    steps = numbers()
    assert next(steps) is False and T.is_grad_enabled() and next(steps) is False
    with T.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    with T.inference_mode():
        assert not (x * 2).requires_grad and T.is_inference_mode_enabled()
    assert T.is_grad_enabled() and not T.is_inference_mode_enabled()
    T.set_grad_enabled(False)
    assert not T.is_grad_enabled()
    T.set_grad_enabled(True)


def test_another_thread_has_modes_of_its_own():
    from threading import Thread

    seen = []
    with T.no_grad():
        thread = Thread(target=lambda: seen.append(T.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


# ---- hooks and the graph
def test_hooks_see_the_whole_gradient_once_and_may_replace_it():
    x, seen = leaf(1.0, 2.0), []
    y = x * 3
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = x.register_hook(lambda g: g * 10)
    (y + y).sum().backward()
    assert seen == [[2, 2]] and x.grad.tolist() == [60, 60]
    handle.remove()
    x.grad = None
    x.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_hook_on_a_grad_fn_sees_both_sides():
    x, seen = leaf(1.0), []
    y = x * 3
    y.grad_fn.register_hook(lambda into, out: seen.append((into[0].item(), out[0].item())))
    y.sum().backward()
    assert seen == [(3, 1)]


def test_a_retained_gradient_is_kept_and_accumulates():
    y = leaf(1.0, 2.0) * 2
    y.retain_grad()
    z = (y * y).sum()
    z.backward(retain_graph=True)
    assert y.grad.tolist() == [4, 8] and y.retains_grad
    z.backward()
    assert y.grad.tolist() == [8, 16]


def test_the_graph_shows_what_the_user_wrote():
    x = leaf(1.0, 2.0)
    y = ((x - 1) ** 2).mean()
    names, fn = [], y.grad_fn
    while fn is not None:
        names.append(fn.name())
        fn = fn.next_functions[0][0] if fn.next_functions else None
    assert names == ["MeanBackward0", "PowBackward0", "SubBackward0", "AccumulateGrad"]
    s = x.softmax(0).grad_fn
    assert s.name() == "SoftmaxBackward0" and s.next_functions[0][0].variable is x
    s.metadata["mine"] = 1
    assert s.metadata == {"mine": 1}


def test_only_what_a_rule_reads_is_kept():
    big = T.ones(1000) * 1
    array = weakref.ref(big._array)
    y = big + leaf(*[1.0] * 1000)  # the derivative of a sum reads neither
    del big
    gc.collect()
    assert array() is None
    y.sum().backward()


def test_a_quotient_may_be_changed_after_it_was_made():
    a = T.tensor([1.0, 2.0], requires_grad=True)
    b = T.tensor([3.0, 4.0], requires_grad=True)
    y = a / b
    y[T.tensor([True, False])] += 1  # torch's rule asks the operands alone
    y.sum().backward()
    np.testing.assert_allclose(a.grad, [1 / 3, 1 / 4])
    np.testing.assert_allclose(b.grad, [-1 / 9, -1 / 8])
