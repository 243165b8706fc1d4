"""Launches and commit: the program runs, and versions, `.grad` and flags of tensors are set.

Value guards are checked between two walks, before anything is written.
"""

from __future__ import annotations

import numpy as np

from ...runtime.cpu.executable import address
from ..entry import Entry
from .source import Source


def write_launches(s: Source) -> None:
    """Walk the launch list. If a signal handler raises during the last walk, the call is completed
    first, and then raises that exception, which waits in `stopped`.
    """
    executable = s.entry.executable
    s.names |= {
        "walk": executable.walk, "fail": executable.fail, "failed": executable.failed,
        "WHOLE": executable.whole, "BEFORE": executable.before, "AFTER": executable.after,
        "early": executable.early,
    }
    if executable.early:
        with s.block("for span in early:"):
            _walk(s, "span")
    if s.entry.values:
        _walk(s, "BEFORE")
        for k, expected, _ in s.entry.values:
            cell = s.name("value", _private(s.entry, k))
            s.add(f"if {cell}.item() != {s.name('expected', expected)}: {s.undo}return MISS")
    s.add("stopped = None")
    s.add(f"try: wrong = walk({'AFTER' if s.entry.values else 'WHOLE'})")
    with s.block("except BaseException as error:"):
        s.add(f"if failed(): {s.undo}raise")
        s.add("wrong, stopped = 0, error")
    s.add(f"if wrong: {s.undo}fail()")


def _walk(s: Source, span: str) -> None:
    """A walk before the first visible write."""
    s.add(f"try: wrong = walk({span})")
    s.add(f"except BaseException: failed(); {s.undo}raise")
    s.add(f"if wrong: {s.undo}fail()")


def _private(entry: Entry, k: int) -> np.ndarray:
    """Memory for an output that only the replay reads: a value guard."""
    node = entry.outputs[k]
    cell = np.zeros(node.shape, node.dtype.storage)
    entry.executable.table[entry.program.outputs[k]] = address(cell)
    return cell


def write_commit(s: Source) -> None:
    """Set what a call changes in tensors besides their values."""
    for i in s.entry.written:
        s.add(f"{s.tensor(i)}._version[0] += 1")
    for line in s.commits:
        s.add(line)
    for i, flag in s.entry.flags:
        s.add(f"{s.tensor(i)}._requires_grad = {flag}")
    if s.entry.derivative is not None:  # within the lock: the next call changes the table
        first = len(s.entry.outputs) - len(s.entry.derivative.saved)
        slots = s.entry.program.outputs[first:]
        s.add("pointers = [" + ", ".join(f"table[{slot}]" for slot in slots) + "]")
