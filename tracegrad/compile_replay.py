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

from .compile_answer import Aliased, Given, Gradient, Returned, gradients_found, returned
from .compile_backward import CompiledCall, take_over
from .compile_binding import drawing, nobody, rebinder, staleness, together
from .compile_entry import Entry
from .compile_pool import ARRAY, TENSOR, Gradients, Pool
from .runtime.executable import address
from .tracer.guards import PLAIN
from .tracer.lying import order_of
from .tracer.mode import mode
from .tracer.signature import parts
from .tracer.tape import Part
from .tracer.tensor import Tensor, wrap
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


class _Writer:
    """Collects the lines of the function and the names it refers to."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.lines: list[str] = []

    def name(self, prefix: str, value: Any) -> str:
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def guard(self, line: str) -> None:
        self.add(line, 3)

    def add(self, line: str, depth: int = 1) -> None:
        self.lines.append("    " * depth + line)


def write_replay(entry: Entry, count: int) -> Callable[[Any], Any]:
    """The replay function of an entry whose calls have `count` tensors; the last that looks at
    those of the trace.
    """
    w = _Writer()
    executable = entry.executable
    positions = {i.key: k for k, i in enumerate(entry.inputs) if i.kind == "argument"}
    w.names |= {
        "MISS": MISS, "epoch": epoch, "mode": mode,
        "lock": executable.lock, "walk": executable.walk, "fail": executable.fail,
        "new": object.__new__, "Tensor": Tensor,
        "table": executable.table,
        "WHOLE": executable.whole, "BEFORE": executable.before, "AFTER": executable.after,
        "NOT_THIS": _NOT_THIS, "seen": entry.seen, "stale": staleness(entry),
    }  # fmt: skip
    w.add("lock.acquire()")  # the guards already write to the table
    w.add("try:")
    w.add("try:", 2)
    _guards(w, entry, count, positions)
    w.add("except NOT_THIS: return MISS", 2)
    _hyper(w, entry)
    after = _graded(w, entry)
    outputs = _outputs(w, entry)
    undo = _random(w, entry)
    w.add(f"if walk({'BEFORE' if entry.values else 'WHOLE'}): {undo}fail()", 2)
    for k, expected, _ in entry.values:
        cell = w.name("value", _private(entry, k))
        w.add(f"if {cell}.item() != {w.name('expected', expected)}: {undo}return MISS", 2)
    if entry.values:
        w.add("walk(AFTER)", 2)
    if entry.derivative is not None:  # while the lock is held: the table is everybody's
        first = len(entry.graph.outputs) - len(entry.derivative.saved)
        slots = entry.program.outputs[first:]
        w.add("pointers = [" + ", ".join(f"table[{slot}]" for slot in slots) + "]", 2)
    w.add("finally: lock.release()")
    for i in entry.written:
        w.add(f"{_tensor(w, i)}._version[0] += 1")
    for line in after:
        w.add(line)
    for i, flag in entry.flags:
        w.add(f"{_tensor(w, i)}._requires_grad = {flag}")
    _answer(w, entry, outputs)
    source = "def replay(args):\n" + "\n".join(w.lines) + "\n"
    filename = f"<tracegrad replay {id(entry):x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    exec(compile(source, filename, "exec"), w.names)
    replay = w.names["replay"]
    finalize(replay, linecache.cache.pop, filename, None)
    replay.source = source
    entry.forget()
    return replay


def _guards(w: _Writer, entry: Entry, count: int, positions: dict[int, int]) -> None:
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
        w.guard(f"{_found(i)} = {_tensor(w, i)}._grad")
    for i, there in entry.presence:
        w.guard(f"if {_tensor(w, i)}._grad is {'None' if there else 'not None'}: return MISS")
    for i in entry.inputs:
        if i.kind == "grad":
            g = _tensor(w, i)
            cell = w.name("last", [nobody])
            bind = w.name("bind", rebinder(entry, entry.inputs.index(i), w.names[cell]))
            w.guard(f"if {g} is None: return MISS")
            w.guard(f"if {g}._array is not {cell}[0]() and not {bind}({g}): return MISS")


def _literal(w: _Writer, key: Any) -> str:
    return repr(key) if isinstance(key, (str, int)) else w.name("key", key)


def _tensor(w: _Writer, i: Input) -> str:
    """The tensor that is this input at the call."""
    if i.kind == "grad":
        return _found(i.key)
    return f"a{i.key}" if i.kind == "argument" else w.name("tensor", i.tensor)


def _found(owner: Input) -> str:
    """The `.grad` that a call finds."""
    return f"found{id(owner)}"


def _gradients_read(entry: Entry) -> list[Input]:
    """The inputs whose `.grad` from before the call is used; one's before its own `.grad`'s."""
    kept = entry.derivative.kept_inputs if entry.derivative else []
    used = (*entry.inputs, *kept, *(i for i, _ in (*entry.presence, *entry.graded, *entry.flags)))
    owners = gradients_found(entry.answer) | {i.key for i in used if i.kind == "grad"}
    return sorted(owners, key=_depth)


def _depth(i: Input) -> int:
    return 1 + _depth(i.key) if i.kind == "grad" else 0


def _hyper(w: _Writer, entry: Entry) -> None:
    for slot, i in zip(entry.program.inputs, entry.inputs, strict=True):
        if i.kind == "hyper":
            number = np.zeros((), np.float64)
            entry.executable.table[slot] = address(number)
            group, key = i.key
            cell = w.name("number", number.reshape(1).data)
            w.add(f"{cell}[0] = {w.name('group', group)}[{key!r}]", 2)
        elif i.kind == "tensor":
            entry.executable.table[slot] = address(i.tensor._array)


def _random(w: _Writer, entry: Entry) -> str:
    """Take the random numbers that the program uses; returns what gives them back."""
    undoing = ""
    slots = dict(zip(entry.inputs, entry.program.inputs, strict=True))
    for stream in entry.streams:
        state = np.zeros(2, np.int64)
        if stream.source in slots:
            entry.executable.table[slots[stream.source]] = address(state)
        draw, undo = drawing(stream, state)
        w.add(f"{w.name('draw', draw)}()", 2)
        undoing += f"{w.name('undo', undo)}(); "
        if entry.derivative is not None and stream.source in entry.derivative.kept_inputs:
            w.add(f"{_drawn(stream.source)} = {w.name('state', state)}.copy()", 2)
    return undoing


def _drawn(source: Input) -> str:
    """What backward keeps of a generator: its state at this call."""
    return f"drawn{id(source)}"


def _graded(w: _Writer, entry: Entry) -> list[str]:
    """Gradients that the function leaves in `.grad`: the tensor of the last call where nobody else
    holds it.
    """
    program = entry.program
    owners, cleared, pools, forced = [], [], [], []
    for i, k in entry.graded:
        where = _tensor(w, i)
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
        w.add(f"{g} = {owner}", 2)
    known = (
        f"{g} is not held[{k}] or getrefcount({g}) != {TENSOR} "
        f"or getrefcount({g}._array) != {ARRAY}"
        for k, g in enumerate(current)
    )
    w.add(f"fresh = {'True' if any(forced) else ' or '.join(known)}", 2)
    w.add(f"if fresh: fresh = renew(({', '.join(current)},))", 2)
    return [*cleared, f"if fresh: {', '.join(owners)}, = fresh"]


def _private(entry: Entry, k: int) -> np.ndarray:
    """An output that only the entry itself looks at: a value guard."""
    node = entry.graph.outputs[k]
    cell = np.zeros(node.shape, node.dtype.storage)
    entry.executable.table[entry.program.outputs[k]] = address(cell)
    return cell


def _outputs(w: _Writer, entry: Entry) -> dict[int, str]:
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
        w.add(f"o{k} = {w.name('pool', pool.take)}()", 2)
    return taken


def _answer(w: _Writer, entry: Entry, outputs: dict[int, str]) -> None:
    d = entry.derivative
    made: dict[Any, str] = {}
    for k in sorted(returned(entry.answer)):
        dtype = w.name("dtype", entry.graph.outputs[k].dtype)
        w.add(
            f"y{k} = new(Tensor); y{k}._array = {outputs[k]}; "
            f"y{k}._dtype = {dtype}; y{k}._version = [0]"
        )
        w.add(
            f"y{k}._node = y{k}._grad = y{k}._base = y{k}._view = y{k}._hooks = "
            f"y{k}._accumulator = None; y{k}._ptr = 0"
        )
        if k not in entry.spent and (d is None or k not in d.outputs):
            w.add(f"y{k}._grad_fn = None; y{k}._requires_grad = False")
        made[k] = f"y{k}"
        if k in entry.spent:
            w.add(f"y{k}._grad_fn = {w.name('spent', entry.spent[k])}; y{k}._requires_grad = True")
    if d is not None:
        sources = ", ".join(_tensor(w, i) for i in d.wanted)
        kept = ", ".join(_kept(w, i) for i in d.kept_inputs)
        first = len(entry.graph.outputs) - len(d.saved)
        saved = ", ".join(outputs[first + j] for j in range(len(d.saved)))
        w.names |= {"CompiledCall": CompiledCall, "Part": Part, "derivative": d}
        w.add(f"call = CompiledCall(derivative, [{sources}], [{saved}], pointers, [{kept}], args)")
        for index, k in enumerate(d.outputs):
            record = "call" if len(d.outputs) == 1 else f"Part(call, {index})"
            if k in entry.rooted:
                where = _tensor(w, entry.rooted[k])
                w.add(f"{w.name('take_over', take_over)}({where}, {record})")
            else:
                w.add(f"y{k}._grad_fn = {record}; y{k}._requires_grad = True")
    for k in entry.spent.keys() & entry.rooted.keys():
        where = _tensor(w, entry.rooted[k])
        w.add(f"{w.name('take_over', take_over)}({where}, {w.name('spent', entry.spent[k])})")
    w.add(f"return {_expression(w, entry.answer, made)}")


def _kept(w: _Writer, i: Input) -> str:
    if i.kind == "hyper":
        group, key = i.key
        number = f"float({w.name('group', group)}[{key!r}])"
        array = f"{w.name('asarray', np.asarray)}({number})"
        return f"{w.name('wrap', wrap)}({array}, {w.name('dtype', i.node.dtype)})"
    if i.kind == "random":
        return f"{w.name('wrap', wrap)}({_drawn(i)}, {w.name('dtype', i.node.dtype)})"
    return _tensor(w, i)


def _expression(w: _Writer, answer: Any, made: dict[Any, str]) -> str:
    """The returned structure as text."""
    if isinstance(answer, Returned):
        return made[answer.index]
    if isinstance(answer, Gradient):
        return _found(answer.owner) if answer.found else f"{_tensor(w, answer.owner)}._grad"
    if isinstance(answer, Aliased):
        if answer not in made:
            root = _expression(w, answer.root, made)
            made[answer] = name = f"alias{len(made)}"
            w.add(f"{name} = {w.name('look', answer)}({root})")
        return made[answer]
    if isinstance(answer, Given):
        return _tensor(w, answer.source)
    if type(answer) is tuple:
        return "(" + "".join(_expression(w, a, made) + ", " for a in answer) + ")"
    if (found := parts(answer)) is None:
        return w.name("constant", answer)
    inside = ", ".join(_expression(w, a, made) for a in found.inside)
    made_by = "" if type(answer) is list else w.name("filled", found.filled)
    return f"{made_by}([{inside}])" if made_by else f"[{inside}]"
