"""Where the slots of a program stand in its pointer table, and where in the arena they point.

A slot stands at its number. Of a loop that threads share by its rows, each thread but the first has
entries of its own, behind the others: for the slots that the loop sets, which move as that thread
goes on, and for the memory of the body, which it has for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...codegen.program import Launch, Loop, Program, Slot, as_word
from .steps import Flat

LINE = 64  # bytes


class PointerTable:
    def __init__(self, program: Program, listed: Flat):
        self.length = len(program.buffers)
        self.arena = [(k, b.offset) for k, b in enumerate(program.buffers) if b.kind == "arena"]
        self.arena_bytes = end = -(-program.arena_bytes // LINE) * LINE
        self.inside: dict[int, dict[int, int]] = {}  # of rows, by number: entries of its own slots
        for step, bodies in listed.bodies.items():
            if step.loop is None or step.loop.rows is None:
                continue
            begin, size = step.loop.rows.begin, step.loop.rows.end - step.loop.rows.begin
            for share, (first, _, last) in enumerate(bodies):
                if share:
                    own = self._own(program, step.loop, end + (share - 1) * size - begin)
                    self.inside |= dict.fromkeys(range(first, last), own)

    def _own(self, program: Program, one: Loop, shift: int) -> dict[int, int]:
        """New entries for a thread, whose memory begins so much later than that of the first."""
        assert one.rows is not None
        own = {}
        for slot in own_slots(program, one):
            own[slot], self.length = self.length, self.length + 1
            buffer = program.buffers[slot]
            if buffer.kind == "arena":
                self.arena.append((own[slot], buffer.offset + shift))
        self.arena_bytes = max(self.arena_bytes, one.rows.end + shift)
        return own

    def entries(self, row: int, table: int) -> Callable[[int], int]:
        """Where that row of the list finds a slot's entry, of a table at that address."""
        own = self.inside.get(row, {})
        return lambda slot: table + 8 * own.get(slot, slot)

    def block(self, launch: Launch, row: int, table: int) -> list[int]:
        """The argument block of a launch, in that row of the list."""
        entry = self.entries(row, table)
        return [entry(a.index) if isinstance(a, Slot) else as_word(a) for a in launch.args]


def own_slots(program: Program, one: Loop) -> Iterable[int]:
    """The slots of which each thread in a loop has its own."""
    assert one.rows is not None
    for m in one.movings:
        yield m.slot
    launches = program.launches[one.first : one.last]
    for slot in dict.fromkeys(a.index for x in launches for a in x.args if isinstance(a, Slot)):
        b = program.buffers[slot]
        within = one.rows.begin <= b.offset and b.offset + b.nbytes <= one.rows.end
        if b.kind == "arena" and within:
            yield slot
