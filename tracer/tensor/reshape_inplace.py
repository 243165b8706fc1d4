"""`t_`, `unsqueeze_` and their like: a tensor keeps its memory and gets another shape.

Views made before stay views of the same numbers. They hold a path from the tensor as it was, so the
tensor remembers how to undo each of its changes, and a view puts that before its own path when it
is next used (`Link.refresh`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ...ir.node import user_site
from ...ir.ops.movement import permute, reshape
from ..change_counter import tensor_changed
from ..mode import enable_grad, mode, resolve
from .memory_order import strides_of
from .tensor import Tensor, fill_slots
from .views import Path, ViewMeta


def refuse_trace_input(t: Tensor, what: str) -> None:
    """Raise for a tensor that a trace was given: a program cannot change the shape of one."""
    if mode.trace is not None and mode.trace.input_of(t) is not None:
        raise RuntimeError(
            f"{what}: a compiled or mapped function cannot change the shape of a tensor from "
            f"outside (line {user_site()}); make a view of it, with {what.rstrip('_')}(), or do "
            "this outside"
        )


def inplace_view(function: Callable) -> Callable:
    """The in-place variant of a function that gives a view of all elements in another shape."""
    name = f"{function.__name__}_"

    @wraps(function)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        t = resolve(self)
        if mode.grad and t._requires_grad and t._grad_fn is None:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
        refuse_trace_input(t, name)
        before = fill_slots(object.__new__(Tensor), t._array, t._node, t._dtype, t._requires_grad)
        before._grad_fn, before._base, before._view = t._grad_fn, t._base, t._view
        before._traced_strides, before._memory_location = t._traced_strides, t._memory_location
        with enable_grad():
            y = function(before, *args, **kwargs)
        if y is not before:
            _take_view(t, before, y)
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place variant of `{function.__name__}`."
    return method


def _take_view(t: Tensor, before: Tensor, y: Tensor) -> None:
    view, base = t._view, t._base
    own = () if view is None else view.path
    steps = y._view.path if y._base is before else y._view.path[len(own) :]
    t._shape_history = (*t._shape_history, *_inverse_steps(steps, tuple(before.shape)))
    if view is not None and base is not None:
        t._view = ViewMeta(base, (*own, *steps), view.differentiable, y._view.strides)
    elif t._array is None:
        t._traced_strides = strides_of(y)
    t._array, t._node, t._grad_fn, t._ptr = y._array, y._node, y._grad_fn, 0
    tensor_changed(t)


def _inverse_steps(steps: Path, shape: tuple[int, ...]) -> list:
    """For each step, what leads back."""
    back: list = []
    for op, params in steps:
        if op is permute:
            back.append((permute, {"axes": tuple(int(a) for a in np.argsort(params["axes"]))}))
            shape = tuple(shape[a] for a in params["axes"])
        else:
            back.append((reshape, {"shape": shape}))
            shape = params["shape"]
    return back
