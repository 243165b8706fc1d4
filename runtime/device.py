"""What the driver needs of a kind of device: programs that run there, and of a GPU, memory.

`cpu/executable.py` and `cuda/executable.py` run programs; `cuda/devices.py` has memory. The arrays
that lie in such memory, with shapes and strides, are the tracer's (tracer/tensor/device_array.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..codegen.program import Program


class Executable(Protocol):
    """A Program bound to memory. `table` has the pointer of each slot; its user holds `lock` and
    sets `busy`, as a Turn asks, writes the pointers, and keeps alive what they point to.

    A call walks the spans of `early`, then `whole`; or, of a program with a commit point, `before`
    and `after`. `walk` returns whether a kernel found something wrong, which `fail` raises. On a
    GPU a walk only begins the work, unless there is something to be seen: checks, or what Python
    reads.
    """

    program: Program
    table: memoryview  # of int64
    lock: Any
    busy: list[bool]
    early: Sequence[int]
    whole: int
    before: int
    after: int
    walk: Callable[[int], Any]

    def number(self, slot: int) -> np.ndarray:
        """Memory of the host for an input of a few bytes, which the next walk reads. Always the
        same array.
        """

    def readable(self, slot: int) -> np.ndarray:
        """Memory of the host for an output, which can be read after a walk. Always the same array.
        """

    def inputs_on_host(self) -> list[np.ndarray]:
        """What the inputs hold now."""

    def run(self) -> None:
        """A call. Raises what a kernel found wrong; no input was written then."""

    def failed(self) -> bool:
        """Whether a kernel found something wrong; forgets it."""

    def fail(self) -> None:
        """Raise what a kernel found wrong, and forget it."""

    def warm(self) -> None:
        """Have memory for intermediate results."""

    def cool(self) -> None:
        """Give it back; `warm` must come before the next call."""

    def memory(self) -> int:
        """Its bytes."""

    @property
    def runs(self) -> int:
        """How often the launch list was walked."""


class Memory(Protocol):
    """A block of a device's memory, which goes back to the device with the last reference to it. Of
    no bytes, its pointer is 0.
    """

    index: int  # of the device
    pointer: int
    nbytes: int


class Devices(Protocol):
    """The GPUs of a kind. All is done in the order of the calls, on the current stream of the
    device. Memory that was given back is used again by what comes later in that order.
    """

    def present(self, index: int | None) -> int:
        """The index of a device, or of the current one. RuntimeError if it is not there."""

    def allocate(self, index: int, nbytes: int) -> Memory:
        """RuntimeError, with what was asked for and what is free, if there is no such block."""

    def write(self, to: Memory, offset: int, data: np.ndarray) -> None:
        """Copy contiguous bytes of the host, which may change as soon as this returns."""

    def read(self, source: Memory, offset: int, nbytes: int) -> np.ndarray:
        """A copy of bytes on the host. Waits for what computes them."""

    def copy(self, to: Memory, offset: int, source: Memory, begin: int, nbytes: int) -> None:
        """Also from one device to another."""

    def executable(self, index: int, program: Program) -> Executable: ...

    def identity(self, index: int) -> str:
        """What programs depend on besides their source: compute capability and versions."""
