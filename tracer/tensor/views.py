"""Views, and writes through them.

A view has a base and a path: the movement operations that lead from the base to the view. Eagerly
both share memory, so a write only has to update the autograd graph: the base's gradient goes
through CopySlices. In a trace nothing is shared. A write into the view replaces the base's node by
one with the region exchanged. Other views of the base update themselves when they are next used.
Both cases use `write`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dtype import DType, bool_, int64
from ...ir.node import Aval, Node
from ...ir.ops.elementwise import bits, where
from ...ir.ops.index import index, index_put
from ...ir.ops.movement import (
    expand,
    overlapping,
    permute,
    reshape,
    slice as slice_,
    window,
)
from ...ir.ops.source import full, iota
from ...ir.strides import View, contiguous
from ..autograd.graph import GradFn, edge
from ..mode import enable_grad, mode
from .device_memory import address, as_dtype, may_share_memory
from .memory_order import strides_of
from .tensor import Tensor, traced, wrap

Path = tuple[tuple[Any, dict], ...]  # (primitive or `index_view`, its parameters)

OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a single "
    "memory location. Please clone() the tensor before performing the operation."
)


class ViewMeta:
    """How a view is derived from its base.

    It also records the state of the base from which the fields of the view were last derived.
    """

    __slots__ = (
        "base_fn", "base_node", "detached", "differentiable", "multi_view_function", "path",
        "shape_changes", "strides", "version",
    )

    def __init__(
        self, base: Tensor, path: Path, differentiable: bool, strides: tuple[int, ...] | None
    ):
        self.path, self.differentiable, self.strides = path, differentiable, strides
        self.detached = not path  # by detach(): t_() and its like give it a path later
        self.base_node, self.base_fn = base._node, base._grad_fn
        self.shape_changes = len(base._shape_history)  # of the base, that `path` knows of
        self.version = base._version[0]  # of the base when `base_fn` was last its grad_fn
        self.multi_view_function = ""  # the name of a function that returned several views

    def refresh(self, t: Tensor) -> None:
        """Update the view `t` from its base. The base is updated first if it is a view itself."""
        base: Any = t._base
        if base._view is not None:
            below = []
            while base._view is not None:
                below.append(base)
                base = base._base
            for b in reversed(below):
                b._view._derive(b)
        self._derive(t)

    def _derive(self, t: Tensor) -> None:
        base = t._base
        assert base is not None
        if len(base._shape_history) > self.shape_changes:
            self.path = (*reversed(base._shape_history[self.shape_changes :]), *self.path)
            self.shape_changes = len(base._shape_history)
        if base._node is not self.base_node:
            t._node = self.base_node = base._node
            for op, params in self.path:
                t._node = op(t._node, **params)
        if base._grad_fn is self.base_fn:
            self.version = base._version[0]
        elif self.differentiable and not self._only_detached(base):
            with enable_grad():
                v = apply_path(base, self.path)
            self.base_fn, t._grad_fn, t._requires_grad = base._grad_fn, v._grad_fn, v._requires_grad
            self.version = base._version[0]

    def _only_detached(self, base: Tensor) -> bool:
        """Whether `detach_()` removed the base's history and nothing was written since.

        The views keep their history then.
        """
        return base._grad_fn is None and base._version[0] == self.version


def apply_path(x: Any, path: Path) -> Any:
    """Apply each operation of the path in turn."""
    for op, params in path:
        x = op(x, **params)
    return x


def index_view(x: Any, *, axes: tuple[int, ...], indices: tuple[Tensor, ...]) -> Any:
    """`x` at one position along each of `axes`, which are removed.

    The positions are values of a trace. For known positions `slice` and `reshape` are used.
    """
    if not isinstance(x, Tensor):
        return index(traced(x), *indices, axes=axes)._node
    y = index(x, *indices, axes=axes)
    make_view(x, index_view, {"axes": axes, "indices": indices}, y)
    return y


def as_bits(x: Any, *, dtype: DType) -> Any:
    """The bits of `x` as numbers of another dtype of the same size, in the same memory."""
    if not isinstance(x, Tensor):
        return bits(x, dtype=dtype)
    if x._array is not None:
        y = wrap(as_dtype(x._array, dtype.storage), dtype)
        y._version = x._version
        alias_memory(x, y)
        return y
    y = bits(x, dtype=dtype)
    make_view(x, as_bits, {"dtype": dtype}, y)
    return y


def _write_index_view(x: Any, new: Any, axes: tuple[int, ...], indices: tuple[Tensor, ...]) -> Any:
    if not isinstance(x, Tensor):
        return _write_index_view(traced(x), traced(new), axes, indices)._node
    return index_put(x, new, *indices, axes=axes, accumulate=False)


def _write_repeated(x: Any, path: Path, new: Any) -> Any:
    """`write` if the path repeats elements of `x`, and selects one of each in the end."""
    bits_step = next((k for k, (op, _) in enumerate(path) if op is as_bits), len(path))
    new, path = write(apply_path(x, path[:bits_step]), path[bits_step:], new), path[:bits_step]
    count = math.prod(x.shape)
    counted = type(x).bind(iota, (), {"shape": (count,), "dtype": int64})
    positions = apply_path(reshape(counted, shape=tuple(x.shape)), path)
    size = (math.prod(new.shape),)
    flat, new = reshape(x, shape=(count,)), reshape(new, shape=size)
    y = index_put(flat, new, reshape(positions, shape=size), axes=(0,), accumulate=False)
    return reshape(y, shape=tuple(x.shape))


def _repeats_elements(op: Any, params: dict, shape: tuple[int, ...]) -> bool:
    """Whether a movement of a tensor of this shape may repeat elements."""
    if op is window:
        own = {k: params[k] for k in ("size", "step", "dilation")}
        return overlapping(op.infer(Aval(shape, bool_), **params)[0][params["axis"]], **own)
    return op is expand


def write(x: Any, path: Path, new: Any) -> Any:
    """A copy of `x`, a Tensor or a Node, with the region at the end of `path` replaced by `new`."""
    steps = []
    for k, (op, params) in enumerate(path):
        if _repeats_elements(op, params, tuple(x.shape)):
            new = _write_repeated(x, path[k:], new)
            break
        steps.append((x, op, params))
        x = op(x, **params)
    for x, op, params in reversed(steps):
        new = _write_step(x, op, params, new)
    return new


def _write_step(x: Any, op: Any, params: dict, new: Any) -> Any:
    """A copy of `x` with `new` in the region from which one movement takes its result."""
    if op is index_view:
        return _write_index_view(x, new, **params)
    if op is as_bits:
        return as_bits(new, dtype=x.dtype)
    if op is slice_ and new.shape == x.shape:
        return new

    def back(values: Any) -> Any:
        """`values` in the region that the movement reads, and zeros elsewhere."""
        return op.vjp[0](values, None, x, **params)

    if op in (permute, reshape):
        return back(new)
    region_mask = type(x).bind(full, (), {"value": True, "shape": tuple(new.shape), "dtype": bool_})
    return where(back(region_mask), back(new), x)


def zero_gradient(g: Tensor) -> Tensor:
    """A gradient of zeros."""
    return Tensor.bind(full, (), {"value": 0.0, "shape": tuple(g.shape), "dtype": g.dtype})


class CopySlices(GradFn):
    """Part of a tensor was overwritten.

    The gradient of that part goes to the new values, the rest to the old tensor.
    """

    __slots__ = ("path",)

    def __init__(self, base: Tensor, path: Path, new: Tensor):
        super().__init__("CopySlices", (edge(base), edge(new)))
        self.path = path

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        old, new = self.edges
        region = apply_path(g, self.path)
        return (
            None if old is None else write(g, self.path, zero_gradient(region)),
            None if new is None else region,
        )


def base_and_path(t: Tensor) -> tuple[Tensor, Path, bool]:
    """The outermost base of a tensor, the path to the tensor, and whether gradients follow it."""
    path: Path = ()
    differentiable = True
    while t._view is not None:
        path, differentiable = (*t._view.path, *path), differentiable and t._view.differentiable
        t = t._base  # type: ignore[assignment]
    return t, path, differentiable


def memory_offset(t: Tensor) -> int:
    """The offset of a tensor's first element in its memory, in elements."""
    root, path, _ = base_and_path(t)
    start = 0
    if root._memory_location is not None:
        memory, begin = root._memory_location
        start = _distance(memory, root._array) if begin is None else begin
    if not path:
        return start
    if t._array is not None and t._array.size:
        return start + _distance(root._array, t._array)
    view = View(tuple(root.shape), strides_of(root), start)
    for op, params in path:
        if op is index_view:
            raise RuntimeError("where a view begins is not known while its index is traced")
        if op is not as_bits:
            shape = op.infer(Aval(view.shape, bool_), **params)[0]
            view = op.view(view, **params) or View(shape, contiguous(shape), view.offset)
    return view.offset


