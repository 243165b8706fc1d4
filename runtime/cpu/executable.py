"""A Program bound to memory: the pointer table, the argument blocks, the launch list and the arena,
ready to be walked.

Takes a Program, gives an object with `table` (write pointers there) and `run`. It keeps no
reference to anybody's tensors; whoever writes a pointer keeps alive what it points to.
"""

from __future__ import annotations

import os
from ctypes import c_byte
from itertools import pairwise
from math import prod
from typing import Any
from weakref import WeakSet

import numpy as np

from ...codegen.program import Buffer, Kernel, Program, fault
from ...ir.locks import Turn
from .compiler import addresses_of
from .launch_list import COLUMNS, WORKERS, loop_address, shares_address, walker
from .loop_rows import loop_block
from .parallel_walk import COUNTERS
from .pointer_table import PointerTable
from .steps import Flat, Step, flat, often, steps, stretches
from .threads import region_lock, stay_alone, threads

ALIGN = 64


def aligned(nbytes: int) -> np.ndarray:
    """Bytes whose address is a multiple of 64."""
    block = np.empty(nbytes + ALIGN, np.uint8)
    return block[-address(block) % ALIGN :][:nbytes]


def address(array: np.ndarray) -> int:
    """Where an array's data begins."""
    return array.__array_interface__["data"][0]


def array_at(pointer: int, buffer: Buffer) -> np.ndarray:
    """The array of a slot whose pointer is this."""
    dtype, size = np.dtype(buffer.dtype.storage), buffer.dtype.itemsize
    if 0 in buffer.shape:
        return np.zeros(buffer.shape, dtype)
    steps = buffer.strides
    if steps is None:
        steps = tuple(prod(buffer.shape[d + 1 :]) for d in range(len(buffer.shape)))
    ends = [(n - 1) * s * size for n, s in zip(buffer.shape, steps, strict=True)]
    first = sum(e for e in ends if e < 0)  # where the array begins, from its pointer
    memory: Any = (c_byte * (sum(map(abs, ends)) + size)).from_address(pointer + first)
    strides = tuple(s * size for s in steps)
    return np.ndarray(buffer.shape, dtype, memory, -first, strides)


def _entries(program: Program) -> dict[Kernel, int]:
    """The addresses of all kernels, in the order of their first use."""
    kernels = {launch.kernel: launch.origin for launch in reversed(program.launches)}
    return addresses_of(dict(reversed(kernels.items())))


