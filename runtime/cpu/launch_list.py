"""The launch list: rows of (kernel address, argument block address, start and stop of the outer
loop, pieces), walked by native code.

`walker()` gives the Python-callable entry of the walk; it is the only place where kernels meet
threads, and holds the project's only parallel=True function. It stops at the first row after which
the status block is not clean.

In a parallel walk every thread goes through all rows and claims pieces of each from a counter; the
next row begins when all pieces are done. So a thread whose core is taken away delays no more than
the piece that it holds, and one that wakes up late finds the work done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache as memo
from pathlib import Path
from types import ModuleType
from typing import Any

from llvmlite import ir
from numba import _dynfunc, njit, prange, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic as _intrinsic, register_jitable

from . import object_cache
from .compiler import compiling, library, parts_of
from .threads import layer, threads

intrinsic: Any = _intrinsic  # its published signature counts typingctx among the arguments

COLUMNS = 5  # of the launch list
COUNTERS = 16  # words for the two counters of a row, claimed pieces and, from word DONE, done ones:
DONE = 8  # each has a line of the cache to itself
SPINS = 1000  # looks at a counter before a waiting thread lets others have its core


@intrinsic
def _invoke(typingctx: Any, kernel: Any, args: Any, start: Any, stop: Any, worker: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        i64 = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [i64.as_pointer(), i64, i64, i64])
        entry = builder.inttoptr(values[0], kind.as_pointer())
        builder.call(entry, [builder.inttoptr(values[1], i64.as_pointer()), *values[2:]])
        return context.get_dummy_value()

    return types.void(kernel, args, start, stop, worker), codegen


def _at(builder: Any, address: Any, k: Any) -> Any:
    return builder.gep(builder.inttoptr(address, ir.IntType(64).as_pointer()), [k])


@intrinsic
def _word(typingctx: Any, address: Any, k: Any) -> Any:
    """The k-th int64 behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_at(builder, *values))

    return types.int64(address, k), codegen


@intrinsic
def _set(typingctx: Any, address: Any, k: Any, value: Any) -> Any:
    """Write the k-th int64 behind an address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(values[2], _at(builder, *values[:2]))
        return context.get_dummy_value()

    return types.void(address, k, value), codegen


@intrinsic
def _count(typingctx: Any, address: Any, k: Any) -> Any:
    """The k-th int64 behind an address, which becomes one more: no two threads get the same. What
    this thread wrote before is there for whoever sees the new value.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", _at(builder, *values), one, "acq_rel")

    return types.int64(address, k), codegen


@intrinsic
def _seen(typingctx: Any, address: Any, k: Any) -> Any:
    """The k-th int64 behind an address, as others left it, and all that they wrote before."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_at(builder, *values), "acquire", 8)

    return types.int64(address, k), codegen


@intrinsic
def _pause(typingctx: Any) -> Any:
    """Tell the core that this thread only waits."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        machine = builder.module.triple.partition("-")[0]
        arm = ("llvm.aarch64.hint", [1])
        hints = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": arm, "arm64": arm}
        name, numbers = hints.get(machine, ("", []))
        given = [ir.Constant(ir.IntType(32), n) for n in numbers]
        if name:
            kind = ir.FunctionType(ir.VoidType(), [n.type for n in given])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _yield(typingctx: Any) -> Any:
    """Let another thread have the core."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), codegen


# The words of a span, as `Executable` lays them out.
LAUNCHES, FIRST, LAST, STATUS, WALKS, CLAIMS, WORKERS = range(7)


def _serial(span: int) -> int:
    _set(span, WALKS, _word(span, WALKS) + 1)
    launches, status = _word(span, LAUNCHES), _word(span, STATUS)
    for i in range(_word(span, FIRST), _word(span, LAST)):
        row = COLUMNS * i
        start, stop = _word(launches, row + 2), _word(launches, row + 3)
        _invoke(_word(launches, row), _word(launches, row + 1), start, stop, 0)
        if _word(status, 0) != 0:
            return 1
    return 0


@register_jitable
def _work(span: int, worker: int) -> None:
    """What one thread does in a walk."""
    launches, status, claims = _word(span, LAUNCHES), _word(span, STATUS), _word(span, CLAIMS)
    for i in range(_word(span, FIRST), _word(span, LAST)):
        row, claimed, done = COLUMNS * i, COUNTERS * i, COUNTERS * i + DONE
        kernel, args = _word(launches, row), _word(launches, row + 1)
        start, pieces = _word(launches, row + 2), _word(launches, row + 4)
        extent = _word(launches, row + 3) - start
        c = _count(claims, claimed)
        while c < pieces:
            first, last = extent * c // pieces, extent * (c + 1) // pieces
            _invoke(kernel, args, start + first, start + last, worker)
            _count(claims, done)
            c = _count(claims, claimed)
        looks = 0
        while _seen(claims, done) < pieces:
            looks += 1
            if looks < SPINS:
                _pause()
            else:
                _yield()
        if _word(status, 0) != 0:
            return


def _parallel(span: int) -> int:
    _set(span, WALKS, _word(span, WALKS) + 1)
    claims, status = _word(span, CLAIMS), _word(span, STATUS)
    for i in range(_word(span, FIRST), _word(span, LAST)):
        _set(claims, COUNTERS * i, 0)
        _set(claims, COUNTERS * i + DONE, 0)
    workers = _word(span, WORKERS)
    if workers == 1:
        _work(span, 0)
    else:
        for worker in prange(workers):
            _work(span, worker)
    return 1 if _word(status, 0) != 0 else 0


SIGNATURE = types.int64(types.int64)
# without Numba's own runtime (_nrt), whose start takes longer than loading everything else
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}


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

    A span is seven int64: address of the launch list, first row, row after the last, address of
    the status block, a count of the walks, address of the counters, and how many threads take
    part. Releases the interpreter lock while it runs.
    """
    function = _parallel if parallel else _serial
    with compiling():
        if parallel:
            threads()
        made = layer() if parallel else "serial"
        name = object_cache.key(f"launches {made} {OPTIONS} {Path(__file__).read_text()}")
        parts = object_cache.read(name)
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
        object_cache.write(
            name,
            *parts_of(result.library, result.fndesc.llvm_cpython_wrapper_name),
            environment.encode(),
        )
        return result.entry_point
