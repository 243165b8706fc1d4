"""Profile: the times of a compiled function's launches, as text, as a table of `rich`, as JSON, and
as a trace that browsers show.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..ir.cached import cached_property
from .machine import Machine

_SHOWN = 40  # launches in a text
_WIDEST = 40  # characters of the operations in a text
_HEADS = ("", "µs", "share", "kind", "runs", "threads", "MB", "GB/s", "of copy", "GFLOP/s",
          "of product", "operations", "line")
_WORDS = "kind", "operations", "line"  # columns that begin on the left


class Event(NamedTuple):
    """Something that took time in the last run, by the clock of `time.perf_counter_ns`."""

    name: str
    program: str
    lane: int
    began: int
    ended: int
    launch: int | None = None


@dataclass(frozen=True)
class LaunchProfile:
    """A launch: what it is, and what it took in one call, in all of its `runs` together.

    `seconds` are those of the thread that was at it for longest. `read` and `written` are bytes of
    one run, each counted once, `flops` its arithmetic in additions. `copy_rate` and
    `product_rate` are what the machine can do: bytes that it copies per second in the level of
    memory that holds those of the launch, and additions and multiplications per second.
    """

    program: str  # 'call', 'backward', or 'segment' with its number
    number: int
    kernel: str
    kind: str
    operations: tuple[str, ...]
    lines: tuple[str, ...]
    seconds: float
    runs: int
    threads: int
    read: int
    written: int
    flops: int
    copy_rate: float = field(repr=False)
    product_rate: float = field(repr=False)

    @property
    def bandwidth(self) -> float:
        """Bytes per second."""
        return self._rate(self.read + self.written)

    @property
    def flop_rate(self) -> float:
        """Additions per second."""
        return self._rate(self.flops)

    @property
    def of_copy(self) -> float:
        """The bandwidth as a part of what the machine copies."""
        return self.bandwidth / self.copy_rate

    @property
    def of_product(self) -> float:
        """The additions as a part of what the machine does in products."""
        return self.flop_rate / self.product_rate

    def _rate(self, count: int) -> float:
        return count * self.runs / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Profile:
    """What `profile()` of a compiled function gives. `call` is the median of seconds of the whole
    call, `backward` that of a backward from its results, if they have one, `overhead` that of what
    no launch took in these: Python, and where threads wait.

    >>> f = torch.compile(lambda x: x.exp().sum())
    >>> found = f.profile(torch.ones(100, 100), runs=3)
    >>> [(x.kind, x.operations, x.read, x.runs) for x in found.launches]
    [('row', ('exp', 'sum'), 40000, 1)]
    """

    name: str
    runs: int
    call: float
    backward: float | None
    overhead: float
    launches: tuple[LaunchProfile, ...] = field(repr=False)
    machine: Machine = field(repr=False)
    notes: tuple[str, ...] = ()
    events: tuple[Event, ...] = field(default=(), repr=False)

    @cached_property
    def launch_seconds(self) -> float:
        """Those of all launches."""
        return sum(one.seconds for one in self.launches)

    def share(self, one: LaunchProfile) -> float:
        """A launch's part of the time of all."""
        return one.seconds / self.launch_seconds if self.launch_seconds > 0 else 0.0

    # ---- as text
    def __str__(self) -> str:
        head, *rows = _HEADS, *self._rows()
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        left = [name in _WORDS for name in head]

        def line(cells: tuple[str, ...]) -> str:
            padded = (c.ljust(w) if to_left else c.rjust(w)
                      for c, w, to_left in zip(cells, widths, left, strict=True))
            return "  ".join(padded).rstrip()

        return "\n".join([self._title(), *map(line, (head, *rows)), *self._foot()])

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text  # brackets in a text are no markup

        table = Table(title=Text(self._title()), caption=Text("\n".join(self._foot())),
                      title_justify="left", caption_justify="left")
        for head in _HEADS:
            table.add_column(head, justify="left" if head in _WORDS else "right")
        for row in self._rows():
            table.add_row(*map(Text, row))
        return table

    def show(self) -> None:
        """Print it: with `rich` if that is installed, else as plain text."""
        try:
            import rich
        except ImportError:
            print(self)
        else:
            rich.print(self)

    def _title(self) -> str:
        back = "" if self.backward is None else f", backward {1e6 * self.backward:,.1f} µs"
        return (
            f"{self.name}: call {1e6 * self.call:,.1f} µs{back}; {len(self.launches)} launches "
            f"{1e6 * self.launch_seconds:,.1f} µs, the rest {1e6 * self.overhead:,.1f} µs "
            f"(medians of {self.runs} runs, {self.machine.threads} threads)"
        )

    def _foot(self) -> Iterator[str]:
        more = len(self.launches) - _SHOWN
        if more > 0:
            rest = sum(sorted((x.seconds for x in self.launches), reverse=True)[_SHOWN:])
            yield f"and {more:,} more launches, {1e6 * rest:,.1f} µs"
        yield from self.notes

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for one in sorted(self.launches, key=lambda x: -x.seconds)[:_SHOWN]:
            mark = {"call": "", "backward": "b"}.get(one.program, f"{one.program[8:]}.")
            operations = " ".join(one.operations)
            if len(operations) > _WIDEST:
                operations = operations[: _WIDEST - 4].rpartition(" ")[0] + " ..."
            moved = (one.read + one.written) * one.runs / 1e6
            yield (
                f"{mark}{one.number}", f"{1e6 * one.seconds:,.1f}", f"{self.share(one):.0%}",
                one.kind, f"{one.runs:,}", str(one.threads), f"{moved:,.3f}",
                f"{one.bandwidth / 1e9:.1f}", f"{one.of_copy:.0%}", f"{one.flop_rate / 1e9:.1f}",
                f"{one.of_product:.0%}", operations, " ".join(one.lines[:3]),
            )

    # ---- as data
    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, texts and lists; times in seconds, rates per second."""
        names = ("program number kernel kind operations lines seconds runs threads read written "
                 "flops bandwidth of_copy flop_rate of_product").split()
        launches = [
            {name: _plain(getattr(one, name)) for name in names} | {"share": self.share(one)}
            for one in self.launches
        ]
        return {
            "name": self.name, "runs": self.runs, "call": self.call, "backward": self.backward,
            "launch_seconds": self.launch_seconds, "overhead": self.overhead,
            "notes": list(self.notes), "machine": self.machine.to_dict(), "launches": launches,
        }

    def json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1)

    def chrome_trace(self, path: str | os.PathLike) -> None:
        """Write the last run to a file for https://ui.perfetto.dev, or chrome://tracing: a row for
        each thread, a box for each launch.
        """
        start = min((e.began for e in self.events), default=0)
        about = {(one.program, one.number): one for one in self.launches}
        events: list[dict[str, Any]] = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": lane,
             "args": {"name": f"thread {lane}"}}
            for lane in sorted({e.lane for e in self.events})
        ]
        for e in self.events:
            one = None if e.launch is None else about.get((e.program, e.launch))
            args = {} if one is None or e.name == "loop" else {
                "operations": " ".join(one.operations), "lines": " ".join(one.lines),
                "bytes": one.read + one.written, "flops": one.flops,
            }
            events.append({
                "name": e.name, "cat": e.program, "ph": "X", "pid": 1, "tid": e.lane,
                "ts": (e.began - start) / 1e3, "dur": (e.ended - e.began) / 1e3, "args": args,
            })
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
