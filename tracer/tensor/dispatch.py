"""What applying a primitive to Tensors means: `Tensor.bind`.

Numbers are lifted, dtypes promoted, then the primitive is computed at once (or, in a trace, applied
to the Nodes), and the operation is put on the gradient tape. Eager and traced differ in one line of
it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dtype import DType, bool_, float32, of_numpy, of_scalar
from ...ir.faults import division_by_zero
from ...ir.op import Kind, OpDef, Types, evaluate
from ...ir.ops.elementwise import cast, check_divisor, ne
from ..autograd.graph import composite, record
from ..mode import get_default_dtype, mode, resolve
from . import masked_selection
from .masked_selection import Selection
from .memory_order import axis_order, elementwise_strides, strides_of
from .promotion import SCALAR_TYPE, common_dtype
from .tensor import Size, Tensor, leaked_tensor_error, traced, wrap
from .views import make_view


def _not_implemented(op: OpDef, x: Tensor) -> NotImplementedError:
    name = op.refused.name or op.name
    return not_implemented(name if isinstance(name, str) else name(x.ndim), x)


def not_implemented(name: str, x: Tensor) -> NotImplementedError:
    """What torch says of a function that it lacks for a dtype."""
    return NotImplementedError(f"\"{name}\" not implemented for '{SCALAR_TYPE[x._dtype]}'")


_numbers: dict[tuple, Tensor] = {}  # the eager ones are kept: programs use few, many times


def number(value: Any, dtype: DType) -> Tensor:
    """A Python number as a 0-d tensor, not to be written to."""
    if mode.trace is not None:
        return traced(mode.trace.number(value, dtype))
    key = (type(value), value, dtype)
    found = _numbers.get(key)
    if found is None or value == 0.0:  # 0.0 and -0.0 are one key
        with np.errstate(all="ignore"):
            array = np.asarray(value).astype(dtype.compute)
        found = wrap(dtype.encode(array), dtype)
        found._array.flags.writeable = False
        if len(_numbers) > 1000:
            _numbers.clear()
        _numbers[key] = found
    return found


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of an array. It looks at it in its own way: what becomes of
    the array's shape, dtype or flags later does not reach it, nor does a subclass of NumPy's.
    """
    dtype = of_numpy(array.dtype)
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Convert it "
            "with array.astype(array.dtype.newbyteorder('='))."
        )
    if any(s % array.itemsize for s in array.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy "
            "array to reallocate the memory."
        )
    return wrap(array.view(np.ndarray), dtype)


def _lift(x: Any, op: OpDef) -> Any:
    """An operand as a Tensor or a Python number."""
    if isinstance(x, Tensor):
        return resolve(x)
    if isinstance(x, (bool, int, float)):
        return x
    if isinstance(x, (np.number, np.bool_)):
        return x.item()
    if isinstance(x, np.ndarray):
        return resolve(from_numpy(x))
    raise TypeError(f"unsupported operand type(s) for {op.name}: 'Tensor' and '{type(x).__name__}'")


def _first(inputs: tuple) -> Tensor:
    return next(x for x in inputs if isinstance(x, Tensor))


def _unify(op: OpDef, inputs: tuple) -> tuple:
    """The operands as Tensors of the dtypes that `op` wants."""
    types = op.types
    if types is Types.LOGICAL:
        inputs = _narrowed(inputs)
        dtypes = [bool_] * len(inputs)
    elif types is Types.FREE:
        dtypes = [
            x._dtype if isinstance(x, Tensor) else of_scalar(x, get_default_dtype()) for x in inputs
        ]
    else:
        first = 1 if types is Types.SELECT else 0
        common = common_dtype(inputs[first:])
        if op.refused.one_bool and any(
            isinstance(x, bool) or (isinstance(x, Tensor) and x._dtype is bool_) for x in inputs
        ):
            raise RuntimeError(op.refused.bools if common is bool_ else op.refused.one_bool)
        if types is Types.FLOAT and common.kind != "float":
            if common.kind in op.refused.kinds:
                raise _not_implemented(op, _first(inputs))
            common = get_default_dtype()
        dtypes = [common] * len(inputs)
        if first:
            dtypes[0] = bool_
            if not isinstance(inputs[0], bool) and inputs[0].dtype is not bool_:
                given = SCALAR_TYPE[inputs[0].dtype]
                raise RuntimeError(
                    "where expected condition to be a boolean tensor, but got a tensor with "
                    f"dtype {given}"
                )
    return tuple(
        number(x, d) if not isinstance(x, Tensor) else x if x._dtype is d else _converted(x, d)
        for x, d in zip(inputs, dtypes, strict=True)
    )


