"""A Program bound to memory: the pointer table, the argument blocks, the tape and the arena, ready
to be walked.

Takes a Program, gives an object with `table` (write pointers there) and `run`. It keeps no
reference to anybody's tensors; whoever writes a pointer keeps alive what it points to.
"""

from __future__ import annotations

import os
from weakref import WeakSet

import numpy as np

from ..codegen.program import Launch, Program, Slot, as_word, fault
from ..ir.locks import Turn
from .compiler import address_of
from .tape import COLUMNS, COUNTERS, WORKERS, walker
from .threads import region_lock, stay_alone, threads

ALIGN = 64
PIECES = 4  # of a launch for each thread: the last ones to be done are short


def aligned(nbytes: int) -> np.ndarray:
    """Bytes whose address is a multiple of 64."""
    block = np.empty(nbytes + ALIGN, np.uint8)
    return block[-address(block) % ALIGN :][:nbytes]


def address(array: np.ndarray) -> int:
    """Where an array's data begins."""
    return array.__array_interface__["data"][0]


def pieces_of(launch: Launch) -> int:
    """How many pieces of a launch threads may take; one where its work does not pay for two."""
    if not launch.grain or launch.extent < 2 * launch.grain or threads() == 1:
        return 1
    return min(PIECES * threads(), launch.extent // launch.grain)


class Executable:
    """`table` is a memoryview of int64: entry k is the pointer in slot k. Its user holds `lock`
    and sets `busy`, as a Turn asks.
    """

    def __init__(self, program: Program):
        self.program = program
        self._table = np.zeros(len(program.buffers), np.int64)
        self.table = self._table.data
        self._status = np.zeros(4, np.int64)
        self._arena: np.ndarray | None = None
        self.warm()
        at = address(self._table)
        self._table[0] = address(self._status)
        blocks: list[int] = []
        starts = []
        for launch in program.launches:
            starts.append(len(blocks))
            for a in launch.args:
                blocks.append(at + 8 * a.index if isinstance(a, Slot) else as_word(a))
        self._blocks = np.array(blocks or [0], np.int64)
        tape = np.zeros((max(len(program.launches), 1), COLUMNS), np.int64)
        at = address(self._blocks)
        for row, (launch, start) in enumerate(zip(program.launches, starts, strict=True)):
            entry = address_of(launch.kernel, launch.origin)
            tape[row] = (entry, at + 8 * start, launch.extent, pieces_of(launch))
        self._tape, self._claims = tape, aligned(8 * COUNTERS * len(tape))
        most = int(tape[:, 3].max())
        self.walk = walker(most > 1)
        turn = self._turn = Turn(region_lock(most > 1))
        self.lock, self.busy = turn.lock, turn.busy
        workers = min(threads(), most) if most > 1 else 1
        rows, status, claims = len(program.launches), address(self._status), address(self._claims)
        bounds = ((0, rows), (0, program.commit), (program.commit, rows))
        spans = [(address(tape), *part, status, 0, claims, workers) for part in bounds]
        self._spans = np.array(spans, np.int64)
        self.whole, self.before, self.after = (
            address(span) for span in self._spans
        )  # commit is in between
        _living.add(self)

    def warm(self) -> None:
        """Have an arena, for the intermediate results of a run."""
        if self._arena is None:
            self._arena = aligned(self.program.arena_bytes)
            base = address(self._arena)
            for i, buffer in enumerate(self.program.buffers):
                if buffer.kind == "arena":
                    self._table[i] = base + buffer.offset

    def cool(self) -> None:
        """Give the arena back; `warm` must come before the next run."""
        self._arena = None

    def memory(self) -> int:
        return 0 if self._arena is None else self._arena.nbytes

    @property
    def runs(self) -> int:
        """How often the tape was walked."""
        return int(self._spans[0, 4] + self._spans[1, 4])

    def run(self) -> None:
        """Walk the tape. Raises what a kernel found wrong, an index out of range or a matrix
        without the factor; no input was written then.
        """
        if self.walk(self.whole):
            self.fail()

    def failed(self) -> bool:
        """Whether a kernel found something wrong; forgets it."""
        found = bool(self._status[0])
        self._status[:] = 0
        return found

    def fail(self) -> None:
        """Raise what the status block says, and clean it."""
        found = fault(*(int(word) for word in self._status))
        self._status[:] = 0
        raise found


_living: WeakSet[Executable] = WeakSet()


def _after_fork() -> None:
    if stay_alone():
        for executable in _living:
            executable._spans[:, WORKERS] = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
