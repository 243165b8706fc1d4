"""The walk of a plan without Python, as LLVM code: the same for all programs.

A plan (%Plan) says what is particular to a program; serial_call.py makes it. A context is the
memory of a call: status block, pointer table, launch list, argument blocks, arena. A call takes an
idle context of the plan, or makes one. If calls change memory that outlives them, they wait for one
another.
"""

from __future__ import annotations

from .loop_rows import ROWS

# what a call returns: 0, or what went wrong. The first two are those of ir/faults.py
INDEX, FACTOR, POINTER, OVERLAP, MEMORY = range(1, 6)
ALIGN = 64
STATUS = 4  # words of a context, before the pointer table
ENTRY = "tracegrad_serial_call"
LOCK = 13  # among the words of a plan

TYPES = """
; bytes: of a context; template: how it begins, `head` bytes; relocated: the `relocations` words in
; it that count from its start; held: `ranges` of memory, of which the first `moving` are pointers
; of the call; rows: of the launch list, which begins at word `list`; drawn: `draws` counters of
; random numbers; exclusive, lock: whether calls wait for one another; idle: `kept` contexts
%Plan = type { i64, i64, ptr, i64, ptr, i64, i64, ptr, i64, i64, i64, ptr, i64, i64, i64, ptr }
%Range = type { i64, i64, i64, i64 }  ; word in the table, bytes, whether written, alignment - 1
%Draw = type { ptr, i64 }
"""

