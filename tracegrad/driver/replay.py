"""The call of a traced program, written as one Python function for one Entry.

What a call must look at (guards, pointers that moved, buffers that somebody still holds) is known
when the entry is made, so the checks are generated as straight code: a step of a small model costs
little more than they do. The function answers MISS, and has changed nothing, where the entry does
not fit the call.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from sys import getrefcount
from typing import Any
from weakref import finalize

import numpy as np

from ..ir.dtype import float32, float64
from ..runtime.cpu.executable import address
from ..tracer.capture.locations import alike
from ..tracer.change_counter import epoch
from ..tracer.mode import mode
from ..tracer.tensor.gradient_layout import order_of
from ..tracer.tensor.tensor import Tensor
from ..tracer.tensor.views import offset_of
from .argument_checks import drawing, staleness
from .buffers import ARRAY, TENSOR, Gradients, Pool
from .entry import Entry
from .guard_checks import write_guards
from .outputs import returned
from .replay_text import Writer, drawn, encoded, tensor, write_answer

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
    w = Writer()
    executable = entry.executable
    positions = {i.key: k for k, i in enumerate(entry.inputs) if i.kind == "argument"}
    w.names |= {
        "MISS": MISS, "epoch": epoch, "mode": mode,
        "lock": executable.lock, "busy": executable.busy, "Reentered": Reentered,
        "walk": executable.walk, "fail": executable.fail, "failed": executable.failed,
        "new": object.__new__, "Tensor": Tensor,
        "table": executable.table,
        "WHOLE": executable.whole, "BEFORE": executable.before, "AFTER": executable.after,
        "early": executable.early,
        "NOT_THIS": _NOT_THIS, "seen": entry.seen, "stale": staleness(entry), "alike": alike,
        "offset_of": offset_of,
    }  # fmt: skip
    w.add("with lock:")  # the guards already write to the table
    w.add("if busy[0]: raise Reentered", 2)
    w.add("busy[0] = True", 2)
    w.add("try:", 2)
    w.add("try:", 3)
    write_guards(w, entry, count, positions)
    w.add("except NOT_THIS: return MISS", 3)
    write_numbers(w, entry)
    after = _graded(w, entry)
    outputs = _outputs(w, entry)
    undo = _random(w, entry)
    changes = [f"{tensor(w, i)}._version[0] += 1" for i in entry.written] + after
    changes += [f"{tensor(w, i)}._requires_grad = {flag}" for i, flag in entry.flags]
    _run(w, entry, changes, undo)
    if entry.derivative is not None:  # while the lock is held: the table is everybody's
        first = len(entry.graph.outputs) - len(entry.derivative.saved)
        slots = entry.program.outputs[first:]
        w.add("pointers = [" + ", ".join(f"table[{slot}]" for slot in slots) + "]", 3)
    w.add("finally: busy[0] = False", 2)
    write_answer(w, entry, outputs)
    source = "def replay(args, numbers=()):\n" + "\n".join(w.lines) + "\n"
    filename = f"<tracegrad replay {id(entry):x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    exec(compile(source, filename, "exec"), w.names)
    replay = w.names["replay"]
    finalize(replay, linecache.cache.pop, filename, None)
    replay.source = source
    entry.forget()
    return replay


def _run(w: Writer, entry: Entry, changes: list[str], undo: str) -> None:
    """Walk the tape, and do what the call changes besides. A signal handler that raises is heard as
    soon as a walk is over: the call then ends first, so that all it changes is changed, and raises
    what is in `stopped`.
    """
    if entry.executable.early:
        w.add("for span in early:", 3)
        w.add("try: wrong = walk(span)", 4)
        w.add(f"except BaseException: failed(); {undo}raise", 4)
        w.add(f"if wrong: {undo}fail()", 4)
    if entry.values:
        w.add("try: wrong = walk(BEFORE)", 3)
        w.add(f"except BaseException: failed(); {undo}raise", 3)
        w.add(f"if wrong: {undo}fail()", 3)
        for k, expected, _ in entry.values:
            cell = w.name("value", _private(entry, k))
            w.add(f"if {cell}.item() != {w.name('expected', expected)}: {undo}return MISS", 3)
    w.add("stopped = None", 3)
    w.add(f"try: wrong = walk({'AFTER' if entry.values else 'WHOLE'})", 3)
    w.add("except BaseException as error:", 3)
    w.add(f"if failed(): {undo}raise", 4)
    w.add("wrong, stopped = 0, error", 4)
    w.add(f"if wrong: {undo}fail()", 3)
    for line in changes:
        w.add(line, 3)


def _random(w: Writer, entry: Entry) -> str:
    """Take the random numbers that the program uses; returns what gives them back."""
    undoing = ""
    slots = dict(zip(entry.inputs, entry.program.inputs, strict=True))
    for stream in entry.streams:
        state = np.zeros(2, np.int64)
        if stream.source in slots:
            entry.executable.table[slots[stream.source]] = address(state)
        draw, undo = drawing(stream, state)
        w.add(f"{w.name('draw', draw)}()", 3)
        undoing += f"{w.name('undo', undo)}(); "
        if entry.derivative is not None and stream.source in entry.derivative.kept_inputs:
            w.add(f"{drawn(stream.source)} = {w.name('state', state)}.copy()", 3)
    return undoing


def _graded(w: Writer, entry: Entry) -> list[str]:
    """Gradients that the function leaves in `.grad`: the tensor of the last call where nobody else
    holds it.
    """
    program = entry.program
    owners, cleared, pools, forced = [], [], [], []
    for i, k in entry.graded:
        where = tensor(w, i)
        if k is None:
            cleared.append(f"{where}._grad = None")
            continue
        node, slot = entry.graph.outputs[k], program.outputs[k]
        owners.append(f"{where}._grad")
        axes = order_of(i.tensor._array)
        pools.append(Pool(entry.executable.table, slot, node.shape, node.dtype, axes))
        early = bool(entry.values or entry.executable.early)
        forced.append(early or program.early(slot))
    if not owners:
        return cleared
    gradients = Gradients(pools, forced)
    entry.pools += [*pools, gradients]
    w.names |= {
        "held": gradients.held, "renew": gradients.renew, "getrefcount": getrefcount,
    }  # fmt: skip
    current = [f"g{k}" for k in range(len(owners))]
    for g, owner in zip(current, owners, strict=True):
        w.add(f"{g} = {owner}", 3)
    known = (
        f"{g} is not held[{k}] or getrefcount({g}) != {TENSOR} "
        f"or getrefcount({g}._array) != {ARRAY}"
        for k, g in enumerate(current)
    )
    w.add(f"fresh = {'True' if any(forced) else ' or '.join(known)}", 3)
    w.add(f"if fresh: fresh = renew(({', '.join(current)},))", 3)
    return [*cleared, f"if fresh: {', '.join(owners)}, = fresh"]


def _private(entry: Entry, k: int) -> np.ndarray:
    """An output that only the entry itself looks at: a value guard."""
    node = entry.graph.outputs[k]
    cell = np.zeros(node.shape, node.dtype.storage)
    entry.executable.table[entry.program.outputs[k]] = address(cell)
    return cell


def _outputs(w: Writer, entry: Entry) -> dict[int, str]:
    """Buffers for what is returned, and for what backward will need."""
    program = entry.program
    taken: dict[int, str] = {}
    saved = (
        range(len(entry.graph.outputs) - len(entry.derivative.saved), len(entry.graph.outputs))
        if entry.derivative
        else ()
    )
    for k in [*returned(entry.answer), *saved]:
        node = entry.graph.outputs[k]
        pool = Pool(entry.executable.table, program.outputs[k], node.shape, node.dtype)
        entry.pools.append(pool)
        taken[k] = f"o{k}"
        w.add(f"o{k} = {w.name('pool', pool.take)}()", 3)
    return taken


def write_numbers(w: Writer, entry: Entry) -> None:
    """Write the numbers of this call where the program reads them."""
    for slot, i in zip(entry.program.inputs, entry.inputs, strict=True):
        if i.kind == "scalar":
            number = np.zeros((), i.node.dtype.storage)
            entry.executable.table[slot] = address(number)
            value = w.scalars[id(i.key)]
            if i.node.dtype in (float32, float64):
                w.add(f"{w.name('number', number.reshape(1).data)}[0] = {value}", 3)
            else:
                w.add(f"{w.name('number', number)}[...] = {encoded(w, i, value)}", 3)
        if i.kind == "hyper":
            number = np.zeros((), np.float64)
            entry.executable.table[slot] = address(number)
            group, key = i.key
            cell = w.name("number", number.reshape(1).data)
            w.add(f"{cell}[0] = {w.name('group', group)}[{key!r}]", 3)
        elif i.kind == "tensor":
            entry.executable.table[slot] = address(i.tensor._array)
