"""Making tensors: from data, from NumPy, filled, counted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...ir.dtype import DType, bool_, float32, float64, int64, of_numpy, of_scalar
from ...ir.ops.elementwise import cast, copy, where
from ...ir.ops.movement import concat, reshape
from ...ir.ops.source import full as full_op, iota
from ...tracer.capture.scalar import Scalar
from ...tracer.mode import get_default_dtype, mode, resolve
from ...tracer.tensor import dispatch, tensor as tensor_module
from ...tracer.tensor.device import CPU, device as Device, usable
from ...tracer.tensor.device_memory import pinned
from ...tracer.tensor.dispatch import bind
from ...tracer.tensor.gradient_layout import with_strides
from ...tracer.tensor.layout import format_strides
from ...tracer.tensor.memory_order import elementwise_strides, strides_of
from ...tracer.tensor.placement import constant, on_device, placed
from ...tracer.tensor.promotion import (
    as_dtype,
    checked_number,
    common_dtype,
    refuse_overflow,
)
from ...tracer.tensor.tensor import Size, Tensor, wrap
from ..arguments import numbers_fit, refuse
from . import device_exchange

__all__ = [
    "arange", "as_tensor", "empty", "empty_like", "eye", "from_numpy", "full", "full_like",
    "linspace", "logspace", "ones", "ones_like", "scalar_tensor", "tensor", "zeros",
    "zeros_like",
]


def leaf(t: Tensor, requires_grad: bool, where: Device = CPU, pin: bool = False) -> Tensor:
    """A fresh tensor as a leaf that may require grad, on a device; eagerly, in pinned memory."""
    if where is not CPU:
        t = placed(t, where)
    if pin and mode.trace is None:
        t = wrap(pinned(t._array), t._dtype)
    return t.requires_grad_() if requires_grad else t


def held(array: np.ndarray, dtype: DType, where: Device = CPU) -> Tensor:
    """A new tensor with these stored numbers. In a trace they become a constant of the program: a
    0-d one by value, another as an input that is found again, copied so that writing into the
    tensor does not reach the next call.
    """
    if mode.trace is None:
        return wrap(array, dtype)
    if array.ndim == 0:
        return bind(full_op, (), {"value": dtype.decode(array).item(), "shape": (), "dtype": dtype})
    return copy(resolve(constant(array, dtype, where))).detach()


def shape_of(size: tuple, name: str) -> tuple[int, ...]:
    """The shape in `zeros(2, 3)`, `zeros((2, 3))` or `zeros(t.shape)`."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    out = []
    for n in size:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(
                f"{name}(): argument 'size' must be tuple of ints, but found element of type "
                f"{type(n).__name__}"
            )
        out.append(n.__index__())
    if any(n < 0 for n in out):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(out)}: {out}")
    return tuple(out)


# ---- from data
def _plain(data: Any) -> Any:
    """Nested lists with tensors and arrays inside, as nested lists of numbers."""
    if isinstance(data, Tensor):
        if data.numel() != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return data.item()
    if isinstance(data, (list, tuple)):
        return [_plain(x) for x in data]
    if isinstance(data, np.ndarray):
        return data.tolist()
    return data