WALK = ROWS + TYPES + """
declare ptr @aligned_alloc(i64, i64)
declare void @free(ptr)
declare i32 @sched_yield()
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal ptr @new(ptr %plan) {
entry:
  %p = load %Plan, ptr %plan
  %bytes = extractvalue %Plan %p, 0
  %head = extractvalue %Plan %p, 1
  %template = extractvalue %Plan %p, 2
  %count = extractvalue %Plan %p, 3
  %words = extractvalue %Plan %p, 4
  %context = call ptr @aligned_alloc(i64 64, i64 %bytes)
  %none = icmp eq ptr %context, null
  br i1 %none, label %out, label %filled
filled:
  call void @llvm.memcpy.p0.p0.i64(ptr %context, ptr %template, i64 %head, i1 false)
  %base = ptrtoint ptr %context to i64
  br label %next
next:
  %k = phi i64 [ 0, %filled ], [ %after, %relocate ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %relocate, label %out
relocate:
  %which.at = getelementptr i64, ptr %words, i64 %k
  %which = load i64, ptr %which.at
  %word.at = getelementptr i64, ptr %context, i64 %which
  %word = load i64, ptr %word.at
  %moved = add i64 %word, %base
  store i64 %moved, ptr %word.at
  %after = add i64 %k, 1
  br label %next
out:
  ret ptr %context
}

; an idle context, or a new one; null where there is no memory
define internal ptr @take(ptr %plan) {
entry:
  %p = load %Plan, ptr %plan
  %kept = extractvalue %Plan %p, 14
  %idle = extractvalue %Plan %p, 15
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %after, %look ]
  %more = icmp ult i64 %k, %kept
  br i1 %more, label %look, label %make
look:
  %at = getelementptr ptr, ptr %idle, i64 %k
  %context = atomicrmw xchg ptr %at, ptr null acq_rel
  %none = icmp eq ptr %context, null
  %after = add i64 %k, 1
  br i1 %none, label %next, label %had
had:
  ret ptr %context
make:
  %new = call ptr @new(ptr %plan)
  ret ptr %new
}

define internal void @give(ptr %plan, ptr %context) {
entry:
  %p = load %Plan, ptr %plan
  %kept = extractvalue %Plan %p, 14
  %idle = extractvalue %Plan %p, 15
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %after, %look ]
  %more = icmp ult i64 %k, %kept
  br i1 %more, label %look, label %full
look:
  %at = getelementptr ptr, ptr %idle, i64 %k
  %put = cmpxchg ptr %at, ptr null, ptr %context acq_rel acquire
  %done = extractvalue { ptr, i1 } %put, 1
  %after = add i64 %k, 1
  br i1 %done, label %out, label %next
full:
  call void @free(ptr %context)
  br label %out
out:
  ret void
}

; whether the pointers of a call may be used: POINTER, OVERLAP or 0
define internal i32 @examine(ptr %plan, ptr %context) {
entry:
  %p = load %Plan, ptr %plan
  %ranges = extractvalue %Plan %p, 5
  %moving = extractvalue %Plan %p, 6
  %held = extractvalue %Plan %p, 7
  br label %one
one:
  %k = phi i64 [ 0, %entry ], [ %k.next, %passed ]
  %k.more = icmp ult i64 %k, %moving
  br i1 %k.more, label %look, label %fine
look:
  %a.at = getelementptr %Range, ptr %held, i64 %k
  %a = load %Range, ptr %a.at
  %a.word = extractvalue %Range %a, 0
  %a.bytes = extractvalue %Range %a, 1
  %a.written = extractvalue %Range %a, 2
  %a.mask = extractvalue %Range %a, 3
  %a.start.at = getelementptr i64, ptr %context, i64 %a.word
  %a.start = load i64, ptr %a.start.at
  %a.end = add i64 %a.start, %a.bytes
  %k.next = add i64 %k, 1
  %empty = icmp eq i64 %a.bytes, 0
  br i1 %empty, label %passed, label %full
passed:
  br label %one
full:
  %null = icmp eq i64 %a.start, 0
  %low = and i64 %a.start, %a.mask
  %odd = icmp ne i64 %low, 0
  %wrong = or i1 %null, %odd
  br i1 %wrong, label %bad, label %other
other:
  %j = phi i64 [ %k.next, %full ], [ %j.next, %compare ]
  %j.more = icmp ult i64 %j, %ranges
  br i1 %j.more, label %compare, label %passed
compare:
  %b.at = getelementptr %Range, ptr %held, i64 %j
  %b = load %Range, ptr %b.at
  %b.word = extractvalue %Range %b, 0
  %b.bytes = extractvalue %Range %b, 1
  %b.written = extractvalue %Range %b, 2
  %b.start.at = getelementptr i64, ptr %context, i64 %b.word
  %b.start = load i64, ptr %b.start.at
  %b.end = add i64 %b.start, %b.bytes
  %j.next = add i64 %j, 1
  %written = or i64 %a.written, %b.written
  %concerns = icmp ne i64 %written, 0
  %before = icmp ult i64 %a.start, %b.end
  %behind = icmp ult i64 %b.start, %a.end
  %meet = and i1 %before, %behind
  %some = icmp ne i64 %b.bytes, 0
  %meets = and i1 %meet, %some
  %clash = and i1 %meets, %concerns
  br i1 %clash, label %overlap, label %other
fine:
  ret i32 0
bad:
  ret i32 3
overlap:
  ret i32 4
}

define internal void @count(ptr %plan) {
entry:
  %p = load %Plan, ptr %plan
  %draws = extractvalue %Plan %p, 10
  %drawn = extractvalue %Plan %p, 11
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %after, %one ]
  %more = icmp ult i64 %k, %draws
  br i1 %more, label %one, label %out
one:
  %at = getelementptr %Draw, ptr %drawn, i64 %k
  %draw = load %Draw, ptr %at
  %counter = extractvalue %Draw %draw, 0
  %many = extractvalue %Draw %draw, 1
  %used = load i64, ptr %counter
  %now = add i64 %used, %many
  store i64 %now, ptr %counter
  %after = add i64 %k, 1
  br label %next
out:
  ret void
}

define internal i32 @within(ptr %plan, ptr %context, ptr %pointers, ptr %fault) {
entry:
  %p = load %Plan, ptr %plan
  %moving = extractvalue %Plan %p, 6
  %held = extractvalue %Plan %p, 7
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %after, %one ]
  %more = icmp ult i64 %k, %moving
  br i1 %more, label %one, label %check
one:
  %from = getelementptr ptr, ptr %pointers, i64 %k
  %pointer = load ptr, ptr %from
  %word.at = getelementptr %Range, ptr %held, i64 %k
  %word = load i64, ptr %word.at
  %to = getelementptr i64, ptr %context, i64 %word
  store ptr %pointer, ptr %to
  %after = add i64 %k, 1
  br label %next
check:
  %refused = call i32 @examine(ptr %plan, ptr %context)
  %usable = icmp eq i32 %refused, 0
  br i1 %usable, label %walk, label %refuse
refuse:
  ret i32 %refused
walk:
  %rows = extractvalue %Plan %p, 8
  %list.word = extractvalue %Plan %p, 9
  %list = getelementptr i64, ptr %context, i64 %list.word
  call void @rows(ptr %list, i64 0, i64 %rows, ptr %context)
  %code = load i64, ptr %context
  %clean = icmp eq i64 %code, 0
  br i1 %clean, label %good, label %failed
good:
  call void @count(ptr %plan)
  ret i32 0
failed:
  %silent = icmp eq ptr %fault, null
  br i1 %silent, label %clear, label %tell
tell:
  call void @llvm.memcpy.p0.p0.i64(ptr %fault, ptr %context, i64 32, i1 false)
  br label %clear
clear:
  store [4 x i64] zeroinitializer, ptr %context
  %status = trunc i64 %code to i32
  ret i32 %status
}

; a call with these pointers. What a kernel found wrong goes to `fault`, four words, unless null
define $linkage i32 @tracegrad_serial_call(ptr %plan, ptr %pointers, ptr %fault) {
entry:
  %alone.at = getelementptr %Plan, ptr %plan, i64 0, i32 12
  %alone = load i64, ptr %alone.at
  %waits = icmp ne i64 %alone, 0
  %lock = getelementptr %Plan, ptr %plan, i64 0, i32 13
  br i1 %waits, label %try, label %taken
try:
  %had = cmpxchg ptr %lock, i64 0, i64 1 acq_rel acquire
  %mine = extractvalue { i64, i1 } %had, 1
  br i1 %mine, label %taken, label %wait
wait:
  %yielded = call i32 @sched_yield()
  br label %try
taken:
  %context = call ptr @take(ptr %plan)
  %none = icmp eq ptr %context, null
  br i1 %none, label %leave, label %run
run:
  %code = call i32 @within(ptr %plan, ptr %context, ptr %pointers, ptr %fault)
  call void @give(ptr %plan, ptr %context)
  br label %leave
leave:
  %status = phi i32 [ 5, %taken ], [ %code, %run ]
  br i1 %waits, label %open, label %out
open:
  store atomic i64 0, ptr %lock release, align 8
  br label %out
out:
  ret i32 %status
}
"""
