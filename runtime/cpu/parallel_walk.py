"""The walk of a launch list by several threads, as LLVM's text.

Every thread goes through all rows and claims pieces of each from a counter; the next row begins
when all pieces are done. So a thread whose core is taken away delays no more than the piece that it
holds, and one that wakes up late finds the work done.

A loop is rows among the others: one without a kernel sets the pointers, one looks at the test, and
one moves the pointers and goes back. Whoever claims such a row does it alone, and begins a new
epoch, from the row that it says. Counters have the number of their epoch in their upper bits: a
thread that is behind sees a later one, or that the epoch has changed, and goes where that began. It
never claims a piece of an epoch that it is not in. When it is time to look for signals, all threads
leave the walk, and begin again where it stopped. A loop that one thread walks is for worker 0: with
OpenMP it is the thread that called, and Python tells no other one of signals. In Numba's work queue
the caller does no work, so there such a loop ends first.
"""

from __future__ import annotations

from .loop_rows import POINTERS

# words for the two counters of a row, claimed pieces and done ones: each has a line of the cache to
# itself. Those ahead of the first row are of the walk
COUNTERS = 16
CALLER = -1  # pieces of a row that is for worker 0
SET, TEST, MOVE = range(3)  # what rows without a kernel do: their start; their stop is a row