def _distance(memory: Any, array: Any) -> int:
    """Where an array begins in memory, in elements."""
    return (address(array) - address(memory)) // array.itemsize


def _result_location(x: Tensor, path: Path, y: Tensor) -> tuple | None:
    """The memory location of the result of movements, without a lasting reference to `x`."""
    if y._array.size:  # its array says where it begins, to who asks
        root = base_and_path(x)[0]
        return root._array if root._memory_location is None else root._memory_location[0], None
    y._base, y._view = x, ViewMeta(x, path, False, None)
    location = memory_location(y)
    y._base = y._view = None
    return location


def memory_location(t: Tensor) -> tuple[np.ndarray, int] | None:
    """The memory of an eager tensor and the offset in it, for an alias that has no base.

    None if the memory belongs to the tensor itself.
    """
    root = base_and_path(t)[0]
    location = root._memory_location
    if root._array is None or (root is t and location is None):
        return None
    return root._array if location is None else location[0], memory_offset(t)


def _view_strides(x: Tensor, op: Any, params: dict) -> tuple[int, ...] | None:
    """The strides after a movement; None if the movement copies."""
    strides = strides_of(x)
    if op is index_view:
        return tuple(s for d, s in enumerate(strides) if d not in params["axes"])
    if op is as_bits:
        return strides
    view = op.view(View(tuple(x.shape), strides), **params)
    return None if view is None else view.strides


