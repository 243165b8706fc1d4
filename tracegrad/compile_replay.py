"""The call of a traced program, written as one Python function for one Entry.

What a call must look at (guards, pointers that moved, buffers that somebody still holds) is known
when the entry is made, so the checks are generated as straight code: a step of a small model costs
little more than they do. The function answers MISS, and has changed nothing, where the entry does
not fit the call.
"""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable
from sys import getrefcount
from typing import Any
from weakref import finalize

import numpy as np

from .compile_answer import gradients_found, returned
from .compile_backward import Spent, take_over
from .compile_binding import drawing, nobody, rebinder, staleness, together
from .compile_entry import Entry
from .compile_pool import ARRAY, TENSOR, Gradients, Pool
from .compile_spelling import Writer, drawn, found, tensor, write_answer
from .runtime.executable import address
from .tracer.guards import PLAIN
from .tracer.lying import order_of
from .tracer.mode import mode
from .tracer.tensor import Tensor
from .tracer.trace import Input
from .tracer.world import epoch

_NOT_THIS = (
    AttributeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
)  # what guards raise for another kind of call
MISS = object()  # this entry does not fit


class Reentered(BaseException):
    """The call comes from a signal handler, in the middle of another one of the same thread that
    uses the same memory.
    """


_INTERRUPTED = Spent(
    "CompiledFunctionBackward",
    "the compiled call that changed this tensor in place was interrupted (by Ctrl-C, or by a "
    "signal handler that raised) before the tensor's history was noted; compute it anew",
)


def write_replay(entry: Entry, count: int) -> Callable[[Any], Any]:
    """The replay function of an entry whose calls have `count` tensors; the last that looks at
    those of the trace.
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
        "NOT_THIS": _NOT_THIS, "seen": entry.seen, "stale": staleness(entry),
    }  # fmt: skip
    w.add("with lock:")  # the guards already write to the table
    w.add("if busy[0]: raise Reentered", 2)
    w.add("busy[0] = True", 2)
    w.add("try:", 2)
    w.add("try:", 3)
    _guards(w, entry, count, positions)
    w.add("except NOT_THIS: return MISS", 3)
    _hyper(w, entry)
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
    source = "def replay(args):\n" + "\n".join(w.lines) + "\n"
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
    soon as a walk is over: what this one has changed is then complete.
    """
    if entry.values:
        w.add("try: wrong = walk(BEFORE)", 3)
        w.add(f"except BaseException: failed(); {undo}raise", 3)
        w.add(f"if wrong: {undo}fail()", 3)
        for k, expected, _ in entry.values:
            cell = w.name("value", _private(entry, k))
            w.add(f"if {cell}.item() != {w.name('expected', expected)}: {undo}return MISS", 3)
    w.add(f"try: wrong = walk({'AFTER' if entry.values else 'WHOLE'})", 3)
    w.add("except BaseException:", 3)
    w.add(f"if failed(): {undo}raise", 4)
    for line in changes:
        w.add(line, 4)
    for i in entry.rooted.values():
        broken = w.name("interrupted", _INTERRUPTED)
        w.add(f"{w.name('take_over', take_over)}({tensor(w, i)}, {broken})", 4)
    w.add("raise", 4)
    w.add(f"if wrong: {undo}fail()", 3)
    for line in changes:
        w.add(line, 3)


