"""Programs on disk, beside the machine code of their kernels.

A program is found by all that lowering looks at: what was recorded, the source of this library and
the versions of what it computes with, the processor. What is wrong with a file means that there
is none. Knows nothing of tensors.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ..codegen.program import Program
from ..codegen.program_file import decode, encode
from ..ir.interpret import libraries
from ..ir.node import Site, user_site
from ..runtime.cpu import object_cache
from ..runtime.device import Executable
from .places import Place

_IMPORTED = time.time()
_ROOMS = ("ir", "codegen", "runtime", "tracegrad/driver")
_PACKAGE = Path(__file__).parent.parent

T = TypeVar("T")


@dataclass
class Statistics:
    """Of this process: how many programs it lowered, and how many came from the disk."""

    lowered: int = 0
    loaded: int = 0


statistics = Statistics()


@cache
def source() -> str | None:
    """A digest of the source that makes programs of graphs. None where that cannot be read, or was
    changed since it was imported: what runs here then is not what a later process would run.
    """
    digest = hashlib.sha256()
    try:
        for room in _ROOMS:
            folder = _PACKAGE / room.removeprefix("tracegrad/")
            files = sorted(folder.rglob("*.py"))
            if not files:
                return None
            for path in files:
                if path.stat().st_ctime > _IMPORTED:
                    return None
                content = path.read_bytes()
                digest.update(f"{path.relative_to(_PACKAGE)} {len(content)}\n".encode() + content)
    except OSError:
        return None
    return digest.hexdigest()


def name_of(text: str, place: Place) -> str | None:
    """The name of the program for a place that is made of what `text` says; None if programs are
    not kept.
    """
    made_by = source()
    if made_by is None:
        return None
    return object_cache.key(f"program {made_by} {libraries()} {place.identity()}\n{text}")


def find(
    name: str | None, lines: list[Site], place: Place, fits: Callable[[Any, Program], T]
) -> tuple[T, Executable, float] | None:
    """What `fits` makes of the facts that were kept with the program of that name; the program,
    ready to run in its place; and when it was read. `lines` are those of the graph. `fits` raises
    Unreadable, or what a fact of a wrong type raises, if they are no good.
    """
    parts = None if name is None else object_cache.read(name)
    if parts is None:
        return None
    try:
        facts = json.loads(parts[0])
        program = decode(parts[1:], [*lines, user_site()])
        fitting, read_at = fits(facts, program), time.perf_counter()
        executable = place.executable(program)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    statistics.loaded += 1
    return fitting, executable, read_at


def keep(name: str | None, facts: Any, program: Program, lines: list[Site]) -> None:
    """Have a later process find it. What lowering itself makes is on the line of the call."""
    statistics.lowered += 1
    if name is not None:
        with suppress(OverflowError):
            parts = encode(program, [*lines, user_site()])
            object_cache.write(name, json.dumps(facts).encode(), *parts)
