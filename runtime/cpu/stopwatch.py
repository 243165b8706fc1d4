"""The time that launches take within a walk of their list, each row of it by itself.

While a Stopwatch runs, the rows of an executable's list call a function that reads the clock, calls
the kernel and reads the clock again. Nothing else of the walk differs: threads claim pieces, and
loops iterate. Times are added up for each row and lane, and the first of them are kept one by one.
A lane is the thread that did a piece, or in a loop of which threads take some rows each, the share.
"""

from __future__ import annotations

import ctypes
import time
from functools import cache as memo
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .launch_list import machine_code

if TYPE_CHECKING:
    from .executable import Executable

_NAME, _NOTHING = "tracegrad_stopwatch", "tracegrad_no_kernel"
_MOST_EVENTS = 1 << 17  # of a lane that are kept one by one
_WORDS = 7  # of a block: those of %Timed

_TEXT = """
%Time = type { i64, i64 }
%Event = type { i64, i64, i64 }
%Total = type { i64, i64 }
; kernel, its argument block, where its totals of lane 0 are, bytes from lane to lane, the counters
; of events, the row, the share
%Timed = type { ptr, ptr, ptr, i64, ptr, i64, i64 }

declare i32 @clock_gettime(i32, ptr)

define internal i64 @now() {
  %time = alloca %Time
  call i32 @clock_gettime(i32 $clock, ptr %time)
  %read = load %Time, ptr %time
  %seconds = extractvalue %Time %read, 0
  %nanoseconds = extractvalue %Time %read, 1
  %scaled = mul i64 %seconds, 1000000000
  %now = add i64 %scaled, %nanoseconds
  ret i64 %now
}

define void @$entry(ptr %block, i64 %start, i64 %stop, i64 %worker) {
entry:
  %t = load %Timed, ptr %block
  %kernel = extractvalue %Timed %t, 0
  %args = extractvalue %Timed %t, 1
  %totals = extractvalue %Timed %t, 2
  %stride = extractvalue %Timed %t, 3
  %counters = extractvalue %Timed %t, 4
  %row = extractvalue %Timed %t, 5
  %share = extractvalue %Timed %t, 6
  %began = call i64 @now()
  call void %kernel(ptr %args, i64 %start, i64 %stop, i64 %worker)
  %ended = call i64 @now()
  %took = sub i64 %ended, %began
  %lane = add i64 %worker, %share
  %skipped = mul i64 %lane, %stride
  %total.at = getelementptr i8, ptr %totals, i64 %skipped
  %total = load %Total, ptr %total.at
  %sum = extractvalue %Total %total, 0
  %count = extractvalue %Total %total, 1
  %sum.next = add i64 %sum, %took
  %count.next = add i64 %count, 1
  store i64 %sum.next, ptr %total.at
  %count.at = getelementptr %Total, ptr %total.at, i64 0, i32 1
  store i64 %count.next, ptr %count.at
  ; the share that one thread has just done and another thread may have one lane
  %events.at = getelementptr [$space x %Event], ptr %counters, i64 %lane
  %k = atomicrmw add ptr %events.at, i64 1 monotonic
  %kept = icmp slt i64 %k, $most
  br i1 %kept, label %keep, label %out
keep:
  %place = add i64 %k, 1
  %event.at = getelementptr %Event, ptr %events.at, i64 %place
  %row.only = insertvalue %Event undef, i64 %row, 0
  %with.begin = insertvalue %Event %row.only, i64 %began, 1
  %event = insertvalue %Event %with.begin, i64 %ended, 2
  store %Event %event, ptr %event.at
  br label %out
out:
  ret void
}
"""

_NO_KERNEL = f"""
define void @{_NOTHING}(ptr %args, i64 %start, i64 %stop, i64 %worker) {{
  ret void
}}
"""


class Times(NamedTuple):
    """Of one or more walks: nanoseconds and calls by lane and row; rows, beginnings and ends of
    the first events of each lane, by the clock of `time.perf_counter_ns`.
    """

    nanoseconds: np.ndarray
    calls: np.ndarray
    events: list[np.ndarray]


class Stopwatch:
    """Takes the times of an executable's launches. Rows begin where they do in its list. It is kept
    as long as the executable, whose list may refer to it.
    """

    def __init__(self, executable: Executable):
        self._list = executable.launches
        self._own = self._list[:, :2].copy()  # kernels and argument blocks
        rows, shares = len(self._list), np.zeros(len(self._list), int)
        shares[: len(executable.rows)] = [share for _, _, share in executable.rows]
        lanes = max(executable.workers, int(shares.max()) + 1)
        self._totals = np.zeros((lanes, rows, 2), np.int64)
        self._events = np.zeros((lanes, _MOST_EVENTS + 1, 3), np.int64)
        entry, timed = _address(), self._own[:, 0] != 0  # rows of loops may have no kernel
        blocks = self._blocks = np.zeros((rows, _WORDS), np.int64)
        blocks[:, :2] = self._own
        blocks[:, 2] = _place(self._totals) + self._totals.strides[1] * np.arange(rows)
        blocks[:, 3], blocks[:, 4] = self._totals.strides[0], _place(self._events)
        blocks[:, 5], blocks[:, 6] = np.arange(rows), shares
        where = _place(blocks) + blocks.strides[0] * np.arange(rows)
        other = np.stack([np.full(rows, entry), where], 1)
        self._timed = np.where(timed[:, None], other, self._own)
        executable.stopwatch = self

    def start(self) -> None:
        """From the next walk on. Whoever calls this holds the executable's lock."""
        self._totals[:] = 0
        self._events[:, 0] = 0
        self._list[:, :2] = self._timed

    def stop(self) -> Times:
        """Until the last walk. The lock is held here, too."""
        self._list[:, :2] = self._own
        counts = np.minimum(self._events[:, 0, 0], _MOST_EVENTS)
        events = [e[1 : n + 1].copy() for e, n in zip(self._events, counts, strict=True)]
        return Times(self._totals[..., 0].copy(), self._totals[..., 1].copy(), events)


def _place(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@memo
def _address() -> int:
    if not hasattr(time, "CLOCK_MONOTONIC"):
        raise RuntimeError("this system has no clock_gettime, by which launches are timed")
    words = {"$clock": time.CLOCK_MONOTONIC, "$entry": _NAME, "$space": _MOST_EVENTS + 1,
             "$most": _MOST_EVENTS}
    text = _TEXT
    for word, instead in words.items():
        text = text.replace(word, str(instead))
    return machine_code(_NAME, text)


@memo
def overhead() -> float:
    """Nanoseconds that a launch seems to take longer than it does."""
    totals, counters = np.zeros(2, np.int64), np.zeros(3, np.int64)
    counters[0] = _MOST_EVENTS  # none is kept
    kernel = machine_code(_NOTHING, _NO_KERNEL)
    block = np.array([kernel, 0, _place(totals), 0, _place(counters), 0, 0])
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *3 * [ctypes.c_int64])(_address())
    least = float("inf")
    for _ in range(100):
        totals[:] = 0
        for _ in range(20):
            call(_place(block), 0, 1, 0)
        least = min(least, totals[0] / totals[1])
    return least