def _has_arrays(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        if any(isinstance(x, (Tensor, np.ndarray)) for x in data):
            return True
        data = data[0]
    return False


def _explain(data: Any) -> None:
    """Raise what torch raises for data that makes no tensor."""
    shape: list[int] = []
    first = data
    while isinstance(first, (list, tuple)):
        shape.append(len(first))
        if not first:
            break
        first = first[0]

    def check(x: Any, depth: int) -> None:
        if isinstance(x, (list, tuple)):
            if depth == len(shape):
                raise TypeError(f"must be real number, not {type(x).__name__}")
            if len(x) != shape[depth]:
                raise ValueError(
                    f"expected sequence of length {shape[depth]} at dim {depth} (got {len(x)})"
                )
            for y in x:
                check(y, depth + 1)
        elif depth < len(shape) and isinstance(x, (bool, int, float)):
            raise TypeError(f"expected a sequence at dim {depth} (got {type(x).__name__})")
        elif isinstance(x, str):
            if depth:
                raise ValueError(f"too many dimensions '{type(x).__name__}'")
            raise TypeError(f"new(): invalid data type '{type(x).__name__}'")
        elif isinstance(x, complex):
            raise TypeError("complex numbers are not supported")
        elif not isinstance(x, (bool, int, float, np.number, np.bool_)):
            raise RuntimeError(f"Could not infer dtype of {type(x).__name__}")

    check(data, 0)


def _first(data: Any) -> Any:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _rounded(array: np.ndarray, data: Any) -> bool:
    """Whether NumPy has made floats of integers, which do not fit into int64."""
    return array.dtype.kind == "f" and isinstance(_first(data), int) and all(
        isinstance(x, int) for x in np.array(data, object).flat
    )


def _numbers(data: Any, dtype: DType | None) -> tuple[np.ndarray, DType]:
    """The stored array for Python data, and its dtype."""
    if isinstance(data, (np.ndarray, np.generic)):
        dtype = dtype or of_numpy(data.dtype)
        return np.array(dtype.encode(data)), dtype
    if _has_arrays(data):
        data = _plain(data)
    try:
        array = np.array(data)
    except (ValueError, TypeError):
        _explain(data)
        raise
    if array.dtype.kind not in "bif" or _rounded(array, data):
        _explain(data)
        if array.dtype.kind not in "ufO":
            raise TypeError(f"new(): invalid data type '{array.dtype}'")
        if dtype is None or dtype.kind in ("int", "uint"):
            raise ValueError("Overflow when unpacking long long")
        array = np.array(data, np.float64)
    if dtype is None:
        dtype = {"b": bool_, "i": int64}.get(array.dtype.kind, get_default_dtype())
        if isinstance(one := _first(data), np.floating):
            dtype = of_numpy(one.dtype)
        if array.size == 0:
            dtype = get_default_dtype()
    if dtype.kind in ("int", "uint") and array.dtype.kind == "f":
        # each as it is: beside a float, a large int would have lost digits
        whole = [checked_number(x, dtype) for x in np.array(data, object).flat]
        array = np.array(whole, np.int64).reshape(array.shape)
    elif dtype.kind in ("int", "uint") and array.size and array.dtype.kind == "i":
        for one in (array.min(), array.max()):
            checked_number(one.item(), dtype)
    return np.array(dtype.encode(array)), dtype


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:
    """A leaf tensor with a copy of `data`: a number, (nested) lists of numbers, an array or a
    tensor.

    Shape: that of the data; rows must have equal lengths. Dtype: `dtype`, else int64 of integers,
    bool of bools, the default dtype of floats, and that of an array.
    Raises ValueError for rows of different lengths; TypeError or RuntimeError for other data.

    >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    where = usable(device)
    wanted = None if dtype is None else as_dtype(dtype)
    if type(data) is Scalar:
        d = common_dtype([data]) if wanted is None else wanted
        if d.kind in ("int", "uint"):  # a float that overflows is infinite
            refuse_overflow(data, d)
        return leaf(dispatch.number(data, d).clone(), requires_grad, where)
    if isinstance(data, Tensor):
        new = resolve(data).detach().clone()
        new = new if wanted is None else cast(new, dtype=wanted)
        return leaf(new if device is None else on_device(new, where), requires_grad)
    if requires_grad and wanted is not None and not wanted.is_floating_point:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    if mode.trace is not None and (read := _read_at_each_call(data, wanted)) is not None:
        return leaf(read, requires_grad, where)
    return leaf(held(*_numbers(data, wanted), where), requires_grad, where, pin_memory)


def _read_at_each_call(data: Any, wanted: DType | None) -> Tensor | None:
    """A tensor of lists of numbers, of which some are Scalars; None of other data."""
    numbers = list(_inside(data))
    if not any(type(x) is Scalar for x in numbers) or any(
        type(x) not in (Scalar, bool, int, float) for x in numbers
    ):
        return None
    now, d = _numbers(_now(data), wanted)
    for x in numbers:
        if type(x) is Scalar and d.kind in ("int", "uint"):
            refuse_overflow(x, d)
    rows = [reshape(dispatch.number(x, d), shape=(1,)) for x in numbers]
    return reshape(concat(*rows, axis=0), shape=now.shape)


def _inside(data: Any) -> Iterator[Any]:
    """What nested lists and tuples hold."""
    if type(data) in (list, tuple):
        for x in data:
            yield from _inside(x)
    else:
        yield data


def _now(data: Any) -> Any:
    """Nested lists with the values of Scalars at the call that is traced."""
    if type(data) in (list, tuple):
        return [_now(x) for x in data]
    return data._value if type(data) is Scalar else data


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing memory where it can.

    Shape: that of the data. Dtype: as `tensor`; another `dtype` than that of the data makes a copy.
    Raises ValueError for rows of different lengths; TypeError for other data.

    >>> torch.as_tensor([1, 2], dtype=torch.float32)
    tensor([1., 2.])
    """
    if isinstance(data, Tensor):
        return data.to(device, None if dtype is None else as_dtype(dtype))
    where = usable(device)
    if isinstance(data, np.ndarray) and (dtype is None or of_numpy(data.dtype) is as_dtype(dtype)):
        return leaf(from_numpy(data), False, where)
    if hasattr(data, "__cuda_array_interface__"):
        shared = device_exchange.from_interface(data)
        return shared.to(shared.device if device is None else where, dtype)
    return tensor(data, dtype=dtype, device=where)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares the memory of `ndarray`.

    Shape and dtype: those of the array. A change of one is seen in the other.
    Raises TypeError for other objects and for dtypes that torch lacks.

    >>> import numpy as np
    >>> array = np.array([1, 2])
    >>> x = torch.from_numpy(array)
    >>> array[0] = 7
    >>> x
    tensor([7, 2])
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not "
            "currently supported. (You can probably work around this by making a copy of your "
            "array with array.copy().)"
        )
    return dispatch.from_numpy(ndarray)


