"""A Program as bytes, and back.

The bytes are data: a JSON text with the kernels and the words for people, and numbers. Whatever is
wrong with them raises Unreadable. The user's lines are not among them: an operation names its line
by number, and whoever reads the bytes says which lines those are now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import TypeVar

import numpy as np

from ..ir.dtype import ALL
from ..ir.node import Site
from .program import (
    PARAMETERS,
    Buffer,
    Grid,
    Kernel,
    Launch,
    Loop,
    MachineCodeLost,
    Moving,
    Origin,
    Program,
    Rows,
    Slot,
    Test,
    Traffic,
    Turning,
    as_word,
    from_word,
)

_KINDS = ("input", "output", "arena", "status", "loop")  # of buffers
_BACKENDS = tuple(PARAMETERS)
_SLOT, _INTEGER, _FLOAT = range(3)  # arguments of launches
_MOST_AXES = 64  # NumPy has no more

T = TypeVar("T")


class Unreadable(ValueError):
    """These are not the bytes of a program, or of another version's."""


def _lost() -> str:
    raise MachineCodeLost


def encode(program: Program, lines: Sequence[Site | None]) -> tuple[bytes, bytes]:
    """Two parts of an entry, words and numbers. OverflowError if a number has no 64 bits."""
    sites = {site: n for n, site in reversed(list(enumerate(lines)))}
    kernels = {k: n for n, k in enumerate(program.kernels)}
    every = [one.origin for one in program.launches] + [one.origin for one in program.loops]
    origins = {o.operation: None for origin in every for o in origin}
    operations = {operation: n for n, operation in enumerate(origins)}
    words = {
        "kernels": [[k.template, k.source, k.llvm is not None, k.fast, k.backend] for k in kernels],
        "operations": list(operations),
        "notes": program.notes,
    }
    numbers = [program.commit, program.arena_bytes, program.checked, program.writing]
    numbers.append(_BACKENDS.index(program.backend))

    def group(rows: Sequence[T], row: Callable[[T], Iterator[int]]) -> None:
        numbers.append(len(rows))
        for r in rows:
            numbers.extend(row(r))

    def origin(o: Origin) -> Iterator[int]:
        yield operations[o.operation]
        yield sites.get(o.site, -1)

    def launch(one: Launch) -> Iterator[int]:
        yield from (kernels[one.kernel], one.extent, one.grain, one.work, *one.traffic)
        yield from (len(one.grid or ()), *(one.grid or ()))
        yield len(one.origin)
        for o in one.origin:
            yield from origin(o)
        yield len(one.args)
        for a in one.args:
            yield from _argument(a)

    def loop(one: Loop) -> Iterator[int]:
        yield from (one.first, one.last, one.length)
        tests = () if one.test is None else (one.test,)
        apart = () if one.rows is None else (one.rows,)
        for rows in (one.movings, one.turnings, tests, apart):
            yield len(rows)
            for row in rows:
                yield from row
        yield len(one.origin)
        for o in one.origin:
            yield from origin(o)

    group(program.buffers, _buffer)
    group(program.inputs, lambda slot: iter((slot,)))
    group(program.outputs, lambda slot: iter((slot,)))
    group(program.launches, launch)
    group(program.loops, loop)
    return json.dumps(words).encode(), np.array(numbers, "<i8").tobytes()


def _buffer(b: Buffer) -> Iterator[int]:
    yield from (_KINDS.index(b.kind), ALL.index(b.dtype), b.offset, len(b.shape))
    yield from b.shape
    yield int(b.strides is not None)
    yield from b.strides or ()


def _argument(a: Slot | int | float) -> tuple[int, int]:
    if isinstance(a, Slot):
        return _SLOT, a.index
    return (_FLOAT if isinstance(a, float) else _INTEGER), as_word(a)


