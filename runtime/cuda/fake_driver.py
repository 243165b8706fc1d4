"""A CUDA driver without a GPU: memory of the host, and kernels in plain Python. It is strict.

Work waits in its stream until somebody waits for it, so what the host must not rely on has not
happened yet. Memory begins with nonsense; a kernel that reaches what was released, or was never
allocated, raises, and so does a copy from pinned memory that went away before it. A thread that
records a stream may not allocate, copy or wait meanwhile, nor may another one use that stream.
`log` tells what was asked for, in order.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from ctypes import c_ubyte
from functools import cache
from threading import get_ident
from weakref import ref

import numpy as np

from ...codegen.program import Grid, Kernel, from_word
from ...ir.locks import lock
from ..cpu.executable import address as address_of, aligned
from ..cpu.python_builtins import Pointer
from .driver import DeviceProperties, OutOfMemory
from .plain import run

_NONSENSE = 0xB5
Work = Callable[[], None]


class Misuse(AssertionError):
    """The runtime did what CUDA does not allow, or relied on what it does not promise."""


class FakeDriver:
    """`total` is the memory of each device in bytes."""

    def __init__(self, devices: int = 1, total: int = 1 << 30):
        self._devices, self._total = devices, total
        self.log: list[str] = []
        self._blocks: dict[int, tuple[np.ndarray, int]] = {}  # by address: bytes, device
        self._starts: list[int] = []  # the addresses, in order
        self._released: list[np.ndarray] = []  # never used again, so it stays wrong to reach it
        self._device_of: dict[int, int] = {}  # of streams
        self._queues: dict[int, list[Work]] = {}
        self._recording: dict[int, tuple[int, list[Work]]] = {}  # by stream: thread, what it did
        self._kernels: list[Kernel] = []
        self._graphs: dict[int, list[Work]] = {}
        self._events: dict[int, list[int]] = {}  # when each was passed, if it was
        self._now = 0  # how much work was done
        self._pinned: dict[int, ref[np.ndarray]] = {}  # by address
        self._number = 0
        self._lock = lock()

    def _new(self) -> int:
        self._number += 1
        return self._number

    # ---- devices
    def devices(self) -> int:
        return self._devices

    def properties(self, device: int) -> DeviceProperties:
        return DeviceProperties("a GPU in plain Python", (9, 0), self._total, 1)

    def identity(self, device: int) -> str:
        return "plain Python"

    def free_memory(self, device: int) -> int:
        return self._total - sum(b.nbytes for b, where in self._blocks.values() if where == device)

    # ---- memory
    def allocate(self, device: int, nbytes: int) -> int:
        self._outside_of_recordings("allocate")
        if nbytes > self.free_memory(device):
            raise OutOfMemory
        block = aligned(nbytes)
        block[:] = _NONSENSE
        return self._add(block, device)

    def _add(self, block: np.ndarray, device: int) -> int:
        address = address_of(block)
        self._blocks[address] = block, device
        self._starts = sorted(self._blocks)
        return address

    def release(self, device: int, address: int) -> None:
        self._outside_of_recordings("release")
        for stream in self._queues:
            self._drain(stream)  # as CUDA does
        block, _ = self._blocks.pop(address)
        self._starts = sorted(self._blocks)
        block[:] = _NONSENSE
        self._released.append(block)

    def mapped(self, device: int, nbytes: int) -> tuple[np.ndarray, int]:
        self._outside_of_recordings("mapped")
        block = aligned(nbytes)
        block[:] = 0
        return block, self._add(block, -1)

    def pinned(self, device: int, nbytes: int) -> np.ndarray:
        self._outside_of_recordings("pinned")
        # of views of it, `base` is the block itself, as with the real driver's
        block = np.ndarray(nbytes, np.uint8, memoryview((c_ubyte * nbytes)()))
        block[:] = _NONSENSE
        self._pinned[address_of(block)] = ref(block)
        return block

    def _pinned_bytes(self, address: int, nbytes: int) -> np.ndarray:
        for low, block in self._pinned.items():
            array = block()
            if array is not None and low <= address <= address + nbytes <= low + array.nbytes:
                return array[address - low :][:nbytes]
        raise Misuse("a copy from or to memory of the host that is not pinned, or not any more")

    def _pointer(self, address: int) -> Pointer:
        """An address with the bounds of its allocation; of no bytes if it is in none."""
        k = bisect_right(self._starts, address) - 1
        if k >= 0:
            low = self._starts[k]
            high = low + self._blocks[low][0].nbytes
            if address <= high:
                return Pointer(address, low, high)
        return Pointer(address, address, address)

    def _bytes(self, address: int, nbytes: int) -> np.ndarray:
        pointer = self._pointer(address)
        if address + nbytes > pointer.high:
            raise Misuse(f"{nbytes} bytes at {address:#x} are not in one allocation")
        block, _ = self._blocks[pointer.low]
        return block[address - pointer.low :][:nbytes]

    # ---- streams
    def stream(self, device: int) -> int:
        stream = self._new()
        self._device_of[stream], self._queues[stream] = device, []
        return stream

    def adopt(self, device: int, stream: int) -> None:
        self._device_of.setdefault(stream, device)
        self._queues.setdefault(stream, [])

    def idle(self, stream: int) -> bool:
        return not self._queues[stream]

    def _enqueue(self, stream: int, work: Work) -> None:
        if stream not in self._recording:
            self._queues[stream].append(work)
            return
        thread, recorded = self._recording[stream]
        if thread != get_ident():
            raise Misuse("another thread records this stream")
        recorded.append(work)

    def _drain(self, stream: int) -> None:
        queue = self._queues[stream]
        with self._lock:  # who finds nothing to do waits for who does it
            while queue:
                self._now += 1
                queue.pop(0)()

    def synchronize(self, stream: int) -> None:
        self._outside_of_recordings("synchronize")
        self.log.append("synchronize")
        self._drain(stream)

    def synchronize_device(self, device: int) -> None:
        for stream, where in self._device_of.items():
            if where == device:
                self.synchronize(stream)

    def event(self, stream: int) -> int:
        event = self._new()
        passed = self._events[event] = list[int]()
        self._enqueue(stream, lambda: passed.append(self._now))
        if stream not in self._recording and len(self._queues[stream]) == 1:
            self._drain(stream)  # nothing was before it
        return event

    def synchronize_event(self, event: int) -> None:
        self._outside_of_recordings("synchronize_event")
        self.log.append("synchronize_event")
        for stream in self._queues:
            if not self._events[event]:
                self._drain(stream)

    def release_event(self, event: int) -> None:
        del self._events[event]

    def wait(self, stream: int, event: int) -> None:
        passed = self._events[event]

        def come() -> None:
            for other in self._queues:
                if other != stream and not passed:
                    self._drain(other)

        self._enqueue(stream, come)

    def done(self, event: int) -> bool:
        return bool(self._events[event])

    def elapsed(self, first: int, second: int) -> float:
        return float(self._events[second][0] - self._events[first][0])

    # ---- copies
    def copy_in(self, stream: int, address: int, source: np.ndarray) -> None:
        self._outside_of_recordings("copy_in")
        self.log.append("copy_in")
        data = np.frombuffer(source.tobytes(), np.uint8)
        self._bytes(address, data.nbytes)
        self._enqueue(stream, lambda: np.copyto(self._bytes(address, data.nbytes), data))

    def copy_out(self, stream: int, target: np.ndarray, address: int) -> None:
        self._outside_of_recordings("copy_out")
        self.log.append("copy_out")
        self._drain(stream)
        target.reshape(-1).view(np.uint8)[:] = self._bytes(address, target.nbytes)

    def copy_in_later(self, stream: int, address: int, source: np.ndarray) -> None:
        self._later(stream, "copy_in_later", address, source, inward=True)

    def copy_out_later(self, stream: int, target: np.ndarray, address: int) -> None:
        self._later(stream, "copy_out_later", address, target, inward=False)

    def _later(
        self, stream: int, what: str, address: int, array: np.ndarray, inward: bool
    ) -> None:
        self._outside_of_recordings(what)
        self.log.append(what)
        where, nbytes = address_of(array), array.nbytes
        self._pinned_bytes(where, nbytes)
        self._bytes(address, nbytes)

        def work() -> None:
            pair = self._bytes(address, nbytes), self._pinned_bytes(where, nbytes)
            np.copyto(*(pair if inward else pair[::-1]))

        self._enqueue(stream, work)

    def copy(self, stream: int, target: int, source: int, nbytes: int) -> None:
        self._enqueue(stream, lambda: np.copyto(
            self._bytes(target, nbytes), self._bytes(source, nbytes)
        ))

    # ---- kernels
    def functions(self, device: int, kernels: Sequence[Kernel]) -> dict[Kernel, int]:
        self._outside_of_recordings("functions")
        first = len(self._kernels)
        self._kernels += kernels
        return {kernel: first + k for k, kernel in enumerate(kernels)}

    def launch(self, stream: int, function: int, grid: Grid, args: int) -> None:
        kernel = self._kernels[function]
        if stream not in self._recording:
            self.log.append(f"launch {kernel.name}")
        self._enqueue(stream, lambda: self._run(kernel, grid, args))

    def _run(self, kernel: Kernel, grid: Grid, args: int) -> None:
        kinds = arguments_of(kernel)
        words = self._bytes(args, 8 * len(kinds)).view(np.int64).tolist()
        values: list[Pointer | int | float] = []
        for kind, word in zip(kinds, words, strict=True):
            if kind.startswith("pointer"):
                entry = int(self._bytes(word, 8).view(np.int64)[0])
                values.append(self._pointer(entry))
            else:
                values.append(from_word(word) if kind == "number" else word)
        run(kernel, values, grid)

    # ---- graphs
    def begin_capture(self, stream: int) -> None:
        self._outside_of_recordings("begin_capture")
        self._recording[stream] = get_ident(), []

    def end_capture(self, stream: int) -> int:
        graph = self._new()
        _, self._graphs[graph] = self._recording.pop(stream)
        self.log.append(f"capture {len(self._graphs[graph])}")
        return graph

    def launch_graph(self, stream: int, graph: int, launched: list[None]) -> None:
        self._outside_of_recordings("launch_graph")
        self.log.append(f"graph {len(self._graphs[graph])}")
        self._queues[stream] += self._graphs[graph]
        launched.append(None)

    def release_graph(self, graph: int) -> None:
        del self._graphs[graph]

    def _outside_of_recordings(self, what: str) -> None:
        own = get_ident()
        if any(thread == own for thread, _ in self._recording.copy().values()):
            raise Misuse(f"{what} while this thread records a stream")


@cache
def arguments_of(kernel: Kernel) -> list[str]:
    """What each word of the argument block is, by the builtin that reads it."""
    read = re.findall(r"(pointer_\w+|extent|number)\(args, (\d+)\)", kernel.text)
    kinds = {int(k): builtin for builtin, k in read}
    return [kinds.get(k, "extent") for k in range(max(kinds, default=-1) + 1)]
