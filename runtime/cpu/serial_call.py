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
from .machine_code import assembled
from .serial_walk import ALIGN, ENTRY, LOCK, STATUS, WALK

IDLE = 64  # contexts that are kept for later calls, at most

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
    """The parts of a plan, as arrays of words. `template` has an absolute address at the words of
    `fixed`, the memory that outlives calls: pairs (word, number of the Memory).
    """

    bytes: int
    template: np.ndarray
    relocated: np.ndarray
    ranges: np.ndarray  # rows of %Range
    moving: int
    launches: np.ndarray  # rows of %Launch; the kernel is its number
    kernels: tuple[Kernel, ...]
    fixed: tuple[tuple[int, int], ...]
    exclusive: bool


def plan_of(program: Program, moving: Sequence[Memory], fixed: Sequence[Memory],
            exclusive: bool) -> Plan:
    """The plan of a program. `moving` are the pointers of a call, in their order; `fixed` is what
    stays from call to call. Outputs that are neither lie in the context.
    """
    table = STATUS
    begin = table + len(program.buffers)  # of the argument blocks
    starts, blocks, relocated = [], list[int](), list[int]()
    for launch in program.launches:
        starts.append(begin + len(blocks))
        for a in launch.args:
            if isinstance(a, Slot):
                relocated.append(begin + len(blocks))
                blocks.append(8 * (table + a.index))
            else:
                blocks.append(as_word(a))
    template = np.zeros(begin + len(blocks), np.int64)
    template[begin:] = blocks
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
    numbers = {kernel: k for k, kernel in enumerate(program.kernels)}
    launches = [
        (numbers[launch.kernel], start, 0, launch.extent)
        for launch, start in zip(program.launches, starts, strict=True)
    ]
    return Plan(
        end, template, np.array(relocated, np.int64), _ranges(program, [*moving, *fixed], table),
        len(moving), np.array(launches, np.int64).reshape(-1, 4), program.kernels,
        tuple((table + m.slot, k) for k, m in enumerate(fixed)), exclusive,
    )


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
        launches = plan.launches.copy()
        addresses = addresses_of(dict.fromkeys(plan.kernels, ()))
        entries = np.array([*addresses.values()] or [0], np.int64)
        launches[:, 0] = entries[launches[:, 0]]
        drawn = np.array(draws, np.int64).reshape(-1, 2)
        self._idle = np.zeros(1 if plan.exclusive else IDLE, np.int64)
        self._arrays = plan.template, plan.relocated, plan.ranges, launches, drawn, self._idle
        template, relocated, ranges, rows, counters, idle = map(_address, self._arrays)
        self._words = np.array([
            plan.bytes, plan.template.nbytes, template, plan.relocated.size, relocated,
            len(plan.ranges), plan.moving, ranges, len(launches), rows, len(drawn), counters,
            plan.exclusive, 0, self._idle.size, idle,
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
