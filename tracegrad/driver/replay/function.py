"""The replay function of an Entry, section by section, in the order of a call.

What a call must check (guards, pointers that moved, buffers that are still held) is known when the
entry is made. So the checks are straight code: for a small model they are most of the time of a
call. The function returns MISS, and has changed nothing, if the entry does not fit the call.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any
from weakref import finalize

from ...tracer.tensor.tensor import Tensor
from ..entry import Entry
from .guards import write_guards
from .launches import write_commit, write_launches
from .memory import write_buffers, write_numbers, write_random, write_snapshot
from .outputs import write_outputs
from .source import Source
from .stages import MISS, bind_segments, write_stages

# what guards, and arithmetic on numbers, raise for another kind of call
_NOT_THIS = (AttributeError, ValueError, TypeError, KeyError, IndexError, ArithmeticError)


class Reentered(BaseException):
    """A signal handler calls the function while the same thread is in a call that uses the same
    memory.
    """


def write_replay(
    entry: Entry, count: int, look: Callable[[], None] | None = None
) -> Callable[..., Any]:
    """The replay function of an entry. It takes the `count` tensors and the numbers of a call. One
    with `look` calls that when the inputs are bound, and gives MISS.

    Nothing needs the tensors of the trace after this, so the entry drops them.
    """
    s = Source(entry, count)
    s.names |= {"MISS": MISS, "NOT_THIS": _NOT_THIS, "Reentered": Reentered}
    s.names |= {"new": object.__new__, "Tensor": Tensor}
    s.names["table"] = entry.executable.table
    turns = [*(stage.segment.executable for stage in entry.stages), entry.executable]
    busy = ", ".join(f"{s.name('busy', one.busy)}[0]" for one in turns)
    s.names["lock"] = turns[0].lock if len(turns) == 1 else _All([one.lock for one in turns])
    with s.block("with lock:"):  # the guards already write to the pointer table
        s.add(f"if {busy.replace(', ', ' or ')}: raise Reentered")
        s.add(f"{busy.replace(', ', ' = ')} = True")
        with s.block("try:"):
            with s.block("try:"):
                write_guards(s)
                bind_segments(s)
            s.add("except NOT_THIS: return MISS")
            write_buffers(s)
            write_random(s)
            write_snapshot(s)
            write_stages(s)
            write_numbers(s, entry.executable, entry.inputs)
            if look is not None:
                s.add(f"try: {s.name('look', look)}()")
                s.add(f"finally: {s.undo}pass")
                s.add("return MISS")
            write_launches(s)
            write_commit(s)
        s.add(f"finally: {busy.replace(', ', ' = ')} = False")
    write_outputs(s)
    replay = _compiled(s, f"<tracegrad replay {id(entry):x}>")
    entry.forget_trace()
    return replay


class _All:
    """Several locks as one."""

    def __init__(self, locks: list[Any]) -> None:
        self.locks = locks

    def __enter__(self) -> None:
        taken = 0
        try:
            for lock in self.locks:
                lock.acquire()
                taken += 1
        except BaseException:
            self._release(taken)
            raise

    def __exit__(self, *_: object) -> None:
        self._release(len(self.locks))

    def _release(self, count: int) -> None:
        for lock in reversed(self.locks[:count]):
            lock.release()


def _compiled(s: Source, filename: str) -> Any:
    source = s.text()
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    exec(compile(source, filename, "exec"), s.names)
    replay = s.names["replay"]
    finalize(replay, linecache.cache.pop, filename, None)
    replay.source = source
    return replay