class Executable:
    """`table` is a memoryview of int64: entry k is the pointer in slot k. Its user holds `lock`
    and sets `busy`, as a Turn asks.

    A run walks the spans of `early`, of which there are some if it takes long and which write into
    nobody's memory, then `whole`; or, of a program with a commit point, `before` and `after`. So a
    signal handler that raises in a long run ends it at once, with nothing written; later, the run
    ends first.
    """

    def __init__(self, program: Program):
        self.program = program
        parts, stops = stretches(program, steps(program))
        listed = flat(program, parts)
        self._places = PointerTable(program, listed)
        self._table = np.zeros(self._places.length, np.int64)
        self.table = self._table.data
        self._status = np.zeros(4, np.int64)
        self._arena: np.ndarray | None = None
        self._cells: dict[int, np.ndarray] = {}
        self.warm()
        self._table[0] = address(self._status)
        blocks: list[int] = []
        starts = []
        for k, row in enumerate(listed.rows):
            starts.append(len(blocks))
            if row.step.loop is None:
                launch = program.launches[row.step.launch]
                blocks += self._places.block(launch, k, address(self._table))
        self._blocks = np.array(blocks or [0], np.int64)
        launches = np.zeros((max(len(listed.rows), 1), COLUMNS), np.int64)
        at, entries = address(self._blocks), _entries(program)
        loops = self._loops(listed, address(launches))
        for k, row in enumerate(listed.rows):
            kernel = 0
            if row.step.loop is None:
                block = at + 8 * starts[k]
                kernel = entries[program.launches[row.step.launch].kernel]
            else:
                block = loops[row.step]
                kernel = shares_address() if row.pieces > 1 else loop_address()
                kernel = 0 if row.control else kernel
            launches[k] = (kernel, block, row.start, row.stop, row.pieces)
        self.launches, self._claims = launches, aligned(8 * COUNTERS * (len(launches) + 1))
        # of each row: its launch, of loops the first one; whether it is a loop; for which share
        self.rows = [(r.step.launch, r.step.loop is not None, r.share) for r in listed.rows]
        self.stopwatch: Any = None  # to which the list may refer
        most = int(launches[:, 4].max())
        self.walk = walker(most > 1)
        turn = self._turn = Turn(region_lock(most > 1))
        self.lock, self.busy = turn.lock, turn.busy
        workers = self.workers = min(threads(), most) if most > 1 else 1
        status, claims = address(self._status), address(self._claims)
        stops, rows = [listed.begins[k] for k in stops], listed.begins[-1]
        begin = (stops or [0])[-1]
        late = (k for k, part in enumerate(parts) if part[0].launch >= program.commit)
        commit = listed.begins[next(late, len(parts))]
        bounds = [(begin, rows), (begin, commit), (commit, rows), *pairwise([0, *stops])]
        spans = [(address(launches), *part, status, 0, claims, workers) for part in bounds]
        self._spans = np.array(spans, np.int64)
        self.whole, self.before, self.after, *self.early = (address(s) for s in self._spans)
        _living.add(self)

    def _loops(self, listed: Flat, launches: int) -> dict[Step, int]:
        """The addresses of the argument blocks of loops, for a launch list at that address; of a
        loop that threads share, that of the addresses of theirs.
        """
        table, status = address(self._table), address(self._status)
        self._loop_blocks, addresses = list[np.ndarray](), {}
        for step in dict.fromkeys(row.step for row in listed.rows if row.step.loop is not None):
            assert step.loop is not None
            looks, blocks = often(self.program, step), []
            for rows in listed.bodies.get(step, [(0, 0, 0)]):
                entry = self._places.entries(rows[0], table)
                words = loop_block(step.loop, launches, rows, status, looks, entry)
                blocks.append(np.array(words, np.int64))
            if len(blocks) > 1:
                blocks.append(np.array([address(block) for block in blocks], np.int64))
            self._loop_blocks += blocks
            addresses[step] = address(blocks[-1])
        return addresses

    def number(self, slot: int) -> np.ndarray:
        """Memory for an input or output that only the driver writes or reads; always the same."""
        if slot not in self._cells:
            buffer = self.program.buffers[slot]
            self._cells[slot] = cell = np.zeros(buffer.shape, buffer.dtype.storage)
            self._table[slot] = address(cell)
        return self._cells[slot]

    readable = number

    def inputs_on_host(self) -> list[np.ndarray]:
        """The inputs, as arrays of the memory that the table says."""
        slots, buffers = self.program.inputs, self.program.buffers
        return [array_at(int(self._table[slot]), buffers[slot]) for slot in slots]

    def warm(self) -> None:
        """Have an arena, for the intermediate results of a run."""
        if self._arena is None:
            self._arena = aligned(self._places.arena_bytes)
            base = address(self._arena)
            for k, offset in self._places.arena:
                self._table[k] = base + offset

    def cool(self) -> None:
        """Give the arena back; `warm` must come before the next run."""
        self._arena = None

    def memory(self) -> int:
        return 0 if self._arena is None else self._arena.nbytes

    @property
    def runs(self) -> int:
        """How often the launch list was walked."""
        return int(self._spans[0, 4] + self._spans[1, 4])

    def run(self) -> None:
        """Walk the launch list. Raises what a kernel found wrong, an index out of range or a matrix
        without the factor; no input was written then.
        """
        try:
            for span in (*self.early, self.whole):
                if self.walk(span):
                    self.fail()
        except BaseException:
            self._status[:] = 0
            raise

    def begin(self) -> None:
        """Native walks always come to their end."""

    def see_at_once(self) -> None:
        """It does."""

    def failed(self) -> bool:
        """Whether a kernel found something wrong; forgets it."""
        wrong = bool(self._status[0])
        self._status[:] = 0
        return wrong

    def fail(self) -> None:
        """Raise what the status block says, and clean it."""
        error = fault(*(int(word) for word in self._status))
        self._status[:] = 0
        raise error


_living: WeakSet[Executable] = WeakSet()


def _after_fork() -> None:
    if stay_alone():
        for executable in _living:
            executable._spans[:, WORKERS] = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