def _narrowed(inputs: tuple) -> tuple:
    """The operands of a logical operation; 0-d ones as the type of the others has them, in which a
    number that is not 0 may be 0.
    """
    common = common_dtype(inputs)
    return tuple(
        cast(x, dtype=common) if isinstance(x, Tensor) and x._dtype is not bool_ and not x.ndim
        else x for x in inputs
    )  # fmt: skip


def _converted(x: Tensor, dtype: DType) -> Tensor:
    return cast(x, dtype=dtype) if dtype is not bool_ else ne(x, 0)


def _result_dtype(op: OpDef, inputs: tuple, params: dict) -> DType:
    if "dtype" in params:
        return params["dtype"]
    if op.types is Types.COMPARE or op.types is Types.LOGICAL:
        return bool_
    return inputs[1 if op.types is Types.SELECT else 0]._dtype


def _compute(op: OpDef, inputs: tuple, params: dict) -> Tensor:
    if (
        op.kind is Kind.ELEMENTWISE
    ):  # NumPy checks these shapes itself; only its refusal is worth a second look
        dtype = _result_dtype(op, inputs, params)
    else:
        dtype = op.infer(*inputs, **params)[1]
    arrays = [x._array for x in inputs]
    for x in inputs:
        if x._node is not None:
            raise leaked_tensor_error(x)
    try:
        y = evaluate(op, arrays, [x._dtype for x in inputs], dtype, params)
        if op.kind is Kind.ELEMENTWISE:
            if y.ndim > 1 and y is not arrays[0]:
                y = _ordered(y, arrays)
        elif op.kind is Kind.IMPLICIT:
            y = _ordered(y, arrays[:1])
        elif not op.aliases and not y.flags.c_contiguous:
            y = np.ascontiguousarray(y)  # as the trace takes it to be
        return wrap(y, dtype)
    except (ValueError, TypeError) as error:
        if op.check is not None:  # what a function demands of values
            raise
        op.infer(*inputs, **params)
        if isinstance(error, ValueError):
            raise RuntimeError(str(error)) from None
        if inputs[0]._dtype is bool_ and op.refused.bools:
            raise RuntimeError(op.refused.bools) from error
        raise _not_implemented(op, inputs[0]) from error


def _ordered(y: np.ndarray, arrays: list[np.ndarray]) -> np.ndarray:
    """An elementwise result in the order in memory that torch gives it."""
    for a in arrays:
        if not a.flags.c_contiguous:
            break
    else:
        return y
    size = y.itemsize
    want = elementwise_strides([(a.shape, a.strides) for a in arrays], y.shape)
    dims = zip(y.shape, y.strides, want, strict=True)
    if not y.size or all(s == w * size for n, s, w in dims if n > 1):
        return y
    axes = axis_order(y.shape, want) or range(y.ndim)
    out = np.empty([y.shape[d] for d in axes], y.dtype).transpose(np.argsort(axes))
    np.copyto(out, y)
    return out


def _ready(op: OpDef, inputs: tuple) -> tuple | None:
    """The operands as they are, but for lifted numbers, in the common case: eager tensors of one
    dtype, and numbers that do not change it. None where the long way must be gone.
    """
    types = op.types
    if mode.trace is not None or types is Types.LOGICAL:
        return None
    dtype, numbers = None, False
    for x in inputs[1:] if types is Types.SELECT else inputs:
        if not isinstance(x, Tensor):
            numbers = True
        elif dtype is None:
            dtype = x._dtype
        elif x._dtype is not dtype:
            return None
    if dtype is None or (types is Types.FLOAT and dtype.kind != "float"):
        return None
    if types is Types.SELECT and not (isinstance(inputs[0], Tensor) and inputs[0]._dtype is bool_):
        return None
    if dtype is bool_ and op.refused.one_bool:
        return None
    if numbers:
        for x in inputs:
            kind = type(x)
            if not (kind is int and dtype is not bool_) and not (
                kind is float and dtype.kind == "float"
            ):
                if not isinstance(x, Tensor):
                    return None
        if dtype.is_half and any(type(x) in (int, float) for x in inputs):
            return None
        inputs = tuple(x if isinstance(x, Tensor) else number(x, dtype) for x in inputs)
    for x in inputs:
        if x._view is not None:
            resolve(x)
    return inputs


