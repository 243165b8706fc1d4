"""Programs run in plain Python: the rung between the interpreter and Numba.

Takes a Program and arrays, runs the generated kernels as the Python that they are, on NumPy scalars
over raw memory, and answers with the outputs. Slow and careful: every access is checked against the
buffer it goes to, fresh memory is filled with nonsense, and a loop that may be split over threads
is run in pieces, last piece first; so are the rows of a loop, where threads share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import CFUNCTYPE, addressof, c_bool, c_int64, c_void_p
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ...codegen.program import Kernel, Launch, Program, Rows, Slot, as_word, fault
from .builtins import BUILTINS
from .compiler import addresses_of
from .pointer_table import own_slots
from .python_builtins import Pointer
from .steps import Step, steps

SHARES = 3  # of a loop
_NONSENSE = 0xB5  # fresh memory: a strange number in every type


@cache
def function(kernel: Kernel) -> Callable[[Sequence[Any], int, int, int], None]:
    """A kernel as a function of its launch's arguments, pointers and numbers."""
    if kernel.llvm:
        return _native(addresses_of({kernel: ()})[kernel])
    namespace = {name: builtin.python for name, builtin in BUILTINS.items()}
    exec(compile(kernel.text, f"<plain {kernel.name}>", "exec"), namespace)
    return namespace[kernel.name]


def _native(address: int) -> Callable[[Sequence[Any], int, int, int], None]:
    """A kernel that has no Python text: its machine code, behind an argument block of its own."""
    entry = CFUNCTYPE(None, c_void_p, c_int64, c_int64, c_int64)(address)

    def call(args: Sequence[Any], start: int, stop: int, worker: int) -> None:
        table = (c_int64 * len(args))(*(a.address if isinstance(a, Pointer) else 0 for a in args))
        block = (c_int64 * len(args))(
            *(
                addressof(table) + 8 * k if isinstance(a, Pointer) else as_word(a)
                for k, a in enumerate(args)
            )
        )
        entry(addressof(block), start, stop, worker)

    return call


def _nonsense(nbytes: int) -> np.ndarray:
    return np.full(nbytes, _NONSENSE, np.uint8)


Pointers = dict[int, Pointer]  # of slots


def execute(
    program: Program, inputs: Sequence[np.ndarray], pieces: int = 3,
    start: Callable[[Launch, Pointers, int], None] | None = None,
) -> list[np.ndarray]:
    """The outputs of the program for these inputs, which it may write to. `start` does a launch, in
    so many pieces; without it the CPU's way.

    Raises what a kernel reports, and MemoryError where one leaves its buffers.
    """
    start = start or run_launch
    status, arena = np.zeros(4, np.int64), _nonsense(program.arena_bytes)
    arrays: dict[int, np.ndarray] = {0: status, **dict(zip(program.inputs, inputs, strict=True))}
    for slot, buffer in enumerate(program.buffers):
        if buffer.kind == "arena":
            arrays[slot] = arena[buffer.offset : buffer.offset + buffer.nbytes]
        elif buffer.kind == "output":
            fresh = _nonsense(buffer.nbytes).view(buffer.dtype.storage)
            arrays[slot] = fresh.reshape(buffer.shape)
    pointers = {k: Pointer(a.ctypes.data, *byte_bounds(a)) for k, a in arrays.items()}
    with np.errstate(all="ignore"):
        for step in steps(program):
            _walk(program, step, pointers, status, lambda one, at: start(one, at, pieces))
    return [arrays[slot] for slot in program.outputs]


def _walk(
    program: Program, step: Step, pointers: Pointers, status: np.ndarray,
    start: Callable[[Launch, Pointers], None],
) -> None:
    """A launch, or the iterations of a loop."""
    if step.loop is None:
        start(program.launches[step.launch], pointers)
        if status[0]:
            raise fault(*(int(word) for word in status))
        return
    if step.loop.rows is None:
        _iterate(program, step, pointers, status, start)
    else:
        _share(program, step, step.loop.rows, pointers, status)


def _share(
    program: Program, step: Step, rows: Rows, pointers: Pointers, status: np.ndarray
) -> None:
    """A loop, some of its rows after the others, each with pointers and memory of their own."""
    assert step.loop is not None
    units = rows.total // rows.unit
    parts = min(SHARES, units)
    for part in reversed(range(parts)):
        own, memory = dict(pointers), _nonsense(rows.end - rows.begin)
        for slot in own_slots(program, step.loop):
            buffer = program.buffers[slot]
            if buffer.kind == "arena":
                at = buffer.offset - rows.begin
                array = memory[at : at + buffer.nbytes]
                own[slot] = Pointer(array.ctypes.data, *byte_bounds(array))
        first, last = (units * k // parts * rows.unit for k in (part, part + 1))

        start = partial(_some_rows, rows.total, first, last)
        _iterate(program, step, own, status, start)
    for m in step.loop.movings:  # which all end alike: a copy after the loop may begin there
        pointers[m.slot] = own[m.slot]


def _some_rows(total: int, first: int, last: int, launch: Launch, pointers: Pointers) -> None:
    begin, end = launch.extent * first // total, launch.extent * last // total
    function(launch.kernel)(_arguments(launch, pointers), begin, end, 0)


def _iterate(
    program: Program, step: Step, pointers: Pointers, status: np.ndarray,
    start: Callable[[Launch, Pointers], None],
) -> None:
    """The iterations of a loop."""
    assert step.loop is not None
    for m in step.loop.movings:
        pointers[m.slot] = _moved(pointers[m.base], m.offset)
    for _ in range(step.loop.length):
        for inner in step.head:
            _walk(program, inner, pointers, status, start)
        if (test := step.loop.test) is not None:
            if c_bool.from_address(pointers[test.slot].cell(0, 1)).value != test.wanted:
                break
        for inner in step.body:
            _walk(program, inner, pointers, status, start)
        for now, then, other in step.loop.turnings:
            before = pointers[then]
            pointers[now], pointers[then], pointers[other] = before, pointers[other], before
        for m in step.loop.movings:
            pointers[m.slot] = _moved(pointers[m.slot], m.step)


def _moved(pointer: Pointer, offset: int) -> Pointer:
    return pointer._replace(address=pointer.address + offset)


def _arguments(launch: Launch, pointers: Pointers) -> list[Any]:
    return [pointers[a.index] if isinstance(a, Slot) else a for a in launch.args]


def run_launch(launch: Launch, pointers: Pointers, pieces: int) -> None:
    args = _arguments(launch, pointers)
    parts = min(pieces, launch.extent) if launch.grain else 1
    for part in reversed(range(parts)):
        span = (launch.extent * part // parts, launch.extent * (part + 1) // parts)
        function(launch.kernel)(args, *span, part)
