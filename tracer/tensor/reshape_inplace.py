"""`t_`, `unsqueeze_` and similar methods: a tensor keeps its memory and changes its shape.

Views made before the change still refer to the same elements. Their path starts at the old shape of
the tensor. So the tensor records the inverse of each change in `_shape_history`. A view puts these
steps before its own path when it is next used (`ViewMeta.refresh`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ...ir.node import user_site
from ...ir.ops.movement import permute, reshape
from ...ir.strides import inverse
from ..change_counter import tensor_changed
from ..mode import enable_grad, mode, resolve
from .memory_order import strides_of
from .tensor import Tensor, fill_slots
from .views import Path, ViewMeta


def refuse_trace_input(t: Tensor, what: str) -> None:
    """Raise if `t` is an input of a trace. A program cannot change the shape of its inputs."""
    if mode.trace is not None and mode.trace.input_of(t) is not None:
        raise RuntimeError(
            f"{what}: a compiled or mapped function cannot change the shape of a tensor from "
            f"outside (line {user_site()}); make a view of it, with {what.rstrip('_')}(), or do "
            "this outside"
        )


def inplace_view(function: Callable) -> Callable:
    """The in-place variant of a function that returns a view of all elements in another shape."""
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
    """Make `t` the view `y` of its former state `before`."""
    view, base = t._view, t._base
    own = () if view is None else view.path
    steps = y._view.path if y._base is before else y._view.path[len(own) :]
    t._shape_history = (*t._shape_history, *_inverse_steps(steps, tuple(before.shape)))
    if view is not None and base is not None:
        t._view = ViewMeta(base, (*own, *steps), view.differentiable, y._view.strides)
        t._view.detached, t._view.multi_view_function = view.detached, view.multi_view_function
    elif t._array is None:
        t._traced_strides = strides_of(y)
    t._array, t._node, t._grad_fn, t._ptr = y._array, y._node, y._grad_fn, 0
    tensor_changed(t)


def _inverse_steps(steps: Path, shape: tuple[int, ...]) -> list:
    """The inverse of each step."""
    back: list = []
    for op, params in steps:
        if op is permute:
            back.append((permute, {"axes": inverse(params["axes"])}))
            shape = tuple(shape[a] for a in params["axes"])
        else:
            back.append((reshape, {"shape": shape}))
            shape = params["shape"]
    return back
