"""How the launches of a program run on a GPU: as graphs where that goes, and what the host does
between these.

Loops move slots by kernels of their own, which write into the pointer table on the device; so a
loop of known length is launches only. A loop that looks at a value has the host read it. Kernels
for the CPU (factorisations) run there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...codegen.program import Grid, Kernel, Launch, Loop, Program, Slot
from ..cpu.steps import Step, steps

MOST_LAUNCHES = 4096  # of a graph that is made of iterations; longer loops launch one several times


@dataclass(frozen=True, eq=False)
class Graph:
    """Launches that are recorded together."""

    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class OnHost:
    """A launch of a kernel for the CPU."""

    launch: Launch


@dataclass(frozen=True)
class Repeat:
    """Iterations. With a test, they end when what `ahead` leaves in the flag is not `wanted`."""

    times: int
    body: tuple[Part, ...]
    ahead: tuple[Part, ...] = ()
    wanted: bool | None = None


Part = Graph | OnHost | Repeat


class Parts:
    """The parts of a program. `table` is a slot whose memory is the pointer table itself, `flag`
    one whose memory the host reads.
    """

    def __init__(self, program: Program, table: int, flag: int):
        self.program, self.table, self.flag = program, table, flag

    def between(self, first: int, last: int) -> tuple[Part, ...]:
        """The parts of the launches from the first up to the last."""
        inside = (step for step in steps(self.program) if first <= step.launch < last)
        return self._joined(inside)

    def _joined(self, listed: Iterable[Step]) -> tuple[Part, ...]:
        parts: list[Part] = []
        for part in (p for step in listed for p in self._step(step)):
            if isinstance(part, Graph) and parts and isinstance(last := parts[-1], Graph):
                parts[-1] = Graph((*last.launches, *part.launches))
            else:
                parts.append(part)
        return tuple(parts)

    def _step(self, step: Step) -> Iterator[Part]:
        if step.loop is None:
            launch = self.program.launches[step.launch]
            yield OnHost(launch) if launch.kernel.backend == "cpu" else Graph((launch,))
            return
        loop, after = step.loop, self._moves(step.loop)
        if loop.movings:
            yield Graph((self._begin(loop),))
        body = self._joined(step.body)
        if after is not None:
            body = _with(body, after)
        if loop.test is None:
            yield from _repeated(loop.length, body)
        else:
            ahead = _with(self._joined(step.head), self._look(loop.test.slot))
            yield Repeat(loop.length, body, ahead, loop.test.wanted)

    # ---- launches of one thread
    def _begin(self, loop: Loop) -> Launch:
        """What comes before the first iteration."""
        changes = _Changes(self.table)
        for m in loop.movings:
            changes.set(m.slot, f"{changes.entry(m.base)} + {changes.number(m.offset)}")
        return changes.launch()

    def _moves(self, loop: Loop) -> Launch | None:
        """What follows an iteration; None if nothing moves."""
        changes = _Changes(self.table)
        for now, then, other in loop.turnings:
            changes.lines.append(f"then = {changes.entry(then)}")
            changes.set(now, "then")
            changes.set(then, changes.entry(other))
            changes.set(other, "then")
        for m in loop.movings:
            if m.step:
                changes.set(m.slot, f"{changes.entry(m.slot)} + {changes.number(m.step)}")
        return changes.launch() if len(changes.args) > 1 else None

    def _look(self, slot: int) -> Launch:
        """A launch that copies a bool to the flag."""
        lines = [
            "p = pointer_b1(args, 0)", "f = pointer_i8(args, 1)",
            "store_i8(f, 0, i8(load_b1(p, 0, 0)), 1)",
        ]
        return _alone("flag", lines, (Slot(slot), Slot(self.flag)))


class _Changes:
    """Changes of the pointer table, as the text of a kernel and its arguments."""

    def __init__(self, table: int):
        self.lines = ["t = pointer_i8(args, 0)"]
        self.args: list[Slot | int] = [Slot(table)]

    def number(self, value: int) -> str:
        self.args.append(value)
        return f"extent(args, {len(self.args) - 1})"

    def entry(self, slot: int) -> str:
        return f"load_i8(t, {self.number(slot)}, 0)"

    def set(self, slot: int, value: str) -> None:
        self.lines.append(f"store_i8(t, {self.number(slot)}, {value}, 0)")

    def launch(self) -> Launch:
        return _alone("moves", self.lines, tuple(self.args))


def _alone(template: str, lines: Sequence[str], args: tuple[Slot | int, ...]) -> Launch:
    source = "".join(f"    {line}\n" for line in lines)
    return Launch(Kernel(template, source, backend="cuda"), args, 1, 0, grid=Grid(1, 1))


def _with(parts: tuple[Part, ...], launch: Launch) -> tuple[Part, ...]:
    """Parts, and a launch after them."""
    if parts and isinstance(last := parts[-1], Graph):
        return (*parts[:-1], Graph((*last.launches, launch)))
    return (*parts, Graph((launch,)))


def _repeated(times: int, body: tuple[Part, ...]) -> Iterator[Part]:
    if len(body) == 1 and isinstance(only := body[0], Graph):
        if times * len(only.launches) <= MOST_LAUNCHES:
            if times:
                yield Graph(only.launches * times)
            return
    yield Repeat(times, body)
