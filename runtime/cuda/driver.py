"""What this room needs of CUDA's driver, as a protocol: `cuda_driver.py` asks the real one,
`fake_driver.py` plays one in the memory of the host.

Memory, streams, kernels and graphs are numbers. A stream's work is done in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ...codegen.program import Grid, Kernel

Capability = tuple[int, int]


FORKED = (
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must "
    "use the 'spawn' start method"
)


class OutOfMemory(Exception):
    """The device has no block of that size."""


class DeviceProperties(NamedTuple):
    name: str
    capability: Capability
    total_memory: int
    multiprocessors: int


class Driver(Protocol):
    """All of it acts on the device with the number `device`, unless a stream says which one."""

    def devices(self) -> int:
        """How many there are. RuntimeError, in words, if there is no driver, or one too old."""

    def properties(self, device: int) -> DeviceProperties: ...

    def free_memory(self, device: int) -> int:
        """Bytes."""

    def allocate(self, device: int, nbytes: int) -> int:
        """The address of new memory. Raises OutOfMemory."""

    def release(self, device: int, address: int) -> None: ...

    def mapped(self, device: int, nbytes: int) -> tuple[np.ndarray, int]:
        """Bytes of the host that the device writes to, which go with the array; and their address
        there.
        """

    def pinned(self, device: int, nbytes: int) -> np.ndarray:
        """Bytes of the host that copies go from and to while the host does other things."""

    def stream(self, device: int) -> int:
        """A new stream."""

    def adopt(self, device: int, stream: int) -> None:
        """Know a stream of another library."""

    def idle(self, stream: int) -> bool:
        """Whether all its work is done."""

    def synchronize(self, stream: int) -> None:
        """Wait for its work. RuntimeError if a kernel has failed."""

    def synchronize_device(self, device: int) -> None:
        """Wait for all of its streams."""

    def event(self, stream: int) -> int:
        """A mark in a stream, that `wait` and `done` are asked for."""

    def synchronize_event(self, event: int) -> None:
        """Wait for a mark. RuntimeError if a kernel has failed."""

    def release_event(self, event: int) -> None: ...

    def wait(self, stream: int, event: int) -> None:
        """Have what follows in a stream wait for a mark in another one."""

    def done(self, event: int) -> bool: ...

    def elapsed(self, first: int, second: int) -> float:
        """Milliseconds from one mark to another."""

    def copy_in(self, stream: int, address: int, source: np.ndarray) -> None:
        """From contiguous memory of the host, which may change as soon as this returns."""

    def copy_out(self, stream: int, target: np.ndarray, address: int) -> None:
        """To contiguous memory of the host, and wait for it."""

    def copy_in_later(self, stream: int, address: int, source: np.ndarray) -> None:
        """From pinned memory, which is read when the stream comes to it: it must live until then.
        """

    def copy_out_later(self, stream: int, target: np.ndarray, address: int) -> None:
        """To pinned memory, which is written when the stream comes to it: the same."""

    def copy(self, stream: int, target: int, source: int, nbytes: int) -> None: ...

    def identity(self, device: int) -> str:
        """What compiled kernels depend on besides their text: capability and versions."""

    def functions(self, device: int, kernels: Sequence[Kernel]) -> dict[Kernel, int]:
        """The compiled kernels, loaded."""

    def launch(self, stream: int, function: int, grid: Grid, args: int) -> None:
        """`args` is the address of the argument block, in the memory of the device."""

    def begin_capture(self, stream: int) -> None:
        """From now on launches are recorded, not done; this thread may allocate nothing, copy
        nothing from or to the host, and wait for nothing. No other one may use the stream.
        """

    def end_capture(self, stream: int) -> int:
        """The graph of what was recorded."""

    def launch_graph(self, stream: int, graph: int, launched: list[None]) -> None:
        """Appends to `launched` as well: no handler of a signal runs between the two."""

    def release_graph(self, graph: int) -> None: ...
