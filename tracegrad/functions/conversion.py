"""Between tensors and the rest of Python: numbers, lists, arrays, dtypes, copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..ir.device_array import DeviceArray, unreadable
from ..ir.dtype import DType, bfloat16, bool_
from ..ir.ops import elementwise as ops
from ..tracer.autograd.graph import composite
from ..tracer.change_counter import tensor_changed
from ..tracer.mode import mode, resolve
from ..tracer.tensor import device_memory
from ..tracer.tensor.data_changes import UncountedVersion, data_was_set
from ..tracer.tensor.device import device as Device, usable
from ..tracer.tensor.device_memory import host
from ..tracer.tensor.dispatch import bind
from ..tracer.tensor.gradient_layout import with_strides
from ..tracer.tensor.layout import format_of, format_strides
from ..tracer.tensor.placement import on_device
from ..tracer.tensor.promotion import NAMES, SCALAR_TYPE, as_dtype
from ..tracer.tensor.tensor import Tensor, fill_slots, leaked_tensor_error, wrap
from ..tracer.tensor.views import alias_memory, memory_location
from .torch.creation import empty, full, ones, tensor, zeros
from .torch.slicing_joining import unbind


def values(self: Tensor, what: str) -> np.ndarray:
    """The numbers themselves; in a trace, if the trace can tell them."""
    t = resolve(self)
    if t._array is not None:
        return t._dtype.decode(host(t._array))
    return t._dtype.decode(_trace_of(t).concrete(t, what))


def _trace_of(t: Tensor) -> Any:
    if mode.trace is None:
        raise leaked_tensor_error(t)
    return mode.trace


# ---- to Python
def item(self: Tensor) -> bool | int | float:
    """The number in a tensor of one element.

    Shape: one element, of any shape. Raises RuntimeError for another number of elements.

    >>> torch.tensor([1.5]).item()
    1.5
    """
    return _single(self, "item()")


def _single(self: Tensor, what: str) -> Any:
    if self.numel() != 1:
        raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
    return _number(self, what)


def _number(self: Tensor, what: str) -> Any:
    """The one number in a tensor; in a trace it may be a Scalar."""
    t = resolve(self)
    if t._array is not None:
        return t._dtype.decode(host(t._array)).item()
    return _trace_of(t).read(t, what)[0]


def tolist(self: Tensor) -> Any:
    """The numbers as nested lists.

    Shape: (*) -> nested as deep as there are dimensions; a number of a 0-d tensor. Raises nothing
    eagerly.

    >>> torch.tensor([[1, 2], [3, 4]]).tolist()
    [[1, 2], [3, 4]]
    """
    t = resolve(self)
    if t._array is not None:
        return t._dtype.decode(host(t._array)).tolist()
    return _nested(_trace_of(t).read(t, "tolist()"), tuple(t.shape))


def _nested(row: list, shape: tuple[int, ...]) -> Any:
    """The numbers of a row as nested lists of a shape."""
    if not shape:
        return row[0]
    if len(shape) == 1:
        return row
    size = len(row) // shape[0] if shape[0] else 0
    return [_nested(row[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0])]


def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """An array of the values; it shares their memory, unless `force` copies it from a device.

    Shape: (*) -> (*). Dtype: NumPy's of the same name. Raises RuntimeError for a tensor that
    requires grad, TypeError for one on a device, both without `force`; TypeError for bfloat16.

    >>> torch.tensor([1.0, 2.0]).numpy()
    array([1., 2.], dtype=float32)
    """
    t = resolve(self)
    if t._requires_grad and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    if t._dtype is bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    if type(t._array) is DeviceArray:
        if not force:
            raise unreadable(str(t.device))
        return host(t._array)
    if t._array is not None:
        return t._array.view()  # whose shape and flags are not those of the tensor
    return values(t, "numpy()")


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    array = numpy(self)
    if dtype is not None and np.dtype(dtype) != array.dtype:
        if copy is False:
            raise ValueError(f"{array.dtype} cannot be seen as {np.dtype(dtype)} without a copy")
        return array.astype(dtype)
    return array.copy() if copy else array


def __bool__(self: Tensor) -> bool:
    if self.numel() != 1:
        many = "more than one value" if self.numel() else "no values"
        raise RuntimeError(f"Boolean value of Tensor with {many} is ambiguous")
    return bool(_number(self, "bool"))


def _python_number(self: Tensor, what: str) -> Any:
    if self.numel() != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return _number(self, what)


def __float__(self: Tensor) -> float:
    return float(_python_number(self, "float"))


def __int__(self: Tensor) -> int:
    return int(_python_number(self, "int"))


def __index__(self: Tensor) -> int:
    if self.dtype.kind == "float" or self.numel() != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(_single(self, "index"))


def __len__(self: Tensor) -> int:
    if self.ndim == 0:
        raise TypeError("len() of a 0-d tensor")
    return self.shape[0]


def __iter__(self: Tensor) -> Iterator[Tensor]:
    if self.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(self, 0))


def __contains__(self: Tensor, element: Any) -> bool:
    if not isinstance(element, (Tensor, bool, int, float, np.number)):
        raise RuntimeError(
            "Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
            f"{type(element).__name__}."
        )
    return bool(ops.eq(self, element).any())


# ---- to other tensors
@composite("ToCopyBackward0")
def _cast(x: Tensor, dtype: DType) -> Tensor:
    return ops.ne(x, 0) if dtype is bool_ else ops.cast(x, dtype=dtype)


def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False,
       non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """The tensor in another dtype, on a device or as another tensor is; itself if nothing changes.

    `to(dtype)`, `to(device)`, `to(device, dtype)` and `to(other)`; `copy` makes a copy in any case.
    Shape: (*) -> (*). Raises RuntimeError for a device that is not there.

    >>> torch.tensor([1, 2]).to(torch.float64)
    tensor([1., 2.], dtype=tracegrad.float64)
    """
    flags = [a for a in args if isinstance(a, bool)]  # non_blocking, and then copy
    copy = copy or len(flags) > 1 and flags[1]
    wait = not (non_blocking or flags[:1] == [True])
    device, dtype = destination(args, device, dtype)
    d = self.dtype if dtype is None else as_dtype(dtype)
    if device is not None and (where := usable(device)) != self.device:
        moved = on_device(self, where, wait)
        if moved is not self:
            return _formed(moved if d is self.dtype else _cast(moved, d), memory_format)
    if d is not self.dtype:
        return _formed(_cast(self, d), memory_format)
    wanted = format_strides(self, memory_format)
    same = wanted is None or memory_format is format_of(self)
    return clone(self, memory_format=memory_format) if copy or not same else self


def destination(args: Iterable[Any], device: Any = None, dtype: Any = None) -> tuple[Any, Any]:
    """The device and the dtype that the arguments of a `to` say; None where they say nothing."""
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, (str, Device)) or (isinstance(a, int) and not isinstance(a, bool)):
            device = a
        elif a is not None and not isinstance(a, bool):
            dtype = a
    return device, dtype


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor as another dtype; by a name as
    'torch.cuda.FloatTensor', where that says.
    """
    where: Any = None
    if dtype is None:
        place = "cuda." if self.is_cuda else ""
        return f"tracegrad.{place}{SCALAR_TYPE[self.dtype]}Tensor"
    if isinstance(dtype, str):
        found = [
            d for d, n in SCALAR_TYPE.items() if dtype.rpartition(".")[2] in (f"{n}Tensor", d.name)
        ]
        if not found:
            raise ValueError(f"invalid type: '{dtype}'")
        if "." in dtype and dtype.endswith("Tensor"):
            where = "cuda" if ".cuda." in dtype else "cpu"
            where = None if Device(where).type == self.device.type else where
        dtype = found[0]
    elif isinstance(dtype, type) and isinstance(getattr(dtype, "dtype", None), DType):
        dtype = dtype.dtype  # type: ignore[attr-defined]  # LongTensor and its like
    return to(self, dtype, device=where, non_blocking=non_blocking)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor as the dtype of `other`, and on its device.

    Shape: (*) -> (*). Raises AttributeError or TypeError if `other` is no tensor.

    >>> torch.tensor([1, 2]).type_as(torch.tensor(1.0))
    tensor([1., 2.])
    """
    return to(self, other)


def _caster(name: str) -> Any:
    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return to(self, NAMES[name])

    method.__name__ = name
    method.__doc__ = f"This tensor as {NAMES[name].name}."
    return method


CASTS = {
    n: _caster(n) for n in ("double", "float", "half", "bfloat16", "long", "int", "short", "bool")
}
CASTS |= {"char": _caster("int8"), "byte": _caster("uint8")}


def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """This tensor on the CPU."""
    if type(self._array) is np.ndarray and memory_format is None:
        return self
    return to(self, "cpu", memory_format=memory_format)


def cuda(self: Tensor, device: Any = None, non_blocking: bool = False,
         memory_format: Any = None) -> Tensor:
    """This tensor on a GPU, the current one if none is named; a RuntimeError where there is none.
    """
    where = Device("cuda" if device is None else device)
    if where.type != "cuda":
        raise RuntimeError(f"Invalid device, must be cuda device, but got {where}")
    return to(self, where, non_blocking=non_blocking, memory_format=memory_format)


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor in pinned memory of the host, from which a GPU copies while the host does other
    things, if `to(device, non_blocking=True)` asks for it; itself if it is there, and within a
    compiled function.

    Raises RuntimeError where there is no GPU, and for a tensor that is not on the CPU.
    """
    usable("cuda")
    if self.device.type != "cpu":
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
    array = None if mode.trace is not None else resolve(self)._array
    if array is None or is_pinned(self):
        return self
    return wrap(device_memory.pinned(array), self._dtype)


