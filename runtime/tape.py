"""The tape: rows of (kernel address, argument block address, outer extent, pieces), walked by
native code.

`walker()` gives the Python-callable entry of the walk; it is the only place where kernels meet
threads, and holds the project's only parallel=True function. It stops at the first row after which
the status block is not clean.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache as memo
from importlib import import_module
from types import ModuleType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import _dynfunc, njit, prange, types  # type: ignore[attr-defined]
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.np.ufunc.parallel import _launch_threads

from . import cache
from .compiler import library, parts_of

COLUMNS = 4  # of the tape


@intrinsic
def _invoke(typingctx: Any, kernel: Any, args: Any, start: Any, stop: Any, worker: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        i64 = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [i64.as_pointer(), i64, i64, i64])
        entry = builder.inttoptr(values[0], kind.as_pointer())
        builder.call(entry, [builder.inttoptr(values[1], i64.as_pointer()), *values[2:]])
        return context.get_dummy_value()

    return types.void(kernel, args, start, stop, worker), codegen


@intrinsic
def _word(typingctx: Any, address: Any, k: Any) -> Any:
    """The k-th int64 behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(pointer, [values[1]]))

    return types.int64(address, k), codegen


@intrinsic
def _count(typingctx: Any, span: Any) -> Any:
    """Add one to the span's counter."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        i64 = ir.IntType(64)
        at = builder.gep(builder.inttoptr(values[0], i64.as_pointer()), [ir.Constant(i64, 4)])
        builder.store(builder.add(builder.load(at), ir.Constant(i64, 1)), at)
        return context.get_dummy_value()

    return types.void(span), codegen


def _serial(span: int) -> int:
    _count(span)  # type: ignore[call-arg]
    tape, status = _word(span, np.int64(0)), _word(span, np.int64(3))
    for i in range(_word(span, np.int64(1)), _word(span, np.int64(2))):
        row = 4 * i
        _invoke(
            _word(tape, row), _word(tape, row + 1), np.int64(0), _word(tape, row + 2), np.int64(0)
        )
        if _word(status, np.int64(0)) != 0:
            return np.int64(1)
    return np.int64(0)


def _parallel(span: int) -> int:
    _count(span)  # type: ignore[call-arg]
    tape, status = _word(span, np.int64(0)), _word(span, np.int64(3))
    for i in range(_word(span, np.int64(1)), _word(span, np.int64(2))):
        row = 4 * i
        kernel, args, extent, pieces = (
            _word(tape, row),
            _word(tape, row + 1),
            _word(tape, row + 2),
            _word(tape, row + 3),
        )
        if pieces > 1:
            for c in prange(pieces):
                _invoke(kernel, args, extent * c // pieces, extent * (c + 1) // pieces, np.int64(c))
        else:
            _invoke(kernel, args, np.int64(0), extent, np.int64(0))
        if _word(status, np.int64(0)) != 0:
            return np.int64(1)
    return np.int64(0)


SIGNATURE = types.int64(types.int64)
# without Numba's own runtime (_nrt), whose start takes longer than loading everything else
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
_lock = threading.Lock()


def _load(parts: tuple[bytes, ...], environment: str) -> Callable[..., int]:
    """A Python function over machine code, built as Numba builds its own."""
    loaded, symbol = library(parts)
    env = _dynfunc.Environment({"__name__": __name__})
    entry = _dynfunc.make_function(
        ModuleType(__name__), "walk", "", loaded.get_pointer_to_function(symbol), env, (loaded,)
    )
    loaded.codegen.set_env(environment, env)
    return entry


@memo
def walker(parallel: bool) -> Callable[[int], int]:
    """walk(address of a span) -> 0, or 1 when a kernel reported through the status block.

    A span is five int64: address of the tape, first row, row after the last, address of the status
    block, and a count of the walks. Releases the interpreter lock while it runs.
    """
    function = _parallel if parallel else _serial
    with _lock:
        if parallel:
            threads()
        made = layer() if parallel else "serial"
        name = cache.key(f"tape {made} {OPTIONS} {inspect.getsource(function)}")
        parts = cache.read(name)
        if parts is not None:
            try:
                return _load(parts[:-1], parts[-1].decode())
            except Exception:  # an object of another make: compile it again
                pass
        as_told: Any = njit  # its published signature does not know _nrt
        built = as_told(SIGNATURE, parallel=parallel, **OPTIONS)(function)
        result: Any
        (result,) = built.overloads.values()
        environment = cpu_target.target_context.get_env_name(result.fndesc)
        cache.write(
            name,
            *parts_of(result.library, result.fndesc.llvm_cpython_wrapper_name),
            environment.encode(),
        )
        return result.entry_point


# ---- threads
@contextmanager
def _patient() -> Iterator[None]:
    """Within it, an OpenMP library that is loaded learns to sleep while it waits, not to spin.

    A spinning thread that shares its core with any other program makes steps many times slower.
    Who wants it otherwise sets OMP_WAIT_POLICY.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:  # other libraries' threads are none of our business
        del os.environ["OMP_WAIT_POLICY"]


@memo
def layer() -> str:
    """The threading layer: omp where it can be loaded, then tbb, then Numba's own work queue."""
    for name, module in (("omp", "omppool"), ("tbb", "tbbpool")):
        try:
            with _patient():
                import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        return name
    return "workqueue"


_one_region = threading.Lock()


def region_lock(parallel: bool) -> Any:
    """What guards a tape from being walked twice at once; Numba's work queue runs one parallel loop
    at a time at all.
    """
    return _one_region if parallel and layer() == "workqueue" else threading.Lock()


@memo
def threads() -> int:
    """How many threads share a loop; starts them."""
    config: Any = numba.config
    if config.THREADING_LAYER == "default":
        config.THREADING_LAYER = layer()
    _launch_threads()
    return int(numba.get_num_threads())
