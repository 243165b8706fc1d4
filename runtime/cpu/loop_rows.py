"""Loops of a program as rows of the launch list: LLVM's text of what they do, and their argument
blocks.

A loop that one thread walks is a row whose kernel walks other rows again and again, and changes
entries of the pointer table between two iterations. Loops within it are rows in turn. A long loop
looks for signals; a handler that raises ends the walk. For other loops see parallel_walk.py.

An argument block is the address of the launch list, the first row of the loop, the one that follows
its test, and the one after its last; the address of the status block; after how many iterations
signals are looked for, or 0; the table entry of the test, or 0, and what is wanted there; how many
iterations there are, two words for a walk, and three counts. By the addresses of table entries
follow what is set before the first iteration (entry, base, offset), what moves after each (entry,
step), and what turns (now, then, other).
"""

from __future__ import annotations

from collections.abc import Callable

from ...codegen.program import Loop

LOOP_NAME = "tracegrad_loop"
SHARES_NAME = "tracegrad_loop_shares"
STOPPED = -1  # in the status block: a signal handler has raised

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

# what a loop does with the pointer table, before its iterations and after each of them
POINTERS = """
%Loop = type { ptr, i64, i64, i64, ptr, i64, ptr, i64, i64, i64, i64, i64, i64, i64, [0 x i64] }
%Set = type { ptr, ptr, i64 }
%Move = type { ptr, i64 }
%Turn = type { ptr, ptr, ptr }

define internal void @set(ptr %block) {
entry:
  %sets.at = getelementptr %Loop, ptr %block, i64 0, i32 11
  %sets = load i64, ptr %sets.at
  %set.rows = getelementptr %Loop, ptr %block, i64 0, i32 14
  br label %set.next
set.next:
  %s = phi i64 [ 0, %entry ], [ %s.next, %set ]
  %s.more = icmp slt i64 %s, %sets
  br i1 %s.more, label %set, label %out
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
out:
  ret void
}

define internal void @move(ptr %block) {
entry:
  %head = load %Loop, ptr %block
  %sets = extractvalue %Loop %head, 11
  %moves = extractvalue %Loop %head, 12
  %turns = extractvalue %Loop %head, 13
  %set.rows = getelementptr %Loop, ptr %block, i64 0, i32 14
  %move.rows = getelementptr %Set, ptr %set.rows, i64 %sets
  %turn.rows = getelementptr %Move, ptr %move.rows, i64 %moves
  br label %turn.next
turn.next:
  %u = phi i64 [ 0, %entry ], [ %u.next, %turn ]
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
  br i1 %m.more, label %move, label %out
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

declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare i32 @PyErr_CheckSignals()

; a handler that raises ends the walk; the exception waits for the caller
define internal i1 @stopped(ptr %status) {
  %held = call i32 @PyGILState_Ensure()
  %raised = call i32 @PyErr_CheckSignals()
  call void @PyGILState_Release(i32 %held)
  %quiet = icmp eq i32 %raised, 0
  br i1 %quiet, label %on, label %end
on:
  ret i1 false
end:
  store i64 $stopped, ptr %status
  ret i1 true
}

define internal i1 @goes.on(ptr %block) {
  %head = load %Loop, ptr %block
  %entry = extractvalue %Loop %head, 6
  %wanted = extractvalue %Loop %head, 7
  %bool.at = load ptr, ptr %entry
  %bool = load i8, ptr %bool.at
  %wide = zext i8 %bool to i64
  %same = icmp eq i64 %wide, %wanted
  ret i1 %same
}
"""

# the kernel of a loop. Python tells only the thread that called of signals: others do not look
LOOP = ROWS + POINTERS + """
define void @$entry(ptr %block, i64 %start, i64 %stop, i64 %worker) {
entry:
  %head = load %Loop, ptr %block
  %launches = extractvalue %Loop %head, 0
  %first = extractvalue %Loop %head, 1
  %tested = extractvalue %Loop %head, 2
  %last = extractvalue %Loop %head, 3
  %status = extractvalue %Loop %head, 4
  %asked = extractvalue %Loop %head, 5
  %called = icmp eq i64 %worker, 0
  %often = select i1 %called, i64 %asked, i64 0
  %test.entry = extractvalue %Loop %head, 6
  %no.test = icmp eq ptr %test.entry, null
  call void @set(ptr %block)
  br label %iterate
iterate:
  %t = phi i64 [ %start, %entry ], [ %t.next, %moved ], [ %t.next, %signals ]
  %left = phi i64 [ %often, %entry ], [ %left.next, %moved ], [ %often, %signals ]
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
  %goes.on = call i1 @goes.on(ptr %block)
  br i1 %goes.on, label %body, label %out
body:
  call void @rows(ptr %launches, i64 %tested, i64 %last, ptr %status)
  %code = load i64, ptr %status
  %clean = icmp eq i64 %code, 0
  %left.next = sub i64 %left, 1
  br i1 %clean, label %moved, label %out
moved:
  call void @move(ptr %block)
  %look = icmp eq i64 %left.next, 0
  br i1 %look, label %signals, label %iterate
signals:
  %stops = call i1 @stopped(ptr %status)
  br i1 %stops, label %out, label %iterate
out:
  ret void
}
"""

# the kernel of a loop whose rows threads share: an argument block for each of the shares
SHARES = LOOP.replace("$entry", "tracegrad_loop_share") + f"""
define void @{SHARES_NAME}(ptr %blocks, i64 %start, i64 %stop, i64 %worker) {{
entry:
  br label %next
next:
  %k = phi i64 [ %start, %entry ], [ %after, %share ]
  %more = icmp slt i64 %k, %stop
  br i1 %more, label %share, label %out
share:
  %at = getelementptr ptr, ptr %blocks, i64 %k
  %block = load ptr, ptr %at
  %length.at = getelementptr %Loop, ptr %block, i64 0, i32 8
  %length = load i64, ptr %length.at
  call void @tracegrad_loop_share(ptr %block, i64 0, i64 %length, i64 %worker)
  %after = add i64 %k, 1
  br label %next
out:
  ret void
}}
"""


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
    head = [launches, *rows, status, often, *test, one.length, 0, 0]
    head += [len(sets), len(moves), len(turns)]
    return [*head, *(word for row in (*sets, *moves, *turns) for word in row)]