PARALLEL = POINTERS + """
%Row = type { ptr, ptr, i64, i64, i64 }
%Counters = type { i64, [7 x i64], i64, [7 x i64] }
; the epoch, where each of two begins by turns, and whether to look for signals
%State = type { i64, [7 x i64], [2 x i64], i64, [5 x i64] }

declare i32 @get_num_threads()
declare void @numba_parallel_for(ptr, ptr, ptr, ptr, ptr, i64, i64, i32)
declare i32 @$yield()
$declared

define internal void @walk(ptr %span) {
entry:
  %s = load %Span, ptr %span
  %first = extractvalue %Span %s, 1
  %last = extractvalue %Span %s, 2
  %status = extractvalue %Span %s, 3
  %state = extractvalue %Span %s, 5
  %workers = extractvalue %Span %s, 6
  %claims = getelementptr %Counters, ptr %state, i64 1
  store i64 0, ptr %state
  %where = getelementptr %State, ptr %state, i64 0, i32 2, i64 0
  store i64 %first, ptr %where
  %pause.at = getelementptr %State, ptr %state, i64 0, i32 3
  br label %reset
reset:
  %i = phi i64 [ %first, %entry ], [ %next, %row ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %row, label %begin
row:
  %claimed = getelementptr %Counters, ptr %claims, i64 %i, i32 0
  store i64 0, ptr %claimed
  %done = getelementptr %Counters, ptr %claims, i64 %i, i32 2
  store i64 0, ptr %done
  %next = add i64 %i, 1
  br label %reset
begin:
  store i64 0, ptr %pause.at
  %alone = icmp sle i64 %workers, 1
  br i1 %alone, label %one, label %many
one:
  call void @work(ptr %span, i64 0)
  br label %walked
many:
  call void @region(ptr %span)
  br label %walked
walked:
  %pause = load i64, ptr %pause.at
  %ends = icmp eq i64 %pause, 0
  br i1 %ends, label %out, label %signals
signals:
  %stops = call i1 @stopped(ptr %status)
  br i1 %stops, label %out, label %begin
out:
  ret void
}

define internal void @region(ptr %span) {
  ; the pool's loop is over its threads. It adds steps to pointers: here to the number of a worker
  %number = alloca ptr
  %count = alloca i64
  %step = alloca i64
  store ptr null, ptr %number
  store i64 1, ptr %step
  %threads = call i32 @get_num_threads()
  %wide = sext i32 %threads to i64
  store i64 %wide, ptr %count
  call void @numba_parallel_for(ptr @share, ptr %number, ptr %count, ptr %step, ptr %span,
                                i64 0, i64 1, i32 %threads)
  ret void
}

; what the pool calls, in each of its threads
define internal void @share(ptr %numbers, ptr %counts, ptr %steps, ptr %span) {
entry:
  %number = load i64, ptr %numbers
  %count = load i64, ptr %counts
  %workers.at = getelementptr %Span, ptr %span, i64 0, i32 6
  %workers = load i64, ptr %workers.at
  %end = add i64 %number, %count
  %short = icmp slt i64 %end, %workers
  %last = select i1 %short, i64 %end, i64 %workers
  br label %next
next:
  %worker = phi i64 [ %number, %entry ], [ %following, %mine ]
  %more = icmp slt i64 %worker, %last
  br i1 %more, label %mine, label %out
mine:
  call void @work(ptr %span, i64 %worker)
  %following = add i64 %worker, 1
  br label %next
out:
  ret void
}

; a row of a loop; gives the row with which the next epoch begins
define internal i64 @control(ptr %block, i64 %what, i64 %goal, i64 %row, ptr %pause.at) {
entry:
  %next = add i64 %row, 1
  %t.at = getelementptr %Loop, ptr %block, i64 0, i32 9
  %left.at = getelementptr %Loop, ptr %block, i64 0, i32 10
  %often.at = getelementptr %Loop, ptr %block, i64 0, i32 5
  %often = load i64, ptr %often.at
  %length.at = getelementptr %Loop, ptr %block, i64 0, i32 8
  %length = load i64, ptr %length.at
  switch i64 %what, label %move [ i64 $SET, label %set
                                  i64 $TEST, label %test ]
set:
  call void @set(ptr %block)
  store i64 0, ptr %t.at
  store i64 %often, ptr %left.at
  %some = icmp sgt i64 %length, 0
  %entered = select i1 %some, i64 %next, i64 %goal
  ret i64 %entered
test:
  %goes.on = call i1 @goes.on(ptr %block)
  %chosen = select i1 %goes.on, i64 %next, i64 %goal
  ret i64 %chosen
move:
  call void @move(ptr %block)
  %t = load i64, ptr %t.at
  %t.next = add i64 %t, 1
  store i64 %t.next, ptr %t.at
  %left = load i64, ptr %left.at
  %left.next = sub i64 %left, 1
  %look = icmp eq i64 %left.next, 0
  %left.then = select i1 %look, i64 %often, i64 %left.next
  store i64 %left.then, ptr %left.at
  %pause = zext i1 %look to i64
  store atomic i64 %pause, ptr %pause.at monotonic, align 8
  %again = icmp slt i64 %t.next, %length
  %then = select i1 %again, i64 %goal, i64 %next
  ret i64 %then
}

; what one thread does in a walk
define internal void @work(ptr %span, i64 %worker) {
entry:
  %s = load %Span, ptr %span
  %launches = extractvalue %Span %s, 0
  %last = extractvalue %Span %s, 2
  %status = extractvalue %Span %s, 3
  %state = extractvalue %Span %s, 5
  %claims = getelementptr %Counters, ptr %state, i64 1
  %pause.at = getelementptr %State, ptr %state, i64 0, i32 3
  br label %join
join:
  %epoch = load atomic i64, ptr %state acquire, align 8
  %turn = and i64 %epoch, 1
  %where.at = getelementptr %State, ptr %state, i64 0, i32 2, i64 %turn
  %where = load atomic i64, ptr %where.at acquire, align 8
  %again = load atomic i64, ptr %state acquire, align 8
  %steady = icmp eq i64 %epoch, %again
  br i1 %steady, label %joined, label %join
joined:
  %tag = shl i64 %epoch, 16
  %pause = load atomic i64, ptr %pause.at monotonic, align 8
  %code.joined = load i64, ptr %status
  %reasons = or i64 %pause, %code.joined
  %goes.on = icmp eq i64 %reasons, 0
  br i1 %goes.on, label %rows, label %out
rows:
  %i = phi i64 [ %where, %joined ], [ %next, %finished ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %row, label %out
row:
  %row.at = getelementptr %Row, ptr %launches, i64 %i
  %r = load %Row, ptr %row.at
  %kernel = extractvalue %Row %r, 0
  %args = extractvalue %Row %r, 1
  %start = extractvalue %Row %r, 2
  %stop = extractvalue %Row %r, 3
  %shared = extractvalue %Row %r, 4
  %is.whole = icmp slt i64 %shared, 0
  %pieces = select i1 %is.whole, i64 1, i64 %shared
  %is.other = icmp ne i64 %worker, 0
  %passes = and i1 %is.whole, %is.other
  %extent = sub i64 %stop, %start
  %is.control = icmp eq ptr %kernel, null
  %claimed = getelementptr %Counters, ptr %claims, i64 %i, i32 0
  %done = getelementptr %Counters, ptr %claims, i64 %i, i32 2
  %all.done = or i64 %tag, %pieces
  br label %claim
claim:
  ; no two threads get the same piece
  %now = load atomic i64, ptr %claimed acquire, align 8
  %its.epoch = lshr i64 %now, 16
  %behind = icmp ugt i64 %its.epoch, %epoch
  br i1 %behind, label %join, label %compare
compare:
  %current = icmp eq i64 %its.epoch, %epoch
  %count = and i64 %now, 65535
  %piece = select i1 %current, i64 %count, i64 0
  %left = icmp slt i64 %piece, %pieces
  %claims.it = select i1 %passes, i1 false, i1 %left
  br i1 %claims.it, label %take, label %wait
take:
  %with = add i64 %piece, 1
  %new = or i64 %tag, %with
  %pair = cmpxchg ptr %claimed, i64 %now, i64 %new acq_rel acquire
  %mine = extractvalue { i64, i1 } %pair, 1
  br i1 %mine, label %do, label %claim
do:
  br i1 %is.control, label %control, label %run
control:
  %begins = call i64 @control(ptr %args, i64 %start, i64 %stop, i64 %i, ptr %pause.at)
  %following = add i64 %epoch, 1
  %its.turn = and i64 %following, 1
  %begins.at = getelementptr %State, ptr %state, i64 0, i32 2, i64 %its.turn
  store atomic i64 %begins, ptr %begins.at release, align 8
  store atomic i64 %following, ptr %state release, align 8
  br label %join
run:
  %before = mul i64 %extent, %piece
  %from = sdiv i64 %before, %pieces
  %after = add i64 %before, %extent
  %to = sdiv i64 %after, %pieces
  %begin = add i64 %start, %from
  %end = add i64 %start, %to
  call void %kernel(ptr %args, i64 %begin, i64 %end, i64 %worker)
  br label %count.done
count.done:
  ; what the kernel wrote is there for whoever sees the new count
  %so.far = load atomic i64, ptr %done acquire, align 8
  %since = lshr i64 %so.far, 16
  %counted = icmp eq i64 %since, %epoch
  %base = select i1 %counted, i64 %so.far, i64 %tag
  %one.more = add i64 %base, 1
  %set = cmpxchg ptr %done, i64 %so.far, i64 %one.more acq_rel acquire
  %was.set = extractvalue { i64, i1 } %set, 1
  br i1 %was.set, label %claim, label %count.done
wait:
  %looks = phi i64 [ 0, %compare ], [ %looked, %pause.hint ], [ %looked, %yield ]
  %ready = load atomic i64, ptr %done acquire, align 8
  %all = icmp uge i64 %ready, %all.done
  br i1 %all, label %finished, label %still
still:
  %epoch.now = load atomic i64, ptr %state acquire, align 8
  %same = icmp eq i64 %epoch.now, %epoch
  br i1 %same, label %idle, label %join
idle:
  %looked = add i64 %looks, 1
  %spins = icmp slt i64 %looked, $spins
  br i1 %spins, label %pause.hint, label %yield
pause.hint:
  $pause
  br label %wait
yield:
  %yielded = call i32 @$yield()
  br label %wait
finished:
  %code = load i64, ptr %status
  %clean = icmp eq i64 %code, 0
  %next = add i64 %i, 1
  br i1 %clean, label %rows, label %out
out:
  ret void
}
"""
for _word, _meaning in (("$SET", SET), ("$TEST", TEST)):
    PARALLEL = PARALLEL.replace(_word, str(_meaning))
