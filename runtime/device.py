"""What the driver needs of a kind of device: programs that run there, and of a GPU, its memory.

`cpu/executable.py` and `cuda/executable.py` have an Executable each, `cuda/device.py` the Device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..codegen.program import Program
from ..ir.device_array import DeviceArray


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
    early: list[int]
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

    def begin(self) -> None:
        """Said before the last walk of a call: `failed` then tells whether that one came to be."""

    def see_at_once(self) -> None:
        """From now on a walk tells what its own kernels find: its user waits for them anyway."""

    def failed(self) -> bool:
        """Whether a kernel found something wrong, or the last walk did not begin its work; forgets
        it.
        """

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
    """A GPU, and arrays in its memory. All is done in the order of the calls, on the current stream
    of the device; memory that was given back is used again by what comes later in that order.
    """

    name: str  # 'cuda:0', ...

    def identity(self) -> str:
        """What programs depend on besides their source: compute capability and versions."""

    def executable(self, program: Program) -> Executable: ...

    def empty(self, shape: tuple[int, ...], storage: np.dtype) -> DeviceArray:
        """Row-major memory. Its content is undefined. RuntimeError, with what was asked for and
        what is free, if there is no such block.
        """

    def from_host(self, array: np.ndarray, wait: bool = True) -> DeviceArray:
        """Its values in new row-major memory. Those of pinned memory may be copied later, if nobody
        waits; it is kept until then.
        """

    def pinned(self, nbytes: int) -> np.ndarray:
        """Pinned memory of the host, from which is copied while the host does other things."""

    def is_pinned(self, array: np.ndarray) -> bool: ...

    def to_host(self, array: DeviceArray) -> np.ndarray:
        """Its values in a new array. Waits for what computes them."""

    def copy(self, array: DeviceArray) -> DeviceArray:
        """Its values in new memory, with the axes in the same order."""

    def contiguous(self, array: DeviceArray) -> DeviceArray:
        """The array itself if it is row-major, else a copy that is."""
