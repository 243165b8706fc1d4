"""Applying a primitive to tensors: `Tensor.bind`.

Numbers become tensors and dtypes are promoted. Then the primitive is evaluated, or in a trace
applied to the nodes. Last, the operation is added to the autograd graph. Eager and traced calls
share all steps but the evaluation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ...ir.dtype import DType, bool_, float32, of_numpy, of_scalar
from ...ir.faults import division_by_zero
from ...ir.op import Kind, OpDef, Types, evaluate
from ...ir.ops.elementwise import cast, check_divisor, ne
from ...ir.quiet import quiet_context, quietly
from ..autograd.graph import as_one
from ..autograd.recording import record
from ..mode import get_default_dtype, mode, resolve
from . import masked_selection
from .lanes import Lane, find_lane, lanes, promoted_lane
from .masked_selection import Selection
from .memory_order import elementwise_strides, in_torch_order, strides_of
from .placement import compute as compute_on_device
from .promotion import SCALAR_TYPE, common_dtype
from .tensor import Size, Tensor, traced, wrap
from .views import make_view


def _not_implemented(op: OpDef, x: Tensor) -> NotImplementedError:
    name = op.refused.name or op.name
    return not_implemented(name if isinstance(name, str) else name(x.ndim), x)


def not_implemented(name: str, x: Tensor) -> NotImplementedError:
    """torch's error for a function that does not support the dtype of `x`."""
    return NotImplementedError(f"\"{name}\" not implemented for '{SCALAR_TYPE[x._dtype]}'")


IMPLICIT = Kind.IMPLICIT  # as a name of the module it takes less time
_numbers: dict[tuple, Tensor] = {}  # eager ones are cached: programs use few numbers, many times


def number(value: Any, dtype: DType) -> Tensor:
    """A Python number as a read-only 0-d tensor."""
    if mode.trace is not None:
        return traced(mode.trace.number(value, dtype))
    key = (type(value), value or repr(value), dtype)  # 0.0 and -0.0 are equal
    tensor = _numbers.get(key)
    if tensor is None:
        tensor = wrap(dtype.encode(value), dtype)
        tensor._array.flags.writeable = False
        if len(_numbers) > 1000:
            _numbers.clear()
        _numbers[key] = tensor
    return tensor


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of an array.

    It holds a view of its own. Later changes of the array's shape, dtype or flags do not affect the
    tensor. A subclass of np.ndarray becomes a plain array.
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


def _as_operand(x: Any, op: OpDef) -> Any:
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


def _promote(op: OpDef, inputs: tuple) -> tuple:
    """The operands as tensors of the dtypes that `op` expects."""
    types = op.types
    if types is Types.LOGICAL:
        inputs = _narrow_scalars(inputs)
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
                dtype = SCALAR_TYPE[inputs[0].dtype]
                raise RuntimeError(
                    "where expected condition to be a boolean tensor, but got a tensor with dtype "
                    f"{dtype}"
                )
    return tuple(
        number(x, d) if not isinstance(x, Tensor) else x if x._dtype is d else _convert(x, d)
        for x, d in zip(inputs, dtypes, strict=True)
    )


def _narrow_scalars(inputs: tuple) -> tuple:
    """The operands of a logical operation, 0-d tensors converted to the common dtype.

    A nonzero number may become 0 in that dtype. torch converts it before it tests for 0.
    """
    common = common_dtype(inputs)
    return tuple(
        cast(x, dtype=common) if isinstance(x, Tensor) and x._dtype is not bool_ and not x.ndim
        else x for x in inputs
    )


def _convert(x: Tensor, dtype: DType) -> Tensor:
    return cast(x, dtype=dtype) if dtype is not bool_ else ne(x, 0)


def _compute(op: OpDef, inputs: tuple, params: dict, lane: Lane) -> Tensor:
    """Evaluate the primitive with NumPy."""
    arrays = []
    for x in inputs:
        if x._view is not None:
            x._view.refresh(x)
        array = x._array
        if type(array) is not ndarray:
            elsewhere = compute_on_device(op, inputs, params)
            if elsewhere is not None:
                return elsewhere
        arrays.append(array)
    dtype = lane.output
    if params and "dtype" in params:
        dtype = params["dtype"]
    elif dtype is None:
        dtype = op.infer(*inputs, **params)[1]
    try:
        if lane.plain:
            run = quiet_context().run
            y = run(op.ref, *arrays, **params) if params else run(op.ref, *arrays)
            if type(y) is not ndarray or y.dtype is not dtype.storage or dtype.is_half:
                y = dtype.encode(y)
        else:
            y = evaluate(op, arrays, lane.halves, dtype, params)
    except (ValueError, TypeError) as error:
        if op.check is not None:  # a check of values raised
            raise
        raise _explained(op, inputs, params, error) from None
    if lane.by_operands:
        if y.ndim > 1 and y is not arrays[0]:
            y = in_torch_order(y, arrays)
    elif op.kind is IMPLICIT:
        y = in_torch_order(y, arrays[:1])
    elif not lane.aliases and not y.flags.c_contiguous:
        y = np.ascontiguousarray(y)  # as in a trace
    return wrap(y, dtype)


