"""The launch list: rows of (kernel address, argument block address, start and stop of the outer
loop, pieces), walked by native code.

`walker()` gives the Python-callable entry of the walk; it is the only place where kernels meet
threads. It stops at the first row after which the status block is not clean.

The walk is written in LLVM, which takes a twentieth of a second to compile. The threads are those
of Numba's pool, to which it hands a function by address: a function of Numba's that enters the pool
(parallel=True) takes a second.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache as memo

import llvmlite.binding as llvm

from . import object_cache
from .compiler import code_generator, compiling, loaded, meaning
from .loop_rows import LOOP, LOOP_NAME, ROWS, SHARES, SHARES_NAME, STOPPED
from .object_code import object_code
from .parallel_walk import PARALLEL
from .threads import threads

COLUMNS = 5  # of the launch list
SPINS = 1000  # looks at a counter before a waiting thread lets others have its core

# The words of a span, as `Executable` lays them out.
LAUNCHES, FIRST, LAST, STATUS, WALKS, CLAIMS, WORKERS = range(7)

_SPAN = """
%Span = type { ptr, i64, i64, ptr, i64, ptr, i64 }

declare ptr @PyLong_AsVoidPtr(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyErr_Occurred()

; what Python calls, with the address of a span
define ptr @$entry(ptr %self, ptr %number) {
  %span = call ptr @PyLong_AsVoidPtr(ptr %number)
  %none = icmp eq ptr %span, null
  br i1 %none, label %wrong, label %right
right:
  %state = call ptr @PyEval_SaveThread()
  %walks.at = getelementptr %Span, ptr %span, i64 0, i32 4
  %walks = load i64, ptr %walks.at
  %counted = add i64 %walks, 1
  store i64 %counted, ptr %walks.at
  call void @walk(ptr %span)
  %status.at = getelementptr %Span, ptr %span, i64 0, i32 3
  %status = load ptr, ptr %status.at
  %code = load i64, ptr %status
  %failed = icmp ne i64 %code, 0
  %answer = zext i1 %failed to i64
  call void @PyEval_RestoreThread(ptr %state)
  ; a signal handler has raised within a loop
  %error = call ptr @PyErr_Occurred()
  %raised = icmp ne ptr %error, null
  br i1 %raised, label %wrong, label %done
done:
  %result = call ptr @PyLong_FromLongLong(i64 %answer)
  ret ptr %result
wrong:
  ret ptr null
}
"""

_SERIAL = ROWS + """
define internal void @walk(ptr %span) {
entry:
  %s = load %Span, ptr %span
  %launches = extractvalue %Span %s, 0
  %first = extractvalue %Span %s, 1
  %last = extractvalue %Span %s, 2
  %status = extractvalue %Span %s, 3
  call void @rows(ptr %launches, i64 %first, i64 %last, ptr %status)
  ret void
}
"""

_ARM = ("llvm.aarch64.hint(i32)", "llvm.aarch64.hint(i32 1)")
# of a machine: how its LLVM tells a core that the thread only waits
_HINTS = {
    "x86_64": ("llvm.x86.sse2.pause()", "llvm.x86.sse2.pause()"), "aarch64": _ARM, "arm64": _ARM,
}


def _text(entry: str, parallel: bool) -> str:
    """The walk as an LLVM module, whose function for Python is called `entry`."""
    machine = llvm.get_process_triple().partition("-")[0]
    declared, called = _HINTS.get(machine, ("", ""))
    words = {
        "$entry": entry, "$declared": declared and f"declare void @{declared}",
        "$pause": called and f"call void @{called}",
        "$yield": "SwitchToThread" if sys.platform == "win32" else "sched_yield",
        "$spins": str(SPINS), "$stopped": str(STOPPED),
    }
    text = _SPAN + (PARALLEL if parallel else _SERIAL)
    for word, instead in words.items():
        text = text.replace(word, instead)
    return text


class _Method(ctypes.Structure):
    """PyMethodDef of CPython's C interface."""

    _fields_ = (("name", ctypes.c_char_p), ("entry", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p))


_ONE_ARGUMENT = 8  # METH_O
_kept: list[_Method] = []  # to which Python holds no reference


def _python_function(address: int) -> Callable[[int], int]:
    """The C function at an address, as Python has its own: nothing is faster to call."""
    method = _Method(b"walk", address, _ONE_ARGUMENT, None)
    _kept.append(method)
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    new = kind(("PyCFunction_NewEx", ctypes.pythonapi))
    return new(ctypes.addressof(method), None, None)


@memo
def loop_address() -> int:
    """The kernel of all rows that are loops of one thread."""
    text = LOOP.replace("$entry", LOOP_NAME).replace("$stopped", str(STOPPED))
    return machine_code(LOOP_NAME, text)


@memo
def shares_address() -> int:
    """The kernel of all rows that are loops of which each thread takes some rows."""
    return machine_code(SHARES_NAME, SHARES.replace("$stopped", str(STOPPED)))


@memo
def walker(parallel: bool) -> Callable[[int], int]:
    """walk(address of a span) -> 0, or 1 when a kernel reported through the status block.

    A span is seven int64: address of the launch list, first row, row after the last, address of
    the status block, a count of the walks, address of the counters, and how many threads take
    part. Releases the interpreter lock while it runs.
    """
    entry = f"tracegrad_{'parallel' if parallel else 'serial'}_walk"
    if parallel:
        with compiling():
            threads()  # which tells LLVM where the pool is
    return _python_function(machine_code(entry, _text(entry, parallel)))


@memo
def machine_code(entry: str, text: str) -> int:
    """The address of a function that is written in LLVM."""
    with compiling():
        name = object_cache.key(f"launches {meaning()}\n{text}")
        parts = object_cache.read(name)
        if parts is not None:
            try:
                return loaded(parts)
            except Exception:  # an object of another make: compile it again
                pass
        parts = entry.encode(), object_code(code_generator().source_of(text))
        object_cache.write(name, *parts)
        return loaded(parts)