def _guards(w: Writer, entry: Entry, count: int, positions: dict[int, int]) -> None:
    w.guard(f"if mode.grad is not {entry.grad_mode} or mode.trace is not None: return MISS")
    unpacked = "".join(f"a{k}, " for k in range(count))
    w.guard(f"({unpacked}) = args" if count else "if args: return MISS")
    for guard in entry.surroundings.quick:
        holder = w.name("h", guard.holder)
        now = {
            "item": f"{holder}[{_literal(w, guard.key)}]",
            "cell": f"{holder}.cell_contents",
            "slot": f"{holder}.{guard.key}",
            "len": f"len({holder})",
            "set": holder,
        }[guard.how]
        then = w.name("then", guard.then)
        if guard.how == "set":
            w.guard(f"if {now} != {then}: return MISS")
            continue
        if guard.then is None or isinstance(guard.then, bool) or not isinstance(guard.then, PLAIN):
            w.guard(f"if {now} is not {then}: return MISS")
        else:
            w.guard(
                f"if {now} is not {then} and "
                f"({now} != {then} or type({now}) is not type({then})): return MISS"
            )
    w.guard("if epoch[0] != seen[0] and stale(): return MISS")
    exact = any(i.kind == "argument" for i in entry.written) or any(
        i.kind == "argument" for i, _ in entry.graded
    )
    for k in range(count):
        if k not in positions:
            w.guard(f"if a{k} is not a{entry.repetition[k]}: return MISS")
            continue
        cell = w.name("last", [nobody])
        bind = w.name("bind", rebinder(entry, positions[k], w.names[cell]))
        rg = entry.avals[positions[k]][3]
        w.guard(
            f"if a{k}._array is not {cell}[0]() and not {bind}(a{k}) "
            f"or a{k}._requires_grad is not {rg}: return MISS"
        )
        if rg:
            hooks = tuple((entry.inputs[positions[k]].tensor._hooks or {}).values())
            now = f"tuple((a{k}._hooks or {{}}).values())"
            differ = f"{now} != {w.name('hooks', hooks)}" if hooks else f"a{k}._hooks"
            w.guard(f"if {differ}: return MISS")
        if exact:
            for other in range(k):
                if other in positions:
                    w.guard(f"if a{k} is a{other}: return MISS")
    written = {i.key for i in entry.written if i.kind == "argument"}
    for k, other in itertools.combinations(sorted(positions), 2):
        if k in written or other in written:
            w.guard(f"if {w.name('together', together())}(a{k}, a{other}): return MISS")
    for i in _gradients_read(entry):
        w.guard(f"{found(i)} = {tensor(w, i)}._grad")
    for i, there in entry.presence:
        w.guard(f"if {tensor(w, i)}._grad is {'None' if there else 'not None'}: return MISS")
    for i in entry.inputs:
        if i.kind == "grad":
            g = tensor(w, i)
            cell = w.name("last", [nobody])
            bind = w.name("bind", rebinder(entry, entry.inputs.index(i), w.names[cell]))
            w.guard(f"if {g} is None: return MISS")
            w.guard(f"if {g}._array is not {cell}[0]() and not {bind}({g}): return MISS")


def _literal(w: Writer, key: Any) -> str:
    return repr(key) if isinstance(key, (str, int)) else w.name("key", key)


def _gradients_read(entry: Entry) -> list[Input]:
    """The inputs whose `.grad` from before the call is used; one's before its own `.grad`'s."""
    kept = entry.derivative.kept_inputs if entry.derivative else []
    used = (*entry.inputs, *kept, *(i for i, _ in (*entry.presence, *entry.graded, *entry.flags)))
    owners = gradients_found(entry.answer) | {i.key for i in used if i.kind == "grad"}
    return sorted(owners, key=_depth)


def _depth(i: Input) -> int:
    return 1 + _depth(i.key) if i.kind == "grad" else 0


def _hyper(w: Writer, entry: Entry) -> None:
    for slot, i in zip(entry.program.inputs, entry.inputs, strict=True):
        if i.kind == "hyper":
            number = np.zeros((), np.float64)
            entry.executable.table[slot] = address(number)
            group, key = i.key
            cell = w.name("number", number.reshape(1).data)
            w.add(f"{cell}[0] = {w.name('group', group)}[{key!r}]", 3)
        elif i.kind == "tensor":
            entry.executable.table[slot] = address(i.tensor._array)


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
        forced.append(bool(entry.values) or program.early(slot))
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
    for k in [*sorted(returned(entry.answer)), *saved]:
        node = entry.graph.outputs[k]
        pool = Pool(entry.executable.table, program.outputs[k], node.shape, node.dtype)
        entry.pools.append(pool)
        taken[k] = f"o{k}"
        w.add(f"o{k} = {w.name('pool', pool.take)}()", 3)
    return taken
