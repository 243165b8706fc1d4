"""What compilation makes: plain records, printable, with no machine code in them yet.

The runtime reads these and nothing else of this room. A launch's arguments are slots (where a
pointer will stand), integers (extents and strides) or floats (constants of the user's program, so
that kernels can be shared).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..ir.cached import cached_property
from ..ir.dtype import DType
from ..ir.faults import FACTOR, fault
from ..ir.node import Site

__all__ = [
    "FACTOR", "Buffer", "Grid", "Kernel", "Launch", "Loop", "Moving", "Program", "Rows", "Slot",
    "Test", "Traffic", "Turning", "as_word", "fault",
]

# what a kernel takes, by the backend that wrote it. All have the argument block; the CPU's also
# have a part of the outer loop and the number of the thread, which a GPU's ask the hardware for
PARAMETERS = {"cpu": "args, start, stop, worker", "cuda": "args"}


@dataclass(frozen=True)
class Kernel:
    """One generated function: kernel(args: int64*, start, stop, worker); on a GPU, kernel(args)."""

    template: str  # 'map' | 'row' | 'column' | ...
    source: str  # the body, from its second line on: two kernels with the same text are one
    # of a kernel that is written in LLVM itself: writes the module, whose function is `kernel`,
    # when no compiled one is found; `source` then is a description that identifies it
    llvm: Callable[[], str] | None = field(default=None, compare=False)
    fast: bool = False  # LLVM may regroup its arithmetic; this is part of the text
    backend: str = "cpu"  # by whose builtins the text is meant

    @cached_property
    def name(self) -> str:
        digest = hashlib.sha256(f"{self.source}{'fast' * self.fast}".encode()).hexdigest()
        return f"{self.template}_{digest[:8]}"

    @cached_property
    def text(self) -> str:
        if self.llvm is not None:
            return f"# {self.name}: {self.source}\n"
        mark = "# fast math\n" if self.fast else ""
        return f"{mark}def {self.name}({PARAMETERS[self.backend]}):\n{self.source}"


@dataclass(frozen=True)
class Slot:
    """An entry of the pointer table."""

    index: int


def as_word(value: int | float) -> int:
    """A number as it stands in an argument block, which is of int64: a float by its bits."""
    return struct.unpack("<q", struct.pack("<d", value))[0] if isinstance(value, float) else value


def from_word(word: int) -> float:
    """The float whose bits these are."""
    return float(struct.unpack("<d", struct.pack("<q", word))[0])


class MachineCodeLost(LookupError):
    """Of a kernel in LLVM that came from the disk: only lowering can write it again."""


class Origin(NamedTuple):
    """An operation that a launch computes, and the user's line that asked for it."""

    operation: str
    site: Site | None

    def __str__(self) -> str:
        return f"{self.operation}  {self.site or ''}"


class Grid(NamedTuple):
    """How a launch is spread over a GPU: so many blocks of so many threads."""

    blocks: int
    threads: int


class Traffic(NamedTuple):
    """What a launch must do, for profiles: bytes that it reads and writes, each counted once, and
    its arithmetic, in additions.
    """

    read: int = 0
    written: int = 0
    operations: int = 0


@dataclass(frozen=True)
class Launch:
    """One row of the launch list."""

    kernel: Kernel
    args: tuple[Slot | int | float, ...]
    extent: int  # of the outer loop
    grain: int  # how much of it is worth a thread; 0: never split
    origin: tuple[Origin, ...] = ()
    work: int = 0  # how many additions it takes as long as, about
    grid: Grid | None = None  # of a kernel for a GPU, in place of extent and grain
    traffic: Traffic = Traffic()


class Moving(NamedTuple):
    """A slot that a loop sets, and moves after each iteration."""

    slot: int
    base: int  # the slot that says where it begins
    offset: int  # and by how many bytes later
    step: int  # in bytes


class Turning(NamedTuple):
    """Slots of a carry of a loop: in the next iteration `now` is what `then` was, and the memory of
    `then` and `other` changes places.
    """

    now: int
    then: int
    other: int


class Test(NamedTuple):
    """What a loop looks at before its launch number `at` in each iteration: it ends there if the
    bool in that slot is not `wanted`.
    """

    at: int
    slot: int
    wanted: bool


class Rows(NamedTuple):
    """Of a loop in which each row of the carries, along their first axis, is computed from that row
    alone: a thread may take some rows through all iterations. What launches do for rows from r on
    begins at the part r / total of their extent.
    """

    total: int
    unit: int  # so many of them stay together
    begin: int  # bytes of the arena that each thread has of its own: from here
    end: int