def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Whether the tensor is in pinned memory of the host."""
    return bool(device_memory.is_pinned(self._array))


def record_stream(self: Tensor, stream: Any) -> None:
    """Say that another stream uses this tensor of a GPU: once the tensor is gone, its memory is not
    used again before that stream has done what is in it by then.

    Raises RuntimeError for a tensor of the CPU.
    """
    if self.device.type != "cuda":
        raise NotImplementedError(
            "Could not run 'aten::record_stream' with arguments from the 'CPU' backend: the tensor "
            "is not on a GPU"
        )
    if type(self._array) is DeviceArray:
        self._array.memory.record(stream.cuda_stream)


def clone(self: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy, part of the graph.

    Shape: (*) -> (*). Dtype: that of the tensor. Raises TypeError without a tensor.

    >>> x = torch.ones(2)
    >>> y = x.clone()
    >>> y[0] = 5
    >>> x
    tensor([1., 1.])
    """
    return _formed(ops.copy(self), memory_format)


def _formed(y: Tensor, memory_format: Any) -> Tensor:
    """A new tensor in a memory format."""
    strides = format_strides(y, memory_format)
    return y if strides is None else with_strides(y, strides)


def detach(self: Tensor) -> Tensor:
    """The same values in the same memory, cut off from the history.

    Shape: (*) -> (*). Dtype: that of the tensor. Raises TypeError without a tensor.

    >>> torch.ones(2, requires_grad=True).detach().requires_grad
    False
    """
    x = resolve(self)
    node = x._node if mode.trace is None else mode.trace.detached(x._node)
    y: Tensor = fill_slots(object.__new__(Tensor), x._array, node, x._dtype)
    y._version = x._version
    alias_memory(x, y)
    return y