def make_view(x: Tensor, op: Any, params: dict, y: Tensor) -> None:
    """Make `y`, the result of moving `x`, a view of the base of `x`.

    A reshape that had to copy is not a view.
    """
    strides = None
    if y._array is None:
        strides = _view_strides(x, op, params)
        if strides is None:
            return
    elif (
        op is reshape
        and not x._array.flags.c_contiguous
        and not may_share_memory(x._array, y._array)
    ):
        return
    if op is expand and math.prod(y.shape) == math.prod(x.shape):
        op, params = reshape, {"shape": tuple(y.shape)}
    set_view(x, ((op, params),), y, strides)


def set_view(x: Tensor, path: Path, y: Tensor, strides: tuple[int, ...] | None = None) -> None:
    """Make `y`, the result of movements of `x` in the same memory, a view of the base of `x`."""
    grad = bool(mode.grad)
    if y._array is not None and not grad and x._grad_fn is not None:
        y._version, y._memory_location = x._version, _result_location(x, path, y)
        return  # they share only memory; a base would keep the graph of x alive
    v, base = x._view, x
    if v is not None and v.differentiable and grad:
        base, path = x._base, (*v.path, *path)  # type: ignore[assignment]
    y._base, y._version = base, x._version
    y._view = ViewMeta(base, path, grad, strides)


def alias_memory(x: Tensor, y: Tensor) -> None:
    """Make `y` share the memory of `x` without its history.

    Eagerly it already does; a reference to the base would keep the history alive.
    """
    if y._node is not None:
        y._base, y._view = x, ViewMeta(x, (), False, strides_of(x))
    elif (location := memory_location(x)) is not None:
        y._memory_location = location[0], location[1] * x._dtype.itemsize // y._dtype.itemsize


def replace_node(t: Tensor, node: Node) -> None:
    """In a trace: give `t` a new value, and update all its bases."""
    t._node = node
    while t._view is not None:
        base: Any = t._base
        base._node = t._view.base_node = write(base._node, t._view.path, t._node)
        t = base