ENDLESS = 1 << 62  # iterations
LEAST_ROWS = 4  # that are worth a thread: a product of fewer takes as long


@dataclass(frozen=True)
class Loop:
    """Launches that are walked again and again, those from `first` up to `last`. Loops may stand
    within others.
    """

    first: int
    last: int
    length: int
    movings: tuple[Moving, ...] = ()
    turnings: tuple[Turning, ...] = ()
    origin: tuple[Origin, ...] = ()
    test: Test | None = None
    rows: Rows | None = None

    def __str__(self) -> str:
        moved = [f"s{m.slot} = s{m.base} + {m.offset}{f', + {m.step}' if m.step else ''}"
                 for m in self.movings]
        turned = [f"s{t.now} <- s{t.then} <-> s{t.other}" for t in self.turnings]
        times = [f"{self.length} times"] if self.length < ENDLESS else []
        if self.test is not None:
            no = "" if self.test.wanted else "not "
            times.append(f"while {no}s{self.test.slot} before {self.test.at}")
        if self.rows is not None:
            times.append(f"{self.rows.total} rows apart")
        return f"{', '.join(times)}: {'; '.join([*moved, *turned])}"


@dataclass(frozen=True)
class Buffer:
    """What stands behind a slot."""

    kind: str  # 'input' | 'output' | 'arena' | 'status'; 'loop': a loop sets the slot
    shape: tuple[int, ...]
    dtype: DType
    offset: int = 0  # bytes into the arena
    strides: tuple[int, ...] | None = None  # of an input, in elements

    @property
    def nbytes(self) -> int:
        n = self.dtype.itemsize
        for extent in self.shape:
            n *= extent
        return n


@dataclass(frozen=True)
class Program:
    """Kernels, launches, memory plan and the table of what goes in and out.

    The slots are: 0 the status block, then the inputs, then the outputs, then the arena's buffers.
    `writes` maps outputs that are written into an input's own memory to that input; the launches
    from `commit` on are the only ones that do so when `guarded`, and run after the status has been
    found clean.
    """

    buffers: tuple[Buffer, ...]
    inputs: tuple[int, ...]  # slot of each input
    outputs: tuple[int, ...]  # slot of each output; an input's slot where it is written in place
    launches: tuple[Launch, ...]
    commit: int
    arena_bytes: int
    # the launches from here on cannot fail any more; those before may, through the status block
    checked: int = 0
    writing: int = 0  # the first launch that may write into an input
    loops: tuple[Loop, ...] = ()  # in order, each before those within it
    backend: str = "cpu"  # the kind of device that it is for
    notes: tuple[str, ...] = field(default=())  # the scheduler's decisions, in words

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct generated functions, in the order of first use."""
        return tuple(dict.fromkeys(launch.kernel for launch in self.launches))

    def early(self, slot: int) -> bool:
        """Whether a buffer may have been written by the time a launch fails."""
        if any(Slot(slot) in launch.args for launch in self.launches[: self.checked]):
            return True
        return any(m.base == slot for one in self.loops if one.first < self.checked
                   for m in one.movings)

    def source(self) -> str:
        """The generated functions as Python, each under the operations it came from."""
        parts = []
        for kernel in self.kernels:
            origins = dict.fromkeys(
                str(operation)
                for launch in self.launches
                if launch.kernel == kernel
                for operation in launch.origin
            )
            parts.append("".join(f"# {line}\n" for line in origins) + kernel.text)
        return "\n\n".join(parts)

    def __str__(self) -> str:
        lines = [
            f"program: {len(self.launches)} launches, {len(self.kernels)} kernels, "
            f"arena {self.arena_bytes} bytes"
        ]
        for i, launch in enumerate(self.launches):
            around = [one for one in self.loops if one.first <= i < one.last]
            for depth, one in enumerate(around):
                if one.first == i:
                    lines.append(f"  {'  ' * depth}    {one}")
            shown = ", ".join(f"s{a.index}" if isinstance(a, Slot) else str(a) for a in launch.args)
            mark = " | commit" if i == self.commit and self.commit < len(self.launches) else ""
            inside = "  " * len(around)
            times = launch.extent if (g := launch.grid) is None else f"{g.blocks} x {g.threads}"
            lines.append(f"  {inside}{i:3d} {launch.kernel.name}({shown}) x {times}{mark}")
        for i, b in enumerate(self.buffers):
            place = f" at {b.offset}" if b.kind == "arena" else ""
            lines.append(f"  s{i}: {b.kind} {b.dtype.name}{list(b.shape)}{place}")
        return "\n".join(lines)
