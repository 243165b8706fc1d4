"""A program as something that any thread can call without Python: a plan for serial_walk.py.

Takes a Program and what stands behind its slots. Knows nothing of tensors, of Python's threads, or
of who calls.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as memo
from weakref import WeakSet, finalize

import numpy as np

from ...codegen.program import Kernel, Program, Slot, as_word
from .compiler import addresses_of, compiling
from .launch_list import COLUMNS, loop_address
from .loop_rows import loop_block
from .machine_code import assembled
from .serial_walk import ALIGN, ENTRY, LOCK, STATUS, WALK
from .steps import Flat, Step, flat, steps

IDLE = 64  # contexts that are kept for later calls, at most

class Inside(int):
    """A word that counts from the start of the context."""


@dataclass(frozen=True)
class Memory:
    """What a slot of the pointer table holds during a call: where it points, unless the call says,
    and whether the program writes there.
    """

    slot: int
    nbytes: int
    written: bool
    address: int = 0


@dataclass(frozen=True)
class Plan:
    """The parts of a plan. Contexts begin with `template`, in which the words `relocated` count
    from the context's start. `entries` are words for the addresses of kernels, `fixed` those for
    memory that outlives calls, each with a number: in `kernels`, of which one more is that of
    loops; or among that memory.
    """

    bytes: int
    template: np.ndarray
    relocated: np.ndarray
    ranges: np.ndarray  # rows of %Range
    moving: int
    rows: tuple[int, int]  # of the launch list: how many, and the word where they begin
    kernels: tuple[Kernel, ...]
    entries: tuple[tuple[int, int], ...]
    fixed: tuple[tuple[int, int], ...]
    exclusive: bool


def plan_of(program: Program, moving: Sequence[Memory], fixed: Sequence[Memory],
            exclusive: bool) -> Plan:
    """The plan of a program. `moving` are the pointers of a call, in their order; `fixed` is what
    stays from call to call. Outputs that are neither lie in the context.
    """
    table, kernels = STATUS, program.kernels
    listed = table + len(program.buffers)
    steps_ = steps(program)
    all_rows = flat(program, [(step, 0, step.extent) for step in steps_], alone=True)
    blocks = listed + COLUMNS * len(all_rows.rows)
    numbers = {kernel: k for k, kernel in enumerate(kernels)}
    words, entries, arguments = list[int](), list[tuple[int, int]](), list[int]()
    for step, start, stop, *_ in all_rows.rows:
        loop = step.loop is not None
        number = len(kernels) if loop else numbers[program.launches[step.launch].kernel]
        entries.append((listed + len(words), number))
        words += [0, Inside(8 * (blocks + len(arguments))), start, stop, 1]
        arguments += _arguments(program, step, all_rows, listed)
    words += arguments
    relocated = [listed + k for k, word in enumerate(words) if isinstance(word, Inside)]
    template = np.zeros(listed + len(words), np.int64)
    template[listed:] = words
    arena = end = _up(8 * len(template))
    end += _up(program.arena_bytes)
    held = {m.slot for m in (*moving, *fixed)}
    for slot, buffer in enumerate(program.buffers):
        if buffer.kind == "arena":
            template[table + slot] = arena + buffer.offset
        elif buffer.kind == "output" and slot not in held:
            template[table + slot] = end
            end += _up(buffer.nbytes)
        elif slot:
            continue
        relocated.append(table + slot)
    for m in fixed:
        template[table + m.slot] = m.address
    return Plan(
        end, template, np.array(relocated, np.int64), _ranges(program, [*moving, *fixed], table),
        len(moving), (len(steps_), listed), kernels, tuple(entries),
        tuple((table + m.slot, k) for k, m in enumerate(fixed)), exclusive,
    )


def _arguments(program: Program, step: Step, all_rows: Flat, listed: int) -> list[int]:
    """The argument block of a row, for a launch list that begins at the word `listed`."""

    def entry(slot: int) -> int:
        return Inside(8 * (STATUS + slot))

    if step.loop is not None:  # which looks for no signals: there may be no Python
        (rows,) = all_rows.bodies[step]
        return loop_block(step.loop, Inside(8 * listed), rows, Inside(0), 0, entry)
    args = program.launches[step.launch].args
    return [entry(a.index) if isinstance(a, Slot) else as_word(a) for a in args]


def _up(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN


def _ranges(program: Program, memory: Sequence[Memory], table: int) -> np.ndarray:
    rows = []
    for m in memory:
        buffer = program.buffers[m.slot]
        rows.append((table + m.slot, m.nbytes, m.written, buffer.dtype.itemsize - 1))
    return np.array(rows, np.int64).reshape(-1, 4)


@memo
def run() -> int:
    """The address of the function that calls a plan: (plan, pointers, fault) -> status."""
    with compiling():
        return assembled(WALK.replace("$linkage", ""), ENTRY)


def entry(name: str, plan: int, count: int) -> int:
    """The address of a function that takes `count` pointers, and calls a plan of this process."""
    taken = ", ".join(f"ptr %p{k}" for k in range(count))
    lines = [f"define i32 @{name}({taken}) {{", f"  %all = alloca [{max(count, 1)} x ptr]"]
    for k in range(count):
        lines += [
            f"  %at{k} = getelementptr ptr, ptr %all, i64 {k}", f"  store ptr %p{k}, ptr %at{k}"
        ]
    lines += [
        f"  %plan = inttoptr i64 {plan} to ptr", f"  %run = inttoptr i64 {run()} to ptr",
        "  %status = call i32 %run(ptr %plan, ptr %all, ptr null)", "  ret i32 %status", "}",
    ]
    with compiling():
        return assembled("\n".join(lines), name)


class Bound:
    """A plan in this process: `address` is that of its %Plan. `draws` are the addresses of counters
    of random numbers, with how many a call takes. The memory of `plan.fixed` is the caller's.
    """

    def __init__(self, plan: Plan, draws: Sequence[tuple[int, int]]):
        template = plan.template.copy()
        addresses = [*addresses_of(dict.fromkeys(plan.kernels, ())).values()]
        for word, number in plan.entries:
            template[word] = addresses[number] if number < len(addresses) else loop_address()
        drawn = np.array(draws, np.int64).reshape(-1, 2)
        self._idle = np.zeros(1 if plan.exclusive else IDLE, np.int64)
        self._arrays = template, plan.relocated, plan.ranges, drawn, self._idle
        begins, relocated, ranges, counters, idle = map(_address, self._arrays)
        self._words = np.array([
            plan.bytes, template.nbytes, begins, plan.relocated.size, relocated, len(plan.ranges),
            plan.moving, ranges, *plan.rows, len(drawn), counters, plan.exclusive, 0,
            self._idle.size, idle,
        ], np.int64)
        self.address = _address(self._words)
        finalize(self, _free, self._idle)
        _living.add(self)

    def call(self, pointers: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """Call the plan. The status, and what a kernel reported."""
        table, fault = (ctypes.c_void_p * len(pointers))(*pointers), (ctypes.c_int64 * 4)()
        status = _callable()(self.address, table, fault)
        return status, tuple(fault)


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@memo
def _callable() -> Callable[..., int]:
    return ctypes.CFUNCTYPE(ctypes.c_int32, *3 * [ctypes.c_void_p])(run())


def _free(idle: np.ndarray) -> None:
    free = ctypes.CDLL(None).free
    free.argtypes, free.restype = [ctypes.c_void_p], None
    for context in idle.tolist():
        free(context)


_living: WeakSet[Bound] = WeakSet()


def _after_fork() -> None:
    """Nobody is in a call: the threads of the parent do not exist here."""
    for bound in list(_living):
        bound._words[LOCK] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