def _explained(op: OpDef, inputs: tuple, params: dict, error: Exception) -> Exception:
    """torch's error for operands that NumPy has refused."""
    op.infer(*inputs, **params)
    if isinstance(error, ValueError):
        return RuntimeError(str(error))
    if inputs[0]._dtype is bool_ and op.refused.bools:
        return RuntimeError(op.refused.bools)
    return _not_implemented(op, inputs[0])


def _half_result_dtype(op: OpDef, inputs: tuple) -> DType | None:
    """The half dtype of the output if torch computes it in float32; otherwise None.

    torch does so if the second operand is a number or a 0-d tensor. It matters if rounding that
    operand to the half dtype would change the output.
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
    # the value of a number that is read at every call is unknown
    exact = type(second) in (bool, int, float) and not _is_rounded(second, dtype)
    return None if exact else dtype


def _is_rounded(x: Any, dtype: DType) -> bool:
    """Whether `x` is a number that the half dtype cannot represent."""
    if x != x:
        return False
    return float(dtype.decode(quietly(dtype.encode, x))) != x


def _compute_in_float32(op: OpDef, inputs: tuple, dtype: DType) -> Tensor:
    """The output computed in float32 and rounded once to `dtype`."""
    wide = (cast(x, dtype=float32) if isinstance(x, Tensor) else x for x in inputs)
    return cast(op(*wide), dtype=dtype)


def _check_division(op: OpDef, arguments: tuple, inputs: tuple) -> tuple:
    """The operands of a division. Integer divisors are checked for 0."""
    a, b = inputs
    if a._dtype.kind not in ("int", "uint") or 0 in op.infer(a, b)[0]:
        return inputs
    divisor = arguments[1]
    if type(divisor) not in (int, bool):  # its value may be another one at the next call
        return a, check_divisor(b)
    if not a._dtype.encode(divisor):  # 256 is 0 in uint8
        raise division_by_zero()
    return inputs


def _promoted(op: OpDef, inputs: tuple) -> tuple:
    """The operands as tensors of the dtypes that `op` expects; raises if torch refuses them."""
    ready = _promote(op, inputs)
    if op.refused.kinds and ready[0]._dtype.kind in op.refused.kinds:
        raise _not_implemented(op, ready[0])
    if mode.trace is not None and op.refused.bools and ready[0]._dtype is bool_:
        raise RuntimeError(op.refused.bools)
    if op.divides and not any(type(x) is Selection for x in ready):
        ready = _check_division(op, inputs, ready)
    return ready


def bind(op: OpDef, inputs: tuple, params: dict) -> Tensor:
    """Apply a primitive to tensors and Python numbers."""
    if len(inputs) == 2:
        a, b = inputs
        kinds: tuple = (
            op, a._dtype if isinstance(a, Tensor) else type(a),
            b._dtype if isinstance(b, Tensor) else type(b),
        )
    else:
        kinds = (op, *[x._dtype if isinstance(x, Tensor) else type(x) for x in inputs])
    lane = lanes.get(kinds)
    if lane is None:
        lane = find_lane(op, kinds[1:])
    if lane.promotes:
        inputs = tuple([_as_operand(x, op) for x in inputs])
        half = _half_result_dtype(op, inputs)
        if half is not None:
            return as_one(op.grad_name, _compute_in_float32, op, inputs, half)
        inputs = _promoted(op, inputs)
        lane = promoted_lane(op, tuple([x._dtype for x in inputs]))
    elif lane.number is not None:
        inputs = tuple([x if isinstance(x, Tensor) else number(x, lane.number) for x in inputs])
    now = mode.__dict__
    if now["trace"] is not None:
        return _trace(op, inputs, params)
    y = _compute(op, inputs, params, lane)
    if lane.aliases:
        make_view(inputs[0], op, params, y)
    if lane.derivative and now["grad"] and y._dtype.kind == "float":
        for x in inputs:
            if x._requires_grad:
                record(op, inputs, params, y)
                break
    return y


def _trace(op: OpDef, inputs: tuple, params: dict) -> Tensor:
    """Apply the primitive to the nodes of a trace."""
    inputs = tuple([resolve(x) for x in inputs])
    for x in inputs:
        if type(x) is Selection:
            return masked_selection.apply(op, inputs, params)
    if params:
        params = {k: tuple(v) if type(v) is Size else v for k, v in params.items()}
    y = traced(mode.trace.apply(op, tuple([x._node for x in inputs]), params))
    if len(y._node.shape) > 1 and (op.is_elementwise or op.kind is IMPLICIT):
        deciding = inputs if op.is_elementwise else inputs[:1]
        operands = tuple([(tuple(x._node.shape), strides_of(x)) for x in deciding])
        y._traced_strides = elementwise_strides(operands, y._node.shape)
    if op.aliases:
        make_view(inputs[0], op, params, y)
    if mode.grad and op.vjp is not None and y._dtype.kind == "float":
        if any(x._requires_grad for x in inputs):
            record(op, inputs, params, y)
    return y


Tensor.bind = staticmethod(bind)  # type: ignore[method-assign]
