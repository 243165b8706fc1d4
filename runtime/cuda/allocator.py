"""Memory of a GPU that is kept for the next request: the driver's own allocation waits for the
device, and takes longer than most kernels.

Blocks are cut from segments of the driver's, and grow together again when they are free. Each
stream has blocks of its own, so a block that was given back may be used at once by what comes later
in the stream. One that other streams have used waits for what is in these by then. Whatever was
given back is noted only (a finalizer may run anywhere), and taken in at the next request.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Any

from ...ir.locks import lock
from .driver import Driver, OutOfMemory

ROUND = 512  # bytes; all blocks are a multiple
SMALL = 1 << 20  # the largest block that is cut from a small segment
SMALL_SEGMENT, LARGE_SEGMENT = 2 << 20, 20 << 20
LARGE = 10 << 20  # blocks from here on have segments of their own


class OutOfMemoryError(RuntimeError):
    """torch's: a GPU has no room for what was asked.

    Raises nothing itself: it is raised where a tensor is made, or a program is loaded.

    >>> try:
    ...     x = torch.ones(2, device="cuda")
    ... except torch.cuda.OutOfMemoryError:
    ...     torch.cuda.empty_cache()
    ... except RuntimeError:
    ...     pass  # there is no GPU
    """


class Block:
    """Part of a segment of the `pool` (stream, whether it is for small blocks). Its neighbours
    there are `before` and `after`; `users` are other streams that use it.
    """

    __slots__ = ("address", "after", "before", "free", "nbytes", "pool", "users")

    def __init__(self, address: int, nbytes: int, pool: tuple[int, bool]):
        self.address, self.nbytes, self.pool, self.free = address, nbytes, pool, False
        self.users: set[int] = set()
        self.before: Block | None = None
        self.after: Block | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a segment."""
        return self.before is None and self.after is None

    def size(self) -> tuple[int, int]:
        return self.nbytes, self.address

    def cut(self, nbytes: int) -> Block:
        """Shorten it. Gives the rest, a free block."""
        rest = Block(self.address + nbytes, self.nbytes - nbytes, self.pool)
        rest.before, rest.after, rest.free = self, self.after, True
        if rest.after is not None:
            rest.after.before = rest
        self.nbytes, self.after = nbytes, rest
        return rest

    def absorb(self, other: Block) -> None:
        """Take in the block behind it."""
        self.nbytes += other.nbytes
        self.after = other.after
        if self.after is not None:
            self.after.before = self