def _legacy(*args: Any) -> Tensor:
    if not args:
        return zeros(0)
    if len(args) == 1 and not isinstance(args[0], (int, Size)):
        return tensor(args[0], dtype=get_default_dtype())
    return zeros(*args)


tensor_module.legacy = _legacy


# ---- filled
def _filled(
    value: Any, shape: tuple[int, ...], dtype: Any, device: Any, requires_grad: bool,
    pin: bool = False,
) -> Tensor:
    where = usable(device)
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    if type(value) is Scalar:
        if d is not bool_:
            refuse_overflow(value, d)  # by comparisons, which are guards
        return leaf(dispatch.number(value, d).expand(shape).clone(), requires_grad, where)
    value = checked_number(value, d)
    if mode.trace is None and where is CPU:
        t = wrap(np.full(shape, d.encode(value)), d)
    elif mode.trace is None:
        t = placed(wrap(np.array(d.encode(value)), d), where).expand(shape).clone().detach()
    else:
        t = bind(full_op, (), {"value": value, "shape": shape, "dtype": d})
    return leaf(t, requires_grad, where, pin)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False,
          pin_memory: bool = False) -> Tensor:
    """Zeros.

    Shape: `size`. Dtype: `dtype`, else the default dtype.
    Raises RuntimeError for a negative extent; TypeError for a size that is no integer.

    >>> torch.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return _filled(0, shape_of(size, "zeros"), dtype, device, requires_grad, pin_memory)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False,
         pin_memory: bool = False) -> Tensor:
    """Ones.

    Shape: `size`. Dtype: `dtype`, else the default dtype.
    Raises RuntimeError for a negative extent; TypeError for a size that is no integer.

    >>> torch.ones(2, dtype=torch.int64)
    tensor([1, 1])
    """
    return _filled(1, shape_of(size, "ones"), dtype, device, requires_grad, pin_memory)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False,
          pin_memory: bool = False) -> Tensor:
    """A tensor whose values mean nothing yet; here they are zeros.

    Shape: `size`. Dtype: `dtype`, else the default dtype.
    Raises RuntimeError for a negative extent; TypeError for a size that is no integer.

    >>> torch.empty(2, 3).shape
    tracegrad.Size([2, 3])
    """
    return _filled(0, shape_of(size, "empty"), dtype, device, requires_grad, pin_memory)


def full(size: Sequence[int], fill_value: Any, *, dtype: Any = None, device: Any = None,
         requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A tensor filled with one number, whose type decides the dtype.

    Shape: `size`. Dtype: `dtype`, else that of the number: bool, int64 or the default dtype.
    Raises RuntimeError for a negative extent; TypeError for a size that is no sequence of integers.

    >>> torch.full((2, 2), 7)
    tensor([[7, 7],
            [7, 7]])
    """
    shape = shape_of((size,) if isinstance(size, (tuple, list)) else (size,), "full")
    if isinstance(fill_value, Tensor):
        d = fill_value.dtype if dtype is None else as_dtype(dtype)
        new = fill_value.detach().to(d).expand(shape).clone()
        return leaf(new if device is None else on_device(new, usable(device)), requires_grad)
    d = of_scalar(fill_value, get_default_dtype()) if dtype is None else as_dtype(dtype)
    return _filled(fill_value, shape, d, device, requires_grad, pin_memory)


