"""In-place operations: `add_`, `x[0] = 1`, `p.grad.zero_()`.

The result is computed out of place, then `assign` stores it: in the array, or in a trace as the
tensor's new node. Everything that can fail comes before the write.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ...ir.op import ShapeError
from ...ir.ops.elementwise import cast
from ...ir.ops.movement import expand
from ...ir.strides import repeats
from ..autograd.graph import GradFn, edge
from ..autograd.recording import OpBackward, Saved
from ..mode import mode, resolve, sequence_numbers
from .device_memory import apart, copyto, may_share_memory
from .masked_selection import Selection
from .memory_order import strides_of
from .placement import different_devices, on_device
from .promotion import SCALAR_TYPE, can_cast
from .tensor import Tensor, fill_slots
from .views import OVERLAP, CopySlices, replace_node, zero_gradient


def refuse_unwritable(t: Tensor) -> None:
    """Raise torch's error if `t` may not be changed in place now."""
    if mode.grad:
        if t._requires_grad and t._grad_fn is None:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
        _refuse_view(t, grows=False)
    if type(t) is Selection:
        return
    if t._array is None or not t._array.flags.c_contiguous:
        if repeats(t.shape, strides_of(t)):
            raise RuntimeError(OVERLAP)
    if is_read_only(t):
        raise RuntimeError(
            "the tensor shares memory with a NumPy array or a buffer that is read-only, and cannot "
            "be changed in place; change a clone() of it"
        )


def _without_grad(t: Tensor) -> tuple[Tensor, bool]:
    """The base of `t`, and whether a view between them was made in a `no_grad`."""
    hidden = False
    while t._view is not None and not t._view.detached:
        hidden, t = hidden or not t._view.differentiable, t._base  # type: ignore[assignment]
    return t, hidden


def view_obstacle(t: Tensor, grows: bool = False) -> str:
    """Why a view may not be changed in place in grad mode; empty if it may. `grows`: to a value
    that requires grad.
    """
    view: Any = t._view
    if view is None and t._memory_location is None:
        return ""
    if view is not None and t._requires_grad:
        if view.differentiable and t._base._grad_fn is None:  # type: ignore[union-attr]
            return (
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation."
            )
        if view.multi_view_function:
            return (
                f"Output 0 of {view.multi_view_function} is a view and is being modified inplace. "
                "This view is the output of a function that returns multiple views. Such functions "
                "do not allow the output views to be modified inplace. You should replace the "
                "inplace operation by an out-of-place one."
            )
    base, hidden = _without_grad(t)
    location = base._memory_location  # its offset is None for a view that keeps no base
    if (hidden and (grows or base._requires_grad)) or (location and location[1] is None):
        return (
            f"a view of shape {list(t.shape)} was created in no_grad mode and is being modified "
            "inplace with grad mode enabled. Put both into the no_grad, and the change is not "
            "recorded; or both outside of it, and it is."
        )
    return ""


def _refuse_view(t: Tensor, grows: bool) -> None:
    """Raise for a view that may not be changed in place in grad mode. A tensor from outside of a
    trace may be another kind of view at the next call: a guard asks again.
    """
    obstacle = view_obstacle(t, grows)
    if mode.trace is not None:
        root, _ = _without_grad(t)
        if (outside := mode.trace.original(root)) is not None:
            obstacle = obstacle or view_obstacle(outside, grows)
            mode.trace.guard_attribute(root, "growing" if grows else "changing", "")
    if obstacle:
        raise RuntimeError(obstacle)


def is_read_only(t: Tensor) -> bool:
    """Whether the memory of `t` is read-only; for a traced tensor, that of its concrete tensor."""
    if t._array is not None:
        return not t._array.flags.writeable
    while t._view is not None:
        t = t._base  # type: ignore[assignment]
    return mode.trace.read_only(t)


def assign(t: Tensor, new: Tensor) -> None:
    """Give the resolved, writable tensor `t` the value and the history of `new`."""
    if new._dtype is not t._dtype:
        if not can_cast(new._dtype, t._dtype):
            raise RuntimeError(
                f"result type {SCALAR_TYPE[new._dtype]} can't be cast to the desired output type "
                f"{SCALAR_TYPE[t._dtype]}"
            )
        new = cast(new, dtype=t._dtype)
    if type(t) is Selection and t.assign_from(new):
        return
    if new.shape != t.shape:
        raise ShapeError(
            f"output with shape {list(t.shape)} doesn't match the broadcast shape {list(new.shape)}"
        )
    grows = mode.grad and new._requires_grad
    if grows:
        _refuse_view(t, grows)
    if t._array is not None:
        if type(t._array) is np.ndarray is type(new._array):
            np.copyto(t._array, new._array)
        else:
            _copy_on_device(t, new)
    else:
        replace_node(t, new._node)
    t._version[0] += 1
    if grows:
        take_history(t, new)


