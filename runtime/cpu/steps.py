"""From the launches and loops of a Program to rows of the launch list.

A step is a launch or a loop of steps. Top-level steps come first in the list, those that take long
as several rows; the bodies of loops follow. Where the rows of a loop's carries are computed apart,
each thread takes some of them through all iterations, and has a body of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ...codegen.program import LEAST_ROWS, Launch, Loop, Program
from .parallel_walk import CALLER, MOVE, SET, TEST
from .threads import threads

PIECES = 4  # of a launch for each thread: the last ones to be done are short
AWAKE = 8  # in a walk that threads share anyway, so much less is worth a piece: nobody must wake up
STRETCH = 100_000_000  # additions, some hundredths of a second, after which signals are looked for
MANY = 1000  # iterations of a loop of which nobody knows how many it has
WORTH_A_SHARE = 250_000  # additions of a loop that pay for another thread


@dataclass(frozen=True, eq=False)
class Step:
    launch: int  # its number; of a loop, the first within it
    extent: int
    grain: int
    work: int
    loop: Loop | None = None
    head: tuple[Step, ...] = ()  # of a loop, what comes before its test
    body: tuple[Step, ...] = ()  # and what follows


Part = tuple[Step, int, int]  # a step from a start to a stop


class Row(NamedTuple):
    """A row of the launch list. `control` says that it is one of a parallel loop, which does that,
    and whose `stop` is a row; `share`, for which of the threads that share a loop it is.
    """

    step: Step
    start: int
    stop: int
    pieces: int = 1
    control: bool = False
    share: int = 0


class Flat(NamedTuple):
    """All rows; where each of the parts begins, and where they end; and of each loop, for each
    thread that walks it, the first of its rows, the one that follows its test, and the one after
    its last.
    """

    rows: list[Row]
    begins: list[int]
    bodies: dict[Step, list[tuple[int, int, int]]]


def pieces_of(launch: Launch, extent: int, awake: bool = False) -> int:
    """How many pieces of a launch threads may take; one where its work does not pay for two."""
    if awake and launch.kernel.template != "column":  # whose vectors want many columns
        grain = max(1, launch.grain // AWAKE)
    else:
        grain = launch.grain
    if not launch.grain or extent < 2 * grain or threads() == 1:
        return 1
    return min(PIECES * threads(), extent // grain)


def steps(program: Program) -> tuple[Step, ...]:
    """The steps of a program."""
    end = len(program.launches)
    loops = iter((*program.loops, Loop(end, end, 0)))
    following = next(loops)

    def between(first: int, last: int) -> Iterator[Step]:
        nonlocal following
        k = first
        while k < last:
            one = following
            if k < one.first:
                launch = program.launches[k]
                yield Step(k, launch.extent, launch.grain, launch.work)
                k += 1
                continue
            following = next(loops)
            at = one.first if one.test is None else one.test.at
            head, body = tuple(between(one.first, at)), tuple(between(at, one.last))
            each = sum(s.work for s in (*head, *body))
            yield Step(k, one.length, 0, min(one.length, MANY) * each, one, head, body)
            k = one.last

    return tuple(between(0, end))


def often(program: Program, step: Step) -> int:
    """After how many iterations of a loop signals are looked for; 0 if memory of inputs may have
    been written by then, which must not be left half done.
    """
    if step.launch >= program.writing:
        return 0
    return max(1, STRETCH // max(sum(s.work for s in (*step.head, *step.body)), 1))


def stretches(program: Program, listed: Sequence[Step]) -> tuple[list[Part], list[int]]:
    """The top-level rows, and where the walk stops for a moment, so that Python looks for signals:
    after each STRETCH, up to the first launch that may write into an input.
    """
    rows: list[Part] = []
    stops: list[int] = []
    done = 0
    for step in listed:
        early, many = step.launch < program.writing, 1
        if early and step.grain:
            many = max(1, min(step.work // STRETCH, step.extent // step.grain))
        for j in range(many):
            if early and done >= STRETCH:
                stops.append(len(rows))
                done = 0
            rows.append((step, step.extent * j // many, step.extent * (j + 1) // many))
            done += step.work // many
    return rows, stops


def flat(program: Program, parts: Sequence[Part], alone: bool = False) -> Flat:
    """The rows of these parts, and behind them those of the bodies of loops. If one thread is
    `alone`, nothing is shared.
    """
    listed = Flat([], [], {})
    awake = any(is_parallel(program, step) for step, _, _ in parts)
    for part in parts:
        listed.begins.append(len(listed.rows))
        if alone:
            listed.rows.append(Row(*part))
        else:
            _put(program, listed.rows, part, awake)
    listed.begins.append(len(listed.rows))
    for row in listed.rows:  # which grows
        step = row.step
        if step.loop is not None and not row.control and step not in listed.bodies:
            count, bounds = shares(step, alone)
            inside, bodies = (*step.head, *step.body), listed.bodies.setdefault(step, [])
            for k, (first, last) in enumerate(pairwise(bounds)):
                begin = len(listed.rows)
                bodies.append((begin, begin + len(step.head), begin + len(inside)))
                for inner in inside:
                    start, stop = (inner.extent * row // count for row in (first, last))
                    listed.rows.append(Row(inner, start, stop, share=k))
    return listed


def shares(step: Step, alone: bool = False) -> tuple[int, list[int]]:
    """How many rows a loop has, and where those of each thread begin and end."""
    rows = None if step.loop is None else step.loop.rows
    if rows is None or alone:
        return 1, [0, 1]
    units, most = rows.total // rows.unit, rows.total // max(rows.unit, LEAST_ROWS)
    many = max(1, min(threads(), most, step.work // WORTH_A_SHARE))
    return rows.total, [units * k // many * rows.unit for k in range(many + 1)]


def shared(step: Step) -> int:
    """How many threads share a loop by its rows."""
    return len(shares(step)[1]) - 1


def _put(program: Program, rows: list[Row], part: Part, awake: bool = False) -> None:
    """Add the rows of a part, that of a parallel loop with its body."""
    step, start, stop = part
    if (many := shared(step)) > 1:
        rows.append(Row(step, 0, many, many))
        return
    if step.loop is None or not is_parallel(program, step):
        pieces = CALLER
        if step.loop is None:
            pieces = pieces_of(program.launches[step.launch], stop - start, awake)
        rows.append(Row(step, start, stop, pieces))
        return
    begin = len(rows)
    rows.append(Row(step, SET, 0, control=True))
    for inner in step.head:
        _put(program, rows, (inner, 0, inner.extent))
    test = len(rows)
    if step.loop.test is not None:
        rows.append(Row(step, TEST, 0, control=True))
    for inner in step.body:
        _put(program, rows, (inner, 0, inner.extent))
    rows.append(Row(step, MOVE, begin + 1, control=True))
    for k in (begin, test) if step.loop.test is not None else (begin,):
        rows[k] = rows[k]._replace(stop=len(rows))


def is_parallel(program: Program, step: Step) -> bool:
    """Whether threads share some of the work."""
    if step.loop is None:
        return pieces_of(program.launches[step.launch], step.extent) > 1
    inside = *step.head, *step.body
    return shared(step) > 1 or any(is_parallel(program, inner) for inner in inside)
