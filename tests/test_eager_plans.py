"""Operations made of several primitives give the same bits by their plans as without, eagerly."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tracegrad as torch
from tracegrad.tracer.autograd import plans
from tracegrad.tracer.mode import mode

F = torch.nn.functional


@pytest.fixture(autouse=True)
def plans_at_the_second_call(monkeypatch):
    monkeypatch.setattr(plans, "CALLS", 2)


rng = np.random.default_rng(0)


def leaf(*shape, dtype=torch.float32):
    return torch.tensor(rng.standard_normal(shape), dtype=dtype).requires_grad_()


def bits(t):
    if t is None:
        return None
    return tuple(t.shape), t.dtype, t.detach().contiguous()._array.tobytes()


def gradients(function, leaves, planning):
    """The bits of the result, and of its first and second derivatives."""
    before, mode.planning = mode.planning, planning
    try:
        y = function(*leaves)
        first = torch.autograd.grad(y.float().square().sum(), leaves, retain_graph=True)
        again = torch.autograd.grad(
            y.float().square().sum(), leaves, create_graph=True, allow_unused=True)
        total = sum((g.float() * g.float()).sum() for g in again if g is not None)
        second = [None] * len(leaves)
        if total.requires_grad:
            second = torch.autograd.grad(total, leaves, allow_unused=True)
        return bits(y), [*map(bits, first)], [*map(bits, again)], second, type(y.grad_fn)
    finally:
        mode.planning = before


LABELS = torch.tensor([0, 2, 1, 2])
PROGRAMS = {
    "softmax": lambda x: F.softmax(x, 1),
    "a residual": lambda x: x * 2 + F.softmax(x, -1) + F.gelu(x) + x,
    "layer_norm": lambda x: F.layer_norm(x, (5,)) + x,
    "mean": lambda x: x.mean(0) + x.mean(),
    "cross_entropy": lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.1),
    "linear": lambda x: F.linear(x, x[:3].clone(), x[0, :3].clone()),
    "stack": lambda x: torch.stack([x, x * 2], 1),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "var": lambda x: x.var(1),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "mse": lambda x: F.mse_loss(x, x.detach() * 2),
    "transposed": lambda x: F.softmax(x.t(), 0) + F.silu(x.t()),
    "columns": lambda x: F.softmax(x[:, ::2], 0).sum(1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x[:, :5].clone(), is_causal=True),
    "parts": lambda x: x[1] * x[:, 2:3] + x[-1, ::2].sum() + x.view(-1)[3] + x[LABELS].sum(0),
    "views": lambda x: x.reshape(5, 4) @ x.t().unsqueeze(0)[0].t() + x.max() * x.min(),
    "prod": lambda x: x.prod(1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_plan_gives_the_same_bits(name, dtype):
    x = leaf(4, 5, dtype=dtype)
    *want, _ = gradients(PROGRAMS[name], [x], planning=False)
    for _ in range(3):
        y, first, again, second, _ = gradients(PROGRAMS[name], [x], planning=True)
        assert (y, first, again) == tuple(want[:3])
    for a, b in zip(second, want[3], strict=True):
        assert (a is None) is (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=0.05 if dtype.itemsize == 2 else 1e-4, atol=1e-2)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_plans_are_made_and_used(device, monkeypatch):
    monkeypatch.setattr(mode, "device", device and torch.device(device))
    x = leaf(3, 7 if device is None else 8)
    kinds = [type(F.softmax(x, 1).grad_fn).__mro__ for _ in range(3)]
    assert [plans.PlannedBackward in kind for kind in kinds] == [False, False, True]
    assert {k[-1].__name__ for k in kinds} == {"object"}
    assert [F.softmax(x, 1).grad_fn.name() for _ in range(2)] == ["SoftmaxBackward0"] * 2


def test_a_value_out_of_range_is_seen_at_every_call():
    x = leaf(4, 5)
    for _ in range(3):
        F.cross_entropy(x, LABELS)
        with pytest.raises(IndexError):
            F.cross_entropy(x, LABELS + 5)


def test_arguments_that_compare_equal_are_told_apart():
    x = leaf(3)
    for _ in range(3):
        assert torch.add(x, x.detach(), alpha=1).dtype is torch.float32
        with pytest.raises(RuntimeError):
            torch.add(x, x.detach(), alpha=True)
        for zero in (0.0, -0.0):
            y = F.threshold(x - 10, 0.0, zero)
            assert np.signbit(y.detach().numpy()).all() == (str(zero) == "-0.0")


def warmed(function, *args):
    for _ in range(3):
        function(*args)
    return function(*args)


def test_a_change_of_a_saved_value_is_an_error():
    x = leaf(3, 4)
    y = warmed(F.softmax, x, 1)
    y.detach().mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.sum().backward()
    h = x * 1
    z = warmed(F.silu, h)
    with torch.no_grad():
        h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        z.sum().backward()


def test_a_graph_is_freed_or_retained():
    y = warmed(F.softmax, leaf(3, 4), 1).square().sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_hooks_see_the_operation_as_one():
    x, seen = leaf(3, 4), []
    y = warmed(F.softmax, x, 1)
    y.grad_fn.register_prehook(lambda g: seen.append("before") or (g[0] * 2,))
    y.register_hook(lambda g: seen.append("hook"))
    assert [fn.name() for fn, _ in y.grad_fn.next_functions] == ["AccumulateGrad"]
    (y * torch.arange(4.0)).sum().backward()
    assert seen == ["before", "hook"]
    want = leaf(3, 4)
    want.data = x.data
    (F.softmax(want.double(), 1) * torch.arange(4.0) * 2).sum().backward()
    torch.testing.assert_close(x.grad, want.grad)


def test_views_of_plans_are_views():
    x = leaf(4, 5)
    for _ in range(4):
        h = x * 1
        v = h[1:3]
        assert v._base is h and v[0]._base is h and v.t()._base is h
        v[0].mul_(3)
        h[2, 4:].add_(h[0, 0])
        with pytest.raises(RuntimeError, match="leaf"):
            x[0].add_(1)
        with torch.no_grad():
            x[3].add_(1)
            assert x[3]._base is x or x[3].data_ptr() == x.data_ptr() + 60
        assert h[1].grad_fn.name() == "SelectBackward0" and h[None].shape == (1, 4, 5)
        (g,) = torch.autograd.grad((v * v).sum() + h[0].sum(), x)
        want = torch.zeros(4, 5)
        want[0] = 1
        want[1] = 18 * x.detach()[1]
        want[2] = 2 * x.detach()[2]
        last = 2 * (x[2, 4] + x[0, 0]).detach()
        want[2, 4], want[0, 0] = last, 1 + last
        torch.testing.assert_close(g, want)


def test_views_stay_views_and_results_stay_apart():
    x = torch.zeros(3, 4)
    for _ in range(4):
        x.t().add_(1)
        x.unsqueeze(0)[0, 0] += 1
        assert torch.stack([x])._base is None
    assert x[0].tolist() == [8.0] * 4 and x[1].tolist() == [4.0] * 4
    c = warmed(torch.cat, [x, x + 0])
    c.zero_()
    assert x.sum() == 64


def test_movements_of_a_number_are_arrays():
    x = torch.tensor(0.5)
    for move in (lambda: x.flip(0), lambda: torch.roll(x, 1), lambda: x.reshape(1)[0].clone()):
        y = warmed(move)
        y.reshape(1, 1).zero_()
        assert y.item() == 0 and x.item() == 0.5


def test_inplace_variants_and_modes_go_past_the_plans():
    x = leaf(3, 4)
    for _ in range(4):
        y = x * 1
        F.gelu(y.clamp_(-1, 1)).sum().backward()
        with torch.no_grad():
            assert not F.softmax(x, 1).requires_grad
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert F.linear(x, x.detach()[:2]).dtype is torch.bfloat16
        assert torch.func.hessian(lambda t: F.softmax(t, 0)[0])(x.detach()[0]).shape == (4, 4)
        assert torch.vmap(lambda t: F.softmax(t, 0))(x).shape == (3, 4)


def test_threads_share_plans():
    x = torch.tensor(rng.standard_normal((6, 6)))
    want, wrong = bits(F.softmax(x, 1)), []

    def work():
        for _ in range(200):
            if bits(F.softmax(x, 1)) != want:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_many_shapes_do_not_fill_the_memory():
    for n in range(plans.MOST // 3):
        torch.zeros(n).mean()
        torch.zeros(n).sum()
    assert len(plans._plans) <= plans.MOST + 1 and len(plans._calls) <= plans.MOST + 1


def test_an_output_that_its_derivative_does_not_read_may_be_changed():
    for function in (F.normalize, F.gelu, lambda h: F.cosine_similarity(h, h * 2)):
        grads = []
        for _ in range(4):
            x = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
            y = function(x * 1)
            y.detach().mul_(2)
            grads.append(bits(torch.autograd.grad(y.sum(), x)[0]))
        assert len(set(grads)) == 1


def test_an_argument_that_is_not_read_may_be_changed_before_second_derivatives():
    x = leaf(3, 4)
    for _ in range(4):
        h = x * 1
        y = F.nll_loss(h, LABELS[:3].clone())
        h.detach().zero_()
        torch.autograd.grad(y, x, create_graph=True)


def test_a_warning_comes_at_every_call():
    x = torch.zeros(3, 4)
    for _ in range(6):
        with pytest.warns(UserWarning, match="target size") as seen:
            F.mse_loss(x, torch.zeros(4))
        assert len(seen) == 1


def test_bits_in_the_same_memory_have_no_base():
    x = torch.zeros(3)
    for _ in range(4):
        assert x.view(torch.int32)._base is None


def test_an_error_at_the_call_that_makes_a_plan_is_that_of_the_function():
    x, errors = torch.zeros(2, 3), []
    for _ in range(4):
        with pytest.raises(RuntimeError) as seen:
            F.linear(x, torch.zeros(2, 4))
        errors.append((str(seen.value), len(seen.traceback)))
    assert len(set(errors)) == 1
