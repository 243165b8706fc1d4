"""The launch list: rows of (kernel address, argument block address, start and stop of the outer
loop, pieces), walked by native code.

`walker()` gives the Python-callable entry of the walk; it is the only place where kernels meet
threads. It stops at the first row after which the status block is not clean.

In a parallel walk every thread goes through all rows and claims pieces of each from a counter; the
next row begins when all pieces are done. So a thread whose core is taken away delays no more than
the piece that it holds, and one that wakes up late finds the work done.

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
from .object_code import object_code
from .threads import threads

COLUMNS = 5  # of the launch list
COUNTERS = 16  # words for the two counters of a row, claimed pieces and done ones: each has a line
# of the cache to itself
SPINS = 1000  # looks at a counter before a waiting thread lets others have its core

# The words of a span, as `Executable` lays them out.
LAUNCHES, FIRST, LAST, STATUS, WALKS, CLAIMS, WORKERS = range(7)

_SPAN = """
%Span = type { ptr, i64, i64, ptr, i64, ptr, i64 }
%Counters = type { i64, [7 x i64], i64, [7 x i64] }

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

# the walk of one thread, through rows of the list
ROWS = """
%Row = type { ptr, ptr, i64, i64, i64 }

define internal void @rows(ptr %launches, i64 %first, i64 %last, ptr %status) {
entry:
  br label %rows
rows:
  %i = phi i64 [ %first, %entry ], [ %next, %row ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %row, label %out
row:
  %row.at = getelementptr %Row, ptr %launches, i64 %i
  %r = load %Row, ptr %row.at
  %kernel = extractvalue %Row %r, 0
  %args = extractvalue %Row %r, 1
  %start = extractvalue %Row %r, 2
  %stop = extractvalue %Row %r, 3
  call void %kernel(ptr %args, i64 %start, i64 %stop, i64 0)
  %code = load i64, ptr %status
  %clean = icmp eq i64 %code, 0
  %next = add i64 %i, 1
  br i1 %clean, label %rows, label %out
out:
  ret void
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

_PARALLEL = """
%Row = type { ptr, ptr, i64, i64, i64 }

declare i32 @get_num_threads()
declare void @numba_parallel_for(ptr, ptr, ptr, ptr, ptr, i64, i64, i32)
declare i32 @$yield()
$declared

define internal void @walk(ptr %span) {
entry:
  %s = load %Span, ptr %span
  %first = extractvalue %Span %s, 1
  %last = extractvalue %Span %s, 2
  %claims = extractvalue %Span %s, 5
  %workers = extractvalue %Span %s, 6
  br label %reset
reset:
  %i = phi i64 [ %first, %entry ], [ %next, %row ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %row, label %begin
row:
  %claimed = getelementptr %Counters, ptr %claims, i64 %i, i32 0
  store i64 0, ptr %claimed
  %done = getelementptr %Counters, ptr %claims, i64 %i, i32 2
  store i64 0, ptr %done
  %next = add i64 %i, 1
  br label %reset
begin:
  %alone = icmp sle i64 %workers, 1
  br i1 %alone, label %one, label %many
one:
  call void @work(ptr %span, i64 0)
  ret void
many:
  ; the pool's loop is over its threads. It adds steps to pointers: here to the number of a worker
  %number = alloca ptr
  %count = alloca i64
  %step = alloca i64
  store ptr null, ptr %number
  store i64 1, ptr %step
  %threads = call i32 @get_num_threads()
  %wide = sext i32 %threads to i64
  store i64 %wide, ptr %count
  call void @numba_parallel_for(ptr @share, ptr %number, ptr %count, ptr %step, ptr %span,
                                i64 0, i64 1, i32 %threads)
  ret void
}

; what the pool calls, in each of its threads
define internal void @share(ptr %numbers, ptr %counts, ptr %steps, ptr %span) {
entry:
  %number = load i64, ptr %numbers
  %count = load i64, ptr %counts
  %workers.at = getelementptr %Span, ptr %span, i64 0, i32 6
  %workers = load i64, ptr %workers.at
  %end = add i64 %number, %count
  %short = icmp slt i64 %end, %workers
  %last = select i1 %short, i64 %end, i64 %workers
  br label %next
next:
  %worker = phi i64 [ %number, %entry ], [ %following, %mine ]
  %more = icmp slt i64 %worker, %last
  br i1 %more, label %mine, label %out
mine:
  call void @work(ptr %span, i64 %worker)
  %following = add i64 %worker, 1
  br label %next
out:
  ret void
}

; what one thread does in a walk
define internal void @work(ptr %span, i64 %worker) {
entry:
  %s = load %Span, ptr %span
  %launches = extractvalue %Span %s, 0
  %first = extractvalue %Span %s, 1
  %last = extractvalue %Span %s, 2
  %status = extractvalue %Span %s, 3
  %claims = extractvalue %Span %s, 5
  br label %rows
rows:
  %i = phi i64 [ %first, %entry ], [ %next, %finished ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %row, label %out
row:
  %row.at = getelementptr %Row, ptr %launches, i64 %i
  %r = load %Row, ptr %row.at
  %kernel = extractvalue %Row %r, 0
  %args = extractvalue %Row %r, 1
  %start = extractvalue %Row %r, 2
  %stop = extractvalue %Row %r, 3
  %pieces = extractvalue %Row %r, 4
  %extent = sub i64 %stop, %start
  %claimed = getelementptr %Counters, ptr %claims, i64 %i, i32 0
  %done = getelementptr %Counters, ptr %claims, i64 %i, i32 2
  br label %claim
claim:
  ; no two threads get the same piece
  %piece = atomicrmw add ptr %claimed, i64 1 acq_rel
  %left = icmp slt i64 %piece, %pieces
  br i1 %left, label %do, label %wait
do:
  %before = mul i64 %extent, %piece
  %from = sdiv i64 %before, %pieces
  %with = add i64 %before, %extent
  %to = sdiv i64 %with, %pieces
  %begin = add i64 %start, %from
  %end = add i64 %start, %to
  call void %kernel(ptr %args, i64 %begin, i64 %end, i64 %worker)
  ; what the kernel wrote is there for whoever sees the new count
  %before.this = atomicrmw add ptr %done, i64 1 acq_rel
  br label %claim
wait:
  %looks = phi i64 [ 0, %claim ], [ %looked, %pause ], [ %looked, %yield ]
  %ready = load atomic i64, ptr %done acquire, align 8
  %all = icmp sge i64 %ready, %pieces
  br i1 %all, label %finished, label %idle
idle:
  %looked = add i64 %looks, 1
  %spins = icmp slt i64 %looked, $spins
  br i1 %spins, label %pause, label %yield
pause:
  $pause
  br label %wait
yield:
  %yielded = call i32 @$yield()
  br label %wait
finished:
  %code = load i64, ptr %status
  %clean = icmp eq i64 %code, 0
  %next = add i64 %i, 1
  br i1 %clean, label %rows, label %out
out:
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
        "$spins": str(SPINS),
    }
    text = _SPAN + (_PARALLEL if parallel else _SERIAL)
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
