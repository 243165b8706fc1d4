"""CFunc: a compiled function that code without Python calls: C, by a pointer, and Numba's."""

from __future__ import annotations

import ctypes
from importlib import import_module
from typing import Any

import numpy as np

from ..codegen.program import fault
from ..ir.cached import cached_property
from ..ir.dtype import DType
from ..runtime.cpu import serial_call, serial_walk
from ..runtime.cpu.executable import address
from .closed import Closed, Port

_C_TYPES = {
    "float64": "double", "float32": "float", "float16": "uint16_t", "bfloat16": "uint16_t",
    "bool": "bool",
}
_kept: list[CFunc] = []  # those whose address others may have: it must stay good


def c_type(dtype: DType) -> str:
    """The C type of an array's elements."""
    return _C_TYPES.get(dtype.name, f"{dtype.name}_t")


class CFunc:
    """A function for C and for Numba, made by `compiled.cfunc(...)`.

    Call it on arrays, in Python or in `@numba.njit` code: it returns new arrays, and numbers for
    results without dimensions. `address` is that of a C function with the prototype `signature`: it
    takes pointers to the data of the arguments, then of the results, and returns 0, or what went
    wrong (`STATUS`). `ctypes` is that function for Python's ctypes.

    dtypes and shapes are those of the example. Parameters are read from the memory that they had
    when this was made; what the function changes in place, a training step its parameters, changes
    there. It takes no lock of Python's, and may be called from any thread; calls that change
    memory wait for one another. Each runs on one thread.

    >>> f = torch.compile(lambda x: (x**2).sum())
    >>> g = f.cfunc(torch.ones(3), gradient=0)
    >>> value, gradient = g(torch.tensor([1.0, 2.0, 3.0]).numpy())
    >>> float(value), gradient.tolist()
    (14.0, [2.0, 4.0, 6.0])
    >>> g.signature
    'int32_t function(const float *x, float *value, float *grad_x)'
    """

    STATUS = {
        0: "done", serial_walk.INDEX: "a check of values failed, such as an index out of range",
        serial_walk.FACTOR: "a matrix has no such factor",
        serial_walk.POINTER: "a pointer is null, or not a multiple of the size of an element",
        serial_walk.OVERLAP: "memory that is written overlaps with other memory",
        serial_walk.MEMORY: "no memory",
    }

    def __init__(self, closed: Closed):
        self._closed = closed
        self._arguments, self._results = closed.arguments.ports, closed.results.ports
        plan = serial_call.plan_of(
            closed.program, [p.memory() for p in (*self._arguments, *self._results)],
            [held.memory() for held in closed.state], closed.stateful,
        )
        draws = [(address(held.array) + 8, held.taken) for held in closed.state if held.taken]
        self._bound = serial_call.Bound(plan, draws)
        self.__name__ = closed.name

    @property
    def signature(self) -> str:
        """The prototype of the C function."""
        return prototype(self.__name__, self._arguments, self._results)

    @cached_property
    def address(self) -> int:
        """The address of the C function, which is good as long as the process lives."""
        _kept.append(self)
        count = len(self._arguments) + len(self._results)
        return serial_call.entry(self.__name__, self._bound.address, count)

    @cached_property
    def ctypes(self) -> Any:
        """The C function for `ctypes`; it takes addresses."""
        count = len(self._arguments) + len(self._results)
        return ctypes.CFUNCTYPE(ctypes.c_int32, *count * [ctypes.c_void_p])(self.address)

    def __call__(self, *arrays: Any) -> Any:
        if len(arrays) != len(self._arguments):
            raise TypeError(
                f"{self.__name__}: it takes {len(self._arguments)} arrays, not {len(arrays)}"
            )
        fitting = [
            a if type(a) is np.ndarray and a.dtype == p.dtype.storage and a.shape == p.shape
            and a.flags.carray else self._accepted(p, a)
            for p, a in zip(self._arguments, arrays, strict=True)
        ]
        made = [np.empty(p.shape, p.dtype.storage) for p in self._results]
        status, words = self._bound.call([address(a) for a in (*fitting, *made)])
        if status in (serial_walk.INDEX, serial_walk.FACTOR):
            raise fault(*words)
        if status:
            kind = MemoryError if status == serial_walk.MEMORY else ValueError
            raise kind(f"{self.__name__}: {self.STATUS[status]}")
        results = [a if a.shape else a[()] for a in made]
        return results[0] if len(results) == 1 else tuple(results)

    def _accepted(self, port: Port, value: Any) -> np.ndarray:
        """What is given for an argument, as an array, if it fits."""
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        what = f"{self.__name__}: argument {port.name!r} must be a C-contiguous array of "
        what += f"{port.dtype.storage} with shape {port.shape}"
        if array.dtype != port.dtype.storage or array.shape != port.shape:
            raise ValueError(f"{what}, not of {array.dtype} with shape {array.shape}")
        if not (array.flags.c_contiguous and array.flags.aligned):
            raise ValueError(f"{what}; make one with np.ascontiguousarray")
        if port.written and (array is not value or not array.flags.writeable):
            raise ValueError(f"{what}, which it writes into: this one cannot be changed")
        return array

    @property
    def _numba_type_(self) -> Any:
        """What this is for Numba: a function of its own."""
        return self._of_numba._numba_type_

    @cached_property
    def _of_numba(self) -> Any:
        _kept.append(self)
        numba_call = import_module("..runtime.cpu.numba_call", __package__)
        arguments, results = (
            [numba_call.Port(p.name, p.shape, p.dtype.storage, p.written) for p in ports]
            for ports in (self._arguments, self._results)
        )
        return numba_call.function(
            self.__name__, arguments, results, self._bound.address, serial_call.run()
        )

    def __reduce__(self) -> tuple:
        """It can be pickled, which Numba does to tell functions apart, but not made again."""
        return (_refuse_copy, (self.__name__, self._bound.address))

    def __repr__(self) -> str:
        return f"<CFunc {self.signature}>"


def _refuse_copy(name: str, address: int) -> None:
    raise TypeError(
        f"{name}: a CFunc has addresses of its process, and cannot be copied or pickled; make "
        "another one, or export the function to a file"
    )


def prototype(name: str, arguments: tuple[Port, ...], results: tuple[Port, ...]) -> str:
    """A C prototype."""
    words = [
        f"{'' if p.written else 'const '}{c_type(p.dtype)} *{p.name}"
        for p in (*arguments, *results)
    ]
    return f"int32_t {name}({', '.join(words) or 'void'})"