class _Reader:
    """Numbers, one after the other, that are looked at before they are believed."""

    def __init__(self, data: bytes):
        if len(data) % 8:
            raise Unreadable
        self.numbers = np.frombuffer(data, "<i8").tolist()
        self.at = 0

    def take(self, count: int) -> list[int]:
        begin, self.at = self.at, self.at + count
        if count < 0 or self.at > len(self.numbers):
            raise Unreadable
        return self.numbers[begin : self.at]

    def number(self, stop: int | None = None) -> int:
        """A number that is not negative, and less than `stop`."""
        (n,) = self.take(1)
        if n < 0 or (stop is not None and n >= stop):
            raise Unreadable
        return n

    def group(self, row: Callable[[], T]) -> tuple[T, ...]:
        count = self.number(len(self.numbers))
        return tuple([row() for _ in range(count)])

    def pairs(self) -> Iterator[tuple[int, int]]:
        flat = iter(self.take(2 * self.number(len(self.numbers))))
        return zip(flat, flat, strict=True)

    def buffer(self) -> Buffer:
        kind, dtype, offset = self.number(len(_KINDS)), self.number(len(ALL)), self.number()
        rank = self.number(_MOST_AXES + 1)
        shape = tuple(self.take(rank))
        if min(shape, default=0) < 0:
            raise Unreadable
        strides = tuple(self.take(rank)) if self.number(2) else None
        return Buffer(_KINDS[kind], shape, ALL[dtype], offset, strides)


