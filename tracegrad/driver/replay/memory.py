"""Memory of a call: numbers and random numbers that the program reads, buffers that it writes, each
with its address in the pointer table; and the snapshot of the call.
"""

from __future__ import annotations

import warnings
from sys import getrefcount

import numpy as np

from ...ir.dtype import float32, float64
from ...runtime.device import Executable
from ...tracer.capture.inputs import Input
from ...tracer.tensor.gradient_layout import array_axis_order
from ...tracer.tensor.tensor import wrap
from ..buffers import ARRAY, TENSOR, Block, Gradients, Pool
from ..outputs import outputs_of
from ..places import address, is_apart
from .bindings import random_reservation
from .source import Source, generator_state, tensor_at

LARGE = 1 << 20  # bytes


def write_numbers(s: Source, executable: Executable, inputs: list[Input]) -> None:
    """Write the numbers of this call to where a program reads them, and those of tensors of the CPU
    to the GPU.
    """
    table, slots = executable.table, executable.program.inputs
    own = ("scalar", "hyper") if executable is s.entry.executable else ("scalar", "hyper", "random")
    for slot, i in zip(slots, inputs, strict=True):
        if copy := s.copied(i):
            _tell_if_large(i)
            s.add(f"{copy} = {s.name('from_host', s.entry.low.place.from_host)}"
                  f"({s.tensor(i)}._array); {s.name('table', table)}[{slot}] = {copy}.address")
        elif i.kind in own:
            _write_number(s, i, executable.number(slot))
        elif i.kind == "tensor":
            table[slot] = address(i.tensor._array)
        elif i.kind == "export":
            j, number = i.key
            table[slot] = address(s.entry.stages[j].segment.exported(number))
        elif i.kind == "computed":
            s.add(f"{s.name('table', table)}[{slot}] = address({computed(s, i)})")


def _tell_if_large(i: Input) -> None:
    """Warn of a captured tensor of the CPU, as a data set, that each call copies to a GPU."""
    if i.kind == "tensor" and i.tensor._array.nbytes > LARGE:
        warnings.warn(
            f"a compiled function on a GPU copies a tensor of shape {[*i.tensor.shape]} from the "
            "CPU at each call: select what it needs outside of it, or move the tensor once",
            stacklevel=2,
        )


def to_host(s: Source) -> str:
    """The name of the function that copies an array of the program to the CPU, and waits for it."""
    return s.name("to_host", s.entry.low.place.to_host)


def computed(s: Source, i: Input) -> str:
    """The array that NumPy has computed for an input."""
    call, k = i.key
    return f"{s.computed[id(call)]}[{k}]"


def _write_number(s: Source, i: Input, cell: np.ndarray) -> None:
    if i.kind == "hyper":
        group, key = i.key
        s.add(f"{s.name('number', cell.reshape(1).data)}[0] = {s.name('group', group)}[{key!r}]")
    elif i.kind == "random":
        s.add(f"{s.name('number', cell)}[...] = {s.states[_stream(s, i)]}")
    elif i.node.dtype in (float32, float64):
        value = s.scalars[id(i.key)]
        if type(i.key._value) is int:  # may be too large for a float
            value = f"float({value})"
        s.add(f"{s.name('number', cell.reshape(1).data)}[0] = {value}")
    else:
        s.add(f"{s.name('number', cell)}[...] = {encoded(s, i, s.scalars[id(i.key)])}")


def _stream(s: Source, i: Input) -> int:
    """The number of the generator whose state an input is."""
    return next(k for k, stream in enumerate(s.entry.streams) if stream.source is i)


def encoded(s: Source, i: Input, value: str) -> str:
    """A number as an array of the dtype of an input."""
    return f"{s.name('encode', i.node.dtype.encode)}({value})"


def write_buffers(s: Source) -> None:
    """Buffers for gradients, results, and values that are saved for backward."""
    _gradients(s)
    entry = s.entry
    results = outputs_of(entry.result)
    for k in sorted(results):
        pool = _pool(s, k, results[k].axes)
        entry.pools.append(pool)
        s.outputs[k] = f"o{k}"
        s.add(f"o{k} = {s.name('pool', pool.take)}()")
    if entry.derivative is not None and (saved := entry.derivative.saved):
        slots = entry.program.outputs[len(entry.outputs) - len(saved) :]
        block = Block(entry.low.place, entry.executable.table, slots, saved)
        entry.pools.append(block)
        s.add(f"saved = [{s.name('pool', block.take)}()]")


