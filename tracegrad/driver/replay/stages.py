"""Stages: what a replay does before its program runs, and what Python looks at on the way.

Each segment is walked, the values that Python saw are compared with those that the trace relied on,
and numbers are read. If a call goes another way, the replay returns MISS: the entry of that way is
tried, or traced, and begins with what this one has computed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import Any
from weakref import ref

from ...ir.dtype import DType, bfloat16
from ...ir.interpret import value_of
from ...runtime.device import Executable
from ...tracer.capture.locations import alike
from ...tracer.capture.scalar import Scalar
from ...tracer.capture.signature import leaves
from ...tracer.tensor.device_memory import place_of
from ..entry import Entry, nobody
from ..lowering import Lowered
from ..places import address
from ..snapshot import restoring_elsewhere
from ..stages import Looked, Stage
from .memory import write_numbers
from .source import Source

_CHANGING = ("argument", "location", "grad")  # inputs that may be another tensor at each call


class _Misses(threading.local):
    """The entries of which calls of this thread went another way, each with the number of the
    question and the answer.
    """

    def __init__(self) -> None:
        self.all: list[tuple[Entry, int, Any]] = []


misses = _Misses()


def forget_misses() -> None:
    """The call is done: nothing that it has computed is used by another one."""
    for entry, _, _ in misses.all:
        for stage in entry.stages:
            stage.segment.fresh[0] = None
    misses.all.clear()


def answers(constants: frozenset) -> tuple:
    """What programs have computed as answers to the first questions of this call, where these
    numbers are questions.
    """
    ways = ((*e.way[:number], now) for e, number, now in misses.all if e.constants == constants)
    return max(ways, key=len, default=())


def goes_another_way(entry: Entry) -> bool:
    """Whether the call cannot go as the entry does, by what another one has computed."""
    return any(
        e.constants == entry.constants
        and len(entry.way) > number and e.way[:number] == entry.way[:number]
        and entry.way[number] != now and not alike(entry.way[number], now)
        for e, number, now in misses.all
    )


def lines_of_misses() -> list[str]:
    """The lines where this call went another way than a program."""
    return [entry.lines[number] for entry, number, _ in misses.all]


def bind_segments(s: Source) -> None:
    """Bind the tensors of the call to the segments that read them; MISS if one does not fit."""
    for stage in s.entry.stages:
        executable, last = stage.segment.executable, stage.segment.last
        slots = executable.program.inputs
        for k, (slot, i) in enumerate(zip(slots, stage.inputs, strict=True)):
            if i.kind in _CHANGING:
                cell = last.setdefault(k, [nobody])
                bind = _binder(executable, slot, stage.avals[k], cell)
                t = s.tensor(i)
                if i.kind == "grad":
                    s.add(f"if {t} is None: return MISS")
                s.add(f"if {t}._array is not {s.name('last', cell)}[0]() and not "
                      f"{s.name('bind', bind)}({t}): return MISS")


def _binder(executable: Executable, slot: int, aval: tuple, last: list) -> Callable[[Any], bool]:
    shape, strides, dtype, _, where = aval

    def bind(t: Any) -> bool:
        """Write the pointer of a tensor to the table; False if it does not fit."""
        array = t._array
        if array is None or (array.shape, array.strides) != (shape, strides):
            return False
        pointer = t._ptr or address(array)
        if t._dtype is not dtype or place_of(array) != where:
            return False
        if restoring_elsewhere() or t._array is not array:
            return False
        executable.table[slot] = t._ptr = pointer
        last[0] = ref(array)
        return True

    return bind


def write_stages(s: Source) -> None:
    """Run the segments."""
    s.names |= {"get_ident": get_ident, "address": address}
    for j, stage in enumerate(s.entry.stages):
        segment = stage.segment
        executable = segment.executable
        write_numbers(s, executable, stage.inputs)
        drawing = any(i.kind == "random" for i in stage.inputs)
        fresh = s.name("fresh", segment.fresh)
        condition = "" if drawing else f"if not retry or {fresh}[0] != get_ident():"
        with s.block(condition or "if True:"):
            s.add(f"{fresh}[0] = None")
            for span in (*executable.early, executable.whole):
                write_walk(s, executable, str(span), j, segment.low, stage.looked)
        write_looked(s, stage.looked, segment.arrays, j)
        if stage.computed is not None:
            _computed(s, stage, j)


def write_walk(
    s: Source, executable: Executable, span: str, j: int, low: Lowered, looked: Looked
) -> None:
    """A walk of stage j before the first visible write. What a kernel finds wrong counts only if
    the call goes this way at all.
    """
    s.add(f"try: wrong = {_method(s, executable, 'walk')}({span})")
    s.add(f"except BaseException: {_method(s, executable, 'failed')}(); {s.undo}raise")
    if looked.questions:
        fail = s.name("fail", partial(_fail, low, looked, _misser(s.entry, j)))
        s.add(f"if wrong: {s.undo}return {fail}()")
    else:
        s.add(f"if wrong: {s.undo}{_method(s, executable, 'fail')}()")


def _method(s: Source, executable: Executable, name: str) -> str:
    """The name of a method; those of the last program have names of their own."""
    return name if executable is s.entry.executable else s.name(name, getattr(executable, name))


def _fail(low: Lowered, looked: Looked, missed: Callable[[int, Any], Any]) -> Any:
    """A kernel found something wrong, maybe where the call would not have come: ask the questions
    first.
    """
    executable = low.executable
    try:
        executable.fail()
    except Exception as error:
        graph = low.graph()
        env = dict(zip(graph.inputs, executable.inputs_on_host(), strict=True))

        def element(k: int, index: int = 0) -> Any:
            y = graph.outputs[k]
            return y.dtype.decode(value_of([y], env)[y]).item(index)

        with suppress(Exception):
            numbers = {id(scalar): element(k, index) for scalar, k, index in looked.reads}
            for number, of, expected in looked.questions:
                now = evaluated(of, numbers) if type(of) is Scalar else element(of)
                if type(expected) is bool:
                    now = bool(now)
                if not alike(expected, now):
                    return missed(number, now)
        raise error


def evaluated(scalar: Scalar, numbers: dict[int, Any]) -> Any:
    """The value of an expression, for those of the numbers that the program gives."""
    if id(scalar) in numbers:
        return numbers[id(scalar)]
    assert scalar._function is not None
    operands = (evaluated(x, numbers) if type(x) is Scalar else x for x in scalar._operands)
    return scalar._function(*operands)


def write_looked(s: Source, looked: Looked, arrays: Any, j: int, sure: bool = False) -> None:
    """Read the numbers that Python saw, and compare the answers to its questions. `sure`: nothing
    can go wrong, and the call has written already.
    """
    entry = s.entry
    cells: dict[int, str] = {}

    def cell(k: int) -> str:
        if k not in cells:
            cells[k] = s.name("value", arrays[k])
        return cells[k]

    for scalar, k, index in looked.reads:
        s.scalars[id(scalar)] = name = f"v{len(s.scalars)}"
        s.add(f"{name} = {_element(s, cell(k), entry_dtype(entry, j, k), index)}")
    later = [x for x in scalars_of(entry) if x._stage == j]
    if not looked.questions and not later:
        return
    if sure:
        for scalar in later:
            s.scalar(scalar)
        return
    missed = s.name("missed", _misser(entry, j))
    with s.block("try:"):
        for number, of, expected in looked.questions:
            if type(of) is Scalar:
                now = s.scalar(of)
            else:
                now = _element(s, cell(of), entry_dtype(entry, j, of), 0)
            if type(expected) is bool:
                now = f"bool({now})"
            s.add(f"if {_differs(s, now, expected)}: {s.undo}return {missed}({number}, {now})")
        for scalar in later:
            s.scalar(scalar)
        s.add("pass")
    s.add(f"except NOT_THIS: {s.undo}return MISS")


def _differs(s: Source, now: str, expected: Any) -> str:
    if type(expected) is bool:
        return f"{now} is not {expected}"
    if type(expected) is int:
        return f"{now} != {expected}"
    return f"not alike({s.name('then', expected)}, {now})"


def _element(s: Source, cell: str, dtype: DType, index: int) -> str:
    if dtype is bfloat16:
        cell = f"{s.name('decode', dtype.decode)}({cell})"
    return f"{cell}.item({index})"


def entry_dtype(entry: Entry, j: int, k: int) -> DType:
    """The dtype of output k of stage j."""
    if j == len(entry.stages):
        return entry.outputs[k].dtype
    program = entry.stages[j].segment.executable.program
    return program.buffers[program.outputs[k]].dtype


def scalars_of(entry: Entry) -> Iterator[Scalar]:
    """The numbers that the program, its segments, its result or its backward read."""
    kept = entry.derivative.kept_inputs if entry.derivative is not None else []
    inputs = (*(i for stage in entry.stages for i in stage.inputs), *entry.inputs, *kept)
    yield from (i.key for i in inputs if i.kind == "scalar")
    yield from (x for x in leaves(entry.result) if type(x) is Scalar)
    yield from entry.risky


def _misser(entry: Entry, j: int) -> Callable[[int, Any], Any]:
    segments = [stage.segment for stage in entry.stages[: j + 1]]
    me = ref(entry)

    def missed(number: int, now: Any) -> Any:
        """The call goes another way: note where."""
        for segment in segments:
            segment.fresh[0] = get_ident()
        if (entry := me()) is not None:
            misses.all.append((entry, number, now))
        return MISS

    return missed


MISS = object()  # this entry does not fit


def _computed(s: Source, stage: Stage, j: int) -> None:
    """What NumPy computes after a segment."""
    assert stage.computed is not None
    call, outputs, number = stage.computed
    arrays = ", ".join(s.name("array", stage.segment.arrays[k]) for k in outputs)
    s.computed[id(call)] = name = f"computed{j}"
    compute, place = s.name("compute", call.arrays), s.name("place", s.entry.low.place.from_host)
    s.add(f"try: {name} = [{place}(x) for x in {compute}({arrays})]")
    s.add(f"except BaseException: {s.undo}raise")
    shapes = f"tuple([x.shape for x in {name}])"
    missed = s.name("missed", _misser(s.entry, j))
    s.add(f"if {shapes} != {s.name('shapes', tuple(call.shapes))}: {s.undo}"
          f"return {missed}({number}, {shapes})")
