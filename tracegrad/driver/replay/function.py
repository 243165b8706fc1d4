"""The replay function of an Entry, section by section, in the order of a call.

What a call must look at (guards, pointers that moved, buffers that somebody still holds) is known
when the entry is made, so the checks are generated as straight code: a step of a small model costs
little more than they do. The function answers MISS, and has changed nothing, where the entry does
not fit the call.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any
from weakref import finalize

from ...tracer.tensor.tensor import Tensor
from ..entry import Entry
from .answer import write_answer
from .guards import write_guards
from .launches import write_commit, write_launches
from .memory import write_buffers, write_found, write_numbers, write_random
from .source import Source

_NOT_THIS = (
    AttributeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    ArithmeticError,
)  # what guards, and arithmetic on numbers, raise for another kind of call
MISS = object()  # this entry does not fit


class Reentered(BaseException):
    """The call comes from a signal handler, in the middle of another one of the same thread that
    uses the same memory.
    """


def write_replay(entry: Entry, count: int) -> Callable[..., Any]:
    """The replay function, of the tensors and the numbers of a call, of an entry whose calls have
    `count` tensors; the last that looks at those of the trace.
    """
    s = Source(entry, count)
    lock, busy = entry.executable.lock, entry.executable.busy
    s.names |= {"MISS": MISS, "NOT_THIS": _NOT_THIS, "Reentered": Reentered}
    s.names |= {"lock": lock, "busy": busy, "new": object.__new__, "Tensor": Tensor}
    with s.block("with lock:"):  # the guards already write to the table of pointers
        s.add("if busy[0]: raise Reentered")
        s.add("busy[0] = True")
        with s.block("try:"):
            with s.block("try:"):
                write_guards(s)
            s.add("except NOT_THIS: return MISS")
            write_numbers(s)
            write_buffers(s)
            write_random(s)
            write_found(s)
            write_launches(s)
            write_commit(s)
        s.add("finally: busy[0] = False")
    write_answer(s)
    replay = _compiled(s, f"<tracegrad replay {id(entry):x}>")
    entry.forget()
    return replay


def _compiled(s: Source, filename: str) -> Any:
    source = s.text()
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    exec(compile(source, filename, "exec"), s.names)
    replay = s.names["replay"]
    finalize(replay, linecache.cache.pop, filename, None)
    replay.source = source
    return replay