def detach_(self: Tensor) -> Tensor:
    """Cut this tensor off from its history."""
    x = resolve(self)
    if x._view is not None and x._view.differentiable:
        raise RuntimeError("Can't detach views in-place. Use detach() instead.")
    x._grad_fn, x._requires_grad = None, False
    return self


def _data(self: Tensor) -> Tensor:
    y = detach(self)
    if mode.trace is None:  # changes through `.data` do not count: that is its purpose
        y._version = UncountedVersion(y._version)
    # In a trace they do. Eagerly a derivative would read the new numbers, the trace has the old.
    return y


def _set_data(self: Tensor, new: Tensor) -> None:
    if not isinstance(new, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(new).__name__}")
    x, new = resolve(self), resolve(new)
    if new._dtype is not x._dtype:
        raise RuntimeError(
            "Attempted to call `variable.set_data(tensor)`, but `variable` and `tensor` have "
            "incompatible tensor type."
        )
    x._array, x._node, x._ptr, x._memory_location = new._array, new._node, 0, memory_location(new)
    x._base = x._view = None
    data_was_set(x)
    tensor_changed(x)


def _new(make: Any, name: str) -> Any:
    def method(self: Tensor, *args: Any, dtype: Any = None, **options: Any) -> Tensor:
        options.setdefault("device", self.device)
        return make(*args, dtype=dtype or self.dtype, **options)

    method.__name__ = f"new_{name}"
    method.__doc__ = f"`{name}` in the dtype of this tensor."
    return method


NEW = {f"new_{f.__name__}": _new(f, f.__name__) for f in (zeros, ones, empty, full, tensor)}


def numbers_equal(self: Tensor, other: Any) -> Any:
    return bind(ops.eq, (self, other), {})


def numbers_differ(self: Tensor, other: Any) -> Any:
    return bind(ops.ne, (self, other), {})
