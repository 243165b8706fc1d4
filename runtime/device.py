"""What the driver needs of a kind of device: memory, and programs that run there.

Two rooms implement it, `cpu/host.py` and `cuda/device.py`. An Array is an np.ndarray there, and a
DeviceArray here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..codegen.program import Program

Array = Any  # np.ndarray | DeviceArray


class Executable(Protocol):
    """A Program bound to memory. `table` has the pointer of each slot; its user holds `lock` and
    sets `busy`, as a Turn asks, writes the pointers, and keeps alive what they point to.

    A call walks the spans of `early`, then `whole`; or, of a program with a commit point, `before`
    and `after`. `walk` returns whether a kernel found something wrong, which `fail` raises. On a
    GPU a walk only begins the work, unless there is something to be seen: checks, or what Python
    reads.
    """

    program: Program
    device: Device
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


class Device(Protocol):
    """A device, and what lies in its memory."""

    name: str  # 'cpu' | 'cuda:0' | ...
    backend: str  # the name of the Backend that writes its kernels

    def identity(self) -> str:
        """What programs for it depend on besides their source: processor and versions."""

    def executable(self, program: Program) -> Executable: ...

    def empty(self, shape: tuple[int, ...], storage: np.dtype) -> Array:
        """Row-major memory. Its content is undefined."""

    def empty_like(self, template: np.ndarray) -> Array:
        """The same, with axes in the memory order of a template, whose elements nobody reads."""

    def address(self, array: Array) -> int:
        """Where its first element lies."""

    def from_host(self, array: np.ndarray) -> Array:
        """Its values here; maybe the array itself."""

    def to_host(self, array: Array) -> np.ndarray:
        """Its values as NumPy's; maybe the array itself. Waits for what computes them."""

    def copy(self, array: Array) -> Array:
        """Its values in new memory, with the axes in the same order."""

    def contiguous(self, array: Array) -> Array:
        """The array itself if it is row-major, else a copy that is."""