def assigned(value: Any, dtype: DType) -> Tensor:
    """What is written into a tensor of a dtype, as a tensor."""
    if isinstance(value, Tensor):
        return value
    number = isinstance(value, (bool, int, float, np.generic))
    return _filled(value, (), dtype, None, False) if number else tensor(value, dtype=dtype)


def scalar_tensor(
    s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A 0-d tensor.

    >>> torch.scalar_tensor(2.5)
    tensor(2.5000)
    """
    return _filled(s, (), dtype, device, requires_grad)


def _like(value: Any, input: Tensor, dtype: Any, device: Any, requires_grad: bool,
          memory_format: Any = None) -> Tensor:
    where = input.device if device is None else device
    new = _filled(value, tuple(input.shape), dtype or input.dtype, where, requires_grad)
    return lying_as(new, input, memory_format)


def lying_as(new: Tensor, input: Tensor, memory_format: Any = None) -> Tensor:
    """A new tensor with its axes in the order in memory of a format, by itself that of `input`."""
    shape, x = tuple(input.shape), resolve(input)
    if memory_format is None and x._array is not None and x._array.flags.c_contiguous:
        return new
    strides = format_strides(input, memory_format)
    if strides is None:
        strides = elementwise_strides(((shape, strides_of(x)),), shape)
    return with_strides(new, strides)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
               memory_format: Any = None) -> Tensor:
    """Zeros in the shape and dtype of `input`.

    Shape: that of input. Dtype: `dtype`, else that of input. Raises TypeError without a tensor.

    >>> torch.zeros_like(torch.ones(2))
    tensor([0., 0.])
    """
    return _like(0, input, dtype, device, requires_grad, memory_format)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
              memory_format: Any = None) -> Tensor:
    """Ones in the shape and dtype of `input`.

    Shape: that of input. Dtype: `dtype`, else that of input. Raises TypeError without a tensor.

    >>> torch.ones_like(torch.zeros(2))
    tensor([1., 1.])
    """
    return _like(1, input, dtype, device, requires_grad, memory_format)


empty_like = zeros_like


def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None,
              requires_grad: bool = False, memory_format: Any = None) -> Tensor:
    """One number in the shape and dtype of `input`.

    Shape: that of input. Dtype: `dtype`, else that of input. Raises TypeError without a tensor.

    >>> torch.full_like(torch.zeros(2), 7)
    tensor([7., 7.])
    """
    where = input.device if device is None else device
    new = full(input.shape, fill_value, dtype=dtype or input.dtype, device=where,
               requires_grad=requires_grad)
    return lying_as(new, input, memory_format)


# ---- counted
def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:
    """start, start + step, ... up to but without `end`.

    Shape: (ceil((end - start) / step),). Dtype: `dtype`, else int64 of integers, and the default
    dtype if one of them is a float. Raises RuntimeError for a step of 0 or with the wrong sign.

    >>> torch.arange(5), torch.arange(1, 2, 0.5)
    (tensor([0, 1, 2, 3, 4]), tensor([1.0000, 1.5000]))
    """
    where = usable(device)
    if end is None:
        start, end = 0, start
    start, end, step = (
        x.item() if isinstance(x, (Tensor, np.generic)) else x for x in (start, end, step)
    )
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(x, int) for x in (start, end, step))
    d = as_dtype(dtype) if dtype is not None else int64 if whole else get_default_dtype()
    if not whole and not math.isfinite(end - start):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if d is bool_:
        raise refuse("arange_cpu", d)
    numbers_fit(float32 if d.is_half else float64 if d.kind == "float" else int64, start, end, step)
    count = -((start - end) // step) if whole else math.ceil((end - start) / step)
    if whole and d.kind != "float":
        t = bind(iota, (), {"shape": (count,), "dtype": d})
        if step != 1:
            t = t * step
        return leaf(t if start == 0 else t + start, False, where)
    numbers = start + step * np.arange(count, dtype=np.float64)
    return leaf(held(d.encode(numbers), d, where), requires_grad, where)


def linspace(start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:
    """`steps` numbers from `start` to `end`, evenly spaced, both ends included.

    Shape: (steps,). Dtype: `dtype`, else the default dtype.
    Raises RuntimeError for negative steps.

    >>> torch.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    where = usable(device)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    if isinstance(start, Tensor) or isinstance(end, Tensor):
        return leaf(_between(start, end, steps, "linspace").to(d), requires_grad, where)
    _ends_fit("linspace_cpu", d, start, end, steps)
    end = start if steps == 1 else end  # a last one that is not reached counts for nothing
    numbers = np.linspace(start, end, steps, dtype=np.float64)
    return leaf(held(d.encode(numbers), d, where), requires_grad, where)


def _ends_fit(kernel: str, dtype: DType, start: Any, end: Any, steps: int) -> None:
    """Raise torch's error for numbers that do not fit into the dtype of what is counted."""
    if steps > 1 and dtype is bool_:
        raise refuse(kernel, dtype)
    numbers_fit(dtype, *(start, end)[: min(steps, 2)])


def _between(start: Any, end: Any, steps: int, name: str) -> Tensor:
    """The same in float64 where an end is a tensor, each half counted from its own end."""
    if any(isinstance(x, Tensor) and x.ndim for x in (start, end)):
        raise RuntimeError(f"{name} only supports 0-dimensional start and end tensors")
    first, last = (as_tensor(x).detach().to(float64) for x in (start, end))
    k = arange(steps, dtype=float64, device=CPU)
    step = (last - first) / max(steps - 1, 1)
    half = (steps + 1) // 2
    return where(k < half, first + step * k, last - step * (steps - 1 - k))


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: Any = None,
             device: Any = None, requires_grad: bool = False) -> Tensor:
    """`steps` powers of `base`, with exponents evenly spaced from `start` to `end`.

    Shape: (steps,). Dtype: `dtype`, else the default dtype. Raises RuntimeError for negative steps.

    >>> torch.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    where = usable(device)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    if isinstance(start, Tensor) or isinstance(end, Tensor):
        return leaf((base ** _between(start, end, steps, "logspace")).to(d), requires_grad, where)
    _ends_fit("logspace_cpu", d, start, end, steps)
    numbers = np.logspace(start, end, steps, base=base)
    return leaf(held(d.encode(numbers), d, where), requires_grad, where)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the diagonal, zeros elsewhere.

    Shape: (n, m), or (n, n). Dtype: `dtype`, else the default dtype.
    Raises RuntimeError for a negative extent.

    >>> torch.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    where = usable(device)
    rows, columns = (arange(k, device=CPU) for k in (n, n if m is None else m))
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    return leaf(cast(rows.reshape(-1, 1) == columns, dtype=d), requires_grad, where)