def _beside_scalar(op: OpDef, inputs: tuple) -> DType | None:
    """The half type of the answer where a number or a 0-d tensor, as the second operand, would be
    another in that type; torch takes it in float32 there.
    """
    if not op.op_math:
        return None
    first, second = inputs
    if isinstance(second, Tensor) and (second.ndim or second._dtype.is_half):
        if isinstance(first, Tensor) or 0 not in op.op_math:
            return None
        second = first
    dtype = common_dtype(inputs)
    if not dtype.is_half:
        return None
    # what a number is that is read at every call is not known
    exact = isinstance(second, (int, float)) and not _rounded(second, dtype)
    return None if exact else dtype


def _rounded(x: Any, dtype: DType) -> bool:
    """Whether `x` is a number that a half type does not have."""
    if x != x:
        return False
    with np.errstate(all="ignore"):
        return bool(dtype.decode(dtype.encode(np.asarray(x, np.float32))) != x)


def _in_float32(op: OpDef, inputs: tuple, dtype: DType) -> Tensor:
    """The answer of type `dtype`, rounded once."""
    wide = (cast(x, dtype=float32) if isinstance(x, Tensor) else x for x in inputs)
    return cast(op(*wide), dtype=dtype)


def _divided(op: OpDef, given: tuple, inputs: tuple) -> tuple:
    """The operands of a division, whose divisors are checked where they are integers."""
    a, b = inputs
    if a._dtype.kind not in ("int", "uint") or 0 in op.infer(a, b)[0]:
        return inputs
    known = not isinstance(given[1], Tensor)  # a Python number
    if known and not given[1]:
        raise division_by_zero()
    return inputs if known else (a, check_divisor(b))


def bind(op: OpDef, inputs: tuple, params: dict) -> Tensor:
    """Apply a primitive to Tensors and Python numbers."""
    ready = _ready(op, inputs)
    if ready is None:
        inputs = tuple(_lift(x, op) for x in inputs)
        half = _beside_scalar(op, inputs)
        if half is not None:
            return composite(op.grad_name)(_in_float32)(op, inputs, half)
        ready = _unify(op, inputs)
    if op.refused.kinds and ready[0]._dtype.kind in op.refused.kinds:
        raise _not_implemented(op, ready[0])
    if mode.trace is not None and any(type(x) is Selection for x in ready):
        return masked_selection.apply(op, ready, params)
    if op.divides:
        ready = _divided(op, inputs, ready)
    if mode.trace is None:
        return _finish(op, ready, params, _compute(op, ready, params))
    if op.refused.bools and ready[0]._dtype is bool_:
        raise RuntimeError(op.refused.bools)
    params = {k: tuple(v) if type(v) is Size else v for k, v in params.items()}
    node = mode.trace.apply(op, tuple(x._node for x in ready), params)
    y = traced(node)
    if op.kind in (Kind.ELEMENTWISE, Kind.IMPLICIT) and len(node.shape) > 1:
        deciding = ready if op.kind is Kind.ELEMENTWISE else ready[:1]
        operands = [(tuple(x.shape), strides_of(x)) for x in deciding]
        y._traced_strides = elementwise_strides(operands, node.shape)
    return _finish(op, ready, params, y)


def _finish(op: OpDef, inputs: tuple, params: dict, y: Tensor) -> Tensor:
    if op.aliases:
        make_view(inputs[0], op, params, y)
    if mode.grad and op.vjp is not None and y._dtype.kind == "float":
        for x in inputs:
            if x._requires_grad:
                record(op, inputs, params, y)
                break
    return y


Tensor.bind = staticmethod(bind)  # type: ignore[method-assign]