def _copy_on_device(t: Tensor, new: Tensor) -> None:
    if t.device != new.device:
        raise different_devices([t.device, new.device])
    copyto(t._array, new._array)


def take_history(t: Tensor, new: Tensor) -> None:
    """Give `t`, which was changed in place, the history of `new`."""
    fn, base = new._grad_fn, t._base
    if t._view is not None and t._view.differentiable:
        assert base is not None
        base._grad_fn, base._requires_grad = CopySlices(base, t._view.path, new), True
        t._view.refresh(t)
    else:
        if t._grad_fn is not None:
            fn.retainers = [*fn.retainers, *t._grad_fn.retainers]
            t._grad_fn.retainers = ()
        t._grad_fn, t._requires_grad = fn, True
    if isinstance(fn, OpBackward) and isinstance(fn.y, Saved):
        fn.y = Saved(t)  # the output is in `t` now; a later change of it must be noticed


class OverwriteBackward(GradFn):
    """A tensor took the value of another one. The gradient goes to the new value, zeros to the old.
    """

    __slots__ = ()

    def __init__(self, title: str, old: Tensor, new: Tensor):
        super().__init__(title, (edge(old), edge(new)))

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        old, new = self.edges
        return (None if old is None else zero_gradient(g), None if new is None else g)


def with_overwrite_history(t: Tensor, value: Tensor, title: str) -> Tensor:
    """`value` with the history that `t` has after it takes this value."""
    new: Tensor = fill_slots(object.__new__(Tensor), value._array, value._node, value._dtype, True)
    new._grad_fn = OverwriteBackward(title, t, value)
    return new


def apply_inplace(x: Tensor, function: Callable, *args: Any, **kwargs: Any) -> Tensor:
    """x = function(x, ...), in place."""
    t = resolve(x)
    refuse_unwritable(t)
    start = next(sequence_numbers) if mode.grad else 0
    planning, mode.planning = mode.planning, False  # below, primitives are asked what they saved
    try:
        new = function(t, *args, **kwargs)
    finally:
        mode.planning = planning
    if mode.grad and new._grad_fn is not None:
        operand = any(isinstance(a, Tensor) and a._version is t._version for a in args)
        _copy_saved_values(new._grad_fn, t, start, operand)
    elif mode.grad and t._requires_grad:  # the old value gets no gradient
        new = new if new._dtype is t._dtype else cast(new, dtype=t._dtype)
        new = with_overwrite_history(t, new, "ZeroBackward0")
    assign(t, new)
    return x


def _share_memory(a: Any, b: Any) -> bool:
    return a is not None and b is not None and may_share_memory(a, b)


def _copy_saved_values(fn: GradFn, t: Tensor, start: int, operand: bool) -> None:
    """Let the autograd nodes recorded since `start` keep copies of values that lie in `t`.

    `t` is about to be overwritten. If `t` is also a second `operand`, only the first is copied;
    backward then raises for the second, as in torch.
    """
    ahead, seen = [fn], {fn}
    while ahead:
        fn = ahead.pop()
        saved = fn.inputs if isinstance(fn, OpBackward) else ()
        saved = saved[:1] if operand else saved
        for s in saved:
            if isinstance(s, Saved) and (
                s.version_counter is t._version or _share_memory(s.array, t._array)
            ):
                s.copy_value()
        for e in fn.edges:
            if e is not None and e.sequence > start and e not in seen:
                seen.add(e)
                ahead.append(e)


def inplace(function: Callable) -> Callable:
    """The in-place variant of a function whose first argument is a tensor."""

    @wraps(function)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return apply_inplace(self, function, *args, **kwargs)

    method.__name__ = method.__qualname__ = f"{function.__name__}_"
    method.__doc__ = f"In-place variant of `{function.__name__}`."
    return method


def overwrite(x: Tensor, value: Tensor, title: str) -> Tensor:
    """x = value, in place, broadcast and converted. The old value gets no gradient."""
    t = resolve(x)
    refuse_unwritable(t)
    value = resolve(value)
    if mode.trace is not None or apart(t._array, value._array):
        value = on_device(value, t.device)
    if value._dtype is not t._dtype:
        value = cast(value, dtype=t._dtype)
    if value.shape != t.shape:
        value = expand(value, shape=tuple(t.shape))
    if mode.grad and (t._requires_grad or value._requires_grad):
        value = with_overwrite_history(t, value, title)
    assign(t, value)
    return x
