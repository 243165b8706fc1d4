"""torch.library and torch.ops: operators of the user's own, beside torch's."""

from __future__ import annotations

import pytest
from compiled import traces

import tracegrad as tg
from tracegrad import library, ops


def operators(lib, space):
    """A cube with a derivative, a shift without one."""

    @lib.library.custom_op(
        f"{space}::cube", mutates_args=(), schema="(Tensor x, float scale=1.0) -> Tensor"
    )
    def cube(x, scale=1.0):
        return scale * x**3

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.scale = inputs[1]

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ctx.scale * 3 * x**2, None

    cube.register_autograd(backward, setup_context=setup)
    cube.register_fake(lambda x, scale=1.0: lib.empty_like(x))

    @lib.library.custom_op(f"{space}::shift", mutates_args=(), schema="(Tensor x) -> Tensor")
    def shift(x):
        return x + 1

    return cube, shift


def test_derivatives_are_those_that_were_registered():
    torch = pytest.importorskip("torch")
    numbers = []
    for lib in (torch, tg):
        cube, shift = operators(lib, f"derivatives_{lib.__name__}")
        space = getattr(lib.ops, f"derivatives_{lib.__name__}")
        x = lib.tensor([1.0, -2.0], requires_grad=True)
        (space.cube(x, scale=2.0) + space.cube.default(x)).sum().backward()
        numbers.append(x.grad.tolist())
        assert not shift(x.detach()).requires_grad and not cube(x.detach()).requires_grad
        with lib.no_grad():
            assert not cube(x).requires_grad
        with pytest.raises(RuntimeError, match="no autograd formula was registered"):
            shift(x).sum().backward()
        with pytest.raises(AttributeError, match="has no attribute 'other'"):
            space.other(x)
    assert numbers[0] == numbers[1] == [9.0, 36.0]


def test_operators_are_compiled():
    cube, _ = operators(tg, "compiled")

    @tg.compile
    def step(x):
        y = cube(x, 2.0).sum()
        (grad,) = tg.autograd.grad(y, [x])
        return y, grad

    for start in (1.0, 2.0):
        x = tg.tensor([start, -1.0], requires_grad=True)
        y, grad = step(x)
        assert y.item() == 2 * (start**3 - 1) and grad.tolist() == [6 * start**2, 6]
    assert traces(step) == 1


def test_kernels_by_keys():
    for kind in ("DEF", "FRAGMENT"):
        made = library.Library("keys", kind)
        name = made.define(f"f{kind}(Tensor x, int n=3) -> Tensor")
        with pytest.raises(NotImplementedError, match="has no kernel"):
            getattr(ops.keys, name)(tg.ones(1))
        made.impl(name, lambda x, n=3: x * n, "CPU")
        assert getattr(ops.keys, name)(tg.ones(1)).item() == 3
        x = tg.ones(2, requires_grad=True)
        made.impl(name, lambda x, n=3: x.exp() * n)
        getattr(ops.keys, name)(x, 2).sum().backward()
        assert x.grad.allclose(2 * x.detach().exp())


def test_wrong_operators():
    wrong = {
        "no namespace": lambda: library.custom_op("f", lambda x: x, mutates_args=(), schema="f(x)"),
        "no annotation": lambda: library.custom_op("wrong::f", lambda x: x, mutates_args=()),
        "no such kind": lambda: library.Library("wrong", "NEW"),
    }
    for make in wrong.values():
        with pytest.raises(ValueError):
            make()
    with pytest.raises(OSError, match="Could not load this library: ops.so"):
        ops.load_library("ops.so")
    same = library.custom_op("wrong::same", lambda x: x, mutates_args=(), schema="same(Tensor x)")
    with pytest.raises(RuntimeError, match="must not also be an input"):
        same(tg.ones(1))
    listed = library.custom_op("wrong::sum", sum, mutates_args=(), schema="sum(Tensor[] x)")
    assert listed([tg.ones(1), tg.ones(1)]).item() == 2
    with pytest.raises(RuntimeError, match="pass them one by one"):
        listed([tg.ones(1, requires_grad=True)])
    for call in (same, lambda: same(tg.ones(1), y=1)):
        with pytest.raises(RuntimeError, match=r"wrong::same\(\): .*Declaration: same\(x\)"):
            call()


def test_registrations_for_operators_in_cpp_are_accepted():
    library.register_autograd("absent::f", lambda ctx, grad: grad)
    library.Library("absent", "IMPL").impl("f", lambda x: x, "AutocastCPU")
    with pytest.raises(NotImplementedError, match="C\\+\\+ code cannot be loaded"):
        ops.absent.f(tg.ones(1))
