"""Loops of a program as rows of the launch list: the kernel of such a row walks other rows again
and again, and changes entries of the pointer table between two iterations.

One thread walks it, and loops within it are rows in turn. A long loop looks for signals; a handler
that raises ends the walk.

An argument block is the address of the launch list, the first row of the loop, the one that follows
its test, and the one after its last; the address of the status block; after how many iterations
signals are looked for, or 0; the table entry of the test, or 0, and what is wanted there; and three
counts. By the addresses of table entries follow what is set before the first iteration (entry,
base, offset), what moves after each (entry, step), and what turns (now, then, other).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as memo

from ...codegen.program import Loop
from .launch_list import ROWS, machine_code

_NAME = "tracegrad_loop"
STOPPED = -1  # in the status block: a signal handler has raised

_LOOP = ROWS + """
%Loop = type { ptr, i64, i64, i64, ptr, i64, ptr, i64, i64, i64, i64, [0 x i64] }
%Set = type { ptr, ptr, i64 }
%Move = type { ptr, i64 }
%Turn = type { ptr, ptr, ptr }

declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare i32 @PyErr_CheckSignals()

define void @$entry(ptr %block, i64 %start, i64 %stop, i64 %worker) {
entry:
  %head = load %Loop, ptr %block
  %launches = extractvalue %Loop %head, 0
  %first = extractvalue %Loop %head, 1
  %tested = extractvalue %Loop %head, 2
  %last = extractvalue %Loop %head, 3
  %status = extractvalue %Loop %head, 4
  %often = extractvalue %Loop %head, 5
  %test.entry = extractvalue %Loop %head, 6
  %wanted = extractvalue %Loop %head, 7
  %sets = extractvalue %Loop %head, 8
  %moves = extractvalue %Loop %head, 9
  %turns = extractvalue %Loop %head, 10
  %no.test = icmp eq ptr %test.entry, null
  %set.rows = getelementptr %Loop, ptr %block, i64 0, i32 11
  %move.rows = getelementptr %Set, ptr %set.rows, i64 %sets
  %turn.rows = getelementptr %Move, ptr %move.rows, i64 %moves
  br label %set.next
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
  %t = phi i64 [ %start, %set.next ], [ %t.next, %moved ], [ %t.next, %signals ]
  %left = phi i64 [ %often, %set.next ], [ %left.next, %moved ], [ %often, %signals ]
  %t.more = icmp slt i64 %t, %stop
  br i1 %t.more, label %begin, label %out
begin:
  %t.next = add i64 %t, 1
  br i1 %no.test, label %body, label %ahead
ahead:
  call void @rows(ptr %launches, i64 %first, i64 %tested, ptr %status)
  %code.ahead = load i64, ptr %status
  %clean.ahead = icmp eq i64 %code.ahead, 0
  br i1 %clean.ahead, label %test, label %out
test:
  %test.at = load ptr, ptr %test.entry
  %bool = load i8, ptr %test.at
  %wide = zext i8 %bool to i64
  %goes.on = icmp eq i64 %wide, %wanted
  br i1 %goes.on, label %body, label %out
body:
  call void @rows(ptr %launches, i64 %tested, i64 %last, ptr %status)
  %code = load i64, ptr %status
  %clean = icmp eq i64 %code, 0
  %left.next = sub i64 %left, 1
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
  br i1 %m.more, label %move, label %moved
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
moved:
  %look = icmp eq i64 %left.next, 0
  br i1 %look, label %signals, label %iterate
signals:
  ; a handler that raises ends the walk; the exception waits for the caller
  %held = call i32 @PyGILState_Ensure()
  %raised = call i32 @PyErr_CheckSignals()
  call void @PyGILState_Release(i32 %held)
  %quiet = icmp eq i32 %raised, 0
  br i1 %quiet, label %iterate, label %stopped
stopped:
  store i64 $stopped, ptr %status
  br label %out
out:
  ret void
}
"""


@memo
def loop_address() -> int:
    """The kernel of all rows that are loops."""
    text = _LOOP.replace("$entry", _NAME).replace("$stopped", str(STOPPED))
    return machine_code(_NAME, text)


def loop_block(
    one: Loop, launches: int, rows: tuple[int, int, int], status: int, often: int,
    entry: Callable[[int], int],
) -> list[int]:
    """The argument block of a loop of these rows; `entry` gives the address of a slot's table
    entry.
    """
    test = (0, 0) if one.test is None else (entry(one.test.slot), int(one.test.wanted))
    sets = [(entry(m.slot), entry(m.base), m.offset) for m in one.movings]
    moves = [(entry(m.slot), m.step) for m in one.movings if m.step]
    turns = [tuple(map(entry, turning)) for turning in one.turnings]
    head = [launches, *rows, status, often, *test, len(sets), len(moves), len(turns)]
    return [*head, *(word for row in (*sets, *moves, *turns) for word in row)]
