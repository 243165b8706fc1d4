"""Reports about each program, on request: lines on stderr, and files in a folder.

TRACEGRAD_DEBUG=1 prints a line per program, 2 also the program, 3 the scheduler's decisions with
their reasons, 4 the kernels, 5 the graph. TRACEGRAD_DUMP=folder writes graph.txt, kernels.py and
launches.txt of every program there.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from ..ir.show import show
from .entry import Entry

_count = itertools.count()


def name_of(fn: Callable) -> str:
    return getattr(fn, "__qualname__", type(fn).__name__)


def summary(entry: Entry) -> str:
    """One line: the time of each stage, and the size of the program."""
    t, p = entry.low.timing, entry.program
    return (
        f"trace {t.trace * 1e3:.1f} ms, {entry.low.nodes} nodes, "
        f"lower {t.lower * 1e3:.1f} ms, {len(p.launches)} launches of {len(p.kernels)} kernels, "
        f"load {t.load * 1e3:.1f} ms, arena {p.arena_bytes} bytes"
    )


def _level() -> int:
    level = os.environ.get("TRACEGRAD_DEBUG", "")
    return int(level) if level.isdigit() else 0


def report(fn: Callable, entry: Entry) -> None:
    """Print and write what the environment asks for."""
    program = entry.program
    parts: tuple[Callable[[], str], ...] = (
        lambda: f"tracegrad: {name_of(fn)}: {summary(entry)}",
        lambda: str(program),
        lambda: "\n".join(program.notes),
        program.source,
        lambda: show(entry.low.graph()),
    )
    for part in parts[: _level()]:
        print(part(), file=sys.stderr)
    folder = os.environ.get("TRACEGRAD_DUMP")
    if folder:
        name = re.sub(r"\W+", "_", name_of(fn)).strip("_")
        location = Path(folder) / f"{next(_count):03d}-{name}"
        location.mkdir(parents=True, exist_ok=True)
        (location / "graph.txt").write_text(show(entry.low.graph()) + "\n")
        (location / "kernels.py").write_text(program.source() + "\n")
        launches = "\n".join((str(program), *program.notes))
        (location / "launches.txt").write_text(launches + "\n")