def _pool(s: Source, k: int, axes: tuple[int, ...] | None) -> Pool:
    """Buffers for an output of the program."""
    entry, node = s.entry, s.entry.outputs[k]
    slot = entry.program.outputs[k]
    return Pool(entry.low.place, entry.executable.table, slot, node.shape, node.dtype, axes)


def _gradients(s: Source) -> None:
    """Gradients that the function leaves in `.grad`: the tensor of the last call, if nobody else
    holds it.
    """
    entry = s.entry
    program = entry.program
    owners, pools, forced = [], [], []
    for i, k in entry.graded:
        where = f"{s.tensor(i)}._grad"
        if k is None:
            s.commits.append(f"{where} = None")
            continue
        if is_apart(i.tensor._array, entry.low.place):
            entry.pools.append(pool := _pool(s, k, array_axis_order(i.tensor._array)))
            s.add(f"away_grad{k} = {s.name('pool', pool.take)}()")
            s.commits.append(f"{where} = {s.name('wrap', wrap)}({to_host(s)}(away_grad{k}), "
                             f"{s.name('dtype', pool.dtype)})")
            continue
        owners.append(where)
        pools.append(_pool(s, k, array_axis_order(i.tensor._array)))
        early = bool(entry.guarded or entry.executable.early)
        forced.append(early or program.early(program.outputs[k]))
    if not owners:
        return
    gradients = Gradients(pools, forced)
    entry.pools += [*pools, gradients]
    s.names |= {"held": gradients.held, "renew": gradients.renew, "getrefcount": getrefcount}
    current = [f"g{k}" for k in range(len(owners))]
    for g, owner in zip(current, owners, strict=True):
        s.add(f"{g} = {owner}")
    in_use = (
        f"{g} is not held[{k}] or getrefcount({g}) != {TENSOR} "
        f"or getrefcount({g}._array) != {ARRAY}"
        for k, g in enumerate(current)
    )
    s.add(f"fresh = {'True' if any(forced) else ' or '.join(in_use)}")
    s.add(f"if fresh: fresh = renew(({', '.join(current)},))")
    s.commits.append(f"if fresh: {', '.join(owners)}, = fresh")


def write_random(s: Source) -> None:
    """Reserve the random numbers that the program uses; `undo` gives them back."""
    entry = s.entry
    slots = dict(zip(entry.inputs, entry.program.inputs, strict=True))
    for stream in entry.streams:
        slot = slots.get(stream.source)
        state = np.zeros(2, np.int64) if slot is None else entry.executable.number(slot)
        s.states.append(s.name("state", state))
        draw, undo = random_reservation(stream, state)
        s.add(f"{s.name('draw', draw)}()")
        s.undo += f"{s.name('undo', undo)}(); "
        if entry.derivative is not None and stream.source in entry.derivative.kept_inputs:
            s.add(f"{generator_state(stream.source)} = {s.states[-1]}.copy()")


def write_snapshot(s: Source) -> None:
    """The Snapshot (snapshot.py), taken before the call changes anything."""
    if s.entry.derivative is None:
        return
    plan = s.entry.derivative.rerun.snapshot_plan
    gradients = (f"{s.tensor(i)}._grad" for i in plan.grad_owners)
    fields = (
        [s.scalars[id(x)] for _, x in plan.numbers],
        [f"{s.name('group', i.key[0])}[{i.key[1]!r}]" for i in plan.settings],
        [tensor_at(i) for i in plan.tensors],
        [f"{s.tensor(i)}._array.copy()" for i in plan.kept],
        [f"None if {g} is None else {g}._array.copy()" for g in gradients],
        [f"{state}.copy()" for state in s.states[: len(plan.streams)]],  # not those of hooks
        [f"({t}, {t}._array, {t}._version[:])" for t in map(s.tensor, plan.watched)],
    )
    text = ", ".join(f"({''.join(f'{x}, ' for x in field)})" for field in fields)
    s.add(f"snapshot = ({text})")