def decode(parts: Sequence[bytes], lines: Sequence[Site | None]) -> Program:
    """The Program of two parts of an entry, for a user whose lines by number are these."""
    try:
        text, numbers = parts
        words = json.loads(text)
        kernels = [
            Kernel(str(template), str(source), _lost if llvm else None, bool(fast), str(backend))
            for template, source, llvm, fast, backend in words["kernels"]
        ]
        operations = [str(operation) for operation in words["operations"]]
        notes = tuple(map(str, words["notes"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unreadable from error
    r = _Reader(numbers)
    commit, arena_bytes, checked, writing = (r.number() for _ in range(4))
    backend = _BACKENDS[r.number(len(_BACKENDS))]
    buffers = r.group(r.buffer)
    slots = [Slot(k) for k in range(len(buffers))]
    inputs, outputs = (r.group(lambda: r.number(len(slots))) for _ in range(2))

    @cache  # most occur more than once
    def origin(operation: int, line: int) -> Origin:
        if not (0 <= operation < len(operations) and -1 <= line < len(lines)):
            raise Unreadable
        return Origin(operations[operation], None if line < 0 else lines[line])

    @cache
    def argument(kind: int, value: int) -> Slot | int | float:
        if kind == _SLOT and 0 <= value < len(slots):
            return slots[value]
        if kind not in (_INTEGER, _FLOAT):
            raise Unreadable
        return from_word(value) if kind == _FLOAT else value

    def launch() -> Launch:
        kernel, extent, grain, work = r.number(len(kernels)), r.number(), r.number(), r.number()
        traffic = Traffic(*(r.number() for _ in Traffic._fields))
        grids = r.group(r.number)
        if len(grids) != (len(Grid._fields) if kernels[kernel].backend == "cuda" else 0):
            raise Unreadable
        origins = tuple([origin(*pair) for pair in r.pairs()])
        args = tuple([argument(*pair) for pair in r.pairs()])
        grid = Grid(*grids) if grids else None
        return Launch(kernels[kernel], args, extent, grain, origins, work, grid, traffic)

    def loop() -> Loop:
        first, last, length = r.number(len(launches) + 1), r.number(len(launches) + 1), r.number()
        slot = partial(r.number, len(slots))
        movings = r.group(lambda: Moving(slot(), slot(), *r.take(2)))
        turnings = r.group(lambda: Turning(slot(), slot(), slot()))
        tests = r.group(lambda: Test(r.number(last + 1), slot(), bool(r.number(2))))
        apart = r.group(lambda: Rows(*(r.number() for _ in Rows._fields)))
        if max(len(tests), len(apart)) > 1 or any(test.at < first for test in tests):
            raise Unreadable
        origins = tuple([origin(*pair) for pair in r.pairs()])
        test, rows = next(iter(tests), None), next(iter(apart), None)
        return Loop(first, last, length, movings, turnings, origins, test, rows)

    launches = r.group(launch)
    loops = r.group(loop)
    if r.at != len(r.numbers) or max(commit, checked, writing) > len(launches):
        raise Unreadable
    if not all(_inside(b, arena_bytes) for b in buffers) or not _sound(launches, loops, buffers):
        raise Unreadable
    if not all(_divides(one, launches, loops, arena_bytes) for one in loops):
        raise Unreadable
    return Program(
        buffers, inputs, outputs, launches, commit, arena_bytes, checked, writing, loops, backend,
        notes,
    )


def _nested(loops: Sequence[Loop]) -> bool:
    """Whether loops stand one after the other, or within each other, outer ones first."""
    around: list[Loop] = []
    for one in loops:
        while around and around[-1].last <= one.first:
            around.pop()
        if one.first > one.last or (around and one.last > around[-1].last):
            return False
        around.append(one)
    return all(a.first <= b.first for a, b in pairwise(loops))


def _sound(launches: Sequence[Launch], loops: Sequence[Loop], buffers: Sequence[Buffer]) -> bool:
    """Whether loops fit each other and the buffers, and a slot of theirs is set before it is read.
    """
    if not _nested(loops) or not all(_bounded(one, buffers) for one in loops):
        return False
    ready = {slot for slot, b in enumerate(buffers) if b.kind != "loop"}
    at = 0
    for one in (*loops, Loop(len(launches), len(launches), 0)):
        ahead = launches[at : one.first]
        if not {a.index for launch in ahead for a in launch.args if isinstance(a, Slot)} <= ready:
            return False
        for m in one.movings:
            if m.base not in ready:
                return False
            ready.add(m.slot)
        at = one.first
    return True


def _divides(
    one: Loop, launches: Sequence[Launch], loops: Sequence[Loop], arena_bytes: int
) -> bool:
    """Whether the rows of a loop, if it has some, are parts of what its launches do."""
    if one.rows is None:
        return True
    total, unit, begin, end = one.rows
    plain = one.test is None and not any(
        one.first <= other.first < one.last for other in loops if other is not one
    )
    parts = total > 0 < unit and total % unit == 0 and all(
        launch.extent * unit % total == 0 for launch in launches[one.first : one.last]
    )
    return plain and parts and begin <= end <= arena_bytes


def _bounded(one: Loop, buffers: Sequence[Buffer]) -> bool:
    """Whether a loop sets its own slots only, and they stay within what they begin in."""
    own = {m.slot for m in one.movings}
    turned = {slot for turning in one.turnings for slot in turning}
    tested = set() if one.test is None else {one.test.slot}
    if any(buffers[slot].kind != "loop" for slot in own) or not turned | tested <= own:
        return False
    for m in one.movings:
        base, far = buffers[m.base], m.offset + max(one.length - 1, 0) * m.step
        low, high = _reach(base)
        inside = low <= min(m.offset, far) and max(m.offset, far) <= high
        if base.nbytes and base.kind != "loop" and not inside:  # a loop's may end anywhere
            return False
    return True


def _reach(b: Buffer) -> tuple[int, int]:
    """Where the elements of a buffer begin, in bytes: the first and the last one."""
    if b.strides is None:
        return 0, b.nbytes - b.dtype.itemsize
    ends = [(n - 1) * step * b.dtype.itemsize for n, step in zip(b.shape, b.strides, strict=True)]
    return sum(min(end, 0) for end in ends), sum(max(end, 0) for end in ends)


def _inside(b: Buffer, arena_bytes: int) -> bool:
    return b.kind != "arena" or b.offset + b.nbytes <= arena_bytes
