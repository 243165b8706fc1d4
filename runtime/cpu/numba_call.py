"""A plan as a function of `@numba.njit` code: it takes arrays, and returns new ones.

dtypes, dimensions and layout are types for Numba, so what is wrong with them is refused when the
caller is compiled; shapes are compared at each call. Imported when Numba meets such a function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import NumbaTypeError
from numba.extending import intrinsic, overload

from .serial_walk import FACTOR, INDEX, OVERLAP


class Port(NamedTuple):
    """An argument or a result of a call."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    written: bool


_RAISED = {  # what the status of a call becomes
    INDEX: "IndexError('{}: a value is out of bounds, or an integer was divided by zero; call it "
    "from Python to see which')",
    FACTOR: "np.linalg.LinAlgError('{}: a matrix has no such factor')",
    OVERLAP: "ValueError('{}: an argument that it changes shares memory with another one, or with "
    "its own state')",
}


def function(name: str, arguments: Sequence[Port], results: Sequence[Port], plan: int,
             run: int) -> Any:
    """A Numba function that calls `run` (serial_call.WALK) with the plan at an address."""
    if any(port.dtype == np.float16 for port in (*arguments, *results)):
        raise TypeError(f"{name}: Numba has no float16 on a CPU; call it by its address")
    taken = [f"a{k}" for k in range(len(arguments))]
    made = [f"r{k}" for k in range(len(results))]
    lines = [f"def call({', '.join(taken)}):"]
    for a, port in zip(taken, arguments, strict=True):
        wrong = f"{name}: argument {port.name!r} must have shape {port.shape}"
        if port.shape:
            lines += [f"    if {a}.shape != {port.shape}:", f"        raise ValueError({wrong!r})"]
        elif not port.written:
            lines.append(f"    {a} = array({a}, np.empty((), np.dtype('{port.dtype}')))")
    for r, port in zip(made, results, strict=True):
        lines.append(f"    {r} = np.empty({port.shape}, np.dtype('{port.dtype}'))")
    lines += [f"    status = invoke({', '.join((*taken, *made))})", "    if status:"]
    for status, raised in _RAISED.items():
        lines += [f"        if status == {status}:", f"            raise {raised.format(name)}"]
    lines.append(f"        raise MemoryError('{name}')")
    returned = [r if p.shape else f"{r}[()]" for r, p in zip(made, results, strict=True)]
    one = len(returned) == 1
    lines.append(f"    return {returned[0] if one else f'({chr(44).join(returned)})'}")
    space = {"np": np, "array": _array, "invoke": _invoke(name, [*arguments, *results], plan, run)}
    exec("\n".join(lines), space)
    return numba.njit(space["call"], nogil=True)


def _array(x, empty):
    """An array for an argument without dimensions, for which Numba at times passes a number."""


@overload(_array)
def _array_of(x, empty):
    if x != empty.dtype:
        return lambda x, empty: x

    def filled(x, empty):
        empty[()] = x
        return empty

    return filled


def _invoke(name: str, ports: Sequence[Port], plan: int, run: int) -> Any:
    """The intrinsic that takes all arrays, and gives the status."""

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        table = cgutils.alloca_once(builder, pointer, size=max(len(ports), 1))
        arrays = zip(signature.args[0], cgutils.unpack_tuple(builder, args[0]), strict=True)
        for k, (kind, value) in enumerate(arrays):
            data = context.make_array(kind)(context, builder, value).data
            at = builder.gep(table, [ir.Constant(ir.IntType(64), k)])
            builder.store(builder.bitcast(data, pointer), at)
        # addresses of this process: Numba must not keep such code on disk
        called, described = (
            context.add_dynamic_addr(builder, address, info=f"tracegrad {name}")
            for address in (run, plan)
        )
        kind = ir.FunctionType(ir.IntType(32), [pointer, pointer.as_pointer(), pointer])
        run_ = builder.bitcast(called, kind.as_pointer())
        return builder.call(run_, [described, table, ir.Constant(pointer, None)])

    def invoke(typing: Any, *arrays: Any) -> Any:
        for port, array in zip(ports, arrays, strict=True):
            refuse(name, port, array)
        return types.int32(types.StarArgTuple.from_types(arrays)), lowered

    return intrinsic(invoke)


def refuse(name: str, port: Port, array: Any) -> None:
    """Raise for a type of Numba that is none of these arrays."""
    what = f"{name}: argument {port.name!r} must be a C-contiguous array of {port.dtype} with "
    what += f"{len(port.shape)} dimensions"
    if not isinstance(array, types.Array):
        raise NumbaTypeError(f"{what}, not {array}")
    expected = numba.from_dtype(port.dtype)
    if array.dtype != expected or array.ndim != len(port.shape):
        raise NumbaTypeError(f"{what}, not of {array.dtype} with {array.ndim}")
    if array.layout != "C" or not array.aligned:
        raise NumbaTypeError(f"{what}; make one with np.ascontiguousarray")
    if port.written and not array.mutable:
        raise NumbaTypeError(f"{what}, which it writes into: this one is read-only")
