"""The check behind the pytest fixture `gradcheck`: derivatives, and compiled against eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .autograd.gradcheck import gradcheck, gradgradcheck
from .driver.api import compile
from .functions.torch.creation import as_tensor
from .testing import assert_close
from .tracer.pytree import flatten, map_leaves, unflatten
from .tracer.tensor.tensor import Tensor


def check_function(function: Callable, *inputs: Any, compiled: bool = True, second: bool = True,
                   fast_mode: bool = False, **tolerances: Any) -> None:
    """Check the derivatives of a function, eagerly and compiled, and that both give the same
    values.

    Floating point tensors among the inputs, which may be nested, are converted to float64 and
    differentiated. The inputs themselves do not change. `tolerances` are those of `gradcheck`.
    `second=False` skips second derivatives, `compiled=False` the compiled function.

    Raises GradcheckError or AssertionError that says what differs.
    """
    leaves, structure = flatten(map_leaves(_double, inputs))
    positions = [k for k, x in enumerate(leaves) if isinstance(x, Tensor) and x.requires_grad]

    def flat(f: Callable) -> Callable:
        def call(*xs: Tensor) -> tuple:
            full = list(leaves)
            for k, x in zip(positions, xs, strict=True):
                full[k] = x
            outputs = flatten(f(*unflatten(full, structure)))[0]
            return tuple(y for y in outputs if isinstance(y, Tensor))

        return call

    xs = tuple(leaves[k] for k in positions)
    options = {"fast_mode": fast_mode, **tolerances}
    programs = [flat(function), *([flat(compile(function))] if compiled else [])]
    if compiled:
        assert_close(programs[1](*xs), programs[0](*xs), equal_nan=True)
    for program in programs if xs else ():
        gradcheck(program, xs, check_batched_grad=True, **options)
        if second and any(y.requires_grad for y in program(*xs)):
            gradgradcheck(program, xs, **options)


def _double(x: Any) -> Any:
    if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
        return x
    return as_tensor(x).detach().double().clone().requires_grad_()
