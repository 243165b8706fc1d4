"""Loops of a program as rows of the launch list: the kernel of such a row walks other rows again
and again, and changes entries of the pointer table between two iterations.

The range of the row is that of its iterations: a long loop may be several rows, one after the
other. One thread walks it, and loops within it are rows in turn.

An argument block is the address of the launch list, the first row of the body and the row after its
last, the address of the status block, and three counts; then, by the addresses of table entries,
what is set before the first iteration (entry, base, offset), what moves after each (entry, step),
and what turns (now, then, other).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as memo

from ...codegen.program import Loop
from .launch_list import ROWS, machine_code

_NAME = "tracegrad_loop"

_LOOP = ROWS + """
%Loop = type { ptr, i64, i64, ptr, i64, i64, i64, [0 x i64] }
%Set = type { ptr, ptr, i64 }
%Move = type { ptr, i64 }
%Turn = type { ptr, ptr, ptr }

define void @$entry(ptr %block, i64 %start, i64 %stop, i64 %worker) {
entry:
  %launches = load ptr, ptr %block
  %first.at = getelementptr %Loop, ptr %block, i64 0, i32 1
  %first = load i64, ptr %first.at
  %last.at = getelementptr %Loop, ptr %block, i64 0, i32 2
  %last = load i64, ptr %last.at
  %status.at = getelementptr %Loop, ptr %block, i64 0, i32 3
  %status = load ptr, ptr %status.at
  %sets.at = getelementptr %Loop, ptr %block, i64 0, i32 4
  %sets = load i64, ptr %sets.at
  %moves.at = getelementptr %Loop, ptr %block, i64 0, i32 5
  %moves = load i64, ptr %moves.at
  %turns.at = getelementptr %Loop, ptr %block, i64 0, i32 6
  %turns = load i64, ptr %turns.at
  %set.rows = getelementptr %Loop, ptr %block, i64 0, i32 7
  %move.rows = getelementptr %Set, ptr %set.rows, i64 %sets
  %turn.rows = getelementptr %Move, ptr %move.rows, i64 %moves
  %begins = icmp eq i64 %start, 0
  br i1 %begins, label %set.next, label %iterate
set.next:
  %s = phi i64 [ 0, %entry ], [ %s.next, %set ]
  %s.more = icmp slt i64 %s, %sets
  br i1 %s.more, label %set, label %iterate
set:
  %set.at = getelementptr %Set, ptr %set.rows, i64 %s
  %set.row = load %Set, ptr %set.at
  %set.entry = extractvalue %Set %set.row, 0
  %set.base = extractvalue %Set %set.row, 1
  %set.offset = extractvalue %Set %set.row, 2
  %base = load i64, ptr %set.base
  %beginning = add i64 %base, %set.offset
  store i64 %beginning, ptr %set.entry
  %s.next = add i64 %s, 1
  br label %set.next
iterate:
  %t = phi i64 [ %start, %entry ], [ %start, %set.next ], [ %t.next, %move.next ]
  %t.more = icmp slt i64 %t, %stop
  br i1 %t.more, label %body, label %out
body:
  call void @rows(ptr %launches, i64 %first, i64 %last, ptr %status)
  %code = load i64, ptr %status
  %clean = icmp eq i64 %code, 0
  %t.next = add i64 %t, 1
  br i1 %clean, label %turn.next, label %out
turn.next:
  %u = phi i64 [ 0, %body ], [ %u.next, %turn ]
  %u.more = icmp slt i64 %u, %turns
  br i1 %u.more, label %turn, label %move.next
turn:
  %turn.at = getelementptr %Turn, ptr %turn.rows, i64 %u
  %turn.row = load %Turn, ptr %turn.at
  %now.at = extractvalue %Turn %turn.row, 0
  %then.at = extractvalue %Turn %turn.row, 1
  %other.at = extractvalue %Turn %turn.row, 2
  %then = load i64, ptr %then.at
  %other = load i64, ptr %other.at
  store i64 %then, ptr %now.at
  store i64 %other, ptr %then.at
  store i64 %then, ptr %other.at
  %u.next = add i64 %u, 1
  br label %turn.next
move.next:
  %m = phi i64 [ 0, %turn.next ], [ %m.next, %move ]
  %m.more = icmp slt i64 %m, %moves
  br i1 %m.more, label %move, label %iterate
move:
  %move.at = getelementptr %Move, ptr %move.rows, i64 %m
  %move.row = load %Move, ptr %move.at
  %move.entry = extractvalue %Move %move.row, 0
  %step = extractvalue %Move %move.row, 1
  %before = load i64, ptr %move.entry
  %after = add i64 %before, %step
  store i64 %after, ptr %move.entry
  %m.next = add i64 %m, 1
  br label %move.next
out:
  ret void
}
"""


@memo
def loop_address() -> int:
    """The kernel of all rows that are loops."""
    return machine_code(_NAME, _LOOP.replace("$entry", _NAME))[0]


def loop_block(
    one: Loop, launches: int, rows: tuple[int, int], status: int, entry: Callable[[int], int]
) -> list[int]:
    """The argument block of a loop whose body is these rows; `entry` gives the address of a slot's
    table entry.
    """
    sets = [(entry(m.slot), entry(m.base), m.offset) for m in one.movings]
    moves = [(entry(m.slot), m.step) for m in one.movings if m.step]
    turns = [tuple(map(entry, turning)) for turning in one.turnings]
    head = [launches, *rows, status, len(sets), len(moves), len(turns)]
    return [*head, *(word for row in (*sets, *moves, *turns) for word in row)]