class Allocator:
    """The blocks of one device. `allocated` and `reserved` are bytes in use, and of segments;
    `peak` the most that were in use. With `caching=False` each block is the driver's own.
    """

    def __init__(self, driver: Driver, device: int, caching: bool = True):
        self.driver, self.device, self.caching = driver, device, caching
        self.allocated = self.reserved = self.peak = self.reserved_peak = 0
        self._retries = self._failures = 0
        self._free: dict[tuple[int, bool], list[Block]] = {}  # by pool
        self._in_use: dict[int, Block] = {}  # by address
        self._returned: deque[Block] = deque()
        self._waiting: list[tuple[Block, list[int]]] = []  # blocks with events of their users
        self._lock = lock()

    # ---- requests
    def take(self, nbytes: int, stream: int) -> Block:
        """A block of at least so many bytes. Raises OutOfMemoryError."""
        wanted = max(-(-nbytes // ROUND), 1) * ROUND
        with self._lock:
            self._take_in()
            pool = stream, wanted <= SMALL
            block = self._kept(wanted, pool) or self._new(wanted, pool)
            if self.caching and block.nbytes - wanted >= (ROUND if block.pool[1] else SMALL):
                self._insert(block.cut(wanted))
            block.free = False
            self._in_use[block.address] = block
            self.allocated += block.nbytes
            self.peak = max(self.peak, self.allocated)
            return block

    def record(self, address: int, stream: int) -> None:
        """A stream uses the block there, if there is one, maybe another stream's."""
        block = self._in_use.get(address)
        if block is not None and block.pool[0] != stream:
            block.users.add(stream)

    def give_back(self, block: Block) -> None:
        self._returned.append(block)

    def _kept(self, wanted: int, pool: tuple[int, bool]) -> Block | None:
        """The smallest free block that is large enough."""
        blocks = self._free.get(pool, [])
        k = bisect_left(blocks, (wanted, 0), key=Block.size)
        return blocks.pop(k) if k < len(blocks) else None

    def _new(self, wanted: int, pool: tuple[int, bool]) -> Block:
        nbytes = wanted
        if self.caching:
            nbytes = SMALL_SEGMENT if pool[1] else LARGE_SEGMENT
            if wanted >= LARGE:
                nbytes = -(-wanted // SMALL_SEGMENT) * SMALL_SEGMENT
        try:
            address = self.driver.allocate(self.device, nbytes)
        except OutOfMemory:
            self._retries += 1
            self._settle(wait=True)
            self._release_segments()
            try:
                address = self.driver.allocate(self.device, nbytes)
            except OutOfMemory:
                self._failures += 1
                raise self._full(wanted) from None
        self.reserved += nbytes
        self.reserved_peak = max(self.reserved_peak, self.reserved)
        return Block(address, nbytes, pool)

    # ---- what came back
    def _take_in(self) -> None:
        while self._returned:
            block = self._returned.popleft()
            del self._in_use[block.address]
            self.allocated -= block.nbytes
            if block.users:
                events = [self.driver.event(stream) for stream in block.users]
                self._waiting.append((block, events))
            else:
                self._join(block)
        self._settle()
        if not self.caching:
            self._release_segments()

    def _settle(self, wait: bool = False) -> None:
        """Take in the blocks whose users are done with them."""
        waiting, self._waiting = self._waiting, []
        for block, events in waiting:
            if wait:
                for event in events:
                    self.driver.synchronize_event(event)
            if all(map(self.driver.done, events)):
                for event in events:
                    self.driver.release_event(event)
                block.users.clear()
                self._join(block)
            else:
                self._waiting.append((block, events))

    def _join(self, block: Block) -> None:
        """Make a block free, as one with its free neighbours."""
        block.free = True
        if (after := block.after) is not None and after.free:
            self._remove(after)
            block.absorb(after)
        if (before := block.before) is not None and before.free:
            self._remove(before)
            before.absorb(block)
            block = before
        self._insert(block)

    def _insert(self, block: Block) -> None:
        insort(self._free.setdefault(block.pool, []), block, key=Block.size)

    def _remove(self, block: Block) -> None:
        blocks = self._free[block.pool]
        del blocks[bisect_left(blocks, block.size(), key=Block.size)]

    def _release_segments(self) -> None:
        """Give the driver back what nobody uses."""
        for key, blocks in self._free.items():
            # first out of the list: an interruption loses memory, but nobody gets what is released
            self._free[key] = [block for block in blocks if not block.whole]
            for block in blocks:
                if block.whole:
                    self.driver.release(self.device, block.address)
                    self.reserved -= block.nbytes

    def empty_cache(self) -> None:
        with self._lock:
            self._take_in()
            self._settle(wait=True)
            self._release_segments()

    def statistics(self) -> dict[str, int]:
        """Bytes in use and of all segments, now and at most; blocks in use; how often there was no
        room at first, and in the end.
        """
        with self._lock:
            self._take_in()
            return {
                "allocated": self.allocated, "peak": self.peak, "reserved": self.reserved,
                "reserved peak": self.reserved_peak, "blocks": len(self._in_use),
                "retries": self._retries, "failures": self._failures,
            }

    def reset_peak(self) -> None:
        with self._lock:
            self._take_in()
            self.peak, self.reserved_peak = self.allocated, self.reserved

    def _full(self, wanted: int) -> OutOfMemoryError:
        total = self.driver.properties(self.device).total_memory
        free, idle = self.driver.free_memory(self.device), self.reserved - self.allocated
        return OutOfMemoryError(
            f"CUDA out of memory. Tried to allocate {in_words(wanted)}. GPU {self.device} has a "
            f"total capacity of {in_words(total)} of which {in_words(free)} is free. Of the "
            f"allocated memory {in_words(self.allocated)} is allocated by tracegrad, and "
            f"{in_words(idle)} is reserved by tracegrad but unallocated."
        )


def in_words(nbytes: int) -> str:
    """A number of bytes as torch prints it."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= size:
            return f"{nbytes / size:.2f} {unit}"
    return f"{nbytes} bytes"


class Memory:
    """A block of `device` that goes back with the last reference to it; see DeviceMemory."""

    __slots__ = ("_allocator", "_block", "address", "device", "nbytes")

    def __init__(self, device: Any, allocator: Allocator, nbytes: int, stream: int):
        self._block: Block | None = None
        self.device, self.nbytes, self._allocator = device, nbytes, allocator
        self._block = allocator.take(nbytes, stream)
        self.address = self._block.address

    def record(self, stream: int) -> None:
        """Another stream uses the memory: it is not used again before that one is done with it."""
        if self._block is not None and stream != self._block.pool[0]:
            self._block.users.add(stream)

    def __del__(self) -> None:
        if self._block is not None:
            self._allocator.give_back(self._block)
