"""Tensor: a NumPy array, or in a trace a node, with its autograd state.

This module holds the fields, the identity and the autograd methods. Operations are attached in
methods.py. dispatch.bind applies primitives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from ...ir.device_array import DeviceArray
from ...ir.dtype import DType
from ...ir.node import Node
from ...ir.value import Value
from ..change_counter import changed, tensor_changed
from ..mode import mode, resolve
from .device import CPU, device, usable
from .device_memory import copied, host, place_of
from .layout_names import layout, strided

if TYPE_CHECKING:
    from .attached_methods import Methods  # a stub: those of functions/methods.py
else:
    Methods = Value


class Size(tuple):
    """The shape of a tensor: a tuple with `numel()`.

    Raises what a tuple raises.

    >>> torch.ones(2, 3).shape.numel()
    6
    """

    __slots__ = ()

    def numel(self) -> int:
        return math.prod(self)

    def __repr__(self) -> str:
        return f"tracegrad.Size({list(self)})"

    def __getitem__(self, key: Any) -> Any:
        item = tuple.__getitem__(self, key)
        return Size(item) if isinstance(key, slice) else item

    def __add__(self, other: tuple) -> Size:
        return Size(tuple.__add__(self, other))

    def __reduce__(self) -> tuple:
        return (Size, (tuple(self),))


class Tensor(Methods):
    """An array of one dtype with torch's operations, eager or traced. It records its autograd
    history.

    `Tensor(data)` and `Tensor(2, 3)` make tensors of the default dtype; `tracegrad.tensor` is the
    usual way.

    Shape: that of the data, or the numbers. Dtype: the default one.
    Raises TypeError for other arguments.

    >>> torch.Tensor([1, 2]), torch.Tensor(2, 3).shape
    (tensor([1., 2.]), tracegrad.Size([2, 3]))
    """

    __slots__ = (
        "__dict__", "__weakref__", "_accumulator", "_array", "_base", "_dtype", "_grad",
        "_grad_fn", "_hooks", "_memory_location", "_node", "_ptr", "_requires_grad", "_version",
        "_view",
    )

    _array: Any  # the np.ndarray as stored; None for a traced tensor
    _node: Any  # the Node within a trace, else None
    _dtype: DType
    _requires_grad: bool
    _grad: Tensor | None
    _grad_fn: Any  # a graph.GradFn; None for a leaf
    _version: list[int]  # one number, shared with every view and every `detach()`
    _base: Tensor | None  # the tensor that this is a view of
    _view: Any  # how: a views.ViewMeta
    # for an alias without a base: its memory and the offset in it (views.memory_location), None if
    # the array says it
    _memory_location: tuple[np.ndarray, int | None] | None
    _hooks: dict[int, Callable] | None  # of a leaf; other tensors keep hooks in their grad_fn
    _accumulator: Any  # a weak reference to the leaf's AccumulateGrad
    _ptr: int  # the address of the data; 0 if not yet known
    # the inverse of each in-place change of shape (reshape_inplace.py)
    _shape_history: tuple = ()
    # of a traced tensor: its strides if they are not contiguous (memory_order.py)
    _traced_strides: tuple[int, ...] | None = None

    __array_priority__ = 1000  # `array * tensor` is ours

    def __new__(cls, *args: Any) -> Tensor:
        return cls._make_subclass(cls, legacy(*args))

    @staticmethod
    def _make_subclass(cls: type, data: Tensor, require_grad: bool = False) -> Any:
        """A leaf of class `cls` that shares the values of `data`."""
        data = resolve(data)
        new = fill_slots(object.__new__(cls), data._array, data._node, data._dtype, require_grad)
        new._memory_location = data.detach()._memory_location
        return new

    # ---- identity
    @property
    def shape(self) -> Size:  # type: ignore[override]
        """The extents, as a tuple."""
        a = self._array
        return Size(a.shape if a is not None else self._node.shape)

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self._dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        a = self._array
        return a.ndim if a is not None else len(self._node.shape)

    @property
    def device(self) -> device:
        """Where the tensor's memory is."""
        a = self._array
        if type(a) is DeviceArray:
            return place_of(a)
        return CPU if a is not None or mode.trace is None else mode.trace.device_of(self)

    @property
    def is_cuda(self) -> bool:
        """Whether the tensor's memory is on a GPU."""
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def layout(self) -> layout:
        return strided

    is_sparse = is_quantized = is_meta = property(lambda self: False)
    __hash__ = object.__hash__

    def __deepcopy__(self, memo: dict) -> Any:
        if self._grad_fn is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment"
            )
        if id(self) in memo:
            return memo[id(self)]
        t = resolve(self)
        array = t._array if t._array is None else t._array.copy("K")
        new = fill_slots(object.__new__(type(self)), array, t._node, t._dtype, t._requires_grad)
        memo[id(self)] = new
        new._grad = None if t._grad is None else t._grad.__deepcopy__(memo)
        new.__dict__.update(self.__dict__)
        return new

    def __reduce_ex__(self, protocol: Any) -> tuple:
        if self._grad_fn is not None:
            raise RuntimeError(
                "cannot pickle a tensor that is not a graph leaf: call detach() first"
            )
        array = mode.trace.concrete(self, "pickle") if mode.trace is not None else self._array
        state = type(self), host(array), self._dtype, self._requires_grad, self.__dict__
        where = () if type(array) is not DeviceArray else (str(place_of(array)),)
        return (rebuild, (*state, *where))

    # ---- autograd
    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded for `backward`."""
        return resolve(self)._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set whether operations on this leaf are recorded. Returns the tensor.

        Shape: any. Dtype: floating point. Raises RuntimeError for other dtypes, or for a tensor
        that is no leaf.

        >>> torch.ones(2).requires_grad_().requires_grad
        True
        """
        t = resolve(self)
        if requires_grad and not t._dtype.is_floating_point:
            raise RuntimeError(
                "only Tensors of floating point and complex dtype can require gradients"
            )
        if not requires_grad and t._grad_fn is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        t._requires_grad = bool(requires_grad)
        tensor_changed(t)
        return self

    @property
    def grad_fn(self) -> Any:
        """The autograd node of the operation that made this tensor; None for a leaf."""
        node = resolve(self)._grad_fn
        _guard_attribute(self, "_grad_fn", node is None)
        return None if node is None else node.shown()

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self.grad_fn is None

    @property
    def grad(self) -> Tensor | None:
        """What `backward` accumulated here, or None."""
        t = resolve(self)
        if mode.trace is not None:
            mode.trace.read_grad(t)
        return t._grad

    @grad.setter
    def grad(self, new: Tensor | None) -> None:
        t = resolve(self)
        if new is not None:
            if not isinstance(new, Tensor):
                raise TypeError(
                    "assigned grad expected to be a Tensor or None but got grad of type: "
                    f"{type(new).__name__}"
                )
            if new is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if new._dtype is not t._dtype:
                raise RuntimeError(
                    f"assigned grad has data of a different type: expected {t._dtype}, but got "
                    f"{new._dtype}"
                )
            if new.shape != t.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: expected {list(t.shape)}, but "
                    f"got {list(new.shape)}"
                )
            new = resolve(new)
        if mode.trace is not None:
            mode.trace.replace_grad(t)
        t._grad = new

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def output_nr(self) -> int:
        return 0

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad()` was called on this non-leaf."""
        fn = resolve(self)._grad_fn
        return fn is not None and any(r() is resolve(self) for r in fn.retainers)

    def retain_grad(self) -> None:
        """Let `backward` set `.grad` of this non-leaf, too.

        Shape: any. Raises RuntimeError for a tensor that does not require grad.

        >>> x = torch.ones(2, requires_grad=True)
        >>> y = x * 2
        >>> y.retain_grad()
        >>> y.sum().backward()
        >>> y.grad
        tensor([1., 1.])
        """
        t = resolve(self)
        if not t._requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if t._grad_fn is not None and not self.retains_grad:
            t._grad_fn.retain(t)

    def register_hook(self, hook: Callable) -> Any:
        """Call `hook(grad)` when the gradient of this tensor is complete.

        If the hook does not return None, its result replaces the gradient.

        Shape: the gradient has that of the tensor. Raises RuntimeError for one that does not
        require grad.

        >>> x = torch.ones(2, requires_grad=True)
        >>> handle = x.register_hook(lambda g: g * 10)
        >>> x.sum().backward()
        >>> x.grad
        tensor([10., 10.])
        """
        t = resolve(self)
        if not t._requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if t._grad_fn is not None:
            return t._grad_fn.register_gradient_hook(hook)
        if t._hooks is None:
            t._hooks = {}
        tensor_changed(self)
        return RemovableHandle(t._hooks, hook)


class RemovableHandle:
    """The handle of a registered hook. `remove()` unregisters the hook."""

    _next = 0

    def __init__(self, hooks: dict[int, Callable], hook: Callable):
        self.hooks, self.id = hooks, RemovableHandle._next
        RemovableHandle._next += 1
        hooks[self.id] = hook

    def remove(self) -> None:
        self.hooks.pop(self.id, None)
        changed()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def fill_slots(
    t: Any, array: np.ndarray | None, node: Node | None, dtype: DType, requires_grad: bool = False
) -> Any:
    """Set all fields of a new tensor `t` and return it."""
    t._array, t._node, t._dtype, t._requires_grad = array, node, dtype, requires_grad
    t._version = [0]
    t._grad = t._grad_fn = t._base = t._view = t._hooks = t._accumulator = t._memory_location = None
    t._ptr = 0
    if node is not None and (trace := mode.trace) is not None and trace.made is not None:
        trace.made.append(ref(t))
    return t


def wrap(array: Any, dtype: DType, requires_grad: bool = False) -> Tensor:
    """A leaf that shares the memory of a stored array."""
    t: Any = object.__new__(Tensor)  # as in `fill_slots`; most tensors are made here
    t._array, t._dtype, t._requires_grad, t._version, t._ptr = array, dtype, requires_grad, [0], 0
    t._node = t._grad = t._grad_fn = t._base = t._view = t._hooks = t._accumulator = None
    t._memory_location = None
    return t


def traced(node: Node, requires_grad: bool = False) -> Tensor:
    """A leaf for a node of the current trace."""
    return fill_slots(object.__new__(Tensor), None, node, node.dtype, requires_grad)


def rebuild(
    cls: type, array: Any, dtype: DType, requires_grad: bool, attributes: dict, where: str = "cpu"
) -> Tensor:
    """Unpickle a tensor."""
    array = copied(array, usable(where))
    t = fill_slots(object.__new__(cls), array, None, dtype, requires_grad)
    t.__dict__.update(attributes)
    return t


def legacy(*args: Any) -> Tensor:
    """`Tensor(...)`; functions.torch.creation replaces this."""
    raise NotImplementedError


def _guard_attribute(t: Tensor, what: str, value: Any) -> None:
    """Guard an attribute of a tensor that Python code reads in a trace."""
    if mode.trace is not None:
        mode.trace.guard_attribute(resolve(t), what, value)


def leaked_tensor_error(t: Tensor) -> RuntimeError:
    """The error for a traced tensor that is used outside its trace."""
    node = t._node
    if node is not None and not isinstance(node, Node):
        return RuntimeError(
            f"a tensor of shape {list(node.shape)} from inside {node.inside} is used outside of "
            "it, where it has no value: return it from the function instead of storing it."
        )
    where = f" made at {node.site}" if node is not None and getattr(node, "site", None) else ""
    return RuntimeError(
        f"a traced tensor{where} is used outside the compiled function that made it: it stands for "
        "a value of the program, and has none of its own. Return it from the function instead of "
        "storing it."
    )
