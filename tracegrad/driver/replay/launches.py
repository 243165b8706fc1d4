"""Launches and commit: the program runs, and versions, `.grad` and flags of tensors are set.

Value guards are checked between two walks, before anything is written.
"""

from __future__ import annotations

from ..outputs import outputs_of
from ..places import HOST
from .memory import to_host
from .source import Source
from .stages import write_looked, write_walk


def write_launches(s: Source) -> None:
    """Walk the launch list. If a signal handler raises during the last walk, the call is completed
    first, and then raises that exception, which waits in `stopped`.
    """
    executable = s.entry.executable
    if _hands_over(s):
        executable.see_at_once()
    s.names |= {
        "walk": executable.walk, "fail": executable.fail, "failed": executable.failed,
        "WHOLE": executable.whole, "BEFORE": executable.before, "AFTER": executable.after,
        "early": executable.early,
    }
    if executable.early:
        with s.block("for span in early:"):
            write_walk(s, executable, "span", len(s.entry.stages), s.entry.low, s.entry.looked)
    entry, last = s.entry, len(s.entry.stages)
    outputs = entry.program.outputs
    cells = {k: executable.readable(outputs[k]) for k in entry.looked.outputs()}
    if entry.guarded:
        write_walk(s, executable, "BEFORE", last, entry.low, entry.looked)
        write_looked(s, entry.looked, cells, last)
    if s.entry.low.place is not HOST:
        s.add(f"{s.name('begin', executable.begin)}()")
    s.add("stopped = None")
    s.add(f"try: wrong = walk({'AFTER' if entry.guarded else 'WHOLE'})")
    with s.block("except BaseException as error:"):
        s.add(f"if failed(): {s.undo}raise")
        s.add("wrong, stopped = 0, error")
    s.add(f"if wrong: {s.undo}fail()")
    if not entry.guarded:
        write_looked(s, entry.looked, cells, last, sure=True)


def write_commit(s: Source) -> None:
    """Set what a call changes in tensors besides their values."""
    for i in s.entry.written:
        if copy := s.copied(i):
            s.add(f"{s.tensor(i)}._array[...] = {to_host(s)}({copy})")
        s.add(f"{s.tensor(i)}._version[0] += 1")
    for line in s.commits:
        s.add(line)
    for i, flag in s.entry.flags:
        s.add(f"{s.tensor(i)}._requires_grad = {flag}")
    if s.entry.derivative is not None:  # within the lock: the next call changes the table
        first = len(s.entry.outputs) - len(s.entry.derivative.saved)
        slots = s.entry.program.outputs[first:]
        s.add("pointers = [" + ", ".join(f"table[{slot}]" for slot in slots) + "]")


def _hands_over(s: Source) -> bool:
    """Whether a program on a GPU writes to the CPU, so that its call waits."""
    written = (*s.entry.written, *(i for i, _ in s.entry.graded))
    results = outputs_of(s.entry.result).values()
    return any(map(s.copied, written)) or any(output.to_host for output in results)
